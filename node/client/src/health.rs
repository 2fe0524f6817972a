//! What is remembered of a node's health, and what follows from it. Decides only; time is given.
//!
//! Two signs speak against a node. *Failure* is definite: the connection broke, or the node said that it does not
//! serve. It opens the node's circuit: the node is asked last, until a pause is over that doubles with each failure
//! in a row; then one request tries it again. *Silence* is a suspicion: requests went out and nothing came back for
//! longer than its answers usually take. It lasts until anything comes back, or the connection is given up.

use std::time::Duration;

use tokio::time::Instant;

use crate::latency::Latency;

/// First pause after a failure: long enough that a node which restarts is not asked by every call meanwhile.
const FIRST_PAUSE: Duration = Duration::from_millis(500);

/// Longest pause: a region that came back is found by its clients within this time.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// A trial that said nothing after so long does not keep the next one from being made.
const TRIAL: Duration = Duration::from_secs(3);

/// What a node is taken to need before there were answers: somewhat more than a round trip across an ocean.
const UNKNOWN_P95: Duration = Duration::from_millis(100);

/// When a second node is asked: after the first one's 95th percentile, within these bounds. Sooner, a busy scheduler
/// would look like a lost node; later, a reader would notice the loss.
const HEDGE_AFTER: [Duration; 2] = [Duration::from_millis(10), Duration::from_millis(150)];

/// When silence is suspicious: after three times the 95th percentile, within these bounds.
const SILENT_AFTER: [Duration; 2] = [Duration::from_millis(60), Duration::from_secs(1)];

/// Longest reason that is kept: it is for one line of an error.
const REASON_BYTES: usize = 300;

/// Whether a node is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Circuit {
    /// It serves, as far as is known.
    Closed,
    /// It failed some time ago: the next request that would prefer it tries it.
    HalfOpen,
    /// It failed just now, and is asked only when all others fail too.
    Open,
}

/// One node's health.
#[derive(Default)]
pub(crate) struct Health {
    latency: Latency,
    /// When the first request went out of those that went out since something came back.
    waiting_since: Option<Instant>,
    heard_at: Option<Instant>,
    failure: Option<Failure>,
}

struct Failure {
    at: Instant,
    why: String,
    /// Failures without an answer in between.
    in_a_row: u32,
    until: Instant,
    trial_at: Option<Instant>,
}

impl Health {
    /// A request goes out.
    pub(crate) fn asked(&mut self, now: Instant) {
        self.waiting_since.get_or_insert(now);
    }

    /// Something came back, whatever it says.
    pub(crate) fn heard(&mut self, now: Instant) {
        self.heard_at = Some(now);
        self.waiting_since = None;
    }

    /// The node serves.
    pub(crate) fn served(&mut self, now: Instant) {
        self.heard(now);
        self.failure = None;
    }

    /// An answer took so long.
    pub(crate) fn took(&mut self, latency: Duration) {
        self.latency.add(latency);
    }

    /// The node did not serve. `jitter` is between 0 and 1.
    pub(crate) fn failed(&mut self, now: Instant, why: &str, jitter: f64) {
        self.waiting_since = None;
        let why = why[..why.floor_char_boundary(REASON_BYTES)].to_owned();
        match &mut self.failure {
            // One loss is told by every call that was under way; it is one failure all the same.
            Some(failure) if now < failure.until => (failure.at, failure.why) = (now, why),
            failure => {
                let in_a_row = failure.as_ref().map_or(0, |failure| failure.in_a_row).saturating_add(1);
                let longest = FIRST_PAUSE.saturating_mul(1 << (in_a_row - 1).min(10)).min(LONGEST_PAUSE);
                // At least half of it: a pause of nothing would be no pause.
                let until = now + longest.mul_f64(0.5 + jitter / 2.0);
                *failure = Some(Failure { at: now, why, in_a_row, until, trial_at: None });
            }
        }
    }

    pub(crate) fn circuit(&self, now: Instant) -> Circuit {
        match &self.failure {
            None => Circuit::Closed,
            Some(failure) if now < failure.until => Circuit::Open,
            Some(_) => Circuit::HalfOpen,
        }
    }

    /// Whether the next request shall try a node that failed. True once, until that request ends or [`TRIAL`] is over.
    pub(crate) fn try_again(&mut self, now: Instant) -> bool {
        match &mut self.failure {
            Some(failure) if now >= failure.until => {
                let is_due = failure.trial_at.is_none_or(|at| now.duration_since(at) >= TRIAL);
                if is_due {
                    failure.trial_at = Some(now);
                }
                is_due
            }
            _ => false,
        }
    }

