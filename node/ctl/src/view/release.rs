//! Releases: one, many, made, compared.

use std::io::{self, Write};
use std::time::Duration;

use bytes::Bytes;
use meridian_client::proto::admin::Finding;
use meridian_client::proto::config;
use meridian_client::{Config, Published, StoredRelease};
use serde::{Serialize, Serializer};

use super::embed::embedded;
use super::table::Table;
use super::{View, age, clean, format_name, short, size};
use crate::names::EnvironmentName;
use crate::problem::FindingView;

/// `get`: in text the document alone, byte for byte.
#[derive(Serialize)]
pub(crate) struct Document {
    version: u64,
    digest: String,
    /// Unix milliseconds. Absent for an old version: history does not age.
    fresh_as_of: Option<u64>,
    /// Whose node answered. Absent for an old version.
    region: Option<String>,
    #[serde(serialize_with = "embedded")]
    document: Bytes,
    /// What else the answer rests on. Absent for an old version.
    #[serde(flatten)]
    stamp: Option<Stamp>,
}

#[derive(Serialize)]
struct Stamp {
    /// Index of the last log entry that the node had applied.
    revision: u64,
    node: u64,
    /// Why newer versions may be missing; empty while the node hears from a leader.
    degraded: String,
    /// For how long the node may have missed something. Absent: it has not heard from a leader since it started.
    staleness_ms: Option<u64>,
}

/// `watch`: in text a line about the release, in JSON the same as `get`.
#[derive(Serialize)]
#[serde(transparent)]
pub(crate) struct Watched {
    document: Document,
    #[serde(skip)]
    release: Release,
}

/// `history`
#[derive(Serialize)]
pub(crate) struct History {
    releases: Vec<Release>,
}

#[derive(Serialize)]
struct Release {
    version: u64,
    digest: String,
    format: &'static str,
    size_bytes: u64,
    author: String,
    message: String,
    time_ms: u64,
    /// 0 for an ordinary publish.
    rollback_of: u64,
}

impl From<Config> for Document {
    fn from(Config { release, freshness, document }: Config) -> Self {
        Self {
            version: release.version,
            digest: release.digest,
            fresh_as_of: Some(freshness.fresh_as_of_ms),
            region: Some(freshness.region),
            document,
            stamp: Some(Stamp {
                revision: freshness.revision,
                node: freshness.node,
                degraded: freshness.degraded,
                staleness_ms: freshness.staleness_ms,
            }),
        }
    }
}

impl From<StoredRelease> for Document {
    fn from(StoredRelease { release, document }: StoredRelease) -> Self {
        let config::Release { version, digest, .. } = release;
        Self { version, digest, fresh_as_of: None, region: None, document, stamp: None }
    }
}

impl From<Config> for Watched {
    fn from(config: Config) -> Self {
        Self { release: config.release.clone().into(), document: config.into() }
    }
}

impl From<Vec<config::Release>> for History {
    fn from(releases: Vec<config::Release>) -> Self {
        Self { releases: releases.into_iter().map(Release::from).collect() }
    }
}

impl From<config::Release> for Release {
    fn from(release: config::Release) -> Self {
        Self {
            version: release.version,
            digest: release.digest,
            format: format_name(release.format),
            size_bytes: release.size_bytes,
            author: release.author,
            message: release.message,
            time_ms: release.time_ms,
            rollback_of: release.rollback_of,
        }
    }
}

impl Release {
    /// The message, and what it restored.
    fn remark(&self) -> String {
        let message = clean(&self.message);
        match (self.rollback_of, message.is_empty()) {
            (0, _) => message.into_owned(),
            (version, true) => format!("(rollback to {version})"),
            (version, false) => format!("{message} (rollback to {version})"),
        }
    }

    fn kind(&self) -> String {
        format!("{}, {}, {}", self.format, size(self.size_bytes), short(&self.digest))
    }
}

impl Document {
    /// What to know about the node that answered, if it may have missed something.
    pub(crate) fn note(&self) -> Option<String> {
        let Stamp { node, degraded, .. } = self.stamp.as_ref()?;
        let region = self.region.as_deref().unwrap_or_default();
        let note = format!("note: node {node} in {} {}", clean(region), clean(degraded));
        (!degraded.is_empty()).then_some(note)
    }
}

