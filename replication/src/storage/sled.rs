//! The catalog in sled 0.34, behind guards. The only place that names sled.
//!
//! sled is here for what it does well, many rows of which a few change at a time, and held to it by this list. What it
//! cannot be held to (damage that opens without an error) is caught by proofs stored with the data, and answered by
//! a rebuild ([`super::recover`]).
//!
//! | danger in sled | guard |
//! |---|---|
//! | flush is no fsync | [`fsync_shim`], proven at each open; each checkpoint also syncs the file itself |
//! | values above a quarter segment go to files that are never synced nor deleted | rows of at most 48 KB in segments of 8 MB; `blobs/` must be empty |
//! | damage makes it panic | every call is contained |
//! | damage loses rows without a word | row count and state digest, a fingerprint of the documents, a checksum in each document |
//! | `iter()` beside a writer mixes versions | rows are scanned only while opening; a document is read with the writer kept out |
//! | its segment collector runs only in the background flusher | that stays on; it is never taken for an acknowledgement |
//!
//! Damage found while running is noted in the directory, because a document's chunks are read long after the store
//! opened, and the next start would open it just as well.

mod contain;
mod open;
mod row;

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError, RwLock, RwLockReadGuard};
use std::time::Instant;

use ::sled::Batch;
use bytes::{Bytes, BytesMut};

use self::contain::{Contained, contain};
use self::row::{AppliedRow, CHUNK_BYTES, DocumentSet, Head, Kind, chunk_key, key};
use super::store::{Digest, Hold, Holds, MAX_DOCUMENT_BYTES, Position, Stats, WriteBatch, checksum};
use super::{Error, files, fsync_shim, store};

/// Removals left over from holds, done in passing by each write.
const REMOVALS_PER_APPLY: usize = 64;

/// Present in a directory that must not be opened again; holds the reason.
const CONDEMNED: &str = "condemned";

/// Opens [`Sled`] stores.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Backend;

/// A catalog in one directory.
pub(crate) struct Sled {
    db: Contained,
    dir: PathBuf,
    /// sled's data file, for a sync that is ours.
    file: File,
    /// Written by `apply` alone. Readers of documents take it too: a document is several rows.
    written: RwLock<Written>,
    holds: Holds,
    stopped: AtomicBool,
    checkpoint_began: Mutex<Instant>,
}

/// What the last write left.
#[derive(Clone, Debug, Default)]
struct Written {
    position: Option<Position>,
    documents: DocumentSet,
    /// Dropped while held; their rows are still there.
    dropped: BTreeSet<Digest>,
}

impl store::Store for Sled {
    fn document(&self, digest: &Digest) -> Result<Option<Bytes>, Error> {
        let written = self.written();
        if written.dropped.contains(digest) && !self.holds.any() {
            return Ok(None);
        }
        self.assemble(digest).map_err(|error| self.condemn_if_damaged(error))
    }

    fn apply(&self, batch: WriteBatch) -> Result<(), Error> {
        batch.check()?;
        self.refuse_stopped()?;
        let mut written = self.written.write().unwrap_or_else(PoisonError::into_inner);
        let done = self.plan(&written, batch).and_then(|(rows, next)| {
            contain(&self.dir, || self.db.apply_batch(rows))?;
            Ok(next)
        });
        *written = done.map_err(|error| self.stop(error))?;
        Ok(())
    }

    fn checkpoint(&self) -> Result<Option<Position>, Error> {
        self.refuse_stopped()?;
        let began = Instant::now();
        let position = self.written().position;
        let flush = || {
            contain(&self.dir, || self.db.flush())?;
            self.file.sync_data().map_err(Error::machine("sync the catalog in", &self.dir))
        };
        flush().map_err(|error| self.stop(error))?;
        *self.checkpoint_began.lock().unwrap_or_else(PoisonError::into_inner) = began;
        Ok(position)
    }

    fn hold(&self) -> Hold {
        // Not in the middle of a write, which may have looked for holds already.
        let _between_writes = self.written();
        self.holds.take()
    }

    fn stats(&self) -> Result<Stats, Error> {
        let (documents, dropped) = {
            let written = self.written();
            (written.documents, written.dropped.len())
        };
        let checkpoint_began = *self.checkpoint_began.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(Stats {
            disk_bytes: disk_bytes(&self.dir).map_err(Error::machine("measure", &self.dir))?,
            documents: documents.count,
            document_bytes: documents.bytes,
            dropped_documents: dropped as u64,
            blob_files: blob_files(&self.dir)?,
            sync_calls: fsync_shim::calls(),
            checkpoint_age: checkpoint_began.elapsed(),
        })
    }
}

