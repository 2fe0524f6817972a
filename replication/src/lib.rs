//! One log, one state, many readers: the regional nodes agree here, through Raft, on what is published.
//!
//! [`start`] brings a member up; its [`Handle`] is the only door. Writers propose commands and get the decision of
//! [`meridian_model::State::apply`]; readers take the [`catalog::View`] and never meet Raft. No type of openraft,
//! `raft-log` or sled is public: this is the only crate that names them.

#![deny(unsafe_code)] // one exception, argued in `storage::fsync_shim`

mod alarm;
mod barrier;
pub mod catalog;
mod disk;
mod error;
mod export;
mod formation;
mod freshness;
mod handle;
mod joining;
mod leadership;
mod machine;
mod member;
mod membership;
mod metrics;
mod network;
mod options;
mod placement;
mod projection;
mod promotion;
mod read_index;
pub mod recovery;
mod repair;
mod service_state;
mod state_rows;
mod status;
mod storage;
mod types;
mod upkeep;

pub use barrier::BarrierError;
pub use catalog::Catalog;
pub use error::{Fatal, Leader, ProposeError, ReadError, StartError};
pub use export::Export;
pub use handle::{Committed, Handle};
pub use leadership::TransferError;
pub use membership::Member;
pub use membership::change::{ChangeError, ListedMember, MembersChanged, MembershipChange};
pub use metrics::StorageMetrics;
pub use options::{Founder, Join, Options, Profile, Timing};
pub use service_state::ServiceState;
pub use status::{NodeReport, NodeStatus, NotReady, Readiness};

/// Brings this node up: opens its data directory, rebuilds its catalog if it must, joins the others.
///
/// Returns as soon as what is on disk can be served, whether or not any peer is there. `peer_listener` is already
/// bound: a port in use is the caller's to report. Blocks while the log is replayed: about 3 s for 1 GB.
pub fn start(options: Options, peer_listener: std::net::TcpListener) -> Result<Handle, StartError> {
    member::start(options, peer_listener)
}
