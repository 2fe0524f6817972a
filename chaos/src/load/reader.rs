//! A reader: asks one node for configs for as long as that node lives, and counts what it fails to serve.
//!
//! It reads an environment that never changes, which every node must serve whenever it lives; and those that are being
//! published, whose versions must never fall on a node while it lives.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use meridian_client::proto::admin::PublishRequest;
use meridian_client::proto::config::{Format, GetConfigRequest};
use meridian_client::{Client, Config, Error, Fetched};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use super::environments::{Environments, PROJECT};
use crate::cluster::Life;
use crate::document;

/// The environment that never changes.
pub(super) const QUIET: &str = "quiet";

const QUIET_DOCUMENT: &[u8] = br#"{"quiet":true}"#;

/// Between two reads of one reader: some hundred a second, which leaves the machine to the writers.
const PAUSE: Duration = Duration::from_millis(4);

/// How often a reader of a dead node looks whether the run has ended.
const DOWN_PAUSE: Duration = Duration::from_millis(100);

/// A publish reaches every node within milliseconds.
const SPREAD_TIMEOUT: Duration = Duration::from_secs(10);

/// Failures that are told in full; all are counted.
const TOLD: usize = 20;

pub(super) struct Reader {
    pub(super) node: &'static str,
    /// Of this node alone.
    pub(super) client: Client,
    pub(super) life: watch::Receiver<Life>,
    pub(super) environments: Arc<Environments>,
    pub(super) stop: Arc<AtomicBool>,
}

/// What readers saw of living nodes.
#[derive(Debug, Default)]
pub(crate) struct Reads {
    /// Answered as it must be.
    pub(crate) good: u64,
    /// Not answered.
    pub(crate) failed: u64,
    /// Answered, and wrong: a lower version than before, or another document than its digest says.
    pub(crate) wrong: u64,
    /// The slowest good read.
    pub(crate) slowest: Duration,
    /// The first of those that failed or were wrong.
    pub(crate) told: Vec<String>,
}

impl Reads {
    pub(super) fn add(&mut self, other: Self) {
        self.good += other.good;
        self.failed += other.failed;
        self.wrong += other.wrong;
        self.slowest = self.slowest.max(other.slowest);
        self.told.extend(other.told);
        self.told.truncate(TOLD);
    }

    fn tell(&mut self, what: String) {
        if self.told.len() < TOLD {
            self.told.push(what);
        }
    }
}

/// Publishes what the readers read, and waits until each of these nodes serves it.
pub(super) async fn prepare(nodes: &[Client]) -> anyhow::Result<()> {
    let message = PublishRequest {
        project: PROJECT.to_owned(),
        environment: QUIET.to_owned(),
        format: Format::Json.into(),
        document: QUIET_DOCUMENT.into(),
        ..Default::default()
    };
    // A node that does not lead names the leader, so any of them will do.
    nodes[0].publish(message).await.context("cannot publish")?;
    for node in nodes {
        let deadline = Instant::now() + SPREAD_TIMEOUT;
        while let Err(error) = fetch(node, QUIET.to_owned()).await {
            if Instant::now() > deadline {
                return Err(error).context("a node does not serve what was published");
            }
            sleep(PAUSE).await;
        }
    }
    Ok(())
}

async fn fetch(client: &Client, environment: String) -> Result<Fetched, Error> {
    let project = PROJECT.to_owned();
    client.get_config(GetConfigRequest { project, environment, ..Default::default() }).await
}

impl Reader {
    pub(super) async fn run(mut self) -> Reads {
        let mut reads = Reads::default();
        let mut known = Known::default();
        let mut turn = 0;
        while !self.stop.load(Ordering::Relaxed) {
            let life = *self.life.borrow_and_update();
            if life == Life::Down {
                // Woken by the next life; the pause is for the end of the run.
                let _ = timeout(DOWN_PAUSE, self.life.changed()).await;
                known = Known::default();
                continue;
            }
            self.read_quiet(life, &mut reads).await;
            turn += 1;
            self.read_busy(life, turn, &mut known, &mut reads).await;
            sleep(PAUSE).await;
        }
        reads
    }

    async fn read_quiet(&self, life: Life, reads: &mut Reads) {
        let asked = Instant::now();
        let answer = fetch(&self.client, QUIET.to_owned()).await;
        let took = asked.elapsed();
        if *self.life.borrow() != life {
            return;
        }
        match answer {
            Ok(Fetched::Config(config)) if config.document == QUIET_DOCUMENT => {
                reads.good += 1;
                reads.slowest = reads.slowest.max(took);
            }
            Ok(other) => {
                reads.wrong += 1;
                reads.tell(format!("{}: {other:?}", self.node));
            }
            Err(error) => {
                reads.failed += 1;
                reads.tell(format!("{} after {} ms: {error}", self.node, took.as_millis()));
            }
        }
    }

    async fn read_busy(&self, life: Life, turn: usize, known: &mut Known, reads: &mut Reads) {
        let Some(place) = self.environments.glance(turn) else { return };
        let answer = fetch(&self.client, Environments::name(place.environment)).await;
        if *self.life.borrow() != life {
            return;
        }
        match answer {
            Ok(Fetched::Config(config)) => match known.judge(place.environment, &config) {
                Ok(()) => reads.good += 1,
                Err(why) => {
                    reads.wrong += 1;
                    reads.tell(format!("{}: {why}", self.node));
                }
            },
            // It is new, and this node has not heard of it yet.
            Err(Error::NotFound { .. }) if !known.versions.contains_key(&place.environment) => {}
            Ok(Fetched::NotModified(_)) => {
                reads.wrong += 1;
                reads.tell(format!("{}: not modified, to a reader who holds nothing", self.node));
            }
            Err(error) => {
                reads.failed += 1;
                reads.tell(format!("{}: {error}", self.node));
            }
        }
    }
}

/// What a reader knows of the present life of its node.
#[derive(Default)]
struct Known {
    /// Newest version read, by environment. Environments are few at a time, and forgotten with the life.
    versions: HashMap<u32, u64>,
}

impl Known {
    fn judge(&mut self, environment: u32, config: &Config) -> Result<(), String> {
        let version = config.release.version;
        let newest = self.versions.entry(environment).or_default();
        if version < *newest {
            return Err(format!("environment {environment} fell from version {newest} to {version}"));
        }
        *newest = version;
        if document::parse_digest(&config.release.digest) != Some(document::digest(&config.document)) {
            return Err(format!("environment {environment} version {version} has another document"));
        }
        Ok(())
    }
}
