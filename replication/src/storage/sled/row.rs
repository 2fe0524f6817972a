//! The rows sled holds: every key kind, and the values that are ours.
//!
//! Values carry their own proof where the engine's is not enough. Numbers are never reused; a layout that cannot be
//! read is damage, since the catalog can always be built anew.

use bytes::Bytes;

use crate::storage::store::{Applied, Digest, MAX_ROW_BYTES, Position, checksum};

/// First byte of every key. Integers in keys and values are big-endian.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    /// One row, rewritten with each apply. Key: nothing more. Value: [`AppliedRow`].
    Applied = 1,
    /// The caller's rows, any number. Key: the caller's. Value: the caller's.
    Small = 2,
    /// One per document, written with its chunks and never changed but by overwriting all. Key: digest. Value:
    /// [`Head`], and behind it the stored bytes if they are no more than [`INLINE_BYTES`].
    Head = 3,
    /// The stored bytes of a longer document in order, each row but the last full. Key: digest, `u32` from 0.
    Chunk = 4,
    /// One per document that was dropped while held, until it is removed. Key: digest. Value: nothing.
    Dropped = 5,
    /// One row, rewritten at each open so that there is something to flush. Value: nothing that is read.
    Proof = 6,
}

/// What a chunk row carries; with its key it stays below [`MAX_ROW_BYTES`].
pub(super) const CHUNK_BYTES: usize = MAX_ROW_BYTES - 64;

/// Documents up to this live in their head row: half the rows to write, and still little to read when all heads are
/// read at open.
pub(super) const INLINE_BYTES: usize = 4 << 10;

/// The layout of [`AppliedRow`]'s value.
const LAYOUT: u8 = 1;

pub(super) fn key(kind: Kind, rest: &[u8]) -> Vec<u8> {
    let mut key = Vec::with_capacity(1 + rest.len());
    key.push(kind as u8);
    key.extend_from_slice(rest);
    key
}

pub(super) fn chunk_key(digest: &Digest, number: u32) -> Vec<u8> {
    let mut key = key(Kind::Chunk, digest);
    key.extend_from_slice(&number.to_be_bytes());
    key
}

/// A document's length and checksum, both of the stored bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) length: u32,
    pub(super) checksum: Digest,
}

impl Head {
    /// `stored` is no longer than [`MAX_DOCUMENT_BYTES`](crate::storage::store::MAX_DOCUMENT_BYTES).
    pub(super) fn of(stored: &[u8]) -> Head {
        let length = u32::try_from(stored.len()).expect("documents are bounded far below 4 GiB");
        Head { length, checksum: checksum(stored) }
    }

    fn is_inline(&self) -> bool {
        self.length as usize <= INLINE_BYTES
    }

    pub(super) fn chunks(&self) -> u32 {
        if self.is_inline() { 0 } else { self.length.div_ceil(CHUNK_BYTES as u32) }
    }

    fn encode(&self) -> Vec<u8> {
        [&self.length.to_be_bytes()[..], &self.checksum].concat()
    }

    /// The value under [`Kind::Head`] for these stored bytes.
    pub(super) fn row(&self, stored: &[u8]) -> Vec<u8> {
        let inline = if self.is_inline() { stored } else { &[] };
        [&self.encode()[..], inline].concat()
    }

    /// Reads [`Head::row`]: the head, and the stored bytes that follow it.
    pub(super) fn decode(value: &[u8]) -> Option<(Head, &[u8])> {
        let (length, rest) = value.split_first_chunk()?;
        let (checksum, inline) = rest.split_first_chunk()?;
        let head = Head { length: u32::from_be_bytes(*length), checksum: *checksum };
        let expected = if head.is_inline() { head.length as usize } else { 0 };
        (inline.len() == expected).then_some((head, inline))
    }
}

/// A fingerprint of all live documents, cheap to keep up to date: a head lost or brought back by the engine changes
/// it. Guards against accident, not against malice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct DocumentSet {
    pub(super) count: u64,
    pub(super) bytes: u64,
    /// Exclusive or over the hashes of all heads with their digests.
    mix: Digest,
}

impl DocumentSet {
    pub(super) fn insert(&mut self, digest: &Digest, head: &Head) {
        self.count += 1;
        self.bytes += u64::from(head.length);
        self.toggle(digest, head);
    }

    pub(super) fn remove(&mut self, digest: &Digest, head: &Head) {
        self.count = self.count.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(u64::from(head.length));
        self.toggle(digest, head);
    }

