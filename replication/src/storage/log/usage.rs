//! How many bytes the log takes, without reading it: what decides when to snapshot and purge.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Marks are at least this many bytes apart, so that a log of the size we retain has some hundreds of them.
const MIN_STRIDE_BYTES: u64 = 1 << 20;

/// 64 KiB of memory. When they are used up every second one goes, and the stride doubles.
const MAX_MARKS: usize = 4096;

/// The log's size at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct LogStats {
    /// The first entry kept, or the next one written if none is.
    pub(crate) first_index: u64,
    /// The last entry written, kept or purged. `None`: the log was never written.
    pub(crate) last_index: Option<u64>,
    /// What the kept entries take, with the votes and commit marks between them. Exact to one stride (1 MB up to 4 GB
    /// of log); after a restart to one chunk, and then rather too much than too little.
    pub(crate) retained_bytes: u64,
    /// What the files take. Purged entries stay in until their whole chunk goes.
    pub(crate) disk_bytes: u64,
}

/// A view of the log's size for other tasks. Cheap to clone, never waits for the disk.
#[derive(Clone, Debug, Default)]
pub(crate) struct LogUsage(Arc<Mutex<Marks>>);

impl LogUsage {
    /// The size now.
    pub(crate) fn stats(&self) -> LogStats {
        let marks = self.lock();
        LogStats {
            first_index: marks.first_index,
            last_index: marks.next_index.checked_sub(1),
            retained_bytes: marks.end_offset - marks.offset_of(marks.first_index),
            disk_bytes: marks.disk_bytes,
        }
    }

    /// Bytes written after the entry at `index`, to the accuracy of [`LogStats::retained_bytes`].
    pub(crate) fn bytes_since(&self, index: u64) -> u64 {
        let marks = self.lock();
        marks.end_offset - marks.offset_of(index.saturating_add(1))
    }

    /// How many entries there are from `start` on, and what they take.
    pub(super) fn tail(&self, start: u64) -> (u64, u64) {
        let marks = self.lock();
        (marks.next_index.saturating_sub(start), marks.end_offset - marks.offset_of(start))
    }

    /// The index the next entry will have.
    pub(super) fn next_index(&self) -> u64 {
        self.lock().next_index
    }

    /// Starts over with what is known of an opened log: `chunks` are, oldest first, the offset each one ends at and
    /// the index of the next entry at that moment.
    pub(super) fn restore(&self, now: Extent, start_offset: u64, chunks: impl Iterator<Item = (u64, u64)>) {
        let mut marks =
            Marks { first_index: now.first_index, stride_bytes: MIN_STRIDE_BYTES, ..Marks::default() };
        marks.marks.push_back((now.first_index, start_offset));
        for (end_offset, next_index) in chunks {
            marks.advance(Extent { next_index, end_offset, ..now });
        }
        marks.advance(now);
        *self.lock() = marks;
    }

    /// After a write of any kind.
    pub(super) fn advance(&self, now: Extent) {
        self.lock().advance(now);
    }

    /// A panic while it was held can't have left it worse than slightly wrong.
    fn lock(&self) -> MutexGuard<'_, Marks> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where the log begins and ends.
#[derive(Clone, Copy, Debug)]
pub(super) struct Extent {
    pub(super) first_index: u64,
    pub(super) next_index: u64,
    /// Bytes ever written. raft-log's own offsets: they survive restarts and never fall.
    pub(super) end_offset: u64,
    pub(super) disk_bytes: u64,
}

#[derive(Debug, Default)]
struct Marks {
    first_index: u64,
    next_index: u64,
    end_offset: u64,
    disk_bytes: u64,
    stride_bytes: u64,
    /// `(index, offset)`: entries below `index` were written before `offset`. Both strictly rise; the first is at or
    /// below `first_index`.
    marks: VecDeque<(u64, u64)>,
}

impl Marks {
    fn advance(&mut self, now: Extent) {
        // A truncation takes its marks along; the bytes it wasted count for what follows.
        while self.marks.len() > 1 && self.marks.back().is_some_and(|&(index, _)| index > now.next_index) {
            self.marks.pop_back();
        }
        let (index, offset) = self.marks.back().copied().unwrap_or_default();
        if index < now.next_index && now.end_offset >= offset + self.stride_bytes {
            self.marks.push_back((now.next_index, now.end_offset));
        }
        while self.marks.get(1).is_some_and(|&(index, _)| index <= now.first_index) {
            self.marks.pop_front();
        }
        if self.marks.len() > MAX_MARKS {
            let mut odd = false;
            self.marks.retain(|_| {
                odd = !odd;
                odd
            });
            self.stride_bytes *= 2;
        }
        let Extent { first_index, next_index, end_offset, disk_bytes } = now;
        (self.first_index, self.next_index) = (first_index, next_index);
        (self.end_offset, self.disk_bytes) = (end_offset, disk_bytes);
    }

    /// Where the entry at `index` begins, by interpolation between the marks around it.
    fn offset_of(&self, index: u64) -> u64 {
        let end = (self.next_index, self.end_offset);
        if index >= self.next_index {
            return self.end_offset;
        }
        let after = self.marks.partition_point(|&(mark, _)| mark <= index);
        let (high_index, high) = self.marks.get(after).copied().unwrap_or(end);
        let Some((low_index, low)) = after.checked_sub(1).and_then(|before| self.marks.get(before)).copied()
        else {
            return high;
        };
        let part =
            u128::from(high - low) * u128::from(index - low_index) / u128::from(high_index - low_index);
        // At most `high - low`, since `index` lies below `high_index`.
        low + part as u64
    }
}

#[cfg(test)]
mod tests;
