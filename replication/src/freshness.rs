//! How fresh this node's view is, proved by its own stopwatch.
//!
//! About twice a second a node starts its stopwatch, *then* asks the leader how far the log is committed, and waits until
//! its view has got there. From that moment on it knows: this view held everything that was committed when the stopwatch
//! was started. How old that proof is, is the node's staleness. No wall clock has a part in it, so a clock that is set an
//! hour forth or back, on whichever node, changes nothing: unlike [`crate::catalog::View::fresh_as_of_ms`], which is for
//! people.
//!
//! Why it holds. Let the stopwatch start at `t0`. If another leader had committed anything before `t0` that the asked one
//! does not have, it would have been elected before `t0`, thus before the asked one looked at its lease. But a lease is
//! valid only while a majority is bound to elect nobody, counted from before they were asked to be. And however long the
//! way takes:
//!
//! - the asking node sleeps after asking, or the answer is slow: the proof is as old as `t0` says, and is told so;
//! - the leader sleeps before it looks at its lease: the lease has run out, and it says that it cannot tell;
//! - the leader sleeps after it has looked: its answer is about `t0` and stays true, whoever leads when it arrives;
//! - the log under the answer is replaced by a new leader's: see [`crate::read_index`].
//!
//! What it trusts: that no clock runs *faster* than another by much, that a machine's monotonic clock goes on while its
//! processes are stopped (SIGSTOP) or starved, and that a voter takes longer to restart than an election timeout. A
//! machine whose monotonic clock itself is frozen (suspend to RAM, a paused virtual machine) does not see that time pass:
//! it may claim to be fresher by the length of its sleep until its next answer, half a second after it wakes up; a leader
//! that slept so until it is told of its successor. Who can bear neither asks for a [`crate::Handle::barrier`].

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::error::Fatal;
use crate::handle::Handle;
use crate::member::MemberState;
use crate::read_index::{self, Certainty};

/// Between two questions: staleness is up to this, and the way to the leader, while all is well.
const QUESTION_INTERVAL: Duration = Duration::from_millis(500);

/// For one answer. A leader that takes longer is asked anew.
const QUESTION_TIMEOUT: Duration = Duration::from_secs(1);

/// For the view to get as far as the answer says, before the leader is asked anew.
const CATCH_UP_TIMEOUT: Duration = Duration::from_secs(10);

/// When the view was last proved to be complete. One atomic number: asked by every request.
#[derive(Debug)]
pub(crate) struct Freshness {
    origin: Instant,
    /// Microseconds after `origin`, and one more; 0 for never.
    proved: AtomicU64,
}

impl Freshness {
    pub(crate) fn new() -> Self {
        Self { origin: Instant::now(), proved: AtomicU64::new(0) }
    }

    /// The view holds everything that was committed at `asked_at`. An older proof than the one that is known is none.
    pub(crate) fn prove(&self, asked_at: Instant) {
        let after = asked_at.saturating_duration_since(self.origin).as_micros();
        self.proved.fetch_max(u64::try_from(after).unwrap_or(u64::MAX - 1) + 1, Ordering::AcqRel);
    }

    /// For how long the view may have missed something, by now.
    pub(crate) fn staleness(&self) -> Option<Duration> {
        let after = self.proved.load(Ordering::Acquire).checked_sub(1)?;
        Some(self.origin.elapsed().saturating_sub(Duration::from_micros(after)))
    }
}

/// Proves freshness again and again, as long as the member runs.
pub(crate) async fn keep_proving(state: Arc<MemberState>) {
    let mut interval = interval(QUESTION_INTERVAL);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        interval.tick().await;
        if state.is_stopping() {
            return;
        }
        let asked_at = Instant::now();
        if let Ok(index) = read_index::ask(&state, Certainty::Lease, QUESTION_TIMEOUT).await {
            // A node that is far behind proves something when it gets there. Not for ever: the index may be that of an
            // entry which a new leader's shorter log does not have.
            if timeout(CATCH_UP_TIMEOUT, state.catalog.reached(index)).await.is_ok() {
                state.freshness.prove(asked_at);
                if let Err(error) = state.mark_complete() {
                    // A write that failed is not tried again.
                    return state.alarm.ring(Fatal::Storage(error.to_string()));
                }
            }
        }
    }
}

impl Handle {
    /// For how long this node may have missed something, by its monotonic clock; about half a second while all is well.
    /// `None`: it has not heard from a leader since it started. One load: cheap enough for every request.
    pub fn staleness(&self) -> Option<Duration> {
        self.state.freshness.staleness()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::net::TcpListener;

    use meridian_model::{Command, Mutation, wire};

    use super::*;
    use crate::member::now_ms;
    use crate::options::Options;
    use crate::types::EncodedCommand;

    /// A leader whose wall clock jumps tells everybody a wrong time; what is proved rests on none.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_clock_that_jumps_changes_nothing() {
        const HOUR_MS: u64 = 3_600_000;
        const FRESH: Duration = Duration::from_secs(2);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let temp = tempfile::tempdir().unwrap();
        let options = Options::lone(&listener, temp.path());
        let handle = crate::start(options, listener).unwrap();
        tokio::time::timeout(Duration::from_secs(20), async {
            while handle.staleness().is_none_or(|staleness| staleness > FRESH) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await
        .unwrap();
        for time_ms in [now_ms() + HOUR_MS, now_ms() - HOUR_MS] {
            let tick = Command { request_id: None, actor: String::new(), time_ms, mutation: Mutation::Tick };
            let written = handle.state.raft.client_write(EncodedCommand(wire::encode_command(&tick)));
            let revision = written.await.unwrap().log_id.index;
            let view = handle.catalog().view();
            // Unless a tick of its own came right after.
            if view.revision == revision {
                assert_eq!(view.fresh_as_of_ms(), time_ms);
            }
            assert!(handle.staleness().unwrap() < FRESH);
            handle.barrier(Duration::from_secs(5)).await.unwrap();
            assert!(handle.staleness().unwrap() < FRESH);
        }
        handle.stop().await;
        let when_stopped = handle.staleness().unwrap();
        assert!(handle.staleness().unwrap() >= when_stopped);
    }

    #[test]
    fn an_older_proof_takes_nothing_back() {
        let freshness = Freshness::new();
        assert_eq!(freshness.staleness(), None);
        let at = |seconds| freshness.origin + Duration::from_secs(seconds);
        let upper = |proved_at: Instant| Instant::now().saturating_duration_since(proved_at);
        // The origin itself is a proof, and not "never".
        freshness.prove(at(0));
        assert!(freshness.staleness().is_some_and(|age| age <= upper(freshness.origin)));
        // In the future, so that what is compared does not depend on how fast this runs.
        freshness.prove(at(7_200));
        freshness.prove(at(3_600));
        assert_eq!(freshness.staleness(), Some(Duration::ZERO));
        assert_eq!(freshness.proved.load(Ordering::Acquire), 7_200_000_001);
    }
}
