//! One endpoint as it was given, and the nodes behind it: one where its host is an address, several where it is a name.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use crate::peer::{Peer, lock};
use crate::{Endpoint, Keepalive, Resolver};

/// Addresses of one name that are used: each may become a connection.
const ADDRESSES: usize = 16;

/// Names are looked up again after so long, while they are in use.
const LOOKED_UP_EVERY: Duration = Duration::from_secs(30);

/// And after so long when a look-up failed, or a node behind the name did.
const LOOKED_UP_IN_DOUBT: Duration = Duration::from_secs(1);

/// How long calls wait for the first look-up before they make do with other endpoints. The look-up goes on.
const FIRST_WAIT: Duration = Duration::from_millis(1_500);

/// An endpoint and its nodes.
pub(crate) struct Site {
    pub(crate) endpoint: Endpoint,
    rank: usize,
    keepalive: Keepalive,
    peers: Mutex<Vec<Arc<Peer>>>,
    name: Option<Name>,
}

/// A host that is not an address.
struct Name {
    resolver: Resolver,
    /// How often it was looked up, to the end.
    lookups: watch::Sender<u64>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// At most one look-up goes on at a time: a resolver that hangs must not collect threads.
    is_under_way: bool,
    /// When it was looked up for the first time.
    began_at: Option<Instant>,
    ended_at: Option<Instant>,
    failure: Option<String>,
}

impl Site {
    pub(crate) fn new(endpoint: Endpoint, rank: usize, keepalive: Keepalive, resolver: &Resolver) -> Self {
        let (peers, name) = if endpoint.address().is_some() {
            (vec![Arc::new(Peer::new(endpoint.clone(), rank, keepalive))], None)
        } else {
            let name =
                Name { resolver: resolver.clone(), lookups: watch::Sender::new(0), state: Mutex::default() };
            (Vec::new(), Some(name))
        };
        Self { endpoint, rank, keepalive, peers: Mutex::new(peers), name }
    }

    /// The nodes known now.
    pub(crate) fn peers(&self) -> Vec<Arc<Peer>> {
        lock(&self.peers).clone()
    }

    /// Why no node is known; `None` if some are.
    pub(crate) fn problem(&self) -> Option<String> {
        let name = self.name.as_ref().filter(|_| lock(&self.peers).is_empty())?;
        let failure = lock(&name.state).failure.clone();
        Some(failure.unwrap_or_else(|| "its name has not been looked up yet".to_owned()))
    }

    /// Looks the name up in the background, if that is due.
    pub(crate) fn refresh(self: &Arc<Self>) {
        let Some(name) = &self.name else { return };
        let now = Instant::now();
        let is_in_doubt = || {
            let peers = lock(&self.peers);
            peers.is_empty() || peers.iter().any(|peer| !peer.is_sound(now))
        };
        {
            let mut state = lock(&name.state);
            let age = state.ended_at.map(|at| now.duration_since(at));
            let is_due = match age {
                None => true,
                Some(age) => {
                    age >= LOOKED_UP_EVERY
                        || age >= LOOKED_UP_IN_DOUBT && (state.failure.is_some() || is_in_doubt())
                }
            };
            if state.is_under_way || !is_due {
                return;
            }
            state.is_under_way = true;
            state.began_at.get_or_insert(now);
        }
        let site = self.clone();
        tokio::spawn(async move { site.look_up().await });
    }

    /// Waits for the end of the first look-up, if that has just begun; not past `deadline`.
    pub(crate) async fn first_look_up(&self, deadline: Instant) {
        let Some(name) = &self.name else { return };
        let Some(began_at) = lock(&name.state).began_at else { return };
        let until = deadline.min(began_at + FIRST_WAIT);
        let _ = timeout_at(until, name.lookups.subscribe().wait_for(|count| *count > 0)).await;
    }

    async fn look_up(&self) {
        let Some(name) = &self.name else { return };
        let (host, port) = self.endpoint.host_and_port();
        let found = match name.resolver.lookup(host, port).await {
            Ok(addresses) if addresses.is_empty() => Err("its name has no address".to_owned()),
            Ok(addresses) => Ok(addresses),
            Err(error) => Err(format!("cannot look its name up: {error}")),
        };
        let failure = found.map(|addresses| self.take(addresses)).err();
        if let Some(why) = &failure {
            // Addresses that were found before go on to be used.
            tracing::debug!(endpoint = %self.endpoint, why, "look-up failed");
        }
        {
            let mut state = lock(&name.state);
            state.is_under_way = false;
            state.ended_at = Some(Instant::now());
            state.failure = failure;
        }
        name.lookups.send_modify(|count| *count += 1);
    }

    /// Nodes whose address is still there stay, with their connections; new ones follow in random order.
    fn take(&self, mut addresses: Vec<SocketAddr>) {
        addresses.sort_unstable();
        addresses.dedup();
        fastrand::shuffle(&mut addresses);
        let mut peers = lock(&self.peers);
        peers.retain(|peer| peer.address.is_some_and(|address| addresses.contains(&address)));
        for address in addresses {
            if peers.len() < ADDRESSES && !peers.iter().any(|peer| peer.address == Some(address)) {
                let peer = Peer::at(self.endpoint.clone(), address, self.rank, self.keepalive);
                peers.push(Arc::new(peer));
            }
        }
    }
}
