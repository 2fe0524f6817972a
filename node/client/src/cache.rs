//! The last config known, in a file, for the day on which no node can be reached.
//!
//! A file is `meridian-config 1`, a line of JSON that says which release of which environment it is, the document, and
//! the SHA-256 of all that. It is replaced as a whole and is on the disk before [`Cache::save`] returns: after a crash
//! there is the old file or the new one. What is not exactly what was written is refused, and never handed out.
//!
//! One file belongs to one process; two that share one would overwrite each other's.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use meridian_proto::config::{Freshness, Release};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::Config;

/// Begins every file; the number rises with the format.
const MAGIC: &[u8] = b"meridian-config 1\n";

const CHECKSUM_BYTES: usize = 32;

/// A document is at most 4.2 MB and a header a few KB: what is larger was not written here.
const FILE_BYTES: u64 = 16 << 20;

/// Why a cached config is not used, or not kept.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file system said no.
    #[error("cannot {action} the config cache {}: {source}", path.display())]
    Io {
        /// `read` or `write`.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// Not what was written: bytes flipped, the end missing, or another kind of file.
    #[error("the config cache {} is damaged and not used ({what}); the next config that arrives replaces it", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: &'static str,
    },
    /// The file belongs to somebody else. It is not used, and not written either.
    #[error("the config cache {} holds {holds}, not {wanted}: give each environment a file of its own", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// Whose config it holds.
        holds: String,
        /// Whose was wanted.
        wanted: String,
    },
}

/// Where the config of one environment is kept.
#[derive(Clone, Debug)]
pub(crate) struct Cache {
    pub(crate) path: PathBuf,
    pub(crate) owner: Owner,
}

/// Whose config it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Owner {
    pub(crate) project: String,
    pub(crate) environment: String,
    /// Where both are empty, because the credential names them: the first 16 hex digits of its SHA-256.
    pub(crate) credential: String,
}

#[derive(Serialize, Deserialize)]
struct Header {
    #[serde(flatten)]
    owner: Owner,
    version: u64,
    digest: String,
    format: i32,
    size_bytes: u64,
    author: String,
    message: String,
    time_ms: u64,
    rollback_of: u64,
    revision: u64,
    fresh_as_of_ms: u64,
    region: String,
    node: u64,
}

impl Cache {
    /// The config kept, if there is one. Blocks.
    pub(crate) fn load(&self) -> Result<Option<Config>, Error> {
        let io = |source| Error::Io { action: "read", path: self.path.clone(), source };
        let file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(io(error)),
        };
        let mut bytes = Vec::new();
        file.take(FILE_BYTES + 1).read_to_end(&mut bytes).map_err(io)?;
        let (header, document) =
            decode(&bytes).map_err(|what| Error::Damaged { path: self.path.clone(), what })?;
        if header.owner != self.owner {
            let (holds, wanted) = (header.owner.to_string(), self.owner.to_string());
            return Err(Error::Foreign { path: self.path.clone(), holds, wanted });
        }
        Ok(Some(header.config(Bytes::copy_from_slice(document))))
    }

    /// Replaces what is kept. Blocks until it is on the disk.
    pub(crate) fn save(&self, config: &Config) -> Result<(), Error> {
        self.replace(&encode(&Header::of(self.owner.clone(), config), &config.document))
            .map_err(|source| Error::Io { action: "write", path: self.path.clone(), source })
    }

    fn replace(&self, bytes: &[u8]) -> io::Result<()> {
        let directory = match self.path.parent() {
            Some(parent) if parent != Path::new("") => parent,
            _ => Path::new("."),
        };
        fs::create_dir_all(directory)?;
        // Always the same name, so that crashes leave at most one behind.
        let mut temporary = self.path.clone().into_os_string();
        temporary.push(".new");
        let mut file = new_file(Path::new(&temporary))?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, &self.path)?;
        // The new name must survive a power loss too.
        File::open(directory)?.sync_all()
    }
}

