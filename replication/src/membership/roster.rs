//! The members as the leader sees them at one instant: what rules about them are decided on.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use openraft::Instant as _;
use openraft::async_runtime::watch::WatchReceiver as _;

use super::Member;
use super::change::ListedMember;
use crate::member::MemberState;
use crate::types::LogId;

/// A member that answered the leader within this is there. Heartbeats come many times in it, on every profile.
const ANSWERED_WITHIN: Duration = Duration::from_secs(2);

/// A learner that lacks no more than this has caught up: less than a second of writing at any rate that three disks
/// bear, so that a quorum which needs it does not wait.
const CAUGHT_UP_ENTRIES: u64 = 1_000;

/// The same in bytes: a second of a slow link.
const CAUGHT_UP_BYTES: u64 = 4 << 20;

/// Everybody, at one instant.
#[derive(Clone, Debug, Default)]
pub(crate) struct Roster {
    /// By id.
    pub(crate) members: BTreeMap<u64, Seen>,
    /// Where in the log this membership is.
    pub(crate) log_id: Option<LogId>,
    /// There are two sets of voters: a change was not finished.
    pub(crate) joint: bool,
    /// A majority may not have this membership yet.
    pub(crate) uncommitted: bool,
}

/// One member.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) member: Member,
    pub(crate) voter: bool,
    /// It answered just now.
    pub(crate) answers: bool,
    pub(crate) behind: Behind,
}

/// What a member lacks of the leader's log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Behind {
    pub(crate) entries: u64,
    pub(crate) bytes: u64,
}

impl Behind {
    /// Whether it lacks so little that it may vote.
    pub(crate) fn caught_up(self) -> bool {
        self.entries <= CAUGHT_UP_ENTRIES && self.bytes <= CAUGHT_UP_BYTES
    }
}

impl fmt::Display for Behind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} entries ({} KB) behind", self.entries, self.bytes >> 10)
    }
}

impl Roster {
    /// What this node, as leader, knows now. On any other node nobody answers.
    pub(crate) fn of(state: &MemberState) -> Self {
        let metrics = state.raft.metrics();
        let metrics = metrics.borrow_watched();
        let config = &metrics.membership_config;
        let voters: BTreeSet<u64> = config.membership().voter_ids().collect();
        let last = metrics.last_log_index.unwrap_or(0);
        let seen = |node_id: u64| {
            if node_id == state.home.node_id {
                return (metrics.state.is_leader(), Behind::default());
            }
            let answered = metrics.heartbeat.as_ref().and_then(|answers| *answers.get(&node_id)?);
            let answers = answered.is_some_and(|at| at.elapsed() < ANSWERED_WITHIN);
            let matched = metrics.replication.as_ref().and_then(|matched| *matched.get(&node_id)?);
            let matched = matched.map_or(0, |log_id| log_id.index);
            let entries = last.saturating_sub(matched);
            let bytes = if entries == 0 { 0 } else { state.log.bytes_since(matched) };
            (answers, Behind { entries, bytes })
        };
        let members = config.membership().nodes().map(|(node_id, member)| {
            let (answers, behind) = seen(*node_id);
            let voter = voters.contains(node_id);
            (*node_id, Seen { member: member.clone(), voter, answers, behind })
        });
        Self {
            members: members.collect(),
            log_id: *config.log_id(),
            joint: config.membership().get_joint_config().len() > 1,
            uncommitted: config.log_id() != metrics.committed_membership_config.log_id(),
        }
    }

    /// Who votes.
    pub(crate) fn voters(&self) -> BTreeSet<u64> {
        self.members.iter().filter(|(_, seen)| seen.voter).map(|(node_id, _)| *node_id).collect()
    }

    /// As others see it.
    pub(crate) fn listed(&self) -> Vec<ListedMember> {
        let listed = self.members.iter().map(|(node_id, seen)| ListedMember {
            node_id: *node_id,
            member: seen.member.clone(),
            voter: seen.voter,
        });
        listed.collect()
    }
}
