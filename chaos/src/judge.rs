//! The end of a run: collects what the nodes hold, and holds it against what the clients were told.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, bail};
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use meridian_client::proto::admin::ListReleasesRequest;
use meridian_client::{Client, Error};
use serde::Serialize;

use crate::check::{self, Breach, Releases};
use crate::cluster::Cluster;
use crate::document;
use crate::history::{Outcome, Publish, longest_write_gap};
use crate::load::{Environments, PROJECT, Reads, Seen};
use crate::lookout::Sighted;
use crate::verdict::Check;

/// The whole history that a node keeps of an environment, in one page.
const PAGE: u32 = 1_000;

const CALL_DEADLINE: Duration = Duration::from_secs(20);

/// Nodes and environments that are asked at a time.
const CONCURRENT: usize = 4;

/// What may be the reason of a refusal under this load. Anything else is an answer that no operator should get.
const EXPECTED_REFUSALS: [&str; 3] = ["version-conflict", "unavailable", "busy"];

/// The numbers of a run.
#[derive(Debug, Serialize)]
pub(crate) struct Numbers {
    pub(crate) publishes: usize,
    pub(crate) acknowledged: usize,
    pub(crate) refused: BTreeMap<String, u64>,
    pub(crate) unknown: usize,
    /// Of those, how many turned out to have been done.
    pub(crate) unknown_but_done: usize,
    pub(crate) environments: u32,
    /// On one node.
    pub(crate) releases: usize,
    /// The longest time in which nothing was acknowledged.
    pub(crate) longest_write_gap_ms: u64,
    pub(crate) reads: u64,
    pub(crate) reads_failed: u64,
    pub(crate) reads_wrong: u64,
    pub(crate) slowest_read_ms: u64,
    /// How often a node's state digest was found equal to another node's.
    pub(crate) digests_compared: u64,
    /// Terms that were begun: elections, won or not.
    pub(crate) terms: u64,
}

impl Numbers {
    /// The lines a person reads.
    pub(crate) fn text(&self) -> String {
        let refused: Vec<_> =
            self.refused.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
        format!(
            "  publishes: {} sent, {} acknowledged, {} unknown ({} of them done), refused: {}\n  {} releases in {} \
             environments; longest time without an acknowledgement {} ms; {} terms\n  reads of living nodes: {} good, \
             {} failed, {} wrong, slowest {} ms; {} state digests compared\n",
            self.publishes,
            self.acknowledged,
            self.unknown,
            self.unknown_but_done,
            if refused.is_empty() { "none".to_owned() } else { refused.join(", ") },
            self.releases,
            self.environments,
            self.longest_write_gap_ms,
            self.terms,
            self.reads,
            self.reads_failed,
            self.reads_wrong,
            self.slowest_read_ms,
            self.digests_compared,
        )
    }
}

/// Reads the history of every environment from every node, and judges everything that was seen.
pub(crate) async fn judge(
    cluster: &Cluster,
    seen: &Seen,
    sighted: &Sighted,
) -> anyhow::Result<(Vec<Check>, Numbers)> {
    let clients: Vec<(String, Client)> = cluster
        .nodes
        .iter()
        .enumerate()
        .map(|(index, node)| Ok((node.name.to_owned(), cluster.client_of_one(index, CALL_DEADLINE)?)))
        .collect::<Result<_, Error>>()?;
    let publishes = &seen.written.publishes;
    let mut by_environment: BTreeMap<u32, Vec<Publish>> = BTreeMap::new();
    for publish in publishes {
        by_environment.entry(publish.environment).or_default().push(publish.clone());
    }

    let judged: Vec<Judged> = stream::iter(&by_environment)
        .map(|(&environment, publishes)| judge_environment(&clients, environment, publishes))
        .buffer_unordered(CONCURRENT)
        .try_collect()
        .await?;
    let breaches: Vec<(u32, Breach)> = judged
        .iter()
        .flat_map(|judged| judged.breaches.iter().map(|breach| (judged.environment, breach.clone())))
        .collect();

    let Reads { good, failed, wrong, slowest, told } = &seen.reads;
    let numbers = Numbers {
        publishes: publishes.len(),
        acknowledged: publishes.iter().filter(|publish| publish.acked_version().is_some()).count(),
        refused: seen.written.refusals.clone(),
        unknown: publishes.iter().filter(|publish| publish.outcome == Outcome::Unknown).count(),
        unknown_but_done: judged.iter().map(|judged| judged.unknown_but_done).sum(),
        environments: seen.environments,
        releases: judged.iter().map(|judged| judged.releases).sum(),
        longest_write_gap_ms: millis(longest_write_gap(publishes)),
        reads: *good,
        reads_failed: *failed,
        reads_wrong: *wrong,
        slowest_read_ms: millis(*slowest),
        digests_compared: sighted.compared(),
        terms: sighted.term,
    };
    let mut checks = Vec::from(history_checks(&breaches));
    let strange = numbers.refused.iter().filter(|(reason, _)| !EXPECTED_REFUSALS.contains(&reason.as_str()));
    checks.extend([
        Check::new(
            "no publish was refused without reason",
            strange.map(|(why, count)| format!("{count} x {why}")),
        ),
        Check::new("state digests are equal at equal index", &sighted.divergences),
        Check::new("reads of living nodes neither failed nor went back", told),
    ]);
    Ok((checks, numbers))
}

