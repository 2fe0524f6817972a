//! The only door to the replicated state.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use meridian_model::{Command, Document, Mutation, Outcome, Release, RequestId, wire};
use meridian_proto::raft as proto;
use openraft::async_runtime::watch::WatchReceiver as _;
use openraft::errors::{ClientWriteError, ForwardToLeader, RaftError};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

use crate::catalog::Catalog;
use crate::error::{Fatal, Leader, ProposeError, ReadError};
use crate::leadership;
use crate::member::{Lifeline, MemberState, now_ms};
use crate::membership::Member;
use crate::membership::change::ListedMember;
use crate::metrics::StorageMetrics;
use crate::network::wire::Wire as _;
use crate::status::{NodeReport, NodeStatus, Readiness};
use crate::storage;
use crate::types::{EncodedCommand, Reply, TypeConfig};

/// Proposals that may wait for the log at once. The log blocks Raft itself at 64 MB of unsynced writes.
const PROPOSED_BYTES: usize = 32 << 20;

/// What a proposal takes of [`PROPOSED_BYTES`] at least, so that small ones are bounded in number too.
const PROPOSAL_BYTES_MIN: usize = 1 << 10;

/// A proposal above this has the log to itself: two large entries in a row would hold up heartbeats.
const LARGE_BYTES: usize = 256 << 10;

/// For one node's answer about itself.
const STATUS_TIMEOUT: Duration = Duration::from_millis(500);

/// A running member of the cluster. Cheap to clone; the member runs on threads of its own until [`Handle::stop`].
#[derive(Clone)]
pub struct Handle {
    pub(crate) state: Arc<MemberState>,
    lifeline: Lifeline,
    proposed: Arc<Semaphore>,
    large: Arc<Semaphore>,
}

/// A proposal that was decided, the same way on every node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    /// Its place in the log: a node whose view has at least this revision shows it.
    pub revision: u64,
    /// The answer.
    pub outcome: Outcome,
}

impl Handle {
    pub(crate) fn new(state: Arc<MemberState>, lifeline: Lifeline) -> Self {
        let proposed = Arc::new(Semaphore::new(PROPOSED_BYTES));
        Self { state, lifeline, proposed, large: Arc::new(Semaphore::new(1)) }
    }

    /// What readers look at.
    pub fn catalog(&self) -> &Arc<Catalog> {
        &self.state.catalog
    }

    /// The cluster's id.
    pub fn cluster_id(&self) -> &str {
        &self.state.home.cluster_id
    }

    /// This node's id.
    pub fn node_id(&self) -> u64 {
        self.state.home.node_id
    }

    /// Puts a change in the log and waits until it is decided, for at most `timeout`. The leader's clock is stamped
    /// on it here.
    pub async fn propose(
        &self,
        request_id: RequestId,
        actor: String,
        mutation: Mutation,
        timeout: Duration,
    ) -> Result<Committed, ProposeError> {
        let deadline = Instant::now() + timeout;
        if self.state.is_stopping() {
            return Err(ProposeError::Stopping);
        }
        if !self.state.leads() {
            return Err(ProposeError::NotLeader { leader: self.state.other_leader() });
        }
        let command = Command { request_id: Some(request_id), actor, time_ms: now_ms(), mutation };
        let body = wire::encode_command(&command);
        drop(command);
        let bytes = body.len().clamp(PROPOSAL_BYTES_MIN, PROPOSED_BYTES);
        let bytes = u32::try_from(bytes).expect("the bound is below 4 GB");
        let busy = |_| ProposeError::Busy;
        let _large = match body.len() > LARGE_BYTES {
            true => Some(timeout_at(deadline, self.large.acquire()).await.map_err(busy)?),
            false => None,
        };
        let _permit = timeout_at(deadline, self.proposed.acquire_many(bytes)).await.map_err(busy)?;
        match timeout_at(deadline, self.state.raft.client_write(EncodedCommand(body))).await {
            Err(_) => Err(ProposeError::Unknown),
            Ok(Ok(written)) => match written.data {
                Reply::Decided(outcome) => Ok(Committed { revision: written.log_id.index, outcome }),
                Reply::Nothing => Err(ProposeError::Unknown),
            },
            Ok(Err(error)) => Err(self.refused(error)),
        }
    }

    fn refused(&self, error: RaftError<TypeConfig, ClientWriteError<TypeConfig>>) -> ProposeError {
        match error {
            RaftError::APIError(ClientWriteError::ForwardToLeader(to)) => {
                ProposeError::NotLeader { leader: leader(to) }
            }
            // It was appended here, and may live on in the new leader's log.
            RaftError::APIError(ClientWriteError::LogEntryDiscarded(_)) => ProposeError::Unknown,
            RaftError::APIError(
                ClientWriteError::ChangeMembershipError(_) | ClientWriteError::PreconditionFailed(_),
            ) => ProposeError::Unknown,
            RaftError::Fatal(_) => ProposeError::Unknown,
        }
    }

