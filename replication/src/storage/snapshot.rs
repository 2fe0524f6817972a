//! Snapshot files: the whole state at one position, checksummed, outside any engine.
//!
//! They are the floor for purging the log and the source of every rebuild, so nothing counts as a snapshot before it
//! was written, synced, renamed into place and read back. The proof of that is a [`Durable`], which only
//! [`Snapshots::write`], [`verify`] and [`Incoming::finish`] make.
//!
//! A file's name is derived from its content, so that a transfer broken off can go on with whoever has the same file.
//! The directory keeps the newest two files, one transfer that is coming in, and the last file found damaged.

mod format;
mod incoming;

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use bytes::Bytes;

pub(crate) use self::format::{Meta, Reader, Record};
use self::format::{Seal, Writer};
pub(crate) use self::incoming::Incoming;
use super::store::{Digest, Position};
use super::{Error, files};

/// The newest, and the one before it in case the newest is damaged.
const KEPT: usize = 2;

const SUFFIX: &str = ".snapshot";
const DAMAGED: &str = ".damaged";

/// Largest file taken from a peer; beyond what a catalog can reach, and a bound on what a bad peer can fill.
const MAX_SNAPSHOT_BYTES: u64 = 64 << 30;

/// The snapshots of one group of one cluster, in one directory.
#[derive(Clone, Debug)]
pub(crate) struct Snapshots {
    dir: PathBuf,
    cluster_id: String,
}

/// A snapshot file that is whole and durable under its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Durable {
    path: PathBuf,
    name: Name,
    meta: Meta,
    bytes: u64,
}

/// `<index>-<term>-<first 8 bytes of the checksum>.snapshot`
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Name {
    index: u64,
    term: u64,
    checksum: [u8; 8],
}

impl Snapshots {
    /// Creates the directory if it is missing and clears away what an interrupted write left.
    pub(crate) fn open(dir: &Path, cluster_id: &str) -> Result<Snapshots, Error> {
        files::create_dir(dir)?;
        for name in files::names(dir)? {
            if name.ends_with(files::TEMPORARY) {
                files::remove_file(&dir.join(name))?;
            }
        }
        Ok(Snapshots { dir: dir.to_owned(), cluster_id: cluster_id.to_owned() })
    }

    /// Writes the state at `meta.position`: rows in key order, then documents in digest order, all strictly rising.
    /// An error of either iterator abandons the snapshot. Equal state gives an equal file.
    ///
    /// `checkpointed` is what the catalog's [`checkpoint`](super::store::Store::checkpoint) last answered. It must
    /// not lie before the snapshot: a catalog behind its newest snapshot is taken for one that lost data, and rebuilt.
    pub(crate) fn write(
        &self,
        meta: &Meta,
        checkpointed: Position,
        rows: impl Iterator<Item = Result<(Vec<u8>, Vec<u8>), Error>>,
        documents: impl Iterator<Item = Result<(Digest, Bytes), Error>>,
    ) -> Result<Durable, Error> {
        if checkpointed.index < meta.position.index {
            return Err(Error::refused(
                format!("snapshot at index {}", meta.position.index),
                format!("the catalog is checkpointed at {} only", checkpointed.index),
            ));
        }
        let temporary =
            self.dir.join(format!("{}-{}{}", meta.position.index, meta.position.term, files::TEMPORARY));
        let written = self.write_temporary(&temporary, meta, rows, documents).and_then(|seal| {
            let name = Name::of(meta.position, &seal);
            place(&temporary, &self.dir.join(name.to_string()))?;
            verify(&self.dir.join(name.to_string()), &self.cluster_id)
        });
        if written.is_err() {
            files::remove_file(&temporary)?;
        }
        written
    }

    fn write_temporary(
        &self,
        temporary: &Path,
        meta: &Meta,
        rows: impl Iterator<Item = Result<(Vec<u8>, Vec<u8>), Error>>,
        documents: impl Iterator<Item = Result<(Digest, Bytes), Error>>,
    ) -> Result<Seal, Error> {
        let file = File::create(temporary).map_err(Error::machine("create", temporary))?;
        let mut writer = Writer::begin(temporary, BufWriter::new(file), &self.cluster_id, meta)?;
        for row in rows {
            let (key, value) = row?;
            writer.row(&key, &value)?;
        }
        for document in documents {
            let (digest, stored) = document?;
            writer.document(&digest, &stored)?;
        }
        let (mut file, seal) = writer.finish()?;
        file.flush().map_err(Error::machine("write", temporary))?;
        file.get_ref().sync_all().map_err(Error::machine("sync", temporary))?;
        Ok(seal)
    }

