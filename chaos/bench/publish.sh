#!/usr/bin/env bash
# Publishing beside etcd, in one run, in turn. Takes about two minutes after the build; wants a quiet machine.
# Arguments go to `meridian-chaos bench`, e.g. --rounds 5 --seconds 10 --output json.
set -euo pipefail
cd "$(dirname "$0")/../.."

if ! command -v etcd >/dev/null && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
  echo "installing etcd for the comparison" >&2
  apt-get install -qq -y --no-install-recommends etcd-server >&2 || echo "etcd could not be installed" >&2
fi
cargo build --release -p meridian -p meridian-chaos
exec target/release/meridian-chaos bench --binary target/release/meridian "$@"
