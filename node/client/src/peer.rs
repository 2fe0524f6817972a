//! One node: the connection to it, and what is remembered of its health.
//!
//! Connecting is kept apart from sending, so that it is known of every attempt whether anything left this process.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tonic::transport::Channel;

use crate::health::{Circuit, Health};
use crate::verdict::root_cause;
use crate::{Endpoint, Keepalive};

/// A TCP connection across the world takes a third of a second; one lost SYN is repeated after one second.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(1_500);

/// A document takes 4 MB on a path that may hold megabytes: a smaller window would cost round trips.
const STREAM_WINDOW_BYTES: u32 = 4 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 8 << 20;

/// Findings travel in the trailers: the 16 KB that HTTP/2 libraries default to hold only about a hundred.
const HEADER_LIST_BYTES: u32 = 256 << 10;

/// One node at one address.
pub(crate) struct Peer {
    pub(crate) endpoint: Endpoint,
    /// The endpoint, and which of its addresses if its host is a name.
    pub(crate) label: Arc<str>,
    pub(crate) address: Option<SocketAddr>,
    /// Nodes of equal rank stand in one region; lower ranks are preferred.
    pub(crate) rank: usize,
    keepalive: Keepalive,
    connection: Mutex<Option<Connection>>,
    /// Held while connecting, so that callers share one attempt; counts the connections made.
    connecting: tokio::sync::Mutex<u64>,
    health: Mutex<Health>,
}

/// An open connection. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Connection {
    pub(crate) channel: Channel,
    /// Which of the peer's connections it is.
    pub(crate) number: u64,
}

impl Peer {
    /// The node at an endpoint whose host is an address, or whose name the transport is to look up.
    pub(crate) fn new(endpoint: Endpoint, rank: usize, keepalive: Keepalive) -> Self {
        let (label, address) = (endpoint.to_string().into(), endpoint.address());
        Self::of(endpoint, label, address, rank, keepalive)
    }

    /// The node at one of the addresses of an endpoint's name.
    pub(crate) fn at(endpoint: Endpoint, address: SocketAddr, rank: usize, keepalive: Keepalive) -> Self {
        let label = format!("{endpoint} at {address}").into();
        Self::of(endpoint, label, Some(address), rank, keepalive)
    }

    fn of(
        endpoint: Endpoint,
        label: Arc<str>,
        address: Option<SocketAddr>,
        rank: usize,
        keepalive: Keepalive,
    ) -> Self {
        Self {
            endpoint,
            label,
            address,
            rank,
            keepalive,
            connection: Mutex::default(),
            connecting: tokio::sync::Mutex::default(),
            health: Mutex::default(),
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
        if let Some(why) = self.health().failure_since(asked) {
            return Err(why);
        }
        match self.transport().connect().await {
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

    /// Connects in the background, if there is no connection: whoever turns to this node in need shall not wait for two
    /// more round trips.
    pub(crate) fn warm_up(self: &Arc<Self>) {
        // Held by whoever is at it already.
        if lock(&self.connection).is_some() || self.connecting.try_lock().is_err() {
            return;
        }
        let peer = self.clone();
        tokio::spawn(async move {
            if let Err(why) = peer.connect().await {
                tracing::debug!(endpoint = %peer.label, why, "cannot connect ahead of need");
            }
        });
    }

    fn transport(&self) -> tonic::transport::Endpoint {
        let name = self.endpoint.uri();
        let target = self.address.map_or_else(|| name.clone(), |address| Endpoint::from(address).uri());
        tonic::transport::Endpoint::from(target)
            .origin(name)
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(self.keepalive.interval)
            .keep_alive_timeout(self.keepalive.timeout)
            .keep_alive_while_idle(false)
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .http2_max_header_list_size(HEADER_LIST_BYTES)
    }

    /// A request goes out.
    pub(crate) fn asked(&self) {
        self.health().asked(Instant::now());
    }

    /// The node gave an answer, whatever it was, to a request that was sent then.
    pub(crate) fn answered(&self, sent: Instant) {
        let now = Instant::now();
        let mut health = self.health();
        health.served(now);
        health.took(now.duration_since(sent));
    }

    /// The node said something without being asked.
    pub(crate) fn pushed(&self) {
        self.health().served(Instant::now());
    }

    /// The node answered that it does not do what was asked; it may do other things.
    pub(crate) fn heard(&self) {
        self.health().heard(Instant::now());
    }

    /// The node did not serve; it is asked last for a while.
    pub(crate) fn failed(&self, why: &str) {
        self.health().failed(Instant::now(), why, fastrand::f64());
    }

    /// This connection broke. Of all calls that were under way on it, one tells that the node failed. The next call
    /// opens a new connection; calls that are still on the old one go on.
    pub(crate) fn broke(&self, number: u64, why: &str) {
        let was_current = lock(&self.connection).take_if(|connection| connection.number == number).is_some();
        if was_current {
            self.failed(why);
        }
    }

    /// A request that was sent then was not answered in time. Where others were, the request is to blame and not the
    /// connection.
    pub(crate) fn kept_silent(&self, number: u64, sent: Instant, why: &str) {
        if !self.health().was_heard_since(sent) {
            self.broke(number, why);
        }
    }

    pub(crate) fn health(&self) -> MutexGuard<'_, Health> {
        lock(&self.health)
    }

    pub(crate) fn is_sound(&self, now: Instant) -> bool {
        let health = self.health();
        health.circuit(now) == Circuit::Closed && !health.is_silent(now)
    }
}

/// What these locks guard is replaced whole or of plain numbers, so it is sound even after a panic elsewhere.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
