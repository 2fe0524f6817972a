//! Renderings of served releases: made once per release, shared by all who read it, over gRPC and HTTP.
//!
//! A rendering is found by the digest of its document, and for protocols that show the release's time by that too,
//! so an entry is never wrong and never has to be invalidated. However many ask at once, one of them renders. The
//! cache is bounded by bytes; what falls out is made again.

use std::sync::Arc;

use bytes::Bytes;
use meridian_model::document::OpenError;
use meridian_model::{Digest, Document, Format};
use meridian_replication::catalog::Served;
use quick_cache::Weighter;
use quick_cache::sync::Cache;

use super::statsig;

/// How many bytes of renderings are kept unless told otherwise: the plain and the Statsig form of 30 projects of the
/// largest size, or of 300 of the usual one.
pub const DEFAULT_CAPACITY_BYTES: u64 = 256 << 20;

/// Documents up to this size are opened where they are asked for: that takes less than handing them to another
/// thread and back. Larger ones would hold up everybody else on this one.
const INLINE_BYTES: u64 = 16 << 10;

/// Shards let readers of different projects pass each other, but an entry larger than its shard is not kept at all:
/// with four of them a shard of the default size holds a dozen of the largest documents.
const SHARDS: usize = 4;

/// A served document that cannot be shown. The bytes were good when they were published: this node's copy is
/// damaged, or the rules have changed since.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The stored bytes are damaged.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The document has no such rendering.
    #[error("document {digest} cannot be rendered for statsig sdks")]
    Statsig {
        /// Which one.
        digest: Digest,
        /// Why.
        #[source]
        source: statsig::Error,
    },
    /// The thread that worked on it panicked, or the process is stopping.
    #[error("rendering was interrupted")]
    Interrupted,
}

/// The shared renderings of one node. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Renderings(Arc<Cache<Key, Bytes, ByBytes>>);

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Key {
    Plain(Digest),
    Statsig(Digest, u64),
}

#[derive(Clone, Debug)]
struct ByBytes;

impl Weighter<Key, Bytes> for ByBytes {
    fn weight(&self, _: &Key, rendering: &Bytes) -> u64 {
        /// Key and bookkeeping: small documents must not be free.
        const ENTRY_BYTES: u64 = 128;
        ENTRY_BYTES + rendering.len() as u64
    }
}

impl Renderings {
    /// An empty cache of at most this many bytes.
    pub fn new(capacity_bytes: u64) -> Self {
        /// Only sizes the first allocation.
        const EXPECTED_ITEMS: usize = 256;
        let options = quick_cache::OptionsBuilder::new()
            .shards(SHARDS)
            .estimated_items_capacity(EXPECTED_ITEMS)
            .weight_capacity(capacity_bytes)
            .build()
            .expect("capacity, expected items and shards are all given");
        Self(Arc::new(Cache::with_options(options, ByBytes, Default::default(), Default::default())))
    }

    /// How much it holds, bookkeeping included.
    pub fn bytes(&self) -> u64 {
        self.0.weight()
    }

    /// The document as published.
    pub async fn plain(&self, served: &Served) -> Result<Bytes, Error> {
        let key = Key::Plain(served.release.digest);
        self.0.get_or_insert_async(&key, open(served.document.clone())).await
    }

    /// The project as Statsig's SDKs read it: JSON text. `None` for a release in another format.
    pub async fn statsig(&self, served: &Served) -> Result<Option<Bytes>, Error> {
        if served.release.format != Format::Statsig {
            return Ok(None);
        }
        let (digest, time_ms) = (served.release.digest, served.release.time_ms);
        let render = async {
            // Not by way of `plain`: who reads this form seldom reads the other, and then it would be kept for nobody.
            let document = served.document.clone();
            away(document.size_bytes, move || {
                let text = statsig::render(&document.open()?, time_ms)
                    .map_err(|source| Error::Statsig { digest, source })?;
                Ok(Bytes::from(text))
            })
            .await
        };
        self.0.get_or_insert_async(&Key::Statsig(digest, time_ms), render).await.map(Some)
    }
}

/// Opens a document without keeping it.
pub async fn open(document: Document) -> Result<Bytes, Error> {
    away(document.size_bytes, move || Ok(document.open()?)).await
}

/// Does work that grows with `size_bytes` where it holds nobody up.
async fn away<T: Send + 'static>(
    size_bytes: u64,
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    if size_bytes <= INLINE_BYTES {
        return work();
    }
    tokio::task::spawn_blocking(work).await.unwrap_or(Err(Error::Interrupted))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use meridian_model::Release;

    use super::*;

    const PROJECT: &str = r#"{"feature_gates":{},"dynamic_configs":{},"layer_configs":{},"condition_map":{},"experiment_to_layer":{}}"#;

    fn served(format: Format, document: &str, time_ms: u64) -> Served {
        let document = Document::seal(format, Bytes::copy_from_slice(document.as_bytes()));
        let release = Release {
            version: 1,
            digest: document.digest,
            format,
            size_bytes: document.size_bytes,
            author: String::new(),
            message: String::new(),
            time_ms,
            rollback_of: None,
        };
        Served { release: Arc::new(release), document }
    }

    #[tokio::test]
    async fn each_rendering_is_made_once_and_shared() {
        let renderings = Renderings::new(DEFAULT_CAPACITY_BYTES);
        let large = format!("{PROJECT}{}", " ".repeat(100_000));
        for document in [PROJECT, &large] {
            let release = served(Format::Statsig, document, 5);
            let (one, other) = futures::join!(renderings.plain(&release), renderings.plain(&release));
            let (one, other) = (one.unwrap(), other.unwrap());
            assert_eq!(one, document);
            assert_eq!(one.as_ptr(), other.as_ptr());
            let text = renderings.statsig(&release).await.unwrap().unwrap();
            assert_eq!(text, statsig::render(document.as_bytes(), 5).unwrap());
            assert_eq!(text.as_ptr(), renderings.statsig(&release).await.unwrap().unwrap().as_ptr());
        }
    }

    #[tokio::test]
    async fn the_same_document_at_another_time_is_another_rendering() {
        let renderings = Renderings::new(DEFAULT_CAPACITY_BYTES);
        let first = renderings.statsig(&served(Format::Statsig, PROJECT, 5)).await.unwrap().unwrap();
        let again = renderings.statsig(&served(Format::Statsig, PROJECT, 6)).await.unwrap().unwrap();
        assert_ne!(first, again);
    }

    #[tokio::test]
    async fn only_statsig_releases_have_a_statsig_rendering() {
        let renderings = Renderings::new(DEFAULT_CAPACITY_BYTES);
        for format in [Format::Json, Format::Flagd] {
            assert_eq!(renderings.statsig(&served(format, PROJECT, 5)).await.unwrap(), None);
        }
        let malformed = renderings.statsig(&served(Format::Statsig, "[]", 5)).await;
        assert!(matches!(malformed, Err(Error::Statsig { .. })));
    }

    #[tokio::test]
    async fn the_cache_stays_within_its_bytes() {
        const CAPACITY_BYTES: u64 = 100_000;
        let renderings = Renderings::new(CAPACITY_BYTES);
        for n in 0..100 {
            let document = format!("\"{n}{}\"", "x".repeat(5_000));
            assert_eq!(renderings.plain(&served(Format::Json, &document, 5)).await.unwrap(), document);
        }
        assert!(renderings.0.weight() <= CAPACITY_BYTES);
        assert!(!renderings.0.is_empty());
    }
}
