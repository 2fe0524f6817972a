//! Opens the catalog, and rebuilds it when it cannot be trusted.
//!
//! The catalog is a projection: a snapshot and the log after it make it again. So there is no repair. What is damaged
//! is set aside, a new generation is made beside it, and one rename makes that the current one:
//!
//! ```text
//! catalog/CURRENT           names the generation in use; replaced by rename
//! catalog/generation-<n>    a store; one that CURRENT does not name is an unfinished import, and removed
//! catalog/damaged-<n>       the last generation found damaged, kept to be looked at
//! ```
//!
//! Every step may be interrupted and is then done again. An error of the machine (a full disk, a lock that is held)
//! stops everything and removes nothing: the data behind it is presumed good.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::snapshot::{Durable, Record};
use super::store::{Applied, Backend, Digest, SmallState, Store, WriteBatch};
use super::{Error, files};

const GENERATION: &str = "generation-";
const DAMAGED: &str = "damaged-";

/// An import writes whenever it has gathered this much; a document may go beyond it.
const IMPORT_BATCH_BYTES: usize = 4 << 20;

/// What the log holds, as far as the catalog has to fit to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct LogBounds {
    /// The last index that was purged.
    pub(crate) purged: Option<u64>,
    /// The last index that is there, or was there before it was purged.
    pub(crate) last: Option<u64>,
}

/// How [`Catalog::open`] ended. `T` is what the caller made of the rows.
pub(crate) enum Opened<S, T> {
    /// The log can be replayed onto this store.
    Ready {
        store: S,
        state: T,
        /// Why the catalog had to be made anew; None if it was as it should be.
        rebuilt: Option<String>,
    },
    /// The log does not reach back to any local snapshot. Get one from a peer, then open again.
    NeedsSnapshot { why: String },
}

/// The generation in use, open, before it is known whether it fits the rest of the disk.
struct Current<S, T> {
    store: S,
    state: T,
    dir: PathBuf,
    /// Index of the last entry in it.
    at: Option<u64>,
}

impl<S, T> Current<S, T> {
    fn fitting(self, range: &Range) -> Result<(S, T), Error> {
        range.check(self.at).map_err(|why| Error::damaged(&self.dir, why))?;
        Ok((self.store, self.state))
    }
}

/// The place where a catalog's generations are.
pub(crate) struct Catalog<B> {
    backend: B,
    dir: PathBuf,
}

impl<B: Backend> Catalog<B> {
    pub(crate) fn new(backend: B, dir: &Path) -> Catalog<B> {
        Catalog { backend, dir: dir.to_owned() }
    }

    /// Opens the current generation if it is whole and fits the log and the newest verified snapshot; else makes a new one
    /// from that snapshot, or an empty one if the log reaches back to its beginning.
    ///
    /// `load` makes of the rows what the caller needs, compares them with the state digest stored with them, and says
    /// what is wrong. `ground` says what else is on disk: it is asked after the rows were read, so that whoever calls
    /// can verify snapshot and log meanwhile. Nothing is changed if it fails.
    pub(crate) fn open<T>(
        &self,
        load: impl Fn(SmallState) -> Result<T, String>,
        ground: impl FnOnce() -> Result<(Option<Durable>, LogBounds), Error>,
    ) -> Result<Opened<B::Store, T>, Error> {
        files::create_dir(&self.dir)?;
        let current = self.open_current(&load);
        let (newest, log) = ground()?;
        let range = Range::of(newest.as_ref(), log);
        let fitting = current.and_then(|current| current.map(|current| current.fitting(&range)).transpose());
        let why = match fitting {
            Ok(Some((store, state))) => return Ok(Opened::Ready { store, state, rebuilt: None }),
            Ok(None) => None,
            Err(Error::Damaged { why, .. }) => {
                tracing::error!(catalog = %self.dir.display(), why, "the catalog is damaged and will be rebuilt");
                self.set_current_aside()?;
                Some(why)
            }
            Err(error) => return Err(error),
        };

        let reaches_back = |snapshot: &Durable| Some(snapshot.position().index) >= log.purged;
        let (store, state) = match newest.filter(reaches_back) {
            Some(snapshot) => self.install(&snapshot, load)?,
            None if log.purged.is_none() => self.begin_empty(load)?,
            None => {
                let why = why.unwrap_or_else(|| "there is no catalog".to_owned());
                return Ok(Opened::NeedsSnapshot { why });
            }
        };
        Ok(Opened::Ready { store, state, rebuilt: why })
    }