/// Configs may hold what is nobody else's business.
fn new_file(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

fn encode(header: &Header, document: &[u8]) -> Vec<u8> {
    let header = serde_json::to_vec(header).expect("strings and numbers are always JSON");
    let mut bytes = [MAGIC, &header, b"\n", document].concat();
    let checksum = Sha256::digest(&bytes);
    bytes.extend_from_slice(&checksum);
    bytes
}

fn decode(bytes: &[u8]) -> Result<(Header, &[u8]), &'static str> {
    if bytes.len() as u64 > FILE_BYTES {
        return Err("it is too large");
    }
    let end = bytes.len().checked_sub(CHECKSUM_BYTES).ok_or("it is too short")?;
    let (body, checksum) = bytes.split_at(end);
    if Sha256::digest(body).as_slice() != checksum {
        return Err("its checksum does not match");
    }
    let body = body.strip_prefix(MAGIC).ok_or("it has another format")?;
    let at = body.iter().position(|byte| *byte == b'\n').ok_or("it has no header")?;
    let header: Header = serde_json::from_slice(&body[..at]).map_err(|_| "its header has another format")?;
    let document = &body[at + 1..];
    // Beyond the checksum: that it was written whole does not say that it was the right thing.
    if header.version == 0 || hex::encode(Sha256::digest(document)) != header.digest {
        return Err("its document is not the one that its digest names");
    }
    Ok((header, document))
}

impl Owner {
    /// Whose config a credential may read: the named environment's, or the one that the credential names.
    pub(crate) fn new(project: &str, environment: &str, credential: Option<&[u8]>) -> Self {
        let credential = match credential {
            Some(credential) if project.is_empty() && environment.is_empty() => {
                hex::encode(&Sha256::digest(credential)[..8])
            }
            _ => String::new(),
        };
        Self { project: project.to_owned(), environment: environment.to_owned(), credential }
    }
}

impl std::fmt::Display for Owner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.credential.is_empty() {
            write!(f, "{}/{}", self.project, self.environment)
        } else {
            write!(f, "the environment of key {}", self.credential)
        }
    }
}

impl Header {
    fn of(owner: Owner, config: &Config) -> Self {
        let Config { release, freshness, document: _ } = config.clone();
        Self {
            owner,
            version: release.version,
            digest: release.digest,
            format: release.format,
            size_bytes: release.size_bytes,
            author: release.author,
            message: release.message,
            time_ms: release.time_ms,
            rollback_of: release.rollback_of,
            revision: freshness.revision,
            fresh_as_of_ms: freshness.fresh_as_of_ms,
            region: freshness.region,
            node: freshness.node,
        }
    }

