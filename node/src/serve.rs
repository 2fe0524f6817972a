//! A node from start to end: what is brought up in which order, and how it is taken down.
//!
//! Up: listeners are bound, health and metrics answer, what is on disk is read, SDKs and operators are let in. Down:
//! not ready any more, leadership handed over while streams are ended with `UNAVAILABLE` one by one and reads are still
//! answered, listeners closed, requests finished, Raft stopped and the catalog flushed. A node whose storage failed
//! writes nothing more.

use std::convert::Infallible;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use meridian_replication::{Fatal, Handle, StartError};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tonic_health::server::HealthReporter;

use crate::auth::Auth;
use crate::backup;
use crate::config::{Config, Listen};
use crate::demand::{self, Prover};
use crate::grpc;
use crate::health::Health;
use crate::http;
use crate::metrics::Metrics;
use crate::render::cache::{DEFAULT_CAPACITY_BYTES, Renderings};
use crate::stamp::Stamper;
use crate::supervisor::{Failure, Policy, Supervisor};

mod drain;
mod signals;

pub use signals::asked_to_stop;

/// The task that ends when replication cannot go on.
const REPLICATION: &str = "replication";

/// When a node stops, its streams end spread over this time: a rolling restart makes no herd, and whoever runs the
/// process need not wait for long.
const STREAMS_END: Duration = Duration::from_secs(3);

/// At least so long a node that stops says that it is not ready, and answers all the same: balancers ask once a second
/// or so, and until they have, they send readers here.
const LEAD: Duration = Duration::from_secs(1);

/// Every listener gives its requests five seconds to finish; then it must be gone.
const TASKS_END: Duration = Duration::from_secs(6);

/// [`Handle::stop`] is bounded by about five seconds. A disk that hangs is not.
const REPLICATION_STOPS: Duration = Duration::from_secs(7);

/// Why a node did not run, or does not any more.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An address could not be bound.
    #[error("listen.{key}: cannot listen on {address}{}", way_out(.source))]
    Listen {
        /// Which listener.
        key: &'static str,
        /// Its address.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// Replication did not start.
    #[error("cannot start")]
    Start(#[from] StartError),
    /// A thread or a runtime.
    #[error("cannot start {what}")]
    Machine {
        /// What was tried.
        what: &'static str,
        /// What the system says.
        source: io::Error,
    },
    /// The others do not take this node as it is: starting it again would not change that.
    #[error(transparent)]
    Unwelcome(Fatal),
    /// The node was running and cannot go on.
    #[error(transparent)]
    Failed(#[from] Failure),
}

/// What the system says follows it, as the cause.
fn way_out(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => ", which another process holds: stop it, or choose another port",
        io::ErrorKind::AddrNotAvailable => ", which is no address of this machine: choose one that is",
        io::ErrorKind::PermissionDenied => ", which takes a right: choose a port above 1023, or grant it",
        _ => "",
    }
}

/// The four listeners, bound.
#[derive(Debug)]
pub struct Listeners {
    /// SDKs, proxies and operators.
    pub grpc: TcpListener,
    /// Other nodes.
    pub peer: TcpListener,
    /// Config over HTTP.
    pub http: TcpListener,
    /// Health and metrics.
    pub admin: TcpListener,
}

impl Listeners {
    /// Binds all of them, or none.
    pub fn bind(listen: &Listen) -> Result<Self, Error> {
        let bind = |key, address| -> Result<TcpListener, Error> {
            let failed = |source| Error::Listen { key, address, source };
            let listener = TcpListener::bind(address).map_err(failed)?;
            // Port 0 has become a real one.
            tracing::info!(listener = key, address = %listener.local_addr().map_err(failed)?, "listening");
            listener.set_nonblocking(true).map_err(failed)?;
            Ok(listener)
        };
        Ok(Self {
            grpc: bind("grpc", listen.grpc)?,
            peer: bind("peer", listen.peer)?,
            http: bind("http", listen.http)?,
            admin: bind("admin", listen.admin)?,
        })
    }
}

/// Lets this process open as many files as the system allows it: each SDK connection is one, and so is each file of
/// the log, for which one must be left.
fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(%error, limit = limit.current, "the limit of open files stays as it is");
    }
}

