//! A cluster made by `meridian dev`.

use std::collections::BTreeMap;
use std::process::ExitStatus;
use std::sync::OnceLock;

use serde_json::Value;

use super::command::{Ran, meridian_with};
use super::process::Process;
use super::{SOON, eventually};

/// Runs until it is dropped.
pub(crate) struct Cluster {
    pub(crate) dev: Process,
    /// `host:port` by region, as are the next two.
    pub(crate) grpc: BTreeMap<String, String>,
    pub(crate) http: BTreeMap<String, String>,
    pub(crate) admin: BTreeMap<String, String>,
    pub(crate) one_more_config: String,
    pub(crate) pids: BTreeMap<String, u32>,
    pub(crate) sdk_key: String,
    pub(crate) operator_token: String,
    pub(crate) data_dir: String,
}

/// One region, for tests that need no more, and that make projects of their own in it.
pub(crate) fn shared() -> &'static Cluster {
    // Never dropped: it stops when its stdin closes, at the end of this program.
    static SHARED: OnceLock<Cluster> = OnceLock::new();
    SHARED.get_or_init(|| Cluster::start(&["--regions", "solo"]))
}

impl Cluster {
    /// Starts it with free ports and these options, and waits until it is ready.
    pub(crate) fn start(options: &[&str]) -> Self {
        let common = ["dev", "--base-port", "0", "--output", "json", "--until-stdin-closes"];
        let mut dev = Process::start(common.into_iter().chain(options.iter().copied()));
        let Some(line) = dev.line() else { panic!("dev did not start: {}", dev.stderr(SOON)) };
        let ready: Value = serde_json::from_str(&line).unwrap();
        let by_region = |key: &str| serde_json::from_value(ready[key].clone()).unwrap();
        let text = |key: &str| ready[key].as_str().unwrap().to_owned();
        assert_eq!((&ready["project"], &ready["environment"]), (&"demo".into(), &"production".into()));
        Self {
            grpc: by_region("grpc"),
            http: by_region("http"),
            admin: by_region("admin"),
            one_more_config: text("one_more_config"),
            pids: serde_json::from_value(ready["pids"].clone()).unwrap(),
            sdk_key: text("sdk_key"),
            operator_token: text("operator_token"),
            data_dir: text("data_dir"),
            dev,
        }
    }

    /// Runs a command as the operator; any node may answer.
    pub(crate) fn meridian(&self, line: &[&str]) -> Ran {
        let endpoints: Vec<_> = self.grpc.values().map(String::as_str).collect();
        self.meridian_at(&endpoints.join(","), line)
    }

    /// Runs a command as the operator, at these endpoints.
    pub(crate) fn meridian_at(&self, endpoints: &str, line: &[&str]) -> Ran {
        meridian_with(&[("MERIDIAN_ENDPOINTS", endpoints), ("MERIDIAN_TOKEN", &self.operator_token)], line)
    }

    /// The gRPC address of a cluster with one region.
    pub(crate) fn solo(&self) -> &str {
        assert_eq!(self.grpc.len(), 1);
        self.grpc.values().next().unwrap()
    }

    /// Makes `PROJECT/live` for one test.
    pub(crate) fn environment(&self, project: &str) -> String {
        let environment = format!("{project}/live");
        self.meridian(&["project", "create", project]).ok();
        self.meridian(&["env", "create", &environment]).ok();
        environment
    }

    /// Makes a key of this environment.
    pub(crate) fn key(&self, environment: &str) -> String {
        self.meridian(&["key", "create", environment]).ok().trim().to_owned()
    }

    /// Its newest version; 0 before the first.
    pub(crate) fn version(&self, environment: &str) -> u64 {
        let history = self.meridian(&["history", environment, "--output", "json"]).json();
        history["releases"]
            .as_array()
            .unwrap()
            .first()
            .map_or(0, |newest| newest["version"].as_u64().unwrap())
    }

    /// Stops it as Ctrl-C does.
    pub(crate) fn stop(&mut self) -> ExitStatus {
        self.dev.stop(SOON)
    }

    /// Waits until the process of this region has another id, and takes note of it.
    pub(crate) fn revived(&mut self, region: &str) -> u32 {
        let before = self.pids[region];
        let pid = eventually("the region's node is started again", SOON, || {
            let status = self.meridian(&["status", "--output", "json"]).json();
            let nodes = status["nodes"].as_array().unwrap().clone();
            let node = nodes.into_iter().find(|node| node["region"] == region)?;
            let pid = u32::try_from(node["pid"].as_u64()?).unwrap();
            (pid != before && node["healthy"] == true).then_some(pid)
        });
        self.pids.insert(region.to_owned(), pid);
        pid
    }
}

impl Drop for Cluster {
    /// In the planned way, or its temporary directory stays behind.
    fn drop(&mut self) {
        self.dev.stop_quietly(SOON);
    }
}
