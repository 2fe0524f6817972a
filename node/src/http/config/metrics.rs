//! What the HTTP listener counts.

use std::time::Duration;

use axum::http::StatusCode;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

/// Counters of one listener. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Metrics {
    answers: Family<Answer, Counter>,
    seconds: Histogram,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answer {
    status: u16,
}

impl Metrics {
    /// Makes the counters and shows them in `registry`.
    pub fn register(registry: &mut Registry) -> Self {
        /// From an answer out of memory to a large document that has to be opened first.
        const BUCKETS: [f64; 9] = [0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.05, 0.2, 1.0];
        let metrics = Self { answers: Family::default(), seconds: Histogram::new(BUCKETS) };
        let registry = registry.sub_registry_with_prefix("meridian_http");
        registry.register("answers", "Answered requests for a config by status", metrics.answers.clone());
        registry.register_with_unit(
            "answer",
            "Time until the answer to a request for a config begins",
            Unit::Seconds,
            metrics.seconds.clone(),
        );
        metrics
    }

    /// Counts one answer.
    pub(super) fn answered(&self, status: StatusCode, after: Duration) {
        self.answers.get_or_create(&Answer { status: status.as_u16() }).inc();
        self.seconds.observe(after.as_secs_f64());
    }
}
