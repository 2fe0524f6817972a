//! Three regions as three processes on loopback, started, killed and started again.
//!
//! Guarantees: no process outlives this one; every node keeps its ports and its data directory for the whole run; what
//! a node prints is kept in its log. What a node does is its own affair: it is the release binary, unchanged.

use std::fs::{self, OpenOptions};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use meridian_client::proto::admin::ClusterStatusResponse;
use meridian_client::{Client, Endpoint, Error, Options};
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use crate::relay::{Diallers, Network, Processes};

mod config;
pub(crate) mod ports;

use ports::Listen;

/// Regions of the nodes, by index; ids count from 1.
const REGIONS: [&str; 3] = ["us-east", "eu-west", "ap-south"];

/// A node that has not become healthy after so long never will: debug builds on busy machines take seconds.
const HEALTHY_TIMEOUT: Duration = Duration::from_secs(60);

/// A node that is asked to stop hands over, ends its streams and finishes requests: all bounded, together by less.
const STOP_TIMEOUT: Duration = Duration::from_secs(30);

const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// How much of a log is shown when its node died.
const LOG_TAIL_CHARACTERS: usize = 1_500;

/// Where a run keeps things.
pub(crate) struct Places {
    /// The daemon.
    pub(crate) binary: PathBuf,
    /// Data directory of each node, by index.
    pub(crate) data_dirs: [PathBuf; 3],
    /// Configurations and logs.
    pub(crate) files: PathBuf,
}

/// What differs from a plain cluster on loopback.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shape {
    /// `raft.profile` of every node; `None` for the default one.
    pub(crate) profile: Option<&'static str>,
    /// Everything between the nodes, and between them and their clients, takes so long in each direction, and can be
    /// cut. `None`: nothing is in between.
    pub(crate) one_way: Option<Duration>,
}

/// The nodes and how to reach them.
pub(crate) struct Cluster {
    pub(crate) nodes: Vec<Node>,
    network: Option<Network>,
    operator_token: String,
}

/// One node: what stays the same over its lives, and its present life.
pub(crate) struct Node {
    pub(crate) id: u64,
    pub(crate) name: &'static str,
    pub(crate) grpc: Endpoint,
    binary: PathBuf,
    config: PathBuf,
    log: PathBuf,
    child: Option<Child>,
    life: watch::Sender<Life>,
    processes: Arc<Processes>,
}

/// What clients may expect of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Life {
    /// Nothing: it is down, or coming up.
    Down,
    /// It was healthy, and nothing was done to it since. The process id tells one life from the next.
    Up(u32),
}

impl Cluster {
    /// Writes the configurations and starts all nodes.
    pub(crate) async fn start(places: &Places) -> anyhow::Result<Self> {
        Self::shaped(places, &Shape::default()).await
    }

    /// The same, with a difference.
    pub(crate) async fn shaped(places: &Places, shape: &Shape) -> anyhow::Result<Self> {
        let listens = ports::free(REGIONS.len())?;
        let processes = Arc::<Processes>::default();
        let mut network = shape.one_way.map(|one_way| Network::new(one_way, processes.clone()));
        let mut reached = Vec::with_capacity(listens.len());
        for (index, Listen { peer, grpc, .. }) in listens.iter().enumerate() {
            reached.push(match &mut network {
                Some(network) => Reached {
                    peer: network.relay(index, *peer, Diallers::Nodes).await?,
                    grpc: network.relay(index, *grpc, Diallers::Outside).await?,
                },
                None => Reached { peer: *peer, grpc: *grpc },
            });
        }
        let operator_token = format!("operator-{}", uuid::Uuid::new_v4().simple());
        let mut nodes = Vec::with_capacity(REGIONS.len());
        for (index, (listen, data_dir)) in listens.iter().zip(&places.data_dirs).enumerate() {
            let name = REGIONS[index];
            let config = places.files.join(format!("{name}.toml"));
            let text = config::text(index, listen, &reached, data_dir, &operator_token, shape);
            fs::write(&config, text).with_context(|| format!("cannot write {}", config.display()))?;
            nodes.push(Node {
                id: id(index),
                name,
                grpc: reached[index].grpc.into(),
                binary: places.binary.clone(),
                config,
                log: places.files.join(format!("{name}.log")),
                child: None,
                life: watch::Sender::new(Life::Down),
                processes: processes.clone(),
            });
        }
        let mut cluster = Self { nodes, network, operator_token };
        cluster.start_all()?;
        Ok(cluster)
    }

