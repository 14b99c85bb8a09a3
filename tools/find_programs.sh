#!/bin/sh
# Install programs that tests and benchmarks start, where that is possible. What needs one that is missing says so itself.
#
#     tools/find_programs.sh "for what" ip ethtool strace
set -eu
purpose=$1
shift
missing=""
for program in "$@"; do
    command -v "$program" >/dev/null 2>&1 && continue
    case $program in
        ip) missing="$missing iproute2" ;;
        ping) missing="$missing iputils-ping" ;;
        *) missing="$missing $program" ;;
    esac
done
[ -n "$missing" ] || exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    echo "Installing$missing with apt-get, for $purpose"
    export DEBIAN_FRONTEND=noninteractive
    # shellcheck disable=SC2086  # one word a package
    apt-get update -qq && apt-get install -qq -y --no-install-recommends -o Dpkg::Use-Pty=0 $missing >/dev/null
else
    echo "Missing for $purpose, and only root can install it:$missing (on Debian and Ubuntu: sudo apt-get install$missing)"
fi
