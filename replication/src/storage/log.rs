//! The Raft log and the vote, on `raft-log`: the only place where an acknowledged command is sure to be.
//!
//! Guarantees: an append is readable when the call returns and reported durable only after its fdatasync; a vote is
//! durable before [`save_vote`](RaftLogStorage::save_vote) returns; all writes reach the disk in the order of the
//! calls, and are reported in that order. A failed write or sync ends all writing, and nothing is ever retried: the
//! error makes openraft stop, and whoever watches it stops the process. Damage is an error at open. The exception is
//! a torn tail, which is cut off: it was never reported durable.
//!
//! Left to others: how many entries and bytes are proposed at once. From 64 MB or 1,024 writes waiting for the disk,
//! `append` blocks its thread. A file cut at the border of two records looks like one never written further; compare
//! the last index with the snapshot and the catalog at start.

mod codec;
mod completion;
mod floor;
mod read;
mod usage;

use std::io::{self, ErrorKind};
use std::path::Path;
use std::sync::{Arc, RwLock};
use std::time::Duration;

use codeq::OffsetSize as _;
use openraft::storage::{IOFlushed, RaftLogStorage};
use openraft::type_config::TypeConfigExt as _;
use openraft::{LogState, OptionalSend};
use raft_log::api::raft_log_writer::RaftLogWriter as _;
use raft_log::{RaftLog, Segment, Types as _};

use self::codec::{Stored, Types};
use self::completion::Completion;
use self::usage::Extent;
use super::{Error, files};
use crate::types::{Entry, LogId, TypeConfig, Vote};

pub(crate) use self::floor::PurgeFloor;
pub(crate) use self::usage::LogUsage;

/// Largest encoded command. Refuse larger ones before they are proposed: here it is too late, and stops the node.
pub(crate) const MAX_ENTRY_BYTES: usize = 16 << 20;

/// Entries are indexed by log id in memory; the cache beside it is bounded by bytes first.
const CACHE_ENTRIES: usize = 100_000;

/// One buffer, while the log opens.
const READ_BUFFER_BYTES: usize = 8 << 20;

/// What may differ between production and tests.
#[derive(Clone, Copy, Debug)]
struct Limits {
    /// Purging frees whole chunks, and the payloads of the open one can't leave memory: not too large. Each change of
    /// chunk syncs a directory within an append: not too small.
    chunk_bytes: usize,
    /// Payloads held in memory beyond the open chunk, for followers that are not far behind.
    cache_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { chunk_bytes: 64 << 20, cache_bytes: 64 << 20 }
    }
}

/// The log of one group on this node. Clones share it; the last one to go writes what is pending and unlocks the
/// directory, which may wait for the disk.
#[derive(Clone, Debug)]
pub(crate) struct LogStore {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    engine: RwLock<Engine>,
    usage: LogUsage,
    floor: PurgeFloor,
    cache_bytes: usize,
}

#[derive(Debug)]
struct Engine {
    log: RaftLog<Types>,
    /// A write failed: what is in memory and what is on disk may differ.
    failed: bool,
}

impl LogStore {
    /// Opens the log in `dir`, creating it if it is not there, and replays it: about 3 s for 1 GB. Blocks.
    ///
    /// Raise `floor` to the newest verified snapshot before Raft starts: openraft may purge at start.
    ///
    /// # Errors
    /// [`Error::Locked`] if another process has it open; [`Error::LogDamaged`] if a record can't be read back, in
    /// which case the vote may be lost too; [`Error::Machine`] if the operating system refuses.
    pub(crate) fn open(dir: &Path, floor: PurgeFloor) -> Result<Self, Error> {
        Self::open_with(dir, floor, Limits::default())
    }

