//! Members in one process, over real sockets and real disks.
#![allow(clippy::unwrap_used, missing_docs)]

use std::net::TcpListener;
use std::time::{Duration, Instant};

use meridian_model::{Document, Format, Mutation, Outcome, RequestId};
use meridian_replication::{Options, ProposeError, StartError, start};
use tempfile::TempDir;

use crate::support::{Cluster, DEADLINE, eventually, publish, web};

mod support;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_nodes_agree_and_survive_the_leader() {
    let mut cluster = Cluster::started(3).await;
    let at = web();
    cluster.create(&at).await;
    let mut ear = cluster.up[&3].catalog().subscribe(&at);
    cluster.publish(&at, "1").await;
    tokio::time::timeout(DEADLINE, ear.changed()).await.unwrap();
    for id in 1..=3 {
        cluster.served(id, &at, "1").await;
        cluster.ready(id).await;
    }
    let leader = cluster.leader().await;
    let follower = (1..=3).find(|id| *id != leader).unwrap();
    let refused = cluster.up[&follower]
        .propose(
            RequestId([1; 16]),
            String::new(),
            publish(&at, Document::seal(Format::Json, "x".into())),
            DEADLINE,
        )
        .await;
    let Err(ProposeError::NotLeader { leader: Some(hint) }) = refused else { panic!("{refused:?}") };
    assert_eq!((hint.node_id, hint.grpc_address), (leader, format!("grpc-of-{leader}")));

