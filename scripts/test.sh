#!/usr/bin/env bash
# All checks on this machine, from nothing: makes .venv, installs, then ruff, mypy and every test (real vLLM and Ray).
#
#   ./scripts/test.sh                    everything
#   ./scripts/test.sh tests/reward -x    the linters, then pytest with these arguments
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/setup.sh

export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1} # engines and learner share the cores; more threads only fight
install_project "${EXTRA:-cpu}" dev

failed=()
check() { # check NAME COMMAND...
    local name=$1 started=$SECONDS
    shift
    say "$name"
    "$@" || failed+=("$name")
    echo "   $((SECONDS - started)) s"
}
check "ruff check" "$VENV/bin/ruff" check .
check "ruff format" "$VENV/bin/ruff" format --check .
check "mypy" "$VENV/bin/mypy"

say "pytest"
status=0
# Files at once: what a file's tests share (an engine, a cluster) is made once. Each may start engines of its own: more
# than two at a time would need much memory. The order is that of tests/conftest.py: the longest files first.
"$VENV/bin/python" -m pytest -q -n "${TEST_PROCESSES:-2}" --dist loadfile --no-loadscope-reorder --durations=20 --durations-min=1 "$@" || status=$?
if ((${#failed[@]})); then
    printf 'FAILED before the tests: %s\n' "${failed[*]}" >&2
    exit 1
fi
if ((status == 0)); then
    say "All checks passed in $((SECONDS / 60)) min $((SECONDS % 60)) s"
    cat <<EOF
Try next:
   ./scripts/test.sh tests/reward -x    the tests of one folder, up to the first failure
   ./scripts/quickstart.sh              the whole job
EOF
fi
exit "$status"
