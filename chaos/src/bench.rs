//! `meridian-chaos bench`: publishes to Meridian and to etcd in turn, three processes each, on this machine and in one
//! run, and tells the ratio.
//!
//! Rates of a machine that is shared move by a factor of three; the ratio of two neighbours in time does not. Both
//! sides are durable, run on loopback beside their load, and are measured in a closed loop by a client that talks to
//! the leader.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use serde::Serialize;
use serde_json::Value;

use crate::cluster::{Cluster, Places, data_dirs};
use crate::runs::Output;

mod etcd;
mod meridian;
mod table;

use etcd::Etcd;

/// Publishes in flight.
const IN_FLIGHT: [u32; 2] = [1, 256];

const SIZE_BYTES: u32 = 1_024;

/// Small writes beside large ones.
const MIX_IN_FLIGHT: u32 = 16;
const LARGE_BYTES: u32 = 4_000_000;

/// Measures publishing beside etcd, in turn
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// The daemon to measure, a release build
    #[arg(long, value_name = "FILE", default_value = "target/release/meridian")]
    binary: PathBuf,

    /// etcd 3.4 or newer [default: etcd on the PATH; where there is none, that part is skipped]
    #[arg(long, value_name = "FILE")]
    etcd: Option<PathBuf>,

    /// How often each figure is taken; the median counts
    #[arg(long, default_value_t = 3, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,

    /// Length of one measurement
    #[arg(long, default_value_t = 5, value_name = "S", value_parser = clap::value_parser!(u64).range(1..=3_600))]
    seconds: u64,

    /// How the result is printed
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

/// A rate and what the answers took.
#[derive(Clone, Debug, Serialize)]
struct Point {
    rate_per_s: f64,
    p50_ms: f64,
    p99_ms: f64,
    errors: u64,
}

/// All rounds with so many in flight.
#[derive(Debug, Serialize)]
struct Row {
    in_flight: u32,
    meridian: Vec<Point>,
    /// Empty where there is no etcd.
    etcd: Vec<Point>,
    /// Median over the rounds of ours to theirs.
    ratio: Option<f64>,
}

#[derive(Debug, Serialize)]
struct Report {
    size_bytes: u32,
    seconds: u64,
    /// Why there is no comparison.
    skipped: Option<String>,
    rows: Vec<Row>,
    /// As `meridian bench publish` tells it: small writes beside 4 MB ones.
    mix: Value,
    /// The same: one in flight, and watchers in the other regions.
    pushed: Value,
}

/// Measures and prints the result.
pub async fn run(args: Args) -> anyhow::Result<()> {
    let files = tempfile::Builder::new().prefix("meridian-bench-").tempdir()?;
    let binary = args.binary.canonicalize().with_context(|| {
        format!("no daemon at {}: build it with --release, or name it with --binary", args.binary.display())
    })?;
    let data_dirs = data_dirs(&files.path().join("meridian"))?;
    let places = Places { binary: binary.clone(), data_dirs, files: files.path().to_owned() };
    let mut cluster = Cluster::start(&places).await?;
    cluster.until_healthy().await?;
    let ours = meridian::Bench::new(&binary, &cluster);
    let (theirs, skipped) = match args.etcd.clone().or_else(on_path) {
        Some(binary) => (Some(Etcd::start(&binary, &files.path().join("etcd")).await?), None),
        None => (None, Some("etcd is not installed".to_owned())),
    };

    let mut rows = Vec::new();
    for in_flight in IN_FLIGHT {
        let mut row = Row { in_flight, meridian: Vec::new(), etcd: Vec::new(), ratio: None };
        for _ in 0..args.rounds {
            let size = SIZE_BYTES.to_string();
            let report =
                ours.publish(args.seconds, &["--clients", &in_flight.to_string(), "--size", &size]).await?;
            row.meridian.push(meridian::point(&report)?);
            if let Some(etcd) = &theirs {
                row.etcd.push(etcd.put(in_flight, SIZE_BYTES, Duration::from_secs(args.seconds)).await?);
            }
        }
        row.ratio = ratio(&row.meridian, &row.etcd);
        rows.push(row);
    }
    // Nothing runs beside what follows: it is held against a bound, not against etcd.
    drop(theirs);
    let regions: Vec<_> = cluster.nodes.iter().map(|node| node.name).collect();
    let pushed = ours.publish(args.seconds, &["--clients", "1", "--watch", &regions.join(",")]).await?;
    let (small, large) = (MIX_IN_FLIGHT.to_string(), LARGE_BYTES.to_string());
    let mix = ["--clients", &small, "--large-clients", "1", "--large-size", &large];
    let mix = ours.publish(args.seconds.max(5), &mix).await?;
    cluster.check_alive()?;
    cluster.kill_all().await?;

    let report = Report { size_bytes: SIZE_BYTES, seconds: args.seconds, skipped, rows, mix, pushed };
    args.output.print(&report, &table::text(&report))
}

/// Median over the rounds; each round is one of ours and the one of theirs that followed it.
fn ratio(ours: &[Point], theirs: &[Point]) -> Option<f64> {
    median(ours.iter().zip(theirs).map(|(ours, theirs)| ours.rate_per_s / theirs.rate_per_s))
}

fn median(values: impl IntoIterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

fn on_path() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join("etcd")).find(|file| file.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ratio_is_that_of_neighbours() {
        let point = |rate_per_s| Point { rate_per_s, p50_ms: 0.0, p99_ms: 0.0, errors: 0 };
        let ours = [point(200.0), point(30.0), point(100.0)];
        let theirs = [point(100.0), point(10.0), point(100.0)];
        assert_eq!(ratio(&ours, &theirs), Some(2.0));
        assert_eq!(ratio(&ours, &[]), None);
    }
}
