# shellcheck shell=bash
# Sourced by other launch files: flags of XLA, each with its reason; one that is set stays as it is.

nvidia_is_here() {
  command -v nvidia-smi >/dev/null && nvidia-smi -L >/dev/null 2>&1
}

# cuDNN's convolutions of three dimensions (R3D) get channels last without a transposed copy around
# each: 4.44 GB a step in place of 5.40, 376 operations in place of 416; R(2+1)D as it is (estimates,
# docs/performance.md).
if [[ ${XLA_FLAGS:-} != *xla_gpu_force_conv_nhwc* ]] && nvidia_is_here; then
  export XLA_FLAGS="${XLA_FLAGS:+$XLA_FLAGS }--xla_gpu_force_conv_nhwc=true"
fi
