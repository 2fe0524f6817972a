//! `meridian-chaos failover`: how long nobody can publish when a leader goes, for each timing profile.
//!
//! A leader is killed, or asked to stop, again and again, while publishes are sent at fixed times through the shipped
//! client, whatever becomes of those before them. From outside, and with everything that belongs to it: noticing the
//! death, the election, and the client finding its way. Every one of these publishes waits, so the first that is
//! acknowledged tells when the cluster takes writes again, to within the interval between two of them.
//!
//! The WAN profile runs over relays that make every round trip 80 ms long, also that of the client, wherever the leader
//! is: its connections, its publish, and its way from the old leader to the new one.

use std::time::Duration;

use anyhow::Context as _;
use clap::ValueEnum;
use serde::Serialize;
use tokio::time::{Instant, sleep};

use crate::cluster::{Cluster, Places, Shape, data_dirs};
use crate::figures::Figures;
use crate::judge::millis;
use crate::probe::{self, Probe};
use crate::random::Random;
use crate::runs::Runs;
use crate::verdict::{self, Check, Verdict};

mod plot;
mod target;

use target::{Fault, TARGETS, Target};

/// Between the recovery of a node and the next fault: the cluster has to be at rest, and all connections open again.
const CALM_MS: std::ops::Range<u64> = 1_500..2_500;

/// Without an acknowledgement for so long after a fault, the run has nothing more to measure.
const OUTAGE: Duration = Duration::from_secs(15);

/// After a planned stop was acknowledged: the gap around it is over by then.
const AROUND_STOP: Duration = Duration::from_secs(2);

const STATUS_DEADLINE: Duration = Duration::from_secs(5);

/// The random numbers of this file.
const STREAM: u64 = 0;

/// Measures how long nobody can publish when the leader goes
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    run: Runs,

    /// How often the leader is killed, for each profile
    #[arg(long, default_value_t = 50, value_name = "N")]
    kills: u32,

    /// How often the leader is stopped in an orderly way, for each profile
    #[arg(long, default_value_t = 20, value_name = "N")]
    stops: u32,

    /// What is measured
    #[arg(long, value_enum, value_delimiter = ',', default_values = ["lan", "default", "wan"])]
    profiles: Vec<Profile>,
}

/// A timing profile, with the network it is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Profile {
    /// Loopback.
    Lan,
    /// Loopback, with clocks that bear more.
    Default,
    /// 80 ms round trip.
    Wan,
}

impl Profile {
    fn name(self) -> &'static str {
        match self {
            Self::Lan => "lan",
            Self::Default => "default",
            Self::Wan => "wan",
        }
    }

    fn shape(self) -> Shape {
        let one_way = match self {
            Self::Lan | Self::Default => None,
            Self::Wan => Some(Duration::from_millis(40)),
        };
        Shape { profile: Some(self.name()), one_way }
    }
}

#[derive(Debug, Serialize)]
struct Report {
    scenario: &'static str,
    verdict: Verdict,
    seed: u64,
    duration_s: u64,
    rows: Vec<Row>,
    checks: Vec<Check>,
    shortfalls: Vec<String>,
}

/// One fault under one profile.
#[derive(Debug, Serialize)]
struct Row {
    profile: Profile,
    fault: Fault,
    figures: Figures,
    /// Each time, in the order of the run.
    times_ms: Vec<f64>,
    /// What it must reach.
    targets: Vec<Target>,
    /// Elections beyond the one that each fault costs.
    extra_terms: u64,
}

/// Runs to the end and says what came of it. An error means that there is no verdict.
pub async fn run(args: Args) -> anyhow::Result<Verdict> {
    let Args { run, kills, stops, profiles } = args;
    let seed = run.seed();
    let files = run.files()?;
    run.note(&format!("failover: seed {seed}, files in {}", files.path().display()));
    let began = Instant::now();
    let mut rows = Vec::new();
    for profile in profiles {
        let dir = files.path().join(profile.name());
        let data_dirs = data_dirs(&files.data().join(profile.name()))?;
        std::fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
        let places = Places { binary: run.binary()?, data_dirs, files: dir };
        let mut cluster = Cluster::shaped(&places, &profile.shape()).await?;
        cluster.until_healthy().await?;
        let probe = Probe::start(&cluster, probe::FINE).await?;
        for (fault, wanted) in [(Fault::Kill, kills), (Fault::Stop, stops)] {
            rows.push(measure(&mut cluster, &probe, profile, fault, wanted, seed, &run).await?);
        }
        drop(probe);
        cluster.kill_all().await?;
    }

    let wanted = |fault| if fault == Fault::Kill { kills } else { stops };
    let shortfalls: Vec<String> = rows
        .iter()
        .filter(|row| row.times_ms.len() < wanted(row.fault) as usize || row.times_ms.is_empty())
        .map(|row| {
            format!("{} {}: measured {} times", row.profile.name(), row.fault.name(), row.times_ms.len())
        })
        .collect();
    let missed = rows.iter().flat_map(Row::missed);
    let checks = vec![Check::new("writes are taken again in time", missed)];
    let report = Report {
        scenario: "failover",
        verdict: Verdict::of(&checks, &shortfalls),
        seed,
        duration_s: began.elapsed().as_secs(),
        rows,
        checks,
        shortfalls,
    };
    run.keep("failover.svg", &plot::svg(&report.rows))?;
    run.report(&report, &report.text())?;
    files.end(report.verdict)?;
    Ok(report.verdict)
}

