//! Keeps the newest config on disk, however long the disk takes.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use crate::Config;
use crate::cache::Cache;
use crate::peer::lock;

/// A config waits so long for the disk at most; then it is handed out, and a restart before the save ends falls behind
/// it.
const SAVE_WAIT: Duration = Duration::from_secs(1);

/// Saves one config at a time. Of those that come meanwhile the newest is saved next.
pub(super) struct Keeper {
    cache: Option<Cache>,
    progress: Mutex<Progress>,
    /// The version last saved, or tried to.
    settled: watch::Sender<u64>,
}

struct Progress {
    waiting: Option<Config>,
    is_saving: bool,
    problem: Option<String>,
}

impl Keeper {
    /// Without a cache nothing is kept, and the problem stays.
    pub(super) fn new(cache: Option<Cache>, problem: Option<String>) -> Self {
        let progress = Progress { waiting: None, is_saving: false, problem };
        Self { cache, progress: Mutex::new(progress), settled: watch::Sender::new(0) }
    }

    /// Why the file is not used or not kept.
    pub(super) fn problem(&self) -> Option<String> {
        lock(&self.progress).problem.clone()
    }

    /// Saves a config that is newer than all before it, and waits a while for that. The save goes on when the wait is
    /// over, and when the caller is gone.
    pub(super) async fn keep(self: &Arc<Self>, config: Config) {
        let Some(cache) = &self.cache else { return };
        let version = config.release.version;
        let was_saving = {
            let mut progress = lock(&self.progress);
            progress.waiting = Some(config);
            std::mem::replace(&mut progress.is_saving, true)
        };
        if !was_saving {
            tokio::spawn(self.clone().save(cache.clone()));
        }
        let mut settled = self.settled.subscribe();
        if timeout(SAVE_WAIT, settled.wait_for(|settled| *settled >= version)).await.is_err() {
            let mut progress = lock(&self.progress);
            // Under the lock, so that the end of the save has the last word.
            if *self.settled.borrow() < version {
                progress.problem = Some("the disk takes too long to write it".to_owned());
                tracing::warn!(version, "the config is handed out before it is on disk");
            }
        }
    }

    async fn save(self: Arc<Self>, cache: Cache) {
        loop {
            let config = {
                let mut progress = lock(&self.progress);
                let Some(config) = progress.waiting.take() else {
                    progress.is_saving = false;
                    return;
                };
                config
            };
            let version = config.release.version;
            let cache = cache.clone();
            let saved = spawn_blocking(move || cache.save(&config)).await;
            let problem = match saved {
                Ok(saved) => saved.err().map(|error| error.to_string()),
                Err(error) => Some(error.to_string()),
            };
            if let Some(problem) = &problem {
                tracing::warn!(problem, version, "the config is not kept on disk");
            }
            let mut progress = lock(&self.progress);
            progress.problem = problem;
            self.settled.send_replace(version);
        }
    }
}

#[cfg(all(test, unix))]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::io::Read as _;
    use std::process::Command;

    use meridian_proto::config::{Freshness, Release};
    use sha2::{Digest as _, Sha256};

    use super::*;
    use crate::cache::Owner;

    fn config(version: u64) -> Config {
        let digest = hex::encode(Sha256::digest(b"{}"));
        let release = Release { version, digest, ..Release::default() };
        Config { release, freshness: Freshness::default(), document: "{}".into() }
    }

    /// The temporary file is a pipe that nobody reads: opening it waits, as a disk does that hangs.
    #[tokio::test]
    async fn a_disk_that_hangs_gets_the_newest_config_when_it_is_back() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        let pipe = directory.path().join("file.new");
        assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        let cache = Cache { path, owner: Owner::new("shop", "live", None) };
        let keeper = Arc::new(Keeper::new(Some(cache.clone()), None));
        for version in 1..=3 {
            keeper.keep(config(version)).await;
            assert!(keeper.problem().unwrap().contains("too long"));
        }
        // A pipe cannot be synced, so the first save fails; the next file is an ordinary one.
        let mut bytes = Vec::new();
        std::fs::File::open(&pipe).unwrap().read_to_end(&mut bytes).unwrap();
        std::fs::remove_file(&pipe).unwrap();
        keeper.settled.subscribe().wait_for(|settled| *settled == 3).await.unwrap();
        assert_eq!(cache.load().unwrap().unwrap().release.version, 3);
        assert_eq!(keeper.problem(), None);
    }
}
