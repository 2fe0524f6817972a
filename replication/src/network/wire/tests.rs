#![allow(clippy::unwrap_used)]

use std::fmt::Debug;

use bytes::Bytes;
use openraft::EntryPayload as Payload;
use proptest::prelude::*;
use prost::Message;

use super::*;

fn leader(term: u64, node_id: u64) -> LeaderId {
    LeaderId { term, node_id }
}

fn id(term: u64, index: u64) -> LogId {
    LogId { leader_id: leader(term, 1), index }
}

fn vote(term: u64, committed: bool) -> Vote {
    Vote { leader_id: leader(term, 1), committed }
}

fn member(zone: &str) -> Member {
    Member {
        region: "eu-west".into(),
        zone: zone.into(),
        peer_address: "10.0.0.1:7401".into(),
        grpc_address: "10.0.0.1:7400".into(),
        incarnation: [7; 16],
        wants_vote: false,
    }
}

/// Two voter sets, one learner.
fn joint() -> Membership {
    let members = (1..=5).map(|id| (id, member(&format!("z{id}")))).collect::<BTreeMap<_, _>>();
    Membership::new(vec![BTreeSet::from([1, 2, 3]), BTreeSet::from([2, 3, 4])], members).unwrap()
}

fn command(log_id: LogId, bytes: &'static [u8]) -> Entry {
    Entry { log_id, payload: Payload::Normal(EncodedCommand(Bytes::from_static(bytes))) }
}

fn append(prev_log_id: Option<LogId>, entries: Vec<Entry>) -> AppendEntriesRequest<TypeConfig> {
    AppendEntriesRequest { vote: vote(5, true), prev_log_id, entries, leader_commit: Some(id(2, 3)) }
}

/// Through bytes and back; compared as text, because not every openraft type can be compared.
fn round_trip<T: Wire<Message: Message + Default> + Clone + Debug>(value: &T) -> T {
    let bytes = value.clone().into_message().encode_to_vec();
    let back = T::from_message(T::Message::decode(Bytes::from(bytes)).unwrap()).unwrap();
    assert_eq!(format!("{back:?}"), format!("{value:?}"));
    back
}

#[test]
fn every_type_survives_the_wire() {
    round_trip(&id(3, u64::MAX));
    round_trip(&vote(3, true));
    round_trip(&(9, member("z")));
    assert_eq!(round_trip(&joint()), joint());
    round_trip(&Membership::default());
    for membership in [StoredMembership::default(), StoredMembership::new(Some(id(1, 4)), joint())] {
        assert_eq!(round_trip(&membership), membership);
        round_trip(&SnapshotMeta { last_log_id: Some(id(2, 9)), last_membership: membership });
    }
    round_trip(&SnapshotMeta::default());

    let entries = vec![
        command(id(2, 8), b"a"),
        Entry { log_id: id(5, 9), payload: Payload::Blank },
        Entry { log_id: id(5, 10), payload: Payload::Membership(joint()) },
    ];
    for entry in &entries {
        assert_eq!(round_trip(entry), *entry);
    }
    round_trip(&append(Some(id(2, 7)), entries));
    round_trip(&append(None, vec![]));
    round_trip(&append(None, vec![command(id(0, 0), b"")]));

    for answer in [
        AppendEntriesResponse::Success,
        AppendEntriesResponse::PartialSuccess(None),
        AppendEntriesResponse::PartialSuccess(Some(id(1, 0))),
        AppendEntriesResponse::Conflict,
        AppendEntriesResponse::HigherVote(vote(6, false)),
    ] {
        assert_eq!(round_trip::<AppendEntriesResponse<TypeConfig>>(&answer), answer);
    }
    for answer in [
        Ok(None),
        Ok(Some(id(1, 0))),
        Err(StreamAppendError::Conflict(id(1, 3))),
        Err(StreamAppendError::HigherVote(vote(6, true))),
    ] {
        assert_eq!(round_trip::<StreamAppendResult<TypeConfig>>(&answer), answer);
    }

    for last_log_id in [None, Some(id(4, 2))] {
        let ask =
            VoteRequest { vote: vote(6, false), last_log_id, leadership_transfer: last_log_id.is_some() };
        assert_eq!(round_trip::<VoteRequest<TypeConfig>>(&ask), ask);
        let answer = VoteResponse { vote: vote(6, false), vote_granted: last_log_id.is_some(), last_log_id };
        assert_eq!(round_trip::<VoteResponse<TypeConfig>>(&answer), answer);
        round_trip(&TransferLeaderRequest::<TypeConfig>::new(vote(6, true), 3, last_log_id));
    }
}

