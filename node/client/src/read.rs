//! Reads: whichever node gives a definite answer first.
//!
//! A read asks one node. If that has not answered after the time in which it nearly always does, a second one is asked
//! as well, in another region if there is one, and the first answer counts (a *hedge*). If a node fails, the next one
//! is asked at once (a *retry*). Both are rationed by a [`Budget`](crate::budget::Budget).

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use crate::Error;
use crate::call::{Ask, Call, Caller};
use crate::peer::Peer;
use crate::verdict::Verdict;

/// What a read that failed at some nodes is to say of them.
type Failures = Vec<(Arc<Peer>, Verdict)>;

/// How a read is made.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manner {
    /// One node at a time: for what is costly to answer, and for operators, who ask seldom and can wait.
    Plain,
    /// One node at a time, and each may take as long as the call.
    Patient,
    /// A second node is asked while the first has not answered: for what applications wait for.
    Hedged {
        /// The answer must prove something. A node that is behind cannot, so its word that it knows neither the
        /// environment nor the key does not end the read.
        is_demanding: bool,
    },
}

impl Caller {
    /// Asks the nodes in order until one gives a definite answer, and again until the deadline; but not again when none
    /// of them accepts a connection.
    pub(crate) async fn read<M, T, F>(
        self: &Arc<Self>,
        manner: Manner,
        message: M,
        send: F,
    ) -> Result<T, Error>
    where
        M: Clone + Send + 'static,
        T: Send + 'static,
        F: Ask<M, T, Answer: Send> + Clone + Send + Sync + 'static,
    {
        self.tally.reads.fetch_add(1, Relaxed);
        self.retries.earn();
        let mut call = match manner {
            Manner::Plain => Call::start(self),
            Manner::Patient => Call::patient(self),
            Manner::Hedged { .. } => {
                self.hedges.earn();
                Call::start(self)
            }
        };
        let mut is_first = true;
        loop {
            let round = self.pool.round(call.deadline).await;
            call.note_unresolved(round.unresolved);
            let mut peers = round.peers;
            let mut reached = false;
            while let Some(peer) = peers.pop_front() {
                if !std::mem::take(&mut is_first) && !self.may_retry(&mut call).await {
                    return Err(call.unanswered());
                }
                let until = call.attempt_ends();
                let start = |peer: Arc<Peer>| {
                    let (caller, message, send) = (self.clone(), message.clone(), send.clone());
                    let asked = peer.clone();
                    let task =
                        tokio::spawn(async move { caller.attempt(&asked, until, message, &send).await });
                    Attempt { peer, task }
                };
                let failures = match self.race(manner, start, peer, &mut peers).await {
                    Ok(answer) => return Ok(answer),
                    Err(failures) => failures,
                };
                let mut end = None;
                for (peer, verdict) in failures {
                    match &verdict {
                        Verdict::Final(error) if !error.may_be_outdated() => end = Some(error.clone()),
                        // It answers, and does not serve readers.
                        Verdict::Elsewhere { why, .. } | Verdict::Ambiguous { why, is_broken: false } => {
                            peer.failed(why);
                        }
                        _ => {}
                    }
                    reached |= !matches!(verdict, Verdict::Unreachable { .. });
                    call.note(&peer, verdict);
                }
                if let Some(error) = end {
                    return Err(error);
                }
                let goes_on = manner == Manner::Hedged { is_demanding: true } && any_is_sound(&peers);
                if call.is_denied() && !goes_on || call.is_over() {
                    return Err(call.unanswered());
                }
            }
            if !reached || !call.pause().await {
                return Err(call.unanswered());
            }
        }
    }

    /// Waits for a share of the budget; false when the deadline comes first.
    async fn may_retry(&self, call: &mut Call) -> bool {
        while !self.retries.take() {
            self.tally.held_back.fetch_add(1, Relaxed);
            if !call.pause().await {
                return false;
            }
        }
        self.tally.retries.fetch_add(1, Relaxed);
        true
    }

    /// Asks a node, and after a while another one as well. Attempts that lose go on for themselves until their deadline:
    /// what becomes of them tells how the node is, and cutting slow answers off would make it look faster than it is.
    async fn race<T>(
        &self,
        manner: Manner,
        start: impl Fn(Arc<Peer>) -> Attempt<T>,
        peer: Arc<Peer>,
        others: &mut VecDeque<Arc<Peer>>,
    ) -> Result<T, Failures> {
        let patience = peer.health().hedge_after();
        let mut first = start(peer);
        if !matches!(manner, Manner::Hedged { .. }) {
            return first.end().await.map_err(|verdict| vec![(first.peer, verdict)]);
        }
        if let Some(backup) = backup(others, &first.peer).and_then(|at| others.get(at)) {
            backup.warm_up();
        }
        if let Ok(answer) = timeout(patience, first.end()).await {
            return answer.map_err(|verdict| vec![(first.peer, verdict)]);
        }
        let backup = backup(others, &first.peer).filter(|_| self.hedges.take());
        let Some(backup) = backup.and_then(|at| others.remove(at)) else {
            return first.end().await.map_err(|verdict| vec![(first.peer, verdict)]);
        };
        self.tally.hedges.fetch_add(1, Relaxed);
        tracing::trace!(slow = %first.peer.label, hedge = %backup.label, ?patience, "hedging");
        either(first, start(backup)).await
    }
}

/// An attempt that goes on whether or not anybody waits for it.
struct Attempt<T> {
    peer: Arc<Peer>,
    task: JoinHandle<Result<T, Verdict>>,
}

impl<T> Attempt<T> {
    async fn end(&mut self) -> Result<T, Verdict> {
        // It only fails when the runtime is shut down, and its tasks with it.
        (&mut self.task).await.unwrap_or_else(|error| Err(Verdict::Unreachable { why: error.to_string() }))
    }
}

/// The first answer that counts; or what became of both, when neither does.
async fn either<T>(mut first: Attempt<T>, mut second: Attempt<T>) -> Result<T, Failures> {
    let (answer, ended, mut other) = tokio::select! {
        answer = first.end() => (answer, first.peer, second),
        answer = second.end() => (answer, second.peer, first),
    };
    let verdict = match answer {
        Ok(answer) => return Ok(answer),
        Err(verdict) => verdict,
    };
    if matches!(&verdict, Verdict::Final(error) if !error.may_be_outdated()) {
        return Err(vec![(ended, verdict)]);
    }
    match other.end().await {
        Ok(answer) => {
            if let Verdict::Elsewhere { why, .. } = &verdict {
                ended.failed(why);
            }
            Ok(answer)
        }
        Err(last) => Err(vec![(ended, verdict), (other.peer, last)]),
    }
}

fn any_is_sound(peers: &VecDeque<Arc<Peer>>) -> bool {
    let now = Instant::now();
    peers.iter().any(|peer| peer.is_sound(now))
}

/// Who is asked as well: the next one in another region, or else the next one; nobody who fails or keeps silent.
fn backup(others: &VecDeque<Arc<Peer>>, first: &Peer) -> Option<usize> {
    let now = Instant::now();
    let sound = |at: &usize| others[*at].is_sound(now);
    let elsewhere = (0..others.len()).filter(|at| others[*at].rank != first.rank).find(sound);
    elsewhere.or_else(|| (0..others.len()).find(sound))
}
