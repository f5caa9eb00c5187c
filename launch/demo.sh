#!/usr/bin/env bash
# From nothing to a distilled video stager: simulated nights, three trainings, a report.
#
#   bash launch/demo.sh
#   bash launch/demo.sh --config.seed=1      further arguments go to the training command
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source launch/environment.sh

exec .venv/bin/python -m sacd_jax.train --config configs/demo.py --workdir runs/demo "$@"
