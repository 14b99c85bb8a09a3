#!/bin/sh
# Install the programs with which the tests make network namespaces, where that is possible: ip, ethtool and ping. Without
# them the tests that need them say so.
set -eu
missing=""
for pair in ip:iproute2 ethtool:ethtool ping:iputils-ping; do
    command -v "${pair%%:*}" >/dev/null 2>&1 || missing="$missing ${pair#*:}"
done
[ -n "$missing" ] || exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    echo "Installing$missing with apt-get, for the tests in network namespaces"
    # shellcheck disable=SC2086  # one word a package
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq && apt-get install -qq -y --no-install-recommends -o Dpkg::Use-Pty=0 $missing >/dev/null
else
    echo "The tests in network namespaces need root and$missing (on Debian and Ubuntu: sudo apt-get install$missing)"
fi
