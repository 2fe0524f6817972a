//! What one failed attempt means for the next one. Decides only; the loop in `call` acts.

use std::error::Error as _;

use meridian_proto::admin::Refusal;
use meridian_proto::config::Stale;
use prost::Message as _;
use tonic::{Code, Status};

use crate::{Endpoint, Error};

/// Metadata in which a node that does not lead names the one that does.
const LEADER: &str = "meridian-leader";

/// Last part of the type URL of a [`Refusal`] among the status details.
const REFUSAL: &str = "/meridian.admin.v1.Refusal";

/// And of a [`Stale`].
const STALE: &str = "/meridian.config.v1.Stale";

/// What a failed attempt says.
#[derive(Debug, PartialEq)]
pub(crate) enum Verdict {
    /// A definite answer: another node would say the same.
    Final(Error),
    /// Nothing was sent: there is no connection.
    Unreachable {
        /// What the network said.
        why: String,
    },
    /// The node did nothing; another one may do it.
    Elsewhere {
        /// Who leads, if the node knew.
        leader: Option<Endpoint>,
        /// What the node said.
        why: String,
    },
    /// The node cannot prove what the reader demands; another one may.
    Stale(Box<Stale>),
    /// A change may have been committed all the same.
    Ambiguous {
        /// What is known.
        why: String,
        /// The connection is of no use any more.
        is_broken: bool,
    },
    /// Nothing came back in time: as ambiguous, and the node may be out of reach.
    Silent,
}

impl Verdict {
    /// For people.
    pub(crate) fn why(self) -> String {
        match self {
            Self::Final(error) => error.to_string(),
            Self::Unreachable { why } | Self::Elsewhere { why, .. } | Self::Ambiguous { why, .. } => why,
            Self::Stale(stale) => stale.reason,
            Self::Silent => "no answer in time".to_owned(),
        }
    }
}

/// Judges the status of an attempt that was sent over an open connection.
pub(crate) fn judge(status: &Status) -> Verdict {
    // The transport gives the statuses it makes itself a source; those that a node sent have none.
    if status.source().is_some() {
        let why = root_cause(status);
        return if causes(status).any(|cause| cause.is::<tonic::ConnectError>()) {
            Verdict::Unreachable { why }
        } else {
            Verdict::Ambiguous { why: format!("the connection broke: {why}"), is_broken: true }
        };
    }
    let why = || match status.message() {
        "" => status.code().description().to_owned(),
        message => message.to_owned(),
    };
    match status.code() {
        // Unimplemented: nodes of two versions serve together while they are being upgraded.
        Code::Unavailable | Code::Unimplemented => Verdict::Elsewhere { leader: leader(status), why: why() },
        Code::Ok
        | Code::Cancelled
        | Code::Unknown
        | Code::DeadlineExceeded
        | Code::Internal
        | Code::DataLoss => Verdict::Ambiguous { why: why(), is_broken: false },
        Code::NotFound => Verdict::Final(Error::NotFound {
            reason: detail::<Refusal>(status, REFUSAL).unwrap_or_default().reason,
            message: why(),
        }),
        Code::Unauthenticated => Verdict::Final(Error::Unauthenticated { message: why() }),
        Code::PermissionDenied => Verdict::Final(Error::PermissionDenied { message: why() }),
        Code::FailedPrecondition if let Some(mut stale) = detail::<Stale>(status, STALE) => {
            if stale.reason.is_empty() {
                stale.reason = why();
            }
            Verdict::Stale(Box::new(stale))
        }
        code @ (Code::InvalidArgument
        | Code::AlreadyExists
        | Code::ResourceExhausted
        | Code::FailedPrecondition
        | Code::Aborted
        | Code::OutOfRange) => Verdict::Final(match (detail(status, REFUSAL), code) {
            (None, Code::InvalidArgument) => Error::Invalid { message: why() },
            (None, Code::ResourceExhausted) => Error::Busy { message: why() },
            (refusal, _) => {
                let Refusal { reason, findings, current_version } = refusal.unwrap_or_default();
                Error::Refused { reason, message: why(), findings, current_version }
            }
        }),
    }
}

/// The innermost cause of an error: the outer ones only say "transport error".
pub(crate) fn root_cause(error: &Dyn) -> String {
    causes(error).last().unwrap_or(error).to_string()
}

fn causes(error: &Dyn) -> impl Iterator<Item = &Dyn> {
    std::iter::successors(Some(error), |error| (*error).source())
}

type Dyn = dyn std::error::Error + 'static;

fn leader(status: &Status) -> Option<Endpoint> {
    status.metadata().get(LEADER)?.to_str().ok()?.parse().ok()
}

