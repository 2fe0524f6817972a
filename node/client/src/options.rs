//! What a client is told at its start.

use std::time::Duration;

use crate::{Endpoint, Secret};

/// How to reach a cluster. Start from [`Options::new`] and change what differs.
#[derive(Clone, Debug)]
pub struct Options {
    /// Nodes, in the order of preference; 1 to [`Options::ENDPOINTS`], duplicates are dropped.
    pub endpoints: Vec<Endpoint>,
    /// Operator token or SDK key; sent as `authorization: Bearer …`.
    pub token: Option<Secret>,
    /// Time for one call, over all attempts. Watches have none.
    pub deadline: Duration,
    /// Patience with the first attempt of a call. It doubles after each attempt that runs out of it, so that a slow
    /// link is served in the end.
    pub attempt_timeout: Duration,
}

impl Options {
    /// Most endpoints of one client: each is a connection, and a list that is longer holds a mistake.
    pub const ENDPOINTS: usize = 64;

    /// These endpoints, no token, 10 s for a call, 2 s for its first attempt.
    pub fn new(endpoints: impl IntoIterator<Item = Endpoint>) -> Self {
        Self {
            endpoints: endpoints.into_iter().collect(),
            token: None,
            deadline: Duration::from_secs(10),
            attempt_timeout: Duration::from_secs(2),
        }
    }
}
