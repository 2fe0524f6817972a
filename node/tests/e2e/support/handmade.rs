//! Nodes with configuration files of the test's own, each started and stopped by itself.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

use meridian::dev::{Listen, Ports};
use rustix::process::Signal;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

use super::command::{Ran, meridian_with};
use super::process::{Process, signal};
use super::wire::http_get;
use super::{SOON, eventually};

const TOKEN: &str = "operator-of-the-tests";

/// Lets a node in.
pub(crate) const JOIN_TOKEN: &str = "join-the-cluster-of-the-tests";

/// Nodes that may come later.
const SPARE: usize = 2;

/// The founders of one cluster. None is started by itself.
pub(crate) struct Handmade {
    pub(crate) nodes: Vec<Node>,
    cluster_id: String,
    ports: Ports,
    directory: TempDir,
}

pub(crate) struct Node {
    pub(crate) id: usize,
    pub(crate) listen: Listen,
    pub(crate) config: PathBuf,
    pub(crate) data_dir: PathBuf,
    process: Option<Process>,
}

impl Handmade {
    /// `count` nodes of cluster `acme`, none of them running.
    pub(crate) fn new(count: usize) -> Self {
        Self::of_cluster("acme", count, &[])
    }

    /// Nodes of this cluster, which take those at `strangers` for the first of their founders.
    pub(crate) fn of_cluster(cluster_id: &str, count: usize, strangers: &[Listen]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let ports = Ports::free(count + SPARE).unwrap();
        let own = (0..count).map(|index| ports.of_region(index));
        let listens: Vec<Listen> = strangers.iter().copied().chain(own).collect();
        let mut founders = String::new();
        for (index, listen) in listens.iter().enumerate() {
            let id = index + 1;
            let Listen { peer, grpc, .. } = listen;
            let _ = write!(
                founders,
                "[[founders]]\nnode_id = {id}\nregion = \"r{id}\"\nzone = \"a\"\npeer = \"{peer}\"\ngrpc = \"{grpc}\"\n"
            );
        }
        let mut handmade = Self { nodes: Vec::new(), cluster_id: cluster_id.to_owned(), ports, directory };
        for (index, listen) in listens.into_iter().enumerate().skip(strangers.len()) {
            let id = index + 1;
            let node = handmade.node(id, &format!("r{id}"), listen, "", &founders);
            handmade.nodes.push(node);
        }
        handmade
    }

    /// A node that is no founder and asks all of them to let it in, in this region, with this token. Its place among the
    /// spare ones is `spare`.
    pub(crate) fn joiner(&self, spare: usize, region: &str, role: &str, token: &str) -> Node {
        assert!(spare < SPARE);
        let seeds: Vec<_> = self.nodes.iter().map(|node| format!("\"{}\"", node.listen.peer)).collect();
        let join = format!("seeds = [{}]\ntoken = \"{token}\"\n", seeds.join(", "));
        let id = self.nodes.len() + 1 + spare;
        let mut node = self.node(id, region, self.ports.of_region(id - 1), &join, "");
        let text = fs::read_to_string(&node.config).unwrap();
        fs::write(&node.config, format!("role = \"{role}\"\n{text}")).unwrap();
        node.id = id;
        node
    }

    fn node(&self, id: usize, region: &str, listen: Listen, join: &str, founders: &str) -> Node {
        let Listen { grpc, peer, http, admin } = listen;
        let data_dir = self.directory.path().join(format!("data-{id}"));
        let config = self.directory.path().join(format!("node-{id}.toml"));
        let sha256 = |secret: &str| hex::encode(Sha256::digest(secret));
        // Short times, so that a test need not wait for long ones.
        let text = format!(
            "cluster_id = \"{}\"\nnode_id = {id}\nregion = \"{region}\"\nzone = \"a\"\n\
             data_dir = \"{}\"\n\
             [listen]\ngrpc = \"{grpc}\"\npeer = \"{peer}\"\nhttp = \"{http}\"\nadmin = \"{admin}\"\n\
             [auth]\noperator_token_sha256 = [\"{}\"]\n\
             [join]\ntoken_sha256 = [\"{}\"]\n{join}\
             [freshness]\ndegraded_after_ms = 2000\nbound_ms = 4000\n\
             [drain]\nwindow_ms = 1000\n\
             {founders}",
            self.cluster_id,
            data_dir.display(),
            sha256(TOKEN),
            sha256(JOIN_TOKEN),
        );
        fs::write(&config, text).unwrap();
        Node { id, listen, config, data_dir, process: None }
    }

    /// Starts all, and waits until each is ready.
    pub(crate) fn start(mut self) -> Self {
        self.nodes.iter_mut().for_each(Node::start);
        self.nodes.iter().for_each(Node::wait_ready);
        self
    }

    /// Runs a command as the operator; any node may answer.
    pub(crate) fn meridian(&self, line: &[&str]) -> Ran {
        let endpoints: Vec<_> = self.nodes.iter().map(|node| node.listen.grpc.to_string()).collect();
        run(&endpoints.join(","), line)
    }