async fn measure(
    cluster: &mut Cluster,
    probe: &Probe,
    profile: Profile,
    fault: Fault,
    wanted: u32,
    seed: u64,
    run: &Runs,
) -> anyhow::Result<Row> {
    let client = cluster.client(0, STATUS_DEADLINE)?;
    let mut random = Random::new(seed, STREAM);
    let mut times = Vec::new();
    let first_term = term(&client).await?;
    for number in 1..=wanted {
        sleep(random.millis(CALM_MS)).await;
        cluster.check_alive()?;
        let status = client.cluster_status().await.context("cannot ask who leads")?;
        let leader = Cluster::leader(&status).context("nobody leads a cluster at rest")?;
        let at = probe.now();
        let gap = match fault {
            Fault::Kill => {
                cluster.nodes[leader].kill().await?;
                probe.next_ack(at, OUTAGE).await
            }
            Fault::Stop => {
                cluster.nodes[leader].stop().await?;
                let recovered = probe.next_ack(probe.now(), OUTAGE).await;
                sleep(AROUND_STOP).await;
                recovered.map(|_| probe.longest_gap(at))
            }
        };
        let gap = gap.with_context(|| format!("nothing was acknowledged for {OUTAGE:?} after a fault"))?;
        cluster.revive(leader).await?;
        run.note(&format!(
            "{} {} {number}: {}, {} ms",
            profile.name(),
            fault.name(),
            cluster.nodes[leader].name,
            millis(gap)
        ));
        times.push(gap);
    }
    let extra_terms = (term(&client).await? - first_term).saturating_sub(u64::from(wanted));
    Ok(Row {
        profile,
        fault,
        times_ms: times.iter().map(|time| time.as_secs_f64() * 1e3).collect(),
        figures: Figures::of(times),
        targets: TARGETS.iter().filter(|target| target.is_for(profile, fault)).copied().collect(),
        extra_terms,
    })
}

async fn term(client: &meridian_client::Client) -> anyhow::Result<u64> {
    let status = client.cluster_status().await.context("cannot ask for the term")?;
    status.nodes.iter().map(|node| node.term).max().context("there are no nodes")
}

impl Row {
    fn missed(&self) -> Vec<String> {
        let missed = self.targets.iter().filter(|target| !target.is_met(&self.figures));
        missed.map(|target| format!("{} {}: {target}", self.profile.name(), self.fault.name())).collect()
    }
}

impl Report {
    fn text(&self) -> String {
        let mut text = format!(
            "failover: leader gone -> next acknowledged publish, ms, in {} s, seed {}\n  profile  fault   n    min    \
             p50    p95    p99    max  extra terms  must be\n",
            self.duration_s, self.seed
        );
        for row in &self.rows {
            let Figures { count, min_ms, p50_ms, p95_ms, p99_ms, max_ms } = &row.figures;
            let targets: Vec<_> = row
                .targets
                .iter()
                .map(|target| {
                    format!("{target} {}", if target.is_met(&row.figures) { "PASS" } else { "FAIL" })
                })
                .collect();
            text += &format!(
                "  {:<8} {:<4} {count:>4} {min_ms:>6.0} {p50_ms:>6.0} {p95_ms:>6.0} {p99_ms:>6.0} {max_ms:>6.0}  \
                 {:>11}  {}\n",
                row.profile.name(),
                row.fault.name(),
                row.extra_terms,
                targets.join(", ")
            );
        }
        text + &verdict::text(self.verdict, &self.checks, &self.shortfalls)
    }
}
