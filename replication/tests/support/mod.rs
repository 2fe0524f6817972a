//! Members in one process, over real sockets and real disks.
#![allow(clippy::unwrap_used, dead_code, missing_docs, unreachable_pub)]

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::Path;
use std::time::{Duration, Instant};

use meridian_model::{Digest, Document, EnvironmentRef, Format, Mutation, Outcome, RequestId};
use meridian_replication::{Founder, Handle, Join, Options, Timing, start};
use tempfile::TempDir;
use uuid::Uuid;

pub const DEADLINE: Duration = Duration::from_secs(30);

pub const REGIONS: [&str; 3] = ["us-east", "eu-west", "ap-south"];

/// Founders with their disks and addresses, and nodes that come later; any of them may be down.
pub struct Cluster {
    pub disks: Vec<TempDir>,
    pub founders: BTreeMap<u64, Founder>,
    pub guests: BTreeMap<u64, Guest>,
    pub up: BTreeMap<u64, Handle>,
}

/// A node that is no founder.
pub struct Guest {
    pub disk: TempDir,
    pub own: Founder,
    pub join: Join,
    pub cluster_id: String,
}

impl Cluster {
    pub fn new(size: u64) -> Self {
        // `RUST_LOG=info` shows what the members say.
        let filter = tracing_subscriber::EnvFilter::from_default_env();
        let _ = tracing_subscriber::fmt().with_env_filter(filter).with_test_writer().try_init();
        // Bound and let go: the nodes need each other's addresses before they start.
        let free: Vec<_> = (0..size).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let founders = (1..=size).zip(&free).map(|(id, listener)| {
            let founder = Founder {
                region: region_of(id).to_owned(),
                zone: "a".to_owned(),
                peer_address: listener.local_addr().unwrap().to_string(),
                grpc_address: format!("grpc-of-{id}"),
            };
            (id, founder)
        });
        let founders = founders.collect();
        let disks = (0..size).map(|_| TempDir::new().unwrap()).collect();
        Self { disks, founders, guests: BTreeMap::new(), up: BTreeMap::new() }
    }

    pub fn disk(&self, id: u64) -> &Path {
        match self.guests.get(&id) {
            Some(guest) => guest.disk.path(),
            None => self.disks[id as usize - 1].path(),
        }
    }

    /// A node that may be started, and then asks the founders to be let in.
    pub fn invite(&mut self, id: u64, region: &str, token: Option<&str>, wants_vote: bool) {
        let own = Founder {
            region: region.to_owned(),
            zone: "a".to_owned(),
            peer_address: free_address(),
            grpc_address: format!("grpc-of-{id}:1"),
        };
        let seeds = self.founders.values().map(|founder| founder.peer_address.clone()).collect();
        let join = Join { seeds, token: token.map(str::to_owned), wants_vote, token_sha256: Vec::new() };
        let disk = TempDir::new().unwrap();
        self.guests.insert(id, Guest { disk, own, join, cluster_id: "test".to_owned() });
    }

    pub fn options(&self, id: u64) -> Options {
        let (cluster_id, own, join) = match self.guests.get(&id) {
            Some(guest) => (guest.cluster_id.clone(), guest.own.clone(), guest.join.clone()),
            None => ("test".to_owned(), self.founders[&id].clone(), members_join()),
        };
        Options {
            cluster_id,
            node_id: id,
            own,
            founders: self.founders.clone(),
            join,
            data_dir: self.disk(id).to_owned(),
            // Tests share two cores with each other.
            timing: Timing {
                heartbeat_interval_ms: 100,
                election_timeout_min_ms: 600,
                election_timeout_max_ms: 900,
            },
            software_version: "test".to_owned(),
        }
    }

    pub async fn start(&mut self, id: u64) {
        let address = self.options(id).own.peer_address;
        let listener = eventually("its port is free", async || TcpListener::bind(&address).ok()).await;
        self.up.insert(id, start(self.options(id), listener).unwrap());
    }