    fn config(self, document: Bytes) -> Config {
        Config {
            release: Release {
                version: self.version,
                digest: self.digest,
                format: self.format,
                size_bytes: self.size_bytes,
                author: self.author,
                message: self.message,
                time_ms: self.time_ms,
                rollback_of: self.rollback_of,
            },
            // How stale it is, no stopwatch can tell that was not running.
            freshness: Freshness {
                revision: self.revision,
                fresh_as_of_ms: self.fresh_as_of_ms,
                region: self.region,
                node: self.node,
                degraded: "read from the cache on disk".to_owned(),
                staleness_ms: None,
            },
            document,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    fn cache(directory: &tempfile::TempDir) -> Cache {
        Cache {
            path: directory.path().join("deep/shop.cache"),
            owner: Owner::new("shop", "live", Some(b"key")),
        }
    }

    fn config(version: u64, document: &[u8]) -> Config {
        Config {
            release: Release {
                version,
                digest: hex::encode(Sha256::digest(document)),
                format: 1,
                size_bytes: document.len() as u64,
                author: "ann".into(),
                message: "line\nbreak".into(),
                time_ms: 7,
                rollback_of: 3,
            },
            freshness: Freshness {
                revision: 9,
                fresh_as_of_ms: 8,
                region: "a".into(),
                ..Freshness::default()
            },
            document: Bytes::copy_from_slice(document),
        }
    }

    #[test]
    fn what_was_kept_comes_back() {
        let directory = tempfile::tempdir().unwrap();
        let cache = cache(&directory);
        assert!(cache.load().unwrap().is_none());
        for (version, document) in [(1, &b"{}"[..]), (2, b""), (3, b"\n\n\0\xff")] {
            let config = config(version, document);
            cache.save(&config).unwrap();
            let loaded = cache.load().unwrap().unwrap();
            assert_eq!((&loaded.release, &loaded.document), (&config.release, &config.document));
            assert_eq!(loaded.freshness.fresh_as_of_ms, 8);
            assert_eq!(loaded.freshness.staleness_ms, None);
        }
        let left: Vec<_> = fs::read_dir(directory.path().join("deep")).unwrap().collect();
        assert_eq!(left.len(), 1, "no temporary file is left: {left:?}");
    }

    #[test]
    fn each_flipped_byte_and_each_missing_end_is_noticed() {
        let directory = tempfile::tempdir().unwrap();
        let cache = cache(&directory);
        cache.save(&config(1, br#"{"a":1}"#)).unwrap();
        let good = fs::read(&cache.path).unwrap();
        let refused = |bytes: &[u8], what: &str| {
            fs::write(&cache.path, bytes).unwrap();
            let error = cache.load().unwrap_err();
            assert!(matches!(error, Error::Damaged { .. }), "{what}: {error}");
            assert!(error.to_string().contains("is damaged and not used"), "{error}");
        };
        for at in 0..good.len() {
            for mask in [0x01, 0x80, 0xff] {
                let mut bytes = good.clone();
                bytes[at] ^= mask;
                refused(&bytes, &format!("byte {at} ^ {mask}"));
            }
            refused(&good[..at], &format!("cut at {at}"));
        }
        refused(&[&good[..], b"x"].concat(), "one byte more");
        refused(&vec![0; FILE_BYTES as usize + 1], "a huge file");
        fs::write(&cache.path, good).unwrap();
        assert!(cache.load().unwrap().is_some());
    }

    #[test]
    fn the_config_of_another_environment_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let ours = cache(&directory);
        ours.save(&config(1, b"{}")).unwrap();
        for (owner, shown) in [
            (Owner::new("shop", "test", None), "not shop/test"),
            (Owner::new("other", "live", None), "not other/live"),
            (Owner::new("", "", Some(b"key")), "not the environment of key 2c70e12b7a0646f9"),
        ] {
            let error = Cache { owner, ..ours.clone() }.load().unwrap_err();
            assert!(matches!(error, Error::Foreign { .. }), "{error}");
            assert!(error.to_string().contains(shown), "{error}");
        }
        assert_ne!(Owner::new("", "", Some(b"key")), Owner::new("", "", Some(b"another")));
    }

    #[test]
    fn a_document_that_its_digest_does_not_name_is_refused() {
        let config = Config { document: "{ }".into(), ..config(1, b"{}") };
        let header = Header::of(Owner::new("shop", "live", None), &config);
        assert!(decode(&encode(&header, &config.document)).is_err());
    }

    #[test]
    fn a_file_that_cannot_be_written_or_read_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file/below");
        fs::write(directory.path().join("file"), "not a directory").unwrap();
        let cache = Cache { path, ..cache(&directory) };
        let error = cache.save(&config(1, b"{}")).unwrap_err().to_string();
        assert!(error.starts_with("cannot write the config cache") && error.contains("below"), "{error}");
        let cache = Cache { path: directory.path().into(), ..cache };
        let error = cache.load().unwrap_err().to_string();
        assert!(error.starts_with("cannot read the config cache"), "{error}");
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let checksum = Sha256::digest(&bytes);
            let _ = decode(&bytes);
            let _ = decode(&[&bytes[..], &checksum].concat());
            let framed = [MAGIC, &bytes].concat();
            let checksum = Sha256::digest(&framed);
            prop_assert!(decode(&[&framed[..], &checksum].concat()).is_err());
        }
    }
}
