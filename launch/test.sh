#!/usr/bin/env bash
# The tests, on all cores.
#
#   bash launch/test.sh                      the default suite
#   bash launch/test.sh -m slow              the long ones
#   bash launch/test.sh -n 0 -k memory_bank  any argument of pytest
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source launch/environment.sh

# A second run finds the programs that the first one compiled.
export JAX_COMPILATION_CACHE_DIR="${JAX_COMPILATION_CACHE_DIR:-$PWD/.venv/xla-cache}"
export JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS="${JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS:-0.5}"

exec .venv/bin/python -m pytest --numprocesses logical --maxprocesses 8 --dist worksteal "$@"
