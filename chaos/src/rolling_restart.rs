//! `meridian-chaos rolling-restart`: stops each node in an orderly way and starts it again, one after the other, as an
//! upgrade does, while applications read and publishers write.

use std::time::Duration;

use serde::Serialize;
use tokio::time::{Instant, sleep};

use crate::cluster::{Cluster, Places, Shape, data_dirs};
use crate::figures::Figures;
use crate::judge::millis;
use crate::probe::{self, Probe};
use crate::readers::Readers;
use crate::runs::Runs;
use crate::verdict::{self, Check, Verdict};

/// Between one node's recovery and the stop of the next.
const CALM: Duration = Duration::from_secs(1);

const WRITE_GAP: Duration = Duration::from_secs(1);

/// That reads are not slow is the subject of region-loss: here a second is late.
const READ_P99: Duration = Duration::from_secs(1);

/// Restarts all nodes in turn, under load
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    run: Runs,

    /// How often all nodes are restarted
    #[arg(long, default_value_t = 3, value_name = "N")]
    rounds: u32,

    /// Reads a second
    #[arg(long, default_value_t = 500, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=50_000))]
    rate: u32,
}

#[derive(Debug, Serialize)]
struct Report {
    scenario: &'static str,
    verdict: Verdict,
    duration_s: u64,
    /// The longest time without an acknowledgement around each restart.
    write_gaps: Figures,
    reads: Figures,
    reads_failed: u64,
    checks: Vec<Check>,
    shortfalls: Vec<String>,
}

/// Runs to the end and says what came of it. An error means that there is no verdict.
pub async fn run(args: Args) -> anyhow::Result<Verdict> {
    let Args { run, rounds, rate } = args;
    let files = run.files()?;
    let data_dirs = data_dirs(&files.data())?;
    let places = Places { binary: run.binary()?, data_dirs, files: files.path().to_owned() };
    run.note(&format!("rolling-restart: {rounds} rounds, files in {}", files.path().display()));

    let began = Instant::now();
    let mut cluster = Cluster::shaped(&places, &Shape::default()).await?;
    cluster.until_healthy().await?;
    let probe = Probe::start(&cluster, probe::FINE).await?;
    let readers = Readers::start(&cluster, rate).await?;
    let mut gaps = Vec::new();
    for _ in 0..rounds {
        for index in 0..cluster.nodes.len() {
            sleep(CALM).await;
            cluster.check_alive()?;
            let at = probe.now();
            cluster.nodes[index].stop().await?;
            let back = cluster.revive(index).await?;
            sleep(CALM).await;
            let gap = probe.longest_gap(at);
            run.note(&format!(
                "{}: back in {} ms, longest write gap {} ms",
                cluster.nodes[index].name,
                millis(back),
                millis(gap)
            ));
            gaps.push(gap);
        }
    }
    let seen = readers.stop().await;
    drop(probe);
    cluster.kill_all().await?;

    let long = gaps.iter().filter(|gap| **gap >= WRITE_GAP);
    let long = long.map(|gap| format!("nothing was acknowledged for {} ms", millis(*gap)));
    let mut checks = vec![Check::new("each write gap is short", long)];
    checks.extend(seen.checks(READ_P99));
    let mut shortfalls = Vec::new();
    if gaps.is_empty() || seen.took.is_empty() {
        shortfalls.push(format!("{} restarts, {} reads", gaps.len(), seen.took.len()));
    }
    let report = Report {
        scenario: "rolling-restart",
        verdict: Verdict::of(&checks, &shortfalls),
        duration_s: began.elapsed().as_secs(),
        write_gaps: Figures::of(gaps),
        reads: seen.figures(),
        reads_failed: seen.failed,
        checks,
        shortfalls,
    };
    run.report(&report, &report.text())?;
    files.end(report.verdict)?;
    Ok(report.verdict)
}

impl Report {
    fn text(&self) -> String {
        format!(
            "rolling-restart: {} restarts in {} s\n  longest time without an acknowledged publish, ms: p50 {:.0}, max \
             {:.0}\n  {} reads answered, {} failed; ms: p50 {:.1}, p99 {:.1}, max {:.1}\n{}",
            self.write_gaps.count,
            self.duration_s,
            self.write_gaps.p50_ms,
            self.write_gaps.max_ms,
            self.reads.count,
            self.reads_failed,
            self.reads.p50_ms,
            self.reads.p99_ms,
            self.reads.max_ms,
            verdict::text(self.verdict, &self.checks, &self.shortfalls)
        )
    }
}
