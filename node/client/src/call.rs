//! One call: its time, its attempts, and what to say when time runs out. Whom it asks is for `read` and `change`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use meridian_proto::config::Stale;
use tokio::time::{Instant, sleep_until, timeout_at};
use tonic::metadata::{Ascii, MetadataValue};
use tonic::{Request, Response, Status};

use crate::Error;
use crate::backoff::Backoff;
use crate::budget::Budget;
use crate::line::Line;
use crate::peer::Peer;
use crate::pool::Pool;
use crate::verdict::{Verdict, judge};

/// A node is told to stop working for us a little after we stop waiting, so that the two never race.
const NODE_SLACK: Duration = Duration::from_millis(100);

/// With less time than this before the deadline no further attempt is made: it would end in doubt, not in an answer.
const LEAST_ATTEMPT: Duration = Duration::from_millis(50);

/// Endpoints whose last failure is told in an error: enough to see what is wrong, few enough to read.
const NOTES: usize = 16;

/// Who is called, and with how much patience. Shared by all calls of a client.
pub(crate) struct Caller {
    pub(crate) pool: Pool,
    pub(crate) authorization: Option<MetadataValue<Ascii>>,
    pub(crate) deadline: Duration,
    pub(crate) attempt_timeout: Duration,
    pub(crate) hedges: Budget,
    pub(crate) retries: Budget,
    pub(crate) tally: Tally,
}

/// What a client has sent, since it was made.
#[derive(Default)]
pub(crate) struct Tally {
    pub(crate) reads: AtomicU64,
    pub(crate) attempts: AtomicU64,
    pub(crate) hedges: AtomicU64,
    pub(crate) retries: AtomicU64,
    pub(crate) held_back: AtomicU64,
}

/// Sends one kind of request over a line. Requests are repeated, so it is called once for each attempt.
pub(crate) trait Ask<M, T>: Fn(Line, Request<M>) -> Self::Answer {
    type Answer: Future<Output = Result<Response<T>, Status>>;
}

impl<M, T, F, Fut> Ask<M, T> for F
where
    F: Fn(Line, Request<M>) -> Fut,
    Fut: Future<Output = Result<Response<T>, Status>>,
{
    type Answer = Fut;
}

impl Caller {
    /// A line to this node. The error says why there is none; nothing was sent then.
    pub(crate) async fn line(&self, peer: &Peer) -> Result<Line, String> {
        let connection = peer.connect().await?;
        Ok(Line { connection, authorization: self.authorization.clone() })
    }

    /// One attempt. Remembers of the node what is certain whatever was asked: that it answered, or did not.
    pub(crate) async fn attempt<M, T>(
        &self,
        peer: &Peer,
        until: Instant,
        message: M,
        send: &impl Ask<M, T>,
    ) -> Result<T, Verdict> {
        let line = match timeout_at(until, self.line(peer)).await {
            Ok(line) => line.map_err(|why| Verdict::Unreachable { why })?,
            Err(_) => {
                let why = "cannot connect in time".to_owned();
                peer.failed(&why);
                return Err(Verdict::Unreachable { why });
            }
        };
        let connection = line.connection.number;
        let mut request = line.request(message);
        let sent = Instant::now();
        request.set_timeout(until.saturating_duration_since(sent) + NODE_SLACK);
        self.tally.attempts.fetch_add(1, Relaxed);
        peer.asked();
        let verdict = match timeout_at(until, send(line, request)).await {
            Ok(Ok(response)) => {
                peer.answered(sent);
                return Ok(response.into_inner());
            }
            Ok(Err(status)) => judge(&status),
            Err(_) => Verdict::Silent,
        };
        match &verdict {
            Verdict::Final(_) | Verdict::Stale(_) => peer.answered(sent),
            Verdict::Elsewhere { .. } | Verdict::Ambiguous { is_broken: false, .. } => peer.heard(),
            Verdict::Unreachable { why } | Verdict::Ambiguous { why, .. } => peer.broke(connection, why),
            Verdict::Silent => peer.kept_silent(connection, sent, "no answer in time"),
        }
        tracing::debug!(endpoint = %peer.label, ?verdict, "attempt failed");
        Err(verdict)
    }
}

