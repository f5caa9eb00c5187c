# shellcheck shell=bash
# Sourced by the launchers, from the repository: set up if need be, and settle what JAX runs on.

bash launch/setup.sh

# Without an accelerator JAX would still look for one, slowly, and warn that it found none.
nvidia_is_here() {
  command -v nvidia-smi >/dev/null && nvidia-smi -L >/dev/null 2>&1
}

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

# XLA flags; one that is set already stays as it is.
#   xla_gpu_force_conv_nhwc: cuDNN's convolutions of three dimensions (R3D) get channels last without
#   a transposed copy around each: 4.44 GB a step in place of 5.40, 376 operations in place of 416;
#   R(2+1)D as it is (estimates, docs/performance.md).
if [[ ${XLA_FLAGS:-} != *xla_gpu_force_conv_nhwc* ]] && nvidia_is_here; then
  export XLA_FLAGS="${XLA_FLAGS:+$XLA_FLAGS }--xla_gpu_force_conv_nhwc=true"
fi
