//! Configs over HTTP, for CDNs and SDKs that speak no gRPC.
//!
//! `GET /v1/projects/{project}/environments/{environment}/config` answers the document as published. Its `ETag` is
//! the digest; who sends it back as `If-None-Match` gets 304 until the document changes. The answer may be kept, and
//! must be asked about again each time.

use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::header::{
    AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH, RETRY_AFTER, VARY, WWW_AUTHENTICATE,
};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{AppendHeaders, IntoResponse, Response};
use axum::routing::get;
use meridian_model::EnvironmentRef;
use meridian_model::ids::NameError;

use super::{Bounds, error};
use crate::auth::{self, Auth};
use crate::health::{Health, Unfit};
use crate::render::cache::{self, Renderings};

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
    /// What is counted.
    pub metrics: Metrics,
}

/// The routes.
pub fn router(source: Source) -> Router {
    Router::new()
        .route("/v1/projects/{project}/environments/{environment}/config", get(config))
        .fallback(|| async { Refusal::NoSuchPath })
        .method_not_allowed_fallback(|| async { Refusal::OnlyGet })
        .with_state(source)
}

async fn config(
    State(source): State<Source>,
    path: Result<Path<(String, String)>, PathRejection>,
    headers: HeaderMap,
) -> Response {
    let began = Instant::now();
    let answer = match path {
        Ok(Path((project, environment))) => source.answer(&project, &environment, &headers).await,
        Err(_) => Err(Refusal::NoSuchPath),
    };
    let response = answer.unwrap_or_else(IntoResponse::into_response);
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
        self.health.ready()?;
        let catalog = self.health.handle().ok_or(Unfit::Starting)?.catalog();
        let asked = EnvironmentRef::parse(project, environment)?;
        if !self.auth.operator(credential) {
            let own = self.auth.sdk_key(credential).ok_or(Refusal::UnknownCredential)?;
            if own != asked {
                return Err(Refusal::OtherEnvironment);
            }
        }
        let view = catalog.view();
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
        let freshness = AppendHeaders([
            ("meridian-version", served.release.version.to_string()),
            ("meridian-revision", view.revision.to_string()),
            ("meridian-fresh-as-of", view.fresh_as_of_ms().to_string()),
            ("meridian-region", catalog.region().to_string()),
        ]);
        if holds(headers, &digest) {
            return Ok((StatusCode::NOT_MODIFIED, described, freshness).into_response());
        }
        let document = self.renderings.plain(served).await?;
        Ok((described, freshness, [(CONTENT_TYPE, "application/json")], document).into_response())
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
            Self::NotReady(_) => {
                (StatusCode::SERVICE_UNAVAILABLE, "ask another node, or this one again soon")
            }
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
