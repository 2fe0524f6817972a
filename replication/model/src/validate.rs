//! What each format demands of a document before it may be published.
//!
//! SDKs do not complain: one malformed condition makes a Statsig SDK drop a whole project in silence, and a flagd
//! provider wipes its flags on `{}`. So every such document is refused here, with a list of findings that say
//! where and why. A check is a function of format and bytes alone and never panics. It builds no tree: its time and
//! memory grow with the length of the document, whatever is in it (4 MB of real project: 90 ms on one core, so
//! call it where blocking is fine).
//!
//! An error refuses the document, a warning does not. Keys that a format does not know are left alone: SDKs
//! ignore them, and the next version of a format may bring them.

mod flagd;
mod json;
mod path;
mod shape;
mod statsig;

use std::fmt;

use crate::document::Format;
use crate::limits::DOCUMENT_BYTES;
use path::Path;

/// The most by which a served Statsig document is longer than the published one: the server puts its own
/// `has_updates`, `time` and `checksum` in. They take less today; a rise of this bound would make published
/// documents unservable, so there is room for one more member.
pub const STATSIG_ENVELOPE_BYTES: usize = 128;

/// Findings kept of each severity. A person mends a handful and checks again; the rest is counted.
const KEPT_PER_SEVERITY: usize = 50;

/// The longest document of this format that may be published, in bytes.
pub const fn max_document_bytes(format: Format) -> usize {
    match format {
        Format::Json | Format::Flagd => DOCUMENT_BYTES,
        Format::Statsig => DOCUMENT_BYTES - STATSIG_ENVELOPE_BYTES,
    }
}

/// Checks a document. One that is too long is not parsed at all.
pub fn check(format: Format, document: &[u8]) -> Report {
    let mut findings = Findings::default();
    let limit = max_document_bytes(format);
    if document.len() > limit {
        let text = format_args!(
            "{} bytes, {} more than a {} document may have; SDKs would refuse it",
            document.len(),
            document.len() - limit,
            format.as_str()
        );
        findings.error("document/too-large", &Path::Root, text);
    } else if let Some(root) = json::parse(document, &mut findings) {
        match format {
            Format::Json => {}
            Format::Statsig => statsig::check(root, &mut findings),
            Format::Flagd => flagd::check(root, &mut findings),
        }
    }
    findings.report()
}

/// Whether a finding stops a publish.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Worth a look.
    Warning,
    /// Refused.
    Error,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Warning => "warning",
            Self::Error => "error",
        })
    }
}

/// One remark about a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// JSON path, e.g. `$.feature_gates.checkout.rules[0].conditions`. Long keys are cut.
    pub path: String,
    /// Stable name of the rule, e.g. `statsig/unknown-condition`.
    pub rule: &'static str,
    /// What is wrong and what follows from it. Quotes little of the document.
    pub message: String,
    /// Whether it stops a publish.
    pub severity: Severity,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}: {} ({})", self.severity, self.path, self.message, self.rule)
    }
}

/// What a check found: errors first, 50 of each severity at most. Where more were found, a last finding
/// (`document/more`) of that severity says how many.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    findings: Vec<Finding>,
}

impl Report {
    /// True if the document may be published.
    pub fn is_accepted(&self) -> bool {
        self.errors().next().is_none()
    }

    /// All findings.
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// The findings that stop a publish.
    pub fn errors(&self) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(|finding| finding.severity == Severity::Error)
    }

    /// The findings that do not.
    pub fn warnings(&self) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(|finding| finding.severity == Severity::Warning)
    }
}

/// Collects findings, and only counts those past the bound.
#[derive(Default)]
struct Findings {
    errors: Kept,
    warnings: Kept,
}

#[derive(Default)]
struct Kept {
    findings: Vec<Finding>,
    left_out: usize,
}

impl Findings {
    fn error(&mut self, rule: &'static str, path: &Path<'_>, message: fmt::Arguments<'_>) {
        self.errors.add(Severity::Error, rule, path, message);
    }

    fn warning(&mut self, rule: &'static str, path: &Path<'_>, message: fmt::Arguments<'_>) {
        self.warnings.add(Severity::Warning, rule, path, message);
    }

    fn report(mut self) -> Report {
        self.errors.close(Severity::Error);
        self.warnings.close(Severity::Warning);
        let mut findings = self.errors.findings;
        findings.append(&mut self.warnings.findings);
        Report { findings }
    }
}

impl Kept {
    fn add(&mut self, severity: Severity, rule: &'static str, path: &Path<'_>, message: fmt::Arguments<'_>) {
        if self.findings.len() < KEPT_PER_SEVERITY {
            let finding = Finding { path: path.to_string(), rule, message: message.to_string(), severity };
            self.findings.push(finding);
        } else {
            self.left_out += 1;
        }
    }

    fn close(&mut self, severity: Severity) {
        if self.left_out > 0 {
            let message = format!("{} more of this severity", self.left_out);
            self.findings.push(Finding { path: "$".to_owned(), rule: "document/more", message, severity });
        }
    }
}

#[cfg(test)]
mod tests;
