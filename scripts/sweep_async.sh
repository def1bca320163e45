#!/usr/bin/env bash
# What asynchronous rollouts gain and what staleness costs, with a tiny policy on 2 CPU cores: step time, idle shares,
# lag, speed-up beside its ceiling, reward and held-out accuracy against samples and seconds, by ratio and correction.
# Roughly 85 minutes on 2 cores that do nothing else; what is finished is kept in runs/ and not made again.
#
#   ./scripts/sweep_async.sh                       all of it: runs/async/async.md and async.png
#   ./scripts/sweep_async.sh split --repeats 5     options of scripts/sweep_async.py
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/setup.sh

install_project "${EXTRA:-cpu}"
say "Asynchronous sweep: scripts/sweep_async.py $*"
"$VENV/bin/python" scripts/sweep_async.py "$@"
