//! Life after a loss: a majority of the voters gone, or everything but a backup.
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use meridian_model::EnvironmentRef;
use meridian_replication::recovery::{
    Inspection, Refusal, Restore, Stopped, Verdict, judge, restore, verify,
};
use meridian_replication::{Founder, ReadError, Readiness};
use support::{Cluster, eventually};
use tempfile::TempDir;

fn shop() -> EnvironmentRef {
    EnvironmentRef::parse("shop", "live").unwrap()
}

/// What a stopped node says of itself, through the form in which operators pass it on.
async fn inspect(dir: &Path) -> Inspection {
    on_disk(dir, |stopped| {
        let text = serde_json::to_string(stopped.inspection()).unwrap();
        serde_json::from_str(&text).unwrap()
    })
    .await
}

/// Work on a stopped node blocks, and has no runtime around it.
async fn on_disk<T: Send + 'static>(dir: &Path, work: impl FnOnce(Stopped) -> T + Send + 'static) -> T {
    let dir = dir.to_owned();
    tokio::task::spawn_blocking(move || work(Stopped::open(&dir).unwrap())).await.unwrap()
}

async fn recover(dir: &Path, verdict: Verdict) {
    on_disk(dir, move |stopped| stopped.recover(&verdict).unwrap()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_goes_on_from_the_survivor_that_holds_most() {
    let mut cluster = Cluster::started(5).await;
    let at = shop();
    cluster.create(&at).await;
    cluster.publish(&at, "1").await;
    for id in 1..=5 {
        cluster.served(id, &at, "1").await;
    }
    // Node 2 misses what the others agree on.
    cluster.stop(2).await;
    cluster.publish(&at, "2").await;
    cluster.served(1, &at, "2").await;
    for id in [1, 3, 4, 5] {
        cluster.stop(id).await;
    }

    // Nodes 3, 4 and 5 are lost.
    let (first, second) = (inspect(cluster.disk(1)).await, inspect(cluster.disk(2)).await);
    assert!(first.last > second.last);
    assert_eq!(first.voter_sets, [[1, 2, 3, 4, 5]]);
    assert_eq!((first.heads[0].environment.as_str(), first.heads[0].version), ("shop/live", 2));
    let refused = judge(&second, std::slice::from_ref(&first)).unwrap_err();
    assert!(matches!(refused, Refusal::NotFurthest { furthest: 1, .. }), "{refused}");
    let verdict = judge(&first, &[second]).unwrap();
    assert_eq!(verdict.given_up, [3, 4, 5]);
    recover(cluster.disk(1), verdict.clone()).await;

    // Repeated, as after a crash at the very end.
    let again = inspect(cluster.disk(1)).await;
    assert_eq!(judge(&again, &[]).unwrap_err(), Refusal::Alone(1));
    assert_ne!(again.incarnation, first.incarnation);

    cluster.start(1).await;
    cluster.served(1, &at, "2").await;
    cluster.publish(&at, "3").await;
    cluster.served(1, &at, "3").await;
    let view = cluster.up[&1].catalog().view();
    let journal: Vec<String> = view.directory.fleet().events().map(|(_, event)| event.text.clone()).collect();
    assert!(journal.iter().any(|text| text.contains("recovered from node 1 alone")), "{journal:?}");
    for id in 2..=5 {
        assert!(view.directory.fleet().retired_at_ms(id).is_some(), "node {id} may come back");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_interrupted_recovery_is_repeated() {
    let mut cluster = Cluster::started(3).await;
    let at = shop();
    cluster.create(&at).await;
    cluster.publish(&at, "1").await;
    cluster.served(1, &at, "1").await;
    for id in 1..=3 {
        cluster.stop(id).await;
    }
    let before = inspect(cluster.disk(1)).await;
    let verdict = judge(&before, &[]).unwrap();
    // As if it had ended before the log was written: the vote and the identity are new.
    let saved = TempDir::new().unwrap();
    copy(&cluster.disk(1).join("group-1"), &saved.path().join("group-1"));
    recover(cluster.disk(1), verdict.clone()).await;
    fs::remove_dir_all(cluster.disk(1).join("group-1")).unwrap();
    copy(&saved.path().join("group-1"), &cluster.disk(1).join("group-1"));

    let half = inspect(cluster.disk(1)).await;
    assert_ne!(half.incarnation, before.incarnation);
    assert_eq!(judge(&half, &[]).unwrap(), verdict);
    recover(cluster.disk(1), verdict).await;
    cluster.start(1).await;
    cluster.publish(&at, "2").await;
    cluster.served(1, &at, "2").await;
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let (path, target) = (entry.as_ref().unwrap().path(), to.join(entry.unwrap().file_name()));
        match path.is_dir() {
            true => copy(&path, &target),
            false => assert!(fs::copy(path, target).is_ok()),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_running_node_and_a_place_without_one_are_not_touched() {
    let mut cluster = Cluster::started(1).await;
    let at = shop();
    cluster.create(&at).await;
    let running = cluster.disk(1).to_owned();
    let refused = tokio::task::spawn_blocking(move || Stopped::open(&running).unwrap_err().to_string());
    assert!(refused.await.unwrap().contains("in use by another process"));
    cluster.stop(1).await;

    let empty = TempDir::new().unwrap();
    let refused = Stopped::open(empty.path()).unwrap_err().to_string();
    assert!(refused.contains("holds no node's data"), "{refused}");
    assert_eq!(fs::read_dir(empty.path()).unwrap().count(), 0);
}

/// A backup of a cluster of one, with what it served last.
async fn backup() -> (TempDir, PathBuf, EnvironmentRef) {
    let mut cluster = Cluster::started(1).await;
    let at = shop();
    cluster.create(&at).await;
    for text in ["1", "2"] {
        cluster.publish(&at, text).await;
    }
    let (export, second) = tokio::join!(cluster.up[&1].export(), cluster.up[&1].export());
    let export = export.unwrap();
    assert!(matches!(second, Err(ReadError::Busy)), "one at a time: {second:?}");
    assert!(export.revision > 0);
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("backup");
    let copied = std::io::copy(&mut &export.file, &mut fs::File::create(&path).unwrap()).unwrap();
    assert_eq!(copied, export.size_bytes);
    cluster.stop(1).await;
    (dir, path, at)
}

fn into(data_dir: &Path, node_id: u64, own: Founder) -> Restore {
    Restore { cluster_id: "test".to_owned(), from_cluster: None, node_id, own, data_dir: data_dir.to_owned() }
}

async fn restored(path: PathBuf, plan: Restore) -> Result<(), String> {
    let done = tokio::task::spawn_blocking(move || {
        verify(&path).and_then(|archive| restore(&archive, &plan)).map_err(|error| error.to_string())
    });
    done.await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_begins_a_cluster() {
    let (_dir, path, at) = backup().await;
    let mut cluster = Cluster::new(1);
    let plan = into(cluster.disk(1), 1, cluster.founders[&1].clone());
    restored(path.clone(), plan.clone()).await.unwrap();
    let refused = restored(path, plan).await.unwrap_err();
    assert!(refused.contains("holds a node's data"), "{refused}");

    cluster.start(1).await;
    cluster.served(1, &at, "2").await;
    eventually("it is ready", async || (cluster.up[&1].readiness() == Readiness::Ready).then_some(())).await;
    cluster.publish(&at, "3").await;
    cluster.served(1, &at, "3").await;
    let view = cluster.up[&1].catalog().view();
    assert_eq!(view.directory.environment(&at).unwrap().head, 3, "versions go on");
    let old = view.directory.release(&at, 1).unwrap().clone();
    let document = cluster.up[&1].document(&old).await.unwrap().unwrap();
    assert_eq!(document.open().unwrap(), "1");
    cluster.stop(1).await;
    cluster.start(1).await;
    cluster.served(1, &at, "3").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_backup_is_refused_and_nothing_is_touched() {
    let (_dir, path, _) = backup().await;
    let whole = fs::read(&path).unwrap();
    let bad = path.with_extension("bad");
    let own = Cluster::new(1).founders[&1].clone();
    let empty = TempDir::new().unwrap();
    let plan = into(empty.path(), 1, own);

    for at in (0..whole.len()).step_by(whole.len() / 40) {
        let mut flipped = whole.clone();
        flipped[at] ^= 0x20;
        fs::write(&bad, flipped).unwrap();
        let refused = restored(bad.clone(), plan.clone()).await.unwrap_err();
        assert!(refused.contains(&bad.display().to_string()), "byte {at}: {refused}");
        fs::write(&bad, &whole[..at]).unwrap();
        let refused = restored(bad.clone(), plan.clone()).await.unwrap_err();
        assert!(refused.contains("use another one"), "cut at {at}: {refused}");
    }
    let mut longer = fs::OpenOptions::new().append(true).open(&path).unwrap();
    longer.write_all(b"x").unwrap();
    assert!(restored(path.clone(), plan.clone()).await.is_err());
    fs::write(&path, &whole).unwrap();

    let other = Restore { cluster_id: "other".to_owned(), ..plan.clone() };
    let refused = restored(path.clone(), other.clone()).await.unwrap_err();
    assert!(
        refused.contains("is of cluster \"test\"") && refused.contains("--from-cluster test"),
        "{refused}"
    );
    assert_eq!(fs::read_dir(empty.path()).unwrap().count(), 0);

    let occupied = TempDir::new().unwrap();
    fs::write(occupied.path().join("notes.txt"), "mine").unwrap();
    let there = Restore { data_dir: occupied.path().to_owned(), ..plan };
    let refused = restored(path.clone(), there).await.unwrap_err();
    assert!(refused.contains("notes.txt"), "{refused}");
    assert_eq!(fs::read_dir(occupied.path()).unwrap().count(), 1);

    let meant = Restore { from_cluster: Some("test".to_owned()), ..other };
    restored(path, meant).await.unwrap();
}