    cluster.stop(leader).await;
    cluster.publish(&at, "2").await;
    cluster.served(follower, &at, "2").await;
    cluster.start(leader).await;
    cluster.served(leader, &at, "2").await;
    cluster.agree().await;
    let reports = cluster.up[&leader].cluster().await;
    assert_eq!(reports.len(), 3);
    assert!(reports.iter().all(|report| report.voter && report.status.is_ok()), "{reports:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lone_node_serves_from_its_disk() {
    let mut cluster = Cluster::started(3).await;
    let at = web();
    cluster.create(&at).await;
    let revision = cluster.publish(&at, "kept").await;
    for id in 1..=3 {
        cluster.served(id, &at, "kept").await;
        cluster.ready(id).await;
    }
    for id in 1..=3 {
        cluster.stop(id).await;
    }
    cluster.start(2).await;
    let view = cluster.up[&2].catalog().view();
    assert!(view.revision >= revision, "{} < {revision}", view.revision);
    assert_eq!(view.served(&at).unwrap().document.open().unwrap(), "kept");
    cluster.ready(2).await;
    let lone = cluster.up[&2]
        .propose(RequestId([9; 16]), String::new(), Mutation::Tick, Duration::from_secs(1))
        .await;
    assert!(lone.is_err(), "no quorum, no decision: {lone:?}");
}

/// It may hold a part of the whole only, as one that was stopped while it joined: to say that a thing does not exist would be
/// a guess.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_was_never_complete_waits_for_the_others() {
    let mut cluster = Cluster::started(3).await;
    for id in 1..=3 {
        cluster.ready(id).await;
    }
    for id in 1..=3 {
        cluster.stop(id).await;
    }
    std::fs::remove_file(cluster.disk(2).join("complete")).unwrap();
    cluster.start(2).await;
    assert!(!cluster.up[&2].readiness().is_ready());
    cluster.start(3).await;
    cluster.ready(2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn old_releases_and_rollbacks_come_from_the_disk() {
    let cluster = Cluster::started(1).await;
    let at = web();
    cluster.create(&at).await;
    for n in 1..=5 {
        cluster.publish(&at, &n.to_string()).await;
    }
    let handle = &cluster.up[&1];
    let view = handle.catalog().view();
    let second = view.directory.release(&at, 2).unwrap().clone();
    assert_eq!(handle.document(&second).await.unwrap().unwrap().open().unwrap(), "2");
    let rollback = Mutation::Rollback {
        environment: at.clone(),
        to_version: 2,
        expect_version: Some(5),
        message: String::new(),
    };
    let (_, outcome) = cluster.propose(rollback).await;
    assert!(matches!(outcome, Outcome::Published { version: 6, .. }), "{outcome:?}");
    cluster.served(1, &at, "2").await;
}

/// A node that was away for longer than the log is kept gets a snapshot, and ends with the same state.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_missed_too_much_gets_a_snapshot() {
    let mut cluster = Cluster::started(3).await;
    let at = web();
    cluster.create(&at).await;
    cluster.publish(&at, "before").await;
    cluster.served(3, &at, "before").await;
    cluster.stop(3).await;
    // Incompressible, so that the log really grows past what is kept behind a snapshot.
    let mut seed = 1u64;
    let mut noise = move || {
        let bytes = (0..4_000_000 / 8).flat_map(|_| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed ^ (seed >> 29)).to_le_bytes()
        });
        Document::seal(Format::Json, bytes.collect::<Vec<u8>>().into())
    };
    for _ in 0..45 {
        cluster.propose(publish(&at, noise())).await;
    }
    let purged = eventually("the log is purged", async || {
        let snapshots = std::fs::read_dir(cluster.disk(1).join("group-1/snapshots")).unwrap().count();
        let log: u64 = std::fs::read_dir(cluster.disk(1).join("group-1/log"))
            .unwrap()
            .filter_map(|entry| Some(entry.ok()?.metadata().ok()?.len()))
            .sum();
        (snapshots > 0 && log < 170_000_000).then_some(log)
    })
    .await;
    cluster.publish(&at, "after").await;
    cluster.start(3).await;
    cluster.served(3, &at, "after").await;
    cluster.agree().await;
    assert!(purged > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wiped_or_foreign_node_is_refused() {
    let mut cluster = Cluster::started(3).await;
    cluster.create(&web()).await;
    let listener = || TcpListener::bind("127.0.0.1:0").unwrap();

    let twice = start(cluster.options(1), listener());
    assert!(matches!(&twice, Err(StartError::Storage(why)) if why.contains("in use")), "{twice:?}");

    cluster.stop(3).await;
    let other_cluster = start(Options { cluster_id: "other".to_owned(), ..cluster.options(3) }, listener());
    assert!(
        matches!(&other_cluster, Err(StartError::Storage(why)) if why.contains("test")),
        "{other_cluster:?}"
    );

    cluster.disks[2] = TempDir::new().unwrap();
    cluster.start(3).await;
    let fatal = tokio::time::timeout(DEADLINE, cluster.up[&3].failed()).await.unwrap();
    assert!(fatal.to_string().contains("wiped"), "{fatal}");
    assert!(!cluster.up[&3].readiness().is_ready());
    cluster.publish(&web(), "1").await;
}

/// A peer that is gone costs a dial now and then, not a processor.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_peer_is_dialled_with_patience() {
    let mut cluster = Cluster::started(3).await;
    let at = web();
    cluster.create(&at).await;
    let leader = cluster.leader().await;
    let dead = (1..=3).find(|id| *id != leader).unwrap();
    cluster.stop(dead).await;
    let address = &cluster.founders[&dead].peer_address;
    let stand_in = eventually("its port is free", async || TcpListener::bind(address).ok()).await;
    stand_in.set_nonblocking(true).unwrap();
    let mut dials = 0;
    let until = Instant::now() + Duration::from_secs(4);
    while Instant::now() < until {
        // Accepted and dropped: as good as refused.
        dials += stand_in.incoming().take_while(Result::is_ok).count();
        cluster.publish(&at, &dials.to_string()).await;
    }
    // Three connections of the leader's and one of the other follower's, each dialled once or twice a second; a
    // heartbeat dials at its interval.
    assert!((1..150).contains(&dials), "{dials} dials in four seconds");
}
