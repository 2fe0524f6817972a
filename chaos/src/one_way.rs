//! `meridian-chaos one-way`: a voter that can send and hears nothing, for a while.
//!
//! Every way from the other nodes to it is cut, and none from it: it misses the leader, and can ask for votes all the
//! time. It must not raise the term, nobody else may come to lead, and writers must not notice, neither then nor when
//! it hears again.

use std::time::Duration;

use anyhow::Context as _;
use meridian_client::Client;
use serde::Serialize;
use tokio::time::{Instant, sleep};

use crate::cluster::{Cluster, Places, Shape, data_dirs};
use crate::judge::millis;
use crate::probe::{self, Probe};
use crate::relay::Place;
use crate::runs::Runs;
use crate::verdict::{self, Check, Verdict};

/// Writes on both sides of the fault.
const CALM: Duration = Duration::from_secs(2);

/// Writes after the heal, while the voter catches up.
const AFTERMATH: Duration = Duration::from_secs(5);

const LOOK_INTERVAL: Duration = Duration::from_millis(200);

const STATUS_DEADLINE: Duration = Duration::from_secs(2);

const WRITE_GAP: Duration = Duration::from_millis(200);

/// Lets a voter hear nothing for a while
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    run: Runs,

    /// For how long, in seconds
    #[arg(long, default_value_t = 30, value_name = "S", value_parser = clap::value_parser!(u64).range(1..=3_600))]
    seconds: u64,
}

#[derive(Debug, Serialize)]
struct Report {
    scenario: &'static str,
    verdict: Verdict,
    seconds: u64,
    longest_write_gap_ms: u64,
    acknowledged: usize,
    /// Messages to the voter that were held.
    held: u64,
    checks: Vec<Check>,
    shortfalls: Vec<String>,
}

/// Who leads, by one look at the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Reign {
    term: u64,
    leader: Option<usize>,
}

/// Runs to the end and says what came of it. An error means that there is no verdict.
pub async fn run(args: Args) -> anyhow::Result<Verdict> {
    let Args { run, seconds } = args;
    let files = run.files()?;
    let data_dirs = data_dirs(&files.data())?;
    let places = Places { binary: run.binary()?, data_dirs, files: files.path().to_owned() };
    run.note(&format!("one-way: {seconds} s, files in {}", files.path().display()));

    let shape = Shape { one_way: Some(Duration::ZERO), ..Shape::default() };
    let mut cluster = Cluster::shaped(&places, &shape).await?;
    cluster.until_healthy().await?;
    let probe = Probe::start(&cluster, probe::FINE).await?;
    sleep(CALM).await;
    let client = cluster.client(0, STATUS_DEADLINE)?;
    let before = look(&client).await?;
    let leader = before.leader.context("nobody leads a cluster at rest")?;
    let deaf = (0..cluster.nodes.len()).find(|index| *index != leader).context("there is one node only")?;

    let at = probe.now();
    let others = (0..cluster.nodes.len()).filter(|other| *other != deaf);
    let network = cluster.network()?;
    network.cut(others.map(|other| (Place::Node(other), Place::Node(deaf))));
    let mut changes = watch(&client, before, Duration::from_secs(seconds)).await;
    let held = network.held();
    network.heal();
    changes.extend(watch(&client, before, AFTERMATH).await);
    cluster.check_alive()?;
    cluster.until_healthy().await?;
    let gap = probe.longest_gap(at);
    let acknowledged = probe.latencies(at).len();
    drop(probe);
    cluster.kill_all().await?;

    let slow = (gap >= WRITE_GAP).then(|| format!("nothing was acknowledged for {} ms", millis(gap)));
    let checks = vec![
        Check::new("the term stays, and the leader", &changes),
        Check::new("writers do not notice", slow),
    ];
    let mut shortfalls = Vec::new();
    if held == 0 || acknowledged == 0 {
        shortfalls.push(format!("{held} messages met the cut, {acknowledged} publishes were acknowledged"));
    }
    let report = Report {
        scenario: "one-way",
        verdict: Verdict::of(&checks, &shortfalls),
        seconds,
        longest_write_gap_ms: millis(gap),
        acknowledged,
        held,
        checks,
        shortfalls,
    };
    run.report(&report, &report.text())?;
    files.end(report.verdict)?;
    Ok(report.verdict)
}

async fn look(client: &Client) -> anyhow::Result<Reign> {
    let status = client.cluster_status().await.context("cannot ask who leads")?;
    let term = status.nodes.iter().map(|node| node.term).max().unwrap_or(0);
    Ok(Reign { term, leader: Cluster::leader(&status) })
}

/// Each look at which something else was seen than before the fault.
async fn watch(client: &Client, before: Reign, time: Duration) -> Vec<String> {
    let end = Instant::now() + time;
    let mut changes = Vec::new();
    while Instant::now() < end {
        match look(client).await {
            Ok(now) if now == before => {}
            Ok(now) => changes.push(format!("{now:?} after {before:?}")),
            Err(error) => changes.push(format!("{error:#}")),
        }
        sleep(LOOK_INTERVAL).await;
    }
    changes
}

impl Report {
    fn text(&self) -> String {
        format!(
            "one-way: a voter heard nothing for {} s, {} messages were held\n  {} publishes acknowledged; longest time \
             without one {} ms\n{}",
            self.seconds,
            self.held,
            self.acknowledged,
            self.longest_write_gap_ms,
            verdict::text(self.verdict, &self.checks, &self.shortfalls)
        )
    }
}
