# shellcheck shell=bash
# Sourced by the launchers, from the repository: set up if need be, and settle what JAX runs on.

bash launch/setup.sh
source launch/xla_flags.sh

# Without an accelerator JAX would still look for one, slowly, and warn that it found none.
accelerator_is_here() {
  local device
  for device in /dev/accel* /dev/vfio/[0-9]*; do
    if [[ -e $device ]]; then return 0; fi
  done
  nvidia_is_here
}

if [[ -z ${JAX_PLATFORMS:-} ]] && ! accelerator_is_here; then
  export JAX_PLATFORMS=cpu
fi
