//! Carries changes of the members out, on the leader.
//!
//! One at a time: whoever changes something holds the [`Turn`], and decides on the roster that came with it. openraft
//! is told which membership that was, and refuses if there is another one by then. What has begun goes on when the one
//! who asked is gone: openraft changes voters in two entries, and between the two both sets must agree on everything.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use meridian_model::{Command, Mutation, wire};
use openraft::ChangeMembers;
use openraft::async_runtime::watch::WatchReceiver as _;
use openraft::errors::{ChangeMembershipError, ClientWriteError, RaftError};
use openraft::raft::Precondition;
use tokio::sync::OwnedMutexGuard;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::change::{ChangeError, ListedMember, MembersChanged, MembershipChange};
use super::roster::Roster;
use super::rules::{self, Broken, Goal};
use super::{Member, admission};
use crate::leadership;
use crate::member::{MemberState, now_ms};
use crate::types::{EncodedCommand, TypeConfig};

/// How often it is looked whether the membership has settled: about a round trip.
const SETTLE_INTERVAL: Duration = Duration::from_millis(20);

/// For another voter to take over from a leader that loses its vote. An election takes about as long.
const HANDOVER_TIMEOUT: Duration = Duration::from_secs(2);

/// For the entry in the journal. The change counts without it.
const NOTE_TIMEOUT: Duration = Duration::from_secs(2);

/// A change, and who wants it how.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) change: MembershipChange,
    /// Although rules speak against it.
    pub(crate) force: bool,
    /// Only say what it would do.
    pub(crate) validate_only: bool,
    /// For the journal.
    pub(crate) actor: String,
}

type Changes = ChangeMembers<u64, Member>;

/// The right to change the members, with what they are.
pub(super) struct Turn {
    pub(super) roster: Roster,
    guard: OwnedMutexGuard<()>,
}

/// What openraft is to write, and what the journal says about it.
pub(super) struct Step {
    pub(super) changes: Vec<Changes>,
    /// Voters that lose their vote stay as learners.
    pub(super) retain: bool,
    pub(super) actor: String,
    pub(super) note: String,
}

/// See [`Handle::change_members`](crate::Handle::change_members).
pub(crate) async fn change(
    state: &Arc<MemberState>,
    asked: Asked,
    within: Duration,
) -> Result<MembersChanged, ChangeError> {
    let deadline = Instant::now() + within;
    let Asked { change, force, validate_only, actor } = asked;
    if let MembershipChange::Add { peer_address } = &change {
        return admission::add(state, peer_address, validate_only, actor, deadline).await;
    }
    let turn = begin(state, deadline).await?;
    let retired = |node| state.retired_at_ms(node).is_some();
    let goal = rules::goal(&turn.roster, retired, &change).map_err(refused)?;
    let overridden = allowed(rules::broken(&turn.roster, &goal), force)?;
    let changes = changes(&turn.roster, &goal);
    if changes.is_empty() || validate_only {
        return Ok(MembersChanged { members: preview(&turn.roster, &goal), overridden });
    }
    let mine = state.home.node_id;
    if turn.roster.voters().contains(&mine)
        && !goal.voters.contains(&mine)
        && let Some(successor) = successor(&turn.roster, &goal)
    {
        return Err(give_way(state, successor, deadline).await);
    }
    let note = note(&change, &overridden);
    let step = Step { changes, retain: goal.leaving.is_empty(), actor, note };
    write(state, turn, step, deadline).await?;
    Ok(MembersChanged { members: Roster::of(state).listed(), overridden })
}

fn refused(broken: Vec<Broken>) -> ChangeError {
    ChangeError::Refused(broken.iter().map(Broken::to_string).collect())
}

/// The rules that `force` overrides, or why it is refused.
fn allowed(broken: Vec<Broken>, force: bool) -> Result<Vec<String>, ChangeError> {
    if broken.iter().all(|rule| force && rule.can_be_forced()) {
        return Ok(broken.iter().map(Broken::to_string).collect());
    }
    let say = |rule: &Broken| match rule.can_be_forced() && !force {
        true => format!("{rule} (can be forced)"),
        false => rule.to_string(),
    };
    Err(ChangeError::Refused(broken.iter().map(say).collect()))
}

