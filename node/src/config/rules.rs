//! How settings must fit together, and what fits but is seldom meant.

use std::collections::{BTreeMap, HashMap};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use meridian_model::Name;
use meridian_replication::Timing;

use super::reader::Reader;
use super::{Config, Founder, Listen};

/// A clock of Raft outside of this is a mistake of unit: below, elections never end; above, nobody would wait.
const CLOCK_MS: RangeInclusive<u64> = 1..=60_000;

pub(super) fn identity(reader: &mut Reader, node_id: Option<u64>, data_dir: Option<&PathBuf>) {
    if node_id == Some(0) {
        reader.refuse("node_id", "must be 1 or more");
    }
    if data_dir.is_some_and(|path| path.as_os_str().is_empty()) {
        reader.refuse("data_dir", "is empty: name a directory that only this node uses");
    }
}

pub(super) fn listen(reader: &mut Reader, listen: &Listen, insecure: bool) {
    let mut taken: HashMap<std::net::SocketAddr, &str> = HashMap::new();
    for (name, address) in listen.by_key() {
        let key = format!("listen.{name}");
        if !address.ip().is_loopback() && !insecure {
            reader.refuse(
                &key,
                "can be reached from other machines, and without TLS: listen on a loopback address, or set insecure = \
                 true if everybody on that network may read and publish",
            );
        }
        if address.port() == 0 {
            continue;
        }
        if let Some(other) = taken.insert(address, name) {
            reader.refuse(&key, format!("is the address of listen.{other} too: each listener needs its own"));
        }
    }
}

pub(super) fn timing(reader: &mut Reader, timing: &Timing) {
    let Timing { heartbeat_interval_ms, election_timeout_min_ms, election_timeout_max_ms } = *timing;
    let clocks = [
        ("raft.heartbeat_interval_ms", heartbeat_interval_ms),
        ("raft.election_timeout_min_ms", election_timeout_min_ms),
        ("raft.election_timeout_max_ms", election_timeout_max_ms),
    ];
    let outside: Vec<_> = clocks.into_iter().filter(|(_, clock)| !CLOCK_MS.contains(clock)).collect();
    for (key, _) in &outside {
        reader.refuse(key, format!("must be {} to {} milliseconds", CLOCK_MS.start(), CLOCK_MS.end()));
    }
    if !outside.is_empty() {
        return;
    }
    if election_timeout_min_ms < 2 * heartbeat_interval_ms {
        reader.refuse(
            "raft.election_timeout_min_ms",
            format!(
                "must be at least twice raft.heartbeat_interval_ms ({heartbeat_interval_ms}), or one late heartbeat \
                 costs an election"
            ),
        );
    }
    if election_timeout_max_ms <= election_timeout_min_ms {
        reader.refuse(
            "raft.election_timeout_max_ms",
            format!("must be above raft.election_timeout_min_ms ({election_timeout_min_ms})"),
        );
    }
}

pub(super) fn founders(reader: &mut Reader, founders: &[(u64, Founder)]) {
    let mut ids: HashMap<u64, usize> = HashMap::new();
    let mut addresses: HashMap<&super::Address, String> = HashMap::new();
    for (index, (node_id, founder)) in founders.iter().enumerate() {
        let id_key = format!("founders[{index}].node_id");
        if *node_id == 0 {
            reader.refuse(&id_key, "must be 1 or more");
        }
        if let Some(other) = ids.insert(*node_id, index) {
            reader.refuse(&id_key, format!("is the id of founders[{other}] too: each node needs its own"));
        }
        for (name, address) in [("peer", &founder.peer), ("grpc", &founder.grpc)] {
            let key = format!("founders[{index}].{name}");
            match addresses.get(address) {
                Some(other) => {
                    reader
                        .refuse(&key, format!("is the address of {other} too: each listener needs its own"));
                }
                None => {
                    addresses.insert(address, key);
                }
            }
        }
    }
}

/// What works, and probably is not what was meant.
pub(super) fn warnings(config: &Config) -> Vec<String> {
    let mut warnings = placement(&config.founders);
    if config.operator_token_hashes.is_empty() {
        warnings.push(
            "auth.operator_token_sha256 is empty: nobody can publish through this node; `meridian token` makes a token"
                .to_owned(),
        );
    }
    if config.insecure {
        warnings
            .push("insecure = true: tokens, keys and documents may cross the network unencrypted".to_owned());
    }
    if Path::is_relative(&config.data_dir) {
        warnings.push(format!(
            "data_dir {:?} is relative: started from another directory, this node finds no data",
            config.data_dir
        ));
    }
    let (listen, told) = (&config.listen, &config.advertise);
    for (name, listen, told) in [("peer", listen.peer, &told.peer), ("grpc", listen.grpc, &told.grpc)] {
        if listen.port() != told.port() {
            warnings.push(format!(
                "listen.{name} has port {}, but others are told to reach this node at {told}",
                listen.port()
            ));
        }
    }
    if !config.founders.contains_key(&config.node_id) && config.join.token.is_none() {
        warnings.push(
            "join.token is not set: this node waits until an operator lets it in with `meridian member add`"
                .to_owned(),
        );
    }
    warnings
}

/// What the place of the voters means for what the cluster survives.
fn placement(founders: &BTreeMap<u64, Founder>) -> Vec<String> {
    let mut warnings = Vec::new();
    let voters = founders.len();
    if voters == 0 {
        return warnings;
    }
    if voters == 1 {
        warnings
            .push("there is one founder: nothing survives its loss; name three in three regions".to_owned());
        return warnings;
    }
    if voters.is_multiple_of(2) {
        warnings.push(format!(
            "{voters} founders are an even number: they survive no more losses than {} do",
            voters - 1
        ));
    }
    let mut regions: BTreeMap<&Name, usize> = BTreeMap::new();
    let mut zones: BTreeMap<(&Name, &Name), Vec<u64>> = BTreeMap::new();
    for (node_id, founder) in founders {
        *regions.entry(&founder.region).or_default() += 1;
        zones.entry((&founder.region, &founder.zone)).or_default().push(*node_id);
    }
    for (region, votes) in regions.into_iter().filter(|(_, votes)| 2 * votes > voters) {
        warnings.push(format!(
            "region {region} holds {votes} of {voters} votes: without it nothing can be published anywhere"
        ));
    }
    for ((region, zone), nodes) in zones.into_iter().filter(|(_, nodes)| nodes.len() > 1) {
        warnings.push(format!(
            "founders {nodes:?} share zone {zone} of region {region}: one loss takes them all"
        ));
    }
    warnings
}
