#!/bin/sh
# Makes .venv with the project and the named extras in it: deploy/environment.sh embedded[,dev]
# Does nothing when that is done already for this pyproject.toml, constraints.txt and Python.
set -eu
cd "$(dirname "$0")/.."
extras=${1:-embedded}
log=var/log/install.log

fail() {
    printf '%s\n' "$*" >&2
    exit 1
}

usable() { # a Python 3.11 or later
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1
}

find_python() {
    if [ -n "${PYTHON:-}" ]; then
        usable "$PYTHON" || fail "PYTHON=$PYTHON is not a Python 3.11 or later."
        printf '%s' "$PYTHON"
        return
    fi
    for name in python3.11 python3.12 python3.13 python3; do
        if usable "$name"; then
            printf '%s' "$name"
            return
        fi
    done
    fail "Python 3.11 or later is needed (looked for python3.11, 3.12, 3.13 and python3). Debian and Ubuntu: apt install python3 python3-venv. Or name one: make PYTHON=/path/to/python3"
}

wanted() {
    { cat pyproject.toml constraints.txt; .venv/bin/python -VV; pwd; } | cksum
}

installed() {
    [ -x .venv/bin/python ] && usable .venv/bin/python || return 1
    for stamp in .venv/installed-*; do
        [ -f "$stamp" ] || continue
        # The extras of a stamp may be more than those asked for.
        case ",${stamp#.venv/installed-}," in
        *",$extras,"*) [ "$(cat "$stamp")" = "$(wanted)" ] && return 0 ;;
        esac
    done
    return 1
}

installed && exit 0
mkdir -p var/log
if ! { [ -x .venv/bin/python ] && usable .venv/bin/python && .venv/bin/python -m pip --version; } >/dev/null 2>&1; then
    python=$(find_python) || exit 1
    "$python" -c 'import ensurepip, venv' 2>/dev/null ||
        fail "$python lacks the modules venv and ensurepip. Debian and Ubuntu: apt install python3-venv (or python3.11-venv)."
    echo "Creating .venv with $("$python" -V) …"
    rm -rf .venv
    "$python" -m venv .venv || fail "Could not create .venv here; is $(pwd) writable and the disk not full?"
fi
rm -f .venv/installed-*

echo "Installing the packages (once; a minute or two), log in $log …"
.venv/bin/python -m pip install --disable-pip-version-check --no-input \
    -c constraints.txt -e ".[$extras]" >"$log" 2>&1 </dev/null &
pip=$!
trap 'kill "$pip" 2>/dev/null; exit 130' INT TERM
while kill -0 "$pip" 2>/dev/null; do
    sleep 1
    printf '.'
done
echo
if ! wait "$pip"; then
    tail -n 15 "$log" >&2
    fail "The installation failed; the whole log is in $log. Is a package index within reach?"
fi
wanted >".venv/installed-$extras"
