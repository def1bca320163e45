#!/usr/bin/env bash
# What traces, process rewards, knowledge and grounding are each worth, on rendered images with a tiny policy: every arm
# over three seeds, equal samples. About 75 minutes on 2 CPU cores; what is finished is kept in runs/ and not made again.
#
#   ./scripts/ablation.sh                          all of it: runs/ablation/ablation.md and ablation.png
#   ./scripts/ablation.sh --seeds 0 --readme       options of scripts/ablation.py
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/setup.sh

install_project "${EXTRA:-cpu}"
say "Ablation: scripts/ablation.py $*"
"$VENV/bin/python" scripts/ablation.py "$@"
