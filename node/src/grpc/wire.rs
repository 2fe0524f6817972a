//! The model as the public contracts show it.

use meridian_model::validate::{Finding, Severity};
use meridian_model::{EnvironmentRef, Format, Release, SdkKey};
use meridian_proto::{admin, config};

pub(super) fn release(release: &Release) -> config::Release {
    config::Release {
        version: release.version,
        digest: release.digest.to_string(),
        format: format(release.format).into(),
        size_bytes: release.size_bytes,
        author: release.author.clone(),
        message: release.message.clone(),
        time_ms: release.time_ms,
        rollback_of: release.rollback_of.unwrap_or(0),
    }
}

pub(super) fn format(format: Format) -> config::Format {
    match format {
        Format::Json => config::Format::Json,
        Format::Statsig => config::Format::Statsig,
        Format::Flagd => config::Format::Flagd,
    }
}

/// The format that a request names, if it names one that this node knows.
pub(super) fn parse_format(number: i32) -> Option<Format> {
    match config::Format::try_from(number).ok()? {
        config::Format::Unspecified => None,
        config::Format::Json => Some(Format::Json),
        config::Format::Statsig => Some(Format::Statsig),
        config::Format::Flagd => Some(Format::Flagd),
    }
}

pub(super) fn finding(finding: &Finding) -> admin::Finding {
    let severity = match finding.severity {
        Severity::Warning => admin::finding::Severity::Warning,
        Severity::Error => admin::finding::Severity::Error,
    };
    admin::Finding {
        path: finding.path.clone(),
        rule: finding.rule.to_owned(),
        message: finding.message.clone(),
        severity: severity.into(),
    }
}

pub(super) fn sdk_key(key: &SdkKey) -> admin::SdkKey {
    let EnvironmentRef { project, environment } = &key.environment;
    admin::SdkKey {
        id: key.hash.id().to_string(),
        prefix: key.prefix.clone(),
        project: project.to_string(),
        environment: environment.to_string(),
        label: key.label.clone(),
        created_at_ms: key.created_at_ms,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use meridian_model::Digest;

    use super::*;

    #[test]
    fn formats_come_back() {
        for known in [Format::Json, Format::Statsig, Format::Flagd] {
            assert_eq!(parse_format(format(known).into()), Some(known));
        }
        for unknown in [0, 4, -1] {
            assert_eq!(parse_format(unknown), None);
        }
    }

    #[test]
    fn a_release_is_shown_whole() {
        let digest = Digest::of(b"{}");
        let shown = release(&Release {
            version: 3,
            digest,
            format: Format::Flagd,
            size_bytes: 2,
            author: "a".to_owned(),
            message: "m".to_owned(),
            time_ms: 4,
            rollback_of: Some(1),
        });
        assert_eq!(
            shown,
            config::Release {
                version: 3,
                digest: digest.to_string(),
                format: config::Format::Flagd.into(),
                size_bytes: 2,
                author: "a".to_owned(),
                message: "m".to_owned(),
                time_ms: 4,
                rollback_of: 1,
            }
        );
        assert_eq!(shown.digest.len(), 64);
    }
}
