//! Whether this node lives and may serve, for whoever asks from outside: load balancers over HTTP, clients over
//! `grpc.health.v1`.
//!
//! Two questions that are kept apart. *Ready*: has it what it knew of, and is it in service? A node that lost the others
//! stays ready, for a region without quorum serves on. *Fresh*: can it show that it missed nothing for longer than the
//! bound? Whoever has a choice asks that one. Over gRPC the config services answer for both, the server as a whole for
//! the first.

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

use crate::service::{Away, Service};
use crate::stamp::Stamper;

/// How old the report over gRPC may be.
const REPORT_INTERVAL: Duration = Duration::from_millis(100);

/// How far along this node is. Cheap to clone; all clones are one.
#[derive(Clone, Debug, Default)]
pub struct Health(Arc<Milestones>);

#[derive(Debug, Default)]
struct Milestones {
    running: OnceLock<Running>,
    service: Service,
    failed: OnceLock<String>,
}

#[derive(Debug)]
struct Running {
    handle: Handle,
    stamper: Stamper,
}

/// Why a node does not live, or may not be sent work.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// What is on disk is being read.
    #[error("starting")]
    Starting,
    /// It leaves service, or has.
    #[error(transparent)]
    Away(#[from] Away),
    /// It will not come back.
    #[error("failed: {0}")]
    Failed(String),
    /// Replication says so.
    #[error(transparent)]
    NotReady(#[from] NotReady),
}

impl Health {
    /// Replication is up.
    pub fn running(&self, handle: Handle, stamper: Stamper) {
        self.0.running.get_or_init(|| Running { handle, stamper });
    }

    /// The node cannot go on.
    pub fn failed(&self, cause: impl Into<String>) {
        self.0.failed.get_or_init(|| cause.into());
    }

    /// Whether this node is in service.
    pub fn service(&self) -> &Service {
        &self.0.service
    }

    /// The way to replication, once it is up.
    pub fn handle(&self) -> Option<&Handle> {
        self.0.running.get().map(|running| &running.handle)
    }

    /// Stamps answers, once replication is up.
    pub fn stamper(&self) -> Option<&Stamper> {
        self.0.running.get().map(|running| &running.stamper)
    }

    /// Whether the process should be left alone. A node that is starting, catching up or stopping should.
    pub fn live(&self) -> Result<(), Unfit> {
        self.0.failed.get().map_or(Ok(()), |cause| Err(Unfit::Failed(cause.clone())))
    }

    /// Whether SDKs may be sent here.
    pub fn ready(&self) -> Result<(), Unfit> {
        self.verdict(self.0.service.ready())
    }

    /// Whether a read that came here is answered. Longer than [`Health::ready`]: not everybody has heard yet.
    pub fn answers_reads(&self) -> Result<(), Unfit> {
        self.verdict(self.0.service.answers_reads())
    }

    /// Whether this node is known to be no staler than the bound.
    pub fn fresh(&self) -> bool {
        self.stamper().is_some_and(|stamper| stamper.look().1.within_bound())
    }

    fn verdict(&self, in_service: Result<(), Away>) -> Result<(), Unfit> {
        self.live()?;
        verdict(in_service, self.handle().map(Handle::readiness))
    }

    fn told(&self) -> Told {
        let ready = self.ready();
        let node = ready.is_ok();
        // Operators must get through to a node that is out of service, to put it back.
        let operators = match ready {
            Ok(()) | Err(Unfit::Away(Away::Draining | Away::Drained)) => true,
            Err(Unfit::Away(Away::Stopping) | Unfit::Starting | Unfit::Failed(_) | Unfit::NotReady(_)) => {
                false
            }
        };
        Told { node, configs: node && self.fresh(), operators }
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
            let told = self.told();
            if reported.replace(told) != Some(told) {
                tell(&reporter, told).await;
            }
        }
        tell(&reporter, Told::default()).await;
        Ok(())
    }
}

/// Being out of service outweighs what replication says.
fn verdict(in_service: Result<(), Away>, readiness: Option<Readiness>) -> Result<(), Unfit> {
    in_service?;
    match readiness {
        None => Err(Unfit::Starting),
        Some(Readiness::Ready) => Ok(()),
        Some(Readiness::NotReady(why)) => Err(why.into()),
    }
}

/// Who serves, as those are told who ask over gRPC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Told {
    node: bool,
    configs: bool,
    operators: bool,
}

async fn tell(reporter: &HealthReporter, told: Told) {
    for (service, serves) in [
        ("", told.node),
        (config_service_server::SERVICE_NAME, told.configs),
        (statsig_forward_proxy_server::SERVICE_NAME, told.configs),
        (admin_service_server::SERVICE_NAME, told.operators),
    ] {
        let status = if serves { ServingStatus::Serving } else { ServingStatus::NotServing };
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
        for (in_service, readiness, expected) in [
            (Ok(()), None, Err("starting")),
            (Ok(()), Some(Readiness::Ready), Ok(())),
            (Ok(()), Some(Readiness::NotReady(behind)), Err("catching up: applied 3 of 9")),
            (Ok(()), Some(Readiness::NotReady(NotReady::Stopping)), Err("stopping")),
            (Err(Away::Stopping), Some(Readiness::Ready), Err("stopping")),
            (Err(Away::Stopping), None, Err("stopping")),
            (Err(Away::Drained), Some(Readiness::Ready), Err("drained")),
        ] {
            let verdict = verdict(in_service, readiness.clone()).map_err(|unfit| unfit.to_string());
            assert_eq!(verdict, expected.map_err(str::to_owned), "{in_service:?} {readiness:?}");
        }
    }

    #[test]
    fn only_a_failed_node_is_not_left_alone() {
        let health = Health::default();
        assert_eq!(health.live(), Ok(()));
        health.service().stop(Duration::ZERO);
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
        let all = Told { node: true, configs: true, operators: true };
        for told in [all, Told { configs: false, ..all }, Told { operators: true, ..Told::default() }] {
            tell(&reporter, told).await;
            for (name, serves) in [
                ("", told.node),
                ("meridian.config.v1.ConfigService", told.configs),
                ("meridian.admin.v1.AdminService", told.operators),
                ("statsig_forward_proxy.StatsigForwardProxy", told.configs),
            ] {
                let request = tonic::Request::new(HealthCheckRequest { service: name.to_owned() });
                let expected = if serves { Shown::Serving } else { Shown::NotServing };
                assert_eq!(service.check(request).await.unwrap().get_ref().status(), expected, "{name}");
            }
        }
    }
}
