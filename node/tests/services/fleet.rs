//! `AdminService`, where it is about the nodes themselves.

use meridian_proto::admin::change_members_request::Change;
use meridian_proto::admin::get_outcome_response::State;
use meridian_proto::admin::*;
use meridian_proto::config::Format;
use tonic::{Code, Status};

use crate::daemon::Cluster;
use crate::node::{operator, publish, refusal};

/// A refusal for a reason, in words that say the way out.
fn check(status: &Status, code: Code, reason: &str, says: &str) {
    assert_eq!(status.code(), code, "{status}");
    assert!(status.message().contains(says), "{:?} should contain {says:?}", status.message());
    if !reason.is_empty() {
        assert_eq!(refusal(status).reason, reason);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_change_of_the_fleet_is_refused_by_name() {
    let cluster = Cluster::start(&["a", "b", "c"], &[]).await;
    let mut admin = cluster.nodes[cluster.leader().await].admin();

    let drain = |nodes: &[u64], region: &str| {
        operator(DrainRequest { nodes: nodes.to_vec(), region: region.to_owned(), ..Default::default() })
    };
    for (request, code, reason, says) in [
        (drain(&[1], "a"), Code::InvalidArgument, "", "not both"),
        (drain(&[], ""), Code::InvalidArgument, "", "name nodes or a region"),
        (drain(&[9], ""), Code::FailedPrecondition, "unknown-node", "members are 1, 2, 3"),
        (drain(&[], "x"), Code::FailedPrecondition, "unknown-region", "members are in a, b, c"),
        (drain(&[1, 2, 3], ""), Code::FailedPrecondition, "none-would-serve", "--force"),
    ] {
        check(&admin.drain(request).await.unwrap_err(), code, reason, says);
    }

    let place = |regions: &[&str]| SetPlacementRequest {
        regions: regions.iter().map(|region| (*region).to_owned()).collect(),
        ..Default::default()
    };
    for (request, code, reason, says) in [
        (place(&["a", "x"]), Code::FailedPrecondition, "unknown-region", "members are in a, b, c"),
        (place(&["a", "a"]), Code::InvalidArgument, "", "named twice"),
        (place(&["A b"]), Code::InvalidArgument, "", "region"),
        (
            SetPlacementRequest { expect_version: Some(7), ..place(&["a"]) },
            Code::FailedPrecondition,
            "placement-conflict",
            "version 0, not 7",
        ),
        (
            SetPlacementRequest { repair_after_ms: Some(1), ..place(&["a"]) },
            Code::InvalidArgument,
            "",
            "repair_after_ms is 1",
        ),
    ] {
        check(&admin.set_placement(operator(request)).await.unwrap_err(), code, reason, says);
    }

    let change = |change| operator(ChangeMembersRequest { change, ..Default::default() });
    let none = NodeSet { nodes: Vec::new() };
    for (request, says) in [
        (change(None), "no change is named"),
        (change(Some(Change::Remove(none))), "no node is named"),
        (change(Some(Change::Add(AddMember { peer_address: "x".to_owned() }))), "host:port"),
    ] {
        check(&admin.change_members(request).await.unwrap_err(), Code::InvalidArgument, "", says);
    }
    let unknown = change(Some(Change::Demote(NodeSet { nodes: vec![9] })));
    let unknown = admin.change_members(unknown).await.unwrap_err();
    check(&unknown, Code::FailedPrecondition, "member-rules", "9");
    assert!(!refusal(&unknown).findings.is_empty());

    let unknown = admin.transfer_leader(operator(TransferLeaderRequest { to: 9 })).await.unwrap_err();
    check(&unknown, Code::FailedPrecondition, "cannot-lead", "9");
    let events = admin.list_events(operator(ListEventsRequest::default())).await.unwrap().into_inner().events;
    assert_eq!(events.iter().filter(|event| event.text.contains("placement")).count(), 0, "{events:?}");
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn placement_is_versioned_and_leaves_a_trace() {
    let cluster = Cluster::start(&["a", "b", "c"], &[]).await;
    let mut admin = cluster.nodes[cluster.leader().await].admin();
    let before = admin.get_placement(operator(GetPlacementRequest {})).await.unwrap().into_inner();
    assert_eq!(before.placement, Some(Placement::default()));
    // The region that leads already, so that nothing moves meanwhile.
    let leads = ["a", "b", "c"][cluster.leader().await].to_owned();
    let request = SetPlacementRequest {
        regions: vec![leads.clone()],
        repair_after_ms: Some(60_000),
        expect_version: Some(0),
        request_id: String::new(),
    };
    let set = admin.set_placement(operator(request)).await.unwrap().into_inner().placement;
    let expected = Placement { version: 1, regions: vec![leads], repair_after_ms: Some(60_000) };
    assert_eq!(set.as_ref(), Some(&expected));
    let status = admin.cluster_status(operator(ClusterStatusRequest {})).await.unwrap().into_inner();
    assert_eq!(status.placement, set);
    let events =
        admin.list_events(operator(ListEventsRequest { limit: 1 })).await.unwrap().into_inner().events;
    assert!(
        events[0].text.starts_with("placement 1:") && events[0].actor.starts_with("operator-"),
        "{events:?}"
    );
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_does_not_lead_says_who_does() {
    let cluster = Cluster::start(&["a", "b", "c"], &[]).await;
    let leader = cluster.leader().await;
    let mut admin = cluster.nodes[(leader + 1) % 3].admin();
    let refusals = [
        admin.drain(operator(DrainRequest { nodes: vec![9], ..Default::default() })).await.unwrap_err(),
        admin.set_placement(operator(SetPlacementRequest::default())).await.unwrap_err(),
        admin
            .change_members(operator(ChangeMembersRequest {
                change: Some(Change::Remove(NodeSet { nodes: vec![9] })),
                ..Default::default()
            }))
            .await
            .unwrap_err(),
        admin.transfer_leader(operator(TransferLeaderRequest { to: 0 })).await.unwrap_err(),
    ];
    for refused in refusals {
        assert_eq!(refused.code(), Code::Unavailable, "{refused}");
        let hint = refused.metadata().get("meridian-leader").unwrap().to_str().unwrap();
        assert_eq!(hint, cluster.nodes[leader].listen.grpc.to_string());
    }
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn leadership_goes_where_it_is_sent() {
    let cluster = Cluster::start(&["a", "b", "c"], &[]).await;
    let leader = cluster.leader().await;
    let to = (leader + 1) % 3;
    let request = TransferLeaderRequest { to: to as u64 + 1 };
    let answer = cluster.nodes[leader].admin().transfer_leader(operator(request)).await.unwrap();
    assert_eq!(answer.into_inner().leader, to as u64 + 1);
    assert_eq!(cluster.leader().await, to);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_became_of_a_request_can_be_asked_and_settled() {
    const DONE: &str = "67e55044-10b1-426f-9247-bb680e5fe0c8";
    const NEVER: &str = "67e55044-10b1-426f-9247-bb680e5fe0c9";
    let cluster = Cluster::start(&["here"], &[]).await;
    let mut admin = cluster.nodes[0].admin();
    let made = PublishRequest { request_id: DONE.to_owned(), ..publish(Format::Json, "1") };
    admin.publish(operator(made)).await.unwrap();
    for (request_id, settle, state, version) in [
        (DONE, false, State::Done, 1),
        (DONE, true, State::Done, 1),
        (NEVER, false, State::Undecided, 0),
        (NEVER, true, State::Abandoned, 0),
        (NEVER, false, State::Abandoned, 0),
    ] {
        let request = GetOutcomeRequest { request_id: request_id.to_owned(), settle };
        let answer = admin.get_outcome(operator(request)).await.unwrap().into_inner();
        assert_eq!((answer.state(), answer.version), (state, version), "{request_id} {settle}");
        assert!(answer.revision > 0);
    }
    let late = PublishRequest { request_id: NEVER.to_owned(), ..publish(Format::Json, "2") };
    check(&admin.publish(operator(late)).await.unwrap_err(), Code::Aborted, "abandoned", "never will be");
    for request_id in ["", "7"] {
        let request = GetOutcomeRequest { request_id: request_id.to_owned(), settle: false };
        check(
            &admin.get_outcome(operator(request)).await.unwrap_err(),
            Code::InvalidArgument,
            "",
            "request_id",
        );
    }
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_comes_whole() {
    let cluster = Cluster::start(&["here"], &[]).await;
    cluster.publish(Format::Json, "1").await;
    let mut admin = cluster.nodes[0].admin();
    let mut parts = admin.backup(operator(BackupRequest {})).await.unwrap().into_inner();
    let Some(backup_part::Part::Header(header)) = parts.message().await.unwrap().unwrap().part else {
        panic!("a backup begins with its header")
    };
    assert_eq!(header.cluster_id, "test");
    assert!(header.revision > 0 && header.size_bytes > 0);
    let mut bytes = 0;
    while let Some(part) = parts.message().await.unwrap() {
        let Some(backup_part::Part::Chunk(chunk)) = part.part else { panic!("a second header") };
        bytes += chunk.len() as u64;
    }
    assert_eq!(bytes, header.size_bytes);
    cluster.stop().await;
}
