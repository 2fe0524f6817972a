//! Answers whose parts are known to be there.

use bytes::Bytes;
use meridian_proto::admin::get_outcome_response::State;
use meridian_proto::admin::{
    Finding, GetOutcomeResponse, GetReleaseResponse, PublishResponse, RollbackResponse,
};
use meridian_proto::config::{Freshness, GetConfigResponse, Release, WatchConfigResponse};

use crate::Error;

/// A config as a node serves it now.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Which release it is.
    pub release: Release,
    /// What the answer rests on; zeros where the node did not say.
    pub freshness: Freshness,
    /// The bytes as published.
    pub document: Bytes,
}

/// What a fetch brought.
#[derive(Clone, Debug, PartialEq)]
pub enum Fetched {
    /// A newer config than the caller holds.
    Config(Config),
    /// The caller's version is the newest this node may serve.
    NotModified(Freshness),
}

/// A release out of the history.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredRelease {
    /// Which one.
    pub release: Release,
    /// The bytes as published.
    pub document: Bytes,
}

/// A committed publish or rollback, or what a dry run would make.
#[derive(Clone, Debug, PartialEq)]
pub struct Published {
    /// The release. Its time is 0 after a dry run.
    pub release: Release,
    /// Remarks that did not stop it.
    pub warnings: Vec<Finding>,
    /// A node whose revision is at least this serves the release.
    pub revision: u64,
}

/// What became of a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nobody has decided it. An attempt that is still on its way may be.
    Undecided {
        /// Holds everything that was decided up to here.
        revision: u64,
    },
    /// It was made.
    Done {
        /// What a publish or rollback made; 0 for other changes.
        version: u64,
        /// When, in Unix milliseconds by the leader's clock.
        time_ms: u64,
    },
    /// It was decided against.
    Refused {
        /// Stable name, e.g. `version-conflict`.
        reason: String,
        /// For people.
        message: String,
    },
    /// It was settled: it was not made, and never will be.
    Abandoned,
}

impl TryFrom<GetOutcomeResponse> for Outcome {
    type Error = Error;

    fn try_from(answer: GetOutcomeResponse) -> Result<Self, Error> {
        Ok(match answer.state() {
            State::Undecided => Self::Undecided { revision: answer.revision },
            State::Done => Self::Done { version: answer.version, time_ms: answer.time_ms },
            State::Refused => Self::Refused { reason: answer.reason, message: answer.message },
            State::Abandoned => Self::Abandoned,
            State::Unspecified => return Err(Error::Malformed { missing: "State" }),
        })
    }
}

impl TryFrom<GetConfigResponse> for Fetched {
    type Error = Error;

    fn try_from(answer: GetConfigResponse) -> Result<Self, Error> {
        let freshness = answer.freshness.unwrap_or_default();
        if answer.not_modified {
            return Ok(Self::NotModified(freshness));
        }
        Ok(Self::Config(Config { release: required(answer.release)?, freshness, document: answer.document }))
    }
}

impl Config {
    /// The config in a pushed message; `None` where it only says that there is nothing newer.
    pub(crate) fn pushed(message: WatchConfigResponse) -> Option<Self> {
        let release = message.release.filter(|_| !message.not_modified)?;
        Some(Self { release, freshness: message.freshness.unwrap_or_default(), document: message.document })
    }
}

impl TryFrom<GetReleaseResponse> for StoredRelease {
    type Error = Error;

    fn try_from(answer: GetReleaseResponse) -> Result<Self, Error> {
        Ok(Self { release: required(answer.release)?, document: answer.document })
    }
}

impl TryFrom<PublishResponse> for Published {
    type Error = Error;

    fn try_from(answer: PublishResponse) -> Result<Self, Error> {
        let release = required(answer.release)?;
        Ok(Self { release, warnings: answer.warnings, revision: answer.revision })
    }
}

impl TryFrom<RollbackResponse> for Published {
    type Error = Error;

    fn try_from(answer: RollbackResponse) -> Result<Self, Error> {
        let release = required(answer.release)?;
        Ok(Self { release, warnings: Vec::new(), revision: answer.revision })
    }
}

/// A part without which the answer says nothing.
pub(crate) fn required<T>(part: Option<T>) -> Result<T, Error> {
    part.ok_or(Error::Malformed { missing: std::any::type_name::<T>().rsplit("::").next().unwrap_or("part") })
}
