//! The catalog on disk, as its one writer and its readers see it.
//!
//! A [`Store`] holds *small rows* (opaque keys and values, all of which fit in memory) and *documents* (opaque bytes
//! under a digest, which need not). It guarantees that a [`WriteBatch`] is stored whole or not at all, together with
//! the position it was made at; that what [`Store::checkpoint`] reported survives a power cut; and that a document is
//! never returned with a wrong byte.
//!
//! It leaves to the caller: computing and comparing the state digest (only the caller knows what rows mean), and
//! comparing a document with the digest it is filed under, which is that of its *decoded* bytes. The store proves the
//! stored bytes with a checksum of its own.
//!
//! Two implementations pass the same suite: [`super::sled`] and, for tests, `memory`.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use sha2::{Digest as _, Sha256};

use super::Error;

/// SHA-256.
pub(crate) type Digest = [u8; 32];

/// A small row with its key, or a document chunk with its key, takes at most this. Sixteen rows share a page of the
/// engine, and a page above a quarter of its 8 MB segment would go to a blob file, which is never synced nor deleted.
pub(crate) const MAX_ROW_BYTES: usize = 48 << 10;

/// Longest stored document. Plain documents end at 4,190,000 bytes; what does not compress grows a little.
pub(crate) const MAX_DOCUMENT_BYTES: usize = 16 << 20;

/// Longest encoded membership: it shares a row with the rest of [`Applied`]. Room for hundreds of members.
pub(crate) const MAX_MEMBERSHIP_BYTES: usize = MAX_ROW_BYTES - (1 << 10);

/// A place in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Position {
    pub(crate) term: u64,
    /// Node id of that term's leader.
    pub(crate) leader: u64,
    pub(crate) index: u64,
}

/// What the rows stand for: stored in the same atomic write as the rows themselves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Applied {
    /// Of the last entry that is in the rows.
    pub(crate) position: Position,
    /// Encoded membership in force there.
    pub(crate) membership: Bytes,
    /// State digest over the small rows. The caller computes it at each write, and compares when the store opens: a
    /// row lost from the middle shows nowhere else.
    pub(crate) digest: Digest,
    /// How many small rows there are. The store compares it with what it finds when it opens.
    pub(crate) rows: u64,
}

/// One apply. Keys and digests must not repeat: what several commands did to one key is for the caller to net.
#[derive(Clone, Debug)]
pub(crate) struct WriteBatch {
    pub(crate) puts: Vec<(Vec<u8>, Vec<u8>)>,
    /// A key that is not there is passed over.
    pub(crate) deletes: Vec<Vec<u8>>,
    /// One that is there already is overwritten.
    pub(crate) new_documents: Vec<(Digest, Bytes)>,
    /// One that is not there is passed over.
    pub(crate) dropped_documents: Vec<Digest>,
    pub(crate) applied: Applied,
}

/// Everything but the documents' bytes, read when the store opens.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SmallState {
    /// None in a store that was never written.
    pub(crate) applied: Option<Applied>,
    /// In key order.
    pub(crate) rows: Vec<(Vec<u8>, Vec<u8>)>,
    /// In digest order, with the stored length in bytes. Dropped ones are not listed, even while they are held.
    pub(crate) documents: Vec<(Digest, u64)>,
}

/// Keeps dropped documents readable for as long as it lives, for an export that walks the documents of one instant
/// while writes go on.
#[derive(Clone, Debug)]
pub(crate) struct Hold {
    _alive: Arc<()>,
}

/// Hands out [`Hold`]s and knows whether any is left.
#[derive(Debug, Default)]
pub(crate) struct Holds(Arc<()>);

impl Holds {
    pub(crate) fn take(&self) -> Hold {
        Hold { _alive: Arc::clone(&self.0) }
    }

    pub(crate) fn any(&self) -> bool {
        Arc::strong_count(&self.0) > 1
    }
}

/// For metrics and alarms.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Stats {
    /// Files of the store.
    pub(crate) disk_bytes: u64,
    /// Documents that are listed.
    pub(crate) documents: u64,
    /// Their stored bytes.
    pub(crate) document_bytes: u64,
    /// Dropped documents not removed yet.
    pub(crate) dropped_documents: u64,
    /// Above zero, the guards of the engine have failed.
    pub(crate) blob_files: u64,
    /// Syncs the engine asked for, over the whole process.
    pub(crate) sync_calls: u64,
    /// Since the last checkpoint began, or since the store opened.
    pub(crate) checkpoint_age: Duration,
}

