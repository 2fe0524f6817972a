//! Backup files: snapshot files that left their node.

use std::path::{Path, PathBuf};

use meridian_model::{Digest, wire};

use super::Error;
use crate::state_rows::{Located, MODEL_VERSION};
use crate::storage;
use crate::storage::snapshot::{Meta, Reader, Record};
use crate::storage::store::{Applied, SmallState};

/// A backup file that was read to its end: nothing is missing, nothing was changed, and every document in it can be
/// served.
#[derive(Debug)]
pub struct Archive {
    /// Where it is.
    pub path: PathBuf,
    /// Of which cluster.
    pub cluster_id: String,
    /// Everything committed up to here is in it.
    pub revision: u64,
    /// The leader's clock then, Unix milliseconds; 0 before the first tick.
    pub fresh_as_of_ms: u64,
    /// How many environments it has.
    pub environments: usize,
    /// How many documents it has.
    pub documents: usize,
    pub(super) located: Located,
    pub(super) meta: Meta,
}

/// Reads a backup file to its end and proves it: its checksum, its rows by their digest, its documents by theirs.
///
/// # Errors
/// If it is cut short, changed anywhere, no backup, or of another version of this program.
pub fn verify(path: &Path) -> Result<Archive, Error> {
    read(path).map_err(|error| match error {
        storage::Error::Damaged { why, .. } => {
            Error(format!("backup {} is damaged: {why}; use another one", path.display()))
        }
        other => other.into(),
    })
}

fn read(path: &Path) -> Result<Archive, storage::Error> {
    let damaged = |why: String| storage::Error::damaged(path, why);
    let mut reader = Reader::open(path)?;
    let meta = reader.meta().clone();
    let mut stored = SmallState {
        applied: Some(Applied {
            position: meta.position,
            membership: meta.membership.clone(),
            digest: meta.digest,
            rows: meta.rows,
        }),
        ..SmallState::default()
    };
    while let Some(record) = reader.next()? {
        match record {
            Record::Row { key, value } => stored.rows.push((key, value)),
            Record::Document { digest, stored: bytes } => {
                let length = bytes.len() as u64;
                let document = wire::decode_document(bytes).map_err(|error| damaged(error.to_string()))?;
                if document.digest != Digest(digest) {
                    return Err(damaged(format!(
                        "document {} is filed under another digest",
                        document.digest
                    )));
                }
                document.open().map_err(|error| damaged(error.to_string()))?;
                stored.documents.push((digest, length));
            }
        }
    }
    // Only now is it known to be what was written, and by whom.
    if meta.model_version != MODEL_VERSION {
        let (found, known) = (meta.model_version, MODEL_VERSION);
        return Err(storage::Error::UnknownVersion { path: path.to_owned(), found, known });
    }
    let documents = stored.documents.len();
    let located = Located::load(stored).map_err(damaged)?;
    let directory = located.state.directory();
    Ok(Archive {
        path: path.to_owned(),
        cluster_id: reader.cluster_id().to_owned(),
        revision: meta.position.index,
        fresh_as_of_ms: directory.clock_ms().unwrap_or(0),
        environments: directory.environment_count(),
        documents,
        located,
        meta,
    })
}
