#!/usr/bin/env bash
# Everything there is to measure on a machine with one accelerator, in under 25 minutes: precisions,
# forms, batches, the full SACD step, reading into the device, the demo to its report, inference,
# and whether the device computes right. The same command goes on with what is missing.
#
# For: one NVIDIA H100 or the like, 8 cores or more. Tried at toy size on a CPU; never run on a GPU.
#
#   bash launch/benchmark_gpu.sh --json out.json
#   bash launch/benchmark_gpu.sh --json out.json --torch-python ../torch/bin/python   PyTorch beside it
#   bash launch/benchmark_gpu.sh --json out.json --parts check,networks               these alone
#
# Writes out.json, out.md with the tables, and out_files/ with what each part said.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source launch/environment.sh

# PyTorch computes on the same device in turns with JAX, which else takes most of its memory at once.
export XLA_PYTHON_CLIENT_PREALLOCATE=false
# A part that is ended by its time finds its programs when it is started again.
export JAX_COMPILATION_CACHE_DIR="${JAX_COMPILATION_CACHE_DIR:-$PWD/.venv/xla-cache}"

exec .venv/bin/python -m sacd_jax.benchmark day "$@"