/// An open catalog. One thread writes; any thread may read.
///
/// After [`Error::Machine`] or [`Error::Damaged`] from a write the store takes no further write ([`Error::Stopped`]):
/// a sync that failed once must not be tried again. [`Error::Damaged`] from any call is also noted on disk, so that
/// the next start rebuilds instead of meeting the same damage again.
pub(crate) trait Store: Send + Sync + 'static {
    /// The stored bytes, checked. None if it was never put or is dropped (a dropped one may stay readable until
    /// the next write, and does while a [`Hold`] from before the drop lives).
    fn document(&self, digest: &Digest) -> Result<Option<Bytes>, Error>;

    /// Atomic and readable on return; durable only after the next [`checkpoint`](Store::checkpoint), or a later one
    /// of the engine's own.
    fn apply(&self, batch: WriteBatch) -> Result<(), Error>;

    /// Makes all applies that returned before the call durable, and reports the last one's position; None if there
    /// never was one. This is where replay starts after a power cut. It is no ground for purging the log.
    fn checkpoint(&self) -> Result<Option<Position>, Error>;

    /// Documents readable now stay so until the hold drops.
    fn hold(&self) -> Hold;

    fn stats(&self) -> Result<Stats, Error>;
}

/// A way to keep catalogs in directories.
pub(crate) trait Backend {
    type Store: Store;

    /// Opens the store in `dir`, creating both if missing, and reads all small rows. What opens is whole as far as
    /// the store can tell by itself; the state digest is the caller's to compare.
    ///
    /// # Errors
    /// [`Error::Damaged`] asks for a rebuild. Anything else asks the process to stop and to leave `dir` alone.
    fn open(&self, dir: &Path) -> Result<(Self::Store, SmallState), Error>;
}

/// Checksum of a document's stored bytes.
pub(crate) fn checksum(stored: &[u8]) -> Digest {
    Sha256::digest(stored).into()
}

impl WriteBatch {
    /// A batch that only moves the position.
    pub(crate) fn at(applied: Applied) -> WriteBatch {
        WriteBatch {
            puts: Vec::new(),
            deletes: Vec::new(),
            new_documents: Vec::new(),
            dropped_documents: Vec::new(),
            applied,
        }
    }

    /// Refuses what no store may take, before anything is touched.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let mut keys = BTreeSet::new();
        for (key, bytes) in self.puts.iter().map(|(key, value)| (key, key.len() + value.len())) {
            if bytes > MAX_ROW_BYTES {
                return Err(Error::refused(
                    format!("row {} of {bytes} bytes", key.escape_ascii()),
                    format!("the limit is {MAX_ROW_BYTES}"),
                ));
            }
            if !keys.insert(key) {
                return Err(twice("row", key));
            }
        }
        if let Some(key) = self.deletes.iter().find(|key| !keys.insert(key)) {
            return Err(twice("row", key));
        }

        let mut digests = BTreeSet::new();
        for (digest, stored) in &self.new_documents {
            if stored.len() > MAX_DOCUMENT_BYTES {
                return Err(Error::refused(
                    format!("document {} of {} bytes", hex::encode(digest), stored.len()),
                    format!("the limit is {MAX_DOCUMENT_BYTES}"),
                ));
            }
            if !digests.insert(digest) {
                return Err(twice("document", digest));
            }
        }
        if let Some(digest) = self.dropped_documents.iter().find(|digest| !digests.insert(digest)) {
            return Err(twice("document", digest));
        }

        if self.applied.membership.len() > MAX_MEMBERSHIP_BYTES {
            return Err(Error::refused(
                format!("membership of {} bytes", self.applied.membership.len()),
                format!("the limit is {MAX_MEMBERSHIP_BYTES}"),
            ));
        }
        Ok(())
    }
}

fn twice(what: &str, key: &[u8]) -> Error {
    Error::refused(
        format!("{what} {} twice in one batch", hex::encode(key)),
        "the outcome would be arbitrary",
    )
}

#[cfg(test)]
#[path = "store_test.rs"]
mod tests;