    /// Requests went out, and nothing came back for a suspiciously long time.
    pub(crate) fn is_silent(&self, now: Instant) -> bool {
        let patience = (self.p95() * 3).clamp(SILENT_AFTER[0], SILENT_AFTER[1]);
        self.waiting_since.is_some_and(|since| now.duration_since(since) > patience)
    }

    /// Whether anything came back after `then`.
    pub(crate) fn was_heard_since(&self, then: Instant) -> bool {
        self.heard_at.is_some_and(|heard_at| heard_at >= then)
    }

    /// How long a request waits before another node is asked as well.
    pub(crate) fn hedge_after(&self) -> Duration {
        self.p95().clamp(HEDGE_AFTER[0], HEDGE_AFTER[1])
    }

    fn p95(&self) -> Duration {
        self.latency.p95().unwrap_or(UNKNOWN_P95)
    }

    /// `None` before there were enough answers.
    pub(crate) fn measured_p95(&self) -> Option<Duration> {
        self.latency.p95()
    }

    /// When the node failed, if it did not serve since.
    pub(crate) fn failed_at(&self) -> Option<Instant> {
        self.failure.as_ref().map(|failure| failure.at)
    }

    /// Why it failed, if that was after `then`.
    pub(crate) fn failure_since(&self, then: Instant) -> Option<String> {
        self.failure.as_ref().filter(|failure| failure.at > then).map(|failure| failure.why.clone())
    }

    pub(crate) fn last_failure(&self) -> Option<String> {
        self.failure.as_ref().map(|failure| failure.why.clone())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn a_failure_opens_the_circuit_for_a_pause_that_doubles_up_to_a_bound() {
        let mut now = Instant::now();
        let mut health = Health::default();
        for longest in [500, 1_000, 2_000, 4_000, 8_000, 10_000, 10_000] {
            health.failed(now, "refused", 1.0);
            health.failed(now, "refused again", 1.0);
            assert_eq!(health.circuit(now), Circuit::Open);
            assert_eq!(health.circuit(now + ms(longest - 1)), Circuit::Open);
            now += ms(longest);
            assert_eq!(health.circuit(now), Circuit::HalfOpen);
        }
        health.served(now);
        assert_eq!(health.circuit(now), Circuit::Closed);
        health.failed(now, "refused", 0.0);
        assert_eq!(health.circuit(now + ms(251)), Circuit::HalfOpen, "it starts over");
    }

    #[test]
    fn one_request_at_a_time_tries_a_node_that_failed() {
        let now = Instant::now();
        let mut health = Health::default();
        assert!(!health.try_again(now), "it did not fail");
        health.failed(now, "refused", 1.0);
        assert!(!health.try_again(now), "its pause is not over");
        let later = now + ms(500);
        assert!(health.try_again(later) && !health.try_again(later));
        assert!(health.try_again(later + TRIAL), "nobody told how the trial ended");
    }

    #[test]
    fn silence_counts_from_the_first_request_without_an_answer() {
        let now = Instant::now();
        let mut health = Health::default();
        assert!(!health.is_silent(now + ms(10_000)), "nobody asked");
        health.asked(now);
        health.asked(now + ms(250));
        assert!(!health.is_silent(now + ms(300)), "three times the latency of an unknown node");
        assert!(health.is_silent(now + ms(301)));
        health.heard(now + ms(302));
        assert!(!health.is_silent(now + ms(10_000)));

        (0..16).for_each(|_| health.took(ms(1)));
        health.asked(now);
        assert!(!health.is_silent(now + ms(60)) && health.is_silent(now + ms(61)), "the lower bound");
    }

    #[derive(Clone, Debug)]
    enum Step {
        Ask,
        Hear,
        Serve,
        Fail(f64),
        Try,
        Wait(u64),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            Just(Step::Ask),
            Just(Step::Hear),
            Just(Step::Serve),
            (0.0..1.0).prop_map(Step::Fail),
            Just(Step::Try),
            (0_u64..5_000).prop_map(Step::Wait),
        ];
        prop::collection::vec(step, 0..100)
    }

    proptest! {
        #[test]
        fn a_node_is_never_given_up(steps in steps()) {
            let mut now = Instant::now();
            let mut health = Health::default();
            for step in steps {
                match step {
                    Step::Ask => health.asked(now),
                    Step::Hear => health.heard(now),
                    Step::Serve => health.served(now),
                    Step::Fail(jitter) => health.failed(now, "why", jitter),
                    Step::Try => { health.try_again(now); }
                    Step::Wait(millis) => now += ms(millis),
                }
                let hedge_after = health.hedge_after();
                prop_assert!((HEDGE_AFTER[0]..=HEDGE_AFTER[1]).contains(&hedge_after), "{hedge_after:?}");
            }
            let later = now + LONGEST_PAUSE.max(TRIAL);
            prop_assert!(health.circuit(later) == Circuit::Closed || health.try_again(later));
        }
    }
}
