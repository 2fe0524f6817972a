//! What applying a command answers. Kept for repeats, so each reason has a stable number.

use crate::ids::Version;

/// The answer to a command. A refused one changed nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The change was made.
    Done,
    /// The release was made.
    Published {
        /// Its version.
        version: Version,
        /// Its time.
        time_ms: u64,
    },
    /// Nothing was changed.
    Refused(Refusal),
}

/// Why a command was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No such project.
    #[error("project {0} does not exist")]
    UnknownProject(String),
    /// No such environment.
    #[error("environment {0} does not exist")]
    UnknownEnvironment(String),
    /// No such key.
    #[error("key {0} does not exist")]
    UnknownKey(String),
    /// The version never was, or is no longer kept.
    #[error("{environment} has no version {version}: it was never published or is no longer kept")]
    UnknownVersion {
        /// Where.
        environment: String,
        /// Which one.
        version: Version,
    },
    /// There is nothing to go back to.
    #[error("{0} has no earlier version to go back to")]
    NoEarlierVersion(String),
    /// The name or key is taken.
    #[error("{0} exists already")]
    Exists(String),
    /// The compare-and-set failed.
    #[error(
        "{environment} is at version {current}, not {expected}: somebody else published; look at it and try again"
    )]
    VersionConflict {
        /// Where.
        environment: String,
        /// The newest version.
        current: Version,
        /// What the caller expected.
        expected: Version,
    },
    /// A bound of [`crate::limits`] is reached.
    #[error("the limit of {limit} {what} is reached")]
    LimitReached {
        /// What there are too many of.
        what: String,
        /// How many there may be.
        limit: u64,
    },
    /// The compare-and-set of a placement failed.
    #[error(
        "the placement is at version {current}, not {expected}: somebody else changed it; look at it and try again"
    )]
    PlacementConflict {
        /// The version it has.
        current: Version,
        /// What the caller expected.
        expected: Version,
    },
    /// It was settled that this request is not done.
    #[error("the request was given up: it was not done and never will be; make a new one")]
    Abandoned,
    /// The id was used before, for something else.
    #[error("the request id was used for a different request: make a new one")]
    RequestIdReused,
}
