//! Opening a catalog: nothing is handed out before it was read, counted and compared with what it says about itself.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::{Mutex, RwLock};
use std::thread;
use std::time::{Duration, Instant};

use super::contain::{Contained, contain, within};
use super::row::{AppliedRow, DocumentSet, Head, Kind, key};
use super::{Backend, CONDEMNED, Sled, Written, blob_files, document_damaged};
use crate::storage::store::{self, Holds, SmallState};
use crate::storage::{Error, files, fsync_shim};

/// Fixed when a directory is created, so a constant and never a setting. sled takes powers of two up to 16 MB.
const SEGMENT_BYTES: usize = 8 << 20;

/// A hint: sled was measured at ten times this. The limit that counts is the container's.
const CACHE_BYTES: u64 = 64 << 20;

/// Runs sled's segment collector, without which files only grow.
const FLUSH_EVERY_MS: u64 = 500;

/// No hang was ever seen; ten times the slowest open that was measured.
const OPEN_LIMIT: Duration = Duration::from_secs(60);

/// A store that was just closed may be held for a moment by sled's own threads.
const LOCK_PATIENCE: Duration = Duration::from_secs(5);

impl store::Backend for Backend {
    type Store = Sled;

    fn open(&self, dir: &Path) -> Result<(Sled, SmallState), Error> {
        files::create_dir(dir)?;
        refuse_condemned(dir)?;
        refuse_blobs(dir)?;
        let (db, state, written) = within(OPEN_LIMIT, dir, {
            let dir = dir.to_owned();
            move || {
                let db = open(&dir)?;
                prove_sync(&db, &dir)?;
                let (state, written) = load(&db, &dir)?;
                Ok((db, state, written))
            }
        })?;
        refuse_blobs(dir)?;
        sync_names(dir)?;

        let path = dir.join("db");
        let store = Sled {
            db,
            dir: dir.to_owned(),
            file: File::open(&path).map_err(Error::machine("open", &path))?,
            written: RwLock::new(written),
            holds: Holds::default(),
            stopped: AtomicBool::new(false),
            checkpoint_began: Mutex::new(Instant::now()),
        };
        Ok((store, state))
    }
}

pub(super) fn open(dir: &Path) -> Result<Contained, Error> {
    let config = ::sled::Config::new()
        .path(dir)
        .segment_size(SEGMENT_BYTES)
        .cache_capacity(CACHE_BYTES)
        .flush_every_ms(Some(FLUSH_EVERY_MS));
    let began = Instant::now();
    loop {
        match contain(dir, || config.open()) {
            Ok(db) => return Ok(Contained::new(db, dir)),
            Err(Error::Locked { .. }) if began.elapsed() < LOCK_PATIENCE => {
                #[expect(
                    clippy::disallowed_methods,
                    reason = "a lock of sled's own threads gives no notice"
                )]
                thread::sleep(Duration::from_millis(20));
            }
            Err(error) => return Err(error),
        }
    }
}

/// Refuses to go on if a flush with something to write does not reach the shim. With several stores in one process
/// another one's flush can stand in for this one's; they are linked alike, so the answer is still right.
fn prove_sync(db: &Contained, dir: &Path) -> Result<(), Error> {
    let before = fsync_shim::calls();
    contain(dir, || {
        // Never the value that is there: sled drops such a write, and has nothing to flush.
        db.insert(key(Kind::Proof, &[]), uuid::Uuid::new_v4().as_bytes())?;
        db.flush()
    })?;
    if cfg!(target_os = "linux") && fsync_shim::calls() == before {
        return Err(Error::Unsynced { path: dir.to_owned() });
    }
    Ok(())
}

/// Reads everything but the chunks, and compares it with what the applied row says about it.
fn load(db: &Contained, dir: &Path) -> Result<(SmallState, Written), Error> {
    let mut rows = Vec::new();
    scan(db, dir, Kind::Small, |key, value| {
        rows.push((key.to_vec(), value.to_vec()));
        Ok(())
    })?;
    let mut dropped = BTreeSet::new();
    scan(db, dir, Kind::Dropped, |key, _| {
        dropped.insert(key.try_into().map_err(|_| Error::damaged(dir, "a dropped row has no digest"))?);
        Ok(())
    })?;
    let mut documents = Vec::new();
    let mut found = DocumentSet::default();
    scan(db, dir, Kind::Head, |key, value| {
        let digest = key.try_into().map_err(|_| Error::damaged(dir, "a document head has no digest"))?;
        let head =
            Head::decode(value).ok_or_else(|| document_damaged(dir, &digest, "has an unreadable head"))?.0;
        if !dropped.contains(&digest) {
            found.insert(&digest, &head);
            documents.push((digest, u64::from(head.length)));
        }
        Ok(())
    })?;

    let Some(value) = contain(dir, || db.get(key(Kind::Applied, &[])))? else {
        if rows.is_empty() && documents.is_empty() && dropped.is_empty() {
            return Ok((SmallState::default(), Written::default()));
        }
        return Err(Error::damaged(dir, "there are rows but no applied position"));
    };
    let AppliedRow { applied, documents: expected } = AppliedRow::decode(&value)
        .ok_or_else(|| Error::damaged(dir, "the applied row does not match its checksum"))?;
    if applied.rows != rows.len() as u64 {
        let why = format!("{} rows were written, {} are left", applied.rows, rows.len());
        return Err(Error::damaged(dir, why));
    }
    if found != expected {
        let why = format!("{} documents were written, {} others are left", expected.count, found.count);
        return Err(Error::damaged(dir, why));
    }
    let written = Written { position: Some(applied.position), documents: found, dropped };
    Ok((SmallState { applied: Some(applied), rows, documents }, written))
}

/// Calls `each` with the key after its kind, and the value. Only safe from mixed versions while nobody writes.
fn scan(
    db: &Contained,
    dir: &Path,
    kind: Kind,
    mut each: impl FnMut(&[u8], &[u8]) -> Result<(), Error>,
) -> Result<(), Error> {
    let mut rows = contain(dir, || Ok(db.scan_prefix(key(kind, &[]))))?;
    while let Some((key, value)) = contain(dir, || rows.next().transpose())? {
        each(&key[1..], &value)?;
    }
    Ok(())
}

fn refuse_condemned(dir: &Path) -> Result<(), Error> {
    let note = dir.join(CONDEMNED);
    match fs::read(&note) {
        Ok(why) => {
            Err(Error::damaged(dir, format!("found while running: {}", String::from_utf8_lossy(&why))))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(Error::machine("read", &note)(error)),
    }
}

fn refuse_blobs(dir: &Path) -> Result<(), Error> {
    match blob_files(dir)? {
        0 => Ok(()),
        files => Err(Error::damaged(dir, format!("{files} blob files, which nothing of ours makes"))),
    }
}

/// sled syncs what it writes into files, but neither their names nor its settings file.
fn sync_names(dir: &Path) -> Result<(), Error> {
    let settings = dir.join("conf");
    File::open(&settings).and_then(|file| file.sync_all()).map_err(Error::machine("sync", &settings))?;
    files::sync_dir(dir)
}
