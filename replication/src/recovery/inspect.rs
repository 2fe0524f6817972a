//! What a stopped node's data says of itself.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::path::Path;

use futures::TryStreamExt as _;
use meridian_model::{Command, Mutation, Outcome, wire};
use openraft::EntryPayload;
use openraft::storage::{RaftLogReader as _, RaftLogStorage as _};
use serde::{Deserialize, Serialize};

use super::{Error, wait};
use crate::disk::Disk;
use crate::state_rows::{Located, log_id};
use crate::storage::identity::DataDir;
use crate::types::{Entry, LogId, Membership, StoredMembership, Vote};

/// Heads that are shown: enough to recognise what happened last.
const HEADS: usize = 20;

/// Changes after the last one known to be committed that are shown one by one; the rest is counted.
const UNCONFIRMED: usize = 1_000;

/// The form of an [`Inspection`] that is passed between nodes as JSON.
const FORMAT: u32 = 1;

/// A place in the log. Of two logs the one with the greater last place holds all that the other one holds and that can
/// have been committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct LogPoint {
    /// In which it was written.
    pub term: u64,
    /// Who led then. Ranks leaders of the same term, as votes do.
    pub leader: u64,
    /// Counted from the beginning of the cluster.
    pub index: u64,
}

impl LogPoint {
    pub(super) fn of(id: LogId) -> Self {
        Self { term: id.leader_id.term, leader: id.leader_id.node_id, index: id.index }
    }
}

/// What one stopped node knows. Made by [`Stopped::open`], written and read as JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Inspection {
    /// 1.
    pub format: u32,
    /// Which cluster.
    pub cluster_id: String,
    /// Which node.
    pub node_id: u64,
    /// Of its data directory, as hex digits.
    pub incarnation: String,
    /// Highest term it took part in.
    pub term: u64,
    /// End of its log.
    pub last: Option<LogPoint>,
    /// The last entry it knows to be committed. What comes after may be as well.
    pub committed: Option<LogPoint>,
    /// The last entry in its catalog.
    pub applied: Option<LogPoint>,
    /// Its newest snapshot.
    pub snapshot: Option<LogPoint>,
    /// The leader's clock at the end of the log, Unix milliseconds: everything acknowledged before is here.
    pub clock_ms: Option<u64>,
    /// Sets of voters, each of which must agree: one, or two while members were being changed.
    pub voter_sets: Vec<Vec<u64>>,
    /// Voters and learners, by id.
    pub members: BTreeMap<u64, Standing>,
    /// Environments that changed last, newest first.
    pub heads: Vec<Head>,
    /// What is in the log after `committed`, the first of it.
    pub unconfirmed: Vec<Unconfirmed>,
    /// How many changes that are altogether.
    pub unconfirmed_total: u64,
}

/// A member, as the newest membership in the log has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// Where it stands.
    pub region: String,
    /// Failure domain within the region.
    pub zone: String,
    /// Its peer listener.
    pub peer_address: String,
}

/// The newest version of an environment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// Which one.
    pub environment: String,
    /// Its newest version.
    pub version: u64,
    /// When that was published, Unix milliseconds.
    pub time_ms: u64,
}

/// A change that is in the log and not known to be committed. It is kept in a recovery, whether or not anybody was told
/// of its success.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unconfirmed {
    /// Where it is.
    pub index: u64,
    /// The leader's clock when it was proposed, Unix milliseconds.
    pub time_ms: u64,
    /// Who asked for it.
    pub actor: String,
    /// What it does.
    pub what: String,
}

/// The data directory of a node that does not run, open and locked.
pub struct Stopped {
    pub(super) disk: Disk,
    pub(super) vote: Option<Vote>,
    pub(super) last: Option<LogId>,
    pub(super) membership: StoredMembership,
    inspection: Inspection,
}

impl Stopped {
    /// Opens it as a start would, which may rebuild a damaged catalog, and reads the log to its end.
    ///
    /// # Errors
    /// If there is no node's data, if the node runs, or if it could not start either.
    pub fn open(data_dir: &Path) -> Result<Self, Error> {
        let mut disk = Disk::open(DataDir::open_existing(data_dir)?)?;
        wait(async move {
            let vote = disk.log.read_vote().await.map_err(Error::log("read"))?;
            let last = disk.log.get_log_state().await.map_err(Error::log("read"))?.last_log_id;
            let committed = disk.log.read_committed().await.map_err(Error::log("read"))?;
            let committed = committed.max(disk.located.last);
            let tail = Tail::read(&mut disk, committed).await?;
            let inspection = Inspection {
                format: FORMAT,
                cluster_id: disk.data_dir.cluster_id().to_owned(),
                node_id: disk.data_dir.node_id(),
                incarnation: hex::encode(disk.data_dir.incarnation()),
                term: vote.map_or(0, |vote| vote.leader_id.term),
                last: last.map(LogPoint::of),
                committed: committed.map(LogPoint::of),
                applied: disk.located.last.map(LogPoint::of),
                snapshot: disk.files.newest().map(|file| LogPoint::of(log_id(file.position()))),
                clock_ms: tail.located.state.directory().clock_ms(),
                voter_sets: voter_sets(tail.located.membership.membership()),
                members: members(tail.located.membership.membership()),
                heads: heads(&tail.located),
                unconfirmed: tail.unconfirmed,
                unconfirmed_total: tail.unconfirmed_total,
            };
            Ok(Self { disk, vote, last, membership: tail.located.membership, inspection })
        })
    }

