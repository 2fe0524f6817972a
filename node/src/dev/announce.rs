//! What a development cluster says of itself when it is ready: where it is, and what to try.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use meridian_model::ids::Name;
use serde::Serialize;

use super::home::{Home, Site};
use super::ports::Listen;
use super::seed::{ENVIRONMENT, PROJECT};

/// The client's example: an application that reads a config all the while, and says what it got.
const EXAMPLE: &str = "cargo run -p meridian-client --example keep_reading --";

/// Where everything is. Its JSON form is a contract with scripts: keys are added, never changed.
#[derive(Debug, Serialize)]
pub(super) struct Announcement {
    /// `host:port` by region, as are the next two.
    grpc: BTreeMap<String, SocketAddr>,
    http: BTreeMap<String, SocketAddr>,
    admin: BTreeMap<String, SocketAddr>,
    /// Where nodes reach each other.
    peer: BTreeMap<String, SocketAddr>,
    /// Process ids by region.
    pids: BTreeMap<String, u32>,
    project: &'static str,
    environment: &'static str,
    sdk_key: String,
    operator_token: String,
    data_dir: String,
    /// With it a node is let in.
    join_token: String,
    /// The configuration of a node more: `meridian serve --config` starts it.
    one_more_config: String,
    one_more_id: u64,
    /// With their regions, in the order given.
    #[serde(skip)]
    endpoints: Vec<(String, SocketAddr)>,
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
            peer: by_region(|listen| listen.peer),
            pids: pids.iter().map(|(region, pid)| (region.to_string(), *pid)).collect(),
            project: PROJECT,
            environment: ENVIRONMENT,
            sdk_key: home.sdk_key().to_owned(),
            operator_token: home.operator_token().to_owned(),
            data_dir: home.directory().display().to_string(),
            join_token: home.join_token(),
            one_more_config: home.spare_config_file().display().to_string(),
            one_more_id: home.spare_site().node_id,
            endpoints: sites.iter().map(|site| (site.region.to_string(), site.listen.grpc)).collect(),
        }
    }

    /// For programs: one line.
    pub(super) fn json(&self) -> serde_json::Result<String> {
        serde_json::to_string(self)
    }

    /// For people: what to type next.
    pub(super) fn text(&self) -> String {
        let program = std::env::args().next().unwrap_or_else(|| "meridian".to_owned());
        let endpoints: Vec<_> = self.endpoints.iter().map(|(_, address)| address.to_string()).collect();
        let by_region: Vec<_> =
            self.endpoints.iter().map(|(region, address)| format!("{region}={address}")).collect();
        let environment = format!("{}/{}", self.project, self.environment);
        let (region, first) = self.endpoints.first().cloned().expect("a cluster has a region");
        format!(
            "In another terminal:
  export MERIDIAN_ENDPOINTS={endpoints}
  export MERIDIAN_TOKEN={token}
  {program} status
  {program} get {environment} > config.json
  {program} publish {environment} config.json --format statsig --message 'my first change'
  {program} watch {environment}
An application that reads all the while:
  {EXAMPLE} --endpoints {by_region} --region {region} --token {sdk_key}
Then lose things, and see who notices:
  {program} drain --region {region}    # readers and the leader go elsewhere; `undrain` puts it back
  kill -9 PID    # of the leader, or of any node on the board
  {program} status    # what is wrong stands on top
And have one node more:
  {program} serve --config {one_more}
  {program} member list

A Statsig SDK: key {sdk_key}, specs over gRPC from http://{first}
Logs and data: {data_dir}
Ctrl-C stops everything.
",
            endpoints = endpoints.join(","),
            by_region = by_region.join(","),
            token = self.operator_token,
            sdk_key = self.sdk_key,
            one_more = self.one_more_config,
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
        assert_eq!(json["peer"]["m"], "127.0.0.1:7421");
        assert_eq!((&json["one_more_id"], &json["join_token"]), (&4.into(), &home.join_token().into()));
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
            "drain --region z ",
            "z=127.0.0.1:7400,a=127.0.0.1:7410,m=127.0.0.1:7420",
            "one-more.toml",
        ] {
            assert!(text.contains(part), "{part:?} is not in:\n{text}");
        }
    }
}
