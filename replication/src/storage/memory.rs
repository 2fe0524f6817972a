//! A catalog in memory: the plainest thing that keeps the promises of [`Store`](super::store::Store), for tests.
//!
//! A "disk" outlives its stores: what was checkpointed is found by the next store on the same directory, what was not
//! is lost when the store closes, as after a power cut.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, RwLock};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::store::{self, Applied, Digest, Hold, Holds, Position, SmallState, Stats, WriteBatch};
use super::{Error, files};

/// All memory disks of one test, by directory.
#[derive(Clone, Default)]
pub(crate) struct Backend {
    disks: Arc<Mutex<BTreeMap<PathBuf, Image>>>,
}

pub(crate) struct Memory {
    backend: Backend,
    dir: PathBuf,
    image: RwLock<Image>,
    holds: Holds,
    checkpoint_began: Mutex<Instant>,
}

#[derive(Clone, Default)]
struct Image {
    applied: Option<Applied>,
    rows: BTreeMap<Vec<u8>, Vec<u8>>,
    documents: BTreeMap<Digest, Bytes>,
    dropped: BTreeSet<Digest>,
}

impl Backend {
    /// Makes the next open of `dir` find rows that do not belong to their digest.
    pub(crate) fn damage(&self, dir: &Path) {
        let mut disks = self.disks.lock().expect("not poisoned");
        let image = disks.get_mut(dir).expect("was checkpointed");
        image.rows.values_mut().for_each(|value| value.push(b'!'));
    }
}

impl store::Backend for Backend {
    type Store = Memory;

    fn open(&self, dir: &Path) -> Result<(Memory, SmallState), Error> {
        files::create_dir(dir)?;
        let image = self.disks.lock().expect("not poisoned").get(dir).cloned().unwrap_or_default();
        let listed = image.documents.iter().filter(|(digest, _)| !image.dropped.contains(*digest));
        let state = SmallState {
            applied: image.applied.clone(),
            rows: image.rows.clone().into_iter().collect(),
            documents: listed.map(|(digest, stored)| (*digest, stored.len() as u64)).collect(),
        };
        if state.applied.as_ref().is_some_and(|applied| applied.rows != state.rows.len() as u64) {
            return Err(Error::damaged(dir, "rows are missing"));
        }
        let memory = Memory {
            backend: self.clone(),
            dir: dir.to_owned(),
            image: RwLock::new(image),
            holds: Holds::default(),
            checkpoint_began: Mutex::new(Instant::now()),
        };
        Ok((memory, state))
    }
}

impl store::Store for Memory {
    fn document(&self, digest: &Digest) -> Result<Option<Bytes>, Error> {
        let image = self.image.read().expect("not poisoned");
        if image.dropped.contains(digest) && !self.holds.any() {
            return Ok(None);
        }
        Ok(image.documents.get(digest).cloned())
    }

    fn apply(&self, batch: WriteBatch) -> Result<(), Error> {
        batch.check()?;
        let mut image = self.image.write().expect("not poisoned");
        for digest in batch.dropped_documents {
            if image.documents.contains_key(&digest) {
                image.dropped.insert(digest);
            }
        }
        for (digest, stored) in batch.new_documents {
            image.dropped.remove(&digest);
            image.documents.insert(digest, stored);
        }
        if !self.holds.any() {
            for digest in std::mem::take(&mut image.dropped) {
                image.documents.remove(&digest);
            }
        }
        for key in batch.deletes {
            image.rows.remove(&key);
        }
        image.rows.extend(batch.puts);
        image.applied = Some(batch.applied);
        Ok(())
    }

    fn checkpoint(&self) -> Result<Option<Position>, Error> {
        let image = self.image.read().expect("not poisoned").clone();
        let position = image.applied.as_ref().map(|applied| applied.position);
        self.backend.disks.lock().expect("not poisoned").insert(self.dir.clone(), image);
        *self.checkpoint_began.lock().expect("not poisoned") = Instant::now();
        Ok(position)
    }

    fn hold(&self) -> Hold {
        let _between_writes = self.image.read().expect("not poisoned");
        self.holds.take()
    }

    fn stats(&self) -> Result<Stats, Error> {
        let image = self.image.read().expect("not poisoned");
        let listed = image.documents.iter().filter(|(digest, _)| !image.dropped.contains(*digest));
        Ok(Stats {
            disk_bytes: 0,
            documents: listed.clone().count() as u64,
            document_bytes: listed.map(|(_, stored)| stored.len() as u64).sum(),
            dropped_documents: image.dropped.len() as u64,
            blob_files: 0,
            sync_calls: 0,
            checkpoint_age: self.checkpoint_began.lock().map_or(Duration::ZERO, |began| began.elapsed()),
        })
    }
}