    /// What everything passes, in a cluster whose shape has ways of some length.
    pub(crate) fn network(&self) -> anyhow::Result<&Network> {
        self.network.as_ref().context("this cluster has no relays")
    }

    /// Starts the nodes that are down.
    pub(crate) fn start_all(&mut self) -> anyhow::Result<()> {
        self.nodes.iter_mut().filter(|node| node.child.is_none()).try_for_each(Node::start)
    }

    /// A client of all nodes that prefers the one at `first`.
    pub(crate) fn client(&self, first: usize, deadline: Duration) -> Result<Client, Error> {
        let mut endpoints: Vec<_> = self.nodes.iter().map(|node| node.grpc.clone()).collect();
        endpoints.rotate_left(first % self.nodes.len());
        self.client_of(endpoints, deadline)
    }

    /// A client of one node, so that what it says of itself, and how it serves, is not covered up by the others.
    pub(crate) fn client_of_one(&self, index: usize, deadline: Duration) -> Result<Client, Error> {
        self.client_of(vec![self.nodes[index].grpc.clone()], deadline)
    }

    /// A client of all nodes that runs in the region of one of them, as an application does.
    pub(crate) fn client_in_region(&self, index: usize, deadline: Duration) -> anyhow::Result<Client> {
        let endpoints = self.nodes.iter().map(|node| format!("{}={}", node.name, node.grpc).parse());
        let endpoints: Vec<Endpoint> = endpoints.collect::<Result<_, _>>()?;
        let region = Some(self.nodes[index].name.to_owned());
        let token = Some(self.operator_token.as_str().into());
        Ok(Client::new(Options { token, deadline, region, ..Options::new(endpoints) })?)
    }

    fn client_of(&self, endpoints: Vec<Endpoint>, deadline: Duration) -> Result<Client, Error> {
        let token = Some(self.operator_token.as_str().into());
        Client::new(Options { token, deadline, ..Options::new(endpoints) })
    }

    /// Waits until each node says of itself that it is healthy, and lets clients expect that it serves.
    pub(crate) async fn until_healthy(&mut self) -> anyhow::Result<()> {
        for index in 0..self.nodes.len() {
            let client = self.client_of_one(index, Duration::from_secs(1))?;
            self.nodes[index].until_healthy(&client).await?;
        }
        Ok(())
    }

    /// Starts a node and waits until it is healthy. The answer is how long that took.
    pub(crate) async fn revive(&mut self, index: usize) -> anyhow::Result<Duration> {
        let started = Instant::now();
        let client = self.client_of_one(index, Duration::from_secs(1))?;
        let node = &mut self.nodes[index];
        node.start()?;
        node.until_healthy(&client).await?;
        Ok(started.elapsed())
    }

    /// Kills all nodes that live.
    pub(crate) async fn kill_all(&mut self) -> anyhow::Result<()> {
        for node in &mut self.nodes {
            node.kill().await?;
        }
        Ok(())
    }

    /// Fails if a node ended that nobody killed.
    pub(crate) fn check_alive(&mut self) -> anyhow::Result<()> {
        self.nodes.iter_mut().try_for_each(Node::check_alive)
    }

    /// The index of the node that leads, as this status tells it.
    pub(crate) fn leader(status: &ClusterStatusResponse) -> Option<usize> {
        let leader = status.nodes.iter().find(|node| node.is_leader)?;
        usize::try_from(leader.id).ok()?.checked_sub(1)
    }

    /// For a program that is told where the cluster is.
    pub(crate) fn endpoints(&self) -> String {
        let endpoints: Vec<_> = self.nodes.iter().map(|node| node.grpc.to_string()).collect();
        endpoints.join(",")
    }

    /// See [`Cluster::endpoints`].
    pub(crate) fn operator_token(&self) -> &str {
        &self.operator_token
    }
}

impl Node {
    /// Tells when clients may expect something of this node.
    pub(crate) fn life(&self) -> watch::Receiver<Life> {
        self.life.subscribe()
    }

    /// Lets nobody expect anything of this node any more; to be called before a fault.
    pub(crate) fn give_up(&self) {
        self.life.send_replace(Life::Down);
    }

