//! The order statistics of some times.

use std::time::Duration;

use serde::Serialize;

/// By nearest rank: each figure is a time that was measured, and p99 of up to 100 times is the highest.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Figures {
    pub(crate) count: usize,
    pub(crate) min_ms: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p95_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) max_ms: f64,
}

impl Figures {
    /// All zero where there is no time; see `count`.
    pub(crate) fn of(times: impl IntoIterator<Item = Duration>) -> Self {
        let mut times: Vec<_> = times.into_iter().collect();
        times.sort_unstable();
        let rank = |percent: usize| {
            let rank = (times.len() * percent).div_ceil(100).max(1);
            times.get(rank - 1).map_or(0.0, |time| time.as_secs_f64() * 1e3)
        };
        Self {
            count: times.len(),
            min_ms: rank(0),
            p50_ms: rank(50),
            p95_ms: rank(95),
            p99_ms: rank(99),
            max_ms: rank(100),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_figure_is_a_time_that_was_measured() {
        let of = |range: std::ops::RangeInclusive<u64>| Figures::of(range.map(Duration::from_millis));
        let figures = of(1..=200);
        assert_eq!((figures.min_ms, figures.p50_ms, figures.p95_ms), (1.0, 100.0, 190.0));
        assert_eq!((figures.p99_ms, figures.max_ms), (198.0, 200.0));
        assert_eq!(of(1..=50).p99_ms, 50.0);
        assert_eq!(of(7..=7).p50_ms, 7.0);
        assert_eq!(Figures::of([]), Figures::default());
    }
}