/// Runs a node until `stop`, or until it cannot go on. Needs a runtime with several threads.
pub async fn run(config: Config, listeners: Listeners, stop: impl Future<Output = ()>) -> Result<(), Error> {
    raise_descriptor_limit();
    let health = Health::default();
    let renderings = Renderings::new(DEFAULT_CAPACITY_BYTES);
    let mut metrics = Metrics::new(&config, health.clone(), renderings.clone());
    let grpc_metrics = grpc::Metrics::register(metrics.registry());
    let http_metrics = http::config::Metrics::register(metrics.registry());
    let demand_metrics = demand::Metrics::register(metrics.registry());
    let backup_metrics = backup::schedule::Metrics::register(metrics.registry());

    // First of all and last of all: it must answer while a large catalog is read, and while the node drains.
    let admin_stopping = CancellationToken::new();
    let _stops_admin = admin_stopping.clone().drop_guard();
    let admin = http::admin::spawn(listeners.admin, health.clone(), Arc::new(metrics), admin_stopping)
        .map_err(|source| Error::Machine { what: "the admin thread", source })?;

    let handle = start_replication(&config, listeners.peer).await?;
    let stamper = Stamper::new(handle.clone(), config.freshness);
    let prover = Prover::new(handle.clone(), stamper.clone(), demand_metrics);
    let service = health.service().clone();
    let drainer = drain::Drainer {
        handle: handle.clone(),
        service: service.clone(),
        window: config.drain.window,
        metrics: grpc_metrics.clone(),
    };
    drainer.begin();
    health.running(handle.clone(), stamper.clone());
    let auth = Arc::new(Auth::new(config.operator_token_hashes, handle.catalog().clone()));
    let reporter = HealthReporter::new();

    let tasks = Supervisor::default();
    let stopping = tasks.stopping();
    tasks.spawn("admin listener", Policy::Essential, unless_stopping(stopping.clone(), admin));
    let failed = {
        let handle = handle.clone();
        async move { Err(handle.failed().await) }
    };
    tasks.spawn(REPLICATION, Policy::Essential, unless_stopping::<Fatal>(stopping.clone(), failed));
    let services = grpc::Services {
        handle: handle.clone(),
        auth: auth.clone(),
        renderings: renderings.clone(),
        stamper: stamper.clone(),
        prover: prover.clone(),
        service: service.clone(),
        health: reporter.clone(),
        metrics: grpc_metrics.clone(),
        stopping: stopping.clone(),
    };
    tasks.spawn("grpc listener", Policy::Essential, grpc::serve(adopt(listeners.grpc)?, services));
    let source = http::config::Source {
        health: health.clone(),
        auth,
        renderings,
        stamper,
        prover,
        metrics: http_metrics,
    };
    let (router, bounds) = (http::config::router(source), http::config::BOUNDS);
    tasks.spawn(
        "http listener",
        Policy::Essential,
        http::serve(adopt(listeners.http)?, router, bounds, stopping.clone()),
    );
    tasks.spawn("health report", Policy::Essential, health.clone().report(reporter, stopping.clone()));
    tasks.spawn("drain", Policy::Essential, drainer.run(stopping.clone()));
    if let Some(config) = config.backup {
        let schedule = backup::schedule::run(handle.clone(), config, backup_metrics, stopping.clone());
        tasks.spawn("backup schedule", Policy::Dispensable, schedule.map(Ok::<(), Infallible>));
    }

    let may_write = tokio::select! {
        () = stop => {
            tracing::info!("stopping");
            true
        }
        failure = tasks.failed() => {
            health.failed(failure.to_string());
            // After a write that failed, nobody knows what the next one would do.
            failure.task != REPLICATION
        }
    };
    service.stop(STREAMS_END);
    if may_write {
        tokio::join!(handle.hand_over(), let_go(&grpc_metrics));
    }
    tasks.stop(TASKS_END).await;
    if may_write && timeout(REPLICATION_STOPS, handle.stop()).await.is_err() {
        tracing::warn!("replication did not stop in time");
    }
    match (tasks.failed().now_or_never(), handle.failed().now_or_never()) {
        (Some(_), Some(fatal)) if is_unwelcome(&fatal) => Err(Error::Unwelcome(fatal)),
        (Some(failure), _) => Err(failure.into()),
        (None, _) => Ok(()),
    }
}

fn is_unwelcome(fatal: &Fatal) -> bool {
    match fatal {
        Fatal::Wiped(_) | Fatal::Removed { .. } | Fatal::NotLetIn(_) => true,
        Fatal::Storage(_) | Fatal::Raft(_) => false,
    }
}

/// Waits until no stream is open, for as long as they may take to end, and for a while in any case.
async fn let_go(metrics: &grpc::Metrics) {
    /// Coarse enough to cost nothing.
    const LOOK_INTERVAL: Duration = Duration::from_millis(50);
    let began = Instant::now();
    while began.elapsed() < LEAD || (metrics.open_streams() > 0 && began.elapsed() < STREAMS_END) {
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
}

/// Reads what is on disk, which may take seconds, beside the runtime.
async fn start_replication(config: &Config, listener: TcpListener) -> Result<Handle, Error> {
    let options = config.replication();
    match tokio::task::spawn_blocking(move || meridian_replication::start(options, listener)).await {
        Ok(started) => Ok(started?),
        Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
    }
}

/// Watches over what runs on threads of its own, and is stopped in its own turn.
async fn unless_stopping<E>(
    stopping: CancellationToken,
    end: impl Future<Output = Result<(), E>>,
) -> Result<(), E> {
    stopping.run_until_cancelled(end).await.unwrap_or(Ok(()))
}

fn adopt(listener: TcpListener) -> Result<tokio::net::TcpListener, Error> {
    tokio::net::TcpListener::from_std(listener)
        .map_err(|source| Error::Machine { what: "a listener", source })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::telemetry::with_causes;

    #[test]
    fn a_port_in_use_is_named_with_its_listener() {
        let holder = TcpListener::bind("127.0.0.1:0").unwrap();
        let (taken, free) = (holder.local_addr().unwrap(), "127.0.0.1:0".parse().unwrap());
        for place in 0..4 {
            let address = |own| if place == own { taken } else { free };
            let listen = Listen { grpc: address(0), peer: address(1), http: address(2), admin: address(3) };
            let key = listen.by_key()[place].0;
            let error = with_causes(&Listeners::bind(&listen).unwrap_err());
            assert!(error.starts_with(&format!("listen.{key}: cannot listen on {taken}")), "{error}");
            assert!(error.contains("choose another port"), "{error}");
        }
    }
}
