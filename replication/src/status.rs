//! What a node says about itself.

use std::time::Duration;

use meridian_model::state::Tally;
use meridian_proto::raft as proto;

use crate::membership::Member;
use crate::network::wire::{Malformed, Wire};
use crate::service_state::ServiceState;

/// One node's view of itself, at one instant.
#[derive(Clone, Debug)]
pub struct NodeStatus {
    /// Its id.
    pub node_id: u64,
    /// Raft term.
    pub term: u64,
    /// Whom it follows, itself included.
    pub leader: Option<u64>,
    /// Newest entry of its log.
    pub last_index: u64,
    /// Newest entry it applied.
    pub applied_index: u64,
    /// Unix milliseconds: it holds everything committed up to here.
    pub fresh_as_of_ms: u64,
    /// Whether SDKs may be sent here.
    pub readiness: Readiness,
    /// Its process.
    pub pid: u32,
    /// Tally of its state at `tally_index`, the newest tick it applied: equal index, equal tally.
    pub tally: Tally,
    /// See `tally`.
    pub tally_index: u64,
    /// What it runs.
    pub software_version: String,
    /// For how long it may have missed something; `None`: it has not heard from a leader since it started.
    pub staleness: Option<Duration>,
    /// Whether it serves readers.
    pub service: ServiceState,
    /// Config streams that are open on it.
    pub streams: u64,
    /// Of a leader: how long ago it sent what a majority last answered. While all is well that is less than two heartbeat
    /// intervals; above an election timeout it commits nothing, although it still calls itself the leader. `None`: it does
    /// not lead, or no majority has answered yet.
    pub quorum_age: Option<Duration>,
}

/// One node as another one sees it.
#[derive(Clone, Debug)]
pub struct NodeReport {
    /// Its id.
    pub node_id: u64,
    /// What the membership says of it.
    pub member: Member,
    /// Whether it has a vote.
    pub voter: bool,
    /// What it answered, or why it did not.
    pub status: Result<NodeStatus, String>,
}

/// Whether this node may serve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// It holds data and has applied what it knew to be committed when it started.
    Ready,
    /// Why not.
    NotReady(NotReady),
}

/// Why a node may not serve.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotReady {
    /// No cluster was formed yet, or this node has not heard from it.
    #[error("no membership yet: waiting for {}", founders(.waiting_for))]
    NoMembership {
        /// Founders that have not answered, each with the reason.
        waiting_for: Vec<String>,
    },
    /// It knew more to be committed than it has applied.
    #[error("catching up: applied {applied} of {target}")]
    CatchingUp {
        /// Newest entry applied.
        applied: u64,
        /// What it knew to be committed when it started.
        target: u64,
    },
    /// It is stopping.
    #[error("stopping")]
    Stopping,
    /// It failed.
    #[error("failed: {0}")]
    Failed(String),
    /// What another node said of itself.
    #[error("{0}")]
    Reported(String),
}

fn founders(waiting_for: &[String]) -> String {
    match waiting_for {
        [] => "the founder with the lowest id to form the cluster".to_owned(),
        some => some.join("; "),
    }
}

impl Readiness {
    /// Whether it is [`Readiness::Ready`].
    pub fn is_ready(&self) -> bool {
        matches!(self, Self::Ready)
    }
}

impl Wire for NodeStatus {
    type Message = proto::StatusResponse;

    fn into_message(self) -> Self::Message {
        let problem = match &self.readiness {
            Readiness::Ready => String::new(),
            Readiness::NotReady(why) => why.to_string(),
        };
        proto::StatusResponse {
            node_id: self.node_id,
            term: self.term,
            leader: self.leader.unwrap_or(0),
            last_index: self.last_index,
            applied_index: self.applied_index,
            fresh_as_of_ms: self.fresh_as_of_ms,
            ready: self.readiness.is_ready(),
            problem,
            pid: self.pid,
            state_digest: self.tally.digest.to_vec().into(),
            state_rows: self.tally.rows,
            state_index: self.tally_index,
            software_version: self.software_version,
            staleness_ms: self.staleness.map(whole_ms),
            streams: self.streams,
            service: match self.service {
                ServiceState::Serving => 1,
                ServiceState::Draining => 2,
                ServiceState::Drained => 3,
            },
            quorum_age_ms: self.quorum_age.map(whole_ms),
        }
    }

    fn from_message(message: Self::Message) -> Result<Self, Malformed> {
        let digest = message.state_digest.as_ref().try_into();
        let digest = digest.map_err(|_| Malformed::new("StatusResponse.state_digest", "has not 32 bytes"))?;
        Ok(Self {
            node_id: message.node_id,
            term: message.term,
            leader: Some(message.leader).filter(|id| *id > 0),
            last_index: message.last_index,
            applied_index: message.applied_index,
            fresh_as_of_ms: message.fresh_as_of_ms,
            readiness: match message.ready {
                true => Readiness::Ready,
                false => Readiness::NotReady(NotReady::Reported(message.problem)),
            },
            pid: message.pid,
            tally: Tally { digest, rows: message.state_rows },
            tally_index: message.state_index,
            software_version: message.software_version,
            staleness: message.staleness_ms.map(Duration::from_millis),
            service: match message.service {
                2 => ServiceState::Draining,
                3 => ServiceState::Drained,
                _ => ServiceState::Serving,
            },
            streams: message.streams,
            quorum_age: message.quorum_age_ms.map(Duration::from_millis),
        })
    }
}

fn whole_ms(duration: Duration) -> u64 {
    duration.as_millis().try_into().unwrap_or(u64::MAX)
}
