# Sourced by quickstart.sh and test.sh: makes .venv and installs the project there, or sees that this was done.
#
#   install_project EXTRA...    extras of pyproject.toml, e.g. `install_project cpu dev`
#
# PYTHON=/path/to/python chooses the interpreter of a new .venv (3.11 or later); EXTRA=gpu takes vLLM's CUDA build.
# pip's own words go to .venv/install.log.

# pip does not compile what it installs: that takes a minute, and most of it is never imported. Python then compiles
# each module when it is first imported, and must be allowed to keep the result.
unset PYTHONDONTWRITEBYTECODE

VENV=.venv
INSTALL_LOG=$VENV/install.log

say() { printf '\n== %s\n' "$*"; }

find_python() { # prints the first interpreter that is 3.11 or later
    local candidate candidates=(python3.11 python3.12 python3.13 python3)
    [ -z "${PYTHON:-}" ] || candidates=("$PYTHON")
    for candidate in "${candidates[@]}"; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
    echo "fundus_ray needs Python 3.11 or later; tried: ${candidates[*]}." >&2
    echo "Install one, or name yours: PYTHON=/path/to/python3.11 $0" >&2
    return 1
}

watched() { # watched COMMAND...: its output goes to the log; says every few seconds that it is still at work
    local started=$SECONDS pid status=0 every=15 last=0
    if [ -t 1 ]; then every=1; fi
    "$@" >>"$INSTALL_LOG" 2>&1 &
    pid=$!
    trap 'kill "$pid" 2>/dev/null || true; printf "\nstopped; run again to go on\n" >&2; exit 130' INT TERM
    while kill -0 "$pid" 2>/dev/null; do
        sleep 0.5
        if ((SECONDS - started - last >= every)); then
            last=$((SECONDS - started))
            [ ! -t 1 ] || printf '\r\033[K'
            printf '   %4d s  %s' "$last" "$(latest_activity)"
            [ -t 1 ] || printf '\n'
        fi
    done
    [ ! -t 1 ] || printf '\r\033[K'
    wait "$pid" || status=$?
    trap - INT TERM
    return "$status"
}

latest_activity() {
    tail -n 40 "$INSTALL_LOG" | grep -E '^ *(Obtaining|Collecting|Downloading|Building|Installing|Getting|Preparing)' | tail -n 1 |
        sed -e 's/^ *//' -e 's/^\(Installing collected packages\).*/\1: writing them to disk/' | cut -c 1-90 ||
        echo "starting"
}

explain_failure() {
    echo "The installation failed. The end of $INSTALL_LOG:" >&2
    grep -v 'find-links' "$INSTALL_LOG" | tail -n 12 | cut -c 1-200 | sed 's/^/   /' >&2
    if grep -qE '(torch==[0-9.]+\+cpu|No matching distribution found for torch)' <(tail -n 12 "$INSTALL_LOG"); then
        echo "PyTorch's CPU build is not on your package index. Add PyTorch's own:" >&2
        echo "   PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu $0" >&2
    else
        echo "Mend what it names (network, disk space, proxy) and run the command again: what was fetched is kept." >&2
    fi
}

install_project() {
    local extras hash stamp python started=$SECONDS
    extras=$(IFS=,; echo "$*")
    # Both builds of vLLM go by one name, so one of them over the other leaves a mixture.
    if { [ "$1" = gpu ] && [ -e "$VENV/installed-cpu" ]; } || { [ "$1" = cpu ] && [ -e "$VENV/installed-gpu" ]; }; then
        say "$VENV holds the other build of vLLM: making it anew"
        rm -rf "$VENV"
    fi
    if ! [ -x "$VENV/bin/python" ] || ! "$VENV/bin/python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
        python=$(find_python)
        say "Making $VENV with $("$python" --version 2>&1)"
        "$python" -m venv --clear "$VENV"
    fi
    hash=$(cat pyproject.toml setup.py torchvision_shim/* | "$VENV/bin/python" -c \
        'import hashlib, sys; print(hashlib.sha256(sys.stdin.buffer.read()).hexdigest())')
    for stamp in "$@"; do # one stamp an extra, so that quickstart.sh knows what test.sh installed
        if [ "$(cat "$VENV/installed-$stamp" 2>/dev/null)" != "$hash" ]; then
            say "Installing fundus-ray[$extras] into $VENV: some minutes the first time (log: $INSTALL_LOG)"
            : >"$INSTALL_LOG"
            watched "$VENV/bin/python" -m pip install --disable-pip-version-check --no-input --progress-bar off \
                --no-compile --editable ".[$extras]" || { explain_failure; return 1; }
            check_imports
            for stamp in "$@"; do echo "$hash" >"$VENV/installed-$stamp"; done
            echo "   installed in $((SECONDS - started)) s"
            return
        fi
    done
    echo "$VENV is up to date (fundus-ray[$extras])"
}

check_imports() { # the large parts; torchvision beside CPU torch needs torchvision_shim/
    echo "Preparing: the first import of each part compiles it" >>"$INSTALL_LOG" # shown by latest_activity
    watched "$VENV/bin/python" -c 'import torchvision, transformers, peft, ray, vllm.v1.engine.async_llm' || {
        echo "A part that was installed does not import. The end of $INSTALL_LOG:" >&2
        tail -n 8 "$INSTALL_LOG" | cut -c 1-200 | sed 's/^/   /' >&2
        return 1
    }
}
