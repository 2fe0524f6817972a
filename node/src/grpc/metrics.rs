//! What the public gRPC listener counts.

use std::sync::Arc;

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

/// Counters of one listener. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Metrics {
    /// Finished calls, streams included, by method and status code.
    pub(super) calls: Family<Call, Counter>,
    /// Time until the answer begins: for a unary call all of its work, for a stream only its admission.
    pub(super) seconds: Family<Method, Histogram>,
    /// Config streams that are open now.
    pub(super) streams: Gauge,
    /// Config streams that were refused because too many were open.
    pub(super) streams_refused: Family<Bound, Counter>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Call {
    pub(super) method: Arc<str>,
    pub(super) code: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Method {
    pub(super) method: Arc<str>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Bound {
    pub(super) bound: StreamBound,
}

/// Which bound on open streams was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub(super) enum StreamBound {
    Node,
    Credential,
}

impl Metrics {
    /// Config streams that are open now.
    pub fn open_streams(&self) -> u64 {
        self.streams.get().try_into().unwrap_or(0)
    }

    /// Makes the counters and shows them in `registry`.
    pub fn register(registry: &mut Registry) -> Self {
        /// From an answer out of memory to a change that waits for an election.
        const BUCKETS: [f64; 12] =
            [0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 2.0, 10.0];
        let metrics = Self {
            calls: Family::default(),
            seconds: Family::new_with_constructor(|| Histogram::new(BUCKETS)),
            streams: Gauge::default(),
            streams_refused: Family::default(),
        };
        let registry = registry.sub_registry_with_prefix("meridian_grpc");
        registry.register("calls", "Finished calls by method and status code", metrics.calls.clone());
        registry.register_with_unit(
            "answer",
            "Time until the answer to a call begins",
            Unit::Seconds,
            metrics.seconds.clone(),
        );
        registry.register("streams", "Open config streams", metrics.streams.clone());
        registry.register(
            "streams_refused",
            "Config streams refused because too many are open, by bound",
            metrics.streams_refused.clone(),
        );
        metrics
    }
}
