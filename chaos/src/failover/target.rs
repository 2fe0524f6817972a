//! What a failover must reach.

use std::fmt;

use serde::Serialize;

use super::Profile;
use crate::figures::Figures;

/// How a leader goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Fault {
    /// SIGKILL.
    Kill,
    /// SIGTERM: it hands over before it ends.
    Stop,
}

impl Fault {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::Stop => "stop",
        }
    }
}

/// A bound on one figure.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Target {
    #[serde(skip)]
    profile: Profile,
    #[serde(skip)]
    fault: Fault,
    percentile: Percentile,
    below_ms: f64,
}

#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
enum Percentile {
    P50,
    P99,
}

const fn target(profile: Profile, fault: Fault, percentile: Percentile, below_ms: f64) -> Target {
    Target { profile, fault, percentile, below_ms }
}

/// Everything that must be reached.
pub(super) const TARGETS: [Target; 7] = [
    target(Profile::Lan, Fault::Kill, Percentile::P50, 300.0),
    target(Profile::Lan, Fault::Stop, Percentile::P50, 100.0),
    target(Profile::Default, Fault::Kill, Percentile::P99, 1_000.0),
    target(Profile::Default, Fault::Stop, Percentile::P50, 100.0),
    target(Profile::Wan, Fault::Kill, Percentile::P50, 1_500.0),
    target(Profile::Wan, Fault::Kill, Percentile::P99, 2_000.0),
    target(Profile::Wan, Fault::Stop, Percentile::P50, 700.0),
];

impl Target {
    pub(super) fn is_for(&self, profile: Profile, fault: Fault) -> bool {
        self.profile == profile && self.fault == fault
    }

    /// Nothing measured meets nothing.
    pub(super) fn is_met(&self, figures: &Figures) -> bool {
        let figure = match self.percentile {
            Percentile::P50 => figures.p50_ms,
            Percentile::P99 => figures.p99_ms,
        };
        figures.count > 0 && figure < self.below_ms
    }

    pub(super) fn below_ms(&self) -> f64 {
        self.below_ms
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percentile = match self.percentile {
            Percentile::P50 => "p50",
            Percentile::P99 => "p99",
        };
        write!(f, "{percentile} < {} ms", self.below_ms)
    }
}
