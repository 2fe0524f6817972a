//! Median and highest of a few times.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use crate::judge::millis;

/// Some times, in short.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Spread {
    count: usize,
    median_ms: u64,
    max_ms: u64,
}

impl FromIterator<Duration> for Spread {
    fn from_iter<I: IntoIterator<Item = Duration>>(times: I) -> Self {
        let mut times: Vec<_> = times.into_iter().collect();
        times.sort_unstable();
        let (Some(max), Some(median)) = (times.last(), times.get(times.len() / 2)) else {
            return Self::default();
        };
        Self { count: times.len(), median_ms: millis(*median), max_ms: millis(*max) }
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "median {} ms, max {} ms ({} times)", self.median_ms, self.max_ms, self.count)
    }
}
