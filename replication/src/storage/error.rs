//! What can go wrong with a node's disk, sorted by what has to be done about it.
//!
//! The line that matters most runs between [`Error::Damaged`] and [`Error::Machine`]: damage is healed by rebuilding,
//! but a machine which is out of space or out of file handles holds perfectly good data, and a rebuild would throw it
//! away.

use std::io;
use std::path::{Path, PathBuf};

/// Why storage cannot go on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The operating system refused. The data is presumed good and was not touched.
    #[error("cannot {doing} {}: free space, fix permissions or the disk, then start again; nothing was removed", path.display())]
    Machine {
        /// A verb phrase which the path completes.
        doing: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    /// What is on disk is not what was written.
    #[error("{} is damaged: {why}; a restart rebuilds it from a verified copy", path.display())]
    Damaged { path: PathBuf, why: String },
    /// Somebody else has it open.
    #[error("{} is in use by another process: stop that one, or give each node a data directory of its own", path.display())]
    Locked { path: PathBuf },
    /// The directory belongs to somebody else.
    #[error("{} {why}: use an empty directory or the one this node was created with", path.display())]
    Foreign { path: PathBuf, why: String },
    /// The identity file cannot be believed.
    #[error("identity file {} is malformed: {why}; restore it, or remove the data directory and join under a new node id", path.display())]
    Identity { path: PathBuf, why: String },
    /// The node took part in Raft, and what it promised is gone.
    #[error(
        "the log in {} is gone though this node has voted: remove the data directory and join under a new node id",
        path.display()
    )]
    LogLost { path: PathBuf },
    /// The log can't be read back. Nothing rebuilds it, and with it the vote may be lost.
    #[error(
        "the log in {} is damaged: {why}; remove the data directory and join under a new node id",
        path.display()
    )]
    LogDamaged { path: PathBuf, why: String },
    /// Written by a newer program.
    #[error("{} has format version {found}, this program knows {known}: run a newer meridian", path.display())]
    UnknownVersion { path: PathBuf, found: u32, known: u32 },
    /// The caller, or the peer behind it, offers something storage does not take. Nothing changed.
    #[error("storage refuses {what}: {why}")]
    Refused { what: String, why: String },
    /// An earlier write or sync failed. Retrying could report success for bytes the kernel has already dropped.
    #[error("the catalog in {} stopped after a failed write: restart the node", path.display())]
    Stopped { path: PathBuf },
    /// The engine neither opened nor failed.
    #[error("{} did not open within {limit_s} s: start again, or move it away to have it rebuilt", path.display())]
    Stuck { path: PathBuf, limit_s: u64 },
    /// The engine's flush does not reach the fsync shim, so nothing it calls durable is.
    #[error("flushing {} does not call fsync: this build lacks the sync_file_range shim, use an official one", path.display())]
    Unsynced { path: PathBuf },
}

impl Error {
    /// For `map_err` on I/O.
    pub(crate) fn machine(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
        move |source| Error::Machine { doing, path: path.to_owned(), source }
    }

    pub(crate) fn damaged(path: &Path, why: impl Into<String>) -> Error {
        Error::Damaged { path: path.to_owned(), why: why.into() }
    }

    pub(crate) fn refused(what: impl Into<String>, why: impl Into<String>) -> Error {
        Error::Refused { what: what.into(), why: why.into() }
    }
}
