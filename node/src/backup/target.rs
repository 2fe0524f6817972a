//! Where a backup is: a local file or an object, behind one interface.
//!
//! Both appear whole or not at all under their name: a local file is written beside its place, synced and renamed; an
//! object is there once its upload is completed.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt as _, TryStreamExt as _};
use object_store::aws::{AmazonS3Builder, Checksum};
use object_store::buffered::BufWriter;
use object_store::local::LocalFileSystem;
use object_store::path::PathPart;
use object_store::{ObjectStore, ObjectStoreExt as _};
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// Read and sent at once, and the size of an upload's parts: stores take no smaller ones than 5 MB.
const PIECE_BYTES: usize = 8 << 20;

/// A place for one backup, or for several ([`Target::child`]).
#[derive(Clone, Debug)]
pub struct Target {
    store: Arc<dyn ObjectStore>,
    path: object_store::path::Path,
    local: Option<PathBuf>,
    shown: String,
}

/// Why a place cannot be used. The text names it and the way out.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    /// It is no place.
    #[error("{0:?} is no place for a backup: write a path, file:///path, or s3://bucket/key")]
    Unknown(String),
    /// The store cannot keep a file under exactly this name.
    #[error(
        "no backup can be kept under the name {0:?}: choose one of letters, digits, dots, dashes and underscores"
    )]
    Name(String),
    /// The directory is not there.
    #[error("cannot use directory {}: make it first", .path.display())]
    Directory {
        /// Which one.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// Its credentials, its address, its rights, the network.
    #[error("cannot {doing} {place}")]
    Store {
        /// What was tried.
        doing: &'static str,
        /// With what.
        place: String,
        /// What the store says.
        source: object_store::Error,
    },
    /// A local file on its way to or from the store.
    #[error("cannot {doing} {}", .path.display())]
    File {
        /// What was tried.
        doing: &'static str,
        /// With which file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
}

impl Target {
    /// A file: a path, `file:///path`, or `s3://bucket/key`. Credentials and the like come from the environment, as for
    /// other tools: `AWS_ACCESS_KEY_ID`, `AWS_REGION`, `AWS_ENDPOINT`, `AWS_ALLOW_HTTP`, ….
    pub fn file(text: &str) -> Result<Self, TargetError> {
        match scheme(text) {
            None => {
                let path = Path::new(text.strip_prefix("file://").unwrap_or(text));
                let name = path.file_name().and_then(|name| name.to_str());
                let name = name.ok_or_else(|| TargetError::Unknown(text.to_owned()))?;
                let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
                Self::directory(parent.unwrap_or(Path::new(".")), text)?.child(name)
            }
            Some(_) => Self::bucket(text),
        }
    }

    /// A place for many: a directory that exists, or a prefix of names in a bucket.
    pub fn place(text: &str) -> Result<Self, TargetError> {
        match scheme(text) {
            None => Self::directory(Path::new(text.strip_prefix("file://").unwrap_or(text)), text),
            Some(_) => Self::bucket(text),
        }
    }

    fn directory(path: &Path, shown: &str) -> Result<Self, TargetError> {
        let path = path.canonicalize();
        let path = path.map_err(|source| TargetError::Directory { path: PathBuf::from(shown), source })?;
        let store = LocalFileSystem::new_with_prefix(&path).map_err(failed("use", shown))?;
        Ok(Self {
            store: Arc::new(store.with_fsync(true)),
            path: object_store::path::Path::default(),
            shown: path.display().to_string(),
            local: Some(path),
        })
    }

    fn bucket(text: &str) -> Result<Self, TargetError> {
        let key = match (scheme(text), text.split_once("://").and_then(|(_, rest)| rest.split_once('/'))) {
            (Some("s3"), key) => key.map_or("", |(_, key)| key),
            _ => return Err(TargetError::Unknown(text.to_owned())),
        };
        let path = object_store::path::Path::parse(key.trim_end_matches('/'))
            .map_err(|_| TargetError::Unknown(text.to_owned()))?;
        // The store then refuses a part that was changed on its way.
        let builder = AmazonS3Builder::from_env().with_url(text).with_checksum_algorithm(Checksum::SHA256);
        let store = builder.build().map_err(failed("use", text))?;
        Ok(Self { store: Arc::new(store), path, local: None, shown: text.trim_end_matches('/').to_owned() })
    }

    /// A file of exactly this name here, or [`TargetError::Name`].
    pub fn child(&self, name: &str) -> Result<Self, TargetError> {
        let refused = || TargetError::Name(name.to_owned());
        // Parsed, for a name that is merely converted has `#`, `~` and others percent-encoded.
        let part = PathPart::parse(name).map_err(|_| refused())?;
        if self.local.is_some() && !is_kept_as_written(&part) {
            return Err(refused());
        }
        Ok(Self {
            store: self.store.clone(),
            path: self.path.clone().join(part),
            local: self.local.as_ref().map(|local| local.join(name)),
            shown: format!("{}/{name}", self.shown),
        })
    }

    /// Where it is, if it is a local file.
    pub fn local(&self) -> Option<PathBuf> {
        self.local.clone()
    }

    pub(super) async fn exists(&self) -> Result<bool, TargetError> {
        match self.store.head(&self.path).await {
            Ok(_) => Ok(true),
            Err(object_store::Error::NotFound { .. }) => Ok(false),
            Err(error) => Err(failed("look at", &self.shown)(error)),
        }
    }

    /// Writes it, whole or not at all, and answers the SHA-256 of what was sent.
    pub(super) async fn put(&self, from: &Path) -> Result<[u8; 32], TargetError> {
        let local = |doing, source| TargetError::File { doing, path: from.to_owned(), source };
        let mut file = tokio::fs::File::open(from).await.map_err(|error| local("open", error))?;
        let mut writer = BufWriter::with_capacity(self.store.clone(), self.path.clone(), PIECE_BYTES);
        let mut hash = Sha256::new();
        loop {
            let mut piece = Vec::with_capacity(PIECE_BYTES);
            let read = (&mut file).take(PIECE_BYTES as u64).read_to_end(&mut piece).await;
            if read.map_err(|error| local("read", error))? == 0 {
                break;
            }
            hash.update(&piece);
            if let Err(error) = writer.put(Bytes::from(piece)).await {
                // Parts of it may stay in the store until its own rules remove them, if this fails too.
                let _ = writer.abort().await;
                return Err(failed("write", &self.shown)(error));
            }
        }
        let done = writer.shutdown().await;
        // The writer hides the store's error in one of I/O.
        let unwrapped =
            |error: std::io::Error| object_store::Error::Generic { store: "upload", source: error.into() };
        done.map_err(|error| failed("write", &self.shown)(unwrapped(error)))?;
        Ok(hash.finalize().into())
    }

    /// The SHA-256 of what the store gives back.
    pub(super) async fn digest(&self) -> Result<[u8; 32], TargetError> {
        let mut hash = Sha256::new();
        let mut pieces = self.read().await?;
        while let Some(piece) = pieces.try_next().await? {
            hash.update(&piece);
        }
        Ok(hash.finalize().into())
    }

    pub(super) async fn fetch(&self, to: &Path) -> Result<(), TargetError> {
        let local = |source| TargetError::File { doing: "write", path: to.to_owned(), source };
        let mut pieces = self.read().await?;
        let mut file = tokio::fs::File::create(to).await.map_err(local)?;
        while let Some(piece) = pieces.try_next().await? {
            file.write_all(&piece).await.map_err(local)?;
        }
        file.flush().await.map_err(local)
    }

    async fn read(&self) -> Result<BoxStream<'static, Result<Bytes, TargetError>>, TargetError> {
        let place = self.shown.clone();
        let found = self.store.get(&self.path).await.map_err(failed("read", &place))?;
        Ok(found.into_stream().map_err(move |error| failed("read", &place)(error)).boxed())
    }

    /// The names of the files here.
    pub(super) async fn names(&self) -> Result<Vec<String>, TargetError> {
        let found: Vec<_> =
            self.store.list(Some(&self.path)).try_collect().await.map_err(failed("list", &self.shown))?;
        let directly_here = |location: object_store::path::Path| {
            let mut parts = location.prefix_match(&self.path)?;
            let name = parts.next()?;
            parts.next().is_none().then(|| name.as_ref().to_owned())
        };
        Ok(found.into_iter().filter_map(|meta| directly_here(meta.location)).collect())
    }

    pub(super) async fn remove(&self) -> Result<(), TargetError> {
        self.store.delete(&self.path).await.map_err(failed("remove", &self.shown))
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

fn scheme(text: &str) -> Option<&str> {
    text.split_once("://").map(|(scheme, _)| scheme).filter(|scheme| *scheme != "file")
}

/// The local store keeps some names for itself and reads others as a drive: `backup#1`, `C|`. Asking it is surer than
/// knowing them.
fn is_kept_as_written(name: &PathPart<'_>) -> bool {
    let path = object_store::path::Path::ROOT.join(name.clone());
    let kept = LocalFileSystem::new().path_to_filesystem(&path);
    kept.is_ok_and(|kept| kept.file_name() == Some(name.as_ref().as_ref()))
}

fn failed(doing: &'static str, place: &str) -> impl FnOnce(object_store::Error) -> TargetError {
    move |source| TargetError::Store { doing, place: place.to_owned(), source }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test]
    async fn a_local_file_is_where_it_is_said_to_be() {
        let dir = tempfile::tempdir().unwrap();
        let from = dir.path().join("from");
        std::fs::write(&from, "backup").unwrap();
        // The directory's own name must not be changed either.
        let odd = dir.path().join("50% #1 [eu]");
        std::fs::create_dir(&odd).unwrap();
        let names = [
            "plain", "a#b", "~", "50%", "%41", "[1]", "{a}", "a^b", "a|b", "*", "\"a\"", "a?b=1", "a b",
            "`<>`", "a\\b", "ä", "a+b&c:d",
        ];
        for name in names {
            let target = Target::file(odd.join(name).to_str().unwrap());
            let Ok(target) = target else { panic!("{name:?}: {}", target.unwrap_err()) };
            assert!(!target.exists().await.unwrap(), "{name:?}");
            target.put(&from).await.unwrap();
            assert_eq!(std::fs::read(odd.join(name)).unwrap(), b"backup", "{name:?}");
            assert_eq!(
                target.local().unwrap().canonicalize().unwrap(),
                odd.join(name).canonicalize().unwrap()
            );
            assert_eq!(target.to_string(), target.local().unwrap().to_str().unwrap());
            assert_eq!(Target::place(odd.to_str().unwrap()).unwrap().names().await.unwrap(), [name]);
            target.remove().await.unwrap();
        }
    }

    #[test]
    fn a_name_the_store_cannot_keep_is_refused_before_anything_is_written() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["backup#1", "#22", "C|", "a\nb", "a\u{7f}"] {
            let refused = Target::file(dir.path().join(name).to_str().unwrap());
            assert!(
                matches!(&refused, Err(TargetError::Name(named)) if named == name),
                "{name:?}: {refused:?}"
            );
        }
    }
}
