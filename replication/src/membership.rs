//! Who is in the cluster.

use std::fmt;

use crate::options::Founder;

pub(crate) mod admission;
pub(crate) mod change;
pub(crate) mod execute;
pub(crate) mod roster;
pub(crate) mod rules;

/// A node as the cluster's membership records it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Member {
    /// Where it stands.
    pub region: String,
    /// Failure domain within the region.
    pub zone: String,
    /// `host:port` of its peer listener.
    pub peer_address: String,
    /// `host:port` of its public gRPC listener.
    pub grpc_address: String,
    /// Made with its data directory. A node that lost its disk has another one, and may not vote under the old id.
    pub incarnation: [u8; 16],
    /// A learner that is to be promoted once it has caught up and the rules allow it.
    pub wants_vote: bool,
}

impl Member {
    /// A founder, once its incarnation is known.
    pub(crate) fn founding(founder: &Founder, incarnation: [u8; 16]) -> Self {
        let Founder { region, zone, peer_address, grpc_address } = founder.clone();
        Self { region, zone, peer_address, grpc_address, incarnation, wants_vote: false }
    }
}

impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{} at {}", self.region, self.zone, self.peer_address)
    }
}
