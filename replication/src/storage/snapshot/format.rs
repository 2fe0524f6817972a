//! The bytes of a snapshot file, version 1. Integers are big-endian.
//!
//! ```text
//! "MERIDIAN"  version u32
//! header      cluster id (u16 length, bytes)  term u64  leader u64  index u64  digest 32 bytes
//!             rows u64  model version u32  membership (u32 length, bytes)
//! row*        1u8  key length u32  value length u32  key  value       keys strictly rising
//! document*   2u8  digest 32 bytes  length u32  bytes                 digests strictly rising
//! footer      0u8  rows u64  documents u64  file length u64  SHA-256 of all before it
//! ```
//!
//! The magic, the version and the closing SHA-256 stay in every version, so that an older program can tell a newer
//! file from a damaged one. Every length is held against its bound and against what is left of the file before
//! anything is allocated.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, Write};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use sha2::{Digest as _, Sha256};

use crate::storage::Error;
use crate::storage::store::{Digest, MAX_DOCUMENT_BYTES, MAX_MEMBERSHIP_BYTES, MAX_ROW_BYTES, Position};

const MAGIC: [u8; 8] = *b"MERIDIAN";
const VERSION: u32 = 1;

const END: u8 = 0;
const ROW: u8 = 1;
const DOCUMENT: u8 = 2;

/// Longest cluster id; the identity file is stricter.
const MAX_CLUSTER_ID_BYTES: usize = 256;

/// What a snapshot says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Meta {
    /// Of the last entry in the state.
    pub(crate) position: Position,
    /// Encoded membership in force there.
    pub(crate) membership: Bytes,
    /// State digest over the rows.
    pub(crate) digest: Digest,
    /// How many rows there are.
    pub(crate) rows: u64,
    /// Which reading of the rows wrote them.
    pub(crate) model_version: u32,
}

/// One record of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Record {
    Row { key: Vec<u8>, value: Vec<u8> },
    Document { digest: Digest, stored: Bytes },
}

/// What closes a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seal {
    /// The whole file's.
    pub(super) length: u64,
    pub(super) checksum: Digest,
}

/// Where the next record may stand: order is part of the format.
#[derive(Debug)]
enum Order {
    Rows { last: Option<Vec<u8>> },
    Documents { last: Digest },
}

impl Order {
    fn row(&mut self, key: &[u8]) -> Result<(), &'static str> {
        match self {
            Order::Rows { last } if last.as_deref().is_none_or(|last| last < key) => {
                *last = Some(key.to_vec());
                Ok(())
            }
            Order::Rows { .. } => Err("row keys do not rise"),
            Order::Documents { .. } => Err("a row follows a document"),
        }
    }

    fn document(&mut self, digest: &Digest) -> Result<(), &'static str> {
        match self {
            Order::Documents { last } if *last >= *digest => Err("document digests do not rise"),
            _ => {
                *self = Order::Documents { last: *digest };
                Ok(())
            }
        }
    }
}

/// Writes one file. Refuses what [`Reader`] would not read.
pub(super) struct Writer<W> {
    path: PathBuf,
    out: W,
    hash: Sha256,
    length: u64,
    order: Order,
    expected_rows: u64,
    rows: u64,
    documents: u64,
}

impl<W: Write> Writer<W> {
    pub(super) fn begin(path: &Path, out: W, cluster_id: &str, meta: &Meta) -> Result<Writer<W>, Error> {
        bounded("cluster id", cluster_id.len(), MAX_CLUSTER_ID_BYTES)?;
        bounded("membership", meta.membership.len(), MAX_MEMBERSHIP_BYTES)?;
        let mut writer = Writer {
            path: path.to_owned(),
            out,
            hash: Sha256::new(),
            length: 0,
            order: Order::Rows { last: None },
            expected_rows: meta.rows,
            rows: 0,
            documents: 0,
        };
        writer.put(&MAGIC)?;
        writer.put(&VERSION.to_be_bytes())?;
        writer.put(&(cluster_id.len() as u16).to_be_bytes())?;
        writer.put(cluster_id.as_bytes())?;
        for number in [meta.position.term, meta.position.leader, meta.position.index] {
            writer.put(&number.to_be_bytes())?;
        }
        writer.put(&meta.digest)?;
        writer.put(&meta.rows.to_be_bytes())?;
        writer.put(&meta.model_version.to_be_bytes())?;
        writer.put(&(meta.membership.len() as u32).to_be_bytes())?;
        writer.put(&meta.membership)?;
        Ok(writer)
    }