    fn open_with(dir: &Path, floor: PurgeFloor, limits: Limits) -> Result<Self, Error> {
        files::create_dir(dir)?;
        let utf8 =
            dir.to_str().ok_or_else(|| Error::refused(dir.display().to_string(), "the path is not UTF-8"))?;
        let mut config = raft_log::Config::new(utf8);
        // The default waits 1 ms for company before each sync; openraft has already batched what there is.
        config.wal.flush_batch_wait = Some(Duration::ZERO);
        config.wal.chunk_max_size = Some(limits.chunk_bytes);
        config.wal.read_buffer_size = Some(READ_BUFFER_BYTES);
        config.wal.truncate_incomplete_record = Some(true);
        config.log_cache_capacity = Some(limits.cache_bytes);
        config.log_cache_max_items = Some(CACHE_ENTRIES);

        let log = RaftLog::open(Arc::new(config)).map_err(|error| cannot_open(dir, error))?;
        check_first(&log).map_err(|error| cannot_open(dir, error))?;

        let usage = LogUsage::default();
        restore_usage(&usage, &log);
        let engine = RwLock::new(Engine { log, failed: false });
        Ok(Self { shared: Arc::new(Shared { engine, usage, floor, cache_bytes: limits.cache_bytes }) })
    }

    /// The size of the log, for other tasks.
    pub(crate) fn usage(&self) -> LogUsage {
        self.shared.usage.clone()
    }

    /// Runs one write; `None` says that there was nothing to do. No write follows a failed one.
    fn write(
        &self,
        write: impl FnOnce(&mut RaftLog<Types>) -> io::Result<Option<Segment>>,
    ) -> io::Result<()> {
        let stopped = || io::Error::other("the log stopped after a failed write: restart the node");
        let mut engine = self.shared.engine.write().map_err(|_poisoned| stopped())?;
        if engine.failed {
            return Err(stopped());
        }
        match write(&mut engine.log) {
            Ok(None) => Ok(()),
            Ok(Some(last_record)) => {
                self.shared.usage.advance(extent(&engine.log, last_record.end().0));
                Ok(())
            }
            Err(error) => {
                engine.failed = true;
                Err(error)
            }
        }
    }

    fn read<T>(&self, read: impl FnOnce(&RaftLog<Types>) -> io::Result<T>) -> io::Result<T> {
        let engine =
            self.shared.engine.read().map_err(|_| io::Error::other("a panic interrupted a log write"))?;
        read(&engine.log)
    }
}

/// Only damage is called damage: a log that the machine can't read just now holds perfectly good data.
fn cannot_open(dir: &Path, error: io::Error) -> Error {
    match error.kind() {
        ErrorKind::WouldBlock => Error::Locked { path: dir.to_owned() },
        // `Other` is a record that was read well and contradicts those before it.
        ErrorKind::InvalidData | ErrorKind::UnexpectedEof | ErrorKind::Other => {
            Error::LogDamaged { path: dir.to_owned(), why: error.to_string() }
        }
        _ => Error::Machine { doing: "open the log in", path: dir.to_owned(), source: error },
    }
}

/// raft-log misses a lost file between two others, but not the oldest one.
fn check_first(log: &RaftLog<Types>) -> io::Result<()> {
    let Extent { first_index, next_index, .. } = extent(log, 0);
    if first_index == next_index {
        return Ok(());
    }
    match log.read(first_index, first_index + 1).next() {
        Some(entry) => entry.map(drop),
        None => {
            Err(io::Error::new(ErrorKind::InvalidData, format!("entry {first_index}, the first, is missing")))
        }
    }
}

fn restore_usage(usage: &LogUsage, log: &RaftLog<Types>) {
    let stat = log.stat();
    let start = stat.closed_chunks.first().map_or(stat.open_chunk.global_start, |chunk| chunk.global_start);
    let chunks = stat
        .closed_chunks
        .iter()
        .map(|chunk| (chunk.global_end, Types::next_log_index(chunk.log_state.last())));
    usage.restore(extent(log, stat.open_chunk.global_end), start, chunks);
}

fn extent(log: &RaftLog<Types>, end_offset: u64) -> Extent {
    let state = log.log_state();
    let first_index = Types::next_log_index(state.purged());
    let next_index = Types::next_log_index(state.last());
    Extent { first_index, next_index, end_offset, disk_bytes: log.on_disk_size() }
}

fn next_index(id: Option<LogId>) -> u64 {
    id.map_or(0, |id| id.index.saturating_add(1))
}

