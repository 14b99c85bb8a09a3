#!/bin/sh
# Print the path of the Python interpreter to build with. If possible, first install with apt-get the packages that a fresh
# Debian lacks: an interpreter, its venv module and headers, a C compiler. All other output goes to stderr.
#
#   tools/find_python.sh [INTERPRETER]     if an interpreter is named, no other one is tried
#   tools/find_python.sh --newest          the newest version on this machine, including those of pyenv
set -eu

# The versions that sfloop is tested on. The newest come last, because fewer packages have wheels for them.
CANDIDATES="python3 python3.13 python3.12 python3.11 python3.10 python3.14 python3.15"
NEWEST=15 # minor version

if [ "${1:-}" = --newest ]; then
    shift
    CANDIDATES=""
    for version in 3.14 3.13 3.12 3.11 3.10; do
        # A pattern without a match stays unexpanded. It is no interpreter, so it is skipped later.
        for candidate in "${PYENV_ROOT:-${HOME:-}/.pyenv}/versions/$version".*/bin/python3; do
            CANDIDATES="$CANDIDATES $candidate"
        done
        CANDIDATES="$CANDIDATES python$version"
    done
    CANDIDATES="$CANDIDATES python3"
fi

say() { echo "sfloop: $*" >&2; }

# Each check prints what is missing as Debian package names, or nothing.
is_recent() { "$1" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info < (4,))' 2>/dev/null; }
is_tested() { "$1" -c "import sys; sys.exit(not sys.version_info < (3, $NEWEST + 1))" 2>/dev/null; }
has_venv() { "$1" -c 'import ensurepip, venv' 2>/dev/null; }
has_headers() {
    "$1" -c 'import os, sys, sysconfig; sys.exit(not os.path.exists(sysconfig.get_path("include") + "/Python.h"))' 2>/dev/null
}
# Resolve the interpreter, because the command may be a shim, and the venv's home must be the interpreter itself.
real_path() { "$1" -c 'import sys; print(sys.executable)'; }
is_debian_python() { "$1" -c 'import sys; sys.exit(not sys.base_prefix == "/usr")' 2>/dev/null; }
debian_name() { "$1" -c 'import sys; print("python%d.%d" % sys.version_info[:2])'; }

missing_for() {
    missing=""
    if [ -z "$1" ]; then
        missing="python3 python3-venv python3-dev"
    else
        if ! has_venv "$1"; then missing="$missing $(debian_name "$1")-venv"; fi
        if ! has_headers "$1"; then missing="$missing $(debian_name "$1")-dev"; fi
    fi
    if ! command -v "${CC:-cc}" >/dev/null 2>&1; then missing="$missing gcc libc6-dev"; fi
    echo "$missing"
}

install() {
    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null 2>&1; then
        say "these packages are missing:$1"
        say "install them (on Debian and Ubuntu: sudo apt-get install$1), or name another interpreter: make PYTHON=/path/to/python3"
        exit 1
    fi
    say "installing$1"
    export DEBIAN_FRONTEND=noninteractive
    # shellcheck disable=SC2086  # a list of packages
    { apt-get update -qq && apt-get install -qq -y --no-install-recommends -o Dpkg::Use-Pty=0 $1 >/dev/null; } >&2
}

chosen=""
if [ -n "${1:-}" ]; then
    if ! is_recent "$1"; then
        say "sfloop needs Python 3.10 or newer, and PYTHON=$1 is not such an interpreter, or does not run here"
        exit 1
    fi
    chosen=$1
else
    # Prefer an interpreter that needs no packages. Otherwise take Debian's, for which the packages can be installed.
    for candidate in $CANDIDATES; do
        if is_recent "$candidate" && has_venv "$candidate" && has_headers "$candidate"; then
            chosen=$candidate
            break
        fi
    done
    if [ -z "$chosen" ]; then
        for candidate in $CANDIDATES; do
            if is_recent "$candidate" && is_debian_python "$candidate"; then chosen=$candidate; break; fi
        done
    fi
fi

missing=$(missing_for "$chosen")
if [ -n "$missing" ]; then
    if [ -n "$chosen" ] && ! is_debian_python "$chosen" && ! { has_venv "$chosen" && has_headers "$chosen"; }; then
        say "$chosen has no venv module or no headers (Python.h), and is not Debian's own; reinstall it with both, or name another: make PYTHON=/path/to/python3"
        exit 1
    fi
    install " $(echo "$missing" | xargs)"
    if [ -z "$chosen" ]; then chosen=python3; fi
    if ! is_recent "$chosen" || [ -n "$(missing_for "$chosen")" ]; then
        say "these packages are still missing after the installation:$(missing_for "$chosen")"
        exit 1
    fi
fi
if ! is_tested "$chosen"; then say "sfloop is tested on Python 3.10 to 3.$NEWEST, and $chosen is newer"; fi
real_path "$chosen"
