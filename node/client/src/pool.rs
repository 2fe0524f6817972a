//! The nodes a client knows, its connections to them, and what it remembers of their health.
//!
//! Connecting is kept apart from sending, so that it is known of every attempt whether anything left this process.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tonic::transport::Channel;

use crate::verdict::root_cause;
use crate::{Endpoint, Options};

/// A TCP connection across the world takes a third of a second; one lost SYN is repeated after one second.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(1_500);

/// A partition that drops packets silently is noticed after both together; watches have no other way to notice.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(2);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(2);

/// A document takes 4 MB on a path that may hold megabytes: a smaller window would cost round trips.
const STREAM_WINDOW_BYTES: u32 = 4 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 8 << 20;

/// Findings travel in the trailers: the 16 KB that HTTP/2 libraries default to hold only about a hundred.
const HEADER_LIST_BYTES: u32 = 256 << 10;

/// For so long after a failure a node is asked last. Then it is preferred again, if it comes first in the options.
const FAILURE_REMEMBERED: Duration = Duration::from_secs(10);

/// Leaders learnt from hints, beyond the endpoints given: more than a cluster has voters.
const HINTED: usize = 16;

/// All known nodes.
pub(crate) struct Pool {
    given: Vec<Arc<Peer>>,
    /// Newest last.
    hinted: Mutex<VecDeque<Arc<Peer>>>,
    /// Whoever last made a change for us.
    leader: Mutex<Option<Arc<Peer>>>,
}

/// One node.
pub(crate) struct Peer {
    pub(crate) endpoint: Endpoint,
    connection: Mutex<Option<Connection>>,
    /// Held while connecting, so that callers share one attempt; counts the connections made.
    connecting: tokio::sync::Mutex<u64>,
    failure: Mutex<Option<Failure>>,
}

/// An open connection. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Connection {
    pub(crate) channel: Channel,
    /// Which of the peer's connections it is.
    pub(crate) number: u64,
}

#[derive(Clone)]
struct Failure {
    at: Instant,
    why: String,
}

impl Pool {
    pub(crate) fn new(endpoints: Vec<Endpoint>) -> Self {
        let mut given: Vec<Arc<Peer>> = Vec::with_capacity(endpoints.len().min(Options::ENDPOINTS));
        for endpoint in endpoints {
            if !given.iter().any(|peer| peer.endpoint == endpoint) {
                given.push(Arc::new(Peer::new(endpoint)));
            }
        }
        Self { given, hinted: Mutex::default(), leader: Mutex::default() }
    }

    /// The endpoints given, in their order, except that those which failed of late come last, longest ago first.
    pub(crate) fn by_health(&self) -> VecDeque<Arc<Peer>> {
        let mut peers: Vec<_> = self.given.iter().map(|peer| (peer.failed_at(), peer)).collect();
        peers.sort_by_key(|(failed_at, _)| *failed_at);
        peers.into_iter().map(|(_, peer)| peer.clone()).collect()
    }

    /// The node at this endpoint, which a hint may name without its being among those given.
    pub(crate) fn at(&self, endpoint: Endpoint) -> Arc<Peer> {
        let mut hinted = lock(&self.hinted);
        if let Some(known) = self.given.iter().chain(hinted.iter()).find(|peer| peer.endpoint == endpoint) {
            return known.clone();
        }
        if hinted.len() == HINTED {
            hinted.pop_front();
        }
        let peer = Arc::new(Peer::new(endpoint));
        hinted.push_back(peer.clone());
        peer
    }

    /// Who leads, as far as this client knows.
    pub(crate) fn leader(&self) -> Option<Arc<Peer>> {
        lock(&self.leader).clone()
    }

    pub(crate) fn set_leader(&self, leader: Option<Arc<Peer>>) {
        *lock(&self.leader) = leader;
    }
}

/// The given nodes over and over, each time round in order of health.
#[derive(Default)]
pub(crate) struct Rotation {
    round: VecDeque<Arc<Peer>>,
}

impl Rotation {
    pub(crate) fn next(&mut self, pool: &Pool) -> Arc<Peer> {
        if self.round.is_empty() {
            self.round = pool.by_health();
        }
        self.round.pop_front().expect("a client has at least one endpoint, as its constructor checks")
    }
}

