#![allow(clippy::unwrap_used)]

mod damage;
mod reads;
mod reopen;
mod suite;
mod writes;

use std::fs;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use openraft::storage::RaftLogReader as _;
use tempfile::TempDir;

use super::*;
use crate::types::{EncodedCommand, EntryPayload, LeaderId};

/// Small enough that a test crosses many chunks and misses the cache.
const SMALL: Limits = Limits { chunk_bytes: 4096, cache_bytes: 4096 };

fn id(term: u64, index: u64) -> LogId {
    LogId { leader_id: LeaderId { term, node_id: 1 }, index }
}

fn vote(term: u64, node_id: u64, committed: bool) -> Vote {
    Vote { leader_id: LeaderId { term, node_id }, committed }
}

/// Entries whose bytes follow from term and index.
fn entries(term: u64, indices: RangeInclusive<u64>, bytes: usize) -> Vec<Entry> {
    let entry = |index: u64| {
        let fill = (term as u8).wrapping_mul(31).wrapping_add(index as u8);
        let payload = EntryPayload::Normal(EncodedCommand(Bytes::from(vec![fill; bytes])));
        Entry { log_id: id(term, index), payload }
    };
    indices.map(entry).collect()
}

/// May purge everything.
fn no_floor() -> PurgeFloor {
    let floor = PurgeFloor::new();
    floor.raise(u64::MAX);
    floor
}

fn open(dir: &Path) -> LogStore {
    LogStore::open_with(dir, no_floor(), SMALL).unwrap()
}

/// Appends and waits until that is durable.
async fn append(store: &mut LogStore, entries: Vec<Entry>) -> io::Result<()> {
    let (sender, durable) = TypeConfig::oneshot();
    store.append(entries, IOFlushed::signal(sender)).await?;
    durable.await.unwrap()
}

async fn all(store: &LogStore) -> Vec<Entry> {
    store.clone().try_get_log_entries(..).await.unwrap()
}

async fn first_and_last(store: &LogStore) -> (Option<LogId>, Option<LogId>) {
    let state = store.clone().get_log_state().await.unwrap();
    (state.last_purged_log_id, state.last_log_id)
}

/// What a crash at this moment would leave, as far as the page cache knows: the files, but not the lock.
fn crash(dir: &Path) -> TempDir {
    let copy = tempfile::tempdir().unwrap();
    for file in chunks(dir) {
        fs::copy(&file, copy.path().join(file.file_name().unwrap())).unwrap();
    }
    copy
}

/// The log's files, oldest first.
fn chunks(dir: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir(dir).unwrap().map(|file| file.unwrap().path());
    let mut files: Vec<_> = files.filter(|path| path.extension().is_some_and(|it| it == "wal")).collect();
    files.sort();
    files
}
