//! Keeps the catalog on disk a little behind the state in memory, on a thread of its own.
//!
//! `apply` hands over what changed and goes on; nothing that is acknowledged waits for this. What is not written when
//! the process dies is replayed from the log. A write that fails stops the member, because going on would let the
//! disk fall behind without end.

use std::collections::{BTreeMap, HashMap};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use meridian_model::state::Changes;
use meridian_model::{Digest, wire};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use crate::alarm::Alarm;
use crate::error::Fatal;
use crate::state_rows::Located;
use crate::storage::recover::Catalog;
use crate::storage::sled::{Backend, Sled};
use crate::storage::snapshot::Durable;
use crate::storage::store::{Applied, Hold, Position, Stats, Store as _, WriteBatch};
use crate::storage::{Error, store};

/// Time between checkpoints: what has to be replayed after a crash, against one more fsync beside the log's.
const CHECKPOINT_INTERVAL: Duration = Duration::from_secs(1);

/// Changes that wait for the disk. Beyond it `apply` waits: at a hundredth of the log's speed this is seconds.
const QUEUED_BYTES: usize = 64 << 20;

/// What one change takes of [`QUEUED_BYTES`] at least, so that small ones are bounded in number too.
const CHANGE_BYTES_MIN: usize = 1 << 10;

/// Changes that are written as one, and how long they wait for company. The engine's work is by row: what is overwritten
/// or dropped again meanwhile, such as heads, positions and the history of a busy environment, is never written. Nobody
/// waits for it but a checkpoint, which ends the wait.
const MERGED_BYTES: usize = 16 << 20;
/// See [`MERGED_BYTES`]. Adds to what has to be replayed after a crash.
const GATHER_TIME: Duration = Duration::from_millis(500);

/// What a run of commands did to the stored rows and documents, netted: the last word on each key counts.
#[derive(Debug, Default)]
pub(crate) struct Delta {
    rows: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
    documents: BTreeMap<store::Digest, Option<Bytes>>,
    bytes: usize,
}

impl Delta {
    pub(crate) fn add(&mut self, changes: Changes) {
        for (key, row) in changes.rows {
            self.bytes += key.len() + row.as_ref().map_or(0, Vec::len);
            self.rows.insert(key, row);
        }
        for document in changes.new_documents {
            let stored = wire::encode_document(&document);
            self.bytes += stored.len();
            self.documents.insert(document.digest.0, Some(stored));
        }
        for digest in changes.dropped_documents {
            self.documents.insert(digest.0, None);
        }
    }

    fn merge(&mut self, later: Delta) {
        self.rows.extend(later.rows);
        self.documents.extend(later.documents);
        self.bytes += later.bytes;
    }

    fn into_batch(self, applied: Applied) -> WriteBatch {
        let mut batch = WriteBatch::at(applied);
        for (key, row) in self.rows {
            match row {
                Some(row) => batch.puts.push((key, row)),
                None => batch.deletes.push(key),
            }
        }
        for (digest, stored) in self.documents {
            match stored {
                Some(stored) => batch.new_documents.push((digest, stored)),
                None => batch.dropped_documents.push(digest),
            }
        }
        batch
    }
}

/// The door to the thread and to the documents on disk. Cheap to clone; the thread ends with the last clone.
#[derive(Clone)]
pub(crate) struct Projection {
    jobs: Sender<Job>,
    queued: Arc<Semaphore>,
    shared: Arc<Shared>,
}

struct Shared {
    store: RwLock<Option<Sled>>,
    pending: Mutex<Pending>,
}

/// Documents that are handed over and not written yet.
#[derive(Clone, Default)]
struct Pending {
    documents: HashMap<store::Digest, (u64, Bytes)>,
    /// Number of the last write that was handed over.
    last_write: u64,
}

enum Job {
    Write { number: u64, delta: Delta, applied: Applied, permit: OwnedSemaphorePermit },
    Checkpoint { done: oneshot::Sender<Result<Option<Position>, Error>> },
    Install { snapshot: Durable, done: oneshot::Sender<Result<Located, Error>> },
    Close { done: oneshot::Sender<()> },
}