    fn toggle(&mut self, digest: &Digest, head: &Head) {
        let hash = checksum(&[&digest[..], &head.encode()].concat());
        self.mix.iter_mut().zip(hash).for_each(|(mixed, byte)| *mixed ^= byte);
    }
}

/// The value under [`Kind::Applied`]: what the caller wants stored with its rows, and the fingerprint of the
/// documents beside them. Ends in a checksum of its own, as everything is judged by it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct AppliedRow {
    pub(super) applied: Applied,
    pub(super) documents: DocumentSet,
}

impl AppliedRow {
    pub(super) fn encode(&self) -> Vec<u8> {
        let AppliedRow { applied, documents } = self;
        let mut value = vec![LAYOUT];
        for number in [applied.position.term, applied.position.leader, applied.position.index, applied.rows] {
            value.extend_from_slice(&number.to_be_bytes());
        }
        value.extend_from_slice(&applied.digest);
        value.extend_from_slice(&documents.count.to_be_bytes());
        value.extend_from_slice(&documents.bytes.to_be_bytes());
        value.extend_from_slice(&documents.mix);
        value.extend_from_slice(&applied.membership);
        let proof = checksum(&value);
        value.extend_from_slice(&proof);
        value
    }

    pub(super) fn decode(value: &[u8]) -> Option<AppliedRow> {
        let (body, proof) = value.split_last_chunk::<32>()?;
        if checksum(body) != *proof {
            return None;
        }
        let (&LAYOUT, mut rest) = body.split_first()? else { return None };
        let rest = &mut rest;
        let [term, leader, index, rows] = [number(rest)?, number(rest)?, number(rest)?, number(rest)?];
        let digest = take(rest)?;
        let documents = DocumentSet { count: number(rest)?, bytes: number(rest)?, mix: take(rest)? };
        let applied = Applied {
            position: Position { term, leader, index },
            membership: Bytes::copy_from_slice(rest),
            digest,
            rows,
        };
        Some(AppliedRow { applied, documents })
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, left) = rest.split_first_chunk()?;
    *rest = left;
    Some(*taken)
}

fn number(rest: &mut &[u8]) -> Option<u64> {
    take(rest).map(u64::from_be_bytes)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn an_applied_row_with_any_byte_changed_is_not_read() {
        let mut documents = DocumentSet::default();
        documents.insert(&[7; 32], &Head::of(b"seven"));
        let row = AppliedRow {
            applied: Applied {
                position: Position { term: 3, leader: 2, index: 41 },
                membership: Bytes::from_static(b"members"),
                digest: [9; 32],
                rows: 5,
            },
            documents,
        };
        let value = row.encode();
        assert_eq!(AppliedRow::decode(&value), Some(row));
        for at in 0..value.len() {
            let mut changed = value.clone();
            changed[at] ^= 0x10;
            assert_eq!(AppliedRow::decode(&changed), None, "byte {at}");
            assert_eq!(AppliedRow::decode(&value[..at]), None, "cut at {at}");
        }
    }

    #[test]
    fn the_document_set_forgets_what_was_removed() {
        let (one, two) = (Head::of(b"one"), Head::of(b"two!"));
        let mut both = DocumentSet::default();
        both.insert(&[1; 32], &one);
        let only_one = both;
        both.insert(&[2; 32], &two);
        assert_ne!(both, only_one);
        both.remove(&[2; 32], &two);
        assert_eq!(both, only_one);
        both.remove(&[1; 32], &one);
        assert_eq!(both, DocumentSet::default());
    }

    #[test]
    fn a_short_document_follows_its_head() {
        for stored in [&b""[..], b"short", &[7; INLINE_BYTES], &[7; INLINE_BYTES + 1]] {
            let head = Head::of(stored);
            let row = head.row(stored);
            let (read, inline) = Head::decode(&row).unwrap();
            assert_eq!((read, inline), (head, if stored.len() > INLINE_BYTES { &[][..] } else { stored }));
            assert_eq!(Head::decode(&row[..row.len() - 1]), None);
            assert_eq!(Head::decode(&[&row[..], b"x"].concat()), None);
        }
    }

    #[test]
    fn a_full_chunk_row_stays_within_the_limit() {
        assert!(chunk_key(&[0; 32], u32::MAX).len() + CHUNK_BYTES <= MAX_ROW_BYTES);
        let counts =
            [(0, 0), (INLINE_BYTES, 0), (INLINE_BYTES + 1, 1), (CHUNK_BYTES, 1), (CHUNK_BYTES + 1, 2)];
        for (bytes, chunks) in counts {
            assert_eq!(Head::of(&vec![0; bytes]).chunks(), chunks, "{bytes} bytes");
        }
    }
}