    /// The document of a kept release. Served ones are in memory, others come from the disk, off the request path.
    /// `None` when it was forgotten meanwhile.
    pub async fn document(&self, release: &Release) -> Result<Option<Document>, ReadError> {
        let (projection, digest) = (self.state.projection.clone(), release.digest);
        let read = tokio::task::spawn_blocking(move || projection.document(&digest));
        match read.await.map_err(|_| ReadError::Stopping)? {
            Ok(None) => Ok(None),
            Ok(Some(stored)) => {
                let document =
                    wire::decode_document(stored).map_err(|error| self.damaged(error.to_string()))?;
                Ok(Some(Document { format: release.format, ..document }))
            }
            Err(_) if self.state.is_stopping() => Err(ReadError::Stopping),
            Err(error @ storage::Error::Refused { .. }) => {
                tracing::warn!(%error, "document not read");
                Err(ReadError::Stopping)
            }
            Err(error) => Err(self.damaged(error.to_string())),
        }
    }

    /// Damage is healed at the next start: what is in memory is right and is served until then.
    fn damaged(&self, why: String) -> ReadError {
        self.state.alarm.ring(Fatal::Storage(why.clone()));
        ReadError::Damaged(why)
    }

    /// Whether this node may serve.
    pub fn readiness(&self) -> Readiness {
        self.state.readiness()
    }

    /// This node's view of itself.
    pub fn status(&self) -> NodeStatus {
        self.state.status()
    }

    /// Everybody in the newest membership that this node has, by id. Empty before the first.
    pub fn members(&self) -> Vec<ListedMember> {
        let membership = {
            let metrics = self.state.raft.metrics();
            let metrics = metrics.borrow_watched();
            metrics.membership_config.clone()
        };
        let voters: BTreeSet<u64> = membership.voter_ids().collect();
        let nodes = membership.membership().nodes();
        let listed = nodes.map(|(node_id, member)| ListedMember {
            node_id: *node_id,
            member: member.clone(),
            voter: voters.contains(node_id),
        });
        listed.collect()
    }

    /// Every member, asked now and in parallel; whoever does not answer within half a second is reported so.
    pub async fn cluster(&self) -> Vec<NodeReport> {
        let members = self.members().into_iter();
        let reports = members.map(|ListedMember { node_id, member, voter }| async move {
            let status = self.ask(node_id, &member).await;
            NodeReport { node_id, member, voter, status }
        });
        join_all(reports).await
    }

    async fn ask(&self, node_id: u64, member: &Member) -> Result<NodeStatus, String> {
        if node_id == self.state.home.node_id {
            return Ok(self.state.status());
        }
        let mut client = self.state.peers.control(node_id, member);
        match tokio::time::timeout(STATUS_TIMEOUT, client.status(proto::StatusRequest {})).await {
            Ok(Ok(answer)) => {
                NodeStatus::from_message(answer.into_inner()).map_err(|error| error.to_string())
            }
            Ok(Err(status)) => Err(format!("unreachable: {}", status.message())),
            Err(_) => Err(format!("no answer within {STATUS_TIMEOUT:?}")),
        }
    }

    /// Numbers about this node's disk, whose directories it walks: a few system calls. `None` while it cannot be asked.
    pub fn storage(&self) -> Option<StorageMetrics> {
        let catalog = self.state.projection.stats().ok()?;
        let log = self.state.log.stats();
        let entries = log.last_index.map_or(0, |last| (last + 1).saturating_sub(log.first_index));
        Some(StorageMetrics {
            log_bytes: log.disk_bytes,
            log_entries: entries,
            snapshot_index: self.state.files.floor.index().unwrap_or(0),
            catalog_bytes: catalog.disk_bytes,
            documents: catalog.documents,
            document_bytes: catalog.document_bytes,
            blob_files: catalog.blob_files,
            catalog_syncs: catalog.sync_calls,
            checkpoint_age: catalog.checkpoint_age,
        })
    }

    /// Waits until this node cannot go on. The daemon must stop then.
    pub async fn failed(&self) -> Fatal {
        self.state.alarm.wait().await
    }

    /// Lets another voter lead, if this node does: writers hear of it and go there, and this node may finish what it has
    /// begun. Bounded by about a second; tells in the log whether it worked.
    pub async fn hand_over(&self) {
        leadership::leave(&self.state).await;
    }

    /// Hands leadership over if this node leads, stops Raft, and makes the catalog durable. After it returns the data
    /// directory is free. Bounded by about five seconds.
    pub async fn stop(&self) {
        self.lifeline.stop.send_replace(true);
        let mut stopped = self.lifeline.stopped.clone();
        // An error means that the thread is gone, which is what is waited for.
        let _ = stopped.wait_for(|stopped| *stopped).await;
    }
}

impl std::fmt::Debug for Handle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Handle of node {}", self.state.home.node_id)
    }
}

fn leader(to: ForwardToLeader<TypeConfig>) -> Option<Leader> {
    Some(Leader { node_id: to.leader_id?, grpc_address: to.leader_node?.grpc_address })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::net::TcpListener;

    use super::*;
    use crate::options::Options;

    /// openraft asserts much; its core is a task, and a task that panics leaves the process alive.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_raft_that_panicked_stops_the_member() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let temp = tempfile::tempdir().unwrap();
        let options = Options::lone(&listener, temp.path());
        let handle = crate::start(options, listener).unwrap();
        handle.state.raft.external_request(|_| panic!("as an assertion of openraft would")).await.unwrap();
        let fatal = tokio::time::timeout(Duration::from_secs(10), handle.failed()).await.unwrap();
        assert!(matches!(fatal, Fatal::Raft(_)), "{fatal}");
    }
}
