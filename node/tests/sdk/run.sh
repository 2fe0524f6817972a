#!/usr/bin/env bash
# The real Statsig SDK from PyPI against a real cluster: node/tests/sdk/run.sh PATH_TO_MERIDIAN
#
# The SDK lives in a virtual environment under target/, made once. Without Python or a package index there is nothing
# to run: that is said as SKIPPED, and is no failure, unless MERIDIAN_REQUIRE_SDK=1.
set -euo pipefail

binary=$(realpath "${1:?usage: $0 PATH_TO_MERIDIAN}")
here=$(cd "$(dirname "$0")" && pwd)
sdk=statsig-python-core
version=0.24.0
venv=${CARGO_TARGET_DIR:-$here/../../../target}/sdk-venv

skip() {
    echo "SKIPPED: the real Statsig SDK was not tried: $1" >&2
    [ "${MERIDIAN_REQUIRE_SDK:-0}" = 1 ] && exit 1
    exit 0
}

installed() {
    local found="import importlib.metadata as m; print(m.version('$sdk'))"
    [ -x "$venv/bin/python" ] && [ "$("$venv/bin/python" -c "$found" 2>/dev/null)" = "$version" ]
}

if ! installed; then
    command -v python3 >/dev/null || skip "there is no python3"
    said=$(python3 -m venv --clear "$venv" 2>&1) || skip "no virtual environment can be made: ${said##*$'\n'}"
    said=$("$venv/bin/python" -m pip install --quiet --disable-pip-version-check "$sdk==$version" 2>&1) \
        || skip "$sdk $version cannot be installed: ${said##*$'\n'}"
fi

exec "$venv/bin/python" "$here/statsig_e2e.py" "$binary"