    /// The newest file that verifies. Damaged ones are set aside on the way, of which the last is kept.
    ///
    /// # Errors
    /// Also [`Error::UnknownVersion`] and [`Error::Foreign`]: going on with an older file behind a newer one that
    /// somebody else wrote would be going back.
    pub(crate) fn newest(&self) -> Result<Option<Durable>, Error> {
        for (_, path) in self.newest_first()? {
            match verify(&path, &self.cluster_id) {
                Ok(durable) => return Ok(Some(durable)),
                Err(damaged @ Error::Damaged { .. }) => {
                    tracing::error!(%damaged, "setting a snapshot aside");
                    self.set_aside(&path)?;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    /// Removes all but the newest two. A reader that has one of the others open can finish.
    pub(crate) fn retain_newest(&self) -> Result<(), Error> {
        for (_, path) in self.newest_first()?.into_iter().skip(KEPT) {
            files::remove_file(&path)?;
        }
        files::sync_dir(&self.dir)
    }

    /// Continues or begins taking the file `name` of `size_bytes` from a peer.
    pub(crate) fn incoming(&self, name: &str, size_bytes: u64) -> Result<Incoming, Error> {
        Incoming::open(&self.dir, &self.cluster_id, name, size_bytes)
    }

    fn newest_first(&self) -> Result<Vec<(Name, PathBuf)>, Error> {
        let mut found: Vec<(Name, PathBuf)> = files::names(&self.dir)?
            .iter()
            .filter_map(|name| Some((Name::parse(name)?, self.dir.join(name))))
            .collect();
        found.sort_by(|one, two| two.cmp(one));
        Ok(found)
    }

    fn set_aside(&self, path: &Path) -> Result<(), Error> {
        for name in files::names(&self.dir)? {
            if name.ends_with(DAMAGED) {
                files::remove_file(&self.dir.join(name))?;
            }
        }
        let mut aside = path.as_os_str().to_owned();
        aside.push(DAMAGED);
        fs::rename(path, &aside).map_err(Error::machine("rename", path))?;
        files::sync_dir(&self.dir)
    }
}

impl Durable {
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Equal names mean equal bytes.
    pub(crate) fn name(&self) -> String {
        self.name.to_string()
    }

    pub(crate) fn meta(&self) -> &Meta {
        &self.meta
    }

    /// Up to here the log may be purged.
    pub(crate) fn position(&self) -> Position {
        self.meta.position
    }

    /// Length of the file.
    pub(crate) fn size_bytes(&self) -> u64 {
        self.bytes
    }

    /// Reads the records in order. The file is hashed again on the way: the last call fails if it has changed since
    /// it was verified, so nothing read may count before the reader has returned `None`.
    pub(crate) fn read(&self) -> Result<Reader, Error> {
        Reader::open(&self.path)
    }
}

/// Reads the whole file, footer included, and compares it with its name and cluster.
pub(crate) fn verify(path: &Path, cluster_id: &str) -> Result<Durable, Error> {
    let mut reader = Reader::open(path)?;
    if reader.cluster_id() != cluster_id {
        let why = format!("is a snapshot of cluster {:?}, not {cluster_id:?}", reader.cluster_id());
        // Only an intact file can say whose it is.
        return reader.drain().and(Err(Error::Foreign { path: path.to_owned(), why }));
    }
    let seal = reader.drain()?;
    let meta = reader.meta().clone();
    let name = Name::of(meta.position, &seal);
    let named = path.file_name().and_then(|found| found.to_str());
    // One that is still coming in has its final name inside another.
    if !named.is_some_and(|found| found.contains(&name.to_string())) {
        return Err(Error::damaged(path, format!("its content belongs under the name {name}")));
    }
    Ok(Durable { path: path.to_owned(), name, meta, bytes: seal.length })
}

/// Renames a synced file to its final name, durably.
fn place(from: &Path, to: &Path) -> Result<(), Error> {
    fs::rename(from, to).map_err(Error::machine("rename", from))?;
    files::sync_parent(to)
}

impl Name {
    fn of(position: Position, seal: &Seal) -> Name {
        let checksum = *seal.checksum.first_chunk().expect("a SHA-256 has more than 8 bytes");
        Name { index: position.index, term: position.term, checksum }
    }

    /// Takes exactly what `to_string` gives: names come from peers, and become paths.
    fn parse(text: &str) -> Option<Name> {
        let mut parts = text.strip_suffix(SUFFIX)?.splitn(3, '-');
        let (index, term) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
        let mut checksum = [0; 8];
        hex::decode_to_slice(parts.next()?, &mut checksum).ok()?;
        let name = Name { index, term, checksum };
        (name.to_string() == text).then_some(name)
    }
}

impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}-{}{SUFFIX}", self.index, self.term, hex::encode(self.checksum))
    }
}

#[cfg(test)]
#[path = "snapshot_test.rs"]
pub(super) mod tests;
