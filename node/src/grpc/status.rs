//! What each failure is as a gRPC status. One exhaustive match per kind: a new variant asks its question here.

use meridian_model::validate::{Finding, Severity};
use meridian_model::{Refusal, RequestId};
use meridian_proto::admin;
use meridian_replication::{
    BarrierError, ChangeError, Leader, NotReady, ProposeError, ReadError, TransferError,
};
use prost::Message as _;
use tonic::metadata::MetadataValue;
use tonic::{Code, Status};

use super::streams::TooMany;
use super::wire;
use crate::demand::{Malformed, Unproved};
use crate::render::cache;
use crate::service::Away;

/// Metadata in which a node that does not lead names the one that does.
const LEADER: &str = "meridian-leader";

/// Type URL of the refusal in the status details.
const REFUSAL: &str = "type.googleapis.com/meridian.admin.v1.Refusal";

/// Stable reason of a change that the rules about members forbid.
const MEMBERS: &str = "member-rules";

/// Type URL of the stamp in the status details.
const STALE: &str = "type.googleapis.com/meridian.config.v1.Stale";

/// Findings that travel in the status details, encoded. Trailers grow by a third in base64, and clients give up at
/// 8 KiB of them.
const FINDINGS_BYTES: usize = 4 << 10;

/// Characters of a finding in the text of a status. A path says what the document says: it may be long, and three
/// times as long on the wire.
const TEXT_CHARS: usize = 400;

/// This node is going away; another one may serve.
pub(super) fn stopping() -> Status {
    Status::unavailable("this node is stopping: another one may serve")
}

/// This node may not serve yet. Says nothing about who asked: it may not know them yet either.
pub(super) fn not_ready(why: &NotReady) -> Status {
    Status::unavailable(format!("this node is not ready: {why}"))
}

/// This node is not in service; another one is.
pub(super) fn away(away: &Away) -> Status {
    match away {
        Away::Stopping => stopping(),
        Away::Draining | Away::Drained => {
            Status::unavailable(format!("this node is {away}: another one may serve"))
        }
    }
}

/// A demand that cannot be read.
pub(super) fn malformed(malformed: &Malformed) -> Status {
    Status::invalid_argument(malformed.to_string())
}

/// A demand that this node cannot prove. Another one may.
pub(super) fn unproved(unproved: &Unproved) -> Status {
    with_details(Code::FailedPrecondition, unproved.to_string(), STALE, &unproved.stale())
}

/// A credential or a thing that this node does not know, and may only be too far behind to know.
pub(super) fn uncertain(why: &BarrierError) -> Status {
    Status::unavailable(format!("this node cannot tell whether it knows what was asked for: {why}"))
}

/// A stream past a bound.
pub(super) fn too_many(bound: &TooMany) -> Status {
    match bound {
        TooMany::OnNode(_) | TooMany::WithCredential(_) => Status::resource_exhausted(bound.to_string()),
    }
}

/// A proposal without an outcome.
pub(super) fn propose(error: &ProposeError, id: RequestId) -> Status {
    let text = error.to_string();
    match error {
        ProposeError::NotLeader { leader } => not_leader(leader.as_ref()),
        ProposeError::Busy => Status::resource_exhausted(text),
        ProposeError::Unknown => {
            Status::deadline_exceeded(format!("{text}, {}", uuid::Uuid::from_bytes(id.0).hyphenated()))
        }
        ProposeError::Stopping => stopping(),
    }
}

/// Another node leads, or none does. Nothing was done.
pub(super) fn not_leader(leader: Option<&Leader>) -> Status {
    let mut status = Status::unavailable(ProposeError::NotLeader { leader: leader.cloned() }.to_string());
    // An address that is no header value is in the text all the same.
    let hint = leader.and_then(|leader| MetadataValue::try_from(&leader.grpc_address).ok());
    if let Some(hint) = hint {
        status.metadata_mut().insert(LEADER, hint);
    }
    status
}

/// A change of the members without effect, or without a known one.
pub(super) fn members(error: &ChangeError) -> Status {
    let text = error.to_string();
    match error {
        ChangeError::NotLeader { leader } => not_leader(leader.as_ref()),
        ChangeError::Refused(rules) => {
            let findings: Vec<Finding> = rules
                .iter()
                .map(|rule| Finding {
                    path: String::new(),
                    rule: MEMBERS,
                    message: rule.clone(),
                    severity: Severity::Error,
                })
                .collect();
            let details = admin::Refusal {
                reason: MEMBERS.to_owned(),
                findings: fitting(&findings),
                current_version: 0,
            };
            refused(Code::FailedPrecondition, text, details)
        }
        ChangeError::Busy => because(Code::Aborted, "change-under-way", text),
        ChangeError::Unknown => Status::deadline_exceeded(text),
        ChangeError::Stopping => stopping(),
    }
}

