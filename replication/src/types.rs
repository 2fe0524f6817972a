//! The one configuration of openraft we use. No other crate sees these names.

use std::fmt;

use bytes::Bytes;
use meridian_model::Outcome;

use crate::membership::Member;

openraft::declare_raft_types!(
    /// Commands travel encoded: they are encoded once, by the proposer, and decoded once per node, by `apply`.
    pub(crate) TypeConfig:
        D = EncodedCommand,
        R = Reply,
        Node = Member,
);

pub(crate) type Entry = openraft::alias::EntryOf<TypeConfig>;
pub(crate) type EntryPayload = openraft::EntryPayload<EncodedCommand, u64, Member>;
pub(crate) type LeaderId = openraft::alias::LeaderIdOf<TypeConfig>;
pub(crate) type LogId = openraft::alias::LogIdOf<TypeConfig>;
pub(crate) type Membership = openraft::Membership<u64, Member>;
pub(crate) type StoredMembership = openraft::alias::StoredMembershipOf<TypeConfig>;
pub(crate) type SnapshotMeta = openraft::alias::SnapshotMetaOf<TypeConfig>;
pub(crate) type Snapshot = openraft::alias::SnapshotOf<TypeConfig, crate::machine::SnapshotFile>;
pub(crate) type Raft = openraft::Raft<TypeConfig, crate::machine::Machine>;
pub(crate) type Vote = openraft::alias::VoteOf<TypeConfig>;

/// An encoded `Command` of `meridian.raft.v1`.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct EncodedCommand(pub(crate) Bytes);

/// What `apply` answers the proposer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    /// A command was decided.
    Decided(Outcome),
    /// The entry was a blank one or a membership: there is nothing to decide.
    Nothing,
}

impl fmt::Debug for EncodedCommand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EncodedCommand({} bytes)", self.0.len())
    }
}

impl fmt::Display for EncodedCommand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "command of {} bytes", self.0.len())
    }
}

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}
