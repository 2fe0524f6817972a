//! Order, refusals, and what follows a failed write.

use futures::FutureExt as _;

use super::*;

#[tokio::test]
async fn writes_are_reported_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    let mut waiting = Vec::new();
    for index in 0..200 {
        let (sender, durable) = TypeConfig::oneshot();
        store.append(entries(1, index..=index, 100), IOFlushed::signal(sender)).await.unwrap();
        assert_eq!(store.try_get_log_entries(index..).await.unwrap().len(), 1, "readable at once");
        waiting.push(durable);
    }
    while let Some(last) = waiting.pop() {
        last.await.unwrap().unwrap();
        if let Some(before) = waiting.last_mut() {
            let reported = before.now_or_never().expect("a later write was reported first");
            reported.unwrap().unwrap();
            waiting.pop();
        }
    }
}

#[tokio::test]
async fn nothing_is_purged_without_a_snapshot() {
    for (covered, upto, allowed) in
        [(None, 0, false), (Some(4), 5, false), (Some(5), 5, true), (Some(9), 5, true)]
    {
        let dir = tempfile::tempdir().unwrap();
        let floor = PurgeFloor::new();
        let mut store = LogStore::open_with(dir.path(), floor.clone(), SMALL).unwrap();
        append(&mut store, entries(1, 0..=9, 10)).await.unwrap();
        if let Some(covered) = covered {
            floor.raise(covered);
            floor.raise(0);
        }
        let purged = store.purge(id(1, upto)).await;
        assert_eq!(purged.is_ok(), allowed, "floor {covered:?}, purging {upto}: {purged:?}");
        assert_eq!(all(&store).await.len(), if allowed { 4 } else { 10 });
    }
}

#[tokio::test]
async fn purging_again_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    append(&mut store, entries(1, 0..=9, 10)).await.unwrap();
    for upto in [7, 7, 3] {
        store.purge(id(1, upto)).await.unwrap();
        assert_eq!(first_and_last(&store).await, (Some(id(1, 7)), Some(id(1, 9))));
    }
}

#[tokio::test]
async fn committed_entries_are_never_truncated() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    append(&mut store, entries(1, 0..=9, 10)).await.unwrap();
    store.save_committed(Some(id(1, 5))).await.unwrap();
    store.truncate_after(Some(id(1, 20))).await.unwrap();
    store.truncate_after(Some(id(1, 9))).await.unwrap();
    store.truncate_after(Some(id(1, 5))).await.unwrap();
    assert_eq!(all(&store).await, entries(1, 0..=5, 10));
    store.truncate_after(Some(id(1, 4))).await.unwrap_err();
    assert_eq!(all(&store).await, entries(1, 0..=5, 10));
}

#[tokio::test]
async fn an_entry_over_the_limit_is_refused_whole() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = LogStore::open(dir.path(), no_floor()).unwrap();
    append(&mut store, entries(1, 0..=0, MAX_ENTRY_BYTES)).await.unwrap();
    let mixed = [entries(1, 1..=1, 1), entries(1, 2..=2, MAX_ENTRY_BYTES + 1)].concat();
    append(&mut store, mixed).await.unwrap_err();
    append(&mut store, entries(1, 1..=1, 5)).await.unwrap();
    drop(store);
    let store = LogStore::open(dir.path(), no_floor()).unwrap();
    assert_eq!(all(&store).await, [entries(1, 0..=0, MAX_ENTRY_BYTES), entries(1, 1..=1, 5)].concat());
}

#[tokio::test]
async fn a_gap_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    append(&mut store, entries(1, 0..=3, 10)).await.unwrap();
    append(&mut store, entries(1, 5..=6, 10)).await.unwrap_err();
    assert_eq!(all(&store).await, entries(1, 0..=3, 10));
}

#[tokio::test]
async fn nothing_is_written_after_a_failed_write() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let mut store = open(&path);
    append(&mut store, entries(1, 0..=0, 10)).await.unwrap();
    // The open file takes what is written to it; the next chunk can't be created.
    fs::rename(&path, dir.path().join("moved")).unwrap();
    let (sender, durable) = TypeConfig::oneshot();
    store.append(entries(1, 1..=20, 1000), IOFlushed::signal(sender)).await.unwrap_err();
    durable.await.unwrap().unwrap_err();

    fs::rename(dir.path().join("moved"), &path).unwrap();
    let error = append(&mut store, entries(1, 21..=21, 10)).await.unwrap_err();
    assert!(error.to_string().contains("stopped after a failed write"), "{error}");
    store.save_vote(&vote(9, 1, true)).await.unwrap_err();
    store.save_committed(Some(id(1, 0))).await.unwrap_err();
    store.purge(id(1, 0)).await.unwrap_err();
    drop(store);
    let store = open(&path);
    assert_eq!(all(&store).await.first(), entries(1, 0..=0, 10).first());
}

/// raft-log's writer dies on its own thread; what was queued behind is dropped.
#[tokio::test]
async fn a_dead_writer_reports_failure_to_all_who_wait() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    append(&mut store, entries(1, 0..=99, 300)).await.unwrap();
    // Purging deletes the oldest file, which is no longer there.
    fs::remove_file(&chunks(dir.path())[0]).unwrap();
    store.purge(id(1, 80)).await.unwrap();
    for index in 100..110 {
        if let Err(error) = append(&mut store, entries(1, index..=index, 10)).await {
            append(&mut store, entries(1, index + 1..=index + 1, 10))
                .await
                .expect_err("written after a failure");
            assert!(store.save_vote(&vote(9, 1, true)).await.is_err(), "after {error}");
            return;
        }
    }
    panic!("the writer lives on");
}

#[tokio::test]
async fn being_dropped_counts_as_failure() {
    let (sender, durable) = TypeConfig::oneshot();
    drop(Completion::new(IOFlushed::signal(sender)));
    durable.await.unwrap().unwrap_err();
}

#[test]
fn a_second_opener_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let first = open(dir.path());
    let second = LogStore::open(dir.path(), no_floor());
    assert!(matches!(second, Err(Error::Locked { .. })), "{second:?}");
    drop(first);
    open(dir.path());
}

#[test]
fn a_directory_that_cannot_be_used_is_not_called_damaged() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    for path in [file.clone(), file.join("below")] {
        let opened = LogStore::open(&path, no_floor());
        assert!(matches!(opened, Err(Error::Machine { .. })), "{opened:?}");
    }
}
