#!/usr/bin/env bash
# A training on Google Kubernetes Engine: fills in launch/gke_gpu.yaml or launch/gke_tpu.yaml.
#
# For: a cluster with the JobSet controller, a node pool of the machine below, an image by
# launch/Dockerfile, and a claim on a volume that all pods may write (ReadWriteMany), seen by them
# as /shared: data sets and --workdir. Never run on a real cluster; the YAML fits JobSet v1alpha2.
#
#   NAME=sacd IMAGE=… NODES=2 CLAIM=shared ACCELERATOR=nvidia-h100-80gb CHIPS=8 \
#       bash launch/gke.sh [--dry-run] gpu train --config configs/s3ve_distill.py --workdir /shared/runs/sacd
#   NAME=sacd IMAGE=… NODES=4 CLAIM=shared ACCELERATOR=tpu-v5-lite-podslice TOPOLOGY=4x4 CHIPS=4 \
#       bash launch/gke.sh [--dry-run] tpu train …
#
# NODES is the number of pods, one on each machine; CHIPS the accelerators of one machine.
# MAX_RESTARTS (20) is how often the set starts again after a lost machine. --dry-run prints the YAML.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

fail() {
  echo "error: $*" >&2
  exit 2
}

dry_run=''
if [[ ${1:-} == --dry-run ]]; then
  dry_run=1
  shift
fi
kind=${1:-} command=${2:-}
case $kind:$command in
  gpu:train | gpu:evaluate | gpu:cache_teacher | tpu:train | tpu:evaluate | tpu:cache_teacher) shift 2 ;;
  *) fail "usage: bash launch/gke.sh [--dry-run] gpu|tpu train|evaluate|cache_teacher ARGUMENTS…" ;;
esac

export MAX_RESTARTS=${MAX_RESTARTS:-20}
names=(NAME IMAGE NODES CLAIM ACCELERATOR CHIPS MAX_RESTARTS)
if [[ $kind == tpu ]]; then names+=(TOPOLOGY); fi
text=$(<"launch/gke_$kind.yaml")
for name in "${names[@]}"; do
  value=${!name:-}
  [[ -n $value ]] || fail "$name is not set; the head of launch/gke.sh says what it is"
  case $name in
    NODES | CHIPS) [[ $value =~ ^[1-9][0-9]*$ ]] || fail "$name is not a number of machines or chips" ;;
    MAX_RESTARTS) [[ $value =~ ^[0-9]+$ ]] || fail "$name is no number" ;;
    *) [[ $value =~ ^[A-Za-z0-9][A-Za-z0-9._/:@-]*$ ]] || fail "$name holds a character that no such name has" ;;
  esac
  text=${text//"\${$name}"/$value}
done

arguments="\"-m\", \"sacd_jax.$command\""
for argument in "$@"; do
  # shellcheck disable=SC2016 # nothing to expand: the characters themselves
  [[ $argument != *[\"\\]* && $argument != *[[:cntrl:]]* && $argument != *'$('* ]] ||
    fail "an argument holds a quote, a backslash, a control character or \$(, which YAML or Kubernetes would read"
  arguments+=", \"$argument\""
done
text=${text//"\${ARGUMENTS}"/$arguments}

if [[ -n $dry_run ]]; then
  echo "$text"
else
  kubectl apply --filename - <<<"$text"
fi