    pub(super) fn row(&mut self, key: &[u8], value: &[u8]) -> Result<(), Error> {
        bounded("row", key.len() + value.len(), MAX_ROW_BYTES)?;
        self.order.row(key).map_err(|why| Error::refused("snapshot row", why))?;
        self.rows += 1;
        self.put(&[ROW])?;
        self.put(&(key.len() as u32).to_be_bytes())?;
        self.put(&(value.len() as u32).to_be_bytes())?;
        self.put(key)?;
        self.put(value)
    }

    pub(super) fn document(&mut self, digest: &Digest, stored: &[u8]) -> Result<(), Error> {
        bounded("document", stored.len(), MAX_DOCUMENT_BYTES)?;
        self.order.document(digest).map_err(|why| Error::refused("snapshot document", why))?;
        self.documents += 1;
        self.put(&[DOCUMENT])?;
        self.put(digest)?;
        self.put(&(stored.len() as u32).to_be_bytes())?;
        self.put(stored)
    }

    /// The bytes are with `W`; making them durable is the caller's.
    pub(super) fn finish(mut self) -> Result<(W, Seal), Error> {
        if self.rows != self.expected_rows {
            let why = format!("{} rows were given, {} announced", self.rows, self.expected_rows);
            return Err(Error::refused("snapshot", why));
        }
        self.put(&[END])?;
        self.put(&self.rows.to_be_bytes())?;
        self.put(&self.documents.to_be_bytes())?;
        let length = self.length + 8 + 32;
        self.put(&length.to_be_bytes())?;
        let checksum: Digest = self.hash.clone().finalize().into();
        self.put(&checksum)?;
        Ok((self.out, Seal { length, checksum }))
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.hash.update(bytes);
        self.length += bytes.len() as u64;
        self.out.write_all(bytes).map_err(Error::machine("write", &self.path))
    }
}

fn bounded(what: &str, bytes: usize, limit: usize) -> Result<(), Error> {
    if bytes > limit {
        return Err(Error::refused(
            format!("snapshot {what} of {bytes} bytes"),
            format!("the limit is {limit}"),
        ));
    }
    Ok(())
}

/// Reads one file. What is wrong with it becomes [`Error::Damaged`], what is wrong with the disk [`Error::Machine`].
pub(crate) struct Reader {
    path: PathBuf,
    file: BufReader<File>,
    hash: Sha256,
    length: u64,
    left: u64,
    cluster_id: String,
    meta: Meta,
    order: Order,
    rows: u64,
    documents: u64,
    seal: Option<Seal>,
}

impl Reader {
    pub(crate) fn open(path: &Path) -> Result<Reader, Error> {
        let file = File::open(path).map_err(Error::machine("open", path))?;
        let length = file.metadata().map_err(Error::machine("measure", path))?.len();
        let mut reader = Reader {
            path: path.to_owned(),
            file: BufReader::with_capacity(256 << 10, file),
            hash: Sha256::new(),
            length,
            left: length,
            cluster_id: String::new(),
            meta: Meta {
                position: Position { term: 0, leader: 0, index: 0 },
                membership: Bytes::new(),
                digest: [0; 32],
                rows: 0,
                model_version: 0,
            },
            order: Order::Rows { last: None },
            rows: 0,
            documents: 0,
            seal: None,
        };
        reader.begin()?;
        Ok(reader)
    }

    fn begin(&mut self) -> Result<(), Error> {
        if self.array()? != MAGIC {
            return Err(self.damaged("it does not begin as a snapshot"));
        }
        let version = u32::from_be_bytes(self.array()?);
        if version != VERSION {
            return Err(self.unknown_version(version)?);
        }
        let length = u16::from_be_bytes(self.array()?);
        let cluster_id = self.bytes("cluster id", length.into(), MAX_CLUSTER_ID_BYTES)?;
        self.cluster_id =
            String::from_utf8(cluster_id).map_err(|_| self.damaged("the cluster id is not text"))?;
        self.meta.position = Position { term: self.number()?, leader: self.number()?, index: self.number()? };
        self.meta.digest = self.array()?;
        self.meta.rows = self.number()?;
        self.meta.model_version = u32::from_be_bytes(self.array()?);
        let length = u32::from_be_bytes(self.array()?);
        self.meta.membership = self.bytes("membership", length, MAX_MEMBERSHIP_BYTES)?.into();
        Ok(())
    }

