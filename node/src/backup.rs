//! Copies of the whole cluster, outside of it: taken by an operator or on a schedule, verified, kept.
//!
//! A backup is done when all of it was read back from where it was put: the file that came from a node was proved by the
//! code that also restores ([`meridian_replication::recovery::verify`]), and what the store gives back has its checksum.

mod command;
mod kept;
pub mod schedule;
mod target;

use std::io;
use std::path::{Path, PathBuf};

use meridian_replication::recovery::{self, Archive};
use tempfile::NamedTempFile;

pub use command::{Backup, run};
pub use target::{Target, TargetError};

/// Why there is no backup, or why one is of no use. The text names the thing and the way out.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Where it should go, or is.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// The file itself.
    #[error(transparent)]
    Archive(#[from] recovery::Error),
    /// The cluster did not send it.
    #[error("the cluster sent no backup")]
    Cluster(#[from] meridian_client::Error),
    /// This node did not write it.
    #[error("this node wrote no backup")]
    Export(#[from] meridian_replication::ReadError),
    /// A local file.
    #[error("cannot {doing} {}", .path.display())]
    File {
        /// What was tried.
        doing: &'static str,
        /// With which file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The file is whole, but not what was announced.
    #[error("the backup is of {found}, and {announced} was announced: take another one")]
    Other {
        /// What came.
        found: String,
        /// What the node said would come.
        announced: String,
    },
    /// Something is there already.
    #[error("{0} exists: choose another name, or say --overwrite")]
    Exists(String),
    /// What the store gives back is not what it was given.
    #[error("{0} does not read back as it was written: remove it, and take another backup")]
    NotReadBack(String),
}

impl Error {
    fn file(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::File { doing, path: path.to_owned(), source }
    }
}

/// Puts a verified file where it is to be kept, and reads it back from there.
async fn keep(file: &Path, target: &Target) -> Result<(), Error> {
    let written = target.put(file).await?;
    if target.digest().await? == written { Ok(()) } else { Err(Error::NotReadBack(target.to_string())) }
}

/// Proves a backup wherever it is. What is not a local file is first fetched into a temporary one in `spool`, which
/// lives as long as the second value.
pub async fn verified(target: &Target, spool: &Path) -> Result<(Archive, Option<NamedTempFile>), Error> {
    if let Some(path) = target.local() {
        return Ok((verify(path).await?, None));
    }
    let fetched = NamedTempFile::new_in(spool).map_err(Error::file("make a temporary file in", spool))?;
    target.fetch(fetched.path()).await?;
    Ok((verify(fetched.path().to_owned()).await?, Some(fetched)))
}

/// Reading takes seconds for a large one.
async fn verify(path: PathBuf) -> Result<Archive, Error> {
    match tokio::task::spawn_blocking(move || recovery::verify(&path)).await {
        Ok(verified) => Ok(verified?),
        Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
    }
}
