#!/usr/bin/env bash
# From nothing to a distilled video stager: simulated nights, three trainings beside two rivals, a report.
#
#   bash launch/demo.sh
# Further arguments go to the training command:
#
#   bash launch/demo.sh --workdir runs/demo1 --config.seed=1                another seed of all trainings
#   bash launch/demo.sh --workdir runs/demo1 --config configs/demo.py:seed=1    other nights and split, too
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source launch/environment.sh

exec .venv/bin/python -m sacd_jax.train --config configs/demo.py --workdir runs/demo "$@"