    /// Makes a new generation from a snapshot, reads it back, and makes it the current one; the one before is
    /// removed. Close the store of that one first, or its readers find their files gone.
    pub(crate) fn install<T>(
        &self,
        snapshot: &Durable,
        load: impl Fn(SmallState) -> Result<T, String>,
    ) -> Result<(B::Store, T), Error> {
        self.remove_unfinished()?;
        let generation = self.next_generation()?;
        let dir = self.dir.join(&generation);
        {
            let (store, _) = self.backend.open(&dir)?;
            import(&store, snapshot)?;
            store.checkpoint()?;
        }
        // What counts is what the next start would find.
        let (store, stored) = self.backend.open(&dir)?;
        let documents: Vec<Digest> = stored.documents.iter().map(|(digest, _)| *digest).collect();
        let state = load(stored).map_err(|why| Error::damaged(&dir, why))?;
        for digest in &documents {
            if store.document(digest)?.is_none() {
                return Err(Error::damaged(&dir, format!("document {} was not stored", hex::encode(digest))));
            }
        }
        self.make_current(&generation)?;
        Ok((store, state))
    }

    fn begin_empty<T>(&self, load: impl Fn(SmallState) -> Result<T, String>) -> Result<(B::Store, T), Error> {
        self.remove_unfinished()?;
        let generation = self.next_generation()?;
        let dir = self.dir.join(&generation);
        let (store, stored) = self.backend.open(&dir)?;
        let state = load(stored).map_err(|why| Error::damaged(&dir, why))?;
        self.make_current(&generation)?;
        Ok((store, state))
    }

    fn open_current<T>(
        &self,
        load: &impl Fn(SmallState) -> Result<T, String>,
    ) -> Result<Option<Current<B::Store, T>>, Error> {
        let Some(generation) = self.current()? else { return Ok(None) };
        let dir = self.dir.join(generation);
        if !dir.exists() {
            return Err(Error::damaged(&dir, "it is missing"));
        }
        let (store, stored) = self.backend.open(&dir)?;
        let at = stored.applied.as_ref().map(|applied| applied.position.index);
        let state = load(stored).map_err(|why| Error::damaged(&dir, why))?;
        Ok(Some(Current { store, state, dir, at }))
    }

    fn current(&self) -> Result<Option<String>, Error> {
        let path = self.current_path();
        match fs::read(&path) {
            Ok(bytes) => {
                let name = str::from_utf8(&bytes).ok().and_then(|text| text.strip_suffix('\n'));
                let name = name.filter(|name| number_of(name, GENERATION).is_some());
                name.map(|name| Some(name.to_owned()))
                    .ok_or_else(|| Error::damaged(&path, "it names no generation"))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::machine("read", &path)(error)),
        }
    }

    fn make_current(&self, generation: &str) -> Result<(), Error> {
        files::sync_dir(&self.dir)?;
        files::replace(&self.current_path(), format!("{generation}\n").as_bytes())?;
        self.remove_unfinished()
    }

    /// Keeps the damaged generation, in place of an older one, and leaves nothing current.
    fn set_current_aside(&self) -> Result<(), Error> {
        if let Ok(Some(generation)) = self.current() {
            let from = self.dir.join(&generation);
            if from.exists() {
                for older in self.numbered(DAMAGED)? {
                    files::remove_dir(&self.dir.join(older))?;
                }
                let number = number_of(&generation, GENERATION).expect("current() gives nothing else");
                let to = self.dir.join(format!("{DAMAGED}{number}"));
                fs::rename(&from, &to).map_err(Error::machine("rename", &from))?;
            }
        }
        files::remove_file(&self.current_path())?;
        files::sync_dir(&self.dir)
    }

