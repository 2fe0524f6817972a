//! Reading what is certain to be complete: waits until the view holds all that was committed before the call.
//!
//! One question to the leader is under way at a time. Whoever calls meanwhile waits for the next one, because the answer
//! that is on its way may be older than the call; and the next one is for all who came until it was sent. So a node asks
//! at most once per round trip, however many readers it has.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use meridian_model::{Outcome, RequestId};
use tokio::sync::Mutex;
use tokio::time::{sleep, timeout_at};

use crate::handle::Handle;
use crate::member::MemberState;
use crate::read_index::{self, Certainty, Unanswered};

/// Before asking again after a refusal: a node that was just elected answers soon.
const PAUSE_AFTER_REFUSAL: Duration = Duration::from_millis(20);

/// Why it could not be proved that nothing is missing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BarrierError {
    /// Nobody leads, as far as this node knows.
    #[error("no leader is known")]
    NoLeader,
    /// The leader did not answer, or what it knows did not arrive, in time.
    #[error("the leader did not confirm in time")]
    TimedOut,
    /// This node is stopping.
    #[error("this node is stopping")]
    Stopping,
}

/// What a view must have applied to hold everything that was committed at an instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Proof {
    index: u64,
    asked_at: Instant,
}

/// The question that is shared by all who need its answer.
#[derive(Debug, Default)]
pub(crate) struct Barriers {
    /// Calls so far, each of which has its number.
    arrivals: AtomicU64,
    /// Held by whoever asks.
    last: Mutex<Option<Shared>>,
}

/// An answer, and for whom it is.
#[derive(Debug)]
struct Shared {
    /// Number of the last call that came before the question was sent.
    covers: u64,
    answer: Result<Proof, BarrierError>,
}

impl Barriers {
    /// The answer to a question that was sent after this call began: somebody else's, or to an own one.
    async fn share(
        &self,
        deadline: Instant,
        ask: impl AsyncFnOnce() -> Result<Proof, BarrierError>,
    ) -> Result<Proof, BarrierError> {
        let mine = self.arrivals.fetch_add(1, Ordering::SeqCst) + 1;
        let last = timeout_at(deadline.into(), self.last.lock()).await;
        let mut last = last.map_err(|_| BarrierError::TimedOut)?;
        if let Some(shared) = last.as_ref().filter(|shared| shared.covers >= mine) {
            return shared.answer.clone();
        }
        let covers = self.arrivals.load(Ordering::SeqCst);
        let answer = timeout_at(deadline.into(), ask()).await.unwrap_or(Err(BarrierError::TimedOut));
        // This caller's patience says nothing about that of others.
        if answer != Err(BarrierError::TimedOut) {
            *last = Some(Shared { covers, answer: answer.clone() });
        }
        answer
    }
}

/// Asks until there is an answer, or nobody to ask.
async fn ask(state: &MemberState, deadline: Instant) -> Result<Proof, BarrierError> {
    loop {
        let asked_at = Instant::now();
        let patience = deadline.saturating_duration_since(asked_at);
        match read_index::ask(state, Certainty::Majority, patience).await {
            Ok(index) => return Ok(Proof { index, asked_at }),
            Err(Unanswered::NoLeader) => return Err(BarrierError::NoLeader),
            Err(Unanswered::Stopping) => return Err(BarrierError::Stopping),
            Err(Unanswered::Refused) => sleep(PAUSE_AFTER_REFUSAL).await,
        }
    }
}

impl Handle {
    /// Waits until the view holds everything that was committed before this call, and answers its revision.
    /// Concurrent calls share one question to the leader, which confirms with a majority that it leads. Fails at once
    /// when no leader is known.
    pub async fn barrier(&self, timeout: Duration) -> Result<u64, BarrierError> {
        let state = &self.state;
        if state.is_stopping() {
            return Err(BarrierError::Stopping);
        }
        let deadline = Instant::now() + timeout;
        let proof = state.barriers.share(deadline, async || ask(state, deadline).await).await?;
        let reached = timeout_at(deadline.into(), state.catalog.reached(proof.index)).await;
        reached.map_err(|_| BarrierError::TimedOut)?;
        state.freshness.prove(proof.asked_at);
        Ok(state.catalog.revision())
    }

