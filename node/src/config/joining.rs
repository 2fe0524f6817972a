//! How a node gets into a cluster, and how the others reach it: as a founder, or by asking members that exist.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use meridian_model::Name;

use super::reader::{Reader, Table};
use super::setting::TokenHash;
use super::{Address, Founder, Listen, Secret};

/// What a node is to become.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Role {
    /// It counts in elections. A node that joins becomes a learner first.
    #[default]
    Voter,
    /// It serves readers and has no vote.
    Learner,
}

/// How others reach this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advertise {
    /// Its gRPC listener, as clients reach it.
    pub grpc: Address,
    /// Its peer listener, as other nodes reach it.
    pub peer: Address,
}

/// How a node that is no founder gets in, and whom this one lets in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Join {
    /// Peer addresses of members to ask.
    pub seeds: Vec<Address>,
    /// What this node shows to be let in. Without it, it waits until an operator adds it.
    pub token: Option<Secret>,
    /// SHA-256 of the tokens with which others are let in.
    pub token_sha256: Vec<[u8; 32]>,
}

/// The addresses that were set, if any.
#[derive(Clone, Debug, Default)]
pub(super) struct GivenAdvertise {
    grpc: Option<Address>,
    peer: Option<Address>,
}

pub(super) fn read_advertise(reader: &mut Reader, root: &mut Table) -> Option<GivenAdvertise> {
    let mut table = reader.table(root, "advertise");
    let grpc = reader.absent_or(&mut table, "grpc");
    let peer = reader.absent_or(&mut table, "peer");
    reader.close(table);
    Some(GivenAdvertise { grpc: grpc?, peer: peer? })
}

pub(super) fn read_join(reader: &mut Reader, root: &mut Table) -> Option<Join> {
    let mut table = reader.table(root, "join");
    let seeds = reader.optional(&mut table, "seeds", Vec::<Address>::new());
    let token = reader.absent_or::<Secret>(&mut table, "token");
    let file = reader.absent_or::<PathBuf>(&mut table, "token_file");
    let hashes = reader.optional(&mut table, "token_sha256", Vec::<TokenHash>::new());
    reader.close(table);
    let token = match (token?, file?) {
        (Some(_), Some(_)) => {
            reader.refuse("join.token_file", "is set beside join.token: keep one of them");
            None
        }
        (None, Some(path)) => match read_token(&path) {
            Ok(token) => Some(token),
            Err(problem) => {
                reader.refuse("join.token_file", problem);
                None
            }
        },
        (token, None) => token,
    };
    Some(Join { seeds: seeds?, token, token_sha256: hashes?.into_iter().map(|hash| hash.0).collect() })
}

/// A token and white space around it.
fn read_token(path: &Path) -> Result<Secret, String> {
    /// More than any token: a file given by mistake is not read to its end.
    const FILE_BYTES: u64 = 4 << 10;
    let mut text = String::new();
    let read = File::open(path).and_then(|file| file.take(FILE_BYTES).read_to_string(&mut text));
    read.map_err(|error| format!("cannot be read: {error}"))?;
    Secret::parse(text.trim())
}

/// Who this node is, as far as its membership goes.
pub(super) struct Identity<'a> {
    pub(super) node_id: u64,
    pub(super) region: &'a Name,
    pub(super) zone: &'a Name,
    pub(super) role: Role,
}

/// A node is a founder, or knows whom to ask.
pub(super) fn check(reader: &mut Reader, own: &Identity<'_>, founders: &BTreeMap<u64, Founder>, join: &Join) {
    let Identity { node_id, region, zone, role } = *own;
    let Some(listed) = founders.get(&node_id) else {
        match (join.seeds.is_empty(), founders.is_empty()) {
            (false, _) => {}
            (true, true) => reader.refuse(
                "founders",
                "is missing: list the first voters of a new cluster, or name members of an existing one in join.seeds",
            ),
            (true, false) => reader.refuse(
                "node_id",
                "is not among the founders: the list is the same on every node, and has an entry for each of them; a \
                 node that joins later names members in join.seeds",
            ),
        }
        return;
    };
    for (key, here, listed) in [("region", region, &listed.region), ("zone", zone, &listed.zone)] {
        if here != listed {
            reader.refuse(
                key,
                format!("is not what founders says of node {node_id} ({listed:?}): make them agree"),
            );
        }
    }
    if role == Role::Learner {
        reader.refuse(
            "role",
            "cannot be learner here: founders are the first voters; take this node out of the list and set join.seeds",
        );
    }
}

/// How others reach this node: as it says, else as the founders' list says, else where it listens.
pub(super) fn advertise(
    reader: &mut Reader,
    given: GivenAdvertise,
    founder: Option<&Founder>,
    listen: &Listen,
) -> Option<Advertise> {
    let mut resolve = |name: &str, given: Option<Address>, listed: Option<&Address>, listen: SocketAddr| {
        let key = format!("advertise.{name}");
        match (given, listed) {
            (Some(given), Some(listed)) if given != *listed => {
                reader.refuse(
                    &key,
                    format!("is not what founders says of this node ({listed}): make them agree"),
                );
                None
            }
            (Some(address), _) => Some(address),
            (None, Some(listed)) => Some(listed.clone()),
            (None, None) if listen.ip().is_unspecified() || listen.port() == 0 => {
                reader.refuse(
                    &key,
                    format!("is missing: listen.{name} is {listen}, which nobody can dial; write host:port as others \
                             reach this node"),
                );
                None
            }
            (None, None) => Some(listen.to_string().parse().expect("an ip address and a port above 0")),
        }
    };
    let grpc = resolve("grpc", given.grpc, founder.map(|listed| &listed.grpc), listen.grpc);
    let peer = resolve("peer", given.peer, founder.map(|listed| &listed.peer), listen.peer);
    Some(Advertise { grpc: grpc?, peer: peer? })
}