impl RaftLogStorage<TypeConfig> for LogStore {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> io::Result<LogState<TypeConfig>> {
        self.read(|log| {
            let state = log.log_state();
            Ok(LogState {
                last_purged_log_id: state.purged().map(|id| id.0),
                last_log_id: state.last().map(|id| id.0),
            })
        })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> io::Result<()> {
        let (sender, durable) = TypeConfig::oneshot();
        let done = Completion::new(IOFlushed::signal(sender));
        self.write(|log| {
            let written = log.save_vote(Stored(*vote))?;
            log.flush(true, Some(done))?;
            Ok(Some(written))
        })?;
        durable.await.map_err(io::Error::other)?
    }

    /// Durable with the next synced write: losing it costs a replay, not an answer.
    async fn save_committed(&mut self, committed: Option<LogId>) -> io::Result<()> {
        let Some(committed) = committed else { return Ok(()) };
        self.write(|log| {
            let written = log.commit(Stored(committed))?;
            log.flush(false, None)?;
            Ok(Some(written))
        })
    }

    async fn read_committed(&mut self) -> io::Result<Option<LogId>> {
        self.read(|log| Ok(log.log_state().committed().map(|id| id.0)))
    }

    async fn append<I>(&mut self, entries: I, flushed: IOFlushed<TypeConfig>) -> io::Result<()>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let done = Completion::new(flushed);
        // An entry that fails to encode would leave half a record in raft-log's buffer: sizes are checked before.
        let entries = entries.into_iter().map(storable).collect::<io::Result<Vec<_>>>()?;
        self.write(|log| {
            let written = log.append(entries)?;
            // Once per call: with no batch wait, each flush is an fdatasync of its own.
            log.flush(true, Some(done))?;
            Ok(Some(written))
        })
    }

    /// Not synced: an entry that comes back after a crash was never agreed on, and no later write gets past it.
    async fn truncate_after(&mut self, last: Option<LogId>) -> io::Result<()> {
        // raft-log names the first entry to go, and rejects one past the end.
        let from = next_index(last);
        self.write(|log| {
            if from >= Types::next_log_index(log.log_state().last()) {
                return Ok(None);
            }
            log.truncate(from).map(Some)
        })
    }

    async fn purge(&mut self, upto: LogId) -> io::Result<()> {
        if !self.shared.floor.allows(upto.index) {
            let floor = self
                .shared
                .floor
                .index()
                .map_or("no entry".to_owned(), |index| format!("entries up to {index}"));
            let why =
                format!("refusing to purge the log up to {}: durable snapshots cover {floor}", upto.index);
            return Err(io::Error::new(ErrorKind::InvalidInput, why));
        }
        self.write(|log| {
            drop_contradicted(log, upto)?;
            let written = log.purge(Stored(upto))?;
            // Only a synced flush lets raft-log delete the files.
            log.flush(true, None)?;
            Ok(Some(written))
        })
    }
}

/// A snapshot may end in an earlier term than uncommitted entries it replaces: those of a leader that lost. raft-log
/// would take their last id for the end of the log, being the greater one, and refuse what comes after the snapshot.
fn drop_contradicted(log: &mut RaftLog<Types>, upto: LogId) -> io::Result<()> {
    let state = log.log_state();
    match state.last() {
        Some(last) if last.0 > upto && last.0.index <= upto.index => {
            let keep = std::cmp::max(state.purged(), state.committed());
            let from = Types::next_log_index(keep);
            log.truncate(from).map(drop)
        }
        _ => Ok(()),
    }
}

fn storable(entry: Entry) -> io::Result<(Stored<LogId>, Stored<crate::types::EntryPayload>)> {
    let bytes = codec::payload_bytes(&entry.payload);
    if bytes > MAX_ENTRY_BYTES {
        let why =
            format!("entry {} has {bytes} bytes, the log takes at most {MAX_ENTRY_BYTES}", entry.log_id);
        return Err(io::Error::new(ErrorKind::InvalidInput, why));
    }
    Ok((Stored(entry.log_id), Stored(entry.payload)))
}

#[cfg(test)]
mod tests;
