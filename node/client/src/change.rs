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
    /// A state that was asked for: asking again for what is already so does nothing more. An attempt may take as long
    /// as the call. What a repeat is refused for says nothing of the attempt before it, which may still be under way.
    State,
    /// A step that a repeat would take once more: none follows an attempt that may have had its effect.
    Step,
}

impl Effect<'_> {
    /// Whether this answer ends a call of which an earlier attempt stayed open.
    fn is_settled_by(self, error: &Error) -> bool {
        match self {
            Self::None => true,
            Self::Change(_) => error.is_decision(),
            Self::State | Self::Step => false,
        }
    }
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
            Effect::State | Effect::Step => Call::patient(self),
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
                Err(Verdict::Final(error)) if !in_doubt || effect.is_settled_by(&error) => {
                    return Err(error);
                }
                // It did nothing, and may have time for the repeat soon.
                Err(verdict @ Verdict::Final(Error::Busy { .. })) => {
                    call.note(&peer, verdict);
                    None
                }
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
                    if in_doubt && matches!(effect, Effect::Step) {
                        return Err(give_up(&call, effect, in_doubt));
                    }
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
        Effect::State | Effect::Step if in_doubt => Error::MaybeDone { message },
        Effect::Change(_) | Effect::State | Effect::Step | Effect::None => Error::Unavailable { message },
    }
}
