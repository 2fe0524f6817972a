//! Every long-lived task of the daemon: its name, what its failure means, and how it ends.
//!
//! A task ends because [`Supervisor::stopping`] was cancelled. One that is essential and ends before that, fails or
//! panics, is a [`Failure`] of the node; the first one is told to whoever waits in [`Supervisor::failed`]. Nothing is
//! restarted in here: what could be in a bad state goes with the process, and whoever runs it starts it again.

use std::error::Error;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::FutureExt as _;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::telemetry::with_causes;

/// What it means when a task ends on its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// The node cannot do its work without it: the process stops.
    Essential,
    /// The node works on without it: it is logged.
    Dispensable,
}

/// Why the node cannot go on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{task}: {cause}")]
pub struct Failure {
    /// The task.
    pub task: &'static str,
    /// What it said.
    pub cause: String,
}

/// Owns the tasks.
#[derive(Debug)]
pub struct Supervisor {
    tasks: TaskTracker,
    stopping: CancellationToken,
    first_failure: watch::Sender<Option<Failure>>,
    /// Names of those that have not ended, as many as were spawned at most: a handful.
    running: Arc<Mutex<Vec<&'static str>>>,
}

impl Default for Supervisor {
    fn default() -> Self {
        Self {
            tasks: TaskTracker::new(),
            stopping: CancellationToken::new(),
            first_failure: watch::Sender::new(None),
            running: Arc::default(),
        }
    }
}

impl Supervisor {
    /// Cancelled when the tasks shall end.
    pub fn stopping(&self) -> &CancellationToken {
        &self.stopping
    }

    /// Starts a task on the current runtime.
    pub fn spawn<E: Error>(
        &self,
        name: &'static str,
        policy: Policy,
        task: impl Future<Output = Result<(), E>> + Send + 'static,
    ) {
        let stopping = self.stopping.clone();
        let first_failure = self.first_failure.clone();
        let running = self.running.clone();
        lock(&running).push(name);
        self.tasks.spawn(async move {
            let ended = AssertUnwindSafe(task).catch_unwind().await;
            let mut names = lock(&running);
            if let Some(place) = names.iter().position(|other| *other == name) {
                names.swap_remove(place);
            }
            drop(names);
            let cause = match ended {
                Ok(Ok(())) if stopping.is_cancelled() => return,
                Ok(Ok(())) => "ended although nobody asked it to".to_owned(),
                Ok(Err(error)) => with_causes(&error),
                Err(_) => "panicked; the log says where".to_owned(),
            };
            match policy {
                Policy::Dispensable => tracing::error!(task = name, cause, "a task failed; the node goes on"),
                Policy::Essential => {
                    first_failure.send_if_modified(|first| {
                        let is_first = first.is_none();
                        first.get_or_insert(Failure { task: name, cause });
                        is_first
                    });
                }
            }
        });
    }

    /// Waits for the first failure of an essential task; for ever if there is none.
    pub async fn failed(&self) -> Failure {
        let mut failures = self.first_failure.subscribe();
        match failures.wait_for(Option::is_some).await.map(|failure| failure.clone()) {
            Ok(Some(failure)) => failure,
            // The sender lives as long as `self`, and `wait_for` gave what it was asked for.
            _ => std::future::pending().await,
        }
    }

    /// Asks all tasks to end, and waits for them at most so long. Those that have not ended by then are named in the
    /// log and go with the process.
    pub async fn stop(&self, patience: Duration) {
        self.stopping.cancel();
        self.tasks.close();
        if tokio::time::timeout(patience, self.tasks.wait()).await.is_err() {
            tracing::warn!(tasks = ?*lock(&self.running), "left behind: they did not end in time");
        }
    }
}

fn lock<'a>(names: &'a Mutex<Vec<&'static str>>) -> std::sync::MutexGuard<'a, Vec<&'static str>> {
    names.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    const LONG: Duration = Duration::from_secs(10);

    /// What one task's end means for the node.
    async fn outcome(
        policy: Policy,
        task: impl Future<Output = io::Result<()>> + Send + 'static,
    ) -> Option<String> {
        let supervisor = Supervisor::default();
        supervisor.spawn("it", policy, task);
        supervisor.tasks.close();
        supervisor.tasks.wait().await;
        supervisor.failed().now_or_never().map(|failure| failure.to_string())
    }

    #[tokio::test]
    async fn only_an_essential_task_stops_the_node() {
        use Policy::{Dispensable, Essential};
        let fails = || async { Err(io::Error::other("no disk")) };
        let ends = || async { Ok(()) };
        let panics = || async { panic!("oh") };
        assert_eq!(outcome(Essential, fails()).await.as_deref(), Some("it: no disk"));
        assert_eq!(
            outcome(Essential, ends()).await.as_deref(),
            Some("it: ended although nobody asked it to")
        );
        assert_eq!(outcome(Essential, panics()).await.as_deref(), Some("it: panicked; the log says where"));
        assert_eq!(outcome(Dispensable, fails()).await, None);
        assert_eq!(outcome(Dispensable, ends()).await, None);
        assert_eq!(outcome(Dispensable, panics()).await, None);
    }

    #[tokio::test]
    async fn the_first_failure_counts() {
        let supervisor = Supervisor::default();
        supervisor.spawn("first", Policy::Essential, async { Err(io::Error::other("a")) });
        assert_eq!(supervisor.failed().await.task, "first");
        supervisor.spawn("second", Policy::Essential, async { Err(io::Error::other("b")) });
        supervisor.stop(LONG).await;
        assert_eq!(supervisor.failed().await.task, "first");
    }

    #[tokio::test]
    async fn a_task_that_ends_when_asked_is_no_failure() {
        let supervisor = Supervisor::default();
        let stopping = supervisor.stopping().clone();
        supervisor.spawn("polite", Policy::Essential, async move {
            stopping.cancelled().await;
            Ok::<(), io::Error>(())
        });
        supervisor.stop(LONG).await;
        assert!(supervisor.failed().now_or_never().is_none());
        assert!(lock(&supervisor.running).is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_does_not_end_is_left_behind() {
        let supervisor = Supervisor::default();
        supervisor.spawn("stubborn", Policy::Essential, std::future::pending::<io::Result<()>>());
        supervisor.stop(LONG).await;
        assert_eq!(*lock(&supervisor.running), ["stubborn"]);
    }
}