    /// Generations that CURRENT does not name.
    fn remove_unfinished(&self) -> Result<(), Error> {
        let current = self.current()?;
        for generation in self.numbered(GENERATION)? {
            if current.as_ref() != Some(&generation) {
                files::remove_dir(&self.dir.join(generation))?;
            }
        }
        Ok(())
    }

    /// A number that no directory here has, not even a damaged one.
    fn next_generation(&self) -> Result<String, Error> {
        let used = files::names(&self.dir)?;
        let numbers = used.iter().filter_map(|name| number_of(name, GENERATION).or(number_of(name, DAMAGED)));
        Ok(format!("{GENERATION}{}", numbers.max().map_or(1, |highest| highest.saturating_add(1))))
    }

    fn numbered(&self, prefix: &str) -> Result<Vec<String>, Error> {
        let mut names = files::names(&self.dir)?;
        names.retain(|name| number_of(name, prefix).is_some());
        Ok(names)
    }

    fn current_path(&self) -> PathBuf {
        self.dir.join("CURRENT")
    }
}

/// Where the catalog's position may lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Range {
    /// A catalog before it was rolled back: its checkpoint precedes every snapshot, and every purge.
    first: Option<u64>,
    /// A catalog past it holds what the log has lost. Raft would close that gap by purging up to the catalog's
    /// position, and the least trusted copy would be the only one.
    last: Option<u64>,
}

impl Range {
    fn of(snapshot: Option<&Durable>, log: LogBounds) -> Range {
        // A snapshot that was just installed may lie past the log: it is a durable copy by itself.
        let snapshot = snapshot.map(|snapshot| snapshot.position().index);
        let first = snapshot.max(log.purged);
        Range { first, last: first.max(log.last) }
    }

    fn check(&self, at: Option<u64>) -> Result<(), String> {
        if at < self.first {
            let (at, first) = (shown(at), shown(self.first));
            return Err(format!(
                "it was rolled back: it stands at {at}, the snapshot or purged log at {first}"
            ));
        }
        if at > self.last {
            let (at, last) = (shown(at), shown(self.last));
            return Err(format!("it is ahead of the log: it stands at {at}, the log ends at {last}"));
        }
        Ok(())
    }
}

fn shown(index: Option<u64>) -> String {
    index.map_or("nothing".to_owned(), |index| format!("index {index}"))
}

fn number_of(name: &str, prefix: &str) -> Option<u64> {
    name.strip_prefix(prefix)?.parse().ok()
}

/// Copies a snapshot into an empty store. Not atomic; only a store that is read back whole becomes current.
fn import(store: &impl Store, snapshot: &Durable) -> Result<(), Error> {
    let meta = snapshot.meta();
    let applied = Applied {
        position: meta.position,
        membership: meta.membership.clone(),
        digest: meta.digest,
        rows: meta.rows,
    };
    let mut records = snapshot.read()?;
    let mut batch = WriteBatch::at(applied.clone());
    let mut gathered = 0;
    while let Some(record) = records.next()? {
        match record {
            Record::Row { key, value } => {
                gathered += key.len() + value.len();
                batch.puts.push((key, value));
            }
            Record::Document { digest, stored } => {
                gathered += stored.len();
                batch.new_documents.push((digest, stored));
            }
        }
        if gathered >= IMPORT_BATCH_BYTES {
            store.apply(std::mem::replace(&mut batch, WriteBatch::at(applied.clone())))?;
            gathered = 0;
        }
    }
    store.apply(batch)
}

#[cfg(test)]
#[path = "recover_test.rs"]
mod tests;