/// Leadership that did not move.
pub(super) fn transfer(error: &TransferError) -> Status {
    let text = error.to_string();
    match error {
        TransferError::NotLeader { leader } => not_leader(leader.as_ref()),
        TransferError::Refused(_) => because(Code::FailedPrecondition, "cannot-lead", text),
        TransferError::TimedOut => Status::deadline_exceeded(text),
    }
}

/// A question to the leader without an answer. Nothing was changed by it.
pub(super) fn barrier(error: &BarrierError) -> Status {
    match error {
        BarrierError::NoLeader | BarrierError::TimedOut => Status::unavailable(error.to_string()),
        BarrierError::Stopping => stopping(),
    }
}

/// A refusal for a reason that programs can tell apart.
pub(super) fn because(code: Code, reason: &'static str, text: impl Into<String>) -> Status {
    let details = admin::Refusal { reason: reason.to_owned(), ..Default::default() };
    refused(code, text.into(), details)
}

/// The stable name of a refusal, and how it is shown.
pub(super) fn reason(refusal: &Refusal) -> (Code, &'static str, u64) {
    match refusal {
        Refusal::UnknownProject(_) => (Code::NotFound, "unknown-project", 0),
        Refusal::UnknownEnvironment(_) => (Code::NotFound, "unknown-environment", 0),
        Refusal::UnknownKey(_) => (Code::NotFound, "unknown-key", 0),
        Refusal::UnknownVersion { .. } => (Code::NotFound, "unknown-version", 0),
        Refusal::NoEarlierVersion(_) => (Code::FailedPrecondition, "no-earlier-version", 0),
        Refusal::Exists(_) => (Code::AlreadyExists, "exists", 0),
        Refusal::VersionConflict { current, .. } => (Code::FailedPrecondition, "version-conflict", *current),
        Refusal::LimitReached { .. } => (Code::ResourceExhausted, "limit-reached", 0),
        Refusal::PlacementConflict { current, .. } => {
            (Code::FailedPrecondition, "placement-conflict", *current)
        }
        Refusal::Abandoned => (Code::Aborted, "abandoned", 0),
        Refusal::RequestIdReused => (Code::InvalidArgument, "request-id-reused", 0),
    }
}

/// A change that was decided against, or would be.
pub(super) fn refusal(refusal: &Refusal) -> Status {
    let (code, reason, current_version) = reason(refusal);
    let details = admin::Refusal { reason: reason.to_owned(), findings: Vec::new(), current_version };
    refused(code, refusal.to_string(), details)
}

/// A document that its format forbids. The text carries the first finding, the details as many as fit.
pub(super) fn invalid_document(errors: &[Finding]) -> Status {
    let mut text = "the document is refused".to_owned();
    if let [first, others @ ..] = errors {
        text.push_str(": ");
        text.extend(first.to_string().chars().take(TEXT_CHARS));
        if !others.is_empty() {
            text.push_str(&format!(", and {} more", others.len()));
        }
    }
    let details = admin::Refusal {
        reason: "invalid-document".to_owned(),
        findings: fitting(errors),
        current_version: 0,
    };
    refused(Code::InvalidArgument, text, details)
}

/// Nothing is published in this environment yet.
pub(super) fn nothing_published(environment: &meridian_model::EnvironmentRef) -> Status {
    because(Code::NotFound, "nothing-published", format!("nothing is published in {environment} yet"))
}

/// A document that could not be read from the disk. The disk is this node's: another one may have it.
pub(super) fn read(error: &ReadError) -> Status {
    match error {
        ReadError::Damaged(_) => Status::unavailable(error.to_string()),
        ReadError::Busy => Status::resource_exhausted(error.to_string()),
        ReadError::Empty => Status::unavailable(error.to_string()),
        ReadError::Stopping => stopping(),
    }
}

/// A document that could not be shown.
pub(super) fn rendering(error: &cache::Error) -> Status {
    tracing::error!(error = error as &dyn std::error::Error, "a release cannot be served");
    let text = error.to_string();
    match error {
        // The copy is this node's, another one may have a good one.
        cache::Error::Open(_) | cache::Error::Interrupted => Status::unavailable(text),
        // The same everywhere.
        cache::Error::Statsig { .. } => Status::internal(text),
    }
}

fn refused(code: Code, text: String, refusal: admin::Refusal) -> Status {
    with_details(code, text, REFUSAL, &refusal)
}

fn with_details(code: Code, text: String, type_url: &str, message: &impl prost::Message) -> Status {
    let any = prost_types::Any { type_url: type_url.to_owned(), value: message.encode_to_vec() };
    let details = tonic_types::Status { code: code.into(), message: text.clone(), details: vec![any] };
    Status::with_details(code, text, details.encode_to_vec().into())
}

