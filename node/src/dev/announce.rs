//! What a development cluster says of itself when it is ready: where it is, and what to try.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use meridian_model::ids::Name;
use serde::Serialize;

use super::home::{Home, Site};
use super::ports::Listen;
use super::seed::{ENVIRONMENT, PROJECT};

/// Where everything is. Its JSON form is a contract with scripts: keys are added, never changed.
#[derive(Debug, Serialize)]
pub(super) struct Announcement {
    /// `host:port` by region, as are the next two.
    grpc: BTreeMap<String, SocketAddr>,
    http: BTreeMap<String, SocketAddr>,
    admin: BTreeMap<String, SocketAddr>,
    /// Process ids by region.
    pids: BTreeMap<String, u32>,
    project: &'static str,
    environment: &'static str,
    sdk_key: String,
    operator_token: String,
    data_dir: String,
    /// In the order of the regions.
    #[serde(skip)]
    endpoints: Vec<SocketAddr>,
}

impl Announcement {
    pub(super) fn new(home: &Home, pids: &BTreeMap<Name, u32>) -> Self {
        let sites = home.sites();
        let by_region = |address: fn(&Listen) -> SocketAddr| {
            sites.iter().map(|site: &Site| (site.region.to_string(), address(&site.listen))).collect()
        };
        Self {
            grpc: by_region(|listen| listen.grpc),
            http: by_region(|listen| listen.http),
            admin: by_region(|listen| listen.admin),
            pids: pids.iter().map(|(region, pid)| (region.to_string(), *pid)).collect(),
            project: PROJECT,
            environment: ENVIRONMENT,
            sdk_key: home.sdk_key().to_owned(),
            operator_token: home.operator_token().to_owned(),
            data_dir: home.directory().display().to_string(),
            endpoints: sites.iter().map(|site| site.listen.grpc).collect(),
        }
    }

    /// For programs: one line.
    pub(super) fn json(&self) -> serde_json::Result<String> {
        serde_json::to_string(self)
    }

    /// For people: what to type next.
    pub(super) fn text(&self) -> String {
        let program = std::env::args().next().unwrap_or_else(|| "meridian".to_owned());
        let endpoints: Vec<_> = self.endpoints.iter().map(ToString::to_string).collect();
        let environment = format!("{}/{}", self.project, self.environment);
        let first = self.endpoints.first().map(ToString::to_string).unwrap_or_default();
        format!(
            "In another terminal:
  export MERIDIAN_ENDPOINTS={endpoints}
  export MERIDIAN_TOKEN={token}
  {program} status
  {program} get {environment} > config.json
  {program} publish {environment} config.json --format statsig --message 'my first change'
  {program} watch {environment}
Then kill -9 the leader's PID, and read and publish again.

A Statsig SDK: key {sdk_key}, specs over gRPC from http://{first}
Logs and data: {data_dir}
Ctrl-C stops everything.
",
            endpoints = endpoints.join(","),
            token = self.operator_token,
            sdk_key = self.sdk_key,
            data_dir = self.data_dir,
        )
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::home::Wanted;
    use super::*;

    fn announcement() -> (Home, Announcement) {
        let wanted = Wanted { regions: Some("z,a,m".parse().unwrap()), base_port: Some(7400) };
        let home = Home::open(None, wanted).unwrap();
        let pids = [("z", 1), ("a", 2), ("m", 3)].map(|(region, pid)| (region.parse().unwrap(), pid));
        let announcement = Announcement::new(&home, &pids.into());
        (home, announcement)
    }

    #[test]
    fn programs_get_one_line() {
        let (home, announcement) = announcement();
        let line = announcement.json().unwrap();
        assert_eq!(line.lines().count(), 1);
        let json: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(json["grpc"]["a"], "127.0.0.1:7410");
        assert_eq!(json["http"]["a"], "127.0.0.1:7412");
        assert_eq!(json["admin"]["z"], "127.0.0.1:7403");
        assert_eq!(json["pids"]["m"], 3);
        assert_eq!((&json["project"], &json["environment"]), (&"demo".into(), &"production".into()));
        assert_eq!(json["sdk_key"], home.sdk_key());
        assert_eq!(json["operator_token"], home.operator_token());
    }

    #[test]
    fn people_get_lines_to_paste() {
        let (home, announcement) = announcement();
        let text = announcement.text();
        for part in [
            "MERIDIAN_ENDPOINTS=127.0.0.1:7400,127.0.0.1:7410,127.0.0.1:7420",
            home.operator_token(),
            home.sdk_key(),
            "get demo/production",
            "publish demo/production config.json --format statsig",
        ] {
            assert!(text.contains(part), "{part:?} is not in:\n{text}");
        }
    }
}
