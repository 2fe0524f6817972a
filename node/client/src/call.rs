//! The attempts of one call: whom to ask next, how long to wait, and what to say when time runs out.

use std::time::Duration;

use tokio::time::{Instant, sleep_until, timeout_at};
use tonic::metadata::{Ascii, MetadataValue};
use tonic::{Request, Response, Status};

use crate::backoff::Backoff;
use crate::line::Line;
use crate::pool::{Peer, Pool, Rotation};
use crate::verdict::{Verdict, judge};
use crate::{Endpoint, Error};

/// Leader hints followed without a pause. Two nodes may name each other while leadership moves.
const HINTS_IN_A_ROW: u32 = 2;

/// A node is told to stop working for us a little after we stop waiting, so that the two never race.
const NODE_SLACK: Duration = Duration::from_millis(100);

/// Endpoints whose last failure is told in an error: enough to see what is wrong, few enough to read.
const NOTES: usize = 16;

/// Whether a call can leave something behind.
#[derive(Clone, Copy)]
pub(crate) enum Effect<'a> {
    /// A dry run.
    None,
    /// A change, known to the cluster by this request id.
    Change(&'a str),
}

/// Who is called, and with how much patience. Shared by all calls of a client.
pub(crate) struct Caller {
    pub(crate) pool: Pool,
    pub(crate) authorization: Option<MetadataValue<Ascii>>,
    pub(crate) deadline: Duration,
    pub(crate) attempt_timeout: Duration,
}

impl Caller {
    /// Asks the endpoints in order until one gives a definite answer, and again until the deadline; but not again
    /// when none of them accepts a connection.
    pub(crate) async fn read<M, T, F, Fut>(&self, message: M, send: F) -> Result<T, Error>
    where
        M: Clone,
        F: Fn(Line, Request<M>) -> Fut,
        Fut: Future<Output = Result<Response<T>, Status>>,
    {
        let mut call = Call::start(self);
        loop {
            let mut reached = false;
            for peer in self.pool.by_health() {
                match call.attempt(&peer, &message, &send).await {
                    Ok(answer) => return Ok(answer),
                    Err(Verdict::Final(error)) => return Err(error),
                    Err(Verdict::Unreachable { why }) => call.note(&peer, why),
                    Err(Verdict::Ambiguous { why }) => {
                        reached = true;
                        call.note(&peer, why);
                    }
                    Err(Verdict::Elsewhere { why, .. }) => {
                        reached = true;
                        peer.failed(&why);
                        call.note(&peer, why);
                    }
                }
                if call.is_over() {
                    return Err(Error::Unavailable { message: call.summary() });
                }
            }
            if !reached || !call.pause().await {
                return Err(Error::Unavailable { message: call.summary() });
            }
        }
    }

    /// Follows the leader until it answers or the deadline passes. The message carries the id that `effect` names.
    pub(crate) async fn change<M, T, F, Fut>(
        &self,
        effect: Effect<'_>,
        message: M,
        send: F,
    ) -> Result<T, Error>
    where
        M: Clone,
        F: Fn(Line, Request<M>) -> Fut,
        Fut: Future<Output = Result<Response<T>, Status>>,
    {
        let mut call = Call::start(self);
        let mut rotation = Rotation::default();
        let mut hints_in_a_row = 0;
        let mut in_doubt = false;
        let mut peer = self.pool.leader().unwrap_or_else(|| rotation.next(&self.pool));
        loop {
            let leader = match call.attempt(&peer, &message, &send).await {
                Ok(answer) => {
                    self.pool.set_leader(Some(peer));
                    return Ok(answer);
                }
                Err(Verdict::Final(error)) if !in_doubt || error.is_decision() => return Err(error),
                Err(Verdict::Final(error)) => {
                    call.note(&peer, error.to_string());
                    return Err(call.give_up(effect, in_doubt));
                }
                // A node that only does not lead is as good as any for reads: it has not failed.
                Err(Verdict::Elsewhere { leader, why }) => {
                    call.note(&peer, why);
                    leader
                }
                Err(Verdict::Unreachable { why }) => {
                    call.note(&peer, why);
                    None
                }
                Err(Verdict::Ambiguous { why }) => {
                    in_doubt = true;
                    call.note(&peer, why);
                    None
                }
            };
            self.pool.set_leader(None);
            let time_is_left = if leader.is_some() && hints_in_a_row < HINTS_IN_A_ROW {
                hints_in_a_row += 1;
                !call.is_over()
            } else {
                hints_in_a_row = 0;
                call.pause().await
            };
            if !time_is_left {
                return Err(call.give_up(effect, in_doubt));
            }
            peer = match leader {
                Some(endpoint) => self.pool.at(endpoint),
                None => rotation.next(&self.pool),
            };
        }
    }