/// The first findings that fit, and how many do not.
fn fitting(findings: &[Finding]) -> Vec<admin::Finding> {
    let mut room_bytes = FINDINGS_BYTES;
    let mut shown: Vec<admin::Finding> = findings
        .iter()
        .map(wire::finding)
        .take_while(|finding| {
            let left = room_bytes.checked_sub(finding.encoded_len());
            room_bytes = left.unwrap_or(0);
            left.is_some()
        })
        .collect();
    let left_out = findings.len() - shown.len();
    if left_out > 0 {
        shown.push(admin::Finding {
            path: "$".to_owned(),
            rule: "document/more".to_owned(),
            message: format!("{left_out} more findings do not fit into the answer"),
            severity: admin::finding::Severity::Error.into(),
        });
    }
    shown
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn details(status: &Status) -> admin::Refusal {
        let outer = tonic_types::Status::decode(status.details()).unwrap();
        assert_eq!((outer.code, outer.message.as_str()), (status.code().into(), status.message()));
        assert_eq!(outer.details[0].type_url, REFUSAL);
        admin::Refusal::decode(outer.details[0].value.as_slice()).unwrap()
    }

    #[test]
    fn each_refusal_has_a_code_and_a_stable_reason() {
        let environment = || "shop/live".to_owned();
        for (given, code, reason) in [
            (Refusal::UnknownProject(environment()), Code::NotFound, "unknown-project"),
            (Refusal::UnknownEnvironment(environment()), Code::NotFound, "unknown-environment"),
            (Refusal::UnknownKey(environment()), Code::NotFound, "unknown-key"),
            (
                Refusal::UnknownVersion { environment: environment(), version: 3 },
                Code::NotFound,
                "unknown-version",
            ),
            (Refusal::NoEarlierVersion(environment()), Code::FailedPrecondition, "no-earlier-version"),
            (Refusal::Exists(environment()), Code::AlreadyExists, "exists"),
            (
                Refusal::VersionConflict { environment: environment(), current: 7, expected: 6 },
                Code::FailedPrecondition,
                "version-conflict",
            ),
            (
                Refusal::LimitReached { what: environment(), limit: 9 },
                Code::ResourceExhausted,
                "limit-reached",
            ),
            (
                Refusal::PlacementConflict { current: 7, expected: 6 },
                Code::FailedPrecondition,
                "placement-conflict",
            ),
            (Refusal::Abandoned, Code::Aborted, "abandoned"),
            (Refusal::RequestIdReused, Code::InvalidArgument, "request-id-reused"),
        ] {
            let status = refusal(&given);
            assert_eq!((status.code(), status.message()), (code, given.to_string().as_str()));
            let details = details(&status);
            let current = if reason.ends_with("-conflict") { 7 } else { 0 };
            assert_eq!((details.reason.as_str(), details.current_version), (reason, current));
        }
    }

    #[test]
    fn a_proposal_says_where_to_go_and_what_is_known() {
        let id = RequestId([7; 16]);
        let leader = Leader { node_id: 2, grpc_address: "10.0.0.2:7400".to_owned() };
        for (error, code, hint, part) in [
            (
                ProposeError::NotLeader { leader: Some(leader) },
                Code::Unavailable,
                Some("10.0.0.2:7400"),
                "node 2",
            ),
            (ProposeError::NotLeader { leader: None }, Code::Unavailable, None, "no leader"),
            (ProposeError::Busy, Code::ResourceExhausted, None, "too many"),
            (
                ProposeError::Unknown,
                Code::DeadlineExceeded,
                None,
                "the outcome is unknown: repeat the request with the same id, 07070707-0707-0707-0707-070707070707",
            ),
            (ProposeError::Stopping, Code::Unavailable, None, "stopping"),
        ] {
            let status = propose(&error, id);
            assert_eq!(status.code(), code, "{error:?}");
            assert_eq!(status.metadata().get(LEADER).map(|hint| hint.to_str().unwrap()), hint);
            assert!(status.message().contains(part), "{}", status.message());
        }
    }

    #[test]
    fn findings_fit_into_the_trailers_of_any_client() {
        let finding = Finding {
            path: "$.feature_gates.checkout.rules[0].conditions".to_owned(),
            rule: "statsig/unknown-condition",
            message: "x".repeat(200),
            severity: Severity::Error,
        };
        let endless = Finding { path: "$.ä".repeat(5_000), ..finding.clone() };
        for (finding, count, last) in
            [(&finding, 1, "x"), (&finding, 3, "x"), (&finding, 50, "36 more"), (&endless, 2, "2 more")]
        {
            let status = invalid_document(&vec![finding.clone(); count]);
            let details = details(&status);
            assert_eq!(details.reason, "invalid-document");
            assert!(details.findings.last().unwrap().message.starts_with(last), "{count}: {details:?}");
            let mut trailers = axum::http::HeaderMap::new();
            status.add_header(&mut trailers).unwrap();
            let bytes: usize =
                trailers.iter().map(|(name, value)| name.as_str().len() + value.len() + 32).sum();
            assert!(bytes < 8 << 10, "{count} findings are {bytes} bytes");
            assert!(status.message().starts_with("the document is refused: error at $."));
        }
    }
}
