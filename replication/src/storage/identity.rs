//! Whose data directory this is.
//!
//! A node that starts on the wrong directory, on another cluster's, or on one that a second process uses, can break
//! promises it never made. So the directory says whose it is, is locked while in use, and is refused when anything
//! does not fit:
//!
//! ```text
//! <data_dir>/identity               cluster, node id, incarnation, whether Raft ran here
//! <data_dir>/complete               here once everything that was committed by then was applied
//! <data_dir>/lock                   flock(2) of the process using it
//! <data_dir>/group-1/log            the Raft log: what was acknowledged
//! <data_dir>/group-1/catalog        rebuildable
//! <data_dir>/group-1/snapshots      ground for purging the log
//! ```
//!
//! The group id is in every path, although there is one group.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::store::checksum;
use super::{Error, files};

/// The only Raft group.
const GROUP: u64 = 1;

const FORMAT_VERSION: u32 = 1;

/// Longest cluster id. It is in a file name's place in many logs and metadata headers.
const MAX_CLUSTER_ID_BYTES: usize = 64;

/// What may be in a directory that counts as empty: the leavings of an interrupted first start, and what `mkfs` puts
/// into the root of a file system.
const IGNORED: [&str; 3] = ["lock", "identity.tmp", "lost+found"];

/// Present while [`DataDir::fill`] is at work, or was when it broke off.
const UNFINISHED: &str = "unfinished";

/// Present once this node held all that was committed. See [`DataDir::mark_complete`].
const COMPLETE: &str = "complete";

/// A locked data directory which is known to be this node's. Unlocks when dropped.
#[derive(Debug)]
pub(crate) struct DataDir {
    path: PathBuf,
    identity: Identity,
    /// The lock lives as long as this open file.
    _lock: File,
}

/// Where a group's parts are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct GroupDirs {
    pub(crate) log: PathBuf,
    pub(crate) catalog: PathBuf,
    pub(crate) snapshots: PathBuf,
}

/// What the identity file says.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Identity {
    cluster_id: String,
    node_id: u64,
    /// Made with the directory. A node that lost its disk has another one: its votes are gone, so it is another voter.
    incarnation: [u8; 16],
    /// A vote or an entry was stored here.
    initialized: bool,
}

