//! What the daemon is told: read from a file, the environment and the command line into types that cannot be wrong.
//!
//! Flags beat the environment, which beats the file. Every problem is reported at once, each with its key, its value,
//! where it came from and the way out; a key that nobody knows is a problem too. Nothing here opens a socket or looks
//! into the data directory.

mod address;
mod explain;
mod joining;
mod problem;
mod reader;
mod rules;
mod secret;
mod serving;
mod setting;
mod source;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use meridian_model::Name;
use meridian_replication::{Options, Profile, Timing};

pub use address::Address;
pub use explain::explain;
use joining::Identity;
pub use joining::{Advertise, Join, Role};
pub use problem::{Invalid, Problem};
pub use reader::{Origin, Setting};
use reader::{Reader, Table};
pub use secret::Secret;
pub use serving::{Backup, Drain, Freshness};
use setting::TokenHash;
pub use source::Sources;

/// Everything the daemon needs to know.
#[derive(Clone, Debug)]
pub struct Config {
    /// The same on every node; nodes of another cluster are refused.
    pub cluster_id: Name,
    /// This node, above 0.
    pub node_id: u64,
    /// Where it stands, and whose pointer it follows.
    pub region: Name,
    /// Failure domain within the region.
    pub zone: Name,
    /// Everything it keeps is in here. Not empty.
    pub data_dir: PathBuf,
    /// Whether it may listen beyond this machine without TLS.
    pub insecure: bool,
    /// Where it listens. Pairwise different, but for port 0.
    pub listen: Listen,
    /// SHA-256 of each operator token.
    pub operator_token_hashes: Vec<[u8; 32]>,
    /// Heartbeat below the shortest election timeout, and that below the longest.
    pub timing: Timing,
    /// How it logs.
    pub log: Log,
    /// What this node is to become. A founder is a voter.
    pub role: Role,
    /// How others reach this node.
    pub advertise: Advertise,
    /// How this node gets in if it is no founder, and whom it lets in.
    pub join: Join,
    /// When answers are marked as possibly old.
    pub freshness: Freshness,
    /// How this node leaves service.
    pub drain: Drain,
    /// Where backups go by themselves, if they do.
    pub backup: Option<Backup>,
    /// The first voters by node id. This node is among them, or `join` has seeds.
    pub founders: BTreeMap<u64, Founder>,
}

/// Where the daemon listens. Port 0 takes a free one.
#[derive(Clone, Copy, Debug)]
pub struct Listen {
    /// SDKs, proxies and operators.
    pub grpc: SocketAddr,
    /// Other nodes.
    pub peer: SocketAddr,
    /// Config over HTTP.
    pub http: SocketAddr,
    /// Health and metrics.
    pub admin: SocketAddr,
}

impl Listen {
    /// Each address with its key.
    pub fn by_key(&self) -> [(&'static str, SocketAddr); 4] {
        [("grpc", self.grpc), ("peer", self.peer), ("http", self.http), ("admin", self.admin)]
    }
}

/// How the daemon logs.
#[derive(Clone, Debug)]
pub struct Log {
    /// For people or for machines.
    pub format: LogFormat,
    /// A tracing filter that is known to parse.
    pub filter: String,
}

/// The shape of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// A voter of the first membership.
#[derive(Clone, Debug)]
pub struct Founder {
    /// Where it stands.
    pub region: Name,
    /// Failure domain within the region.
    pub zone: Name,
    /// Its peer listener, as the others reach it.
    pub peer: Address,
    /// Its gRPC listener, as clients reach it.
    pub grpc: Address,
}

/// A configuration with what is known about it.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// What the daemon runs with.
    pub config: Config,
    /// Each setting as it is in force, with its origin, in the order of the documentation.
    pub settings: Vec<Setting>,
    /// What works, and probably is not what was meant.
    pub warnings: Vec<String>,
}

/// Reads, merges and checks. All problems are found in one go, but for a file that cannot be read or parsed: nothing
/// else is looked at then.
pub fn load(sources: Sources) -> Result<Loaded, Invalid> {
    let mut reader = Reader::new(source::merge(sources)?)?;
    let config = read(&mut reader);
    let (settings, problems) = reader.finish();
    match config {
        Some(config) if problems.is_empty() => {
            let warnings = rules::warnings(&config);
            Ok(Loaded { config, settings, warnings })
        }
        _ => Err(Invalid { problems }),
    }
}

