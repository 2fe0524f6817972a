//! Work on the data of a node that is stopped: look into it, bring a cluster back from one of its survivors, begin a
//! cluster from a backup.
//!
//! All of it blocks, takes the data directory's lock, and speaks to nobody. Call it outside of any async runtime.
//!
//! A cluster that lost a majority of its voters decides nothing any more, and no protocol can bring that back: what the
//! lost ones had acknowledged may be on none of those that are left. [`Stopped::recover`] makes one of them the only
//! voter of what goes on. It is safe for what that node holds and unsafe for what it does not; so [`judge`] demands the
//! survivor that holds most, and says what may be missing.

mod archive;
mod inspect;
mod judge;
mod restore;
mod rewrite;

use std::io;

pub use archive::{Archive, verify};
pub use inspect::{Head, Inspection, LogPoint, Standing, Stopped, Unconfirmed};
pub use judge::{Refusal, Verdict, judge};
pub use restore::{Restore, restore};
pub use rewrite::Recovered;

use crate::disk;
use crate::error::StartError;
use crate::storage;

/// Why work on a stopped node's data did not succeed. The text names the thing and the way out.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Error(String);

impl From<storage::Error> for Error {
    fn from(error: storage::Error) -> Self {
        disk::refuse(error).into()
    }
}

impl From<StartError> for Error {
    fn from(error: StartError) -> Self {
        Self(error.to_string())
    }
}

impl Error {
    fn log(doing: &str) -> impl FnOnce(io::Error) -> Self {
        move |error| Self(format!("cannot {doing} the log: {error}"))
    }
}

/// Runs what the log offers only to async callers; it waits for its writer thread and for nothing else.
fn wait<T>(work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    runtime.map_err(|error| Error(format!("cannot start a runtime: {error}")))?.block_on(work)
}