#[test]
fn a_command_is_a_slice_of_the_received_buffer() {
    let received = Bytes::from(command(id(1, 1), &[9; 1000]).into_message().encode_to_vec());
    let entry = Entry::from_message(proto::Entry::decode(received.clone()).unwrap()).unwrap();
    let Payload::Normal(EncodedCommand(bytes)) = entry.payload else { panic!("not a command") };
    assert!(received.as_ptr_range().contains(&bytes.as_ptr()));
}

/// What `spoil` does to a good message must be refused, and the refusal must name `field`.
fn refused<T: Wire + Debug>(good: T, field: &str, spoil: impl FnOnce(&mut T::Message)) {
    let mut message = good.into_message();
    spoil(&mut message);
    let error = T::from_message(message).expect_err(field);
    assert_eq!(error.field, field);
}

#[test]
fn what_is_missing_is_named() {
    refused(id(1, 1), "LogId.leader", |m| m.leader = None);
    refused(vote(1, true), "Vote.leader", |m| m.leader = None);
    refused(StoredMembership::default(), "StoredMembership.membership", |m| m.membership = None);
    refused(SnapshotMeta::default(), "SnapshotMeta.membership", |m| m.membership = None);
    refused(command(id(1, 1), b"x"), "Entry.log_id", |m| m.log_id = None);
    refused(command(id(1, 1), b"x"), "Entry.payload", |m| m.payload = None);
    refused(append(None, vec![]), "AppendRequest.vote", |m| m.vote = None);
    refused(AppendEntriesResponse::Success, "AppendResponse.result", |m| m.result = None);
    let conflict: StreamAppendResult<TypeConfig> = Err(StreamAppendError::Conflict(id(1, 3)));
    refused(conflict, "Conflict.prev", |m| *m = AppendEntriesResponse::Conflict.into_message());
    refused(VoteRequest::<TypeConfig>::new(vote(1, false), None), "VoteRequest.vote", |m| m.vote = None);
    refused(VoteResponse::<TypeConfig>::new(vote(1, false), None, true), "VoteResponse.vote", |m| {
        m.vote = None
    });
    let transfer = || TransferLeaderRequest::<TypeConfig>::new(vote(1, true), 2, None);
    refused(transfer(), "TransferLeaderRequest.from_leader", |m| m.from_leader = None);
}

