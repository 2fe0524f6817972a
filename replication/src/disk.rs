//! Opens what a node keeps on its disk, as fast as it may be trusted.
//!
//! Snapshots are verified and the log is replayed beside the reading of the catalog, which takes longest; nothing is
//! handed out before all three were held against each other. What cannot be trusted and can be made anew is made anew
//! here; what cannot is an error that names the way out.

use std::thread;
use std::time::Instant;

use crate::error::StartError;
use crate::machine::SnapshotFiles;
use crate::state_rows::Located;
use crate::storage::identity::DataDir;
use crate::storage::log::{LogStore, PurgeFloor};
use crate::storage::recover::{Catalog, LogBounds, Opened};
use crate::storage::sled::{Backend, Sled};
use crate::storage::snapshot::Snapshots;
use crate::storage::{self, Error};

/// Everything on disk, open and in agreement with itself.
pub(crate) struct Disk {
    pub(crate) data_dir: DataDir,
    pub(crate) log: LogStore,
    pub(crate) files: SnapshotFiles,
    pub(crate) catalog: Catalog<Backend>,
    pub(crate) store: Sled,
    /// The state that the catalog holds; the log goes on from there.
    pub(crate) located: Located,
}

impl Disk {
    /// Reads what is in a node's data directory. Blocks while the log is replayed and the catalog is read.
    pub(crate) fn open(mut data_dir: DataDir) -> Result<Self, StartError> {
        let began = Instant::now();
        let dirs = data_dir.dirs();
        let snapshots = Snapshots::open(&dirs.snapshots, data_dir.cluster_id()).map_err(refuse)?;
        let floor = PurgeFloor::new();
        let catalog = Catalog::new(Backend, &dirs.catalog);

        let (opened, newest, log) = thread::scope(|scope| {
            let newest = scope.spawn(|| snapshots.newest());
            let log = scope.spawn(|| LogStore::open(&dirs.log, floor.clone()));
            let mut ground = None;
            let opened = catalog.open(Located::load, || {
                let (newest, log) = (joined(newest)?, joined(log)?);
                ground = Some((newest.clone(), log.clone()));
                Ok((newest, bounds(&log)))
            })?;
            let (newest, log) = ground.expect("the catalog does not open without asking for its ground");
            Ok((opened, newest, log))
        })
        .map_err(refuse)?;

        if log.usage().stats().last_index.is_some() {
            data_dir.mark_initialized().map_err(refuse)?;
        }
        let (store, located) = match opened {
            Opened::Ready { store, state, rebuilt } => {
                if let Some(why) = rebuilt {
                    tracing::warn!(why, "the catalog was rebuilt from a snapshot");
                }
                (store, state)
            }
            Opened::NeedsSnapshot { why } => return Err(needs_snapshot(&why, &data_dir)),
        };
        let files = SnapshotFiles::new(snapshots, newest, floor);
        let rows = located.state.tally().rows;
        tracing::info!(took = ?began.elapsed(), rows, "the disk is read");
        Ok(Self { data_dir, log, files, catalog, store, located })
    }
}

fn bounds(log: &LogStore) -> LogBounds {
    let stats = log.usage().stats();
    LogBounds { purged: stats.first_index.checked_sub(1), last: stats.last_index }
}

fn joined<T>(thread: thread::ScopedJoinHandle<'_, Result<T, Error>>) -> Result<T, Error> {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

fn needs_snapshot(why: &str, data_dir: &DataDir) -> StartError {
    StartError::Storage(format!(
        "{why}, and no snapshot in {} reaches back to the log: this node cannot be repaired from its own disk. take it \
         out of the cluster with `meridian member remove {}`, move the directory away, and start the node with a new \
         id: it joins and gets everything from the others",
        data_dir.path().display(),
        data_dir.node_id(),
    ))
}

/// Storage's error as the start reports it.
pub(crate) fn refuse(error: storage::Error) -> StartError {
    let mut text = error.to_string();
    // The system's own words are the most useful part of it.
    if let Some(source) = std::error::Error::source(&error) {
        text = format!("{text}: {source}");
    }
    StartError::Storage(text)
}
