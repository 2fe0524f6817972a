//! What a subscription tells of itself.

use std::time::Duration;

use meridian_proto::config::Freshness;

use super::Source;
use crate::Endpoint;

/// How configs come, at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// A node pushes them.
    Streaming,
    /// No stream can be had; the last poll was answered.
    Polling,
    /// No node is heard.
    Down,
}

/// Where a subscription stands, at a moment.
#[derive(Clone, Debug)]
pub struct Status {
    /// Where the config served comes from.
    pub source: Source,
    /// Its version; 0 while the defaults answer.
    pub version: u64,
    /// The SHA-256 of its document, in hex; empty while the defaults answer.
    pub digest: String,
    /// How configs come.
    pub link: Link,
    /// The node that pushes; `None` unless streaming.
    pub endpoint: Option<Endpoint>,
    /// What the last answer rested on, or, before there was one, what the cache remembers.
    pub freshness: Freshness,
    /// How long ago a node was last heard, by this machine's stopwatch; `None` if never. Nodes that push are heard
    /// about every second.
    pub last_heard: Option<Duration>,
    /// For how long the config may have missed a change: the age that the node gave, and the time since. No clock of
    /// another machine enters. `None` if no node has said.
    pub staleness: Option<Duration>,
    /// Why there is no stream; `None` while there is one.
    pub problem: Option<String>,
    /// Why the cache file is not used or not kept; `None` while it is, or if there is none.
    pub cache_problem: Option<String>,
    /// How often a default was used because the config had a value of another type.
    pub mismatches: u64,
}

impl Status {
    /// Unix milliseconds, by the leader's clock: the config held everything that was committed up to here. 0 if no
    /// node has said.
    pub fn fresh_as_of_ms(&self) -> u64 {
        self.freshness.fresh_as_of_ms
    }

    /// The region of the node that answered last; empty if none did.
    pub fn region(&self) -> &str {
        &self.freshness.region
    }
}