fn detail<M: prost::Message + Default>(status: &Status, type_url: &str) -> Option<M> {
    let details = tonic_types::Status::decode(status.details()).ok()?.details;
    let any = details.into_iter().find(|any| any.type_url.ends_with(type_url))?;
    M::decode(any.value.as_slice()).ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use meridian_proto::admin::Finding;

    use super::*;

    fn refused(code: Code, message: &str, refusal: &Refusal) -> Status {
        detailed(code, message, REFUSAL, refusal.encode_to_vec())
    }

    fn detailed(code: Code, message: &str, type_url: &str, value: Vec<u8>) -> Status {
        let any = prost_types::Any { type_url: format!("type.googleapis.com{type_url}"), value };
        let other = prost_types::Any { type_url: "type.googleapis.com/other".into(), value: vec![0xff] };
        let details =
            tonic_types::Status { code: code.into(), message: message.into(), details: vec![other, any] };
        Status::with_details(code, message, details.encode_to_vec().into())
    }

    #[test]
    fn a_refusal_is_decoded() {
        let finding = Finding { path: "$.a".into(), rule: "json/x".into(), ..Finding::default() };
        let refusal =
            Refusal { reason: "version-conflict".into(), findings: vec![finding], current_version: 7 };
        for code in [Code::FailedPrecondition, Code::Aborted, Code::InvalidArgument, Code::ResourceExhausted]
        {
            let Verdict::Final(Error::Refused { reason, message, findings, current_version }) =
                judge(&refused(code, "no", &refusal))
            else {
                panic!("{code:?} is not a refusal");
            };
            assert_eq!((reason.as_str(), message.as_str(), current_version), ("version-conflict", "no", 7));
            assert_eq!(findings, refusal.findings);
        }
        let gone = refused(Code::NotFound, "no", &Refusal { reason: "unknown-key".into(), ..refusal });
        assert!(
            matches!(judge(&gone), Verdict::Final(Error::NotFound { reason, .. }) if reason == "unknown-key")
        );
    }

    #[test]
    fn a_node_that_cannot_prove_a_demand_shows_its_stamp() {
        let stale = Stale { version: 7, reason: "behind".into(), ..Stale::default() };
        let status = detailed(Code::FailedPrecondition, "no", STALE, stale.encode_to_vec());
        assert_eq!(judge(&status), Verdict::Stale(Box::new(stale.clone())));
        let other = detailed(Code::InvalidArgument, "no", STALE, stale.encode_to_vec());
        assert!(matches!(judge(&other), Verdict::Final(_)), "of a stale node only in its own code");
    }

    #[test]
    fn garbage_in_the_details_is_no_refusal() {
        let status = Status::with_details(Code::InvalidArgument, "no", vec![0xff; 40].into());
        assert_eq!(judge(&status), Verdict::Final(Error::Invalid { message: "no".into() }));
    }

    #[test]
    fn each_code_says_what_to_do_next() {
        for (code, expected) in [
            (Code::Unavailable, "elsewhere"),
            (Code::Unimplemented, "elsewhere"),
            (Code::Cancelled, "ambiguous"),
            (Code::Unknown, "ambiguous"),
            (Code::DeadlineExceeded, "ambiguous"),
            (Code::Internal, "ambiguous"),
            (Code::DataLoss, "ambiguous"),
            (Code::NotFound, "final"),
            (Code::InvalidArgument, "final"),
            (Code::PermissionDenied, "final"),
            (Code::Unauthenticated, "final"),
            (Code::AlreadyExists, "final"),
            (Code::FailedPrecondition, "final"),
            (Code::ResourceExhausted, "final"),
        ] {
            let found = match judge(&Status::new(code, "")) {
                Verdict::Final(_) => "final",
                Verdict::Elsewhere { .. } => "elsewhere",
                Verdict::Ambiguous { is_broken: false, .. } => "ambiguous",
                other => panic!("{code:?}: {other:?}"),
            };
            assert_eq!(found, expected, "{code:?}");
        }
    }

    #[test]
    fn a_leader_hint_is_read_if_it_is_an_endpoint() {
        for (hint, expected) in [("10.0.0.1:7400", Some("10.0.0.1:7400")), ("https://x:1", None), ("", None)]
        {
            let mut status = Status::unavailable("not the leader");
            status.metadata_mut().insert(LEADER, hint.parse().unwrap());
            let Verdict::Elsewhere { leader, .. } = judge(&status) else { panic!("not elsewhere") };
            assert_eq!(leader.map(|leader| leader.to_string()).as_deref(), expected);
        }
    }

    #[test]
    fn what_broke_under_way_is_ambiguous_and_what_never_left_is_not() {
        let broken = Status::from_error(Box::new(std::io::Error::from(std::io::ErrorKind::ConnectionReset)));
        assert!(matches!(judge(&broken), Verdict::Ambiguous { is_broken: true, .. }));
        let refused = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
        let never_left = Status::from_error(Box::new(tonic::ConnectError(Box::new(refused))));
        assert!(matches!(judge(&never_left), Verdict::Unreachable { .. }));
    }
}
