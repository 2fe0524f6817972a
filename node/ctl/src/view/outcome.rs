//! What became of a change.

use std::io::{self, Write};

use meridian_client::Outcome as Answer;
use serde::Serialize;
use uuid::Uuid;

use super::{View, age, clean};
use crate::exit;

/// `outcome`
#[derive(Serialize)]
pub(crate) struct Outcome {
    request_id: String,
    #[serde(flatten)]
    state: State,
}

#[derive(Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
enum State {
    Undecided {
        /// Everything decided up to here was looked at.
        revision: u64,
    },
    Done {
        /// What a publish or rollback made; 0 for other changes.
        version: u64,
        time_ms: u64,
    },
    Refused {
        reason: String,
        message: String,
    },
    Abandoned,
}

impl Outcome {
    pub(crate) fn new(request_id: Uuid, answer: Answer) -> Self {
        let state = match answer {
            Answer::Undecided { revision } => State::Undecided { revision },
            Answer::Done { version, time_ms } => State::Done { version, time_ms },
            Answer::Refused { reason, message } => State::Refused { reason, message },
            Answer::Abandoned => State::Abandoned,
        };
        Self { request_id: request_id.to_string(), state }
    }

    pub(crate) fn exit_code(&self) -> u8 {
        match self.state {
            State::Done { .. } => exit::OK,
            State::Refused { .. } | State::Abandoned => exit::FAILED,
            State::Undecided { .. } => exit::OUTCOME_UNKNOWN,
        }
    }
}

impl View for Outcome {
    fn text(&self, now_ms: u64, to: &mut dyn Write) -> io::Result<()> {
        let Self { request_id, state } = self;
        match state {
            State::Done { version: 0, time_ms } => writeln!(to, "done {}", age(now_ms, *time_ms)),
            State::Done { version, time_ms } => {
                writeln!(to, "done {}, as version {version}", age(now_ms, *time_ms))
            }
            State::Refused { message, .. } => {
                writeln!(to, "refused, nothing was changed: {}", clean(message))
            }
            State::Abandoned => writeln!(to, "not done, and it never will be"),
            State::Undecided { revision } => writeln!(
                to,
                "not decided up to revision {revision}; an attempt that is still on its way may be. Repeat the change with \
                 --request-id {request_id}, or decide that it is never done: meridian outcome {request_id} --settle"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::golden::{NOW_MS, check};

    #[test]
    fn each_state_has_its_words_and_its_exit_code() {
        let id = "00000000-0000-0000-0000-000000000007";
        let shown = |answer: Answer, code: u8, text: &str, json: &str| {
            let outcome = Outcome::new(Uuid::from_u128(7), answer);
            assert_eq!(outcome.exit_code(), code, "{text}");
            check(&outcome, &format!("{text}\n"), &format!(r#"{{"request_id":"{id}",{json}}}"#));
        };
        shown(
            Answer::Done { version: 5, time_ms: NOW_MS - 5_000 },
            exit::OK,
            "done 5s ago, as version 5",
            r#""state":"done","version":5,"time_ms":1727999995000"#,
        );
        shown(
            Answer::Done { version: 0, time_ms: NOW_MS },
            exit::OK,
            "done now",
            r#""state":"done","version":0,"time_ms":1728000000000"#,
        );
        shown(
            Answer::Refused { reason: "exists".into(), message: "shop exists".into() },
            exit::FAILED,
            "refused, nothing was changed: shop exists",
            r#""state":"refused","reason":"exists","message":"shop exists""#,
        );
        shown(Answer::Abandoned, exit::FAILED, "not done, and it never will be", r#""state":"abandoned""#);
        shown(
            Answer::Undecided { revision: 99 },
            exit::OUTCOME_UNKNOWN,
            &format!(
                "not decided up to revision 99; an attempt that is still on its way may be. Repeat the change with \
                 --request-id {id}, or decide that it is never done: meridian outcome {id} --settle"
            ),
            r#""state":"undecided","revision":99"#,
        );
    }
}
