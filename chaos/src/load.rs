//! What a cluster has to bear while it is hurt: writers and readers, and what they saw.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use meridian_client::proto::admin::{CreateEnvironmentRequest, CreateProjectRequest};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::cluster::Cluster;
use crate::history::Publish;
use crate::random::Random;

mod environments;
mod reader;
mod writer;

pub(crate) use environments::{Environments, PROJECT};
pub(crate) use reader::Reads;

/// Patience of the writers, in turn: the short one leaves outcomes unknown, the long one outlasts an election.
const WRITE_DEADLINES: [Duration; 2] = [Duration::from_secs(10), Duration::from_secs(1)];

/// A read that takes longer has failed its reader.
const READ_DEADLINE: Duration = Duration::from_secs(1);

/// A load that runs. It bears any fault; only [`Load::stop`] ends it.
pub(crate) struct Load {
    started: Instant,
    stop: Arc<AtomicBool>,
    environments: Arc<Environments>,
    writers: JoinSet<Written>,
    readers: JoinSet<Reads>,
}

/// What one writer, or all of them, did and were told.
#[derive(Debug, Default)]
pub(crate) struct Written {
    pub(crate) publishes: Vec<Publish>,
    /// Refusals by reason.
    pub(crate) refusals: BTreeMap<String, u64>,
}

/// What a load saw.
pub(crate) struct Seen {
    pub(crate) written: Written,
    pub(crate) reads: Reads,
    /// Environments that were used; they are numbered from 0.
    pub(crate) environments: u32,
}

impl Load {
    /// Makes the first environments and sets so many writers, and a reader of each node, to work.
    pub(crate) async fn start(cluster: &Cluster, writers: usize, seed: u64) -> anyhow::Result<Self> {
        let client = cluster.client(0, WRITE_DEADLINES[0])?;
        let project = CreateProjectRequest { project: PROJECT.to_owned(), ..Default::default() };
        client.create_project(project).await.context("cannot make the project of the run")?;
        let quiet = CreateEnvironmentRequest {
            project: PROJECT.to_owned(),
            environment: reader::QUIET.to_owned(),
            ..Default::default()
        };
        client.create_environment(quiet).await.context("cannot make an environment")?;
        let each = (0..cluster.nodes.len()).map(|index| cluster.client_of_one(index, WRITE_DEADLINES[0]));
        reader::prepare(&each.collect::<Result<Vec<_>, _>>()?).await?;

        let load = Self {
            started: Instant::now(),
            stop: Arc::default(),
            environments: Arc::new(Environments::new()),
            writers: JoinSet::new(),
            readers: JoinSet::new(),
        };
        load.with_writers(cluster, writers, seed)?.with_readers(cluster)
    }

    fn with_writers(mut self, cluster: &Cluster, writers: usize, seed: u64) -> anyhow::Result<Self> {
        for number in 0..writers {
            let writer = writer::Writer {
                client: cluster.client(number, WRITE_DEADLINES[number % WRITE_DEADLINES.len()])?,
                environments: self.environments.clone(),
                random: Random::new(seed, number as u64 + 1),
                started: self.started,
                stop: self.stop.clone(),
                compares_and_sets: matches!(number % 8, 3 | 6),
                repeats_unknown: number % 4 < 2,
            };
            self.writers.spawn(writer.run());
        }
        Ok(self)
    }

    fn with_readers(mut self, cluster: &Cluster) -> anyhow::Result<Self> {
        for (index, node) in cluster.nodes.iter().enumerate() {
            let reader = reader::Reader {
                node: node.name,
                client: cluster.client_of_one(index, READ_DEADLINE)?,
                life: node.life(),
                environments: self.environments.clone(),
                stop: self.stop.clone(),
            };
            self.readers.spawn(reader.run());
        }
        Ok(self)
    }

    /// When the history begins.
    pub(crate) fn started(&self) -> Instant {
        self.started
    }

    /// Lets everyone finish what is under way, and collects what they saw.
    pub(crate) async fn stop(mut self) -> anyhow::Result<Seen> {
        self.stop.store(true, Ordering::Relaxed);
        let mut written = Written::default();
        while let Some(part) = self.writers.join_next().await {
            let part = part.context("a writer panicked")?;
            written.publishes.extend(part.publishes);
            for (reason, count) in part.refusals {
                *written.refusals.entry(reason).or_default() += count;
            }
        }
        let mut reads = Reads::default();
        while let Some(part) = self.readers.join_next().await {
            reads.add(part.context("a reader panicked")?);
        }
        Ok(Seen { written, reads, environments: self.environments.used() })
    }
}