impl DataDir {
    /// Opens `path` for this node, creating it if it is missing or empty, and locks it.
    ///
    /// # Errors
    /// [`Error::Foreign`] when it is somebody else's, [`Error::Locked`] when somebody uses it,
    /// [`Error::LogLost`] when Raft ran here and its log is missing. None of them changes anything in the directory.
    pub(crate) fn open(path: &Path, cluster_id: &str, node_id: u64) -> Result<DataDir, Error> {
        check_cluster_id(cluster_id)?;
        if path.exists() && !path.is_dir() {
            return Err(foreign(path, "is not a directory"));
        }
        files::create_dir(path)?;
        // Before the lock file is made: a foreign directory is not even littered.
        refuse_foreign(path)?;
        let lock = lock(path)?;

        let file = path.join("identity");
        let identity = match fs::read(&file) {
            Ok(bytes) => Identity::decode(&file, &bytes)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let incarnation = uuid::Uuid::new_v4().into_bytes();
                let identity =
                    Identity { cluster_id: cluster_id.to_owned(), node_id, incarnation, initialized: false };
                files::replace(&file, identity.encode().as_bytes())?;
                identity
            }
            Err(error) => return Err(Error::machine("read", &file)(error)),
        };
        identity.refuse_other(path, cluster_id, node_id)?;
        Self::with(path, identity, lock)
    }

    /// Opens the directory of a node that was here before, whoever it is, and locks it. For work on a stopped node.
    ///
    /// # Errors
    /// As [`open`](DataDir::open), and [`Error::Foreign`] where no node ever was.
    pub(crate) fn open_existing(path: &Path) -> Result<DataDir, Error> {
        let file = path.join("identity");
        if !file.exists() {
            return Err(foreign(path, "holds no node's data"));
        }
        let lock = lock(path)?;
        let bytes = fs::read(&file).map_err(Error::machine("read", &file))?;
        let identity = Identity::decode(&file, &bytes)?;
        Self::with(path, identity, lock)
    }

    /// Makes the directory of a node that begins with data from elsewhere: `build` puts it into the group's empty
    /// directories, durably, for the incarnation it is told. Only after that does the directory say whose it is; what
    /// an interrupted call left is cleared away by the next one, and opened by nobody.
    ///
    /// # Errors
    /// [`Error::Foreign`] where anything else is; whatever `build` fails with.
    pub(crate) fn fill(
        path: &Path,
        cluster_id: &str,
        node_id: u64,
        build: impl FnOnce(&GroupDirs, [u8; 16]) -> Result<(), Error>,
    ) -> Result<(), Error> {
        check_cluster_id(cluster_id)?;
        if path.exists() && !path.is_dir() {
            return Err(foreign(path, "is not a directory"));
        }
        files::create_dir(path)?;
        let unfinished = path.join(UNFINISHED);
        if !unfinished.exists() {
            refuse_occupied(path)?;
        }
        let lock = lock(path)?;
        // Once more: whoever held the lock a moment ago may have finished.
        if path.join("identity").exists() {
            return Err(foreign(path, "holds a node's data"));
        }
        files::replace(
            &unfinished,
            b"a node's data is being put here; incomplete as long as this file is\n",
        )?;
        let incarnation = uuid::Uuid::new_v4().into_bytes();
        let identity =
            Identity { cluster_id: cluster_id.to_owned(), node_id, incarnation, initialized: true };
        let data_dir = DataDir { path: path.to_owned(), identity, _lock: lock };
        let dirs = data_dir.dirs();
        for dir in [&dirs.log, &dirs.catalog, &dirs.snapshots] {
            files::remove_dir(dir)?;
            files::create_dir(dir)?;
        }
        build(&dirs, incarnation)?;
        data_dir.mark_complete()?;
        files::replace(&path.join("identity"), data_dir.identity.encode().as_bytes())?;
        files::remove_file(&unfinished)?;
        files::sync_dir(path)
    }

    fn with(path: &Path, identity: Identity, lock: File) -> Result<DataDir, Error> {
        let data_dir = DataDir { path: path.to_owned(), identity, _lock: lock };
        let dirs = data_dir.dirs();
        if data_dir.identity.initialized && !has_log(&dirs.log)? {
            return Err(Error::LogLost { path: dirs.log });
        }
        for dir in [&dirs.log, &dirs.catalog, &dirs.snapshots] {
            files::create_dir(dir)?;
        }
        Ok(data_dir)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn cluster_id(&self) -> &str {
        &self.identity.cluster_id
    }

    pub(crate) fn node_id(&self) -> u64 {
        self.identity.node_id
    }

    pub(crate) fn incarnation(&self) -> [u8; 16] {
        self.identity.incarnation
    }

    /// From here on this is another one than the node that the others knew: they neither reach it nor are let in under
    /// what they know. Durable on return.
    pub(crate) fn renew_incarnation(&mut self) -> Result<[u8; 16], Error> {
        let incarnation = uuid::Uuid::new_v4().into_bytes();
        let renewed = Identity { incarnation, ..self.identity.clone() };
        files::replace(&self.path.join("identity"), renewed.encode().as_bytes())?;
        self.identity = renewed;
        Ok(incarnation)
    }

    /// Whether [`mark_initialized`](DataDir::mark_initialized) was ever called here.
    pub(crate) fn initialized(&self) -> bool {
        self.identity.initialized
    }

    /// To be called before this node first promises anything to another one: from then on the directory does not open
    /// without its log. Durable on return; later calls do nothing.
    pub(crate) fn mark_initialized(&mut self) -> Result<(), Error> {
        if self.identity.initialized {
            return Ok(());
        }
        let marked = Identity { initialized: true, ..self.identity.clone() };
        files::replace(&self.path.join("identity"), marked.encode().as_bytes())?;
        self.identity = marked;
        Ok(())
    }

    /// Whether [`mark_complete`](DataDir::mark_complete) was ever called here. A node that never was complete may hold
    /// any part of the whole, and must not tell anybody that a thing does not exist.
    pub(crate) fn was_complete(&self) -> bool {
        self.path.join(COMPLETE).exists()
    }

    /// Says that this node has held everything that was committed. Durable on return.
    pub(crate) fn mark_complete(&self) -> Result<(), Error> {
        files::replace(&self.path.join(COMPLETE), b"this node has held everything that was committed\n")
    }

    pub(crate) fn dirs(&self) -> GroupDirs {
        let group = self.path.join(format!("group-{GROUP}"));
        GroupDirs {
            log: group.join("log"),
            catalog: group.join("catalog"),
            snapshots: group.join("snapshots"),
        }
    }
}