/// `None` only when a problem was reported.
fn read(reader: &mut Reader) -> Option<Config> {
    let mut root = reader.root();
    let cluster_id = reader.required(&mut root, "cluster_id");
    let node_id = reader.required(&mut root, "node_id");
    let region = reader.required(&mut root, "region");
    let zone = reader.required(&mut root, "zone");
    let data_dir = reader.required(&mut root, "data_dir");
    let role = reader.optional(&mut root, "role", Role::default());
    let insecure = reader.optional(&mut root, "insecure", false);
    let listen = read_listen(reader, &mut root);
    let advertise = joining::read_advertise(reader, &mut root);
    let join = joining::read_join(reader, &mut root);
    let operator_token_hashes = read_auth(reader, &mut root);
    let timing = read_timing(reader, &mut root);
    let freshness = serving::read_freshness(reader, &mut root);
    let drain = serving::read_drain(reader, &mut root);
    let backup = serving::read_backup(reader, &mut root);
    let log = read_log(reader, &mut root);
    let founders = read_founders(reader, &mut root);
    reader.close(root);

    rules::identity(reader, node_id, data_dir.as_ref());
    if let (Some(listen), Some(insecure)) = (&listen, insecure) {
        rules::listen(reader, listen, insecure);
    }
    if let Some(timing) = &timing {
        rules::timing(reader, timing);
    }
    if let Some(founders) = &founders {
        rules::founders(reader, founders);
    }
    let founders: BTreeMap<u64, Founder> = founders?.into_iter().collect();
    if let (Some(node_id), Some(region), Some(zone), Some(role), Some(join)) =
        (node_id, &region, &zone, role, &join)
    {
        joining::check(reader, &Identity { node_id, region, zone, role }, &founders, join);
    }
    let advertise = match (advertise, node_id, &listen) {
        (Some(given), Some(node_id), Some(listen)) => {
            joining::advertise(reader, given, founders.get(&node_id), listen)
        }
        _ => None,
    };
    Some(Config {
        cluster_id: cluster_id?,
        node_id: node_id?,
        region: region?,
        zone: zone?,
        data_dir: data_dir?,
        insecure: insecure?,
        listen: listen?,
        operator_token_hashes: operator_token_hashes?,
        timing: timing?,
        log: log?,
        role: role?,
        advertise: advertise?,
        join: join?,
        freshness: freshness?,
        drain: drain?,
        backup: backup?,
        founders,
    })
}

fn read_listen(reader: &mut Reader, root: &mut Table) -> Option<Listen> {
    let mut table = reader.table(root, "listen");
    let mut address = |key, port| reader.optional(&mut table, key, SocketAddr::from(([127, 0, 0, 1], port)));
    let grpc = address("grpc", 7400);
    let peer = address("peer", 7401);
    let http = address("http", 7402);
    let admin = address("admin", 7403);
    reader.close(table);
    Some(Listen { grpc: grpc?, peer: peer?, http: http?, admin: admin? })
}

fn read_auth(reader: &mut Reader, root: &mut Table) -> Option<Vec<[u8; 32]>> {
    let mut table = reader.table(root, "auth");
    let hashes = reader.optional(&mut table, "operator_token_sha256", Vec::<TokenHash>::new());
    reader.close(table);
    Some(hashes?.into_iter().map(|hash| hash.0).collect())
}

fn read_timing(reader: &mut Reader, root: &mut Table) -> Option<Timing> {
    let mut table = reader.table(root, "raft");
    let profile = reader.optional(&mut table, "profile", Profile::default());
    // A profile that is wrong was reported: the keys beside it are still looked at.
    let default = profile.unwrap_or_default().timing();
    let mut milliseconds = |key, default| reader.optional(&mut table, key, default);
    let heartbeat = milliseconds("heartbeat_interval_ms", default.heartbeat_interval_ms);
    let shortest = milliseconds("election_timeout_min_ms", default.election_timeout_min_ms);
    let longest = milliseconds("election_timeout_max_ms", default.election_timeout_max_ms);
    reader.close(table);
    profile?;
    Some(Timing {
        heartbeat_interval_ms: heartbeat?,
        election_timeout_min_ms: shortest?,
        election_timeout_max_ms: longest?,
    })
}

fn read_log(reader: &mut Reader, root: &mut Table) -> Option<Log> {
    let mut table = reader.table(root, "log");
    let format = reader.optional(&mut table, "format", LogFormat::Text);
    // openraft tells the story of every vote, and warns of each message to a node that is down.
    let filter = reader.optional(&mut table, "level", setting::Filter("info,openraft=error".to_owned()));
    reader.close(table);
    Some(Log { format: format?, filter: filter?.0 })
}

/// In the order of the list, so that problems can name the place; an id may still occur twice.
fn read_founders(reader: &mut Reader, root: &mut Table) -> Option<Vec<(u64, Founder)>> {
    let tables = reader.tables(root, "founders")?;
    let founders: Vec<Option<(u64, Founder)>> = tables
        .into_iter()
        .map(|mut table| {
            let node_id = reader.required(&mut table, "node_id");
            let region = reader.required(&mut table, "region");
            let zone = reader.required(&mut table, "zone");
            let peer = reader.required(&mut table, "peer");
            let grpc = reader.required(&mut table, "grpc");
            reader.close(table);
            Some((node_id?, Founder { region: region?, zone: zone?, peer: peer?, grpc: grpc? }))
        })
        .collect();
    founders.into_iter().collect()
}

impl Config {
    /// What replication needs of it.
    pub fn replication(&self) -> Options {
        let founder = |founder: &Founder| meridian_replication::Founder {
            region: founder.region.to_string(),
            zone: founder.zone.to_string(),
            peer_address: founder.peer.to_string(),
            grpc_address: founder.grpc.to_string(),
        };
        Options {
            cluster_id: self.cluster_id.to_string(),
            node_id: self.node_id,
            own: meridian_replication::Founder {
                region: self.region.to_string(),
                zone: self.zone.to_string(),
                peer_address: self.advertise.peer.to_string(),
                grpc_address: self.advertise.grpc.to_string(),
            },
            founders: self.founders.iter().map(|(id, it)| (*id, founder(it))).collect(),
            join: meridian_replication::Join {
                seeds: self.join.seeds.iter().map(Address::to_string).collect(),
                token: self.join.token.as_ref().map(|token| token.expose().to_owned()),
                wants_vote: self.role == Role::Voter,
                token_sha256: self.join.token_sha256.clone(),
            },
            data_dir: self.data_dir.clone(),
            timing: self.timing,
            software_version: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }
}
