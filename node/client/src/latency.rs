//! How long a node takes to answer, as far as the last answers tell.

use std::time::Duration;

/// Answers remembered: enough for a 95th percentile, few enough to follow a change within seconds.
const REMEMBERED: usize = 128;

/// Below this many answers a percentile says nothing.
const MEANINGFUL: usize = 16;

/// Sorting takes a microsecond; once for so many answers is often enough.
const RENEWED_EVERY: usize = 16;

/// The 95th percentile of a node's last answers. Slow answers must be told too, also those that came after somebody
/// else's was taken: otherwise the percentile would sink below itself.
#[derive(Default)]
pub(crate) struct Latency {
    /// A ring, in microseconds.
    answers: Vec<u32>,
    /// How many answers there were.
    count: usize,
    p95: Option<Duration>,
}

impl Latency {
    pub(crate) fn add(&mut self, took: Duration) {
        let micros = u32::try_from(took.as_micros()).unwrap_or(u32::MAX);
        if self.answers.len() < REMEMBERED {
            self.answers.push(micros);
        } else {
            self.answers[self.count % REMEMBERED] = micros;
        }
        self.count += 1;
        if self.answers.len() >= MEANINGFUL && self.count.is_multiple_of(RENEWED_EVERY) {
            let mut sorted = self.answers.clone();
            sorted.sort_unstable();
            let p95 = sorted[(sorted.len() * 95).div_ceil(100) - 1];
            self.p95 = Some(Duration::from_micros(p95.into()));
        }
    }

    /// `None` before there were enough answers.
    pub(crate) fn p95(&self) -> Option<Duration> {
        self.p95
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(micros: impl IntoIterator<Item = u64>) -> Option<Duration> {
        let mut latency = Latency::default();
        micros.into_iter().for_each(|micros| latency.add(Duration::from_micros(micros)));
        latency.p95()
    }

    #[test]
    fn the_percentile_is_of_the_last_answers() {
        let micros = |micros| Some(Duration::from_micros(micros));
        for (answers, p95) in [
            ((0..15).collect::<Vec<_>>(), None),
            ((1..=16).collect(), micros(16)),
            ((1..=128).collect(), micros(122)),
            ((1..=128).chain([7; 128]).collect(), micros(7)),
            (vec![u64::MAX; 16], micros(u32::MAX.into())),
        ] {
            let count = answers.len();
            assert_eq!(after(answers), p95, "{count} answers");
        }
    }
}
