//! What a subscription holds, and the one way in which it changes.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use arc_swap::{ArcSwap, Guard};
use meridian_proto::config::Freshness;
use tokio::sync::watch;
use tokio::time::Instant;

use super::keeper::Keeper;
use super::{Changes, Link, Snapshot, Source, Status};
use crate::cache::Cache;
use crate::peer::lock;
use crate::{Config, Endpoint};

/// Read by everybody, written by the two tasks of [`follow`](super::follow).
pub(super) struct State {
    current: ArcSwap<Snapshot>,
    /// The same, for those who wait.
    changed: watch::Sender<Arc<Snapshot>>,
    /// Whether a stream has said something and lives.
    streaming: watch::Sender<bool>,
    contact: Mutex<Contact>,
    /// Held while a config is taken in.
    taking: tokio::sync::Mutex<()>,
    keeper: Arc<Keeper>,
}

/// What is known of the nodes.
struct Contact {
    link: Link,
    endpoint: Option<Endpoint>,
    freshness: Freshness,
    heard_at: Option<Instant>,
    problem: Option<String>,
}

impl State {
    pub(super) fn new(first: Snapshot, cache: Option<Cache>, cache_problem: Option<String>) -> Self {
        let freshness = first.config().map(|config| config.freshness.clone()).unwrap_or_default();
        let first = Arc::new(first);
        Self {
            current: ArcSwap::new(first.clone()),
            changed: watch::Sender::new(first),
            streaming: watch::Sender::new(false),
            contact: Mutex::new(Contact {
                link: Link::Down,
                endpoint: None,
                freshness,
                heard_at: None,
                problem: Some("no node has answered yet".to_owned()),
            }),
            taking: tokio::sync::Mutex::default(),
            keeper: Arc::new(Keeper::new(cache, cache_problem)),
        }
    }

    pub(super) fn current(&self) -> Arc<Snapshot> {
        self.current.load_full()
    }

    pub(super) fn glance(&self) -> Guard<Arc<Snapshot>> {
        self.current.load()
    }

    pub(super) fn changes(&self) -> Changes {
        Changes::new(self.changed.subscribe())
    }

    /// Whether a stream has said something and lives, for those who wait for that.
    pub(super) fn streaming(&self) -> watch::Receiver<bool> {
        self.streaming.subscribe()
    }

    /// Ends when the config served is a node's.
    pub(super) async fn live(&self) {
        // The sender is in `self`, so there is no error.
        let _ = self.changed.subscribe().wait_for(|snapshot| snapshot.source() == Source::Live).await;
    }

    /// A node says that this is its config. Takes it if it is newer than the one held: first to the disk, so that no
    /// restart falls behind what was handed out, then to the readers.
    pub(super) async fn offer(&self, config: Config, link: Link, endpoint: Option<&Endpoint>) {
        let _taking = self.taking.lock().await;
        let is_newer = config.release.version > self.glance().version();
        if is_newer {
            self.keeper.keep(config.clone()).await;
        }
        // Before the readers: whoever waits for the config finds a status that knows where it came from.
        self.heard(&config.freshness, link, endpoint);
        if is_newer {
            self.replace(self.glance().next(Source::Live, config));
        }
    }

    /// A node has nothing newer than what is held. Only one that `serves` the very same confirms what came from the
    /// disk; another one may be behind.
    pub(super) async fn confirm(
        &self,
        serves: Option<u64>,
        stamp: &Freshness,
        link: Link,
        endpoint: Option<&Endpoint>,
    ) {
        let _taking = self.taking.lock().await;
        self.heard(stamp, link, endpoint);
        let current = self.current();
        if let Some(config) = current.config()
            && current.source() == Source::Cached
            && serves == Some(current.version())
        {
            self.replace(current.next(Source::Live, config.clone()));
        }
    }

    fn replace(&self, snapshot: Snapshot) {
        let snapshot = Arc::new(snapshot);
        self.current.store(snapshot.clone());
        self.changed.send_replace(snapshot);
    }

    fn heard(&self, stamp: &Freshness, link: Link, endpoint: Option<&Endpoint>) {
        let mut contact = lock(&self.contact);
        // A poll that ends after a stream has opened does not take its place.
        if link == Link::Streaming || contact.link != Link::Streaming {
            contact.link = link;
            contact.endpoint = endpoint.cloned();
        }
        contact.freshness = stamp.clone();
        contact.heard_at = Some(Instant::now());
        if link == Link::Streaming {
            contact.problem = None;
            self.streaming.send_if_modified(|streaming| !std::mem::replace(streaming, true));
        }
    }

    /// There is no stream.
    pub(super) fn lost(&self, problem: String) {
        let mut contact = lock(&self.contact);
        if contact.link == Link::Streaming {
            contact.link = Link::Down;
        }
        contact.endpoint = None;
        contact.problem = Some(problem);
        self.streaming.send_if_modified(|streaming| std::mem::replace(streaming, false));
    }

    /// Nor did a poll bring an answer.
    pub(super) fn unheard(&self, problem: String) {
        let mut contact = lock(&self.contact);
        if contact.link != Link::Streaming {
            contact.link = Link::Down;
            contact.problem = Some(problem);
        }
    }

    pub(super) fn status(&self) -> Status {
        let snapshot = self.current();
        let contact = lock(&self.contact);
        let last_heard = contact.heard_at.map(|at| at.elapsed());
        let told = contact.freshness.staleness_ms.map(Duration::from_millis);
        Status {
            source: snapshot.source(),
            version: snapshot.version(),
            digest: snapshot.config().map(|config| config.release.digest.clone()).unwrap_or_default(),
            link: contact.link,
            endpoint: contact.endpoint.clone(),
            freshness: contact.freshness.clone(),
            last_heard,
            staleness: last_heard.zip(told).map(|(since, told)| since.saturating_add(told)),
            problem: contact.problem.clone(),
            cache_problem: self.keeper.problem(),
            mismatches: snapshot.mismatches(),
        }
    }
}
