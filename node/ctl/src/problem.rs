//! What went wrong, and what to do next.

use std::fmt::Write as _;

use meridian_client::Error;
use meridian_client::proto::admin::{Finding, finding::Severity};
use serde::Serialize;

use crate::exit;
use crate::view::{Goal, clean, span};

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
    Stale,
    Unhealthy,
    NotInTime,
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

    /// No node says of itself that it leads.
    pub(crate) fn nobody_leads() -> Self {
        Self::new(Kind::Unhealthy, "nobody leads, as far as the node that answered knows")
            .hint("`meridian status` says which voters answer; reads go on meanwhile, changes wait")
    }

    /// Nodes that were asked to leave service, or to come back, have not yet. What was asked stays in force.
    pub(crate) fn not_in_time(goal: Goal, missing: &[String]) -> Self {
        let (what, still) = match goal {
            Goal::Drained => ("safe to stop", "the nodes go on draining"),
            Goal::Serving => ("back in service", "the nodes go on coming back"),
        };
        let message = format!("not {what} in time: {}", missing.join("; "));
        Self::new(Kind::NotInTime, message)
            .hint(format!("{still}: wait for them with the same command, or look with `meridian status`"))
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
            Kind::Stale => exit::STALE,
            Kind::Unhealthy => exit::UNHEALTHY,
            Kind::NotInTime => exit::NOT_IN_TIME,
        }
    }

    /// For people, without a line end.
    pub(crate) fn text(&self) -> String {
        let mut text = format!("error: {}", clean(&self.message));
        // What is not about a document stands in the message already.
        let findings = || self.findings.iter().filter(|finding| !finding.path.is_empty());
        for finding in findings().take(FINDINGS_SHOWN) {
            let _ = write!(text, "\n  {}", FindingView::from(finding).text());
        }
        if let Some(more @ 1..) = findings().count().checked_sub(FINDINGS_SHOWN) {
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
                let (kind, hint) = match reason.as_str() {
                    "version-conflict" => {
                        let hint = format!(
                            "look at version {current_version} with `meridian get` or `meridian diff`, then repeat with \
                             --expect-version {current_version}"
                        );
                        (Kind::VersionConflict, hint)
                    }
                    "placement-conflict" => {
                        (Kind::VersionConflict, "look with `meridian placement show`, then repeat".to_owned())
                    }
                    "invalid-document" => {
                        let hint =
                            "correct the document; `meridian publish … --validate-only` checks it without publishing";
                        (Kind::DocumentRefused, hint.to_owned())
                    }
                    // The other rules are absolute, and each says what to do instead.
                    "member-rules" if message.contains("(can be forced)") => {
                        let hint = "`--force` does it all the same, unless a rule without that mark speaks against it";
                        (Kind::Failed, hint.to_owned())
                    }
                    _ => (Kind::Failed, String::new()),
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
                    "the change may have been made: ask with `meridian outcome {request_id}`, or repeat the command with \
                     --request-id {request_id}: it is made at most once, and the answer is the first outcome"
                );
                Self { request_id: Some(request_id), ..Self::new(Kind::OutcomeUnknown, message) }.hint(hint)
            }
            Error::MaybeDone { .. } => Self::new(Kind::OutcomeUnknown, message)
                .hint("`meridian status` shows what is so now; repeating is safe: what is already so is left as it is"),
            Error::Stale { freshness, version, .. } => {
                let hint = format!(
                    "the best that was found is version {version}, {}; take it by asking for less proof, or name more \
                     nodes with --endpoints",
                    match freshness.staleness_ms {
                        Some(ms) => format!("up to {} old", span(ms)),
                        None => "of unknown age".to_owned(),
                    }
                );
                Self::new(Kind::Stale, message).hint(hint)
            }
            Error::CutShort { .. } => Self::new(Kind::Failed, message).hint("repeat it"),
            Error::Options(_) => Self::new(Kind::Usage, message),
        }
    }
}

#[cfg(test)]
mod tests {
    use meridian_client::proto::config::Freshness;

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

