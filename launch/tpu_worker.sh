#!/usr/bin/env bash
# Runs a command on one host of a TPU slice as its part of the training; launch/tpu_vm.sh calls it.
#
# For: a Cloud TPU VM, whose metadata server says which hosts belong together. Tried with a stand-in
# for that server; never run on a TPU.
#
#   bash launch/tpu_worker.sh .venv/bin/python -m sacd_jax.train …
set -euo pipefail

metadata() {
  curl --fail --silent --show-error --max-time 10 --header 'Metadata-Flavor: Google' \
    "http://metadata.google.internal/computeMetadata/v1/instance/attributes/$1"
}

# A list of hosts, or of name:number:address.
IFS=, read -r -a hosts <<<"$(metadata worker-network-endpoints)"
number=$(metadata agent-worker-number)
if [[ -z ${hosts[0]:-} || ! $number =~ ^[0-9]+$ ]] || ((number >= ${#hosts[@]})); then
  echo "error: the metadata server does not say which hosts belong together" >&2
  exit 2
fi

if ((${#hosts[@]} > 1)); then
  export JAX_COORDINATOR_ADDRESS=${hosts[0]##*:}:8476
  export JAX_NUM_PROCESSES=${#hosts[@]} JAX_PROCESS_ID=$number
fi
exec "$@"
