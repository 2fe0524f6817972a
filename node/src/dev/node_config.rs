//! The configuration file of one node of a development cluster.

use std::path::Path;

use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::home::Site;

/// Nodes of different development clusters are kept apart by their ports.
const CLUSTER_ID: &str = "meridian-dev";

/// One machine is one failure domain.
const ZONE: &str = "a";

#[derive(Serialize)]
struct File<'a> {
    cluster_id: &'a str,
    node_id: u64,
    region: &'a str,
    zone: &'a str,
    data_dir: &'a Path,
    listen: Listen,
    auth: Auth,
    founders: Vec<Founder<'a>>,
}

#[derive(Serialize)]
struct Listen {
    grpc: String,
    peer: String,
    http: String,
    admin: String,
}

#[derive(Serialize)]
struct Auth {
    operator_token_sha256: [String; 1],
}

#[derive(Serialize)]
struct Founder<'a> {
    node_id: u64,
    region: &'a str,
    zone: &'a str,
    peer: String,
    grpc: String,
}

/// What the node at `site` is told; `sites` are all of them. The token itself is not in it.
pub(super) fn text(
    site: &Site,
    sites: &[Site],
    data_dir: &Path,
    operator_token: &str,
) -> Result<String, toml::ser::Error> {
    let founders = sites.iter().map(|site| Founder {
        node_id: site.node_id,
        region: site.region.as_str(),
        zone: ZONE,
        peer: site.listen.peer.to_string(),
        grpc: site.listen.grpc.to_string(),
    });
    toml::to_string(&File {
        cluster_id: CLUSTER_ID,
        node_id: site.node_id,
        region: site.region.as_str(),
        zone: ZONE,
        data_dir,
        listen: Listen {
            grpc: site.listen.grpc.to_string(),
            peer: site.listen.peer.to_string(),
            http: site.listen.http.to_string(),
            admin: site.listen.admin.to_string(),
        },
        auth: Auth { operator_token_sha256: [hex::encode(Sha256::digest(operator_token))] },
        founders: founders.collect(),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::ports::Ports;
    use super::*;

    #[test]
    fn a_node_is_told_who_it_is_and_who_the_others_are() {
        let ports = Ports::new(7400, 3).unwrap();
        let site = |(index, region): (usize, &str)| Site {
            node_id: index as u64 + 1,
            region: region.parse().unwrap(),
            listen: ports.of_region(index),
        };
        let sites: Vec<_> = ["us-east", "eu-west", "ap-south"].into_iter().enumerate().map(site).collect();
        let text = text(&sites[1], &sites, Path::new("/data/eu-west"), "operator-abc").unwrap();
        let file: toml::Table = text.parse().unwrap();
        assert_eq!(file["node_id"].as_integer(), Some(2));
        assert_eq!(file["region"].as_str(), Some("eu-west"));
        assert_eq!(file["data_dir"].as_str(), Some("/data/eu-west"));
        assert_eq!(file["listen"]["admin"].as_str(), Some("127.0.0.1:7413"));
        let founders = file["founders"].as_array().unwrap();
        let founder =
            |i: usize| (founders[i]["node_id"].as_integer().unwrap(), founders[i]["peer"].as_str().unwrap());
        assert_eq!(
            [0, 1, 2].map(founder),
            [(1, "127.0.0.1:7401"), (2, "127.0.0.1:7411"), (3, "127.0.0.1:7421")]
        );
        assert_eq!(file["auth"]["operator_token_sha256"][0].as_str().unwrap().len(), 64);
        assert!(!text.contains("operator-abc"), "the token is in the file");
    }
}