    /// A version that does not match may be a flipped bit. Only a file that is whole was written that way.
    fn unknown_version(&mut self, found: u32) -> Result<Error, Error> {
        let rewind = self.file.rewind();
        rewind.map_err(Error::machine("read", &self.path))?;
        self.hash = Sha256::new();
        self.left = self.length;
        while self.left > 32 {
            let step = (self.left - 32).min(64 << 10) as usize;
            self.fill(&mut vec![0; step])?;
        }
        let expected: Digest = self.hash.clone().finalize().into();
        if self.array()? != expected {
            return Err(self.damaged("its version is unknown and its checksum does not match"));
        }
        Ok(Error::UnknownVersion { path: self.path.clone(), found, known: VERSION })
    }

    pub(crate) fn meta(&self) -> &Meta {
        &self.meta
    }

    pub(crate) fn cluster_id(&self) -> &str {
        &self.cluster_id
    }

    /// The next record; None after the last one, once counts, length and checksum of the file have matched.
    pub(crate) fn next(&mut self) -> Result<Option<Record>, Error> {
        if self.seal.is_some() {
            return Ok(None);
        }
        match self.array()? {
            [ROW] => {
                let key_length = u32::from_be_bytes(self.array()?);
                let value_length = u32::from_be_bytes(self.array()?);
                let key = self.bytes("key", key_length, MAX_ROW_BYTES)?;
                let value = self.bytes("value", value_length, MAX_ROW_BYTES - key.len())?;
                self.order.row(&key).map_err(|why| Error::damaged(&self.path, why))?;
                self.rows += 1;
                Ok(Some(Record::Row { key, value }))
            }
            [DOCUMENT] => {
                let digest = self.array()?;
                let length = u32::from_be_bytes(self.array()?);
                let stored = self.bytes("document", length, MAX_DOCUMENT_BYTES)?.into();
                self.order.document(&digest).map_err(|why| Error::damaged(&self.path, why))?;
                self.documents += 1;
                Ok(Some(Record::Document { digest, stored }))
            }
            [END] => {
                self.seal = Some(self.footer()?);
                Ok(None)
            }
            [other] => Err(self.damaged(format!("there is no record of kind {other}"))),
        }
    }

    fn footer(&mut self) -> Result<Seal, Error> {
        let counts = [self.number()?, self.number()?];
        if counts != [self.rows, self.documents] || self.rows != self.meta.rows {
            return Err(self.damaged("its counts do not match its records"));
        }
        let length = self.number()?;
        let expected: Digest = self.hash.clone().finalize().into();
        let checksum = self.array()?;
        if self.left != 0 || length != self.length {
            return Err(self.damaged(format!("it has {} bytes instead of {length}", self.length)));
        }
        if checksum != expected {
            return Err(self.damaged("it does not match its checksum"));
        }
        Ok(Seal { length, checksum })
    }

    /// Reads to the end for the sake of the proof.
    pub(super) fn drain(&mut self) -> Result<Seal, Error> {
        while self.next()?.is_some() {}
        self.seal.ok_or_else(|| self.damaged("it has no footer"))
    }

    fn number(&mut self) -> Result<u64, Error> {
        self.array().map(u64::from_be_bytes)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        let mut bytes = [0; N];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    fn bytes(&mut self, what: &str, length: u32, limit: usize) -> Result<Vec<u8>, Error> {
        if length as usize > limit {
            return Err(self.damaged(format!("a {what} claims {length} bytes, the limit is {limit}")));
        }
        if u64::from(length) > self.left {
            return Err(self.damaged(format!("it ends within a {what}")));
        }
        let mut bytes = vec![0; length as usize];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), Error> {
        self.file.read_exact(bytes).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => self.damaged("it ends too early"),
            _ => Error::machine("read", &self.path)(error),
        })?;
        self.left = self.left.saturating_sub(bytes.len() as u64);
        self.hash.update(bytes);
        Ok(())
    }

    fn damaged(&self, why: impl Into<String>) -> Error {
        Error::damaged(&self.path, why)
    }
}
