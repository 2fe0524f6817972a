//! Who is in the cluster.

use std::fmt;

use crate::options::Founder;

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
}

impl Member {
    /// A founder, once its incarnation is known.
    pub(crate) fn founding(founder: &Founder, incarnation: [u8; 16]) -> Self {
        let Founder { region, zone, peer_address, grpc_address } = founder.clone();
        Self { region, zone, peer_address, grpc_address, incarnation }
    }
}

impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{} at {}", self.region, self.zone, self.peer_address)
    }
}
