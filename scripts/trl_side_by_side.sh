#!/usr/bin/env bash
# The loop of this project beside TRL's GRPOTrainer: same work, same two cores, one after the other. About 100 minutes with
# three repeats of both workloads; nothing else should run meanwhile.
#
#   ./scripts/trl_side_by_side.sh                                  all of it: runs/side-by-side.md
#   ./scripts/trl_side_by_side.sh --workload short --repeats 1     options of scripts/trl_side_by_side.py
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/setup.sh

install_project "${EXTRA:-cpu}" bench
say "Side by side with TRL: scripts/trl_side_by_side.py $*"
"$VENV/bin/python" scripts/trl_side_by_side.py "$@"
