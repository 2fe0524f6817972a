//! The bytes of a config, sealed for the log, the disk and the way between regions.
//!
//! A document is compressed once, at admission, and opened by whoever renders it. Digest, size and limits always
//! speak of the plain bytes.

use std::cell::RefCell;

use bytes::Bytes;
use zstd::bulk::Compressor;

use crate::ids::Digest;
use crate::limits::DOCUMENT_BYTES;

/// How a document is understood, checked and rendered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Format {
    /// Any JSON value; its meaning is the application's.
    Json,
    /// A Statsig project, "download config specs" version 2.
    Statsig,
    /// A flagd flag set.
    Flagd,
}

impl Format {
    /// The name operators use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Statsig => "statsig",
            Self::Flagd => "flagd",
        }
    }
}

/// How [`Document::stored`] is encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// As published: compression did not make it smaller.
    Identity,
    /// One zstd frame.
    Zstd,
}

/// A sealed document. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// Its format.
    pub format: Format,
    /// SHA-256 of the plain bytes.
    pub digest: Digest,
    /// Length of the plain bytes.
    pub size_bytes: u64,
    /// How `stored` is encoded.
    pub encoding: Encoding,
    /// The encoded bytes.
    pub stored: Bytes,
}

/// The stored bytes do not give back what was sealed.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Longer than a document can be; nothing was allocated for it.
    #[error("document {digest} claims {size_bytes} bytes, over the limit of {DOCUMENT_BYTES}")]
    TooLarge {
        /// Which one.
        digest: Digest,
        /// What its header says.
        size_bytes: u64,
    },
    /// The frame is damaged.
    #[error("document {digest} does not decompress")]
    Damaged {
        /// Which one.
        digest: Digest,
        /// What zstd says.
        #[source]
        source: std::io::Error,
    },
    /// It decompresses to something else.
    #[error("document {digest} is damaged: its bytes have digest {found}")]
    WrongDigest {
        /// What it should be.
        digest: Digest,
        /// What it is.
        found: Digest,
    },
}

impl Document {
    /// Compression level: level 3 packs a 430 KB project to a tenth in a few milliseconds.
    const ZSTD_LEVEL: i32 = 3;

    /// Seals plain bytes. The caller has validated them.
    pub fn seal(format: Format, plain: Bytes) -> Self {
        let digest = Digest::of(&plain);
        let size_bytes = plain.len() as u64;
        match pack(&plain) {
            Ok(packed) if packed.len() < plain.len() => {
                Self { format, digest, size_bytes, encoding: Encoding::Zstd, stored: packed.into() }
            }
            // Incompressible, or zstd has no memory for its window: the plain bytes are always right.
            _ => Self { format, digest, size_bytes, encoding: Encoding::Identity, stored: plain },
        }
    }

    /// The plain bytes, proven by their digest. What comes out is bounded by [`DOCUMENT_BYTES`].
    pub fn open(&self) -> Result<Bytes, OpenError> {
        let digest = self.digest;
        if self.size_bytes > DOCUMENT_BYTES as u64 {
            return Err(OpenError::TooLarge { digest, size_bytes: self.size_bytes });
        }
        let plain = match self.encoding {
            Encoding::Identity => self.stored.clone(),
            Encoding::Zstd => zstd::bulk::decompress(&self.stored, self.size_bytes as usize)
                .map_err(|source| OpenError::Damaged { digest, source })?
                .into(),
        };
        match Digest::of(&plain) {
            found if found == digest => Ok(plain),
            found => Err(OpenError::WrongDigest { digest, found }),
        }
    }
}

/// One zstd frame. Its context costs more than a small document does, so each thread keeps one.
fn pack(plain: &[u8]) -> std::io::Result<Vec<u8>> {
    thread_local! {
        static PACKER: std::io::Result<RefCell<Compressor<'static>>> =
            Compressor::new(Document::ZSTD_LEVEL).map(RefCell::new);
    }
    PACKER.with(|packer| match packer {
        Ok(packer) => packer.borrow_mut().compress(plain),
        Err(error) => Err(error.kind().into()),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_is_sealed_is_opened() {
        for plain in [&b""[..], b"{}", &[b'a'; 100_000]] {
            let document = Document::seal(Format::Json, Bytes::copy_from_slice(plain));
            assert_eq!(document.open().unwrap(), plain);
            assert!(document.stored.len() <= plain.len());
        }
    }

    #[test]
    fn damage_and_bombs_are_errors() {
        let good = Document::seal(Format::Json, vec![b'a'; 100_000].into());
        let cut = Document { stored: good.stored.slice(..good.stored.len() - 1), ..good.clone() };
        assert!(matches!(cut.open(), Err(OpenError::Damaged { .. })));
        let other = Document { digest: Digest::of(b"other"), ..good.clone() };
        assert!(matches!(other.open(), Err(OpenError::WrongDigest { .. })));
        let lies_low = Document { size_bytes: 10, ..good.clone() };
        assert!(matches!(lies_low.open(), Err(OpenError::Damaged { .. })));
        let lies_high = Document { size_bytes: u64::MAX, ..good };
        assert!(matches!(lies_high.open(), Err(OpenError::TooLarge { .. })));
    }
}