impl Identity {
    fn encode(&self) -> String {
        let body = format!(
            "meridian data directory {FORMAT_VERSION}\ncluster = {}\nnode = {}\nincarnation = {}\ninitialized = {}\n",
            self.cluster_id,
            self.node_id,
            hex::encode(self.incarnation),
            self.initialized,
        );
        let proof = hex::encode(checksum(body.as_bytes()));
        format!("{body}checksum = {proof}\n")
    }

    /// Reads exactly what [`encode`](Identity::encode) writes. A changed byte must not give a node another identity.
    fn decode(path: &Path, bytes: &[u8]) -> Result<Identity, Error> {
        let malformed = |why: &str| Error::Identity { path: path.to_owned(), why: why.to_owned() };
        let text = str::from_utf8(bytes).map_err(|_| malformed("it is not text"))?;
        let (first, rest) = text.split_once('\n').ok_or_else(|| malformed("it is cut short"))?;
        let version = first.strip_prefix("meridian data directory ").and_then(|version| version.parse().ok());
        match version {
            Some(FORMAT_VERSION) => {}
            Some(found) => {
                return Err(Error::UnknownVersion { path: path.to_owned(), found, known: FORMAT_VERSION });
            }
            None => return Err(malformed("its first line is not ours")),
        }
        let mut lines = rest.lines();
        let mut field = |name: &str| {
            let value = lines.next().and_then(|line| line.strip_prefix(name)?.strip_prefix(" = "));
            value.ok_or_else(|| malformed(&format!("line {name} is missing")))
        };
        let cluster_id = field("cluster")?.to_owned();
        let node_id = field("node")?.parse().map_err(|_| malformed("the node id is not a number"))?;
        let mut incarnation = [0; 16];
        hex::decode_to_slice(field("incarnation")?, &mut incarnation)
            .map_err(|_| malformed("the incarnation is not 32 hex digits"))?;
        let initialized =
            field("initialized")?.parse().map_err(|_| malformed("initialized is not a truth value"))?;

        let identity = Identity { cluster_id, node_id, incarnation, initialized };
        if identity.encode() != text {
            return Err(malformed("it does not match its checksum"));
        }
        Ok(identity)
    }

    fn refuse_other(&self, path: &Path, cluster_id: &str, node_id: u64) -> Result<(), Error> {
        if self.cluster_id != cluster_id {
            return Err(foreign(
                path,
                format!("belongs to cluster {:?}, not {cluster_id:?}", self.cluster_id),
            ));
        }
        if self.node_id != node_id {
            return Err(foreign(path, format!("belongs to node {}, not {node_id}", self.node_id)));
        }
        Ok(())
    }
}

fn check_cluster_id(cluster_id: &str) -> Result<(), Error> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if cluster_id.is_empty() || cluster_id.len() > MAX_CLUSTER_ID_BYTES || !cluster_id.bytes().all(allowed) {
        return Err(Error::refused(
            format!("cluster id {cluster_id:?}"),
            format!("use 1 to {MAX_CLUSTER_ID_BYTES} letters, digits, `-`, `_` or `.`"),
        ));
    }
    Ok(())
}

fn refuse_foreign(path: &Path) -> Result<(), Error> {
    if path.join("identity").exists() {
        return Ok(());
    }
    refuse_occupied(path)
}

/// Refuses a directory that holds anything.
fn refuse_occupied(path: &Path) -> Result<(), Error> {
    let names = files::names(path)?;
    if names.iter().any(|name| name == "identity") {
        return Err(foreign(path, "holds a node's data"));
    }
    match names.iter().find(|name| !IGNORED.contains(&name.as_str())) {
        Some(name) => Err(foreign(path, format!("has no identity file but holds {name:?}"))),
        None => Ok(()),
    }
}

fn foreign(path: &Path, why: impl Into<String>) -> Error {
    Error::Foreign { path: path.to_owned(), why: why.into() }
}

fn lock(path: &Path) -> Result<File, Error> {
    let lock = path.join("lock");
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(&lock);
    let file = file.map_err(Error::machine("open", &lock))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(Errno::WOULDBLOCK) => Err(Error::Locked { path: path.to_owned() }),
        Err(error) => Err(Error::machine("lock", &lock)(error.into())),
    }
}

/// A log that ever took a vote has a file that is not its lock.
fn has_log(dir: &Path) -> Result<bool, Error> {
    if !dir.exists() {
        return Ok(false);
    }
    Ok(files::names(dir)?.iter().any(|name| !name.eq_ignore_ascii_case("lock")))
}

#[cfg(test)]
#[path = "identity_test.rs"]
mod tests;