impl Watched {
    /// See [`Document::note`].
    pub(crate) fn note(&self) -> Option<String> {
        self.document.note()
    }
}

impl View for Document {
    fn text(&self, _now_ms: u64, to: &mut dyn Write) -> io::Result<()> {
        to.write_all(&self.document)
    }
}

impl View for Watched {
    fn text(&self, now_ms: u64, to: &mut dyn Write) -> io::Result<()> {
        let Release { version, time_ms, author, .. } = &self.release;
        let line = format!(
            "version {version} ({}), published {} by {}: {}",
            self.release.kind(),
            age(now_ms, *time_ms),
            clean(author),
            self.release.remark()
        );
        writeln!(to, "{}", line.trim_end_matches(": "))
    }
}

impl View for History {
    fn text(&self, now_ms: u64, to: &mut dyn Write) -> io::Result<()> {
        let mut table = Table::new(["VERSION", "PUBLISHED", "AUTHOR", "FORMAT", "SIZE", "DIGEST", "MESSAGE"]);
        for release in &self.releases {
            table.row([
                release.version.to_string(),
                age(now_ms, release.time_ms),
                release.author.clone(),
                release.format.to_owned(),
                size(release.size_bytes),
                short(&release.digest).to_owned(),
                release.remark(),
            ]);
        }
        table.write(to)
    }
}

/// `publish` and `rollback`
#[derive(Serialize)]
pub(crate) struct Change {
    #[serde(skip)]
    kind: ChangeKind,
    project: String,
    environment: String,
    #[serde(flatten)]
    release: Release,
    /// A node whose revision is at least this serves the release.
    revision: u64,
    validate_only: bool,
    #[serde(serialize_with = "findings")]
    warnings: Vec<Finding>,
}

/// Which change was made.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum ChangeKind {
    Publish,
    DryRun,
    Rollback,
}

impl Change {
    pub(crate) fn new(kind: ChangeKind, named: &EnvironmentName, published: Published) -> Self {
        let Published { release, warnings, revision } = published;
        Self {
            kind,
            project: named.project.to_string(),
            environment: named.environment.to_string(),
            release: release.into(),
            revision,
            validate_only: kind == ChangeKind::DryRun,
            warnings,
        }
    }
}

impl View for Change {
    fn text(&self, _now_ms: u64, to: &mut dyn Write) -> io::Result<()> {
        let Self { project, environment, release: made @ Release { version, rollback_of, .. }, .. } = self;
        let kind = made.kind();
        match self.kind {
            ChangeKind::Publish => {
                writeln!(to, "published {project}/{environment} version {version} ({kind})")?
            }
            ChangeKind::DryRun => {
                writeln!(to, "valid: {project}/{environment} would be at version {version} ({kind})")?;
            }
            ChangeKind::Rollback => {
                writeln!(
                    to,
                    "rolled {project}/{environment} back to {rollback_of}, as version {version} ({kind})"
                )?;
            }
        }
        for warning in &self.warnings {
            writeln!(to, "{}", FindingView::from(warning).text())?;
        }
        Ok(())
    }
}

/// `diff`
#[derive(Serialize)]
pub(crate) struct Diff {
    from: u64,
    to: u64,
    /// Whether both are the same bytes.
    identical: bool,
    /// Unified; empty also where only layout, key order or the spelling of numbers differ.
    diff: String,
}

impl Diff {
    /// Long documents without a line in common take quadratic time: from here on the diff is correct, not minimal.
    const MINIMAL_WITHIN: Duration = Duration::from_secs(2);

    pub(crate) fn between(named: &EnvironmentName, from: &StoredRelease, to: &StoredRelease) -> Self {
        let (before, after) = (formatted(&from.document), formatted(&to.document));
        let header = |release: &config::Release| format!("{named} version {}", release.version);
        let diff = similar::TextDiff::configure()
            .timeout(Self::MINIMAL_WITHIN)
            .diff_lines(&before, &after)
            .unified_diff()
            .header(&header(&from.release), &header(&to.release))
            .to_string();
        Self {
            from: from.release.version,
            to: to.release.version,
            identical: from.document == to.document,
            diff,
        }
    }

