//! The nodes a client knows, and whom it asks first.
//!
//! The order: nodes that serve before nodes that are suspicious before nodes that failed; among those, the client's own
//! region before the others, as they were given. Nobody is ever left out: what failed may be all there is.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use futures::future::join_all;
use tokio::time::Instant;

use crate::health::Circuit;
use crate::peer::{Peer, lock};
use crate::site::Site;
use crate::{Endpoint, Keepalive, Resolver};

/// Leaders learnt from hints, beyond the endpoints given: more than a cluster has voters.
const HINTED: usize = 16;

/// All known nodes.
pub(crate) struct Pool {
    /// In order of rank.
    sites: Vec<Arc<Site>>,
    keepalive: Keepalive,
    /// Newest last.
    hinted: Mutex<VecDeque<Arc<Peer>>>,
    /// Whoever last made a change for us.
    leader: Mutex<Option<Arc<Peer>>>,
}

/// Each known node once, in the order in which they are to be asked.
pub(crate) struct Round {
    pub(crate) peers: VecDeque<Arc<Peer>>,
    /// Endpoints behind which no node is known, and why.
    pub(crate) unresolved: Vec<(Endpoint, String)>,
}

impl Pool {
    pub(crate) fn new(
        endpoints: Vec<Endpoint>,
        region: Option<&str>,
        keepalive: Keepalive,
        resolver: &Resolver,
    ) -> Self {
        let sites = ranked(endpoints, region)
            .into_iter()
            .map(|(endpoint, rank)| Arc::new(Site::new(endpoint, rank, keepalive, resolver)))
            .collect();
        Self { sites, keepalive, hinted: Mutex::default(), leader: Mutex::default() }
    }

    /// Whom to ask, in which order. Waits a moment for names that were never looked up. Lets the preferred node that
    /// failed be tried again when its time has come: it is the first then.
    pub(crate) async fn round(&self, deadline: Instant) -> Round {
        self.sites.iter().for_each(Site::refresh);
        join_all(self.sites.iter().map(|site| site.first_look_up(deadline))).await;
        // In this order: nodes may be found meanwhile, and an endpoint must not be missing from both.
        let unresolved = self.unresolved();
        Round { peers: self.order(Instant::now()), unresolved }
    }

    fn order(&self, now: Instant) -> VecDeque<Arc<Peer>> {
        let mut peers: Vec<_> = self.peers().map(|peer| (urgency(&peer, now), peer)).collect();
        // Stable: within one urgency the order of the sites stays, which is that of the ranks.
        peers.sort_by_key(|(urgency, _)| *urgency);
        let best = peers.first().filter(|(urgency, _)| urgency.0 == 0).map(|(_, peer)| peer.rank);
        let mut peers: VecDeque<_> = peers.into_iter().map(|(_, peer)| peer).collect();
        let is_preferred = |peer: &Peer| best.is_none_or(|best| peer.rank < best);
        if let Some(at) = peers.iter().position(|peer| is_preferred(peer) && peer.health().try_again(now))
            && let Some(peer) = peers.remove(at)
        {
            peers.push_front(peer);
        }
        peers
    }

    /// A node that is preferred to this rank and serves, or is due to be tried again.
    pub(crate) fn better_than(&self, rank: usize) -> Option<Arc<Peer>> {
        let now = Instant::now();
        self.peers()
            .take_while(|peer| peer.rank < rank)
            .find(|peer| peer.is_sound(now) || peer.health().try_again(now))
    }

