//! What went wrong, and what to do next.

use std::fmt::Write as _;

use meridian_client::Error;
use meridian_client::proto::admin::{Finding, finding::Severity};
use serde::Serialize;

use crate::exit;
use crate::view::clean;

/// Findings told in text; JSON has all of them.
const FINDINGS_SHOWN: usize = 30;

/// A failed command. As JSON, `{"error": {…}}`.
#[derive(Debug)]
pub(crate) struct Problem {
    kind: Kind,
    reason: String,
    message: String,
    hint: String,
    findings: Box<[Finding]>,
    request_id: Option<String>,
}

/// One for each exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Failed,
    Usage,
    NotFound,
    VersionConflict,
    DocumentRefused,
    NotAllowed,
    Unavailable,
    OutcomeUnknown,
}

#[derive(Serialize)]
struct Json<'a> {
    error: Body<'a>,
}

#[derive(Serialize)]
struct Body<'a> {
    code: Kind,
    reason: &'a str,
    message: &'a str,
    hint: &'a str,
    findings: Vec<FindingView<'a>>,
    request_id: Option<&'a str>,
}

/// A remark of a document check.
#[derive(Serialize)]
pub(crate) struct FindingView<'a> {
    severity: &'static str,
    path: &'a str,
    rule: &'a str,
    message: &'a str,
}

impl<'a> From<&'a Finding> for FindingView<'a> {
    fn from(finding: &'a Finding) -> Self {
        let severity = match finding.severity() {
            Severity::Warning => "warning",
            Severity::Error | Severity::Unspecified => "error",
        };
        Self { severity, path: &finding.path, rule: &finding.rule, message: &finding.message }
    }
}

impl FindingView<'_> {
    /// One line.
    pub(crate) fn text(&self) -> String {
        let Self { severity, path, rule, message } = self;
        clean(&format!("{severity}: {path}: {message} ({rule})")).into_owned()
    }
}

