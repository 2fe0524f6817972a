//! What a node must be told before it can take part.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

/// Everything [`crate::start`] needs. The daemon fills it from its configuration.
#[derive(Clone, Debug)]
pub struct Options {
    /// Nodes of another cluster are refused.
    pub cluster_id: String,
    /// This node. Never given to another machine, never kept by a node that lost its disk.
    pub node_id: u64,
    /// Where it stands and how others reach it.
    pub own: Founder,
    /// The founding voters; the same on every founder. Only looked at until the cluster is formed. A node that is not
    /// among them joins, see `join`.
    pub founders: BTreeMap<u64, Founder>,
    /// How a node that is no founder gets in, and whom this one lets in.
    pub join: Join,
    /// Everything this node keeps is in here.
    pub data_dir: PathBuf,
    /// Raft's clocks. `election_timeout_max_ms` must be the same on all nodes.
    pub timing: Timing,
    /// Shown to others in the status.
    pub software_version: String,
}

/// How nodes join a cluster that exists.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Join {
    /// Peer addresses, `host:port`, of members to ask. Also whom to ask whether this node is still a member.
    pub seeds: Vec<String>,
    /// What this node shows to be let in; `None`: it waits until an operator adds it.
    pub token: Option<String>,
    /// This node wants to vote once it has caught up. Otherwise it stays a learner.
    pub wants_vote: bool,
    /// SHA-256 of the tokens with which this node, as leader, lets others in.
    pub token_sha256: Vec<[u8; 32]>,
}

/// Without the token: options end up in logs.
impl fmt::Debug for Join {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seeds, token: _, wants_vote, token_sha256: _ } = self;
        f.debug_struct("Join").field("seeds", seeds).field("wants_vote", wants_vote).finish_non_exhaustive()
    }
}

/// A place in the world: where a node stands and how others reach it.
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
    /// More than the longest round trip between voters, with a margin: a heartbeat that is not answered by the next one
    /// does not count.
    pub heartbeat_interval_ms: u64,
    /// At least twice the heartbeat interval. Also how long a vote is waited for.
    pub election_timeout_min_ms: u64,
    /// Above `election_timeout_min_ms`. Also how long a leader's lease lasts, so the same on every node.
    pub election_timeout_max_ms: u64,
}

impl Default for Timing {
    fn default() -> Self {
        Profile::default().timing()
    }
}

/// Clocks that fit together, named by how far apart the voters are. The same on every node.
///
/// A follower campaigns when it has heard nothing for `max` + `min` at least, and two of them for little more at most:
/// so `min` is close to `max`, which bears the longest silence for a given time to the next leader. That they may
/// campaign at once does no harm: the higher id wins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Profile {
    /// Voters within a few milliseconds, on machines that are not overloaded.
    Lan,
    /// Voters up to about 30 ms apart, and machines that stumble.
    #[default]
    Default,
    /// Voters up to about 110 ms apart, round trip.
    Wan,
}

impl Profile {
    /// Every profile.
    pub const ALL: [Self; 3] = [Self::Lan, Self::Default, Self::Wan];

    /// As it is written in a configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Lan => "lan",
            Self::Default => "default",
            Self::Wan => "wan",
        }
    }

    /// Its clocks.
    pub const fn timing(self) -> Timing {
        let (heartbeat_interval_ms, election_timeout_min_ms, election_timeout_max_ms) = match self {
            Self::Lan => (25, 100, 140),
            Self::Default => (75, 250, 350),
            Self::Wan => (150, 350, 500),
        };
        Timing { heartbeat_interval_ms, election_timeout_min_ms, election_timeout_max_ms }
    }
}

#[cfg(test)]
impl Options {
    /// A cluster of one, whose peers would come to this listener.
    pub(crate) fn lone(listener: &std::net::TcpListener, data_dir: &std::path::Path) -> Self {
        let own = Founder {
            region: "us-east".to_owned(),
            zone: "a".to_owned(),
            peer_address: listener.local_addr().expect("the listener is bound").to_string(),
            grpc_address: "grpc".to_owned(),
        };
        Self {
            cluster_id: "test".to_owned(),
            node_id: 1,
            own: own.clone(),
            founders: BTreeMap::from([(1, own)]),
            join: Join::default(),
            data_dir: data_dir.to_owned(),
            timing: Timing::default(),
            software_version: "test".to_owned(),
        }
    }
}