#[test]
fn what_openraft_would_panic_on_is_refused() {
    refused((1, member("z")), "Member.incarnation", |m| m.incarnation = Bytes::from_static(b"short"));
    refused(joint(), "VoterSet.ids", |m| m.configs[0].ids.clear());
    refused(joint(), "VoterSet.ids", |m| m.configs[1].ids.push(99));
    refused(joint(), "VoterSet.ids", |m| m.configs[1].ids.push(2));
    refused(joint(), "Membership.members", |m| m.members.push(m.members[0].clone()));

    let logged = || StoredMembership::new(Some(id(1, 4)), joint());
    let no_voters = proto::Membership::default;
    refused(logged(), "StoredMembership.membership", |m| m.membership = Some(no_voters()));
    let entry = Entry { log_id: id(1, 4), payload: Payload::Membership(joint()) };
    refused(entry, "Entry.membership", |m| m.payload = Some(proto::entry::Payload::Membership(no_voters())));
    let meta = SnapshotMeta { last_log_id: Some(id(1, 4)), last_membership: logged() };
    refused(meta, "SnapshotMeta.membership", |m| m.last_log_id = Some(id(1, 3).into_message()));

    refused(append(None, vec![]), "AppendRequest.vote", |m| m.vote = Some(vote(5, false).into_message()));
    let ask = VoteRequest::<TypeConfig>::new(vote(5, false), None);
    refused(ask, "VoteRequest.vote", |m| m.vote = Some(vote(5, true).into_message()));
    let transfer = TransferLeaderRequest::<TypeConfig>::new(vote(5, true), 2, None);
    refused(transfer, "TransferLeaderRequest.from_leader", |m| {
        m.from_leader = Some(vote(5, false).into_message())
    });

    for (prev, entries) in [
        (None, vec![id(1, 1)]),
        (Some(id(1, 4)), vec![id(1, 6)]),
        (Some(id(1, 4)), vec![id(1, 4)]),
        (Some(id(1, 4)), vec![id(1, 5), id(1, 7)]),
        (Some(id(2, 4)), vec![id(1, 5)]),
        (Some(id(1, u64::MAX)), vec![id(1, 0)]),
        (Some(id(1, 4)), vec![id(6, 5)]),
        (Some(id(6, 4)), vec![]),
    ] {
        let entries = entries.into_iter().map(|id| command(id, b"x")).collect();
        refused(append(prev, entries), "AppendRequest.entries", |_| ());
    }
}

#[test]
fn a_snapshot_comes_from_its_leader_or_a_later_one() {
    let meta = SnapshotMeta { last_log_id: Some(id(5, 9)), last_membership: StoredMembership::default() };
    for (sender, allowed) in [(vote(4, true), false), (vote(5, false), false), (vote(5, true), true)] {
        assert_eq!(check_snapshot_sender(&sender, &meta).is_ok(), allowed, "{sender}");
    }
}

proptest! {
    #[test]
    fn bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let bytes = Bytes::from(bytes);
        if let Ok(message) = proto::AppendRequest::decode(bytes.clone()) {
            let _ = AppendEntriesRequest::<TypeConfig>::from_message(message);
        }
        if let Ok(message) = proto::Membership::decode(bytes.clone()) {
            let _ = Membership::from_message(message);
        }
        if let Ok(message) = proto::SnapshotMeta::decode(bytes) {
            let _ = SnapshotMeta::from_message(message);
        }
    }

    /// Real messages with one byte changed reach deeper than random ones.
    #[test]
    fn a_changed_byte_never_panics(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let entries = vec![
            command(id(2, 8), b"abc"),
            Entry { log_id: id(5, 9), payload: Payload::Membership(joint()) },
        ];
        let mut bytes = append(Some(id(2, 7)), entries).into_message().encode_to_vec();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Ok(message) = proto::AppendRequest::decode(Bytes::from(bytes)) {
            let _ = AppendEntriesRequest::<TypeConfig>::from_message(message);
        }
    }

    #[test]
    fn requests_round_trip(
        first in 1..u64::MAX / 2,
        term in 0..9u64,
        commands in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..50), 0..8),
    ) {
        let vote = Vote { leader_id: leader(9, 3), committed: true };
        let entries = commands.into_iter().zip(first..).map(|(bytes, index)| Entry {
            log_id: LogId { leader_id: leader(term, 2), index },
            payload: Payload::Normal(EncodedCommand(bytes.into())),
        });
        let entries: Vec<_> = entries.collect();
        let prev_log_id = Some(LogId { leader_id: leader(term, 2), index: first - 1 });
        let request = AppendEntriesRequest { vote, prev_log_id, entries, leader_commit: None };
        let back = round_trip::<AppendEntriesRequest<TypeConfig>>(&request);
        prop_assert_eq!(back.entries, request.entries);
    }
}
