//! How long to wait before the next attempt.

use std::time::Duration;

/// Doubling pauses between a floor and a cap.
#[derive(Debug)]
pub(crate) struct Backoff {
    floor: Duration,
    cap: Duration,
    next: Duration,
}

impl Backoff {
    /// Between attempts of one call: the cluster elects a leader within about a second, so a caller who waits longer
    /// than the cap would add to the outage. One call by one caller needs no jitter.
    pub(crate) fn within_a_call() -> Self {
        Self::new(Duration::from_millis(50), Duration::from_millis(400))
    }

    /// Between connections of a watch, of which a node may have tens of thousands: take [`Backoff::jittered`].
    pub(crate) fn between_streams() -> Self {
        Self::new(Duration::from_millis(100), Duration::from_secs(5))
    }

    fn new(floor: Duration, cap: Duration) -> Self {
        Self { floor, cap, next: floor }
    }

    /// The next pause.
    pub(crate) fn plain(&mut self) -> Duration {
        let pause = self.next;
        self.next = (pause * 2).min(self.cap);
        pause
    }

    /// A random part of the next pause, so that clients which lost the same node do not come back as one.
    pub(crate) fn jittered(&mut self) -> Duration {
        let random = uuid::Uuid::new_v4().as_u128() as u32;
        self.plain().mul_f64(f64::from(random) / f64::from(u32::MAX))
    }

    /// Starts over, after a success.
    pub(crate) fn reset(&mut self) {
        self.next = self.floor;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_cap_and_start_over() {
        let mut backoff = Backoff::within_a_call();
        let ms: Vec<_> = (0..5).map(|_| backoff.plain().as_millis()).collect();
        assert_eq!(ms, [50, 100, 200, 400, 400]);
        backoff.reset();
        assert_eq!(backoff.plain().as_millis(), 50);
    }

    #[test]
    fn jitter_stays_within_the_pause_and_varies() {
        let pauses: Vec<_> = (0..50)
            .map(|_| {
                let mut backoff = Backoff::between_streams();
                backoff.jittered()
            })
            .collect();
        assert!(pauses.iter().all(|p| *p <= Duration::from_millis(100)), "{pauses:?}");
        assert!(pauses.iter().any(|p| *p != pauses[0]), "{pauses:?}");
    }
}