/// What openraft is to do for this goal; nothing if it is reached.
fn changes(roster: &Roster, goal: &Goal) -> Vec<Changes> {
    let voters = roster.voters();
    let mut changes = Vec::new();
    // Also of those that leave: should the change break off between its two entries, they are learners for a while.
    let eager = roster.members.iter().filter(|(node, seen)| {
        seen.member.wants_vote
            && (goal.content.contains(node) || voters.contains(node) && goal.leaving.contains(node))
    });
    let content: BTreeMap<u64, Member> =
        eager.map(|(node, seen)| (*node, Member { wants_vote: false, ..seen.member.clone() })).collect();
    if !content.is_empty() {
        changes.push(ChangeMembers::SetNodes(content));
    }
    let learners: BTreeSet<u64> = goal.leaving.difference(&voters).copied().collect();
    if !learners.is_empty() {
        changes.push(ChangeMembers::RemoveNodes(learners));
    }
    if goal.voters != voters {
        changes.push(ChangeMembers::ReplaceAllVoters(goal.voters.clone()));
    }
    changes
}

fn preview(roster: &Roster, goal: &Goal) -> Vec<ListedMember> {
    let staying = roster.listed().into_iter().filter(|listed| !goal.leaving.contains(&listed.node_id));
    let after = staying.map(|mut listed| {
        listed.voter = goal.voters.contains(&listed.node_id);
        listed.member.wants_vote &= !goal.content.contains(&listed.node_id);
        listed
    });
    after.collect()
}

fn note(change: &MembershipChange, overridden: &[String]) -> String {
    let list = |nodes: &[u64]| nodes.iter().map(u64::to_string).collect::<Vec<_>>().join(", ");
    let what = match change {
        MembershipChange::Add { peer_address } => format!("added the node at {peer_address}"),
        MembershipChange::Promote(nodes) => format!("promoted {}", list(nodes)),
        MembershipChange::Demote(nodes) => format!("demoted {}", list(nodes)),
        MembershipChange::Remove(nodes) => format!("removed {}", list(nodes)),
        MembershipChange::Replace { old, new } => format!("replaced {old} by {new}"),
    };
    match overridden {
        [] => format!("members: {what}"),
        rules => format!("members: {what} (forced: {})", rules.join("; ")),
    }
}

/// Who takes over from a leader that loses its vote: of those that keep theirs and answer, the one with the longest log.
fn successor(roster: &Roster, goal: &Goal) -> Option<u64> {
    let staying = goal.voters.iter().filter_map(|node| Some((*node, roster.members.get(node)?)));
    let staying = staying.filter(|(_, seen)| seen.voter && seen.answers);
    staying.min_by_key(|(_, seen)| seen.behind.entries).map(|(node, _)| node)
}

/// Lets another voter lead, and answers where to ask again.
async fn give_way(state: &MemberState, successor: u64, deadline: Instant) -> ChangeError {
    let within = HANDOVER_TIMEOUT.min(deadline.saturating_duration_since(Instant::now()));
    match leadership::hand_to(state, successor, within).await {
        Ok(_) => not_leader(state),
        Err(error) => ChangeError::Refused(vec![format!(
            "node {} leads and has to hand over to node {successor} first, but {error}: ask again",
            state.home.node_id
        )]),
    }
}

/// Takes the turn, once nothing is under way any more: not here, not from an earlier leader.
pub(super) async fn begin(state: &Arc<MemberState>, deadline: Instant) -> Result<Turn, ChangeError> {
    if state.is_stopping() {
        return Err(ChangeError::Stopping);
    }
    if !state.leads() {
        return Err(not_leader(state));
    }
    let guard = timeout_at(deadline, state.changing.clone().lock_owned()).await;
    let guard = guard.map_err(|_| ChangeError::Busy)?;
    let roster = settled(state, deadline).await?;
    let turn = Turn { roster, guard };
    if !turn.roster.joint {
        return Ok(turn);
    }
    let guard = write(state, turn, finishing(), deadline).await?;
    Ok(Turn { roster: settled(state, deadline).await?, guard })
}

