//! The configuration file of one node of a development cluster.

use std::path::Path;

use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::home::{Home, Site};

/// Nodes of different development clusters are kept apart by their ports.
const CLUSTER_ID: &str = "meridian-dev";

#[derive(Serialize)]
struct File<'a> {
    cluster_id: &'a str,
    node_id: u64,
    region: &'a str,
    zone: &'a str,
    role: &'static str,
    data_dir: &'a Path,
    listen: Listen,
    auth: Auth,
    join: Join,
    drain: Drain,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    founders: Vec<Founder>,
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
struct Join {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    seeds: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<String>,
    token_sha256: [String; 1],
}

/// Whoever tries it out need not wait for long.
#[derive(Serialize)]
struct Drain {
    window_ms: u64,
}

#[derive(Serialize)]
struct Founder {
    node_id: u64,
    region: String,
    zone: &'static str,
    peer: String,
    grpc: String,
}

/// What the node at `site` is told: as a founder who the others are, otherwise whom to ask and with which token. The
/// operator's token is not in it.
pub(super) fn text(home: &Home, site: &Site, data_dir: &Path) -> Result<String, toml::ser::Error> {
    let founders = home.founders();
    let is_founder = founders.iter().any(|founder| founder.node_id == site.node_id);
    let seeds = founders.iter().map(|founder| founder.listen.peer.to_string());
    let entry = |founder: &Site| Founder {
        node_id: founder.node_id,
        region: founder.region.to_string(),
        zone: founder.zone,
        peer: founder.listen.peer.to_string(),
        grpc: founder.listen.grpc.to_string(),
    };
    toml::to_string(&File {
        cluster_id: CLUSTER_ID,
        node_id: site.node_id,
        region: site.region.as_str(),
        zone: site.zone,
        role: if is_founder { "voter" } else { "learner" },
        data_dir,
        listen: Listen {
            grpc: site.listen.grpc.to_string(),
            peer: site.listen.peer.to_string(),
            http: site.listen.http.to_string(),
            admin: site.listen.admin.to_string(),
        },
        auth: Auth { operator_token_sha256: [sha256(home.operator_token())] },
        join: Join {
            seeds: seeds.filter(|_| !is_founder).collect(),
            token: (!is_founder).then(|| home.join_token()),
            token_sha256: [sha256(&home.join_token())],
        },
        drain: Drain { window_ms: 3_000 },
        founders: founders.iter().filter(|_| is_founder).map(entry).collect(),
    })
}

fn sha256(secret: &str) -> String {
    hex::encode(Sha256::digest(secret))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::path::PathBuf;

    use super::super::home::Wanted;
    use super::*;
    use crate::config::{self, Config, Role, Sources};

    fn home() -> Home {
        let wanted =
            Wanted { regions: Some("us-east,eu-west,ap-south,edge".parse().unwrap()), base_port: Some(7400) };
        Home::open(None, wanted).unwrap()
    }

    /// As a node reads it.
    fn read(home: &Home, site: &Site) -> Config {
        let text = text(home, site, Path::new("/data/here")).unwrap();
        assert!(!text.contains(home.operator_token()), "the operator's token is in the file");
        let path: PathBuf = home.config_file(&site.region);
        std::fs::write(&path, text).unwrap();
        let sources = Sources { file: path, environment: Vec::new(), flags: Vec::new() };
        config::load(sources).unwrap().config
    }

    #[test]
    fn a_founder_is_told_who_it_is_and_who_the_others_are() {
        let home = home();
        let config = read(&home, &home.sites()[1]);
        assert_eq!((config.node_id, config.region.as_str(), config.role), (2, "eu-west", Role::Voter));
        assert_eq!(config.data_dir, Path::new("/data/here"));
        assert_eq!(config.listen.admin.to_string(), "127.0.0.1:7413");
        let peers: Vec<_> =
            config.founders.iter().map(|(id, founder)| (*id, founder.peer.to_string())).collect();
        let peer = |id: u64, address: &str| (id, address.to_owned());
        assert_eq!(peers, [peer(1, "127.0.0.1:7401"), peer(2, "127.0.0.1:7411"), peer(3, "127.0.0.1:7421")]);
        assert!(config.join.token.is_none() && config.join.token_sha256.len() == 1);
    }

    #[test]
    fn any_other_is_told_whom_to_ask_and_how_to_be_let_in() {
        let home = home();
        for site in [home.sites().remove(3), home.spare_site()] {
            let config = read(&home, &site);
            assert_eq!((config.node_id, config.role), (site.node_id, Role::Learner));
            assert!(config.founders.is_empty());
            assert_eq!(config.join.seeds.len(), 3);
            let token = config.join.token.unwrap();
            assert_eq!(token.expose(), home.join_token());
            assert_eq!(config.join.token_sha256, [<[u8; 32]>::from(Sha256::digest(token.expose()))]);
        }
    }
}