    /// The node at this endpoint, which a hint may name without its being among those given.
    pub(crate) fn at(&self, endpoint: Endpoint) -> Arc<Peer> {
        let is_there = |peer: &Arc<Peer>| {
            peer.endpoint.authority() == endpoint.authority()
                || peer.address.is_some() && peer.address == endpoint.address()
        };
        if let Some(known) = self.peers().find(is_there) {
            return known;
        }
        let mut hinted = lock(&self.hinted);
        if let Some(known) = hinted.iter().find(|peer| is_there(peer)) {
            return known.clone();
        }
        if hinted.len() == HINTED {
            hinted.pop_front();
        }
        let peer = Arc::new(Peer::new(endpoint, usize::MAX, self.keepalive));
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

    /// The nodes behind the endpoints given, in order of rank.
    pub(crate) fn peers(&self) -> impl Iterator<Item = Arc<Peer>> {
        self.sites.iter().flat_map(|site| site.peers())
    }

    /// Endpoints behind which no node is known, and why.
    pub(crate) fn unresolved(&self) -> Vec<(Endpoint, String)> {
        let unresolved = |site: &Arc<Site>| Some((site.endpoint.clone(), site.problem()?));
        self.sites.iter().filter_map(unresolved).collect()
    }
}

/// How far back a node stands: those of the lowest urgency come first.
fn urgency(peer: &Peer, now: Instant) -> (u8, Option<Instant>) {
    let health = peer.health();
    match health.circuit(now) {
        Circuit::Closed if health.is_silent(now) => (1, None),
        Circuit::Closed => (0, None),
        // A node that failed longer ago is likelier to be back.
        Circuit::HalfOpen => (2, health.failed_at()),
        Circuit::Open => (3, health.failed_at()),
    }
}

/// The endpoints without duplicates, those of the own region first, each with the rank of its region. The order within
/// a region is random; an endpoint without a region is one of its own.
fn ranked(endpoints: Vec<Endpoint>, own: Option<&str>) -> Vec<(Endpoint, usize)> {
    let mut regions: Vec<Vec<Endpoint>> = Vec::new();
    for endpoint in endpoints {
        if regions.iter().flatten().any(|known| known.authority() == endpoint.authority()) {
            continue;
        }
        let shares_region = |region: &&mut Vec<Endpoint>| {
            endpoint.region().is_some() && region.first().and_then(Endpoint::region) == endpoint.region()
        };
        match regions.iter_mut().find(shares_region) {
            Some(region) => region.push(endpoint),
            None => regions.push(vec![endpoint]),
        }
    }
    regions.sort_by_key(|region| own.is_none() || region.first().and_then(Endpoint::region) != own);
    let mut ranked = Vec::new();
    for (rank, mut region) in regions.into_iter().enumerate() {
        fastrand::shuffle(&mut region);
        ranked.extend(region.into_iter().map(|endpoint| (endpoint, rank)));
    }
    ranked
}

/// The given nodes over and over, each time round in order of health.
#[derive(Default)]
pub(crate) struct Rotation {
    round: VecDeque<Arc<Peer>>,
}

impl Rotation {
    /// The next node. The error names the endpoints behind which none is known, when that is all of them.
    pub(crate) async fn next(
        &mut self,
        pool: &Pool,
        deadline: Instant,
    ) -> Result<Arc<Peer>, Vec<(Endpoint, String)>> {
        if self.round.is_empty() {
            let round = pool.round(deadline).await;
            self.round = round.peers;
            return self.round.pop_front().ok_or(round.unresolved);
        }
        Ok(self.round.pop_front().expect("the round was just seen not to be empty"))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::time::Duration;

    use super::*;

    fn endpoint(text: &str) -> Endpoint {
        text.parse().unwrap()
    }

    fn pool(endpoints: &[&str], own: Option<&str>) -> Pool {
        let endpoints = endpoints.iter().map(|text| endpoint(text)).collect();
        Pool::new(endpoints, own, Keepalive::default(), &Resolver::default())
    }

    fn ports(pool: &Pool, now: Instant) -> Vec<u16> {
        pool.order(now).iter().map(|peer| peer.endpoint.host_and_port().1).collect()
    }

    #[test]
    fn the_own_region_comes_first_and_the_rest_as_given() {
        let given = ["b=h:1", "a=h:2", "h:3", "c=h:4", "h:5", "a=h:6", "b=h:1"];
        for (own, regions) in [
            (None, "b a a - c -"),
            (Some("a"), "a a b - c -"),
            (Some("c"), "c b a a - -"),
            (Some("nowhere"), "b a a - c -"),
        ] {
            let ranked = ranked(given.map(endpoint).into(), own);
            let found: Vec<_> = ranked.iter().map(|(e, _)| e.region().unwrap_or("-")).collect();
            assert_eq!(found.join(" "), regions, "own region {own:?}");
            let unnamed: Vec<_> =
                ranked.iter().filter(|(e, _)| e.region().is_none()).map(|(e, _)| e.authority()).collect();
            assert_eq!(unnamed, ["h:3", "h:5"], "no region: as given");
        }
    }

    #[test]
    fn clients_spread_over_the_nodes_of_a_region() {
        let given: Vec<_> = (1..=8).map(|port| endpoint(&format!("a=h:{port}"))).collect();
        let firsts: std::collections::HashSet<_> =
            (0..200).map(|_| ranked(given.clone(), None)[0].0.clone()).collect();
        assert!(firsts.len() > 4, "{firsts:?}");
    }

    #[test]
    fn failed_nodes_come_last_and_the_preferred_one_is_tried_again() {
        let pool = pool(&["127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:3"], None);
        let peers: Vec<_> = pool.peers().collect();
        let start = Instant::now();
        let after = |ms| start + Duration::from_millis(ms);
        assert_eq!(ports(&pool, start), [1, 2, 3]);

        peers[0].health().failed(after(0), "down", 1.0);
        peers[1].health().failed(after(100), "down", 1.0);
        assert_eq!(ports(&pool, after(100)), [3, 1, 2], "longest ago first");
        assert_eq!(ports(&pool, after(550)), [1, 3, 2], "its pause is over");
        assert_eq!(ports(&pool, after(560)), [3, 1, 2], "by one call only");
        assert_eq!(ports(&pool, after(650)), [2, 3, 1], "the next one's too");

        peers[0].health().served(after(700));
        assert_eq!(ports(&pool, after(700)), [1, 3, 2]);
        assert_eq!(ports(&pool, after(60_000)), [1, 3, 2], "a better one serves: no reason to try");
    }

    #[test]
    fn a_silent_node_comes_after_those_that_answer() {
        let pool = pool(&["127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:3"], None);
        let peers: Vec<_> = pool.peers().collect();
        let start = Instant::now();
        peers[0].health().asked(start);
        peers[2].health().failed(start, "down", 1.0);
        let later = start + Duration::from_millis(400);
        assert_eq!(ports(&pool, later), [2, 1, 3]);
        peers[0].health().heard(later);
        assert_eq!(ports(&pool, later), [1, 2, 3]);
    }

    #[test]
    fn the_way_home_leads_to_a_better_region_that_serves() {
        let pool = pool(&["a=127.0.0.1:1", "b=127.0.0.1:2", "b=127.0.0.1:3"], None);
        let home = pool.peers().next().unwrap();
        let better = |rank| pool.better_than(rank).map(|peer| peer.endpoint.to_string());
        assert_eq!(better(1).as_deref(), Some("a=127.0.0.1:1"));
        assert_eq!(better(0), None, "it is home");
        home.health().failed(Instant::now(), "down", 1.0);
        assert_eq!(better(1), None, "it failed just now");
        let long_ago = Instant::now().checked_sub(Duration::from_secs(5)).unwrap();
        home.health().served(long_ago);
        home.health().failed(long_ago, "down", 1.0);
        assert_eq!(better(1).as_deref(), Some("a=127.0.0.1:1"), "due to be tried again");
        assert_eq!(better(1), None, "by one watch");
    }

    #[test]
    fn hinted_nodes_are_bounded_and_found_again() {
        let pool = pool(&["a=127.0.0.1:1"], None);
        for port in 1..200 {
            let endpoint = endpoint(&format!("127.0.0.1:{port}"));
            let peer = pool.at(endpoint.clone());
            assert!(Arc::ptr_eq(&peer, &pool.at(endpoint)));
        }
        assert_eq!(lock(&pool.hinted).len(), HINTED);
        assert_eq!(ports(&pool, Instant::now()), [1], "the one given has a region, and is the same node");
    }
}
