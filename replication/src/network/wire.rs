//! Between openraft's types and the messages of `meridian.raft.v1`, in pairs.
//!
//! The same messages travel between peers and rest in the log, so nothing here trusts its input: decoding never
//! panics, and it refuses what openraft would panic on or follow into a corrupt log. Commands stay the bytes they
//! arrived in. Left to others: whether the sender is who it claims to be, and whether this node agrees.

use std::collections::{BTreeMap, BTreeSet};

use meridian_proto::raft as proto;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, StreamAppendError, StreamAppendResult,
    TransferLeaderRequest, VoteRequest, VoteResponse,
};

use crate::membership::Member;
use crate::types::{
    EncodedCommand, Entry, EntryPayload, LeaderId, LogId, Membership, SnapshotMeta, StoredMembership,
    TypeConfig, Vote,
};

/// A type that has a message on the wire.
pub(crate) trait Wire: Sized {
    /// Its message.
    type Message;

    /// Encodes.
    fn into_message(self) -> Self::Message;

    /// Decodes and checks. The error names the first field that is wrong.
    fn from_message(message: Self::Message) -> Result<Self, Malformed>;
}

/// A message that no correct node writes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed message: {field} {why}")]
pub(crate) struct Malformed {
    /// `Message.field`, as `peer.proto` names it.
    pub(crate) field: &'static str,
    /// What is wrong with it.
    pub(crate) why: String,
}

impl Malformed {
    pub(crate) fn new(field: &'static str, why: impl Into<String>) -> Self {
        Self { field, why: why.into() }
    }
}

fn required<T: Wire>(field: &'static str, message: Option<T::Message>) -> Result<T, Malformed> {
    T::from_message(message.ok_or_else(|| Malformed::new(field, "is missing"))?)
}

fn optional<T: Wire>(message: Option<T::Message>) -> Result<Option<T>, Malformed> {
    message.map(T::from_message).transpose()
}

impl Wire for LeaderId {
    type Message = proto::LeaderId;

    fn into_message(self) -> Self::Message {
        proto::LeaderId { term: self.term, node_id: self.node_id }
    }

    fn from_message(message: Self::Message) -> Result<Self, Malformed> {
        Ok(Self { term: message.term, node_id: message.node_id })
    }
}

impl Wire for LogId {
    type Message = proto::LogId;

    fn into_message(self) -> Self::Message {
        proto::LogId { leader: Some(self.leader_id.into_message()), index: self.index }
    }

    fn from_message(message: Self::Message) -> Result<Self, Malformed> {
        Ok(Self { leader_id: required("LogId.leader", message.leader)?, index: message.index })
    }
}

impl Wire for Vote {
    type Message = proto::Vote;

    fn into_message(self) -> Self::Message {
        proto::Vote { leader: Some(self.leader_id.into_message()), committed: self.committed }
    }

    fn from_message(message: Self::Message) -> Result<Self, Malformed> {
        Ok(Self { leader_id: required("Vote.leader", message.leader)?, committed: message.committed })
    }
}

impl Wire for (u64, Member) {
    type Message = proto::Member;

    fn into_message(self) -> Self::Message {
        let (id, member) = self;
        proto::Member {
            id,
            region: member.region,
            zone: member.zone,
            peer_address: member.peer_address,
            grpc_address: member.grpc_address,
            incarnation: member.incarnation.to_vec().into(),
            wants_vote: member.wants_vote,
        }
    }

    fn from_message(message: Self::Message) -> Result<Self, Malformed> {
        let incarnation = message.incarnation.as_ref().try_into().map_err(|_| {
            Malformed::new(
                "Member.incarnation",
                format!("has {} bytes instead of 16", message.incarnation.len()),
            )
        })?;
        let member = Member {
            region: message.region,
            zone: message.zone,
            peer_address: message.peer_address,
            grpc_address: message.grpc_address,
            incarnation,
            wants_vote: message.wants_vote,
        };
        Ok((message.id, member))
    }
}

/// Decoding lets a membership without any set of voters pass: openraft's default, "none known yet". Where one must
/// be known, [`Entry`] and [`StoredMembership`] refuse it.
impl Wire for Membership {
    type Message = proto::Membership;

