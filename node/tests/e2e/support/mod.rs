//! What the tests stand on: processes that are always ended, commands with their answers, waiting with a deadline.
//!
//! Nothing outlives the test program, not even one that is killed: each process started here stops when its stdin
//! closes, and those that a test holds are killed when it lets go of them.

mod cluster;
mod command;
mod documents;
mod grpc;
mod handmade;
mod process;
mod wire;

use std::time::{Duration, Instant};

pub(crate) use cluster::{Cluster, shared};
pub(crate) use command::meridian;
pub(crate) use documents::{SAMPLE, file, gates, without_time};
pub(crate) use grpc::{admin, bearer, statsig};
pub(crate) use handmade::{Handmade, JOIN_TOKEN, Node};
pub(crate) use process::{Process, is_alive, signal};
pub(crate) use wire::{http_get, send_garbage};

/// For whatever takes a moment on a busy machine. Reached only by a failure.
pub(crate) const SOON: Duration = Duration::from_secs(30);

/// Looks until there is something to see; panics after `within`.
pub(crate) fn eventually<T>(what: &str, within: Duration, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + within;
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(Instant::now() < deadline, "not within {within:?}: {what}");
        pause();
    }
}

/// Between two looks at another process.
#[expect(clippy::disallowed_methods, reason = "other processes give no notice")]
fn pause() {
    std::thread::sleep(Duration::from_millis(20));
}
