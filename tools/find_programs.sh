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
        postgres) [ -d /usr/lib/postgresql ] || missing="$missing postgresql" ;;
        *) missing="$missing $program" ;;
    esac
done
[ -n "$missing" ] || exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    echo "Installing$missing with apt-get, for $purpose"
    export DEBIAN_FRONTEND=noninteractive
    # Debian starts a server's own service after the installation, unless this file says no.
    policy=/usr/sbin/policy-rc.d
    if [ ! -e "$policy" ]; then
        trap 'rm -f "$policy"' EXIT
        printf '#!/bin/sh\nexit 101\n' >"$policy"
        chmod +x "$policy"
    fi
    # shellcheck disable=SC2086  # a list of packages
    apt-get update -qq && apt-get install -qq -y --no-install-recommends -o Dpkg::Use-Pty=0 $missing >/dev/null
else
    echo "Missing for $purpose:$missing. Only root can install them (on Debian and Ubuntu: sudo apt-get install$missing)"
fi