    /// A line to this node. The error says why there is none; nothing was sent then.
    pub(crate) async fn line(&self, peer: &Peer) -> Result<Line, String> {
        let connection = peer.connect().await?;
        Ok(Line { connection, authorization: self.authorization.clone() })
    }
}

/// The course of one call.
struct Call<'a> {
    caller: &'a Caller,
    deadline: Instant,
    patience: Duration,
    backoff: Backoff,
    /// What came of the last attempt at each endpoint; at most [`NOTES`].
    notes: Vec<(Endpoint, String)>,
}

impl<'a> Call<'a> {
    fn start(caller: &'a Caller) -> Self {
        Self {
            caller,
            deadline: Instant::now() + caller.deadline,
            patience: caller.attempt_timeout,
            backoff: Backoff::within_a_call(),
            notes: Vec::new(),
        }
    }

    /// One attempt. Remembers of the node what is certain whatever was asked: that it answered, or did not.
    async fn attempt<M, T, F, Fut>(&mut self, peer: &Peer, message: &M, send: &F) -> Result<T, Verdict>
    where
        M: Clone,
        F: Fn(Line, Request<M>) -> Fut,
        Fut: Future<Output = Result<Response<T>, Status>>,
    {
        let until = self.deadline.min(Instant::now() + self.patience);
        let line = match timeout_at(until, self.caller.line(peer)).await {
            Ok(line) => line.map_err(|why| Verdict::Unreachable { why })?,
            Err(_) => {
                let why = "cannot connect in time".to_owned();
                peer.failed(&why);
                return Err(Verdict::Unreachable { why });
            }
        };
        let connection = line.connection.number;
        let mut request = line.request(message.clone());
        request.set_timeout(until.saturating_duration_since(Instant::now()) + NODE_SLACK);
        let verdict = match timeout_at(until, send(line, request)).await {
            Ok(Ok(response)) => {
                peer.answered();
                return Ok(response.into_inner());
            }
            Ok(Err(status)) => judge(&status),
            Err(_) => {
                self.patience *= 2;
                Verdict::Ambiguous { why: "no answer in time".to_owned() }
            }
        };
        match &verdict {
            Verdict::Final(_) => peer.answered(),
            Verdict::Elsewhere { .. } => {}
            Verdict::Unreachable { why } | Verdict::Ambiguous { why } => {
                peer.failed(why);
                peer.disconnect(connection);
            }
        }
        tracing::debug!(endpoint = %peer.endpoint, ?verdict, "attempt failed");
        Err(verdict)
    }

    fn note(&mut self, peer: &Peer, why: String) {
        if let Some((_, last)) = self.notes.iter_mut().find(|(endpoint, _)| *endpoint == peer.endpoint) {
            *last = why;
        } else if self.notes.len() < NOTES {
            self.notes.push((peer.endpoint.clone(), why));
        }
    }

    fn is_over(&self) -> bool {
        Instant::now() >= self.deadline
    }

    /// Waits before the next round; false when the deadline leaves no time for it.
    async fn pause(&mut self) -> bool {
        let until = Instant::now() + self.backoff.plain();
        if until >= self.deadline {
            return false;
        }
        sleep_until(until).await;
        true
    }

    fn summary(&self) -> String {
        let notes: Vec<_> = self.notes.iter().map(|(endpoint, why)| format!("{endpoint}: {why}")).collect();
        notes.join("; ")
    }

    fn give_up(&self, effect: Effect<'_>, in_doubt: bool) -> Error {
        match effect {
            Effect::Change(request_id) if in_doubt => {
                Error::Unknown { request_id: request_id.to_owned(), message: self.summary() }
            }
            Effect::Change(_) | Effect::None => Error::Unavailable { message: self.summary() },
        }
    }
}
