//! What a client is told at its start.

use std::time::Duration;

use crate::{Endpoint, Resolver, Secret};

/// How to reach a cluster. Start from [`Options::new`] and change what differs.
#[derive(Clone, Debug)]
pub struct Options {
    /// Nodes, in the order of preference; 1 to [`Options::ENDPOINTS`], duplicates are dropped.
    ///
    /// Endpoints that name the same region are taken in random order, so that many clients spread over its nodes.
    pub endpoints: Vec<Endpoint>,
    /// The region this client runs in: its endpoints come first, whatever their place in the list.
    pub region: Option<String>,
    /// Operator token or SDK key; sent as `authorization: Bearer …`.
    pub token: Option<Secret>,
    /// Time for one call, over all attempts; at most [`Options::LONGEST`], as all that is longer. Watches have none.
    pub deadline: Duration,
    /// Patience with the first attempt of a call. It doubles after each attempt that runs out of it, so that a slow
    /// link is served in the end. At most [`Options::LONGEST`].
    pub attempt_timeout: Duration,
    /// How a connection that went silent is found out.
    pub keepalive: Keepalive,
    /// Looks up endpoints whose host is a name.
    pub resolver: Resolver,
}

/// When an open connection is taken for lost. After `interval` without a byte a ping goes out; after another `timeout`
/// without an answer to it the connection is given up, and everything on it goes elsewhere.
///
/// Pings are sent only while a call or a watch is open. An idle connection would cost every node a packet each way
/// for every client, several times a second, and nobody waits for anything on it; the first request on it pings at
/// once. A watch is one open call, so a client with a watch always knows within `interval + timeout`.
///
/// The timeout must exceed the longest round trip. Nodes answer any number of pings; where a proxy of another kind
/// stands between and closes connections for too many of them, lengthen the interval.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keepalive {
    /// Without a byte for so long, ask.
    pub interval: Duration,
    /// Without an answer for so long, give up.
    pub timeout: Duration,
}

/// 350 ms and 550 ms: a silent partition is noticed within 0.9 s, and a round trip around the world fits in.
impl Default for Keepalive {
    fn default() -> Self {
        Self { interval: Duration::from_millis(350), timeout: Duration::from_millis(550) }
    }
}

impl Options {
    /// Most endpoints of one client: each is a connection, and a list that is longer holds a mistake.
    pub const ENDPOINTS: usize = 64;

    /// Longest deadline, one day: what waits longer has been forgotten.
    pub const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

    /// These endpoints, no region, no token, 10 s for a call, 2 s for its first attempt.
    pub fn new(endpoints: impl IntoIterator<Item = Endpoint>) -> Self {
        Self {
            endpoints: endpoints.into_iter().collect(),
            region: None,
            token: None,
            deadline: Duration::from_secs(10),
            attempt_timeout: Duration::from_secs(2),
            keepalive: Keepalive::default(),
            resolver: Resolver::default(),
        }
    }
}