impl Sled {
    fn written(&self) -> RwLockReadGuard<'_, Written> {
        // `Written` is replaced whole, so a panic elsewhere leaves it as good as it was.
        self.written.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The rows that carry `batch` out, and what is written once they are stored.
    fn plan(&self, before: &Written, batch: WriteBatch) -> Result<(Batch, Written), Error> {
        let mut rows = Batch::default();
        let mut next = before.clone();
        let held = self.holds.any();

        for digest in &batch.dropped_documents {
            if next.dropped.contains(digest) {
                continue;
            }
            let Some(head) = self.head(digest)? else { continue };
            next.documents.remove(digest, &head);
            if held {
                rows.insert(key(Kind::Dropped, digest), &[][..]);
                next.dropped.insert(*digest);
            } else {
                remove_document(&mut rows, digest, &head);
            }
        }

        for (digest, stored) in &batch.new_documents {
            if let Some(old) = self.head(digest)? {
                if next.dropped.remove(digest) {
                    rows.remove(key(Kind::Dropped, digest));
                } else {
                    next.documents.remove(digest, &old);
                }
                remove_document(&mut rows, digest, &old);
            }
            let head = Head::of(stored);
            rows.insert(key(Kind::Head, digest), head.row(stored));
            for (number, chunk) in (0..head.chunks()).zip(stored.chunks(CHUNK_BYTES)) {
                rows.insert(chunk_key(digest, number), chunk);
            }
            next.documents.insert(digest, &head);
        }

        if !held {
            let due: Vec<Digest> = next.dropped.iter().copied().take(REMOVALS_PER_APPLY).collect();
            for digest in &due {
                if let Some(head) = self.head(digest)? {
                    remove_document(&mut rows, digest, &head);
                }
                rows.remove(key(Kind::Dropped, digest));
                next.dropped.remove(digest);
            }
        }

        for small in &batch.deletes {
            rows.remove(key(Kind::Small, small));
        }
        for (small, value) in batch.puts {
            rows.insert(key(Kind::Small, &small), value);
        }
        next.position = Some(batch.applied.position);
        let applied = AppliedRow { applied: batch.applied, documents: next.documents };
        rows.insert(key(Kind::Applied, &[]), applied.encode());
        Ok((rows, next))
    }

    fn head(&self, digest: &Digest) -> Result<Option<Head>, Error> {
        Ok(self.head_row(digest)?.map(|(head, _)| head))
    }

    /// The head, and the document itself where it is short.
    fn head_row(&self, digest: &Digest) -> Result<Option<(Head, BytesMut)>, Error> {
        let Some(value) = contain(&self.dir, || self.db.get(key(Kind::Head, digest)))? else {
            return Ok(None);
        };
        let (head, inline) = Head::decode(&value)
            .ok_or_else(|| document_damaged(&self.dir, digest, "has an unreadable head"))?;
        Ok(Some((head, BytesMut::from(inline))))
    }

    fn assemble(&self, digest: &Digest) -> Result<Option<Bytes>, Error> {
        let Some((head, mut stored)) = self.head_row(digest)? else { return Ok(None) };
        let length = head.length as usize;
        if length > MAX_DOCUMENT_BYTES {
            return Err(document_damaged(&self.dir, digest, "claims an impossible length"));
        }
        stored.reserve(length - stored.len());
        for number in 0..head.chunks() {
            let chunk = contain(&self.dir, || self.db.get(chunk_key(digest, number)))?
                .ok_or_else(|| document_damaged(&self.dir, digest, "lacks a chunk"))?;
            stored.extend_from_slice(&chunk);
        }
        if stored.len() != length || checksum(&stored) != head.checksum {
            return Err(document_damaged(&self.dir, digest, "does not match its checksum"));
        }
        Ok(Some(stored.freeze()))
    }

    fn refuse_stopped(&self) -> Result<(), Error> {
        if self.stopped.load(Ordering::Acquire) {
            return Err(Error::Stopped { path: self.dir.clone() });
        }
        Ok(())
    }

    fn stop(&self, error: Error) -> Error {
        self.stopped.store(true, Ordering::Release);
        self.condemn_if_damaged(error)
    }

    fn condemn_if_damaged(&self, error: Error) -> Error {
        if let Error::Damaged { why, .. } = &error {
            let note = self.dir.join(CONDEMNED);
            if let Err(unwritten) = files::replace(&note, why.as_bytes()) {
                tracing::error!(%unwritten, "the next start may open a damaged catalog");
            }
        }
        error
    }
}

fn remove_document(rows: &mut Batch, digest: &Digest, head: &Head) {
    rows.remove(key(Kind::Head, digest));
    for number in 0..head.chunks() {
        rows.remove(chunk_key(digest, number));
    }
}

fn document_damaged(dir: &Path, digest: &Digest, why: &str) -> Error {
    Error::damaged(dir, format!("document {} {why}", hex::encode(digest)))
}

fn blob_files(dir: &Path) -> Result<u64, Error> {
    let blobs = dir.join("blobs");
    match fs::read_dir(&blobs) {
        Ok(files) => Ok(files.count() as u64),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
        Err(error) => Err(Error::machine("list", &blobs)(error)),
    }
}

fn disk_bytes(dir: &Path) -> io::Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        // sled replaces its snapshot files in the background.
        match entry.metadata() {
            Ok(metadata) if metadata.is_file() => bytes += metadata.len(),
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(bytes)
}

#[cfg(test)]
#[path = "sled_test.rs"]
mod tests;
