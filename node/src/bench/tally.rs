//! Latencies and errors, added up.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;
use meridian_client::Error;

use super::report::{Figures, Latency};

/// Longer ones count as this: no call has a longer deadline.
const LONGEST_US: u64 = 3_600_000_000;

/// Different errors that are told; a cluster that makes up new ones must not fill the memory.
const ERRORS: usize = 20;

const ERROR_CHARACTERS: usize = 200;

/// What came of some publishes.
#[derive(Debug)]
pub(super) struct Tally {
    latencies_us: Histogram<u64>,
    errors: BTreeMap<String, u64>,
}

impl Tally {
    pub(super) fn new() -> Self {
        let latencies_us = Histogram::new_with_max(LONGEST_US, 3).expect("the bounds are in order");
        Self { latencies_us, errors: BTreeMap::new() }
    }

    pub(super) fn answered(&mut self, after: Duration) {
        self.latencies_us.saturating_record(u64::try_from(after.as_micros()).unwrap_or(u64::MAX));
    }

    pub(super) fn failed(&mut self, error: &Error) {
        // The request id makes every unknown outcome a text of its own.
        let text = match error {
            Error::Unknown { message, .. } => format!("outcome unknown: {message}"),
            error => error.to_string(),
        };
        self.count(text.chars().take(ERROR_CHARACTERS).collect(), 1);
    }

    pub(super) fn add(&mut self, other: Self) {
        self.latencies_us.add(other.latencies_us).expect("both have the same bounds");
        for (error, count) in other.errors {
            self.count(error, count);
        }
    }

    fn count(&mut self, error: String, count: u64) {
        let is_told = self.errors.contains_key(&error) || self.errors.len() < ERRORS;
        let error = if is_told { error } else { "other errors".to_owned() };
        *self.errors.entry(error).or_default() += count;
    }

    /// Over so many seconds.
    pub(super) fn figures(self, seconds: u64) -> Figures {
        let publishes = self.latencies_us.len();
        #[allow(clippy::cast_precision_loss)] // of numbers that are measured anyway
        let rate = publishes as f64 / seconds as f64;
        Figures { publishes, rate_per_s: rate, latency: self.latency(), errors: self.errors }
    }

    pub(super) fn latency(&self) -> Latency {
        #[allow(clippy::cast_precision_loss)] // microseconds of hours
        let ms = |us: u64| us as f64 / 1_000.0;
        let at = |quantile| ms(self.latencies_us.value_at_quantile(quantile));
        Latency { p50_ms: at(0.5), p99_ms: at(0.99), max_ms: ms(self.latencies_us.max()) }
    }

    pub(super) fn len(&self) -> u64 {
        self.latencies_us.len()
    }
}
