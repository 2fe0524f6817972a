//! Configs over HTTP, for CDNs and SDKs that speak no gRPC.
//!
//! `GET /v1/projects/{project}/environments/{environment}/config` answers the document as published. Its `ETag` is
//! the digest; who sends it back as `If-None-Match` gets 304 until the document changes. The answer may be kept, and
//! must be asked about again each time. Headers say what it rests on; a reader may demand freshness in headers too, and
//! gets 412 with the stamp of this node where that cannot be proved.

use std::sync::Arc;
use std::time::Instant;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::header::{
    AUTHORIZATION, CACHE_CONTROL, CONNECTION, CONTENT_TYPE, ETAG, IF_NONE_MATCH, RETRY_AFTER, VARY,
    WWW_AUTHENTICATE,
};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Version};
use axum::response::{AppendHeaders, IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use meridian_model::EnvironmentRef;
use meridian_model::ids::NameError;
use meridian_proto::config;
use meridian_replication::BarrierError;
use serde_json::json;

use super::{Bounds, error};
use crate::auth::{self, Auth};
use crate::demand::{Demand, Malformed, Prover, Unproved};
use crate::health::{Health, Unfit};
use crate::render::cache::{self, Renderings};
use crate::stamp::Stamper;

mod metrics;

pub use metrics::Metrics;

/// CDNs and their like bundle their clients; SDKs on long connections use gRPC.
pub const BOUNDS: Bounds = Bounds { connections: 4_096 };

/// What the listener serves from.
#[derive(Clone)]
pub struct Source {
    /// The way to the replicated state, and whether it may be shown.
    pub health: Health,
    /// Who is asking.
    pub auth: Arc<Auth>,
    /// Shared with the other listeners.
    pub renderings: Renderings,
    /// What answers are stamped with.
    pub stamper: Stamper,
    /// Proves what readers demand.
    pub prover: Prover,
    /// What is counted.
    pub metrics: Metrics,
}

/// The routes.
pub fn router(source: Source) -> Router {
    Router::new()
        .route("/v1/projects/{project}/environments/{environment}/config", get(answer))
        .fallback(|| async { Refusal::NoSuchPath })
        .method_not_allowed_fallback(|| async { Refusal::OnlyGet })
        .with_state(source)
}

async fn answer(
    State(source): State<Source>,
    path: Result<Path<(String, String)>, PathRejection>,
    version: Version,
    headers: HeaderMap,
) -> Response {
    let began = Instant::now();
    let answer = match path {
        Ok(Path((project, environment))) => source.answer(&project, &environment, &headers).await,
        Err(_) => Err(Refusal::NoSuchPath),
    };
    let mut response = answer.unwrap_or_else(IntoResponse::into_response);
    if version < Version::HTTP_2 && source.health.service().ready().is_err() {
        // A client that keeps its connection would send its next request into a socket that is just being closed.
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    source.metrics.answered(response.status(), began.elapsed());
    response
}

impl Source {
    async fn answer(
        &self,
        project: &str,
        environment: &str,
        headers: &HeaderMap,
    ) -> Result<Response, Refusal> {
        let credential = auth::bearer(headers).ok_or(Refusal::NoCredential)?;
        // Before the credential is looked up: a node that is behind does not know every key yet.
        self.health.answers_reads()?;
        let asked = EnvironmentRef::parse(project, environment)?;
        let demand = Demand::from_headers(headers)?;
        match self.may_read(credential, &asked) {
            // It may have been made a moment ago, and this node be behind.
            Err(Refusal::UnknownCredential) if demand != Demand::default() => {
                self.prover.catch_up().await?;
                self.may_read(credential, &asked)?;
            }
            answer => answer?,
        }
        if demand != Demand::default() {
            self.prover.prove(&demand, &asked).await.map_err(Box::new)?;
            // A key that was revoked before a linearizable read must not read.
            self.may_read(credential, &asked)?;
        }
        let (view, stamp) = self.stamper.look();
        let Some(served) = view.served(&asked) else {
            return Err(match view.directory.environment(&asked) {
                Some(_) => Refusal::NothingPublished(asked),
                None => Refusal::NoSuchEnvironment(asked),
            });
        };
        let digest = served.release.digest.to_string();
        let described = AppendHeaders([
            (ETAG, format!("\"{digest}\"")),
            (CACHE_CONTROL, "private, no-cache".to_owned()),
            (VARY, AUTHORIZATION.to_string()),
        ]);
        let mut stamped = HeaderMap::new();
        stamp.write(Some(&served.release), &mut stamped);
        if holds(headers, &digest) {
            return Ok((StatusCode::NOT_MODIFIED, described, stamped).into_response());
        }
        let document = self.renderings.plain(served).await?;
        Ok((described, stamped, [(CONTENT_TYPE, "application/json")], document).into_response())
    }

    fn may_read(&self, credential: &str, asked: &EnvironmentRef) -> Result<(), Refusal> {
        if self.auth.operator(credential) {
            return Ok(());
        }
        match self.auth.sdk_key(credential) {
            None => Err(Refusal::UnknownCredential),
            Some(own) if own != *asked => Err(Refusal::OtherEnvironment),
            Some(_) => Ok(()),
        }
    }
}

/// Whether the client says that it has the document with this digest. A proxy that compressed it may have made the
/// tag weak.
fn holds(headers: &HeaderMap, digest: &str) -> bool {
    let tags = headers.get_all(IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    tags.flat_map(|tags| tags.split(',')).map(str::trim).any(|tag| {
        let strong = tag.strip_prefix("W/").unwrap_or(tag);
        tag == "*" || strong.strip_prefix('"').and_then(|tag| tag.strip_suffix('"')) == Some(digest)
    })
}

/// Why there is no document.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("no such path")]
    NoSuchPath,
    #[error("this path can only be read")]
    OnlyGet,
    #[error("no credential")]
    NoCredential,
    #[error("this credential is not known")]
    UnknownCredential,
    #[error("this sdk key reads another environment")]
    OtherEnvironment,
    #[error(transparent)]
    Name(#[from] NameError),
    #[error("there is no environment {0}")]
    NoSuchEnvironment(EnvironmentRef),
    #[error("nothing is published in {0}")]
    NothingPublished(EnvironmentRef),
    #[error("this node is not ready: {0}")]
    NotReady(#[from] Unfit),
    #[error(transparent)]
    Demand(#[from] Malformed),
    #[error(transparent)]
    Unproved(#[from] Box<Unproved>),
    #[error("this node cannot tell whether it knows this credential: {0}")]
    Uncertain(#[from] BarrierError),
    #[error(transparent)]
    Rendering(#[from] cache::Error),
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (status, hint) = match &self {
            Self::NoSuchPath => {
                (StatusCode::NOT_FOUND, "GET /v1/projects/{project}/environments/{environment}/config")
            }
            Self::OnlyGet => {
                (StatusCode::METHOD_NOT_ALLOWED, "use GET or HEAD; publish with `meridian publish`")
            }
            Self::NoCredential => (
                StatusCode::UNAUTHORIZED,
                "send an sdk key or an operator token as `authorization: Bearer …`",
            ),
            Self::UnknownCredential => (
                StatusCode::UNAUTHORIZED,
                "it was never created, or it was revoked: make one with `meridian key create`",
            ),
            Self::OtherEnvironment => (
                StatusCode::FORBIDDEN,
                "ask for the environment the key was made for, or make a key for this one",
            ),
            Self::Name(_) => (StatusCode::BAD_REQUEST, "correct the path"),
            Self::NoSuchEnvironment(_) => {
                (StatusCode::NOT_FOUND, "correct the path, or make it with `meridian env create`")
            }
            Self::NothingPublished(_) => (StatusCode::NOT_FOUND, "publish with `meridian publish`"),
            Self::NotReady(_) | Self::Uncertain(_) => {
                (StatusCode::SERVICE_UNAVAILABLE, "ask another node, or this one again soon")
            }
            Self::Demand(_) => (StatusCode::BAD_REQUEST, "correct the header, or leave it out"),
            Self::Unproved(unproved) => return stale(unproved),
            Self::Rendering(cause) => {
                tracing::error!(error = cause as &dyn std::error::Error, "a document cannot be served");
                (StatusCode::INTERNAL_SERVER_ERROR, "ask another node: this one's copy is damaged")
            }
        };
        let response = error(status, self.to_string(), hint);
        match status {
            StatusCode::UNAUTHORIZED => ([(WWW_AUTHENTICATE, "Bearer")], response).into_response(),
            StatusCode::SERVICE_UNAVAILABLE => ([(RETRY_AFTER, "1")], response).into_response(),
            _ => response,
        }
    }
}

/// As `meridian.config.v1.Stale`, beside what every error says.
fn stale(unproved: &Unproved) -> Response {
    let config::Stale { freshness, version, reason } = unproved.stale();
    let freshness = freshness.unwrap_or_default();
    let body = json!({
        "error": reason,
        "hint": "ask another node, or demand less",
        "stale": {
            "version": version,
            "freshness": {
                "revision": freshness.revision,
                "fresh_as_of_ms": freshness.fresh_as_of_ms,
                "region": freshness.region,
                "node": freshness.node,
                "degraded": freshness.degraded,
                "staleness_ms": freshness.staleness_ms,
            },
        },
    });
    let mut stamped = HeaderMap::new();
    unproved.stamp.write(None, &mut stamped);
    (StatusCode::PRECONDITION_FAILED, stamped, Json(body)).into_response()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_client_that_holds_the_document_is_recognised() {
        for (sent, expected) in [
            (&[r#""abc""#][..], true),
            (&[r#"W/"abc""#], true),
            (&[r#""x", "abc""#], true),
            (&[r#""x""#, r#""abc""#], true),
            (&["*"], true),
            (&[], false),
            (&[""], false),
            (&["abc"], false),
            (&[r#""abcd""#], false),
            (&["\""], false),
        ] {
            let mut headers = HeaderMap::new();
            for tag in sent {
                headers.append(IF_NONE_MATCH, tag.parse().unwrap());
            }
            assert_eq!(holds(&headers, "abc"), expected, "{sent:?}");
        }
    }
}
