//! Publishing a document, and bringing an old one back.

use bytes::Bytes;
use meridian_model::validate::{self, Finding};
use meridian_model::{Document, EnvironmentRef, Format, Mutation, Outcome, Refusal, Release, Version};
use meridian_proto::admin::{self, PublishRequest, PublishResponse, RollbackRequest, RollbackResponse};
use meridian_replication::Committed;
use tokio::time::Instant;
use tonic::{Request, Status};

use super::Admin;
use super::change::{Change, text};
use crate::grpc::{lookup, status, wire};

/// Documents up to this size are checked and sealed where they arrive: that takes less than a millisecond.
const INLINE_BYTES: usize = 16 << 10;

impl Admin {
    pub(super) async fn publish(&self, request: Request<PublishRequest>) -> Result<PublishResponse, Status> {
        let change = Change::asked_by(&request, &request.get_ref().request_id)?;
        let asked = request.into_inner();
        let environment = lookup::environment_name(&asked.project, &asked.environment)?;
        let format = wire::parse_format(asked.format).ok_or_else(|| {
            Status::invalid_argument("format is none that this node knows: use json, statsig or flagd")
        })?;
        let message = text("message", asked.message)?;
        let Admitted { document, warnings } = self.admit(format, asked.document, change.until).await?;
        let mut release = Release {
            version: 0,
            digest: document.digest,
            format,
            size_bytes: document.size_bytes,
            author: change.actor.clone(),
            message: message.clone(),
            time_ms: 0,
            rollback_of: None,
        };
        let expect_version = asked.expect_version;
        if asked.validate_only {
            release.version = self.next_version(&environment, expect_version)?;
            return Ok(PublishResponse { release: Some(wire::release(&release)), warnings, revision: 0 });
        }
        let at = environment.clone();
        let mutation = Mutation::Publish { environment, document, expect_version, message };
        let committed = change.commit(&self.handle, mutation).await?;
        (release.version, release.time_ms) = published(&committed)?;
        let release = self.as_kept(&at, release);
        Ok(PublishResponse { release: Some(wire::release(&release)), warnings, revision: committed.revision })
    }

    pub(super) async fn rollback(
        &self,
        request: Request<RollbackRequest>,
    ) -> Result<RollbackResponse, Status> {
        let change = Change::asked_by(&request, &request.get_ref().request_id)?;
        let asked = request.into_inner();
        let at = lookup::environment_name(&asked.project, &asked.environment)?;
        let message = text("message", asked.message)?;
        let mutation = Mutation::Rollback {
            environment: at.clone(),
            to_version: asked.to_version,
            expect_version: asked.expect_version,
            message,
        };
        let committed = change.commit(&self.handle, mutation).await?;
        let (version, _) = published(&committed)?;
        // Its document is known by the release only. A thousand newer ones must have come for it to be gone.
        let release = lookup::release(&self.handle.catalog().view().directory, &at, version)
            .map_err(|gone| status::refusal(&gone))?;
        Ok(RollbackResponse { release: Some(wire::release(&release)), revision: committed.revision })
    }

    /// Checks a document and seals it, out of the way of everybody else.
    async fn admit(&self, format: Format, plain: Bytes, until: Instant) -> Result<Admitted, Status> {
        if plain.len() <= INLINE_BYTES {
            return admit(format, plain);
        }
        let turn = tokio::time::timeout_at(until, self.checks.clone().acquire_owned()).await;
        let Ok(Ok(turn)) = turn else {
            return Err(Status::resource_exhausted(
                "too many large documents are being checked: try again soon",
            ));
        };
        // The turn ends with the work, even if the caller has gone by then.
        let work = tokio::task::spawn_blocking(move || {
            let admitted = admit(format, plain);
            drop(turn);
            admitted
        });
        work.await.unwrap_or_else(|_| Err(Status::internal("checking the document was interrupted")))
    }

    /// The version that a publish would make, as far as this node knows.
    fn next_version(&self, at: &EnvironmentRef, expect_version: Option<Version>) -> Result<Version, Status> {
        let view = self.view()?;
        let head =
            lookup::environment(&view.directory, at).map_err(|unknown| status::refusal(&unknown))?.head;
        match expect_version {
            Some(expected) if expected != head => {
                let conflict =
                    Refusal::VersionConflict { environment: at.to_string(), current: head, expected };
                Err(status::refusal(&conflict))
            }
            _ => Ok(head + 1),
        }
    }

    /// The release as it is kept. It differs from the one asked for if this was the repeat of a request that somebody
    /// else made first; it is gone if a thousand newer ones have come since.
    fn as_kept(&self, at: &EnvironmentRef, asked: Release) -> Release {
        let kept = self.handle.catalog().view().directory.release(at, asked.version).cloned();
        kept.map_or(asked, |kept| Release::clone(&kept))
    }
}

/// A document that may be published.
struct Admitted {
    document: Document,
    warnings: Vec<admin::Finding>,
}

fn admit(format: Format, plain: Bytes) -> Result<Admitted, Status> {
    let report = validate::check(format, &plain);
    if !report.is_accepted() {
        let errors: Vec<Finding> = report.errors().cloned().collect();
        return Err(status::invalid_document(&errors));
    }
    let warnings = report.warnings().map(wire::finding).collect();
    Ok(Admitted { document: Document::seal(format, plain), warnings })
}

fn published(committed: &Committed) -> Result<(Version, u64), Status> {
    match committed.outcome {
        Outcome::Published { version, time_ms } => Ok((version, time_ms)),
        Outcome::Done | Outcome::Refused(_) => Err(Status::internal("the log answered for another change")),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use tonic::Code;

    use super::*;

    #[test]
    fn a_document_is_admitted_or_refused_whole() {
        let admitted =
            admit(Format::Json, Bytes::from_static(b"{\"a\":1}")).unwrap_or_else(|_| panic!("refused"));
        assert_eq!(admitted.document.open().unwrap(), "{\"a\":1}");
        assert!(admitted.warnings.is_empty());
        for (format, document) in [
            (Format::Json, "{\"a\":"),
            (Format::Statsig, "{}"),
            (Format::Flagd, "{}"),
            (Format::Json, &*format!("\"{}\"", "x".repeat(5_000_000))),
        ] {
            let refused = admit(format, Bytes::copy_from_slice(document.as_bytes())).err().unwrap();
            assert_eq!(refused.code(), Code::InvalidArgument);
            assert!(
                refused.message().starts_with("the document is refused: error at $"),
                "{}",
                refused.message()
            );
        }
    }
}
