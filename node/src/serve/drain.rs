//! Takes this node out of service when the cluster says so, and puts it back: watches its own entry in the replicated
//! set of drained nodes.
//!
//! Leadership is handed over by replication, which looks at the same set. Here readers are let go of: streams over the
//! window, single reads at its end. The others are told how far this node is.

use std::convert::Infallible;
use std::time::Duration;

use meridian_replication::{Handle, ServiceState};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::grpc;
use crate::service::{Phase, Service};

/// How soon a drain begins once it is applied here, and how old what others are told may be.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);

/// How long a stream whose client reads nothing, and so does not notice its end, may keep a node from being drained.
const STUCK: Duration = Duration::from_secs(5);

/// Watches over one node.
pub(super) struct Drainer {
    pub(super) handle: Handle,
    pub(super) service: Service,
    pub(super) window: Duration,
    pub(super) metrics: grpc::Metrics,
}

impl Drainer {
    /// For a node that comes up: if it was drained before, it serves nobody in between.
    pub(super) fn begin(&self) {
        if self.is_drained() {
            self.service.drained();
        }
        self.tell();
    }

    /// Until cancelled.
    pub(super) async fn run(self, stopping: CancellationToken) -> Result<(), Infallible> {
        let mut ticks = tokio::time::interval(LOOK_INTERVAL);
        while stopping.run_until_cancelled(ticks.tick()).await.is_some() {
            self.step();
            self.tell();
        }
        Ok(())
    }

    fn step(&self) {
        match (self.service.phase(), self.is_drained()) {
            (Phase::Serving, true) => {
                tracing::info!(
                    window_ms = self.window.as_millis(),
                    "draining: an operator took this node out of service"
                );
                self.service.drain(self.window);
            }
            (Phase::Draining { until }, true) if self.let_go(until) => {
                tracing::info!(streams = self.metrics.open_streams(), "drained: this node serves nobody");
                self.service.drained();
            }
            (Phase::Draining { .. } | Phase::Drained, false) => {
                tracing::info!("back in service");
                self.service.undrain();
            }
            (Phase::Serving, false)
            | (Phase::Draining { .. } | Phase::Drained, true)
            | (Phase::Stopping { .. }, _) => {}
        }
    }

    /// The window is over, and so are the streams.
    fn let_go(&self, until: Instant) -> bool {
        let now = Instant::now();
        now >= until && (self.metrics.open_streams() == 0 || now >= until + STUCK)
    }

    fn tell(&self) {
        let state = match self.service.phase() {
            Phase::Serving => ServiceState::Serving,
            // One that leads is not safe to stop.
            Phase::Drained if !self.leads() => ServiceState::Drained,
            Phase::Drained | Phase::Draining { .. } | Phase::Stopping { .. } => ServiceState::Draining,
        };
        self.handle.report_service(state, self.metrics.open_streams());
    }

    fn is_drained(&self) -> bool {
        let view = self.handle.catalog().view();
        view.directory.fleet().drained_since_ms(self.handle.node_id()).is_some()
    }

    fn leads(&self) -> bool {
        self.handle.status().leader == Some(self.handle.node_id())
    }
}
