//! Changes: what the leader alone decides.

use std::sync::Arc;

use crate::Error;
use crate::call::{Ask, Call, Caller};
use crate::peer::Peer;
use crate::pool::Rotation;
use crate::verdict::Verdict;

/// Leader hints followed without a pause. Two nodes may name each other while leadership moves.
const HINTS_IN_A_ROW: u32 = 2;

/// What a call can leave behind.
#[derive(Clone, Copy)]
pub(crate) enum Effect<'a> {
    /// Nothing: a dry run, a question.
    None,
    /// A change, known to the cluster by this request id: a repeat does nothing more.
    Change(&'a str),
    /// A state that was asked for: asking again for what is already so does nothing more. It may take as long as the
    /// call, and a repeat would be told that the first attempt is under way: so only broken connections are repeated.
    State,
}

impl Caller {
    /// Follows the leader until it answers or the deadline passes. The message carries the id that `effect` names.
    pub(crate) async fn change<M, T>(
        &self,
        effect: Effect<'_>,
        message: M,
        send: impl Ask<M, T>,
    ) -> Result<T, Error>
    where
        M: Clone,
    {
        let mut call = match effect {
            Effect::None | Effect::Change(_) => Call::start(self),
            Effect::State => Call::patient(self),
        };
        let mut rotation = Rotation::default();
        let mut hints_in_a_row = 0;
        let mut in_doubt = false;
        // Until the others have voted they name a leader that is gone.
        let mut lost: Option<Arc<Peer>> = None;
        let mut next = self.pool.leader();
        loop {
            let peer = match next.take() {
                Some(peer) => peer,
                None => match rotation.next(&self.pool, call.deadline).await {
                    Ok(peer) => peer,
                    Err(unresolved) => {
                        call.note_unresolved(unresolved);
                        if call.pause().await {
                            continue;
                        }
                        return Err(give_up(&call, effect, in_doubt));
                    }
                },
            };
            let leader = match self.attempt(&peer, call.attempt_ends(), message.clone(), &send).await {
                Ok(answer) => {
                    self.pool.set_leader(Some(peer));
                    return Ok(answer);
                }
                Err(Verdict::Final(error)) if !in_doubt || error.is_decision() => return Err(error),
                Err(verdict @ Verdict::Final(_)) => {
                    call.note(&peer, verdict);
                    return Err(give_up(&call, effect, in_doubt));
                }
                // A node that only does not lead is as good as any for reads: it has not failed.
                Err(Verdict::Elsewhere { leader, why }) => {
                    call.note_text(&peer.label, why);
                    leader
                }
                Err(verdict) => {
                    in_doubt |= matches!(verdict, Verdict::Ambiguous { .. } | Verdict::Silent);
                    call.note(&peer, verdict);
                    lost = Some(peer);
                    None
                }
            };
            let leader = leader.map(|endpoint| self.pool.at(endpoint));
            let leader = leader.filter(|leader| lost.as_ref().is_none_or(|lost| !Arc::ptr_eq(lost, leader)));
            self.pool.set_leader(None);
            let time_is_left = if leader.is_some() && hints_in_a_row < HINTS_IN_A_ROW {
                hints_in_a_row += 1;
                !call.is_over()
            } else {
                hints_in_a_row = 0;
                call.pause().await
            };
            if !time_is_left {
                return Err(give_up(&call, effect, in_doubt));
            }
            next = leader;
        }
    }
}

fn give_up(call: &Call, effect: Effect<'_>, in_doubt: bool) -> Error {
    let message = call.summary();
    match effect {
        Effect::Change(request_id) if in_doubt => {
            Error::Unknown { request_id: request_id.to_owned(), message }
        }
        Effect::State if in_doubt => Error::MaybeDone { message },
        Effect::Change(_) | Effect::State | Effect::None => Error::Unavailable { message },
    }
}