    fn into_message(self) -> Self::Message {
        let configs = self.get_joint_config().iter();
        proto::Membership {
            configs: configs.map(|ids| proto::VoterSet { ids: ids.iter().copied().collect() }).collect(),
            members: self.nodes().map(|(id, member)| (*id, member.clone()).into_message()).collect(),
        }
    }

    fn from_message(message: Self::Message) -> Result<Self, Malformed> {
        let mut members = BTreeMap::new();
        for member in message.members {
            let (id, member) = Wire::from_message(member)?;
            if members.insert(id, member).is_some() {
                return Err(Malformed::new("Membership.members", format!("has node {id} twice")));
            }
        }
        let configs =
            message.configs.into_iter().map(|set| voters(set, &members)).collect::<Result<Vec<_>, _>>()?;
        Membership::new(configs, members)
            .map_err(|error| Malformed::new("Membership", format!("is invalid: {error}")))
    }
}

fn voters(set: proto::VoterSet, members: &BTreeMap<u64, Member>) -> Result<BTreeSet<u64>, Malformed> {
    if set.ids.is_empty() {
        return Err(Malformed::new("VoterSet.ids", "is empty"));
    }
    let mut voters = BTreeSet::new();
    for id in set.ids {
        if !members.contains_key(&id) {
            return Err(Malformed::new("VoterSet.ids", format!("has node {id}, which is no member")));
        }
        if !voters.insert(id) {
            return Err(Malformed::new("VoterSet.ids", format!("has node {id} twice")));
        }
    }
    Ok(voters)
}

impl Wire for StoredMembership {
    type Message = proto::StoredMembership;

    fn into_message(self) -> Self::Message {
        proto::StoredMembership {
            log_id: self.log_id().map(LogId::into_message),
            membership: Some(self.membership().clone().into_message()),
        }
    }

    fn from_message(message: Self::Message) -> Result<Self, Malformed> {
        let log_id: Option<LogId> = optional(message.log_id)?;
        let membership: Membership = required("StoredMembership.membership", message.membership)?;
        if log_id.is_some() && membership.get_joint_config().is_empty() {
            return Err(Malformed::new(
                "StoredMembership.membership",
                "has no voters although it was logged",
            ));
        }
        Ok(Self::new(log_id, membership))
    }
}

impl Wire for SnapshotMeta {
    type Message = proto::SnapshotMeta;

    fn into_message(self) -> Self::Message {
        proto::SnapshotMeta {
            last_log_id: self.last_log_id.map(LogId::into_message),
            membership: Some(self.last_membership.into_message()),
        }
    }

    fn from_message(message: Self::Message) -> Result<Self, Malformed> {
        let last_log_id: Option<LogId> = optional(message.last_log_id)?;
        let last_membership: StoredMembership = required("SnapshotMeta.membership", message.membership)?;
        if *last_membership.log_id() > last_log_id {
            return Err(Malformed::new("SnapshotMeta.membership", "is newer than the snapshot"));
        }
        Ok(Self { last_log_id, last_membership })
    }
}

/// Whether a leader with this vote may install this snapshot. openraft panics on one that it may not.
pub(crate) fn check_snapshot_sender(vote: &Vote, meta: &SnapshotMeta) -> Result<(), Malformed> {
    check_leader("SnapshotHeader.vote", vote)?;
    match meta.last_log_id {
        Some(last) if last.leader_id > vote.leader_id => {
            Err(Malformed::new("SnapshotMeta.last_log_id", "is of a later leader than the one who sends it"))
        }
        _ => Ok(()),
    }
}

fn check_leader(field: &'static str, vote: &Vote) -> Result<(), Malformed> {
    if vote.committed {
        Ok(())
    } else {
        Err(Malformed::new(field, "is a candidate's, but only a leader may ask this"))
    }
}

impl Wire for EntryPayload {
    type Message = proto::entry::Payload;

    fn into_message(self) -> Self::Message {
        match self {
            Self::Blank => proto::entry::Payload::Blank(proto::Blank {}),
            Self::Normal(EncodedCommand(bytes)) => proto::entry::Payload::Command(bytes),
            Self::Membership(membership) => proto::entry::Payload::Membership(membership.into_message()),
        }
    }

