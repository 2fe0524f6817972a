//! Whether this node lives and may serve, for whoever asks from outside: load balancers over HTTP, clients over
//! `grpc.health.v1`.
//!
//! A node is starting until replication is up, then as ready as replication says, until it is stopping or has
//! failed. It never goes back.

use std::convert::Infallible;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use meridian_proto::admin::admin_service_server;
use meridian_proto::config::config_service_server;
use meridian_proto::statsig::statsig_forward_proxy_server;
use meridian_replication::{Handle, NotReady, Readiness};
use tokio_util::sync::CancellationToken;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

/// What is reported over gRPC: the whole server, and each service by itself.
const SERVICES: [&str; 4] = [
    "",
    config_service_server::SERVICE_NAME,
    admin_service_server::SERVICE_NAME,
    statsig_forward_proxy_server::SERVICE_NAME,
];

/// How old the report over gRPC may be.
const REPORT_INTERVAL: Duration = Duration::from_millis(100);

/// How far along this node is. Cheap to clone; all clones are one.
#[derive(Clone, Debug, Default)]
pub struct Health(Arc<Milestones>);

#[derive(Debug, Default)]
struct Milestones {
    running: OnceLock<Handle>,
    stopping: OnceLock<()>,
    failed: OnceLock<String>,
}

/// Why a node does not live, or may not be sent work.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// What is on disk is being read.
    #[error("starting")]
    Starting,
    /// It will not come back.
    #[error("stopping")]
    Stopping,
    /// It will not come back.
    #[error("failed: {0}")]
    Failed(String),
    /// Replication says so.
    #[error(transparent)]
    NotReady(#[from] NotReady),
}

impl Health {
    /// Replication is up.
    pub fn running(&self, handle: Handle) {
        self.0.running.get_or_init(|| handle);
    }

    /// The node was asked to stop.
    pub fn stopping(&self) {
        self.0.stopping.get_or_init(|| ());
    }

    /// The node cannot go on.
    pub fn failed(&self, cause: impl Into<String>) {
        self.0.failed.get_or_init(|| cause.into());
    }

    /// The way to replication, once it is up.
    pub fn handle(&self) -> Option<&Handle> {
        self.0.running.get()
    }

    /// Whether the process should be left alone. A node that is starting, catching up or stopping should.
    pub fn live(&self) -> Result<(), Unfit> {
        self.0.failed.get().map_or(Ok(()), |cause| Err(Unfit::Failed(cause.clone())))
    }

    /// Whether SDKs may be sent here.
    pub fn ready(&self) -> Result<(), Unfit> {
        self.live()?;
        let readiness = self.handle().map(Handle::readiness);
        verdict(self.0.stopping.get().is_some(), readiness)
    }

    /// Keeps `grpc.health.v1` in step until cancelled.
    pub async fn report(
        self,
        reporter: HealthReporter,
        stopping: CancellationToken,
    ) -> Result<(), Infallible> {
        let mut reported = None;
        let mut ticks = tokio::time::interval(REPORT_INTERVAL);
        while stopping.run_until_cancelled(ticks.tick()).await.is_some() {
            let ready = self.ready().is_ok();
            if reported.replace(ready) != Some(ready) {
                tell(&reporter, ready).await;
            }
        }
        tell(&reporter, false).await;
        Ok(())
    }
}

/// Being asked to stop outweighs what replication says.
fn verdict(stopping: bool, readiness: Option<Readiness>) -> Result<(), Unfit> {
    match readiness {
        _ if stopping => Err(Unfit::Stopping),
        None => Err(Unfit::Starting),
        Some(Readiness::Ready) => Ok(()),
        Some(Readiness::NotReady(why)) => Err(why.into()),
    }
}

/// Tells those who ask over gRPC.
pub async fn tell(reporter: &HealthReporter, ready: bool) {
    let status = if ready { ServingStatus::Serving } else { ServingStatus::NotServing };
    for service in SERVICES {
        reporter.set_service_status(service, status).await;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use tonic_health::pb::HealthCheckRequest;
    use tonic_health::pb::health_check_response::ServingStatus as Shown;
    use tonic_health::pb::health_server::Health as _;
    use tonic_health::server::HealthService;

    use super::*;

    #[test]
    fn only_a_ready_node_is_sent_work() {
        let behind = NotReady::CatchingUp { applied: 3, target: 9 };
        for (stopping, readiness, expected) in [
            (false, None, Err("starting")),
            (false, Some(Readiness::Ready), Ok(())),
            (false, Some(Readiness::NotReady(behind)), Err("catching up: applied 3 of 9")),
            (false, Some(Readiness::NotReady(NotReady::Stopping)), Err("stopping")),
            (true, Some(Readiness::Ready), Err("stopping")),
            (true, None, Err("stopping")),
        ] {
            let verdict = verdict(stopping, readiness.clone()).map_err(|unfit| unfit.to_string());
            assert_eq!(verdict, expected.map_err(str::to_owned), "{stopping} {readiness:?}");
        }
    }

    #[test]
    fn only_a_failed_node_is_not_left_alone() {
        let health = Health::default();
        assert_eq!(health.live(), Ok(()));
        health.stopping();
        assert_eq!(health.live(), Ok(()));
        health.failed("no disk");
        health.failed("and more");
        let unfit = Unfit::Failed("no disk".to_owned());
        assert_eq!((health.live(), health.ready()), (Err(unfit.clone()), Err(unfit)));
    }

    #[tokio::test]
    async fn every_service_is_reported() {
        let reporter = HealthReporter::new();
        let service = HealthService::from_health_reporter(reporter.clone());
        for (ready, expected) in [(true, Shown::Serving), (false, Shown::NotServing)] {
            tell(&reporter, ready).await;
            for name in [
                "",
                "meridian.config.v1.ConfigService",
                "meridian.admin.v1.AdminService",
                "statsig_forward_proxy.StatsigForwardProxy",
            ] {
                let request = tonic::Request::new(HealthCheckRequest { service: name.to_owned() });
                assert_eq!(service.check(request).await.unwrap().get_ref().status(), expected, "{name}");
            }
        }
    }
}
