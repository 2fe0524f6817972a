//! How long to wait before the next attempt.

use std::time::Duration;

/// Pauses under a limit that doubles up to a cap. Each is a random part of its limit ("full jitter"), so that callers
/// which failed together do not come back together.
#[derive(Debug)]
pub(crate) struct Backoff {
    floor: Duration,
    cap: Duration,
    limit: Duration,
}

impl Backoff {
    /// Between attempts of one call: the cluster elects a leader within a fraction of a second on a LAN and about a
    /// second across the world, and a caller who waits longer than the cap would add to the outage.
    pub(crate) fn within_a_call() -> Self {
        Self::new(Duration::from_millis(40), Duration::from_millis(300))
    }

    /// Between connections of a watch, of which a node may have tens of thousands.
    pub(crate) fn between_streams() -> Self {
        Self::new(Duration::from_millis(100), Duration::from_secs(5))
    }

    fn new(floor: Duration, cap: Duration) -> Self {
        Self { floor, cap, limit: floor }
    }

    /// The next pause.
    pub(crate) fn pause(&mut self) -> Duration {
        let limit = self.limit;
        self.limit = (limit * 2).min(self.cap);
        limit.mul_f64(fastrand::f64())
    }

    /// Starts over, after a success.
    pub(crate) fn reset(&mut self) {
        self.limit = self.floor;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_double_up_to_the_cap_and_start_over() {
        let mut backoff = Backoff::within_a_call();
        for limit in [40, 80, 160, 300, 300] {
            assert_eq!(backoff.limit, Duration::from_millis(limit));
            assert!(backoff.pause() <= Duration::from_millis(limit));
        }
        backoff.reset();
        assert_eq!(backoff.limit, Duration::from_millis(40));
    }

    #[test]
    fn pauses_vary() {
        let pauses: Vec<_> = (0..50).map(|_| Backoff::between_streams().pause()).collect();
        assert!(pauses.iter().any(|pause| *pause != pauses[0]), "{pauses:?}");
    }
}
