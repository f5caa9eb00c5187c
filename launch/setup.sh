#!/usr/bin/env bash
# Makes .venv with everything the project needs; does nothing when nothing has changed.
#
#   bash launch/setup.sh
#   PYTHON=/path/to/python3.13 bash launch/setup.sh     with an interpreter of your choice
#
# Safe to kill and start again at any moment. What is installed stands in requirements.txt, by hash.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# Holds the state of .venv: "unfinished", or where and from what it was made. A .venv without it is
# not ours.
stamp=.venv/sacd-jax-setup

fail() {
  echo "error: $*" >&2
  exit 1
}

# --- Nothing to do? ------------------------------------------------------------------------------

here=$(pwd -P)

made_from() {
  echo "$here $(cat requirements.txt pyproject.toml launch/setup.sh | sha256sum)"
}

ready() {
  [[ -f $stamp && "$(<"$stamp")" == "$(made_from)" ]] && .venv/bin/python -c '' 2>/dev/null
}

if ready; then exit 0; fi

# Only one set-up at a time: the demo and the tests may have been started side by side.
if command -v flock >/dev/null; then
  exec 9<requirements.txt
  flock 9
  if ready; then exit 0; fi
fi

# --- An interpreter ------------------------------------------------------------------------------

# Names that answer but are of no use are common (pyenv's shims, a Python without its venv module):
# a candidate counts when it runs, has what .venv needs and says that it is new enough.
# Prints the version as one number: 3.12 is 312.
version_of() {
  "$1" -I -c 'import ensurepip, sys, venv; print(sys.version_info[0] * 100 + sys.version_info[1])' \
    2>/dev/null </dev/null || true
}

candidates() {
  if [[ -n ${PYTHON:-} ]]; then
    echo "$PYTHON"
    return
  fi
  type -ap python3.13 python3.12 python3 python python3.14 || true
  local versions="${PYENV_ROOT:-${HOME:-}/.pyenv}/versions" python
  for python in "$versions"/*/bin/python; do
    if [[ -x $python ]]; then echo "$python"; fi
  done
  if command -v uv >/dev/null; then
    uv python find --no-project '>=3.12,<3.14' 2>/dev/null || uv python find --no-project '>=3.12' 2>/dev/null || true
  fi
}

# Prints the first candidate with a version that requirements.txt is tested with (3.12, 3.13), else
# the first newer one.
find_python() {
  local python version newer=
  while read -r python; do
    version=$(version_of "$python")
    case $version in
      312 | 313)
        echo "$python"
        return
        ;;
      3[1-9][0-9]) if ((version > 313)) && [[ -z $newer ]]; then newer=$python; fi ;;
    esac
  done < <(candidates)
  echo "$newer"
}

# --- The environment -----------------------------------------------------------------------------

export PIP_DISABLE_PIP_VERSION_CHECK=1
quiet=()
if [[ ! -t 1 ]]; then quiet=(--quiet); fi

install() {
  .venv/bin/python -m pip install "${quiet[@]}" --no-build-isolation "$@"
}

# One requirement of requirements.txt with its hashes.
locked() {
  awk -v name="$1==" 'index($0, name) == 1 { on = 1 } on { print } on && !/\\$/ { exit }' requirements.txt
}

# From here to the end .venv is not whole: the next set-up after a kill starts from an empty one.
begin() {
  trap 'echo "error: set-up did not finish; mend the cause and run it again" >&2' EXIT
  mkdir -p .venv
  echo unfinished >"$stamp"
}

if [[ -d .venv && ! -f $stamp && -n "$(ls -A .venv)" ]]; then
  fail ".venv is there but was not made by launch/setup.sh: move it away and run this again"
fi

# Half made, moved (its scripts name the old place) or without its interpreter: make it anew.
usable() {
  [[ -f $stamp && "$(<"$stamp")" == "$here "* ]] && .venv/bin/python -m pip --version >/dev/null 2>&1
}

if ! usable; then
  python=$(find_python)
  if [[ -z $python ]]; then
    fail "no Python 3.12 or newer (with its venv module) was found${PYTHON:+ under PYTHON=$PYTHON}:" \
      "install one, or name it: PYTHON=/path/to/python3 bash launch/setup.sh"
  fi
  echo "set-up: making .venv with $("$python" -I --version)"
  begin
  find .venv -mindepth 1 -maxdepth 1 ! -path "$stamp" -exec rm -rf {} +
  "$python" -m venv .venv
fi

begin
echo "set-up: installing the packages of requirements.txt (350 MB to load, 1.4 GB on disk; a few minutes)"
# What is built from source is built by this locked setuptools, not by whatever is newest.
locked setuptools | install --require-hashes --requirement /dev/stdin
install --require-hashes --requirement requirements.txt
install --no-deps --editable .
made_from >"$stamp"
trap - EXIT
echo "set-up: done"
