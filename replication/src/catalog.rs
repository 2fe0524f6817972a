//! The immutable view that every reader looks at, and how readers hear that there is a newer one.
//!
//! Applying commands publishes a new [`View`]; a reader takes the current one and goes. Nothing here waits, locks
//! out a writer, or touches the disk (invariant I7).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use meridian_model::state::{Directory, Tally};
use meridian_model::{Document, EnvironmentRef, Name, Release};
use rpds::RedBlackTreeMapSync;
use tokio::sync::watch;

/// The published state of this node.
#[derive(Debug)]
pub struct Catalog {
    region: Name,
    view: ArcSwap<View>,
    /// Of the view, for those who wait for it to rise. Never ahead of the view.
    revision: watch::Sender<u64>,
    /// Environments that somebody watches. Entries without receivers are removed when a new one is added, so the
    /// map is no larger than twice the number of watched environments.
    watched: Mutex<Watched>,
}

#[derive(Debug, Default)]
struct Watched {
    senders: HashMap<EnvironmentRef, watch::Sender<u64>>,
    sweep_at: usize,
}

/// One instant of the replicated state. Cheap to hold for as long as a request takes.
#[derive(Clone, Debug, Default)]
pub struct View {
    /// Index of the last applied log entry.
    pub revision: u64,
    /// Projects, environments, releases, keys, clock.
    pub directory: Directory,
    /// What this node's region serves.
    pub(crate) served: RedBlackTreeMapSync<EnvironmentRef, Arc<Served>>,
    /// Index of the last tick, and the tally of the whole state after it.
    pub(crate) tallied: Option<(u64, Tally)>,
}

/// A release that is served, with its document in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Served {
    /// The release.
    pub release: Arc<Release>,
    /// Its document, compressed.
    pub document: Document,
}

impl View {
    /// What this node's region serves in an environment.
    pub fn served(&self, at: &EnvironmentRef) -> Option<&Arc<Served>> {
        self.served.get(at)
    }

    /// Unix milliseconds: everything committed up to then is in this view. 0 before the first tick.
    pub fn fresh_as_of_ms(&self) -> u64 {
        self.directory.clock_ms().unwrap_or(0)
    }
}

impl Catalog {
    pub(crate) fn new(region: Name, view: View) -> Self {
        let revision = watch::Sender::new(view.revision);
        Self { region, view: ArcSwap::from_pointee(view), revision, watched: Mutex::default() }
    }

    /// The region whose pointer this node follows.
    pub fn region(&self) -> &Name {
        &self.region
    }

    /// The newest view.
    pub fn view(&self) -> Arc<View> {
        self.view.load_full()
    }

    /// Its revision, without holding on to it.
    pub(crate) fn revision(&self) -> u64 {
        self.view.load().revision
    }

    /// Waits until the view has at least this revision, for ever if it never does.
    pub(crate) async fn reached(&self, revision: u64) {
        // An error means that the catalog is gone, and this borrows it.
        let _ = self.revision.subscribe().wait_for(|published| *published >= revision).await;
    }

    /// Tells about changes in one environment: publishes, moved pointers, revoked keys. Subscribe first, then look
    /// at the view: a change between the two is not lost. Only the newest change is remembered.
    pub fn subscribe(&self, at: &EnvironmentRef) -> Subscription {
        /// Sweeping is worth it from here on.
        const SWEEP_FROM: usize = 1_024;
        let mut watched = self.watched();
        if watched.senders.len() >= watched.sweep_at.max(SWEEP_FROM) {
            watched.senders.retain(|_, sender| sender.receiver_count() > 0);
            watched.sweep_at = watched.senders.len() * 2;
        }
        let sender = watched.senders.entry(at.clone()).or_insert_with(|| watch::Sender::new(0));
        Subscription { changes: sender.subscribe() }
    }

    /// Publishes a newer view and wakes those who watch what changed.
    pub(crate) fn publish(&self, view: View, touched: impl IntoIterator<Item = EnvironmentRef>) {
        let revision = view.revision;
        self.view.store(Arc::new(view));
        self.revision.send_replace(revision);
        let watched = self.watched();
        for at in touched {
            if let Some(sender) = watched.senders.get(&at) {
                sender.send_replace(revision);
            }
        }
    }

    /// Publishes a view of which it is not known how it differs, and wakes everybody.
    pub(crate) fn replace(&self, view: View) {
        let revision = view.revision;
        self.view.store(Arc::new(view));
        self.revision.send_replace(revision);
        // Only now: who subscribed until here is woken, and who subscribes later finds the new view.
        for sender in self.watched().senders.values() {
            sender.send_replace(revision);
        }
    }

    fn watched(&self) -> MutexGuard<'_, Watched> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One reader's ear on one environment.
#[derive(Debug)]
pub struct Subscription {
    changes: watch::Receiver<u64>,
}

impl Subscription {
    /// Waits until something changed since the last call, or since the subscription. Never ends while the catalog
    /// lives; after that it waits for ever, so that a stream ends by its own shutdown and not by accident.
    pub async fn changed(&mut self) {
        if self.changes.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
