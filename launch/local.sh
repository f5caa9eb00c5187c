#!/usr/bin/env bash
# Runs a command as several processes of this machine that train together, as several hosts would.
#
#   bash launch/local.sh 2 -- .venv/bin/python -m sacd_jax.train --config configs/demo.py --workdir runs/demo2
#
# Each process computes on the CPU unless JAX_PLATFORMS says otherwise. Ends with the exit code of
# the first process that failed; the others are stopped then. The code is 75 (EX_TEMPFAIL: run the
# same command again) where a process was killed.
set -euo pipefail

usage="usage: bash launch/local.sh PROCESSES -- COMMAND…"
if [[ ! ${1:-} =~ ^[1-9][0-9]*$ || ${2:-} != -- || $# -lt 3 ]]; then
  echo "error: $usage" >&2
  exit 2
fi
count=$1
shift 2

# A stopped process may finish its step and save the state; one whose peer is lost cannot.
grace=60

# Below the ports that the system gives to outgoing connections.
free_port() {
  local port
  while port=$((20000 + RANDOM % 12000)); do
    if ! (: <"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
      echo "$port"
      return
    fi
  done
}

port=$(free_port)
export JAX_COORDINATOR_ADDRESS=127.0.0.1:$port JAX_COORDINATOR_BIND_ADDRESS=127.0.0.1:$port
export JAX_NUM_PROCESSES=$count JAX_PLATFORMS=${JAX_PLATFORMS:-cpu}

running=() number=() asked='' started='' deadline=''

# What a background shell starts ignores Ctrl-C, never SIGTERM. One signal is enough: a second one
# would not let them save.
stop() {
  asked=1
  if [[ -z $started || -n $deadline ]]; then return; fi
  kill -TERM "${running[@]}" 2>/dev/null || true
  deadline=$((SECONDS + grace))
}

trap stop INT TERM
for ((process = 0; process < count; process++)); do
  JAX_PROCESS_ID=$process "$@" &
  running+=($!)
  number[$!]=$process
done
started=1
if [[ -n $asked ]]; then stop; fi

status=0
while ((${#running[@]})); do
  sleep 0.1 || true
  left=()
  for pid in "${running[@]}"; do
    code=0
    if kill -0 "$pid" 2>/dev/null; then
      left+=("$pid")
    else
      wait "$pid" || code=$?
    fi
    if ((!status)); then
      status=$code
      if ((code > 128 && code != 130 && code != 143)) && [[ -z $asked ]]; then
        echo "process ${number[$pid]} was lost (signal $((code - 128)));" \
          "the same command goes on from the last checkpoint" >&2
        status=75
      fi
    fi
  done
  running=("${left[@]}")
  if [[ -n $deadline ]] && ((SECONDS >= deadline && ${#running[@]})); then
    kill -KILL "${running[@]}" 2>/dev/null || true
  fi
  # 130, 143: stopped after a step, which the others end as well.
  if ((status && status != 130 && status != 143 && ${#running[@]})) && [[ -z $deadline ]]; then
    echo "a process ended with $status, stopping the others" >&2
    stop
  fi
done
exit "$status"
