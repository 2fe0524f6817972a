//! `meridian-chaos region-loss`: loses one region after the other, and brings it back, while applications in all
//! regions read.
//!
//! A region is lost in two ways, in turn: its process is killed, so that every connection to it breaks; or its network
//! falls silent in both directions, so that nothing breaks and nobody is told. The release they read is replaced all
//! the while, so that an answer from the past would be seen as one.

use std::time::Duration;

use serde::Serialize;
use tokio::time::{Instant, sleep};

use crate::cluster::{Cluster, Places, Shape, data_dirs};
use crate::figures::Figures;
use crate::probe::Probe;
use crate::random::Random;
use crate::readers::Readers;
use crate::relay::{Place, Way};
use crate::runs::Runs;
use crate::verdict::{self, Check, Verdict};

/// How long a region is gone: longer than everything that is noticed by silence takes to be noticed.
const LOST_MS: std::ops::Range<u64> = 1_000..3_000;

/// Between its return and the next loss.
const CALM_MS: std::ops::Range<u64> = 300..1_000;

/// Between two publishes.
const PUBLISH_INTERVAL: Duration = Duration::from_millis(100);

const READ_P99: Duration = Duration::from_millis(250);

/// The random numbers of this file.
const STREAM: u64 = 0;

/// Loses each region again and again while applications read
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    run: Runs,

    /// How often a region is lost and returns
    #[arg(long, default_value_t = 50, value_name = "N")]
    rounds: u32,

    /// Reads of all applications together, at least: the last calm lasts until they are done
    #[arg(long, default_value_t = 100_000, value_name = "N")]
    reads: usize,

    /// Reads a second
    #[arg(long, default_value_t = 1_000, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=50_000))]
    rate: u32,
}

#[derive(Debug, Serialize)]
struct Report {
    scenario: &'static str,
    verdict: Verdict,
    seed: u64,
    duration_s: u64,
    losses: u32,
    reads: Figures,
    reads_failed: u64,
    reads_backwards: u64,
    /// Publishes that were acknowledged meanwhile.
    releases: usize,
    checks: Vec<Check>,
    shortfalls: Vec<String>,
}

/// Runs to the end and says what came of it. An error means that there is no verdict.
pub async fn run(args: Args) -> anyhow::Result<Verdict> {
    let Args { run, rounds, reads: wanted, rate } = args;
    let seed = run.seed();
    let files = run.files()?;
    let data_dirs = data_dirs(&files.data())?;
    let places = Places { binary: run.binary()?, data_dirs, files: files.path().to_owned() };
    run.note(&format!("region-loss: seed {seed}, {rounds} losses, files in {}", files.path().display()));

    let began = Instant::now();
    let shape = Shape { one_way: Some(Duration::ZERO), ..Shape::default() };
    let mut cluster = Cluster::shaped(&places, &shape).await?;
    cluster.until_healthy().await?;
    let probe = Probe::start(&cluster, PUBLISH_INTERVAL).await?;
    let readers = Readers::start(&cluster, rate).await?;
    let mut random = Random::new(seed, STREAM);
    let mut losses = 0;
    let mut shortfalls = Vec::new();
    for round in 1..=rounds {
        sleep(random.millis(CALM_MS)).await;
        cluster.check_alive()?;
        let index = random.below(cluster.nodes.len());
        let silent = round % 2 == 0;
        if silent {
            let held = cluster.network()?.held();
            cluster.network()?.cut(around(index, cluster.nodes.len()));
            sleep(random.millis(LOST_MS)).await;
            if cluster.network()?.held() == held {
                shortfalls.push(format!("loss {round}: nothing met the cut"));
            }
            cluster.network()?.heal();
            cluster.until_healthy().await?;
        } else {
            cluster.nodes[index].kill().await?;
            sleep(random.millis(LOST_MS)).await;
            cluster.revive(index).await?;
        }
        losses += 1;
        let way = if silent { "silent" } else { "killed" };
        run.note(&format!(
            "loss {round}: {} {way}, {} reads so far",
            cluster.nodes[index].name,
            readers.count()
        ));
    }
    while readers.count() < wanted {
        sleep(Duration::from_millis(100)).await;
        cluster.check_alive()?;
    }
    let releases = probe.latencies(Duration::ZERO).len();
    let seen = readers.stop().await;
    drop(probe);
    cluster.kill_all().await?;

    if seen.took.is_empty() || releases == 0 || losses < rounds {
        shortfalls.push(format!("{losses} losses, {} reads, {releases} releases", seen.took.len()));
    }
    let checks = Vec::from(seen.checks(READ_P99));
    let report = Report {
        scenario: "region-loss",
        verdict: Verdict::of(&checks, &shortfalls),
        seed,
        duration_s: began.elapsed().as_secs(),
        losses,
        reads: seen.figures(),
        reads_failed: seen.failed,
        reads_backwards: seen.backwards,
        releases,
        checks,
        shortfalls,
    };
    run.report(&report, &report.text())?;
    files.end(report.verdict)?;
    Ok(report.verdict)
}

/// Every way to and from a node.
fn around(index: usize, nodes: usize) -> Vec<Way> {
    let node = Place::Node(index);
    let others = (0..nodes).filter(|other| *other != index).map(Place::Node).chain([Place::Outside]);
    others.flat_map(|other| [(other, node), (node, other)]).collect()
}

impl Report {
    fn text(&self) -> String {
        format!(
            "region-loss: {} losses in {} s, seed {}\n  {} reads: {} failed, {} went back; ms: p50 {:.1}, p95 {:.1}, \
             p99 {:.1}, max {:.1}\n  {} releases meanwhile\n{}",
            self.losses,
            self.duration_s,
            self.seed,
            self.reads.count as u64 + self.reads_failed + self.reads_backwards,
            self.reads_failed,
            self.reads_backwards,
            self.reads.p50_ms,
            self.reads.p95_ms,
            self.reads.p99_ms,
            self.reads.max_ms,
            self.releases,
            verdict::text(self.verdict, &self.checks, &self.shortfalls)
        )
    }
}
