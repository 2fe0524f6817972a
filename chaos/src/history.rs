//! What the clients of a run have seen: every publish that was tried, and what came of it.

use std::time::Duration;

use crate::document::Digest;

/// One publish, over all attempts under its request id.
#[derive(Clone, Debug)]
pub struct Publish {
    /// Number of the environment within the run.
    pub environment: u32,
    /// SHA-256 of the document. No two publishes of a run share it, so a digest found in the cluster names the publish.
    pub digest: Digest,
    /// Compare-and-set: the version it was to follow.
    pub expect_version: Option<u64>,
    /// When it was first sent, since the start of the run.
    pub sent: Duration,
    /// When its outcome was told, since the start of the run.
    pub ended: Duration,
    /// What was told.
    pub outcome: Outcome,
}

/// What a client was told of a publish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Committed.
    Acked {
        /// As this version.
        version: u64,
        /// With this document.
        digest: Digest,
    },
    /// Certainly not done: decided against, or never taken in.
    Refused,
    /// It may have been done.
    Unknown,
}

impl Publish {
    /// The version it was acknowledged as.
    pub fn acked_version(&self) -> Option<u64> {
        match self.outcome {
            Outcome::Acked { version, .. } => Some(version),
            Outcome::Refused | Outcome::Unknown => None,
        }
    }
}

/// From `at` to the end of the first publish that was sent after it and acknowledged.
pub(crate) fn write_gap(publishes: &[Publish], at: Duration) -> Option<Duration> {
    let acked = publishes.iter().filter(|publish| publish.acked_version().is_some() && publish.sent >= at);
    acked.map(|publish| publish.ended - at).min()
}

/// The longest time between two acknowledgements.
pub(crate) fn longest_write_gap(publishes: &[Publish]) -> Duration {
    let acked = publishes.iter().filter(|publish| publish.acked_version().is_some());
    let mut acked: Vec<Duration> = acked.map(|publish| publish.ended).collect();
    acked.sort_unstable();
    acked.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn publish(ended_ms: u64, outcome: Outcome) -> Publish {
        let at = Duration::from_millis;
        let sent = at(ended_ms - 50);
        Publish { environment: 0, digest: [0; 32], expect_version: None, sent, ended: at(ended_ms), outcome }
    }

    #[test]
    fn gaps_lie_between_acknowledgements() {
        let acked = Outcome::Acked { version: 1, digest: [0; 32] };
        let publishes =
            [publish(900, acked), publish(100, acked), publish(500, Outcome::Unknown), publish(950, acked)];
        let ms = Duration::from_millis;
        assert_eq!(longest_write_gap(&publishes), ms(800));
        assert_eq!(longest_write_gap(&[]), Duration::ZERO);
        // What was already under way at 860 does not show that the cluster took anything in since.
        assert_eq!(write_gap(&publishes, ms(860)), Some(ms(90)));
        assert_eq!(write_gap(&publishes, ms(950)), None);
    }
}
