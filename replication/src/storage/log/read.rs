//! Reading entries back, in pieces of bounded size.
//!
//! Most reads find their payloads in memory: appliers and followers are close behind. A read that may miss the cache
//! goes to a blocking thread, because it is a synchronous disk read; the others don't, because a hop to another
//! thread costs more than they do. Whether it may miss is judged by the bytes behind it, which raft-log's cache holds
//! in order. A wrong guess, possible after a truncation, reads one piece from disk on the async thread.
//!
//! A read holds off writers, and so heartbeats, until its piece is complete: no entry may change half-way. That is
//! why streams read pieces too.

use std::fmt::Debug;
use std::io;
use std::ops::{Bound, Range, RangeBounds};

use futures::stream::{self, Stream, TryStreamExt as _};
use openraft::storage::RaftLogReader;
use openraft::{Entry as RaftEntry, OptionalSend};
use raft_log::Types as _;

use super::codec::{CACHED_ENTRY_OVERHEAD_BYTES, Stored, Types, payload_bytes};
use super::{CACHE_ENTRIES, LogStore};
use crate::types::{Entry, TypeConfig, Vote};

/// One append to a follower, one step of applying. It takes one entry even if that is larger.
pub(super) const MAX_PIECE_BYTES: usize = 2 << 20;

impl LogStore {
    /// The entries of `range` that the log holds, without a gap between them: all or, if they exceed `max_bytes`, the
    /// first ones, and at least one. Purged ones are left out; whoever can't do without them looks at the first index.
    async fn entries(&self, range: Range<u64>, max_bytes: usize) -> io::Result<Vec<Entry>> {
        if self.is_cached(range.start) {
            return self.load(range, max_bytes);
        }
        let store = self.clone();
        tokio::task::spawn_blocking(move || store.load(range, max_bytes)).await.map_err(io::Error::other)?
    }

    /// Whether everything from `start` on fits into the cache.
    pub(super) fn is_cached(&self, start: u64) -> bool {
        let (entries, bytes) = self.shared.usage.tail(start);
        entries <= CACHE_ENTRIES as u64
            && bytes.saturating_add(entries * CACHED_ENTRY_OVERHEAD_BYTES) <= self.shared.cache_bytes as u64
    }

    fn load(&self, range: Range<u64>, max_bytes: usize) -> io::Result<Vec<Entry>> {
        self.read(|log| {
            let end = range.end.min(Types::next_log_index(log.log_state().last()));
            if range.start >= end {
                return Ok(Vec::new());
            }
            let mut entries: Vec<Entry> = Vec::new();
            let mut bytes = 0_usize;
            let mut next = None;
            for entry in log.read(range.start, end) {
                let (Stored(log_id), Stored(payload)) = entry?;
                if next.is_some_and(|next| next != log_id.index) {
                    break;
                }
                bytes = bytes.saturating_add(payload_bytes(&payload));
                if bytes > max_bytes && !entries.is_empty() {
                    return Ok(entries);
                }
                next = Some(log_id.index + 1);
                entries.push(RaftEntry { log_id, payload });
            }
            match next {
                Some(next) if next != end => Err(gap(next)),
                _ => Ok(entries),
            }
        })
    }
}

/// Skipping an entry would let replicas drift apart in silence, so a missing one is fatal.
fn gap(index: u64) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("log entry {index} is missing, or was purged while it was needed"),
    )
}

fn bounds(range: &impl RangeBounds<u64>) -> Range<u64> {
    let start = match range.start_bound() {
        Bound::Included(&start) => start,
        Bound::Excluded(&before) => before.saturating_add(1),
        Bound::Unbounded => 0,
    };
    let end = match range.end_bound() {
        Bound::Included(&last) => last.saturating_add(1),
        Bound::Excluded(&end) => end,
        Bound::Unbounded => u64::MAX,
    };
    start..end
}

impl RaftLogReader<TypeConfig> for LogStore {
    /// All at once, as the contract asks. openraft uses it for single entries and, at start, for 64 at a time.
    async fn try_get_log_entries<R>(&mut self, range: R) -> io::Result<Vec<Entry>>
    where
        R: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        self.entries(bounds(&range), usize::MAX).await
    }

    /// At most 2 MB, or one entry. Empty if the first entry is not there: the replication stream of a leader that was
    /// just deposed can ask for entries truncated or purged since. openraft takes that for a heartbeat; an error
    /// would stop the node, and entries from a later index on would corrupt the follower.
    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> io::Result<Vec<Entry>> {
        let mut entries = self.entries(start..end, MAX_PIECE_BYTES).await?;
        if entries.first().is_some_and(|first| first.log_id.index != start) {
            entries.clear();
        }
        Ok(entries)
    }

    /// Holds one piece in memory, not the range. Ends at the end of the log as it is now; an entry missing before
    /// that is an error, the first one included.
    async fn entries_stream<R>(&mut self, range: R) -> impl Stream<Item = io::Result<Entry>> + OptionalSend
    where
        R: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        let range = bounds(&range);
        let end = range.end.min(self.shared.usage.next_index());
        let pieces = stream::try_unfold((self.clone(), range.start), move |(store, start)| async move {
            if start >= end {
                return Ok(None);
            }
            let entries = store.entries(start..end, MAX_PIECE_BYTES).await?;
            if entries.first().is_none_or(|first| first.log_id.index != start) {
                return Err(gap(start));
            }
            let next = start + entries.len() as u64;
            Ok(Some((stream::iter(entries.into_iter().map(Ok)), (store, next))))
        });
        pieces.try_flatten()
    }

    async fn read_vote(&mut self) -> io::Result<Option<Vote>> {
        self.read(|log| Ok(log.log_state().vote().map(|vote| vote.0)))
    }
}
