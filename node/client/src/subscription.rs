//! The config of one environment, always at hand.
//!
//! A [`Subscription`] is what an application holds on to. It follows the environment in the background and answers
//! from memory: reading takes no lock, sends nothing and never waits.
//!
//! What is guaranteed:
//!
//! - **Versions only rise**, across lost nodes, regions that are behind, and restarts of the application if it has a
//!   cache file: a config is in the file before it is handed out. A rollback is a new, higher version with an old
//!   document; its release says so in `rollback_of`.
//! - **It starts with everything down**, from the cache file, or else from the defaults in the code, and
//!   [`Builder::init`] says which.
//! - **A damaged cache file is never served**, and one of another environment neither.
//! - **A node that is cut off from its leader** is left only if [`Builder::max_staleness`] is set: its stream goes on,
//!   and says nothing new.
//! - **Nothing ends it** but dropping its last clone. Lost streams are replaced; while none can be had, it polls.
//!
//! ```no_run
//! # async fn example(client: meridian_client::Client) {
//! use meridian_client::subscription::Source;
//!
//! let (config, source) = client.subscribe("shop", "live").cache_file("/var/cache/shop/config").init().await;
//! if source != Source::Live {
//!     eprintln!("starting from {source}: {:?}", config.status().problem);
//! }
//! let timeout_ms = config.get_or("checkout.timeout_ms", 800);
//!
//! config.on_change(|snapshot| println!("version {} is here", snapshot.version()));
//!
//! let mut changes = config.changes();
//! while let Some(snapshot) = changes.next().await {
//!     println!("timeout is now {} ms", snapshot.get_or("checkout.timeout_ms", 800));
//! }
//! # }
//! ```

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use serde::de::DeserializeOwned;
use tokio::task::AbortHandle;

mod builder;
mod changes;
mod follow;
mod keeper;
mod snapshot;
mod state;
mod status;

pub use crate::cache::Error as CacheError;
pub use builder::Builder;
pub use changes::Changes;
pub use snapshot::{Snapshot, Source, ValueError};
pub use status::{Link, Status};

use state::State;

/// The config of one environment. Made with [`Client::subscribe`](crate::Client::subscribe); see the
/// [module](self) for what it guarantees.
///
/// Cheap to clone. It follows the environment until the last clone is dropped.
#[derive(Clone)]
pub struct Subscription {
    inner: Arc<Inner>,
}

struct Inner {
    state: Arc<State>,
    following: AbortHandle,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.following.abort();
    }
}

impl Subscription {
    /// What is served now.
    pub fn current(&self) -> Arc<Snapshot> {
        self.inner.state.current()
    }

    /// [`Snapshot::get`] of what is served now.
    pub fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ValueError> {
        self.inner.state.glance().get(path)
    }

    /// [`Snapshot::get_or`] of what is served now.
    pub fn get_or<T: DeserializeOwned>(&self, path: &str, default: T) -> T {
        self.inner.state.glance().get_or(path, default)
    }

    /// Where it stands: what is served, how fresh it is, and over which node it comes.
    pub fn status(&self) -> Status {
        self.inner.state.status()
    }

    /// The snapshots that follow the one served now.
    pub fn changes(&self) -> Changes {
        self.inner.state.changes()
    }

    /// Calls `callback` with each snapshot that follows the one served now, on a task of its own. While it runs,
    /// newer ones replace each other: it gets the newest next. One that panics is called again.
    ///
    /// It goes on until the subscription ends or the handle that this returns is told to abort.
    pub fn on_change(&self, mut callback: impl FnMut(&Snapshot) + Send + 'static) -> AbortHandle {
        let mut changes = self.changes();
        let calls = async move {
            while let Some(snapshot) = changes.next().await {
                if catch_unwind(AssertUnwindSafe(|| callback(&snapshot))).is_err() {
                    tracing::error!(version = snapshot.version(), "a callback of a config change panicked");
                }
            }
        };
        tokio::spawn(calls).abort_handle()
    }
}
