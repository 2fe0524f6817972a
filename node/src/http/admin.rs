//! What operators and their machines ask: is it alive, may it be sent work, what are its numbers.
//!
//! It runs on a thread and a runtime of its own, so that it answers while the data path drowns.

use std::io;
use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Json, Router};
use serde_json::json;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::{Bounds, listener};
use crate::health::{Health, Unfit};
use crate::metrics::{self, Metrics};

/// Probes, scrapers and a few people.
const BOUNDS: Bounds = Bounds { connections: 64 };

const INDEX: &str = "/livez    200 while this process should be left alone\n\
                     /readyz   200 while SDKs may be sent here, else 503 and why\n\
                     /freshz   200 while this node is known to be fresh enough, else 503; how fresh, as JSON\n\
                     /metrics  numbers, as OpenMetrics text\n";

#[derive(Clone)]
struct Node {
    health: Health,
    metrics: Arc<Metrics>,
}

/// Why the listener ended early.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The runtime did not take the socket.
    #[error("adopting the listener")]
    Machine(#[from] io::Error),
    /// Its thread panicked.
    #[error("its thread panicked")]
    Panicked,
}

/// Starts the thread. What it returns ends with the listener.
pub fn spawn(
    listener: std::net::TcpListener,
    health: Health,
    metrics: Arc<Metrics>,
    stopping: CancellationToken,
) -> Result<impl Future<Output = Result<(), Error>> + Send + 'static, io::Error> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (ended, end) = oneshot::channel();
    std::thread::Builder::new().name("admin".to_owned()).spawn(move || {
        let served: io::Result<()> = runtime.block_on(async {
            let listener = tokio::net::TcpListener::from_std(listener)?;
            let Ok(()) = listener::serve(listener, router(health, metrics), BOUNDS, stopping).await;
            Ok(())
        });
        // Nobody listens any more when the whole process is ending.
        let _ = ended.send(served);
    })?;
    Ok(async move { end.await.map_err(|_| Error::Panicked)?.map_err(Error::from) })
}

fn router(health: Health, metrics: Arc<Metrics>) -> Router {
    Router::new()
        .route("/", get(INDEX))
        .route("/livez", get(|State(node): State<Node>| async move { verdict(node.health.live()) }))
        .route("/readyz", get(|State(node): State<Node>| async move { verdict(node.health.ready()) }))
        .route("/freshz", get(|State(node): State<Node>| async move { freshness(&node.health) }))
        .route("/metrics", get(|State(node): State<Node>| async move { page(&node.metrics) }))
        .fallback(|| async { (StatusCode::NOT_FOUND, INDEX) })
        .with_state(Node { health, metrics })
}

fn verdict(verdict: Result<(), Unfit>) -> impl IntoResponse {
    match verdict {
        Ok(()) => (StatusCode::OK, "ok\n".to_owned()),
        Err(unfit) => (StatusCode::SERVICE_UNAVAILABLE, format!("{unfit}\n")),
    }
}

/// How fresh the node is, by its own stopwatch. One that is still reading its disk is not.
fn freshness(health: &Health) -> impl IntoResponse + use<> {
    let (Some(handle), Some(stamper)) = (health.handle(), health.stamper()) else {
        let starting = json!({ "fresh": false, "degraded": Unfit::Starting.to_string() });
        return (StatusCode::SERVICE_UNAVAILABLE, Json(starting));
    };
    let stamp = stamper.look().1;
    let freshness = stamp.freshness();
    let fresh = stamp.within_bound();
    let shown = json!({
        "fresh": fresh,
        "staleness_ms": freshness.staleness_ms,
        "bound_ms": stamp.bound().as_millis(),
        "fresh_as_of_ms": freshness.fresh_as_of_ms,
        "revision": freshness.revision,
        "leader": handle.status().leader,
        "degraded": stamp.degraded(),
    });
    (if fresh { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, Json(shown))
}

fn page(metrics: &Metrics) -> impl IntoResponse + use<> {
    ([(CONTENT_TYPE, metrics::CONTENT_TYPE)], metrics.text())
}