    fn from_message(message: Self::Message) -> Result<Self, Malformed> {
        match message {
            proto::entry::Payload::Blank(proto::Blank {}) => Ok(Self::Blank),
            proto::entry::Payload::Command(bytes) => Ok(Self::Normal(EncodedCommand(bytes))),
            proto::entry::Payload::Membership(membership) => {
                let membership = Membership::from_message(membership)?;
                if membership.get_joint_config().is_empty() {
                    return Err(Malformed::new("Entry.membership", "has no voters"));
                }
                Ok(Self::Membership(membership))
            }
        }
    }
}

impl Wire for Entry {
    type Message = proto::Entry;

    fn into_message(self) -> Self::Message {
        proto::Entry { log_id: Some(self.log_id.into_message()), payload: Some(self.payload.into_message()) }
    }

    fn from_message(message: Self::Message) -> Result<Self, Malformed> {
        Ok(Self {
            log_id: required("Entry.log_id", message.log_id)?,
            payload: required("Entry.payload", message.payload)?,
        })
    }
}

impl Wire for AppendEntriesRequest<TypeConfig> {
    type Message = proto::AppendRequest;

    fn into_message(self) -> Self::Message {
        proto::AppendRequest {
            vote: Some(self.vote.into_message()),
            prev_log_id: self.prev_log_id.map(LogId::into_message),
            entries: self.entries.into_iter().map(Entry::into_message).collect(),
            leader_commit: self.leader_commit.map(LogId::into_message),
        }
    }

    fn from_message(message: Self::Message) -> Result<Self, Malformed> {
        let request = Self {
            vote: required("AppendRequest.vote", message.vote)?,
            prev_log_id: optional(message.prev_log_id)?,
            entries: message.entries.into_iter().map(Entry::from_message).collect::<Result<_, _>>()?,
            leader_commit: optional(message.leader_commit)?,
        };
        check_leader("AppendRequest.vote", &request.vote)?;
        check_chain(&request)?;
        Ok(request)
    }
}

/// Entries follow `prev_log_id` without a gap, terms never fall, and none is of a later leader than the sender.
fn check_chain(request: &AppendEntriesRequest<TypeConfig>) -> Result<(), Malformed> {
    let mut previous = request.prev_log_id;
    for id in request.entries.iter().map(|entry| entry.log_id) {
        let follows = match previous {
            None => id.index == 0,
            Some(previous) => {
                Some(id.index) == previous.index.checked_add(1) && id.leader_id >= previous.leader_id
            }
        };
        if !follows {
            let before = previous.map_or_else(|| "the beginning".to_owned(), |id| id.to_string());
            return Err(Malformed::new("AppendRequest.entries", format!("has {id} after {before}")));
        }
        previous = Some(id);
    }
    match previous {
        Some(last) if last.leader_id > request.vote.leader_id => Err(Malformed::new(
            "AppendRequest.entries",
            format!("has {last}, of a later leader than {}", request.vote),
        )),
        _ => Ok(()),
    }
}

/// The answer to a heartbeat, where a conflict needs no id: the caller knows what it sent.
impl Wire for AppendEntriesResponse<TypeConfig> {
    type Message = proto::AppendResponse;

    fn into_message(self) -> Self::Message {
        use proto::append_response::Result as Answer;
        let answer = match self {
            Self::Success => Answer::Stored(proto::Stored { last: None }),
            // An id without a leader: nothing at all is stored.
            Self::PartialSuccess(upto) => Answer::Partial(upto.map(LogId::into_message).unwrap_or_default()),
            Self::Conflict => Answer::Conflict(proto::Conflict { prev: None }),
            Self::HigherVote(vote) => Answer::HigherVote(vote.into_message()),
        };
        proto::AppendResponse { result: Some(answer) }
    }

