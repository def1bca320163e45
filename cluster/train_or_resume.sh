#!/usr/bin/env bash
# Start a run, or go on from its newest checkpoint where there is one: the command of a job that may be started again.
#
#   train_or_resume.sh RUN_DIR RECIPE [section.key=value ...]
#
# RUN_DIR is this job's own (run.dir), on storage that all machines share: its newest run is the one to go on with.
set -euo pipefail
if (($# < 2)); then
    echo "usage: $0 RUN_DIR RECIPE [section.key=value ...]" >&2
    exit 2
fi
run_dir=$1 recipe=$2
shift 2
# state.json is written last, so a folder that has it is whole.
if compgen -G "$run_dir/latest/checkpoints/step-*/state.json" >/dev/null; then
    echo "going on with $run_dir/latest"
    exec fundus-ray train --resume "$run_dir/latest" "$@"
fi
exec fundus-ray train --config "$recipe" "run.dir=$run_dir" "$@"
