#!/usr/bin/env bash
# The whole job on this machine, from nothing: makes .venv, installs, trains a tiny policy on rendered fundus images,
# and writes a report. About 15 minutes on 2 CPU cores; a second run skips the installation.
#
#   ./scripts/quickstart.sh                      as configs/quickstart.yaml says
#   ./scripts/quickstart.sh loop.async_ratio=0   any setting of `fundus-ray config` may follow
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/setup.sh

echo "fundus_ray quickstart: 1. install   2. data, warm start, RLVR, evaluation   3. report"
install_project "${EXTRA:-cpu}"
installed=$SECONDS

say "Training: configs/quickstart.yaml $*"
"$VENV/bin/fundus-ray" train --config configs/quickstart.yaml "$@"

runs=runs
for setting in "$@"; do
    case $setting in run.dir=*) runs=${setting#run.dir=} ;; esac
done
say "Done in $((SECONDS / 60)) min $((SECONDS % 60)) s (installation ${installed} s)"
cat <<EOF
Made in $runs/latest:
   report.md       the story of the run: before and after, where the time went, chains to read
   curves.png      reward, accuracy, lag and times by step
   summary.json    the figures, for scripts
   rollouts/       every scored chain, with the evidence and the reason of its score

Try next:
   $VENV/bin/fundus-ray generate --policy $runs/latest --image FILE     read a picture of your own
   $VENV/bin/fundus-ray train --config configs/photo.yaml               the same job on real pixels
   ./scripts/quickstart.sh loop.async_ratio=0                           synchronous: compare the two reports
   $VENV/bin/tensorboard --logdir $runs                                 curves of all runs, live
EOF
