#!/bin/sh
# Make sure that an interpreter has CPython's own tests (the `test` package), which Debian has in a separate package.
#
#   tools/find_cpython_tests.sh INTERPRETER
set -eu

present() { "$1" -c 'import test.support, test.test_asyncio.utils' 2>/dev/null; }

present "$1" && exit 0
package=$("$1" -c 'import sys; print("libpython%d.%d-testsuite" % sys.version_info[:2])')
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1 && [ "$("$1" -c 'import sys; print(sys.base_prefix)')" = /usr ]; then
    echo "sfloop: installing $package" >&2
    export DEBIAN_FRONTEND=noninteractive
    { apt-get update -qq && apt-get install -qq -y --no-install-recommends -o Dpkg::Use-Pty=0 "$package" >/dev/null; } >&2
fi
if ! present "$1"; then
    echo "sfloop: CPython's own tests cannot be run, because $1 has no test.test_asyncio. On Debian and Ubuntu:" \
        "sudo apt-get install $package. Elsewhere, use an interpreter that was built with its tests" >&2
    exit 1
fi
