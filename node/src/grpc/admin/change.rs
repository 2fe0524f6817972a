//! One change on its way to the log: who asks for it, under which id, and how long they wait.

use std::time::Duration;

use meridian_model::limits::TEXT_BYTES;
use meridian_model::{Mutation, Outcome, RequestId};
use meridian_replication::{Committed, Handle};
use tokio::time::Instant;
use tonic::metadata::MetadataMap;
use tonic::{Request, Status};
use uuid::Uuid;

use crate::auth::Operator;
use crate::grpc::status;

/// How long a change may take when the caller does not say: several elections.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);

/// The longest that a caller may ask for. A change that waits holds memory.
const LONGEST_TIMEOUT: Duration = Duration::from_secs(60);

/// A change before it is proposed.
pub(super) struct Change {
    /// Repeats carry the same one.
    pub(super) id: RequestId,
    /// Who asks, for the record.
    pub(super) actor: String,
    /// When the caller stops waiting.
    pub(super) until: Instant,
}

impl Change {
    /// Reads what a request says beside the change itself.
    pub(super) fn asked_by<T>(request: &Request<T>, request_id: &str) -> Result<Self, Status> {
        // The interceptor in front of the service put it there.
        let operator = request.extensions().get::<Operator>();
        let operator = operator.ok_or_else(|| Status::unauthenticated("changes need an operator token"))?;
        let timeout = timeout(request.metadata())?;
        Ok(Self {
            id: parse_request_id(request_id)?,
            actor: operator.to_string(),
            until: Instant::now() + timeout,
        })
    }

    /// Proposes the change and waits for the decision. A refusal is an error.
    pub(super) async fn commit(self, handle: &Handle, mutation: Mutation) -> Result<Committed, Status> {
        let timeout = self.until.saturating_duration_since(Instant::now());
        let proposed = handle.propose(self.id, self.actor, mutation, timeout).await;
        let committed = proposed.map_err(|error| status::propose(&error, self.id))?;
        match &committed.outcome {
            Outcome::Refused(refusal) => Err(status::refusal(refusal)),
            Outcome::Done | Outcome::Published { .. } => Ok(committed),
        }
    }
}

/// The id that a caller chose; a new one if they did not.
fn parse_request_id(given: &str) -> Result<RequestId, Status> {
    if given.is_empty() {
        return Ok(new_request_id());
    }
    let id = Uuid::try_parse(given).map_err(|_| {
        Status::invalid_argument("request_id is not a UUID: send one, or leave it empty to be given one")
    })?;
    Ok(RequestId(id.into_bytes()))
}

fn new_request_id() -> RequestId {
    RequestId(Uuid::new_v4().into_bytes())
}

/// A text for people: bounded, and without control characters, which would speak to the terminal it is shown on.
pub(super) fn text(what: &str, given: String) -> Result<String, Status> {
    if given.len() > TEXT_BYTES {
        return Err(Status::invalid_argument(format!(
            "{what} has {} bytes: at most {TEXT_BYTES} are kept",
            given.len()
        )));
    }
    if given.chars().any(|c| c.is_control() && c != '\n' && c != '\t') {
        return Err(Status::invalid_argument(format!("{what} has control characters: use plain text")));
    }
    Ok(given)
}

/// How long the caller waits, less a tenth, so that they hear from us and not from their own clock.
fn timeout(metadata: &MetadataMap) -> Result<Duration, Status> {
    let Some(header) = metadata.get("grpc-timeout") else { return Ok(DEFAULT_TIMEOUT) };
    let given = header.to_str().ok().and_then(parse_timeout);
    let given = given.ok_or_else(|| Status::invalid_argument("grpc-timeout is malformed"))?;
    Ok((given - given / 10).min(LONGEST_TIMEOUT))
}

/// At most eight digits and a unit, as the gRPC protocol says.
fn parse_timeout(text: &str) -> Option<Duration> {
    const DIGITS: usize = 8;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.len() > DIGITS || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let count: u64 = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(count * 3_600),
        "M" => Duration::from_secs(count * 60),
        "S" => Duration::from_secs(count),
        "m" => Duration::from_millis(count),
        "u" => Duration::from_micros(count),
        "n" => Duration::from_nanos(count),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use tonic::Code;

    use super::*;

    #[test]
    fn a_request_id_is_a_uuid_or_is_made() {
        let id = parse_request_id("67e55044-10b1-426f-9247-bb680e5fe0c8").unwrap();
        assert_eq!(id.0[..4], [0x67, 0xe5, 0x50, 0x44]);
        assert_ne!(parse_request_id("").unwrap(), parse_request_id("").unwrap());
        for bad in ["1", "not-a-uuid", &"x".repeat(10 << 20)] {
            let refused = parse_request_id(bad).unwrap_err();
            assert_eq!(refused.code(), Code::InvalidArgument);
            assert!(refused.message().len() < 200);
        }
    }

    #[test]
    fn texts_are_bounded_and_plain() {
        for good in ["", "why ✓", "two\nlines\tand a tab", &"x".repeat(TEXT_BYTES)] {
            assert_eq!(text("message", good.to_owned()).unwrap(), good);
        }
        for bad in ["nul\0", "\u{1b}[2J", "\u{9b}", &"x".repeat(TEXT_BYTES + 1)] {
            let refused = text("message", bad.to_owned()).unwrap_err();
            assert_eq!(refused.code(), Code::InvalidArgument);
            assert!(refused.message().starts_with("message has "), "{}", refused.message());
        }
    }

    #[test]
    fn the_callers_deadline_is_honoured_within_bounds() {
        let seconds = |count| Some(Duration::from_secs(count));
        for (header, expected) in [
            (None, seconds(10)),
            (Some("10S"), seconds(9)),
            (Some("10000m"), seconds(9)),
            (Some("1M"), seconds(54)),
            (Some("2M"), seconds(60)),
            (Some("99999999H"), seconds(60)),
            (Some("1000000u"), Some(Duration::from_millis(900))),
            (Some("0n"), seconds(0)),
            (Some("100000000S"), None),
            (Some("-1S"), None),
            (Some("+1S"), None),
            (Some("S"), None),
            (Some("1"), None),
            (Some("1s"), None),
        ] {
            let mut metadata = MetadataMap::new();
            if let Some(header) = header {
                metadata.insert("grpc-timeout", header.parse().unwrap());
            }
            assert_eq!(timeout(&metadata).ok(), expected, "{header:?}");
        }
    }
}