/// Documents of one instant, for as long as a snapshot of it is being written.
pub(crate) struct DocumentsHeld {
    projection: Projection,
    pending: Pending,
    _hold: Option<Hold>,
}

impl Projection {
    /// Starts the thread on an open store.
    pub(crate) fn start(disk: Catalog<Backend>, store: Sled, alarm: Alarm) -> std::io::Result<Self> {
        let (jobs, received) = channel();
        let shared = Arc::new(Shared { store: RwLock::new(Some(store)), pending: Mutex::default() });
        let thread = Thread { disk, shared: shared.clone(), jobs: received };
        std::thread::Builder::new().name("catalog".to_owned()).spawn(move || {
            if let Err(error) = thread.run() {
                alarm.ring(Fatal::Storage(error.to_string()));
            }
        })?;
        Ok(Self { jobs, queued: Arc::new(Semaphore::new(QUEUED_BYTES)), shared })
    }

    /// Hands over what changed. Waits only while too much is waiting for the disk.
    pub(crate) async fn write(&self, delta: Delta, applied: Applied) -> Result<(), Error> {
        let bytes = delta.bytes.clamp(CHANGE_BYTES_MIN, QUEUED_BYTES);
        let bytes = u32::try_from(bytes).expect("the queue is smaller than 4 GB");
        let permit = self.queued.clone().acquire_many_owned(bytes).await.map_err(|_| gone())?;
        let mut pending = self.pending();
        pending.last_write += 1;
        let number = pending.last_write;
        for (digest, stored) in &delta.documents {
            if let Some(stored) = stored {
                pending.documents.insert(*digest, (number, stored.clone()));
            }
        }
        self.jobs.send(Job::Write { number, delta, applied, permit }).map_err(|_| gone())
    }

    /// Makes everything durable that was handed over before. Blocks.
    pub(crate) fn checkpoint(&self) -> Result<Option<Position>, Error> {
        let (done, wait) = oneshot::channel();
        self.jobs.send(Job::Checkpoint { done }).map_err(|_| gone())?;
        wait.blocking_recv().map_err(|_| gone())?
    }

    /// Replaces everything by a snapshot's content.
    pub(crate) async fn install(&self, snapshot: Durable) -> Result<Located, Error> {
        let (done, wait) = oneshot::channel();
        self.jobs.send(Job::Install { snapshot, done }).map_err(|_| gone())?;
        wait.await.map_err(|_| gone())?
    }

    /// Makes everything durable and closes the store: its directory is free afterwards.
    pub(crate) async fn close(&self) {
        let (done, wait) = oneshot::channel();
        if self.jobs.send(Job::Close { done }).is_ok() {
            // An error has rung the alarm, and the thread is gone either way.
            let _ = wait.await;
        }
    }

    /// A document's stored bytes. Blocks on the disk.
    pub(crate) fn document(&self, digest: &Digest) -> Result<Option<Bytes>, Error> {
        // In this order: a document leaves `pending` only after it is in the store.
        if let Some((_, stored)) = self.pending().documents.get(&digest.0) {
            return Ok(Some(stored.clone()));
        }
        let store = self.shared.store.read().unwrap_or_else(PoisonError::into_inner);
        store.as_ref().ok_or_else(gone)?.document(&digest.0)
    }

    /// All documents that are readable now stay so for the holder.
    pub(crate) fn hold(&self) -> DocumentsHeld {
        let pending = self.pending().clone();
        let store = self.shared.store.read().unwrap_or_else(PoisonError::into_inner);
        let hold = store.as_ref().map(|store| store.hold());
        DocumentsHeld { projection: self.clone(), pending, _hold: hold }
    }

    /// Numbers about the store. Walks its files, and does not wait while a snapshot is being installed: whoever asks
    /// for numbers also answers whether the process lives.
    pub(crate) fn stats(&self) -> Result<Stats, Error> {
        let store = self.shared.store.try_read().map_err(|_| gone())?;
        store.as_ref().ok_or_else(gone)?.stats()
    }

