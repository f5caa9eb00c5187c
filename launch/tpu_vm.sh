#!/usr/bin/env bash
# A training on all hosts of one Cloud TPU slice, asked for as a queued resource.
#
# For: v5e, v6e and other TPU VMs; gcloud signed in here; --workdir and the data set on a file system
# that SETUP mounts on every host. Tried with a stand-in for gcloud; never run on a TPU.
#
#   NAME=sacd ZONE=… TYPE=v5litepod-16 RUNTIME=v2-alpha-tpuv5-lite REPOSITORY=https://… REVISION=main \
#   SETUP='sudo mount …' bash launch/tpu_vm.sh [--dry-run] train --config configs/s3ve_distill.py --workdir /shared/runs/sacd
#
# REPOSITORY and REVISION are what git clones on each host. SETUP runs there before: it may also copy
# the data to the host's disk, and ends all where it fails (docs/pods.md). SPOT=1 asks for spare
# capacity, which may be taken away. MAX_RESTARTS (20) is how often the command starts again after a
# host was lost.
# The slice stays, and costs, until you delete it: the last line says how. --dry-run prints every command.
set -euo pipefail

fail() {
  echo "error: $*" >&2
  exit 2
}

dry_run=''
if [[ ${1:-} == --dry-run ]]; then
  dry_run=1
  shift
fi
command=${1:-}
case $command in
  train | evaluate | cache_teacher) shift ;;
  *) fail "usage: bash launch/tpu_vm.sh [--dry-run] train|evaluate|cache_teacher ARGUMENTS…" ;;
esac
for name in NAME ZONE TYPE RUNTIME REPOSITORY REVISION SETUP; do
  [[ -n ${!name:-} ]] || fail "$name is not set; the head of launch/tpu_vm.sh says what it is"
done
most=${MAX_RESTARTS:-20}
[[ $most =~ ^[0-9]+$ ]] || fail "MAX_RESTARTS is no number"

run() {
  if [[ -n $dry_run ]]; then
    printf '%q ' "$@"
    echo
  else
    "$@"
  fi
}

queued=(gcloud compute tpus queued-resources)
spot=()
if [[ -n ${SPOT:-} ]]; then spot=(--spot); fi

# shellcheck disable=SC2153 # the caller's variables, checked above
state() {
  "${queued[@]}" describe "$NAME" --zone="$ZONE" --format='value(state.state)' 2>/dev/null
}

wait_for_slice() {
  local now
  while [[ -z $dry_run ]]; do
    now=$(state) || fail "gcloud does not find the queued resource $NAME"
    case $now in
      ACTIVE) return ;;
      FAILED | SUSPEND* | DELETING) fail "the queued resource is $now: delete it, then run this again" ;;
    esac
    echo "waiting for the slice: $now" >&2
    sleep "${POLL_SECONDS:-30}"
  done
}

on_all_hosts() {
  run gcloud compute tpus tpu-vm ssh "$NAME" --zone="$ZONE" --worker=all --command="$1"
}

if [[ -n $dry_run ]] || ! state >/dev/null; then
  run "${queued[@]}" create "$NAME" --node-id="$NAME" --zone="$ZONE" --accelerator-type="$TYPE" \
    --runtime-version="$RUNTIME" "${spot[@]}"
fi
wait_for_slice

printf -v clone 'git clone %q sacd_jax && cd sacd_jax && git checkout --detach %q' "$REPOSITORY" "$REVISION"
printf -v prepare 'bash -ec %q' "$SETUP"
on_all_hosts "set -e; $prepare; [ -d sacd_jax ] || { $clone; }; cd ~/sacd_jax; bash launch/setup.sh; .venv/bin/pip install --editable '.[tpu]'"

printf -v training '%q ' .venv/bin/python -m "sacd_jax.$command" "$@"
status=0
for ((restart = 0; restart <= most; restart++)); do
  status=0
  wait_for_slice
  on_all_hosts "cd ~/sacd_jax && bash launch/tpu_worker.sh $training" || status=$?
  # 75, or 137 where a process was killed, from one of the hosts; 255 where ssh was cut. Not seen on
  # a TPU: that gcloud hands on a host's own code.
  if ((status != 75 && status != 137 && status != 255)); then break; fi
  echo "ended with $status: start $((restart + 1)) of at most $((most + 1))" >&2
done
echo "to give the slice back: ${queued[*]} delete $NAME --zone=$ZONE --force" >&2
exit "$status"