/// Whole milliseconds.
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// The breaches, sorted by the promise they break.
fn history_checks(breaches: &[(u32, Breach)]) -> [Check; 4] {
    let of = |promise, is: fn(&Breach) -> bool| {
        let told = breaches.iter().filter(|(_, breach)| is(breach));
        Check::new(promise, told.map(|(number, breach)| format!("{}: {breach}", Environments::name(*number))))
    };
    [
        of("no acknowledged publish is lost, on any node", |breach| {
            matches!(breach, Breach::Lost { .. } | Breach::WrongDocument { .. })
        }),
        of("no version is reused, and versions are dense", |breach| {
            matches!(breach, Breach::Reused { .. } | Breach::Gap { .. })
        }),
        of("each publish is there at most once, refused and foreign ones never", |breach| {
            matches!(breach, Breach::Twice { .. } | Breach::RefusedButDone { .. } | Breach::Foreign { .. })
        }),
        of("publishes are linearizable, compare-and-set holds", |breach| {
            matches!(breach, Breach::CompareAndSet { .. } | Breach::Order { .. })
        }),
    ]
}

struct Judged {
    environment: u32,
    breaches: Vec<Breach>,
    releases: usize,
    unknown_but_done: usize,
}

async fn judge_environment(
    clients: &[(String, Client)],
    environment: u32,
    publishes: &[Publish],
) -> anyhow::Result<Judged> {
    let mut nodes = Vec::with_capacity(clients.len());
    for (name, client) in clients {
        let releases = releases(client, environment).await;
        nodes.push((name.clone(), releases.with_context(|| format!("cannot read the history of {name}"))?));
    }
    let held = &nodes[0].1;
    let unknown_but_done = publishes
        .iter()
        .filter(|publish| {
            publish.outcome == Outcome::Unknown && held.values().any(|held| *held == publish.digest)
        })
        .count();
    let breaches = check::environment(publishes, &nodes);
    Ok(Judged { environment, breaches, releases: held.len(), unknown_but_done })
}

/// All releases of an environment, as one node tells them. An environment that a node does not know has none.
async fn releases(client: &Client, environment: u32) -> anyhow::Result<Releases> {
    let message = ListReleasesRequest {
        project: PROJECT.to_owned(),
        environment: Environments::name(environment),
        limit: PAGE,
        before_version: 0,
    };
    let page = match client.releases(message).await {
        Ok(page) => page,
        Err(Error::NotFound { .. }) => return Ok(Releases::new()),
        Err(error) => return Err(error.into()),
    };
    if page.next_before_version != 0 {
        bail!("{} holds more releases than were sent", Environments::name(environment));
    }
    let digest = |text: &str| document::parse_digest(text).with_context(|| format!("{text:?} is no digest"));
    page.releases.into_iter().map(|release| Ok((release.version, digest(&release.digest)?))).collect()
}