    /// Ends it with SIGKILL, and returns when it is gone. Does nothing to a node that is down.
    pub(crate) async fn kill(&mut self) -> anyhow::Result<()> {
        self.give_up();
        if let Some(mut child) = self.child.take() {
            child.kill().await.with_context(|| format!("cannot kill {}", self.name))?;
            self.processes.set(self.index(), None);
        }
        Ok(())
    }

    /// Ends it with SIGTERM, and returns when it is gone. Fails if it does not end well.
    pub(crate) async fn stop(&mut self) -> anyhow::Result<()> {
        self.give_up();
        let Some(mut child) = self.child.take() else { return Ok(()) };
        let pid = child.id().and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?));
        let pid = pid.with_context(|| format!("{} has ended", self.name))?;
        kill_process(pid, Signal::TERM).with_context(|| format!("cannot stop {}", self.name))?;
        let ended = timeout(STOP_TIMEOUT, child.wait()).await;
        let status =
            ended.with_context(|| format!("{} did not stop within {STOP_TIMEOUT:?}", self.name))??;
        self.processes.set(self.index(), None);
        if !status.success() {
            bail!("{} stopped with {status}; its log ends with:\n{}", self.name, self.log_tail());
        }
        Ok(())
    }

    fn index(&self) -> usize {
        usize::try_from(self.id).expect("there are three") - 1
    }

    fn start(&mut self) -> anyhow::Result<()> {
        let log = OpenOptions::new().create(true).append(true).open(&self.log);
        let log = log.with_context(|| format!("cannot write {}", self.log.display()))?;
        let mut command = Command::new(&self.binary);
        command.arg("serve").arg("--config").arg(&self.config).arg("--until-stdin-closes");
        // Variables of whoever runs this would override the configuration.
        for (name, _) in
            std::env::vars_os().filter(|(name, _)| name.as_encoded_bytes().starts_with(b"MERIDIAN_"))
        {
            command.env_remove(name);
        }
        let child = command
            .stdin(Stdio::piped())
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot start {}", self.binary.display()))?;
        self.processes.set(self.index(), child.id());
        self.child = Some(child);
        Ok(())
    }

    async fn until_healthy(&mut self, client: &Client) -> anyhow::Result<()> {
        let deadline = Instant::now() + HEALTHY_TIMEOUT;
        let mut problem = "it did not answer".to_owned();
        while Instant::now() < deadline {
            self.check_alive()?;
            match client.cluster_status().await {
                Err(error) => problem = error.to_string(),
                Ok(status) => match status.nodes.into_iter().find(|node| node.id == self.id) {
                    Some(node) if node.healthy => {
                        self.life.send_modify(|life| {
                            if *life == Life::Down {
                                *life = Life::Up(node.pid);
                            }
                        });
                        return Ok(());
                    }
                    Some(node) => problem = node.problem,
                    None => problem = "it does not know itself".to_owned(),
                },
            }
            sleep(POLL_INTERVAL).await;
        }
        bail!("{} was not healthy after {HEALTHY_TIMEOUT:?}: {problem}\n{}", self.name, self.log_tail())
    }

    fn check_alive(&mut self) -> anyhow::Result<()> {
        let status: Option<ExitStatus> = match &mut self.child {
            Some(child) => child.try_wait()?,
            None => None,
        };
        let Some(status) = status else { return Ok(()) };
        self.child = None;
        self.give_up();
        bail!("{} ended by itself ({status}); its log ends with:\n{}", self.name, self.log_tail())
    }

    fn log_tail(&self) -> String {
        let text = fs::read(&self.log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        let text = text.unwrap_or_else(|error| format!("{}: {error}", self.log.display()));
        let skipped = text.chars().count().saturating_sub(LOG_TAIL_CHARACTERS);
        text.chars().skip(skipped).collect()
    }
}

/// How others reach a node.
struct Reached {
    peer: SocketAddr,
    grpc: SocketAddr,
}

/// Makes a data directory for each node under `root`.
pub(crate) fn data_dirs(root: &Path) -> anyhow::Result<[PathBuf; 3]> {
    let dirs = REGIONS.map(|region| root.join(region));
    for dir in &dirs {
        fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    }
    Ok(dirs)
}

fn id(index: usize) -> u64 {
    u64::try_from(index).expect("there are three") + 1
}
