//! Who leads, and how that moves: asked by an operator, wished by the placement, or because a node is drained or stops.
#![allow(clippy::unwrap_used, missing_docs)]

use std::time::{Duration, Instant};

use meridian_model::{Mutation, Outcome};
use meridian_replication::{ServiceState, TransferError};

use crate::support::{Cluster, DEADLINE, TOKEN, eventually, region_of, web};

mod support;

async fn prefer(cluster: &Cluster, regions: &[&str]) {
    let regions = regions.iter().map(|region| region.parse().unwrap()).collect();
    let placement = Mutation::SetPlacement { regions, repair_after_ms: None, expect_version: None };
    assert_eq!(cluster.propose(placement).await.1, Outcome::Done);
}

async fn drain(cluster: &Cluster, nodes: &[u64], undrain: bool) {
    assert_eq!(cluster.propose(Mutation::Drain { nodes: nodes.to_vec(), undrain }).await.1, Outcome::Done);
}

async fn led_by(cluster: &Cluster, node: u64) {
    eventually(&format!("node {node} leads"), async || {
        let leaders: Vec<_> = cluster.up.values().map(|handle| handle.status().leader).collect();
        leaders.iter().all(|leader| *leader == Some(node)).then_some(())
    })
    .await;
}

fn others(leader: u64) -> [u64; 2] {
    let others: Vec<u64> = (1..=3).filter(|id| *id != leader).collect();
    others.try_into().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leadership_is_handed_to_whom_one_names() {
    let mut cluster = Cluster::started(3).await;
    let at = web();
    cluster.create(&at).await;
    for round in 0..4 {
        let leader = cluster.leader().await;
        let [to, bystander] = others(leader);
        let asked_elsewhere = cluster.up[&bystander].transfer_leader(Some(to), DEADLINE).await;
        let Err(TransferError::NotLeader { leader: Some(hint) }) = asked_elsewhere else {
            panic!("{asked_elsewhere:?}")
        };
        assert_eq!(hint.node_id, leader);
        let handle = cluster.up[&leader].clone();
        assert_eq!(handle.transfer_leader(Some(leader), DEADLINE).await, Ok(leader), "it leads already");
        let unknown = handle.transfer_leader(Some(9), DEADLINE).await;
        assert!(
            matches!(&unknown, Err(TransferError::Refused(why)) if why.contains("no member")),
            "{unknown:?}"
        );

        assert_eq!(handle.transfer_leader(Some(to), DEADLINE).await, Ok(to));
        cluster.publish(&at, &round.to_string()).await;
        led_by(&cluster, to).await;
    }
    let leader = cluster.leader().await;
    let [gone, left] = others(leader);
    cluster.stop(gone).await;
    let handle = &cluster.up[&leader];
    // It is found out before leadership is given away, and not by waiting for somebody to lead.
    let refused = handle.transfer_leader(Some(gone), DEADLINE).await;
    assert!(
        matches!(&refused, Err(TransferError::Refused(why)) if why.contains("does not answer")),
        "{refused:?}"
    );
    // Whoever is left takes over when nobody is named, once the other one is known to be gone.
    let led_by =
        eventually("somebody takes over", async || handle.transfer_leader(None, DEADLINE).await.ok());
    assert_eq!(led_by.await, left);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drained_leader_hands_over_at_once() {
    let cluster = Cluster::started(3).await;
    cluster.create(&web()).await;
    let leader = cluster.leader().await;
    let [first, second] = others(leader);
    // Prefers the drained one least of all, and of the others the second.
    prefer(&cluster, &[region_of(leader), region_of(second), region_of(first)]).await;
    let begun = Instant::now();
    drain(&cluster, &[leader], false).await;
    led_by(&cluster, second).await;
    assert!(
        begun.elapsed() < Duration::from_secs(4),
        "{:?}: without waiting for a steady wish",
        begun.elapsed()
    );
    let refused = cluster.up[&second].transfer_leader(Some(leader), DEADLINE).await;
    assert!(matches!(&refused, Err(TransferError::Refused(why)) if why.contains("drained")), "{refused:?}");
    // Back in service, it is preferred again.
    drain(&cluster, &[leader], true).await;
    led_by(&cluster, leader).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leaders_go_where_the_placement_wants_them() {
    let mut cluster = Cluster::started(3).await;
    let at = web();
    cluster.create(&at).await;
    let leader = cluster.leader().await;
    let [second, first] = others(leader);
    prefer(&cluster, &[region_of(first), region_of(second)]).await;
    led_by(&cluster, first).await;
    // It stops: the next best one takes over without an election, and gives back when the best one is there again.
    cluster.stop(first).await;
    led_by(&cluster, second).await;
    cluster.publish(&at, "meanwhile").await;
    cluster.start(first).await;
    led_by(&cluster, first).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopping_leader_spares_the_drained() {
    let mut cluster = Cluster::started(3).await;
    cluster.create(&web()).await;
    let leader = cluster.leader().await;
    let [drained, in_service] = others(leader);
    prefer(&cluster, &[region_of(leader), region_of(drained)]).await;
    drain(&cluster, &[drained], false).await;
    cluster.stop(leader).await;
    led_by(&cluster, in_service).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_others_hear_whether_a_node_serves() {
    let cluster = Cluster::started(3).await;
    cluster.create(&web()).await;
    cluster.up[&2].report_service(ServiceState::Draining, 7);
    let reports = cluster.up[&1].cluster().await;
    let told: Vec<_> = reports
        .iter()
        .map(|report| {
            let status = report.status.as_ref().unwrap();
            (report.node_id, status.service, status.streams)
        })
        .collect();
    assert_eq!(
        told,
        [(1, ServiceState::Serving, 0), (2, ServiceState::Draining, 7), (3, ServiceState::Serving, 0)]
    );
    let leading = reports.iter().filter(|report| report.status.as_ref().unwrap().quorum_age.is_some());
    assert_eq!(leading.count(), 1, "{reports:#?}");
    let members: Vec<_> =
        cluster.up[&3].members().iter().map(|listed| (listed.node_id, listed.voter)).collect();
    assert_eq!(members, [(1, true), (2, true), (3, true)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_voter_is_replaced_where_that_was_agreed() {
    let mut cluster = Cluster::started(3).await;
    let at = web();
    cluster.create(&at).await;
    let leader = cluster.leader().await;
    let [lost, _] = others(leader);
    for (id, region) in [(4, region_of(leader)), (5, region_of(lost))] {
        cluster.invite(id, region, Some(TOKEN), false);
        cluster.start(id).await;
        eventually("it is a member", async || {
            cluster.up[&leader].members().iter().any(|listed| listed.node_id == id).then_some(())
        })
        .await;
    }
    let repair =
        Mutation::SetPlacement { regions: Vec::new(), repair_after_ms: Some(3_000), expect_version: None };
    assert_eq!(cluster.propose(repair).await.1, Outcome::Done);
    cluster.stop(lost).await;
    eventually("the learner of its region votes", async || {
        let members = cluster.up[&leader].members();
        let votes = |id| members.iter().any(|listed| listed.node_id == id && listed.voter);
        assert!(!votes(4), "the region that has a vote gets no second one: {members:#?}");
        (votes(5) && members.iter().all(|listed| listed.node_id != lost)).then_some(())
    })
    .await;
    eventually("each step is in the journal", async || {
        let view = cluster.up[&leader].catalog().view();
        let by_repair = view.directory.fleet().events().filter(|(_, event)| event.actor == "self-repair");
        let told: Vec<String> = by_repair.map(|(_, event)| event.text.clone()).collect();
        let steps = ["to be replaced", "is to vote in the place", "replaced"];
        (told.len() == steps.len() && told.iter().zip(steps).all(|(line, step)| line.contains(step)))
            .then_some(())
    })
    .await;
    cluster.publish(&at, "1").await;
}