/// The second entry of a change whose leader was lost after the first. Who was to lose its vote becomes a learner, also
/// if it was to leave: the one who asked does not know the outcome, and asks again.
fn finishing() -> Step {
    Step {
        changes: vec![ChangeMembers::AddVoterIds(BTreeSet::new())],
        retain: true,
        actor: CLUSTER.to_owned(),
        note: "members: finished a change whose leader was lost".to_owned(),
    }
}

/// Who acts when nobody asked.
pub(crate) const CLUSTER: &str = "cluster";

/// The roster, once its membership is committed and this leader has applied everything from before its time: it knows
/// then who left for good.
async fn settled(state: &MemberState, deadline: Instant) -> Result<Roster, ChangeError> {
    loop {
        if !state.leads() {
            return Err(not_leader(state));
        }
        let roster = Roster::of(state);
        if !roster.uncommitted && applied_own_term(state) {
            return Ok(roster);
        }
        if Instant::now() + SETTLE_INTERVAL > deadline {
            return Err(ChangeError::Busy);
        }
        sleep(SETTLE_INTERVAL).await;
    }
}

fn applied_own_term(state: &MemberState) -> bool {
    let metrics = state.raft.metrics();
    let metrics = metrics.borrow_watched();
    metrics.last_applied.is_some_and(|applied| applied.leader_id.term == metrics.current_term)
}

/// Writes a step and its note. Gives the turn back; it stays taken while a step goes on whose caller gave up.
pub(super) async fn write(
    state: &Arc<MemberState>,
    turn: Turn,
    step: Step,
    deadline: Instant,
) -> Result<OwnedMutexGuard<()>, ChangeError> {
    let state = state.clone();
    let written = tokio::spawn(async move {
        let Turn { roster, guard } = turn;
        let Step { changes, retain, actor, note } = step;
        let unchanged = Precondition::LastMembershipLogId { last_membership_log_id: roster.log_id };
        let changes = ChangeMembers::Batch(changes);
        match state.raft.change_membership_if(changes, retain, [unchanged]).await {
            Ok(_) => tracing::info!(actor, "{note}"),
            Err(error) => return Err(failed(&state, &roster, error)),
        }
        write_note(&state, actor, note).await;
        Ok(guard)
    });
    match timeout_at(deadline, written).await {
        Ok(Ok(written)) => written,
        // Still under way, or ended with the runtime.
        Ok(Err(_)) | Err(_) => Err(ChangeError::Unknown),
    }
}

fn failed(
    state: &MemberState,
    roster: &Roster,
    error: RaftError<TypeConfig, ClientWriteError<TypeConfig>>,
) -> ChangeError {
    tracing::warn!(%error, "the members did not change, or not to the end");
    // Whatever the error is about: an entry was written, so it may live on.
    if Roster::of(state).log_id != roster.log_id {
        return ChangeError::Unknown;
    }
    match error {
        RaftError::APIError(ClientWriteError::ForwardToLeader(_)) => not_leader(state),
        RaftError::APIError(ClientWriteError::LogEntryDiscarded(_)) | RaftError::Fatal(_) => {
            ChangeError::Unknown
        }
        RaftError::APIError(ClientWriteError::PreconditionFailed(_)) => ChangeError::Busy,
        RaftError::APIError(ClientWriteError::ChangeMembershipError(error)) => match error {
            ChangeMembershipError::InProgress(_) | ChangeMembershipError::UncommittedLeaderLog(_) => {
                ChangeError::Busy
            }
            other => ChangeError::Refused(vec![other.to_string()]),
        },
    }
}

/// Adds to the cluster's journal. One that fails is told in this node's log only.
pub(crate) async fn write_note(state: &MemberState, actor: String, text: String) {
    let command = Command { request_id: None, actor, time_ms: now_ms(), mutation: Mutation::Note { text } };
    let written = state.raft.client_write(EncodedCommand(wire::encode_command(&command)));
    match timeout(NOTE_TIMEOUT, written).await {
        Ok(Ok(_)) => {}
        Ok(Err(error)) => tracing::warn!(%error, "a change of the members is not in the journal"),
        Err(_) => tracing::warn!("a change of the members may not be in the journal"),
    }
}

pub(super) fn not_leader(state: &MemberState) -> ChangeError {
    ChangeError::NotLeader { leader: state.other_leader() }
}

#[cfg(test)]
mod tests;
