//! What a node must be told before it can take part.

use std::collections::BTreeMap;
use std::path::PathBuf;

/// Everything [`crate::start`] needs. The daemon fills it from its configuration.
#[derive(Clone, Debug)]
pub struct Options {
    /// Nodes of another cluster are refused.
    pub cluster_id: String,
    /// This node. Never given to another machine, never kept by a node that lost its disk.
    pub node_id: u64,
    /// The founding voters, this node among them; the same on every node. Only looked at until the cluster is formed.
    pub founders: BTreeMap<u64, Founder>,
    /// Everything this node keeps is in here.
    pub data_dir: PathBuf,
    /// Raft's clocks. `election_timeout_max_ms` must be the same on all nodes.
    pub timing: Timing,
    /// Shown to others in the status.
    pub software_version: String,
}

/// A voter of the first membership.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Founder {
    /// Where it stands.
    pub region: String,
    /// Failure domain within the region.
    pub zone: String,
    /// `host:port` of its peer listener, as the others reach it.
    pub peer_address: String,
    /// `host:port` of its public gRPC listener, as clients reach it.
    pub grpc_address: String,
}

/// Raft's clocks. A dead leader is noticed after `max` + a random time between `min` and `max`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// More than the longest round trip between voters, with a margin.
    pub heartbeat_interval_ms: u64,
    /// At least twice the heartbeat interval.
    pub election_timeout_min_ms: u64,
    /// Above `election_timeout_min_ms`. Also how long a leader's lease lasts.
    pub election_timeout_max_ms: u64,
}

impl Default for Timing {
    /// For regions up to a few milliseconds apart: a dead leader is replaced within about a second.
    fn default() -> Self {
        Self { heartbeat_interval_ms: 75, election_timeout_min_ms: 300, election_timeout_max_ms: 450 }
    }
}
