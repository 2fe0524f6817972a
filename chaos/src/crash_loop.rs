//! `meridian-chaos crash-loop`: kills nodes under load, one at a time, and looks for what was lost.
//!
//! SIGKILL takes a process and leaves the machine: this proves recovery from an interrupted program, and says nothing
//! of what was not yet on the disk. That is [`crate::power_loss`].

use std::time::Duration;

use serde::Serialize;
use tokio::time::{Instant, sleep};

use crate::cluster::{Cluster, Places, data_dirs};
use crate::ending::{self, Ending};
use crate::history::write_gap;
use crate::judge::{Numbers, millis};
use crate::load::Load;
use crate::lookout::Lookout;
use crate::random::Random;
use crate::runs::Runs;
use crate::spread::Spread;
use crate::verdict::{self, Check, Verdict};

/// Between a kill and the start after it, and between that node's recovery and the next kill.
const DOWN_MS: std::ops::Range<u64> = 100..1_500;
const CALM_MS: std::ops::Range<u64> = 200..1_500;

const STATUS_DEADLINE: Duration = Duration::from_secs(2);

/// The random numbers of this file; writers count from 1.
const STREAM: u64 = 0;

/// Kills nodes under load and looks for what was lost
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    run: Runs,

    /// How often a node is killed
    #[arg(long, default_value_t = 10, value_name = "N")]
    kills: u32,

    /// Writers that publish at the same time
    #[arg(long, value_name = "N", default_value_t = 8)]
    writers: usize,
}

#[derive(Debug, Serialize)]
struct Report {
    scenario: &'static str,
    verdict: Verdict,
    seed: u64,
    duration_s: u64,
    kills: usize,
    /// From the kill of a leader to the end of the first publish that was sent after it and acknowledged.
    after_leader_kill: Spread,
    /// The same, where the node did not lead.
    after_follower_kill: Spread,
    /// From the start of a killed node until it said that it was healthy.
    recovery: Spread,
    numbers: Option<Numbers>,
    checks: Vec<Check>,
    shortfalls: Vec<String>,
}

struct Kill {
    /// Since the load began.
    at: Duration,
    was_leader: bool,
    recovery: Duration,
}

/// Runs to the end and says what came of it. An error means that there is no verdict.
pub async fn run(args: Args) -> anyhow::Result<Verdict> {
    let Args { run, kills: wanted, writers } = args;
    let seed = run.seed();
    let files = run.files()?;
    let data_dirs = data_dirs(&files.data())?;
    let places = Places { binary: run.binary()?, data_dirs, files: files.path().to_owned() };
    run.note(&format!("crash-loop: seed {seed}, {wanted} kills, files in {}", files.path().display()));

    let began = Instant::now();
    let mut cluster = Cluster::start(&places).await?;
    cluster.until_healthy().await?;
    let lookout = Lookout::start(&cluster)?;
    let load = Load::start(&cluster, writers, seed).await?;
    let mut kills = Vec::new();
    let broken_off = kill(&mut cluster, &load, wanted, seed, &run, &mut kills).await.err();
    let ending = ending::end(&mut cluster, load, lookout, broken_off, (kills.len(), wanted)).await?;
    cluster.kill_all().await?;

    let Ending { checks, shortfalls, numbers, publishes } = ending;
    let gaps = |of_leader| {
        let kills = kills.iter().filter(|kill| kill.was_leader == of_leader);
        kills.filter_map(|kill| write_gap(&publishes, kill.at)).collect()
    };
    let report = Report {
        scenario: "crash-loop",
        verdict: Verdict::of(&checks, &shortfalls),
        seed,
        duration_s: began.elapsed().as_secs(),
        kills: kills.len(),
        after_leader_kill: gaps(true),
        after_follower_kill: gaps(false),
        recovery: kills.iter().map(|kill| kill.recovery).collect(),
        numbers,
        checks,
        shortfalls,
    };
    run.report(&report, &report.text())?;
    files.end(report.verdict)?;
    Ok(report.verdict)
}

/// Kills so many nodes. Fails if one does not come back.
async fn kill(
    cluster: &mut Cluster,
    load: &Load,
    wanted: u32,
    seed: u64,
    run: &Runs,
    kills: &mut Vec<Kill>,
) -> anyhow::Result<()> {
    let client = cluster.client(0, STATUS_DEADLINE)?;
    let mut random = Random::new(seed, STREAM);
    for number in 1..=wanted {
        sleep(random.millis(CALM_MS)).await;
        cluster.check_alive()?;
        let index = random.below(cluster.nodes.len());
        let leader = client.cluster_status().await.ok().and_then(|status| Cluster::leader(&status));
        let was_leader = leader == Some(index);
        let at = load.started().elapsed();
        cluster.nodes[index].kill().await?;
        let down = random.millis(DOWN_MS);
        sleep(down).await;
        let recovery = cluster.revive(index).await?;
        run.note(&format!(
            "kill {number}: {} ({}) at {} ms, down {} ms, healthy {} ms after its start",
            cluster.nodes[index].name,
            if was_leader { "leader" } else { "follower" },
            millis(at),
            millis(down),
            millis(recovery)
        ));
        kills.push(Kill { at, was_leader, recovery });
    }
    Ok(())
}

impl Report {
    fn text(&self) -> String {
        format!(
            "crash-loop: {} kills in {} s, seed {}\n  next acknowledged publish after the kill of a leader: {}\n  \
             after that of a follower: {}\n  killed node healthy again: {}\n{}{}",
            self.kills,
            self.duration_s,
            self.seed,
            self.after_leader_kill,
            self.after_follower_kill,
            self.recovery,
            self.numbers.as_ref().map(Numbers::text).unwrap_or_default(),
            verdict::text(self.verdict, &self.checks, &self.shortfalls)
        )
    }
}