    /// What the node that answers knows of all.
    pub(crate) fn status(&self) -> Vec<Value> {
        self.meridian(&["status", "--output", "json"]).json()["nodes"].as_array().unwrap().clone()
    }

    /// Makes `shop/live` and publishes this to it.
    pub(crate) fn with_a_release(&self, document: &str) {
        self.meridian(&["project", "create", "shop"]).ok();
        self.meridian(&["env", "create", "shop/live"]).ok();
        self.publish(document).ok();
    }

    /// Publishes to `shop/live`.
    pub(crate) fn publish(&self, document: &str) -> Ran {
        self.publish_within(document, "20s")
    }

    /// As [`Handmade::publish`], with a deadline.
    pub(crate) fn publish_within(&self, document: &str, deadline: &str) -> Ran {
        let file = super::file(document);
        let path = file.path().to_str().unwrap();
        self.meridian(&["publish", "shop/live", path, "--format", "json", "--deadline", deadline])
    }

    /// The place in `nodes` of the one that leads, once there is one.
    pub(crate) fn leader(&self) -> usize {
        eventually("somebody leads", SOON, || self.status().iter().position(|node| node["is_leader"] == true))
    }

    /// Waits until all nodes have said the same of their state at the same index, and gives the index.
    pub(crate) fn wait_equal(&self) -> u64 {
        eventually("all nodes show one digest at one index", SOON, || {
            let nodes = self.status();
            let of = |node: &Value| {
                Some((node["state_index"].as_u64()?, node["state_digest"].as_str()?.to_owned()))
            };
            let shown: Vec<(u64, String)> = nodes.iter().filter_map(of).collect();
            let (index, digest) = shown.first()?;
            let same_index = shown.len() == self.nodes.len() && shown.iter().all(|(other, _)| other == index);
            if !same_index || *index == 0 {
                return None;
            }
            assert!(
                shown.iter().all(|(_, other)| other == digest),
                "digests differ at index {index}: {shown:?}"
            );
            Some(*index)
        })
    }
}

impl Node {
    /// Starts it; it must not be running.
    pub(crate) fn start(&mut self) {
        assert!(self.process.is_none(), "it runs already");
        self.process = Some(self.spawn());
    }

    /// Starts it with these variables; it must not be running.
    pub(crate) fn start_with(&mut self, variables: &[(&str, &str)]) {
        assert!(self.process.is_none(), "it runs already");
        self.process = Some(Process::start_with(variables, self.arguments()));
    }

    /// Another process with the same configuration.
    pub(crate) fn spawn(&self) -> Process {
        Process::start(self.arguments())
    }

    fn arguments(&self) -> [&str; 4] {
        ["serve", "--config", self.config.to_str().unwrap(), "--until-stdin-closes"]
    }

    /// Starts it, and tells how it ended and what it said; it must not come up.
    pub(crate) fn start_in_vain(&self) -> (i32, String) {
        let mut process = self.spawn();
        let code = process.wait(SOON).code().expect("no signal ended it");
        (code, process.stderr(SOON) + &process.rest())
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.as_ref().expect("it runs").pid()
    }

    /// Waits until SDKs may be sent here.
    pub(crate) fn wait_ready(&self) {
        eventually("the node is ready", SOON, || self.is_ready().then_some(()));
    }

    pub(crate) fn is_ready(&self) -> bool {
        matches!(self.http("/readyz"), Some((200, _)))
    }

    /// `GET` on the admin listener.
    pub(crate) fn http(&self, path: &str) -> Option<(u16, String)> {
        http_get(&self.listen.admin.to_string(), path)
    }

    /// Runs a command as the operator, at this node.
    pub(crate) fn meridian(&self, line: &[&str]) -> Ran {
        run(&self.listen.grpc.to_string(), line)
    }

    /// Stops it in the planned way.
    pub(crate) fn stop(&mut self) -> ExitStatus {
        self.process.take().expect("it runs").stop(SOON)
    }

    /// Waits for its end, and tells how it ended and what it said.
    pub(crate) fn end(&mut self) -> (i32, String) {
        let mut process = self.process.take().expect("it runs");
        let code = process.wait(SOON).code().expect("no signal ended it");
        (code, process.stderr(SOON) + &process.rest())
    }

    /// Waits for its end, which somebody else has asked for.
    pub(crate) fn wait_end(&mut self, within: Duration) -> ExitStatus {
        self.process.take().expect("it runs").wait(within)
    }

    /// Ends it, and tells what it said.
    pub(crate) fn kill_and_read(&mut self) -> String {
        let mut process = self.process.take().expect("it runs");
        process.kill();
        process.stderr(SOON) + &process.rest()
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self) {
        let mut process = self.process.take().expect("it runs");
        signal(process.pid(), Signal::KILL);
        process.wait(SOON);
    }
}

fn run(endpoints: &str, line: &[&str]) -> Ran {
    meridian_with(&[("MERIDIAN_ENDPOINTS", endpoints), ("MERIDIAN_TOKEN", TOKEN)], line)
}
