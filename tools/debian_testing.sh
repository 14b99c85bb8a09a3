#!/bin/bash
# Run a command in a tree of Debian testing, which has CPython 3.14 and 3.15 with their tests, and a compiler. It is meant
# for machines that lack these versions. Run it as root, on Debian or Ubuntu.
#
#   tools/debian_testing.sh [--if-possible] TREE COMMAND...
#
# With --if-possible, if the tree cannot be set up (for example because Debian's archive cannot be reached), the script
# reports this and exits with status 0. The first call sets the tree up, which takes a minute or two and a gigabyte. Other
# calls wait for it. The command runs in this checkout, at the same path as outside. The tree's mounts are in a mount
# namespace of their own and end with the command, so `rm -rf TREE` is safe at any time.
set -euo pipefail
cd "$(dirname "$0")/.."

VERSIONS="3.14 3.15"
PACKAGES="gcc libc6-dev make git procps iproute2 ethtool iputils-ping openssl gnutls-bin"
for version in $VERSIONS; do
    PACKAGES+=" python$version-dev python$version-venv libpython$version-testsuite"
done

if_possible=
if [ "$1" = --if-possible ]; then
    if_possible=1
    shift
fi
tree=$(realpath --canonicalize-missing "$1")
shift

say() { echo "sfloop: $*" >&2; }

not_possible() {
    say "$1"
    [ -n "$if_possible" ] || exit 1
    touch "$tree.impossible"
    say "did not run: $2"
    exit 0
}

# Mounts are private, so nothing of the machine can be unmounted or removed through the tree. pip gets the machine's
# settings from the environment, except for folders of packages, because the tree does not have them.
inside() {
    unshare --mount --propagation private bash -ec '
        tree=$0 here=$1
        shift
        mount --bind "$tree" "$tree" # ip(8) requires that the root is a mount
        for each in /proc /sys /dev; do mount --rbind "$each" "$tree$each"; done
        mkdir -p "$tree$here"
        mount --bind "$here" "$tree$here"
        exec env -u PIP_FIND_LINKS -u PIP_CONFIG_FILE HOME=/root LC_ALL=C.UTF-8 PATH=/usr/sbin:/usr/bin:/sbin:/bin \
            chroot "$tree" sh -c "cd \"\$0\" && exec \"\$@\"" "$here" "$@"' "$tree" "$PWD" "$@"
}

set_up() {
    if ! command -v debootstrap >/dev/null 2>&1; then
        say "installing debootstrap"
        apt-get update -qq
        DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends -o DPkg::Lock::Timeout=300 \
            -o Dpkg::Use-Pty=0 debootstrap >/dev/null
    fi
    rm -rf "$tree"
    mkdir -p "$tree"
    debootstrap --variant=minbase --include=ca-certificates testing "$tree"
    # Copy the machine's name servers and certificate authorities, which it may need to reach its mirrors.
    cp --dereference /etc/resolv.conf "$tree/etc/resolv.conf"
    cp --dereference /etc/ssl/certs/ca-certificates.crt "$tree/etc/ssl/certs/ca-certificates.crt"
    # A mirror may be weeks behind. debootstrap does not mind, but apt does.
    echo 'Acquire::Check-Valid-Until "false"; Acquire::Check-Date "false";' >"$tree/etc/apt/apt.conf.d/90old-mirror"
    # Do not let dpkg wait for the disk after each package, because the tree need not survive a crash.
    echo force-unsafe-io >"$tree/etc/dpkg/dpkg.cfg.d/unsafe-io"
    # shellcheck disable=SC2086  # a list of packages
    inside sh -ec 'export DEBIAN_FRONTEND=noninteractive
        apt-get update -qq
        apt-get install -qq -y --no-install-recommends -o Dpkg::Use-Pty=0 "$@"
        apt-get clean' sh $PACKAGES
    echo "$PACKAGES" >"$tree/ready"
}

if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null 2>&1; then
    not_possible "setting up a tree of Debian testing needs root, on Debian or Ubuntu" "$*"
fi
mkdir -p "$(dirname "$tree")"
exec 9>"$tree.lock"
flock 9
if [ "$(cat "$tree/ready" 2>/dev/null)" != "$PACKAGES" ]; then
    if [ -n "$if_possible" ] && [ -e "$tree.impossible" ]; then
        not_possible "$tree could not be set up a moment ago" "$*"
    fi
    say "setting up Debian testing in $tree"
    set_up >"$tree.log" 2>&1 & # in the background, because a function in a condition does not end at its first error
    if ! wait $!; then
        tail -n 40 "$tree.log" >&2
        not_possible "Debian testing cannot be set up in $tree; see $tree.log" "$*"
    fi
fi
flock --unlock 9
exec 9>&-
inside "$@"
