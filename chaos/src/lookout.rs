//! Looks at the state digests of all nodes while a run goes on, and brings them together at its end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use meridian_client::Client;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use crate::cluster::Cluster;
use crate::digests::{Digests, Divergence};

/// Nodes digest their state about once a second.
const INTERVAL: Duration = Duration::from_millis(300);

const CALL_DEADLINE: Duration = Duration::from_secs(2);

/// After the faults and the load: every node has everything by then, or will never have it.
const AGREEMENT_TIMEOUT: Duration = Duration::from_secs(60);

/// A lookout at work.
pub(crate) struct Lookout {
    client: Client,
    stop: Arc<AtomicBool>,
    task: JoinHandle<Sighted>,
}

/// What a lookout saw.
#[derive(Debug, Default)]
pub(crate) struct Sighted {
    digests: Digests,
    pub(crate) divergences: Vec<Divergence>,
    /// Highest term. It rises with every election that was tried.
    pub(crate) term: u64,
}

impl Lookout {
    pub(crate) fn start(cluster: &Cluster) -> anyhow::Result<Self> {
        let client = cluster.client(0, CALL_DEADLINE)?;
        let stop = Arc::new(AtomicBool::new(false));
        let task = tokio::spawn({
            let (client, stop) = (client.clone(), stop.clone());
            async move {
                let mut sighted = Sighted::default();
                while !stop.load(Ordering::Relaxed) {
                    sighted.look(&client).await;
                    sleep(INTERVAL).await;
                }
                sighted
            }
        });
        Ok(Self { client, stop, task })
    }

    /// Waits until all nodes have applied what any of them holds now, and were seen equal there. To be called when
    /// the load has ended.
    pub(crate) async fn agree(self, nodes: usize) -> anyhow::Result<Sighted> {
        self.stop.store(true, Ordering::Relaxed);
        let mut sighted = self.task.await.context("the lookout panicked")?;
        let deadline = Instant::now() + AGREEMENT_TIMEOUT;
        let mut goal = None;
        while sighted.divergences.is_empty() {
            let applied = sighted.look(&self.client).await;
            let goal = *goal.get_or_insert(applied);
            if goal > 0 && sighted.digests.agreed(nodes) >= Some(goal) {
                break;
            }
            if Instant::now() > deadline {
                let agreed = sighted.digests.agreed(nodes);
                anyhow::bail!("the nodes were not seen equal at or after index {goal}: only at {agreed:?}");
            }
            sleep(INTERVAL / 3).await;
        }
        Ok(sighted)
    }
}

impl Sighted {
    /// The highest index that any node has applied; 0 if nobody told.
    async fn look(&mut self, client: &Client) -> u64 {
        let Ok(status) = client.cluster_status().await else { return 0 };
        for node in &status.nodes {
            self.term = self.term.max(node.term);
            if let Err(divergence) = self.digests.note(node)
                && self.divergences.last() != Some(&divergence)
            {
                self.divergences.push(divergence);
            }
        }
        status.nodes.iter().map(|node| node.applied_index).max().unwrap_or(0)
    }

    /// How often a node was found equal to another one.
    pub(crate) fn compared(&self) -> u64 {
        self.digests.compared()
    }
}
