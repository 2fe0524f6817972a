//! How many config streams may be open: on this node, and with one credential.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::access::Holder;
use super::metrics::{Bound, Metrics, StreamBound};

/// Open streams of one node: what the design gives 1 GiB for. A client past it goes to another node.
const PER_NODE: usize = 50_000;

/// Open streams with one credential: a service of thousands of processes has one key, and must not be able to keep
/// everybody else out.
const PER_CREDENTIAL: usize = 10_000;

/// Counts the open streams. Checking and counting are one step, so no burst of opens gets past a bound.
#[derive(Debug)]
pub(super) struct Streams {
    counts: Mutex<Counts>,
    limits: Limits,
    metrics: Metrics,
}

#[derive(Debug)]
struct Limits {
    per_node: usize,
    per_credential: usize,
}

/// Holders without a stream have no entry, so the map is no larger than the number of streams.
#[derive(Debug, Default)]
struct Counts {
    open: usize,
    by_holder: HashMap<Holder, usize>,
}

/// Why one more stream is one too many.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum TooMany {
    #[error("{0} config streams are open on this node: another node may have room")]
    OnNode(usize),
    #[error("{0} config streams are open with this credential: use fewer, or one key per service")]
    WithCredential(usize),
}

impl Streams {
    pub(super) fn new(metrics: Metrics) -> Arc<Self> {
        Self::with_limits(Limits { per_node: PER_NODE, per_credential: PER_CREDENTIAL }, metrics)
    }

    fn with_limits(limits: Limits, metrics: Metrics) -> Arc<Self> {
        Arc::new(Self { counts: Mutex::default(), limits, metrics })
    }

    /// Counts one more stream for as long as the answer lives.
    pub(super) fn open(self: &Arc<Self>, holder: Holder) -> Result<Open, TooMany> {
        let refused = |bound| {
            self.metrics.streams_refused.get_or_create(&Bound { bound }).inc();
        };
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if counts.open >= self.limits.per_node {
            refused(StreamBound::Node);
            return Err(TooMany::OnNode(counts.open));
        }
        let held = counts.by_holder.get(&holder).copied().unwrap_or(0);
        if held >= self.limits.per_credential {
            refused(StreamBound::Credential);
            return Err(TooMany::WithCredential(held));
        }
        counts.open += 1;
        counts.by_holder.insert(holder, held + 1);
        self.metrics.streams.inc();
        Ok(Open { streams: self.clone(), holder })
    }
}

/// One open stream.
#[derive(Debug)]
pub(super) struct Open {
    streams: Arc<Streams>,
    holder: Holder,
}

impl Drop for Open {
    fn drop(&mut self) {
        let mut counts = self.streams.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts.open -= 1;
        if let Some(held) = counts.by_holder.get_mut(&self.holder) {
            *held -= 1;
            if *held == 0 {
                counts.by_holder.remove(&self.holder);
            }
        }
        self.streams.metrics.streams.dec();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use meridian_model::KeyHash;
    use prometheus_client::registry::Registry;

    use super::*;

    fn streams(per_node: usize, per_credential: usize) -> Arc<Streams> {
        let metrics = Metrics::register(&mut Registry::default());
        Streams::with_limits(Limits { per_node, per_credential }, metrics)
    }

    fn holder(secret: &str) -> Holder {
        Holder::Key(KeyHash::of(secret))
    }

    #[test]
    fn each_bound_is_told_and_room_comes_back() {
        let streams = streams(3, 2);
        let first = streams.open(holder("a")).unwrap();
        let second = streams.open(holder("a")).unwrap();
        assert_eq!(streams.open(holder("a")).unwrap_err(), TooMany::WithCredential(2));
        let third = streams.open(holder("b")).unwrap();
        assert_eq!(streams.open(holder("c")).unwrap_err(), TooMany::OnNode(3));
        assert_eq!(streams.metrics.streams.get(), 3);
        drop(first);
        let fourth = streams.open(holder("a")).unwrap();
        drop((second, third, fourth));
        let counts = streams.counts.lock().unwrap();
        assert_eq!((counts.open, counts.by_holder.len()), (0, 0));
        assert_eq!(streams.metrics.streams.get(), 0);
    }

    #[test]
    fn a_burst_of_opens_stays_within_the_bound() {
        let streams = streams(1_000, 10);
        let opened: Vec<Open> = std::thread::scope(|scope| {
            let burst = || (0..100).filter_map(|_| streams.open(holder("a")).ok()).collect::<Vec<_>>();
            let bursts: Vec<_> = (0..8).map(|_| scope.spawn(burst)).collect();
            bursts.into_iter().flat_map(|burst| burst.join().unwrap()).collect()
        });
        assert_eq!(opened.len(), 10);
    }
}