    pub async fn started(size: u64) -> Self {
        let mut cluster = Self::new(size);
        for id in 1..=size {
            cluster.start(id).await;
        }
        cluster
    }

    pub async fn stop(&mut self, id: u64) {
        self.up.remove(&id).unwrap().stop().await;
    }

    /// Proposes at whoever leads, as a client would: the same id until there is an outcome.
    pub async fn propose(&self, mutation: Mutation) -> (u64, Outcome) {
        self.propose_as(fresh_id(), mutation).await
    }

    pub async fn propose_as(&self, id: RequestId, mutation: Mutation) -> (u64, Outcome) {
        eventually("a leader decides", async || {
            for handle in self.up.values() {
                let proposed =
                    handle.propose(id, "test".into(), mutation.clone(), Duration::from_secs(5)).await;
                if let Ok(committed) = proposed {
                    return Some((committed.revision, committed.outcome));
                }
            }
            None
        })
        .await
    }

    pub async fn publish(&self, at: &EnvironmentRef, text: &str) -> u64 {
        let document = Document::seal(Format::Json, text.to_owned().into());
        let (revision, outcome) = self.propose(publish(at, document)).await;
        assert!(matches!(outcome, Outcome::Published { .. }), "{outcome:?}");
        revision
    }

    pub async fn create(&self, at: &EnvironmentRef) {
        self.propose(Mutation::CreateProject { project: at.project.clone() }).await;
        self.propose(Mutation::CreateEnvironment { environment: at.clone() }).await;
    }

    /// Waits until a node serves this text.
    pub async fn served(&self, id: u64, at: &EnvironmentRef, text: &str) {
        eventually(&format!("node {id} serves {text}"), async || {
            let view = self.up[&id].catalog().view();
            let served = view.served(at)?;
            (served.document.open().unwrap() == text.as_bytes()).then_some(())
        })
        .await;
    }

    pub async fn ready(&self, id: u64) {
        eventually("the node is ready", async || self.up[&id].readiness().is_ready().then_some(())).await;
    }

    pub async fn leader(&self) -> u64 {
        eventually("somebody leads", async || {
            let leaders: Vec<_> = self.up.values().map(|handle| handle.status().leader).collect();
            leaders[0]
                .filter(|leader| leaders.iter().all(|l| *l == Some(*leader)) && self.up.contains_key(leader))
        })
        .await
    }

    /// I3: equal index, equal tally.
    pub async fn agree(&self) {
        eventually("all nodes have the same tally at the same index", async || {
            let statuses: Vec<_> = self.up.values().map(Handle::status).collect();
            let first = &statuses[0];
            let same_index = statuses.iter().all(|status| status.tally_index == first.tally_index);
            (same_index && first.tally_index > 0).then(|| {
                assert!(statuses.iter().all(|status| status.tally == first.tally), "{statuses:#?}");
            })
        })
        .await;
    }
}

/// With this a guest is let in.
pub const TOKEN: &str = "let me in";

fn members_join() -> Join {
    Join { token_sha256: vec![Digest::of(TOKEN.as_bytes()).0], ..Join::default() }
}

/// Nobody listens there now.
pub fn free_address() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

/// Where a founder stands.
pub fn region_of(id: u64) -> &'static str {
    REGIONS[(id as usize - 1) % REGIONS.len()]
}

pub fn fresh_id() -> RequestId {
    RequestId(Uuid::new_v4().into_bytes())
}

pub fn publish(at: &EnvironmentRef, document: Document) -> Mutation {
    Mutation::Publish { environment: at.clone(), document, expect_version: None, message: String::new() }
}

pub fn web() -> EnvironmentRef {
    EnvironmentRef::parse("web", "prod").unwrap()
}

pub async fn eventually<T>(what: &str, mut probe: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let Some(found) = probe().await {
            return found;
        }
        assert!(Instant::now() < deadline, "not within {DEADLINE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
