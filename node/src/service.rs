//! Whether this node is in service, and how it lets go of its streams.
//!
//! ```text
//!    ┌────────── undrain ──────────┐
//!    ▼                             │
//! Serving ──drain──▶ Draining ──drained──▶ Drained
//!    └───────────┬───────┴────────────────────┘
//!              stop ──▶ Stopping                    nothing comes back from there
//! ```
//!
//! While a node leaves, each stream ends at a moment of its own, spread evenly at random over the time there is, so that
//! clients do not arrive elsewhere all at once. New streams are refused from the beginning. Single reads are answered
//! until the node is drained, or gone: whoever was sent here before the word got round is not turned away.
//!
//! It says what is so. Who asks for it, and who tells others, is elsewhere.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

/// Whether this node is in service. Cheap to clone; all clones are one.
#[derive(Clone, Debug)]
pub struct Service(Arc<watch::Sender<Phase>>);

/// How far along.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Everybody is let in.
    Serving,
    /// An operator took it out of service: streams are being ended.
    Draining {
        /// The last of them ends here.
        until: Instant,
    },
    /// Nobody is served.
    Drained,
    /// The process is about to end: streams are being ended.
    Stopping {
        /// The last of them ends here.
        until: Instant,
    },
}

/// Why somebody is not served. Another node may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Away {
    /// Its streams are being ended.
    #[error("draining")]
    Draining,
    /// It was taken out of service.
    #[error("drained")]
    Drained,
    /// It will not come back.
    #[error("stopping")]
    Stopping,
}

impl Default for Service {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(Phase::Serving)))
    }
}

impl Service {
    /// How far along it is.
    pub fn phase(&self) -> Phase {
        *self.0.borrow()
    }

    /// Begins to leave: the streams that are open end within `window`.
    pub fn drain(&self, window: Duration) {
        self.change(Phase::Draining { until: Instant::now() + window });
    }

    /// Serves nobody from here on.
    pub fn drained(&self) {
        self.change(Phase::Drained);
    }

    /// Lets everybody in again.
    pub fn undrain(&self) {
        self.change(Phase::Serving);
    }

    /// Begins to leave for good: the streams that are open end within `window`.
    pub fn stop(&self, window: Duration) {
        self.change(Phase::Stopping { until: Instant::now() + window });
    }

    /// Whether this node asks for work.
    pub fn ready(&self) -> Result<(), Away> {
        match self.phase() {
            Phase::Serving => Ok(()),
            Phase::Draining { .. } => Err(Away::Draining),
            Phase::Drained => Err(Away::Drained),
            Phase::Stopping { .. } => Err(Away::Stopping),
        }
    }

    /// Whether a single read is answered.
    pub fn answers_reads(&self) -> Result<(), Away> {
        match self.phase() {
            Phase::Serving | Phase::Draining { .. } | Phase::Stopping { .. } => Ok(()),
            Phase::Drained => Err(Away::Drained),
        }
    }

    /// For a stream that begins now: tells it when to end.
    pub fn departure(&self) -> Departure {
        Departure { phases: self.0.subscribe(), planned: None }
    }

    fn change(&self, to: Phase) {
        self.0.send_if_modified(|phase| {
            let changes = *phase != to && !matches!(phase, Phase::Stopping { .. });
            if changes {
                *phase = to;
            }
            changes
        });
    }
}

/// One stream's part in leaving.
#[derive(Debug)]
pub struct Departure {
    phases: watch::Receiver<Phase>,
    /// The end of the window that it was drawn from, and the moment.
    planned: Option<(Instant, Instant)>,
}

impl Departure {
    /// Waits until this stream has to end. May be dropped and called again: the moment stays.
    pub async fn due(&mut self) -> Away {
        loop {
            let phase = *self.phases.borrow_and_update();
            let (away, until) = match phase {
                Phase::Serving => {
                    self.changed().await;
                    continue;
                }
                Phase::Draining { until } => (Away::Draining, until),
                Phase::Stopping { until } => (Away::Stopping, until),
                Phase::Drained => return Away::Drained,
            };
            let moment = match self.planned {
                Some((window, moment)) if window == until => moment,
                _ => a_moment_before(until),
            };
            self.planned = Some((until, moment));
            tokio::select! {
                () = tokio::time::sleep_until(moment) => return away,
                () = self.changed() => {}
            }
        }
    }

    async fn changed(&mut self) {
        if self.phases.changed().await.is_err() {
            // Nobody is left who could send this node away.
            std::future::pending::<()>().await;
        }
    }
}

/// Anywhere between now and then, each moment as likely as any other.
fn a_moment_before(until: Instant) -> Instant {
    let now = Instant::now();
    // Without randomness all go at once, which is worse for others and no worse for this node.
    let part = getrandom::u32().map_or(0.0, |number| f64::from(number) / f64::from(u32::MAX));
    now + until.saturating_duration_since(now).mul_f64(part)
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    const WINDOW: Duration = Duration::from_secs(10);

    #[tokio::test(start_paused = true)]
    async fn streams_end_spread_over_the_window() {
        let service = Service::default();
        let mut streams: Vec<Departure> = (0..1_000).map(|_| service.departure()).collect();
        assert!(streams[0].due().now_or_never().is_none());
        let began = Instant::now();
        service.drain(WINDOW);
        let ended = futures::future::join_all(streams.iter_mut().map(|stream| async {
            assert_eq!(stream.due().await, Away::Draining);
            began.elapsed()
        }));
        let ended = ended.await;
        assert!(ended.iter().all(|after| *after <= WINDOW + Duration::from_millis(1)));
        for tenth in 0..10 {
            let part = WINDOW * tenth / 10..WINDOW * (tenth + 1) / 10;
            let count = ended.iter().filter(|after| part.contains(after)).count();
            // Four standard deviations around 100.
            assert!((60..=140).contains(&count), "{count} streams ended in tenth {tenth}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_that_is_left_alone_again_goes_on() {
        let service = Service::default();
        let mut stream = service.departure();
        service.drain(WINDOW);
        stream.due().now_or_never();
        service.undrain();
        tokio::time::advance(WINDOW * 2).await;
        assert_eq!(stream.due().now_or_never(), None);
        service.drained();
        assert_eq!(stream.due().now_or_never(), Some(Away::Drained));
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_that_stops_does_not_come_back() {
        let service = Service::default();
        let check = |expected: Result<(), Away>, reads: Result<(), Away>| {
            assert_eq!((service.ready(), service.answers_reads()), (expected, reads));
        };
        check(Ok(()), Ok(()));
        service.drain(WINDOW);
        check(Err(Away::Draining), Ok(()));
        service.drained();
        check(Err(Away::Drained), Err(Away::Drained));
        service.undrain();
        check(Ok(()), Ok(()));
        service.stop(WINDOW);
        service.undrain();
        service.drained();
        check(Err(Away::Stopping), Ok(()));
    }
}
