//! Reads are bounded, complete, and say so when they can't be.

use futures::{StreamExt as _, TryStreamExt as _};

use super::super::read::MAX_PIECE_BYTES;
use super::*;

/// With a cache of one chunk, so that all but the newest entries are read from disk.
const LARGE: Limits = Limits { chunk_bytes: 1 << 20, cache_bytes: 1 << 20 };

async fn filled(dir: &Path, count: u64, bytes: usize) -> LogStore {
    let mut store = LogStore::open_with(dir, no_floor(), LARGE).unwrap();
    for index in 0..count {
        append(&mut store, entries(1, index..=index, bytes)).await.unwrap();
    }
    store
}

fn disk_reads(store: &LogStore) -> u64 {
    store.read(|log| Ok(log.stat().payload_cache_miss)).unwrap()
}

#[tokio::test]
async fn one_append_is_capped_by_bytes_but_makes_progress() {
    for (bytes, expected) in
        [(4 << 20, 1), (MAX_PIECE_BYTES + 1, 1), (MAX_PIECE_BYTES / 2, 2), (300_000, 6), (10, 12)]
    {
        let dir = tempfile::tempdir().unwrap();
        let mut store = filled(dir.path(), 12, bytes).await;
        let got = store.limited_get_log_entries(0, 100).await.unwrap();
        assert_eq!(got.len(), expected, "entries of {bytes} bytes");
        assert_eq!(got, entries(1, 0..=expected as u64 - 1, bytes));
    }
}

#[tokio::test]
async fn an_append_never_starts_later_than_asked() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = filled(dir.path(), 10, 10).await;
    store.purge(id(1, 4)).await.unwrap();
    for (start, end, expected) in
        [(0, 10, 0), (4, 10, 0), (5, 10, 5), (9, 99, 1), (10, 99, 0), (7, 7, 0), (8, 2, 0)]
    {
        let got = store.limited_get_log_entries(start, end).await.unwrap();
        assert_eq!(got.len(), expected, "{start}..{end}");
        assert!(got.first().is_none_or(|first| first.log_id.index == start));
    }
}

#[tokio::test]
async fn ranges_mean_what_they_say() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = filled(dir.path(), 10, 10).await;
    store.purge(id(1, 1)).await.unwrap();
    let indices = |entries: Vec<Entry>| entries.iter().map(|entry| entry.log_id.index).collect::<Vec<_>>();
    assert_eq!(indices(store.try_get_log_entries(..4).await.unwrap()), [2, 3]);
    assert_eq!(indices(store.try_get_log_entries(7..=8).await.unwrap()), [7, 8]);
    assert_eq!(indices(store.try_get_log_entries(8..).await.unwrap()), [8, 9]);
    assert_eq!(indices(store.try_get_log_entries(8..=u64::MAX).await.unwrap()), [8, 9]);
    assert_eq!(store.try_get_log_entries(50..).await.unwrap(), []);
}

#[tokio::test]
async fn a_stream_holds_one_piece_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let bytes = 100_000;
    let mut store = filled(dir.path(), 120, bytes).await;
    let piece = (MAX_PIECE_BYTES / bytes) as u64;
    let watcher = store.clone();
    assert!(!store.is_cached(0) && !store.is_cached(100) && store.is_cached(115));

    let stream = store.entries_stream(0..120).await;
    let mut stream = std::pin::pin!(stream);
    assert_eq!(disk_reads(&watcher), 0, "nothing is read before it is asked for");
    let mut got = vec![stream.next().await.unwrap().unwrap()];
    let first = disk_reads(&watcher);
    // One more than fits, because its size is known once it is read.
    assert!((1..=piece + 1).contains(&first), "{first} reads for the first entry");
    got.extend(stream.try_collect::<Vec<_>>().await.unwrap());
    assert_eq!(got, entries(1, 0..=119, bytes));
    assert!(disk_reads(&watcher) > 100, "the test does not reach the disk");
}

#[tokio::test]
async fn a_stream_ends_with_the_log_and_tells_of_missing_entries() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = filled(dir.path(), 10, 10).await;
    store.purge(id(1, 3)).await.unwrap();
    let mut collected = Vec::new();
    for range in [4..100, 9..10, 10..20, 6..6] {
        let entries: Vec<Entry> = store.entries_stream(range).await.try_collect().await.unwrap();
        collected.push(entries.len());
    }
    assert_eq!(collected, [6, 1, 0, 0]);
    let purged: io::Result<Vec<Entry>> = store.entries_stream(2..8).await.try_collect().await;
    assert_eq!(purged.unwrap_err().kind(), ErrorKind::InvalidData);
}

#[tokio::test]
async fn entries_purged_under_a_stream_are_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = filled(dir.path(), 60, 100_000).await;
    let mut reader = store.get_log_reader().await;
    let stream = reader.entries_stream(0..60).await;
    let mut stream = std::pin::pin!(stream);
    stream.next().await.unwrap().unwrap();
    store.purge(id(1, 50)).await.unwrap();
    let rest: io::Result<Vec<Entry>> = stream.try_collect().await;
    assert_eq!(rest.unwrap_err().kind(), ErrorKind::InvalidData);
}
