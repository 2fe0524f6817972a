//! A learner that joins a cluster with much state, and what that costs the others.
#![allow(clippy::unwrap_used, clippy::print_stderr, missing_docs)]

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use meridian_model::{Document, EnvironmentRef, Format, Mutation};

use crate::support::{Cluster, TOKEN, eventually, fresh_id, publish, web};

mod support;

const DOCUMENT_BYTES: usize = 100_000;

/// Fills environments with documents that do not compress.
async fn fill(cluster: &Cluster, documents: usize) {
    let mut seed = 1u64;
    for n in 0..documents {
        let at = EnvironmentRef::parse("web", &format!("env-{}", n / 500)).unwrap();
        if n % 500 == 0 {
            cluster.propose(Mutation::CreateEnvironment { environment: at.clone() }).await;
        }
        let noise = (0..DOCUMENT_BYTES / 8).flat_map(|_| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed ^ (seed >> 29)).to_le_bytes()
        });
        cluster.propose(publish(&at, Document::seal(Format::Json, noise.collect::<Vec<u8>>().into()))).await;
    }
}

fn percentile(sorted: &[Duration], of: usize) -> Duration {
    sorted[(sorted.len() - 1) * of / 1_000]
}

/// Bytes of the largest snapshot file that the joiner holds, whole or in part.
fn largest(cluster: &Cluster) -> u64 {
    let files = std::fs::read_dir(cluster.guests[&2].disk.path().join("group-1/snapshots"));
    let files = files.into_iter().flatten().filter_map(Result::ok);
    files.filter_map(|file| Some(file.metadata().ok()?.len())).max().unwrap_or(0)
}

/// Waits until a part of the snapshot is there.
async fn received(cluster: &Cluster) -> u64 {
    eventually("a part has arrived", async || Some(largest(cluster)).filter(|bytes| *bytes > 100_000_000))
        .await
}

/// The target: caught up in 30 s, and p99 of the leader's writes below 100 ms meanwhile, in a release build. Prints both.
#[ignore = "a minute, and 3 GB of disk"]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_learner_joins_with_half_a_gigabyte_and_a_restart_in_between() {
    let mut cluster = Cluster::started(1).await;
    let at = web();
    cluster.create(&at).await;
    fill(&cluster, 5_120).await;
    let snapshots = cluster.disk(1).join("group-1/snapshots");
    let newest = || {
        let files = std::fs::read_dir(&snapshots).unwrap().filter_map(Result::ok);
        files.filter(|file| file.file_name().to_string_lossy().ends_with(".snapshot")).count()
    };
    eventually("there is a snapshot", async || (newest() > 0).then_some(())).await;

    cluster.invite(2, "eu-west", Some(TOKEN), false);
    let leader = cluster.up[&1].clone();
    let done = AtomicBool::new(false);
    let writing = async {
        let mut taken = Vec::new();
        while !done.load(Ordering::Relaxed) {
            let document = Document::seal(Format::Json, taken.len().to_string().into());
            let begun = Instant::now();
            leader
                .propose(fresh_id(), "test".into(), publish(&at, document), Duration::from_secs(5))
                .await
                .unwrap();
            taken.push(begun.elapsed());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        taken.sort_unstable();
        taken
    };
    let joining = async {
        let begun = Instant::now();
        cluster.start(2).await;
        let held = received(&cluster).await;
        cluster.stop(2).await;
        cluster.start(2).await;
        let joiner = &cluster.up[&2];
        let (mut most, mut least) = (0, u64::MAX);
        while !joiner.readiness().is_ready() {
            let size = largest(&cluster);
            (most, least) = (most.max(size), least.min(size));
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        done.store(true, Ordering::Relaxed);
        assert!(least >= held, "it had {held} bytes when it was stopped, and went back to {least}");
        (begun.elapsed(), most)
    };
    let (taken, (joined, bytes)) = tokio::join!(writing, joining);
    eprintln!(
        "joined in {joined:?} with {bytes} bytes of snapshot; {} writes meanwhile: p50 {:?}, p99 {:?}, max {:?}",
        taken.len(),
        percentile(&taken, 500),
        percentile(&taken, 990),
        taken.last().unwrap(),
    );
    assert!(bytes > 400_000_000 && joined < Duration::from_secs(60));
    cluster.agree().await;
}