    fn stale(staleness_ms: Option<u64>) -> Error {
        let freshness = Box::new(Freshness { staleness_ms, ..Freshness::default() });
        Error::Stale { message: "a:1: 7.2 s old".to_owned(), version: 4, freshness }
    }

    #[test]
    fn what_cannot_be_proved_says_what_could_be_had() {
        for (staleness_ms, told) in
            [(Some(7_200), "version 4, up to 7.2s old;"), (None, "version 4, of unknown age;")]
        {
            let text = Problem::from(stale(staleness_ms)).text();
            assert!(text.contains(told), "{text}");
        }
    }

    #[test]
    fn each_error_has_its_exit_code() {
        let text = String::new;
        for (error, code) in [
            (refused("version-conflict", vec![]), exit::VERSION_CONFLICT),
            (refused("invalid-document", vec![finding("$", Severity::Error)]), exit::DOCUMENT_REFUSED),
            (refused("exists", vec![]), exit::FAILED),
            (refused("placement-conflict", vec![]), exit::VERSION_CONFLICT),
            (refused("member-rules", vec![finding("", Severity::Error)]), exit::FAILED),
            (Error::NotFound { reason: text(), message: text() }, exit::NOT_FOUND),
            (Error::Invalid { message: text() }, exit::FAILED),
            (Error::Malformed { missing: "release" }, exit::FAILED),
            (Error::Unauthenticated { message: text() }, exit::NOT_ALLOWED),
            (Error::PermissionDenied { message: text() }, exit::NOT_ALLOWED),
            (Error::Busy { message: text() }, exit::FAILED),
            (Error::Unavailable { message: text() }, exit::UNAVAILABLE),
            (Error::Unknown { request_id: text(), message: text() }, exit::OUTCOME_UNKNOWN),
            (Error::MaybeDone { message: text() }, exit::OUTCOME_UNKNOWN),
            (stale(Some(7_200)), exit::STALE),
            (Error::CutShort { received_bytes: 1, expected_bytes: 2, message: text() }, exit::FAILED),
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
    fn a_rule_about_members_is_told_once() {
        let reason = "member-rules".to_owned();
        let message = "4 voters are an even number (can be forced)".to_owned();
        let findings = vec![finding("", Severity::Error)];
        let text = Problem::from(Error::Refused { reason, message, findings, current_version: 0 }).text();
        assert_eq!(
            text,
            "error: 4 voters are an even number (can be forced)\n\
             hint: `--force` does it all the same, unless a rule without that mark speaks against it"
        );
    }

    #[test]
    fn many_findings_are_counted() {
        let problem = Problem::from(refused("invalid-document", vec![finding("$", Severity::Error); 100]));
        assert_eq!(problem.text().lines().count(), 1 + FINDINGS_SHOWN + 1 + 1);
        assert!(problem.text().contains("and 70 more"));
    }

    #[test]
    fn a_wait_that_ran_out_says_what_is_missing() {
        let problem = Problem::not_in_time(Goal::Drained, &["node 1 has 2 streams left".into()]);
        assert_eq!(problem.exit_code(), exit::NOT_IN_TIME);
        assert_eq!(
            problem.text(),
            "error: not safe to stop in time: node 1 has 2 streams left\n\
             hint: the nodes go on draining: wait for them with the same command, or look with `meridian status`"
        );
        assert!(problem.json().contains(r#""code":"not_in_time""#), "{}", problem.json());
        assert_eq!(Problem::nobody_leads().exit_code(), exit::UNHEALTHY);
    }

    #[test]
    fn an_unknown_outcome_names_the_id_to_repeat_with() {
        let problem =
            Problem::from(Error::Unknown { request_id: "id-7".into(), message: "no answer".into() });
        assert!(problem.text().contains("--request-id id-7"), "{}", problem.text());
        assert!(problem.text().contains("`meridian outcome id-7`"), "{}", problem.text());
        assert!(problem.json().contains(r#""request_id":"id-7""#), "{}", problem.json());
    }
}
