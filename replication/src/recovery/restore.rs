//! Begins a cluster with what a backup holds.
//!
//! The node's empty data directory gets a snapshot of the same state at the same index, with a membership of this node
//! alone, and a log that begins there. Versions and revisions go on rising from where they were, so no client steps back
//! further than the backup itself. The incarnation is fresh: whatever is left of the backed-up cluster neither reaches
//! this node nor is reached by it.

use std::path::PathBuf;

use meridian_model::{Digest, Mutation};
use openraft::storage::RaftLogStorage as _;

use super::archive::Archive;
use super::rewrite::{append, command, sole_voter, vote};
use super::{Error, wait};
use crate::membership::Member;
use crate::options::Founder;
use crate::state_rows::{encode_membership, log_id};
use crate::storage;
use crate::storage::identity::{DataDir, GroupDirs};
use crate::storage::log::{LogStore, PurgeFloor};
use crate::storage::snapshot::{Meta, Reader, Record, Snapshots};
use crate::types::StoredMembership;

/// Who the journal says did it.
const ACTOR: &str = "restore";

/// What is restored to where.
#[derive(Clone, Debug)]
pub struct Restore {
    /// Of the cluster that begins.
    pub cluster_id: String,
    /// Accept a backup of this other cluster, too.
    pub from_cluster: Option<String>,
    /// The first node of it.
    pub node_id: u64,
    /// Where that node stands and how others reach it.
    pub own: Founder,
    /// Must be empty, or not be there.
    pub data_dir: PathBuf,
}

/// Puts a verified backup into an empty data directory. On return the node can be started: it is the only voter, and
/// others join it. An interrupted restore leaves a directory that no node opens, and is repeated.
///
/// # Errors
/// If the backup is of another cluster, if the node's id was given up in it, if the directory holds anything, or the
/// disk fails.
pub fn restore(archive: &Archive, restore: &Restore) -> Result<(), Error> {
    let Restore { cluster_id, from_cluster, node_id, own, data_dir } = restore;
    if archive.cluster_id != *from_cluster.as_ref().unwrap_or(cluster_id) {
        return Err(Error(format!(
            "backup {} is of cluster {:?}, and this node's is {:?}: take a backup of that cluster, or say with \
             `--from-cluster {}` that its data shall begin this one",
            archive.path.display(),
            archive.cluster_id,
            cluster_id,
            archive.cluster_id,
        )));
    }
    let fleet = archive.located.state.directory().fleet();
    if fleet.retired_at_ms(*node_id).is_some() {
        return Err(Error(format!(
            "node {node_id} was removed from the cluster before the backup, and ids are not used twice: set another \
             `node_id`"
        )));
    }
    let drained: Vec<u64> = fleet.drained().collect();
    let build = |dirs: &GroupDirs, incarnation: [u8; 16]| {
        let member = Member::founding(own, incarnation);
        build(archive, cluster_id, *node_id, member, drained, dirs)
    };
    Ok(DataDir::fill(data_dir, cluster_id, *node_id, build)?)
}

fn build(
    archive: &Archive,
    cluster_id: &str,
    node_id: u64,
    member: Member,
    drained: Vec<u64>,
    dirs: &GroupDirs,
) -> Result<(), storage::Error> {
    let refused = |error: Error| storage::Error::refused("the backup", error.to_string());
    let position = archive.meta.position;
    let membership =
        StoredMembership::new(Some(log_id(position)), sole_voter(node_id, member).map_err(refused)?);
    let meta = Meta { membership: encode_membership(&membership), ..archive.meta.clone() };
    let snapshots = Snapshots::open(&dirs.snapshots, cluster_id)?;
    let rows = archive.located.state.rows().map(Ok);
    // There is no catalog yet: the first start makes it from this file.
    let snapshot = snapshots.write(&meta, position, rows, documents(archive)?)?;

    let floor = PurgeFloor::new();
    floor.raise(snapshot.position().index);
    let mut log = LogStore::open(&dirs.log, floor)?;
    let undrain = (!drained.is_empty()).then(|| Mutation::Drain { nodes: drained, undrain: true });
    let text = format!(
        "restored on node {node_id} from a backup of cluster {} at revision {}",
        archive.cluster_id, archive.revision
    );
    let commands = std::iter::once(Mutation::Note { text }).chain(undrain);
    wait(async {
        let term = position.term + 1;
        vote(&mut log, node_id, term).await?;
        log.purge(log_id(position)).await.map_err(Error::log("begin"))?;
        let payloads = commands.map(|mutation| command(ACTOR, mutation));
        append(&mut log, position.index, node_id, term, payloads).await
    })
    .map(drop)
    .map_err(refused)
}

/// The documents, read from the file once more: its last record is handed out only if it is still what was verified.
fn documents(
    archive: &Archive,
) -> Result<impl Iterator<Item = Result<([u8; 32], bytes::Bytes), storage::Error>>, storage::Error> {
    let mut reader = Reader::open(&archive.path)?;
    let mut expected = archive.located.state.documents();
    let path = archive.path.clone();
    Ok(std::iter::from_fn(move || {
        loop {
            return match reader.next() {
                Ok(Some(Record::Row { .. })) => continue,
                Ok(Some(Record::Document { digest, stored })) => {
                    let same = expected.next() == Some(Digest(digest));
                    let changed = || storage::Error::damaged(&path, "it changed while it was read");
                    Some(same.then_some((digest, stored)).ok_or_else(changed))
                }
                Ok(None) => None,
                Err(error) => Some(Err(error)),
            };
        }
    }))
}
