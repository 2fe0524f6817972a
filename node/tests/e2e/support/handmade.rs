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

/// The founders of one cluster. None is started by itself.
pub(crate) struct Handmade {
    pub(crate) nodes: Vec<Node>,
    _directory: TempDir,
}

pub(crate) struct Node {
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
        let ports = Ports::free(count).unwrap();
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
        let node = |(index, listen): (usize, &Listen)| {
            let id = index + 1;
            let Listen { grpc, peer, http, admin } = listen;
            let data_dir = directory.path().join(format!("data-{id}"));
            let config = directory.path().join(format!("node-{id}.toml"));
            let text = format!(
                "cluster_id = \"{cluster_id}\"\nnode_id = {id}\nregion = \"r{id}\"\nzone = \"a\"\n\
                 data_dir = \"{}\"\n\
                 [listen]\ngrpc = \"{grpc}\"\npeer = \"{peer}\"\nhttp = \"{http}\"\nadmin = \"{admin}\"\n\
                 [auth]\noperator_token_sha256 = [\"{}\"]\n{founders}",
                data_dir.display(),
                hex::encode(Sha256::digest(TOKEN)),
            );
            fs::write(&config, text).unwrap();
            Node { listen: *listen, config, data_dir, process: None }
        };
        let nodes = listens.iter().enumerate().skip(strangers.len()).map(node).collect();
        Self { nodes, _directory: directory }
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

    /// Another process with the same configuration.
    pub(crate) fn spawn(&self) -> Process {
        Process::start(["serve", "--config", self.config.to_str().unwrap(), "--until-stdin-closes"])
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