impl Peer {
    fn new(endpoint: Endpoint) -> Self {
        Self {
            endpoint,
            connection: Mutex::default(),
            connecting: tokio::sync::Mutex::default(),
            failure: Mutex::default(),
        }
    }

    /// An open connection. The error says why there is none; nothing was sent then.
    pub(crate) async fn connect(&self) -> Result<Connection, String> {
        let open = || lock(&self.connection).clone();
        if let Some(connection) = open() {
            return Ok(connection);
        }
        let asked = Instant::now();
        let mut count = self.connecting.lock().await;
        if let Some(connection) = open() {
            return Ok(connection);
        }
        // Whoever waited while another caller failed takes that answer: a queue of callers must not try in turn.
        if let Some(failure) = lock(&self.failure).as_ref().filter(|failure| failure.at > asked) {
            return Err(failure.why.clone());
        }
        let connecting = tonic::transport::Endpoint::from(self.endpoint.uri())
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
            .keep_alive_timeout(KEEPALIVE_TIMEOUT)
            .keep_alive_while_idle(true)
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .http2_max_header_list_size(HEADER_LIST_BYTES);
        match connecting.connect().await {
            Ok(channel) => {
                *count += 1;
                let connection = Connection { channel, number: *count };
                *lock(&self.connection) = Some(connection.clone());
                Ok(connection)
            }
            Err(error) => {
                let why = format!("cannot connect: {}", root_cause(&error));
                self.failed(&why);
                Err(why)
            }
        }
    }

    /// The node gave an answer, whatever it was.
    pub(crate) fn answered(&self) {
        *lock(&self.failure) = None;
    }

    /// The node did not serve; it is asked last for a while.
    pub(crate) fn failed(&self, why: &str) {
        *lock(&self.failure) = Some(Failure { at: Instant::now(), why: why.to_owned() });
    }

    /// This connection is not to be trusted any more: the next call opens a new one, unless another caller already
    /// has. Calls on the old one go on.
    pub(crate) fn disconnect(&self, number: u64) {
        lock(&self.connection).take_if(|connection| connection.number == number);
    }

    fn failed_at(&self) -> Option<Instant> {
        let failure = lock(&self.failure);
        failure.as_ref().map(|failure| failure.at).filter(|at| at.elapsed() < FAILURE_REMEMBERED)
    }
}

/// What these locks guard is replaced whole, so it is sound even after a panic elsewhere.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn endpoint(port: u16) -> Endpoint {
        format!("127.0.0.1:{port}").parse().unwrap()
    }

    fn ports(pool: &Pool) -> Vec<String> {
        pool.by_health()
            .iter()
            .map(|peer| peer.endpoint.to_string().rsplit(':').next().unwrap().to_owned())
            .collect()
    }

    #[test]
    fn failed_nodes_come_last_for_a_while() {
        let pool = Pool::new([1, 2, 3, 1].map(endpoint).into());
        let failed = |port, ago| {
            let at = Instant::now().checked_sub(ago).unwrap();
            *lock(&pool.at(endpoint(port)).failure) = Some(Failure { at, why: String::new() });
        };
        assert_eq!(ports(&pool), ["1", "2", "3"], "duplicates are dropped");

        failed(1, Duration::from_secs(2));
        failed(2, Duration::from_secs(1));
        assert_eq!(ports(&pool), ["3", "1", "2"]);

        pool.at(endpoint(2)).answered();
        assert_eq!(ports(&pool), ["2", "3", "1"]);

        failed(1, FAILURE_REMEMBERED);
        assert_eq!(ports(&pool), ["1", "2", "3"], "forgotten");
    }

    #[test]
    fn hinted_nodes_are_bounded_and_found_again() {
        let pool = Pool::new(vec![endpoint(1)]);
        for port in 1..200 {
            let peer = pool.at(endpoint(port));
            assert!(Arc::ptr_eq(&peer, &pool.at(endpoint(port))));
        }
        assert_eq!(lock(&pool.hinted).len(), HINTED);
        assert_eq!(ports(&pool), ["1"]);
    }
}
