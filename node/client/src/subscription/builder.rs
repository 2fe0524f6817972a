//! How a subscription begins.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use meridian_proto::config::Demand;
use serde_json::Value;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::snapshot::{Snapshot, Source};
use super::state::State;
use super::{CacheError, Inner, Subscription, follow};
use crate::cache::{Cache, Owner};
use crate::{Client, Config, Options};

/// How long [`Builder::init`] waits for a node unless it is told otherwise: a region that is silent is noticed, and
/// another one asked, within it.
const WAIT: Duration = Duration::from_secs(3);

/// How often nodes are polled while no stream can be had, unless told otherwise.
const POLL_EVERY: Duration = Duration::from_secs(5);

/// What a subscription is to be. Made with [`Client::subscribe`].
#[must_use = "a subscription begins with `init`"]
pub struct Builder {
    client: Client,
    project: String,
    environment: String,
    cache_file: Option<PathBuf>,
    defaults: Value,
    wait: Duration,
    poll_every: Duration,
    max_staleness: Option<Duration>,
}

impl Builder {
    pub(crate) fn new(client: Client, project: &str, environment: &str) -> Self {
        Self {
            client,
            project: project.to_owned(),
            environment: environment.to_owned(),
            cache_file: None,
            defaults: Value::Null,
            wait: WAIT,
            poll_every: POLL_EVERY,
            max_staleness: None,
        }
    }

    /// Keeps the newest config in this file, and starts from it when no node can be reached. Directories are made.
    /// None by default: then nothing is remembered over a restart.
    ///
    /// One file for one environment and one process. After the cluster was set up anew its versions begin at 1 again:
    /// remove the file then, or the lower versions are not taken.
    pub fn cache_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.cache_file = Some(path.into());
        self
    }

    /// Values for what the config lacks, and for as long as there is none. The same can be said at each
    /// [`Subscription::get_or`]; this is for those who read with [`Subscription::get`], or have many.
    pub fn defaults(mut self, defaults: Value) -> Self {
        self.defaults = defaults;
        self
    }

    /// How long [`Builder::init`] waits for a node at most; 3 s by default, zero not to wait.
    pub fn wait(mut self, wait: Duration) -> Self {
        self.wait = wait;
        self
    }

    /// How often a node is asked while no stream can be had; 5 s by default, half of it to one and a half. From
    /// 100 ms to one day.
    pub fn poll_every(mut self, interval: Duration) -> Self {
        self.poll_every = interval.clamp(Duration::from_millis(100), Options::LONGEST);
        self
    }

    /// Takes configs only from nodes that have missed nothing older than this, as they can prove, and leaves a node
    /// that no longer can. Without it, a node that is cut off from its leader is not left while it answers. Streams take
    /// 1 s and more: less is refused. What is held goes on being served when no node can: [`Subscription::status`] tells.
    pub fn max_staleness(mut self, max_staleness: Duration) -> Self {
        self.max_staleness = Some(max_staleness);
        self
    }

    /// Reads the cache file, begins to follow, and waits until a node has answered or the wait is over.
    ///
    /// Never fails: it says what there is. [`Status::problem`](super::Status::problem) has the reason when that is not
    /// [`Source::Live`], naming each endpoint, and [`Status::cache_problem`](super::Status::cache_problem) if the file
    /// was refused. Must be called within a tokio runtime.
    pub async fn init(self) -> (Subscription, Source) {
        let authorization = self.client.caller.authorization.as_ref();
        let owner = Owner::new(&self.project, &self.environment, authorization.map(|value| value.as_bytes()));
        let (cache, cached, cache_problem) = match self.cache_file {
            None => (None, None, None),
            Some(path) => open(Cache { path, owner }).await,
        };
        let defaults = Snapshot::of_defaults(Arc::new(self.defaults));
        let first = match cached {
            Some(config) => defaults.next(Source::Cached, config),
            None => defaults,
        };
        let state = Arc::new(State::new(first, cache, cache_problem));
        let demand = self.max_staleness.map(|max_staleness| Demand {
            max_staleness_ms: Some(u64::try_from(max_staleness.as_millis()).unwrap_or(u64::MAX)),
            ..Demand::default()
        });
        let follow = follow::Follow {
            client: self.client,
            project: self.project,
            environment: self.environment,
            demand,
            poll_every: self.poll_every,
            state: state.clone(),
        };
        let following = tokio::spawn(follow.run()).abort_handle();
        let subscription = Subscription { inner: Arc::new(Inner { state: state.clone(), following }) };
        let _ = timeout(self.wait, state.live()).await;
        let source = state.current().source();
        (subscription, source)
    }
}

/// What the file holds. A file that belongs to somebody else is left alone.
async fn open(cache: Cache) -> (Option<Cache>, Option<Config>, Option<String>) {
    let opened = cache.clone();
    // The task only ends otherwise when the runtime is shut down.
    let loaded = spawn_blocking(move || opened.load()).await.unwrap_or(Ok(None));
    match loaded {
        Ok(config) => (Some(cache), config, None),
        Err(error) => {
            tracing::warn!(%error, "the cached config is not used");
            let cache = (!matches!(error, CacheError::Foreign { .. })).then_some(cache);
            (cache, None, Some(error.to_string()))
        }
    }
}