    fn from_message(message: Self::Message) -> Result<Self, Malformed> {
        use proto::append_response::Result as Answer;
        match message.result {
            Some(Answer::Stored(proto::Stored { last: _ })) => Ok(Self::Success),
            Some(Answer::Partial(upto)) => partial(upto).map(Self::PartialSuccess),
            Some(Answer::Conflict(proto::Conflict { prev: _ })) => Ok(Self::Conflict),
            Some(Answer::HigherVote(vote)) => Vote::from_message(vote).map(Self::HigherVote),
            None => Err(Malformed::new("AppendResponse.result", "is missing")),
        }
    }
}

/// One answer of a pipelined stream.
impl Wire for StreamAppendResult<TypeConfig> {
    type Message = proto::AppendResponse;

    fn into_message(self) -> Self::Message {
        use proto::append_response::Result as Answer;
        let answer = match self {
            Ok(last) => Answer::Stored(proto::Stored { last: last.map(LogId::into_message) }),
            Err(StreamAppendError::Conflict(prev)) => {
                Answer::Conflict(proto::Conflict { prev: Some(prev.into_message()) })
            }
            Err(StreamAppendError::HigherVote(vote)) => Answer::HigherVote(vote.into_message()),
        };
        proto::AppendResponse { result: Some(answer) }
    }

    fn from_message(message: Self::Message) -> Result<Self, Malformed> {
        use proto::append_response::Result as Answer;
        match message.result {
            Some(Answer::Stored(proto::Stored { last })) => optional(last).map(Ok),
            Some(Answer::Partial(upto)) => partial(upto).map(Ok),
            Some(Answer::Conflict(proto::Conflict { prev })) => {
                required("Conflict.prev", prev).map(|prev| Err(StreamAppendError::Conflict(prev)))
            }
            Some(Answer::HigherVote(vote)) => {
                Vote::from_message(vote).map(|vote| Err(StreamAppendError::HigherVote(vote)))
            }
            None => Err(Malformed::new("AppendResponse.result", "is missing")),
        }
    }
}

fn partial(upto: proto::LogId) -> Result<Option<LogId>, Malformed> {
    if upto == proto::LogId::default() { Ok(None) } else { LogId::from_message(upto).map(Some) }
}

impl Wire for VoteRequest<TypeConfig> {
    type Message = proto::VoteRequest;

    fn into_message(self) -> Self::Message {
        proto::VoteRequest {
            vote: Some(self.vote.into_message()),
            last_log_id: self.last_log_id.map(LogId::into_message),
            leadership_transfer: self.leadership_transfer,
        }
    }

    fn from_message(message: Self::Message) -> Result<Self, Malformed> {
        let vote: Vote = required("VoteRequest.vote", message.vote)?;
        if vote.committed {
            return Err(Malformed::new(
                "VoteRequest.vote",
                "is a leader's, but only a candidate asks for votes",
            ));
        }
        let last_log_id = optional(message.last_log_id)?;
        Ok(Self { vote, last_log_id, leadership_transfer: message.leadership_transfer })
    }
}

impl Wire for VoteResponse<TypeConfig> {
    type Message = proto::VoteResponse;

    fn into_message(self) -> Self::Message {
        proto::VoteResponse {
            vote: Some(self.vote.into_message()),
            granted: self.vote_granted,
            last_log_id: self.last_log_id.map(LogId::into_message),
        }
    }

    fn from_message(message: Self::Message) -> Result<Self, Malformed> {
        Ok(Self {
            vote: required("VoteResponse.vote", message.vote)?,
            vote_granted: message.granted,
            last_log_id: optional(message.last_log_id)?,
        })
    }
}

impl Wire for TransferLeaderRequest<TypeConfig> {
    type Message = proto::TransferLeaderRequest;

    fn into_message(self) -> Self::Message {
        proto::TransferLeaderRequest {
            from_leader: Some(self.from_leader().into_message()),
            to_node_id: *self.to_node_id(),
            last_log_id: self.last_log_id().copied().map(LogId::into_message),
        }
    }

    fn from_message(message: Self::Message) -> Result<Self, Malformed> {
        let from: Vote = required("TransferLeaderRequest.from_leader", message.from_leader)?;
        check_leader("TransferLeaderRequest.from_leader", &from)?;
        Ok(Self::new(from, message.to_node_id, optional(message.last_log_id)?))
    }
}

#[cfg(test)]
mod tests;