    /// Something worth saying where there is nothing to show.
    pub(crate) fn note(&self) -> Option<&'static str> {
        match (self.diff.is_empty(), self.identical) {
            (false, _) => None,
            (true, true) => Some("the documents are identical"),
            (true, false) => {
                Some("the documents differ only in layout, key order or the spelling of numbers")
            }
        }
    }
}

impl View for Diff {
    fn text(&self, _now_ms: u64, to: &mut dyn Write) -> io::Result<()> {
        to.write_all(self.diff.as_bytes())
    }
}

/// Formatted JSON with sorted keys, so that a diff shows what changed in meaning; other bytes as they are.
fn formatted(document: &[u8]) -> String {
    let formatted = serde_json::from_slice::<serde_json::Value>(document)
        .and_then(|value| serde_json::to_string_pretty(&value))
        .map(|text| text + "\n");
    formatted.unwrap_or_else(|_| String::from_utf8_lossy(document).into_owned())
}

fn findings<S: Serializer>(findings: &[Finding], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(findings.iter().map(FindingView::from))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use meridian_client::proto::admin::finding::Severity;
    use meridian_client::proto::config::{Format, Freshness};

    use super::*;
    use crate::view::golden::{NOW_MS, check};

    fn release(version: u64, rollback_of: u64, message: &str) -> config::Release {
        config::Release {
            version,
            digest: "9f86d081884c7d659a2feaa0c55ad015".into(),
            format: Format::Statsig.into(),
            size_bytes: 430_000,
            author: "alice".into(),
            message: message.into(),
            time_ms: NOW_MS - 5_000,
            rollback_of,
        }
    }

    fn stored(version: u64, document: &str) -> StoredRelease {
        StoredRelease { release: release(version, 0, ""), document: document.to_owned().into() }
    }

    fn served(document: &'static str) -> Config {
        let freshness = Freshness {
            revision: 1_200,
            fresh_as_of_ms: NOW_MS - 400,
            region: "eu-west".into(),
            node: 2,
            degraded: String::new(),
            staleness_ms: Some(400),
        };
        Config { release: release(42, 0, "checkout on"), freshness, document: document.into() }
    }

    fn environment() -> EnvironmentName {
        "shop/live".parse().unwrap()
    }

    #[test]
    fn get() {
        check(
            &Document::from(served("{\n  \"b\": 1.50\n}\n")),
            "{\n  \"b\": 1.50\n}\n",
            r#"{"version":42,"digest":"9f86d081884c7d659a2feaa0c55ad015","fresh_as_of":1727999999600,"region":"eu-west","document":{"b":1.50},"revision":1200,"node":2,"degraded":"","staleness_ms":400}"#,
        );
        check(
            &Document::from(stored(41, "[ ]")),
            "[ ]",
            r#"{"version":41,"digest":"9f86d081884c7d659a2feaa0c55ad015","fresh_as_of":null,"region":null,"document":[]}"#,
        );
    }

    #[test]
    fn what_may_be_old_is_noted() {
        assert_eq!(Document::from(served("{ }")).note(), None);
        assert_eq!(Document::from(stored(41, "[ ]")).note(), None);
        let mut config = served("{ }");
        config.freshness.degraded = "has heard from no leader for 7 s: newer versions may be missing".into();
        assert_eq!(
            Watched::from(config).note().as_deref(),
            Some("note: node 2 in eu-west has heard from no leader for 7 s: newer versions may be missing")
        );
    }

    #[test]
    fn watch() {
        check(
            &Watched::from(served("{ }")),
            "version 42 (statsig, 430 KB, 9f86d081884c), published 5s ago by alice: checkout on\n",
            r#"{"version":42,"digest":"9f86d081884c7d659a2feaa0c55ad015","fresh_as_of":1727999999600,"region":"eu-west","document":{},"revision":1200,"node":2,"degraded":"","staleness_ms":400}"#,
        );
    }

    #[test]
    fn history() {
        check(
            &History::from(vec![release(2, 1, "broke\n"), release(1, 0, "")]),
            "VERSION  PUBLISHED  AUTHOR  FORMAT   SIZE    DIGEST        MESSAGE\n\
             2        5s ago     alice   statsig  430 KB  9f86d081884c  broke\\n (rollback to 1)\n\
             1        5s ago     alice   statsig  430 KB  9f86d081884c\n",
            r#"{"releases":[{"version":2,"digest":"9f86d081884c7d659a2feaa0c55ad015","format":"statsig","size_bytes":430000,"author":"alice","message":"broke\n","time_ms":1727999995000,"rollback_of":1},{"version":1,"digest":"9f86d081884c7d659a2feaa0c55ad015","format":"statsig","size_bytes":430000,"author":"alice","message":"","time_ms":1727999995000,"rollback_of":0}]}"#,
        );
    }

    #[test]
    fn changes() {
        let warning = Finding {
            path: "$.x".into(),
            rule: "statsig/odd".into(),
            message: "looks odd".into(),
            severity: Severity::Warning.into(),
        };
        let made = |rollback_of, warnings| Published {
            release: release(43, rollback_of, ""),
            warnings,
            revision: 99,
        };
        let change = |kind, made| Change::new(kind, &environment(), made);
        check(
            &change(ChangeKind::Publish, made(0, vec![warning])),
            "published shop/live version 43 (statsig, 430 KB, 9f86d081884c)\n\
             warning: $.x: looks odd (statsig/odd)\n",
            r#"{"project":"shop","environment":"live","version":43,"digest":"9f86d081884c7d659a2feaa0c55ad015","format":"statsig","size_bytes":430000,"author":"alice","message":"","time_ms":1727999995000,"rollback_of":0,"revision":99,"validate_only":false,"warnings":[{"severity":"warning","path":"$.x","rule":"statsig/odd","message":"looks odd"}]}"#,
        );
        check(
            &change(ChangeKind::DryRun, made(0, vec![])),
            "valid: shop/live would be at version 43 (statsig, 430 KB, 9f86d081884c)\n",
            r#"{"project":"shop","environment":"live","version":43,"digest":"9f86d081884c7d659a2feaa0c55ad015","format":"statsig","size_bytes":430000,"author":"alice","message":"","time_ms":1727999995000,"rollback_of":0,"revision":99,"validate_only":true,"warnings":[]}"#,
        );
        check(
            &change(ChangeKind::Rollback, made(41, vec![])),
            "rolled shop/live back to 41, as version 43 (statsig, 430 KB, 9f86d081884c)\n",
            r#"{"project":"shop","environment":"live","version":43,"digest":"9f86d081884c7d659a2feaa0c55ad015","format":"statsig","size_bytes":430000,"author":"alice","message":"","time_ms":1727999995000,"rollback_of":41,"revision":99,"validate_only":false,"warnings":[]}"#,
        );
    }

    #[test]
    fn differences() {
        let between = |from, to| Diff::between(&environment(), &stored(1, from), &stored(2, to));
        check(
            &between(r#"{"a":1,"b":[true]}"#, r#"{"b":[true],"a":2}"#),
            "--- shop/live version 1\n+++ shop/live version 2\n@@ -1,5 +1,5 @@\n {\n-  \"a\": 1,\n+  \"a\": 2,\n   \"b\": [\n     true\n   ]\n",
            r#"{"from":1,"to":2,"identical":false,"diff":"--- shop/live version 1\n+++ shop/live version 2\n@@ -1,5 +1,5 @@\n {\n-  \"a\": 1,\n+  \"a\": 2,\n   \"b\": [\n     true\n   ]\n"}"#,
        );
        assert_eq!(between("{}", "{}").note(), Some("the documents are identical"));
        assert!(between("{}", "{ }").note().unwrap().contains("layout"));
        assert_eq!(between("1", "2").note(), None);
        assert!(between("not json", "{}").diff.contains("-not json"));
    }
}
