//! What was reported durable is there after a crash at that moment.

use super::*;

#[tokio::test]
async fn everything_acknowledged_survives() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    append(&mut store, entries(1, 0..=99, 200)).await.unwrap();
    store.save_vote(&vote(2, 3, false)).await.unwrap();
    store.truncate_after(Some(id(1, 79))).await.unwrap();
    append(&mut store, entries(2, 80..=120, 200)).await.unwrap();
    store.save_committed(Some(id(2, 100))).await.unwrap();
    store.purge(id(1, 49)).await.unwrap();
    store.save_vote(&vote(2, 3, true)).await.unwrap();

    let copy = crash(dir.path());
    let mut reopened = open(copy.path());
    assert_eq!(reopened.read_vote().await.unwrap(), Some(vote(2, 3, true)));
    assert_eq!(reopened.read_committed().await.unwrap(), Some(id(2, 100)));
    assert_eq!(first_and_last(&reopened).await, (Some(id(1, 49)), Some(id(2, 120))));
    let expected = [entries(1, 50..=79, 200), entries(2, 80..=120, 200)].concat();
    assert_eq!(all(&reopened).await, expected);
    append(&mut reopened, entries(3, 121..=121, 200)).await.unwrap();
}

#[tokio::test]
async fn a_new_log_is_empty_and_stays_so() {
    let dir = tempfile::tempdir().unwrap();
    for _ in 0..2 {
        let mut store = open(&dir.path().join("missing/parents"));
        assert_eq!(first_and_last(&store).await, (None, None));
        assert_eq!(store.read_vote().await.unwrap(), None);
        assert_eq!(store.read_committed().await.unwrap(), None);
        assert_eq!(all(&store).await, []);
        store.save_committed(None).await.unwrap();
        store.truncate_after(None).await.unwrap();
    }
}

#[tokio::test]
async fn a_vote_never_goes_back() {
    let dir = tempfile::tempdir().unwrap();
    open(dir.path()).save_vote(&vote(5, 2, true)).await.unwrap();
    for lower in [vote(4, 9, true), vote(5, 1, true), vote(5, 2, false)] {
        // A refused write ends all writing, so each one gets a log of its own.
        let copy = crash(dir.path());
        let mut store = open(copy.path());
        store.save_vote(&lower).await.unwrap_err();
        assert_eq!(store.read_vote().await.unwrap(), Some(vote(5, 2, true)), "after {lower}");
        drop(store);
        assert_eq!(
            open(copy.path()).read_vote().await.unwrap(),
            Some(vote(5, 2, true)),
            "reopened, after {lower}"
        );
    }
    open(dir.path()).save_vote(&vote(5, 3, false)).await.unwrap();
}

#[tokio::test]
async fn truncating_everything_leaves_an_empty_log() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    append(&mut store, entries(1, 0..=30, 300)).await.unwrap();
    store.truncate_after(None).await.unwrap();
    append(&mut store, entries(2, 0..=0, 10)).await.unwrap();
    let copy = crash(dir.path());
    assert_eq!(all(&open(copy.path())).await, entries(2, 0..=0, 10));
}

/// The log ends in an uncommitted entry of a leader that lost; the snapshot ends in an earlier term, further on.
#[tokio::test]
async fn a_snapshot_replaces_a_tail_of_a_later_term() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    append(&mut store, entries(1, 0..=9, 300)).await.unwrap();
    store.save_committed(Some(id(1, 4))).await.unwrap();
    append(&mut store, entries(3, 10..=20, 300)).await.unwrap();

    store.purge(id(2, 50)).await.unwrap();
    assert_eq!(first_and_last(&store).await, (Some(id(2, 50)), Some(id(2, 50))));
    append(&mut store, entries(4, 51..=60, 300)).await.unwrap();

    let copy = crash(dir.path());
    for store in [store, open(copy.path())] {
        assert_eq!(first_and_last(&store).await, (Some(id(2, 50)), Some(id(4, 60))));
        assert_eq!(all(&store).await, entries(4, 51..=60, 300));
    }
}

#[tokio::test]
async fn purging_deletes_files_and_the_rest_can_be_read() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    append(&mut store, entries(1, 0..=199, 300)).await.unwrap();
    let (files, bytes) = (chunks(dir.path()).len(), store.usage().stats().disk_bytes);
    assert!(files > 10, "{files} files");

    store.purge(id(1, 189)).await.unwrap();
    // Deleting is queued like a write: what is durable after it proves it done.
    store.save_vote(&vote(1, 1, true)).await.unwrap();
    assert!(chunks(dir.path()).len() <= 3, "{:?}", chunks(dir.path()));
    assert!(store.usage().stats().disk_bytes < bytes / 5);

    let copy = crash(dir.path());
    assert_eq!(all(&open(copy.path())).await, entries(1, 190..=199, 300));
}

#[tokio::test]
async fn sizes_are_known_again_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    for first in (0..1000).step_by(10) {
        append(&mut store, entries(1, first..=first + 9, 300)).await.unwrap();
    }
    store.purge(id(1, 499)).await.unwrap();
    store.save_vote(&vote(1, 1, true)).await.unwrap();
    let before = store.usage();
    drop(store);

    let after = open(dir.path()).usage();
    assert_eq!(after.stats().first_index, 500);
    assert_eq!(after.stats().last_index, Some(999));
    assert_eq!(after.stats().disk_bytes, before.stats().disk_bytes);
    let slack = 2 * SMALL.chunk_bytes as u64;
    let written = 500 * 300..500 * 400 + slack;
    assert!(written.contains(&after.stats().retained_bytes), "{:?}", after.stats());
    for index in [500, 700, 950] {
        let real = (999 - index) * 345;
        assert!(
            after.bytes_since(index).abs_diff(real) < slack,
            "{} bytes since {index}",
            after.bytes_since(index)
        );
    }
    assert_eq!(after.bytes_since(999), 0);
}
