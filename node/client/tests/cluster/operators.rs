//! The calls about the cluster itself: who is asked, and what may be repeated.

use bytes::Bytes;
use meridian_client::proto::admin::{
    BackupHeader, BackupPart, ChangeMembersRequest, DrainRequest, SetPlacementRequest, backup_part::Part,
};
use meridian_client::{Error, Outcome};
use tonic::{Code, Status};

use crate::fake::{Act, Node, client, dying, refused};

#[tokio::test]
async fn questions_are_answered_by_any_node_and_decisions_by_the_leader() {
    let leader = Node::start(Act::Serve).await;
    let follower = Node::start(Act::Serve).await;
    let client = client([follower.endpoint.clone()]);
    client.placement().await.unwrap();
    assert_eq!(client.events(10).await.unwrap().len(), 1);

    follower.will(Act::Follow(Some(leader.endpoint.to_string())));
    client.change_members(ChangeMembersRequest::default()).await.unwrap();
    assert_eq!(client.drain(DrainRequest::default()).await.unwrap().nodes, [1]);
    assert_eq!(client.set_placement(SetPlacementRequest::default()).await.unwrap().version, 1);
    let done = Outcome::Done { version: 7, time_ms: 8 };
    for settle in [false, true] {
        assert_eq!(client.outcome("11111111-2222-4333-8444-555555555555", settle).await, Ok(done.clone()));
    }
    assert_eq!(client.transfer_leader(0).await, Ok(2));
    let asked: Vec<_> = leader.asked().into_iter().map(|asked| asked.call).collect();
    let expected =
        ["change_members", "drain", "set_placement", "get_outcome", "get_outcome", "transfer_leader"];
    assert_eq!(asked, expected);
    for change in &leader.asked()[1..3] {
        assert!(uuid::Uuid::parse_str(&change.request_id).is_ok(), "{change:?}");
    }

    // Who leads now, another node knows.
    let before = follower.asked().len();
    client.drain(DrainRequest::default()).await.unwrap();
    assert_eq!(follower.asked().len(), before + 1);
}

#[tokio::test]
async fn a_change_of_members_is_repeated_after_a_broken_connection() {
    let survivor = Node::start(Act::Serve).await;
    let client = client([dying().await, survivor.endpoint.clone()]);
    client.change_members(ChangeMembersRequest::default()).await.unwrap();
    assert_eq!(survivor.asked().len(), 1);
}

#[tokio::test]
async fn without_a_request_id_doubt_is_told_as_such() {
    let error = client([dying().await]).change_members(ChangeMembersRequest::default()).await.unwrap_err();
    assert!(matches!(error, Error::MaybeDone { .. }), "{error:?}");
    let error = client([dying().await]).transfer_leader(1).await.unwrap_err();
    assert!(matches!(error, Error::MaybeDone { .. }), "{error:?}");
    let dry_run = ChangeMembersRequest { validate_only: true, ..ChangeMembersRequest::default() };
    let error = client([dying().await]).change_members(dry_run).await.unwrap_err();
    assert!(matches!(error, Error::Unavailable { .. }), "{error:?}");
    let error = client([dying().await]).drain(DrainRequest::default()).await.unwrap_err();
    assert!(matches!(error, Error::Unknown { .. }), "a drain has an id: {error:?}");
}

#[tokio::test]
async fn no_refusal_of_a_repeat_settles_what_has_no_request_id() {
    for answer in [
        refused(Code::Aborted, "change-under-way"),
        refused(Code::FailedPrecondition, "member-rules"),
        Status::not_found("no such node"),
    ] {
        let node = Node::start(Act::Say(answer.clone())).await;
        let endpoints = [dying().await, node.endpoint.clone()];
        let error = client(endpoints).change_members(ChangeMembersRequest::default()).await.unwrap_err();
        assert!(matches!(error, Error::MaybeDone { .. }), "{answer:?} became {error:?}");
        assert_eq!(node.asked().len(), 1);
    }
}

#[tokio::test]
async fn leadership_without_a_target_is_not_moved_twice() {
    for (to, times) in [(0, 0), (2, 1)] {
        let node = Node::start(Act::Serve).await;
        let answer = client([dying().await, node.endpoint.clone()]).transfer_leader(to).await;
        assert_eq!(node.asked().len(), times, "to {to}: {answer:?}");
        assert_eq!(matches!(answer, Err(Error::MaybeDone { .. })), to == 0, "to {to}: {answer:?}");
    }
}

#[tokio::test]
async fn what_takes_long_is_not_asked_twice() {
    let slow = Node::start(Act::Late(std::time::Duration::from_millis(700))).await;
    // Twice the patience of this client with the first attempt of other calls.
    client([slow.endpoint.clone()]).change_members(ChangeMembersRequest::default()).await.unwrap();
    assert_eq!(slow.asked().len(), 1);
}

fn header(size_bytes: u64) -> Result<BackupPart, Status> {
    let header = BackupHeader { cluster_id: "c".into(), size_bytes, ..BackupHeader::default() };
    Ok(BackupPart { part: Some(Part::Header(header)) })
}

fn chunk(bytes: &'static [u8]) -> Result<BackupPart, Status> {
    Ok(BackupPart { part: Some(Part::Chunk(bytes.into())) })
}

async fn back_up(parts: Vec<Result<BackupPart, Status>>) -> Result<Vec<Bytes>, Error> {
    let node = Node::start(Act::Serve).await;
    node.sends_backup(parts);
    let mut backup = client([node.endpoint.clone()]).backup().await?;
    assert_eq!(backup.header().cluster_id, "c");
    let mut chunks = Vec::new();
    while let Some(chunk) = backup.next().await? {
        chunks.push(chunk);
    }
    Ok(chunks)
}

#[tokio::test]
async fn a_backup_is_whole_or_an_error() {
    assert_eq!(back_up(vec![header(5), chunk(b"ab"), chunk(b"cde")]).await.unwrap(), ["ab", "cde"]);
    for (parts, received) in [
        (vec![header(5), chunk(b"ab")], 2),
        (vec![header(5), chunk(b"ab"), Err(Status::unavailable("draining"))], 2),
        (vec![header(5), chunk(b"ab"), chunk(b"cdef")], 6),
        (vec![header(5)], 0),
    ] {
        let error = back_up(parts).await.unwrap_err();
        let Error::CutShort { received_bytes, expected_bytes, .. } = error else { panic!("{error:?}") };
        assert_eq!((received_bytes, expected_bytes), (received, 5));
    }
    for parts in [vec![], vec![chunk(b"ab")]] {
        assert_eq!(back_up(parts).await, Err(Error::Malformed { missing: "BackupHeader" }));
    }
}