    /// What it says of itself.
    pub fn inspection(&self) -> &Inspection {
        &self.inspection
    }
}

impl std::fmt::Debug for Stopped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.inspection.fmt(f)
    }
}

/// The state as it will be when all of the log is applied, and what of it is not known to be committed.
struct Tail {
    located: Located,
    unconfirmed: Vec<Unconfirmed>,
    unconfirmed_total: u64,
}

impl Tail {
    async fn read(disk: &mut Disk, committed: Option<LogId>) -> Result<Self, Error> {
        let mut tail = Self { located: disk.located.clone(), unconfirmed: Vec::new(), unconfirmed_total: 0 };
        let from = disk.located.last.map_or(0, |id| id.index.saturating_add(1));
        let from = from.max(disk.log.usage().stats().first_index);
        let entries = disk.log.entries_stream(from..).await;
        let mut entries = std::pin::pin!(entries);
        while let Some(entry) = entries.try_next().await.map_err(Error::log("read"))? {
            tail.add(entry, committed)?;
        }
        Ok(tail)
    }

    fn add(&mut self, entry: Entry, committed: Option<LogId>) -> Result<(), Error> {
        let log_id = entry.log_id;
        self.located.last = Some(log_id);
        match entry.payload {
            EntryPayload::Blank => {}
            EntryPayload::Membership(membership) => {
                self.located.membership = StoredMembership::new(Some(log_id), membership);
            }
            EntryPayload::Normal(body) => {
                let command = wire::decode_command(body.0)
                    .map_err(|error| Error(format!("log entry {} cannot be read: {error}", log_id.index)))?;
                let described = describe(&command);
                let outcome = self.located.state.apply(command).outcome;
                if let Some(described) = described
                    && Some(log_id) > committed
                    && !matches!(outcome, Outcome::Refused(_))
                {
                    self.unconfirmed_total += 1;
                    if self.unconfirmed.len() < UNCONFIRMED {
                        let what = match outcome {
                            Outcome::Published { version, .. } => {
                                format!("{} as version {version}", described.what)
                            }
                            _ => described.what,
                        };
                        self.unconfirmed.push(Unconfirmed { index: log_id.index, what, ..described });
                    }
                }
            }
        }
        Ok(())
    }
}

/// `None` for the clock, which nobody waits for.
fn describe(command: &Command) -> Option<Unconfirmed> {
    let what = match &command.mutation {
        Mutation::Tick => return None,
        Mutation::CreateProject { project } => format!("create project {project}"),
        Mutation::CreateEnvironment { environment } => format!("create environment {environment}"),
        Mutation::CreateKey { environment, hash, .. } => format!("create key {} of {environment}", hash.id()),
        Mutation::RevokeKey { id } => format!("revoke key {id}"),
        Mutation::Publish { environment, .. } => format!("publish {environment}"),
        Mutation::Rollback { environment, .. } => format!("roll back {environment}"),
        Mutation::MovePointer { environment, version, .. } => {
            format!("serve version {version} of {environment}")
        }
        Mutation::SetPlacement { .. } => "set the placement".to_owned(),
        Mutation::Drain { nodes, undrain: false } => format!("drain nodes {nodes:?}"),
        Mutation::Drain { nodes, undrain: true } => format!("undrain nodes {nodes:?}"),
        Mutation::Retire { nodes } => format!("retire nodes {nodes:?}"),
        Mutation::Settle => "settle a request".to_owned(),
        Mutation::Note { .. } => "write to the journal".to_owned(),
    };
    Some(Unconfirmed { index: 0, time_ms: command.time_ms, actor: command.actor.clone(), what })
}

fn voter_sets(membership: &Membership) -> Vec<Vec<u64>> {
    membership.get_joint_config().iter().map(|set| set.iter().copied().collect()).collect()
}

fn members(membership: &Membership) -> BTreeMap<u64, Standing> {
    let standing = |member: &crate::Member| Standing {
        region: member.region.clone(),
        zone: member.zone.clone(),
        peer_address: member.peer_address.clone(),
    };
    membership.nodes().map(|(id, member)| (*id, standing(member))).collect()
}

fn heads(located: &Located) -> Vec<Head> {
    let published = located.state.directory().environments().filter(|(_, environment)| environment.head > 0);
    let mut heads: Vec<Head> = published
        .map(|(at, environment)| Head {
            environment: at.to_string(),
            version: environment.head,
            time_ms: environment.last_time_ms,
        })
        .collect();
    heads.sort_by_key(|head| Reverse(head.time_ms));
    heads.truncate(HEADS);
    heads
}