    fn pending(&self) -> std::sync::MutexGuard<'_, Pending> {
        self.shared.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl DocumentsHeld {
    /// As [`Projection::document`], at the instant of the hold.
    pub(crate) fn document(&self, digest: &Digest) -> Result<Option<Bytes>, Error> {
        match self.pending.documents.get(&digest.0) {
            Some((_, stored)) => Ok(Some(stored.clone())),
            None => self.projection.document(digest),
        }
    }
}

/// What the thread owns.
struct Thread {
    disk: Catalog<Backend>,
    shared: Arc<Shared>,
    jobs: Receiver<Job>,
}

impl Thread {
    /// Ends when it is closed or all doors are gone, with everything durable, or with the first error.
    fn run(self) -> Result<(), Error> {
        let mut dirty_since: Option<Instant> = None;
        let mut next = None;
        loop {
            let job = match (next.take(), dirty_since) {
                (Some(job), _) => job,
                (None, None) => match self.jobs.recv() {
                    Ok(job) => job,
                    Err(_) => return Ok(()),
                },
                (None, Some(since)) => {
                    let due = CHECKPOINT_INTERVAL.saturating_sub(since.elapsed());
                    match self.jobs.recv_timeout(due) {
                        Ok(job) => job,
                        Err(RecvTimeoutError::Timeout) => {
                            self.checkpoint()?;
                            dirty_since = None;
                            continue;
                        }
                        Err(RecvTimeoutError::Disconnected) => return self.checkpoint().map(drop),
                    }
                }
            };
            match job {
                Job::Write { number, delta, applied, permit } => {
                    next = self.write(number, delta, applied, vec![permit])?;
                    let since = *dirty_since.get_or_insert_with(Instant::now);
                    if since.elapsed() >= CHECKPOINT_INTERVAL {
                        self.checkpoint()?;
                        dirty_since = None;
                    }
                }
                Job::Checkpoint { done } => {
                    let position = self.checkpoint()?;
                    dirty_since = None;
                    // Whoever asked may be gone; the checkpoint is made.
                    let _ = done.send(Ok(position));
                }
                Job::Install { snapshot, done } => {
                    let state = self.install(&snapshot)?;
                    dirty_since = None;
                    let _ = done.send(Ok(state));
                }
                Job::Close { done } => {
                    self.checkpoint()?;
                    *self.shared.store.write().unwrap_or_else(PoisonError::into_inner) = None;
                    let _ = done.send(());
                    return Ok(());
                }
            }
        }
    }

    /// Writes one change and those that come soon after it, up to a bound. Gives back the first other job.
    fn write(
        &self,
        mut number: u64,
        mut delta: Delta,
        mut applied: Applied,
        mut permits: Vec<OwnedSemaphorePermit>,
    ) -> Result<Option<Job>, Error> {
        let mut next = None;
        let until = Instant::now() + GATHER_TIME;
        while delta.bytes < MERGED_BYTES {
            match self.jobs.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(Job::Write { number: last, delta: later, applied: at, permit }) => {
                    delta.merge(later);
                    (number, applied) = (last, at);
                    permits.push(permit);
                }
                Ok(other) => {
                    next = Some(other);
                    break;
                }
                Err(_) => break,
            }
        }
        let batch = delta.into_batch(applied);
        let store = self.shared.store.read().unwrap_or_else(PoisonError::into_inner);
        store.as_ref().ok_or_else(gone)?.apply(batch)?;
        let mut pending = self.shared.pending.lock().unwrap_or_else(PoisonError::into_inner);
        pending.documents.retain(|_, (handed_over, _)| *handed_over > number);
        Ok(next)
    }

    fn checkpoint(&self) -> Result<Option<Position>, Error> {
        let store = self.shared.store.read().unwrap_or_else(PoisonError::into_inner);
        store.as_ref().ok_or_else(gone)?.checkpoint()
    }

    fn install(&self, snapshot: &Durable) -> Result<Located, Error> {
        // Readers wait outside: the old store must be closed before the new one takes its place.
        let mut store = self.shared.store.write().unwrap_or_else(PoisonError::into_inner);
        *store = None;
        let (opened, state) = self.disk.install(snapshot, Located::load)?;
        *store = Some(opened);
        self.shared.pending.lock().unwrap_or_else(PoisonError::into_inner).documents.clear();
        Ok(state)
    }
}

fn gone() -> Error {
    Error::Refused { what: "a change".to_owned(), why: "the catalog is closed".to_owned() }
}
