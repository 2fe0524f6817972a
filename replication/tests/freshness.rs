//! What a node can prove about its view, while there is a leader and while there is none.
#![allow(clippy::unwrap_used, missing_docs)]

use std::time::Duration;

use meridian_model::{Document, Format, Mutation, Outcome, Refusal};
use meridian_replication::BarrierError;

use crate::support::{Cluster, DEADLINE, eventually, fresh_id, publish, web};

mod support;

/// More than two questions to the leader take, on a busy machine.
const FRESH: Duration = Duration::from_secs(2);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn staleness_grows_without_a_quorum_and_goes_when_it_is_back() {
    let mut cluster = Cluster::started(3).await;
    let at = web();
    cluster.create(&at).await;
    cluster.publish(&at, "1").await;
    for id in 1..=3 {
        eventually("it proves its freshness", async || {
            cluster.up[&id].staleness().filter(|staleness| *staleness < FRESH)
        })
        .await;
    }
    let leader = cluster.leader().await;
    let survivor = (1..=3).find(|id| *id != leader).unwrap();
    let other = (1..=3).find(|id| ![leader, survivor].contains(id)).unwrap();
    assert!(cluster.up[&leader].status().quorum_age.unwrap() < FRESH);
    assert_eq!(cluster.up[&survivor].status().quorum_age, None);

    cluster.stop(leader).await;
    cluster.stop(other).await;
    let mut before = Duration::ZERO;
    eventually("it says how long it has been alone", async || {
        let staleness = cluster.up[&survivor].staleness().unwrap();
        // A question that was under way may still be answered by the leader that is stopping.
        let goes_on = staleness > before;
        before = staleness;
        (goes_on && staleness > FRESH * 2).then_some(())
    })
    .await;
    let handle = &cluster.up[&survivor];
    assert_eq!(handle.status().staleness.map(|staleness| staleness > FRESH), Some(true));
    let barrier = handle.barrier(Duration::from_millis(300)).await;
    assert!(matches!(barrier, Err(BarrierError::TimedOut | BarrierError::NoLeader)), "{barrier:?}");
    cluster.served(survivor, &at, "1").await;

    cluster.start(other).await;
    eventually("it is fresh again", async || {
        cluster.up[&survivor].staleness().filter(|staleness| *staleness < FRESH)
    })
    .await;
    // A node that starts knows nothing of the time before.
    eventually("the other one too", async || {
        cluster.up[&other].staleness().filter(|staleness| *staleness < FRESH)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_barrier_a_follower_shows_what_was_committed_before() {
    let cluster = Cluster::started(3).await;
    let at = web();
    cluster.create(&at).await;
    for n in 0..30 {
        let committed = cluster.publish(&at, &n.to_string()).await;
        // Several at once share a question, and each must hold.
        let barriers = (1..=3).flat_map(|id| std::iter::repeat_n(id, 4)).map(|id| {
            let handle = cluster.up[&id].clone();
            async move { (handle.barrier(DEADLINE).await.unwrap(), handle.catalog().view().revision) }
        });
        for (revision, shown) in futures::future::join_all(barriers).await {
            assert!(revision >= committed && shown >= revision, "{committed} {revision} {shown}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revision_is_waited_for() {
    let cluster = Cluster::started(1).await;
    let at = web();
    cluster.create(&at).await;
    let handle = &cluster.up[&1];
    let now = handle.catalog().view().revision;
    assert!(handle.reached(now, Duration::ZERO).await);
    let next = now + 1_000_000;
    assert!(!handle.reached(next, Duration::from_millis(10)).await);
    // Ticks alone bring it.
    assert!(handle.reached(handle.catalog().view().revision + 1, DEADLINE).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_node_knows_what_became_of_a_request() {
    let cluster = Cluster::started(3).await;
    let at = web();
    cluster.create(&at).await;
    let draft = |text: &'static str| publish(&at, Document::seal(Format::Json, text.into()));
    let (done, refused, settled, unknown) = (fresh_id(), fresh_id(), fresh_id(), fresh_id());
    let (revision, first) = cluster.propose_as(done, draft("1")).await;
    cluster.propose_as(refused, Mutation::CreateProject { project: at.project.clone() }).await;
    cluster.propose_as(settled, Mutation::Settle).await;
    // A late attempt of a request that was settled changes nothing.
    let (last, late) = cluster.propose_as(settled, draft("late")).await;
    assert_eq!(late, Outcome::Refused(Refusal::Abandoned));
    // Nor does settling one that was done.
    assert_eq!(cluster.propose_as(done, Mutation::Settle).await.1, first);
    for (id, handle) in &cluster.up {
        for (request, expected) in [
            (done, Some(first.clone())),
            (refused, Some(Outcome::Refused(Refusal::Exists("project web".to_owned())))),
            (settled, Some(Outcome::Refused(Refusal::Abandoned))),
            (unknown, None),
        ] {
            let (outcome, looked_at) = handle.outcome(request, DEADLINE).await.unwrap();
            assert_eq!(outcome, expected, "on node {id}");
            assert!(looked_at >= last.max(revision), "on node {id}");
        }
        let served = handle.catalog().view().served(&at).unwrap().document.open().unwrap();
        assert_eq!(served, "1");
    }
}