/// The course of one call.
pub(crate) struct Call {
    pub(crate) deadline: Instant,
    patience: Duration,
    backoff: Backoff,
    /// What came of the last attempt at each endpoint; at most [`NOTES`].
    notes: Vec<(Arc<str>, String)>,
    /// The best of the nodes that could not prove what was demanded.
    stale: Option<Box<Stale>>,
    /// What a node said that may only be behind.
    denied: Option<Error>,
}

impl Call {
    pub(crate) fn start(caller: &Caller) -> Self {
        Self {
            deadline: Instant::now() + caller.deadline,
            patience: caller.attempt_timeout,
            backoff: Backoff::within_a_call(),
            notes: Vec::new(),
            stale: None,
            denied: None,
        }
    }

    /// For what takes as long as it takes: no attempt ends before the call does, unless its connection breaks.
    pub(crate) fn patient(caller: &Caller) -> Self {
        Self { patience: caller.deadline, ..Self::start(caller) }
    }

    /// When an attempt that begins now is over.
    pub(crate) fn attempt_ends(&self) -> Instant {
        self.deadline.min(Instant::now() + self.patience)
    }

    /// Takes down what came of an attempt; an attempt that got no answer in time lets the next one have more of it.
    pub(crate) fn note(&mut self, peer: &Peer, verdict: Verdict) {
        if verdict == Verdict::Silent {
            self.patience = self.patience.saturating_mul(2);
        }
        if let Verdict::Stale(stale) = &verdict
            && self.stale.as_ref().is_none_or(|best| rank(stale) > rank(best))
        {
            self.stale = Some(stale.clone());
        }
        if let Verdict::Final(error) = &verdict
            && error.may_be_outdated()
        {
            self.denied = Some(error.clone());
        }
        self.note_text(&peer.label, verdict.why());
    }

    /// Whether a node said no that may only be behind, and none was found that knows more.
    pub(crate) fn is_denied(&self) -> bool {
        self.denied.is_some() && self.stale.is_none()
    }

    pub(crate) fn note_text(&mut self, label: &Arc<str>, why: String) {
        if let Some((_, last)) = self.notes.iter_mut().find(|(known, _)| known == label) {
            *last = why;
        } else if self.notes.len() < NOTES {
            self.notes.push((label.clone(), why));
        }
    }

    /// Takes down the endpoints behind which no node is known.
    pub(crate) fn note_unresolved(&mut self, unresolved: Vec<(crate::Endpoint, String)>) {
        for (endpoint, why) in unresolved {
            self.note_text(&endpoint.to_string().into(), why);
        }
    }

    /// Whether the deadline leaves no time for another attempt.
    pub(crate) fn is_over(&self) -> bool {
        Instant::now() + LEAST_ATTEMPT >= self.deadline
    }

    /// Waits before the next round; false when the deadline leaves no time for it.
    pub(crate) async fn pause(&mut self) -> bool {
        let until = Instant::now() + self.backoff.pause();
        if until + LEAST_ATTEMPT >= self.deadline {
            return false;
        }
        sleep_until(until).await;
        true
    }

    /// What came of the last attempt at each endpoint.
    pub(crate) fn summary(&self) -> String {
        let notes: Vec<_> = self.notes.iter().map(|(label, why)| format!("{label}: {why}")).collect();
        notes.join("; ")
    }

    /// How a read ends that nobody answered.
    pub(crate) fn unanswered(self) -> Error {
        let message = self.summary();
        match self.stale {
            Some(stale) => Error::Stale {
                message,
                version: stale.version,
                freshness: Box::new(stale.freshness.unwrap_or_default()),
            },
            None => self.denied.unwrap_or(Error::Unavailable { message }),
        }
    }
}

/// Newest version first; then the one that is complete up to the latest.
fn rank(stale: &Stale) -> (u64, u64) {
    (stale.version, stale.freshness.as_ref().map_or(0, |freshness| freshness.fresh_as_of_ms))
}