impl Problem {
    fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self {
            kind,
            reason: String::new(),
            message: message.into(),
            hint: String::new(),
            findings: Box::default(),
            request_id: None,
        }
    }

    /// Something on this side, before or after the cluster was asked.
    pub(crate) fn local(message: impl Into<String>) -> Self {
        Self::new(Kind::Failed, message)
    }

    /// A document that no SDK could take.
    pub(crate) fn document_too_large(path: &str, limit: u64) -> Self {
        let message = format!("{path:?} holds more than {limit} bytes, which is the limit of a document");
        Self { reason: "invalid-document".to_owned(), ..Self::new(Kind::DocumentRefused, message) }
            .hint("split it over several projects or environments")
    }

    /// Says what to do next.
    pub(crate) fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: hint.into(), ..self }
    }

    #[cfg(test)]
    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    pub(crate) fn exit_code(&self) -> u8 {
        match self.kind {
            Kind::Failed => exit::FAILED,
            Kind::Usage => exit::USAGE,
            Kind::NotFound => exit::NOT_FOUND,
            Kind::VersionConflict => exit::VERSION_CONFLICT,
            Kind::DocumentRefused => exit::DOCUMENT_REFUSED,
            Kind::NotAllowed => exit::NOT_ALLOWED,
            Kind::Unavailable => exit::UNAVAILABLE,
            Kind::OutcomeUnknown => exit::OUTCOME_UNKNOWN,
        }
    }

    /// For people, without a line end.
    pub(crate) fn text(&self) -> String {
        let mut text = format!("error: {}", clean(&self.message));
        for finding in self.findings.iter().take(FINDINGS_SHOWN) {
            let _ = write!(text, "\n  {}", FindingView::from(finding).text());
        }
        if let Some(more @ 1..) = self.findings.len().checked_sub(FINDINGS_SHOWN) {
            let _ = write!(text, "\n  and {more} more: --output json lists them all");
        }
        if !self.hint.is_empty() {
            let _ = write!(text, "\nhint: {}", self.hint);
        }
        text
    }

    /// For programs, one line without its end.
    pub(crate) fn json(&self) -> String {
        let body = Body {
            code: self.kind,
            reason: &self.reason,
            message: &self.message,
            hint: &self.hint,
            findings: self.findings.iter().map(FindingView::from).collect(),
            request_id: self.request_id.as_deref(),
        };
        serde_json::to_string(&Json { error: body }).expect("strings and numbers are always JSON")
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        let message = error.to_string();
        match error {
            Error::Refused { reason, findings, current_version, .. } => {
                let (kind, hint) = if reason == "version-conflict" {
                    let hint = format!(
                        "look at version {current_version} with `meridian get` or `meridian diff`, then repeat with \
                         --expect-version {current_version}"
                    );
                    (Kind::VersionConflict, hint)
                } else if !findings.is_empty() {
                    let hint = "correct the document; `meridian publish … --validate-only` checks it without publishing";
                    (Kind::DocumentRefused, hint.to_owned())
                } else {
                    (Kind::Failed, String::new())
                };
                Self { reason, findings: findings.into(), ..Self::new(kind, message) }.hint(hint)
            }
            Error::NotFound { reason, .. } => {
                let hint = match reason.as_str() {
                    "nothing-published" => "publish something with `meridian publish`",
                    "unknown-key" => "`meridian key list` shows what there is",
                    "unknown-version" => "`meridian history PROJECT/ENV` shows what there is",
                    _ => "`meridian project list` shows the projects, their environments and newest versions",
                };
                Self { reason, ..Self::new(Kind::NotFound, message) }.hint(hint)
            }
            Error::Invalid { .. } | Error::Malformed { .. } => Self::new(Kind::Failed, message),
            Error::Unauthenticated { .. } => Self::new(Kind::NotAllowed, message)
                .hint("give the operator token with --token or MERIDIAN_TOKEN"),
            Error::PermissionDenied { .. } => Self::new(Kind::NotAllowed, message)
                .hint("this takes an operator token; an SDK key only reads its own environment"),
            Error::Busy { .. } => Self::new(Kind::Failed, message).hint("wait a moment and repeat"),
            Error::Unavailable { .. } => Self::new(Kind::Unavailable, message)
                .hint("nothing was changed; see that nodes run there, or name others with --endpoints or MERIDIAN_ENDPOINTS"),
            Error::Unknown { request_id, .. } => {
                let hint = format!(
                    "the change may have been made; repeat the command with --request-id {request_id}: it is made at \
                     most once, and the answer is the first outcome"
                );
                Self { request_id: Some(request_id), ..Self::new(Kind::OutcomeUnknown, message) }.hint(hint)
            }
            Error::Options(_) => Self::new(Kind::Usage, message),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(path: &str, severity: Severity) -> Finding {
        Finding {
            path: path.to_owned(),
            rule: "statsig/unknown-condition".to_owned(),
            message: "no SDK knows this condition".to_owned(),
            severity: severity.into(),
        }
    }

    fn refused(reason: &str, findings: Vec<Finding>) -> Error {
        let (reason, message) = (reason.to_owned(), "refused".to_owned());
        Error::Refused { reason, message, findings, current_version: 42 }
    }

    #[test]
    fn each_error_has_its_exit_code() {
        let text = String::new;
        for (error, code) in [
            (refused("version-conflict", vec![]), exit::VERSION_CONFLICT),
            (refused("invalid-document", vec![finding("$", Severity::Error)]), exit::DOCUMENT_REFUSED),
            (refused("exists", vec![]), exit::FAILED),
            (Error::NotFound { reason: text(), message: text() }, exit::NOT_FOUND),
            (Error::Invalid { message: text() }, exit::FAILED),
            (Error::Malformed { missing: "release" }, exit::FAILED),
            (Error::Unauthenticated { message: text() }, exit::NOT_ALLOWED),
            (Error::PermissionDenied { message: text() }, exit::NOT_ALLOWED),
            (Error::Busy { message: text() }, exit::FAILED),
            (Error::Unavailable { message: text() }, exit::UNAVAILABLE),
            (Error::Unknown { request_id: text(), message: text() }, exit::OUTCOME_UNKNOWN),
            (Error::Options("no endpoint was given"), exit::USAGE),
        ] {
            assert_eq!(Problem::from(error.clone()).exit_code(), code, "{error:?}");
        }
    }

    #[test]
    fn findings_and_the_way_out_are_told() {
        let problem =
            Problem::from(refused("invalid-document", vec![finding("$.a\u{1b}[0m", Severity::Error)]));
        assert_eq!(
            problem.text(),
            "error: refused\n  \
             error: $.a\\u{1b}[0m: no SDK knows this condition (statsig/unknown-condition)\n\
             hint: correct the document; `meridian publish … --validate-only` checks it without publishing"
        );
        assert_eq!(
            problem.json(),
            r#"{"error":{"code":"document_refused","reason":"invalid-document","message":"refused","hint":"correct the document; `meridian publish … --validate-only` checks it without publishing","findings":[{"severity":"error","path":"$.a\u001b[0m","rule":"statsig/unknown-condition","message":"no SDK knows this condition"}],"request_id":null}}"#
        );
    }

    #[test]
    fn many_findings_are_counted() {
        let problem = Problem::from(refused("invalid-document", vec![finding("$", Severity::Error); 100]));
        assert_eq!(problem.text().lines().count(), 1 + FINDINGS_SHOWN + 1 + 1);
        assert!(problem.text().contains("and 70 more"));
    }

    #[test]
    fn an_unknown_outcome_names_the_id_to_repeat_with() {
        let problem =
            Problem::from(Error::Unknown { request_id: "id-7".into(), message: "no answer".into() });
        assert!(problem.text().contains("--request-id id-7"), "{}", problem.text());
        assert!(problem.json().contains(r#""request_id":"id-7""#), "{}", problem.json());
    }
}
