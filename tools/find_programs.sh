#!/bin/sh
# Install programs that tests and benchmarks start, if possible. A test or benchmark that needs a missing program reports it.
#
#     tools/find_programs.sh PURPOSE ip ethtool strace
set -eu
purpose=$1
shift
missing=""
for program in "$@"; do
    command -v "$program" >/dev/null 2>&1 && continue
    case $program in
        ip) missing="$missing iproute2" ;;
        ping) missing="$missing iputils-ping" ;;
        gnutls-cli) missing="$missing gnutls-bin" ;;
        *) missing="$missing $program" ;;
    esac
done
[ -n "$missing" ] || exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    echo "Installing$missing with apt-get, for $purpose"
    export DEBIAN_FRONTEND=noninteractive
    # shellcheck disable=SC2086  # a list of packages
    apt-get update -qq && apt-get install -qq -y --no-install-recommends -o Dpkg::Use-Pty=0 $missing >/dev/null
else
    echo "Missing for $purpose:$missing. Only root can install them (on Debian and Ubuntu: sudo apt-get install$missing)"
fi
