//! What can go wrong at the door, told apart by what the caller can do about it.

/// Who leads, as far as this node knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leader {
    /// Its id.
    pub node_id: u64,
    /// Where clients reach it.
    pub grpc_address: String,
}

/// Why a proposal has no outcome.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    /// Not appended: another node leads, or none does. Ask there.
    #[error("this node does not lead{}", hint(.leader))]
    NotLeader {
        /// Who does, where known.
        leader: Option<Leader>,
    },
    /// Not appended: as many bytes are waiting as may. Try again soon.
    #[error("too many changes are waiting for the log")]
    Busy,
    /// It may or may not take effect. Repeat it with the same request id.
    #[error("the outcome is unknown: repeat the request with the same id")]
    Unknown,
    /// Not appended: this node is stopping.
    #[error("this node is stopping")]
    Stopping,
}

fn hint(leader: &Option<Leader>) -> String {
    match leader {
        Some(leader) => format!(": node {} at {} does", leader.node_id, leader.grpc_address),
        None => ", and knows no leader".to_owned(),
    }
}

/// Why a document could not be read from this node's disk.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The bytes on disk are damaged. The node stops and rebuilds its catalog.
    #[error("the catalog on disk is damaged: {0}")]
    Damaged(String),
    /// This node is stopping.
    #[error("this node is stopping")]
    Stopping,
}

/// Why a node does not start. Each names the thing and the way out.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The timing makes no sense.
    #[error("raft timing: {0}")]
    Timing(String),
    /// The founders do not fit this node.
    #[error("founders: {0}")]
    Founders(String),
    /// The data directory, the log or the catalog.
    #[error("{0}")]
    Storage(String),
    /// A thread, a runtime, a socket.
    #[error("{what}")]
    Machine {
        /// What was tried.
        what: String,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
}

/// Why a running node cannot go on. The daemon must stop.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fatal {
    /// The log, the vote or the catalog could not be written or read. Never retried: after a failed fsync the
    /// kernel may have dropped the pages.
    #[error("storage failed: {0}")]
    Storage(String),
    /// Raft stopped or panicked.
    #[error("raft stopped: {0}")]
    Raft(String),
    /// The cluster knows this node id with another disk, as a peer answered after the start.
    #[error("{0}")]
    Wiped(String),
}