    /// Waits until the view has at least this revision, or the timeout; says whether it has.
    pub async fn reached(&self, revision: u64, timeout: Duration) -> bool {
        tokio::time::timeout(timeout, self.state.catalog.reached(revision)).await.is_ok()
    }

    /// What was decided about a request, of all that was committed before this call, with the revision looked at.
    /// `None`: not decided, or no longer remembered: the newest 131,072 requests are.
    pub async fn outcome(
        &self,
        request: RequestId,
        timeout: Duration,
    ) -> Result<(Option<Outcome>, u64), BarrierError> {
        let deadline = Instant::now() + timeout;
        self.barrier(timeout).await?;
        let decided = self.state.raft.with_state_machine(move |machine| {
            let decided = machine.decided(request);
            Box::pin(async move { decided })
        });
        match timeout_at(deadline.into(), decided).await {
            Ok(Ok(decided)) => Ok(decided),
            Ok(Err(_)) => Err(BarrierError::Stopping),
            Err(_) => Err(BarrierError::TimedOut),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::Arc;

    use tokio::sync::Semaphore;

    use super::*;

    /// Callers in front of a leader that answers when it is let.
    #[derive(Clone, Default)]
    struct Rig {
        barriers: Arc<Barriers>,
        asked: Arc<AtomicU64>,
        answers: Arc<Leader>,
    }

    struct Leader(Semaphore);

    impl Default for Leader {
        fn default() -> Self {
            Self(Semaphore::new(0))
        }
    }

    impl Rig {
        /// One call; the answer's index is the number of the question.
        async fn call(&self, patience: Duration) -> Result<u64, BarrierError> {
            let deadline = Instant::now() + patience;
            let answer = self.barriers.share(deadline, async || {
                let asked_at = Instant::now();
                let index = self.asked.fetch_add(1, Ordering::SeqCst) + 1;
                self.answers.0.acquire().await.unwrap().forget();
                Ok(Proof { index, asked_at })
            });
            Ok(answer.await?.index)
        }

        fn spawn(&self, calls: usize) -> Vec<tokio::task::JoinHandle<Result<u64, BarrierError>>> {
            let rig = self.clone();
            (0..calls)
                .map(move |_| {
                    tokio::spawn({
                        let rig = rig.clone();
                        async move { rig.call(LONG).await }
                    })
                })
                .collect()
        }

        async fn arrived(&self, calls: u64) {
            while self.barriers.arrivals.load(Ordering::SeqCst) < calls {
                tokio::task::yield_now().await;
            }
        }
    }

    const LONG: Duration = Duration::from_secs(30);

    #[tokio::test]
    async fn calls_that_came_too_late_share_the_next_question() {
        let rig = Rig::default();
        let first = rig.spawn(1);
        rig.arrived(1).await;
        let late = rig.spawn(100);
        rig.arrived(101).await;
        assert_eq!(rig.asked.load(Ordering::SeqCst), 1, "one question at a time");
        rig.answers.0.add_permits(2);
        for call in first {
            assert_eq!(call.await.unwrap(), Ok(1));
        }
        for call in late {
            assert_eq!(call.await.unwrap(), Ok(2), "an answer that may be older than the call is none");
        }
        assert_eq!(rig.asked.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn who_gives_up_leaves_the_others_their_own_patience() {
        let rig = Rig::default();
        assert_eq!(rig.call(Duration::from_millis(1)).await, Err(BarrierError::TimedOut));
        let waiting = rig.spawn(1);
        rig.arrived(2).await;
        assert_eq!(rig.call(Duration::from_millis(1)).await, Err(BarrierError::TimedOut));
        rig.answers.0.add_permits(1);
        for call in waiting {
            assert_eq!(call.await.unwrap(), Ok(2));
        }
    }
}
