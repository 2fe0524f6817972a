//! A snapshot on its way in from a peer.
//!
//! What has arrived stays in `incoming-<name>.part`, so that a transfer which breaks off goes on where it was. The
//! bytes of a part file are not trusted: the whole file is verified at the end, and thrown away if it fails.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::{Durable, MAX_SNAPSHOT_BYTES, Name, place, verify};
use crate::storage::{Error, files};

const PREFIX: &str = "incoming-";
const SUFFIX: &str = ".part";

/// One transfer. At most one is open in a directory, and at most one part file is kept there.
#[derive(Debug)]
pub(crate) struct Incoming {
    name: Name,
    cluster_id: String,
    dir: PathBuf,
    path: PathBuf,
    file: File,
    size_bytes: u64,
    offset: u64,
}

impl Incoming {
    pub(super) fn open(dir: &Path, cluster_id: &str, name: &str, size_bytes: u64) -> Result<Incoming, Error> {
        let name = Name::parse(name)
            .ok_or_else(|| Error::refused(format!("snapshot name {name:?}"), "it is not one of ours"))?;
        if size_bytes > MAX_SNAPSHOT_BYTES {
            return Err(Error::refused(
                format!("snapshot {name} of {size_bytes} bytes"),
                format!("the limit is {MAX_SNAPSHOT_BYTES}"),
            ));
        }
        let part = format!("{PREFIX}{name}{SUFFIX}");
        for other in files::names(dir)? {
            if other.starts_with(PREFIX) && other.ends_with(SUFFIX) && other != part {
                files::remove_file(&dir.join(other))?;
            }
        }

        let path = dir.join(part);
        let file = OpenOptions::new().create(true).append(true).read(true).open(&path);
        let file = file.map_err(Error::machine("open", &path))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => return Err(Error::Locked { path }),
            Err(error) => return Err(Error::machine("lock", &path)(error.into())),
        }
        let mut offset = file.metadata().map_err(Error::machine("measure", &path))?.len();
        if offset > size_bytes {
            file.set_len(0).map_err(Error::machine("empty", &path))?;
            offset = 0;
        }
        Ok(Incoming {
            name,
            cluster_id: cluster_id.to_owned(),
            dir: dir.to_owned(),
            path,
            file,
            size_bytes,
            offset,
        })
    }

    /// How many bytes are here; the sender goes on from there.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    /// Takes the bytes at [`offset`](Incoming::offset), and returns the new one.
    pub(crate) fn append(&mut self, bytes: &[u8]) -> Result<u64, Error> {
        if bytes.len() as u64 > self.size_bytes - self.offset {
            return Err(Error::refused(
                format!("snapshot {}", self.name),
                format!("the sender announced {} bytes and sends more", self.size_bytes),
            ));
        }
        self.file.write_all(bytes).map_err(Error::machine("write", &self.path))?;
        self.offset += bytes.len() as u64;
        Ok(self.offset)
    }

    /// Verifies the file and puts it beside the others, durably.
    ///
    /// # Errors
    /// [`Error::Refused`] while bytes are missing; the part file stays. [`Error::Damaged`] if the bytes are not those
    /// the name promises; the part file is removed, and the transfer starts over.
    pub(crate) fn finish(self) -> Result<Durable, Error> {
        if self.offset != self.size_bytes {
            return Err(Error::refused(
                format!("snapshot {}", self.name),
                format!("{} of {} bytes have arrived", self.offset, self.size_bytes),
            ));
        }
        if let Err(error) = self.file.sync_all() {
            // Synced once more it could pass for durable, though the kernel has dropped its pages.
            files::remove_file(&self.path)?;
            return Err(Error::machine("sync", &self.path)(error));
        }
        let durable = match verify(&self.path, &self.cluster_id) {
            Ok(durable) => durable,
            Err(error) => {
                if !matches!(error, Error::Machine { .. }) {
                    files::remove_file(&self.path)?;
                }
                return Err(error);
            }
        };
        let placed = self.dir.join(self.name.to_string());
        place(&self.path, &placed)?;
        Ok(Durable { path: placed, ..durable })
    }
}
