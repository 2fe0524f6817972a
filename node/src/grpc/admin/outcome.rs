//! What became of a change whose outcome its caller does not know.

use meridian_model::{Mutation, Outcome, Refusal};
use meridian_proto::admin::get_outcome_response::State;
use meridian_proto::admin::{GetOutcomeRequest, GetOutcomeResponse};
use tokio::time::Instant;
use tonic::{Request, Status};

use super::Admin;
use super::change::Change;
use crate::grpc::status;

impl Admin {
    pub(super) async fn get_outcome(
        &self,
        request: Request<GetOutcomeRequest>,
    ) -> Result<GetOutcomeResponse, Status> {
        if request.get_ref().request_id.is_empty() {
            return Err(Status::invalid_argument(
                "request_id is empty: name the request that is asked about",
            ));
        }
        let change = Change::asked_by(&request, &request.get_ref().request_id)?;
        let timeout = change.until.saturating_duration_since(Instant::now());
        if request.get_ref().settle {
            // It goes by the log: what is decided there first, the change or this, is the outcome.
            let settled = self.handle.propose(change.id, change.actor, Mutation::Settle, timeout).await;
            let settled = settled.map_err(|error| status::propose(&error, change.id))?;
            return Ok(shown(Some(&settled.outcome), settled.revision));
        }
        let known = self.handle.outcome(change.id, timeout).await;
        let (outcome, revision) = known.map_err(|error| status::barrier(&error))?;
        Ok(shown(outcome.as_ref(), revision))
    }
}

fn shown(outcome: Option<&Outcome>, revision: u64) -> GetOutcomeResponse {
    let mut answer = GetOutcomeResponse { revision, ..Default::default() };
    let state = match outcome {
        None => State::Undecided,
        Some(Outcome::Done) => State::Done,
        Some(Outcome::Published { version, time_ms }) => {
            (answer.version, answer.time_ms) = (*version, *time_ms);
            State::Done
        }
        Some(Outcome::Refused(Refusal::Abandoned)) => State::Abandoned,
        Some(Outcome::Refused(refusal)) => {
            answer.reason = status::reason(refusal).1.to_owned();
            answer.message = refusal.to_string();
            State::Refused
        }
    };
    answer.set_state(state);
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_outcome_is_told_apart() {
        let exists = Outcome::Refused(Refusal::Exists("shop".to_owned()));
        for (outcome, state, version, reason) in [
            (None, State::Undecided, 0, ""),
            (Some(Outcome::Done), State::Done, 0, ""),
            (Some(Outcome::Published { version: 7, time_ms: 9 }), State::Done, 7, ""),
            (Some(exists), State::Refused, 0, "exists"),
            (Some(Outcome::Refused(Refusal::Abandoned)), State::Abandoned, 0, ""),
        ] {
            let answer = shown(outcome.as_ref(), 5);
            assert_eq!((answer.state(), answer.version, answer.reason.as_str()), (state, version, reason));
            assert_eq!((answer.revision, answer.message.is_empty()), (5, reason.is_empty()));
        }
    }
}
