//! A consistent copy of everything, for backups.

use std::fs::File;
use std::sync::Arc;
use std::time::Duration;

use crate::error::ReadError;
use crate::handle::Handle;
use crate::member::MemberState;
use crate::storage::snapshot::Durable;

/// Between two looks at how far the snapshot is.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// A file that holds the state of one instant and every document of it, checksummed.
#[derive(Debug)]
pub struct Export {
    /// Everything committed up to here is in it.
    pub revision: u64,
    /// Unix milliseconds.
    pub fresh_as_of_ms: u64,
    /// Length of the file.
    pub size_bytes: u64,
    /// Open for reading at its start; stays readable when newer ones replace it.
    pub file: File,
}

impl Handle {
    /// Writes a file of this node's state now, beside the traffic: everything that its view showed when this was called
    /// is in it. The file is a snapshot like any other; it was read back and verified. One at a time.
    pub async fn export(&self) -> Result<Export, ReadError> {
        let state = &self.state;
        let _one = state.exporting.try_acquire().map_err(|_| ReadError::Busy)?;
        let view = state.catalog.view();
        let (revision, fresh_as_of_ms) = (view.revision, view.fresh_as_of_ms());
        drop(view);
        if revision == 0 {
            return Err(ReadError::Empty);
        }
        let snapshot = at_least(state, revision).await?;
        // Even if it is removed between these two: there is a newer one by then.
        let file = File::open(snapshot.path()).or_else(|error| match state.files.newest() {
            Some(newer) if newer.position().index > snapshot.position().index => File::open(newer.path()),
            _ => Err(error),
        });
        let file = file.map_err(|error| ReadError::Damaged(error.to_string()))?;
        let size_bytes = file.metadata().map_err(|error| ReadError::Damaged(error.to_string()))?.len();
        Ok(Export { revision: snapshot.position().index, fresh_as_of_ms, size_bytes, file })
    }
}

/// The newest snapshot, once it is of this revision or later.
async fn at_least(state: &Arc<MemberState>, revision: u64) -> Result<Durable, ReadError> {
    loop {
        if state.is_stopping() || state.alarm.rung().is_some() {
            return Err(ReadError::Stopping);
        }
        if let Some(newest) = state.files.newest().filter(|file| file.position().index >= revision) {
            return Ok(newest);
        }
        // Ignored while one is being built, which may be of an earlier instant: asked again, then.
        state.raft.trigger().snapshot().await.map_err(|_| ReadError::Stopping)?;
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
}
