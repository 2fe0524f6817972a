//! Who leads: handing leadership to a node that was chosen, and saying how firmly this one leads.
//!
//! openraft's transfer is fire and forget, and a leader that has begun one leads no more, whether or not the other takes
//! over: it writes nothing, and sends no heartbeats, until somebody is elected. So only a voter that has the log, and
//! answers a question right before, is asked; and what the metrics say afterwards counts.

use std::time::{Duration, Instant};

use meridian_model::fleet::{Fleet, NodeId};
use meridian_proto::raft as proto;
use openraft::async_runtime::watch::WatchReceiver as _;
use openraft::{Instant as _, RaftMetrics};

use crate::error::Leader;
use crate::handle::Handle;
use crate::member::MemberState;
use crate::membership::roster::Roster;
use crate::placement;
use crate::types::TypeConfig;

/// For handing leadership over when stopping; an election would take about as long.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(1);

/// For the answer of the one that is to lead.
const PROBE_TIMEOUT: Duration = Duration::from_millis(500);

/// Why leadership did not move.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TransferError {
    /// Ask there.
    #[error("this node does not lead")]
    NotLeader {
        /// Who does, where known.
        leader: Option<Leader>,
    },
    /// The node cannot lead, and why.
    #[error("{0}")]
    Refused(String),
    /// Nobody else took over in time.
    #[error("nobody took over in time: this node may lead still")]
    TimedOut,
}

impl Handle {
    /// Lets another voter lead, the named one or the one that the placement prefers among the others, and waits until
    /// one does. Answers who leads then: rarely somebody else than was asked for. Refuses a node that could not lead, and
    /// then nothing has changed. Naming the leader itself changes nothing.
    pub async fn transfer_leader(&self, to: Option<u64>, timeout: Duration) -> Result<u64, TransferError> {
        let state = &self.state;
        if !state.leads() {
            return Err(TransferError::NotLeader { leader: state.other_leader() });
        }
        let mine = state.home.node_id;
        if to == Some(mine) {
            return Ok(mine);
        }
        let roster = Roster::of(state);
        let view = state.catalog.view();
        let fleet = view.directory.fleet();
        let to = match to {
            Some(to) => match unfit(to, &roster, fleet) {
                Some(why) => return Err(TransferError::Refused(why)),
                None => to,
            },
            None => placement::successors(mine, &roster, fleet).next().ok_or_else(|| {
                TransferError::Refused(
                    "no other voter answers, has the log and is in service: see the cluster's status"
                        .to_owned(),
                )
            })?,
        };
        hand_to(state, to, timeout).await
    }
}

/// Why a node cannot lead now, with the way out.
fn unfit(node: NodeId, roster: &Roster, fleet: &Fleet) -> Option<String> {
    let Some(seen) = roster.members.get(&node) else {
        let members: Vec<String> = roster.members.keys().map(u64::to_string).collect();
        return Some(format!("node {node} is no member: members are {}", members.join(", ")));
    };
    if !seen.voter {
        Some(format!("node {node} is a learner: promote it first"))
    } else if fleet.drained_since_ms(node).is_some() {
        Some(format!("node {node} is drained: put it back into service first"))
    } else if !seen.answers {
        Some(format!("node {node} does not answer"))
    } else if !seen.behind.caught_up() {
        Some(format!("node {node} is {}: wait until it has caught up", seen.behind))
    } else {
        None
    }
}

/// Hands leadership to a voter that was found fit, and waits until another node leads. Asks it first whether it is there:
/// what the leader saw last may be two seconds old.
pub(crate) async fn hand_to(
    state: &MemberState,
    to: NodeId,
    timeout: Duration,
) -> Result<NodeId, TransferError> {
    let mine = state.home.node_id;
    let deadline = Instant::now() + timeout;
    follows(state, to).await.map_err(TransferError::Refused)?;
    if let Err(error) = state.raft.trigger().transfer_leader(to).await {
        tracing::warn!(%error, "leadership not handed over");
        return Err(TransferError::TimedOut);
    }
    let wait = state.raft.wait(Some(deadline.saturating_duration_since(Instant::now())));
    let led_by_other = wait.metrics(
        |metrics| metrics.current_leader.is_some_and(|leader| leader != mine),
        "leadership handed over",
    );
    // openraft's error holds all of its metrics.
    let metrics = led_by_other.await.map_err(|_| TransferError::TimedOut)?;
    let leader = metrics.current_leader.ok_or(TransferError::TimedOut)?;
    tracing::info!(to, leader, "leadership handed over");
    Ok(leader)
}

/// Whether a voter answers and follows this leader: one that has not heard of it yet would not take over from it.
async fn follows(state: &MemberState, to: NodeId) -> Result<(), String> {
    let (term, member) = {
        let metrics = state.raft.metrics();
        let metrics = metrics.borrow_watched();
        (metrics.current_term, metrics.membership_config.membership().get_node(&to).cloned())
    };
    let member = member.ok_or_else(|| format!("node {to} is no member any more"))?;
    let mut client = state.peers.control(to, &member);
    match tokio::time::timeout(PROBE_TIMEOUT, client.status(proto::StatusRequest {})).await {
        Err(_) => Err(format!("node {to} does not answer")),
        Ok(Err(status)) => Err(format!("node {to} does not answer: {}", status.message())),
        Ok(Ok(answer)) => {
            let answer = answer.into_inner();
            match (answer.leader, answer.term) == (state.home.node_id, term) {
                true => Ok(()),
                false => Err(format!("node {to} does not follow this leader yet: ask again")),
            }
        }
    }
}

/// Lets another voter lead if this node does, because it is about to stop: the one that the placement prefers, or, where
/// none is fit, the one with the longest log. Bounded by [`LEAVE_TIMEOUT`]; the log tells whether it worked.
pub(crate) async fn leave(state: &MemberState) {
    if !state.leads() {
        return;
    }
    let mine = state.home.node_id;
    let roster = Roster::of(state);
    let view = state.catalog.view();
    let others = roster.members.iter().filter(|(node, seen)| **node != mine && seen.voter);
    let longest = others.min_by_key(|(_, seen)| seen.behind.entries).map(|(node, _)| *node);
    let deadline = Instant::now() + LEAVE_TIMEOUT;
    for to in placement::successors(mine, &roster, view.directory.fleet()).chain(longest) {
        match hand_to(state, to, deadline.saturating_duration_since(Instant::now())).await {
            Ok(_) => return,
            // Another one may be there.
            Err(TransferError::Refused(_)) if Instant::now() < deadline => {}
            Err(error) => return tracing::warn!(to, %error, "leadership not handed over"),
        }
    }
}

/// Of a leader: how long ago it sent what a majority has answered since.
pub(crate) fn quorum_age(metrics: &RaftMetrics<TypeConfig>) -> Option<Duration> {
    if !metrics.state.is_leader() {
        return None;
    }
    let mut voters = metrics.membership_config.voter_ids();
    if voters.next() == Some(metrics.id) && voters.next().is_none() {
        return Some(Duration::ZERO);
    }
    metrics.last_quorum_acked.map(|acked| acked.elapsed())
}

/// Of a leader: how long each other node has not answered it; `None` for one that never has since it leads. Empty on any
/// other node.
pub(crate) fn silences(state: &MemberState) -> Vec<(NodeId, Option<Duration>)> {
    let metrics = state.raft.metrics();
    let metrics = metrics.borrow_watched();
    let answers = metrics.heartbeat.iter().flatten();
    answers.map(|(node, answered)| (*node, answered.map(|at| at.elapsed()))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::membership::roster::Behind;
    use crate::placement::testing::{fleet, roster, voter};

    #[test]
    fn a_node_that_cannot_lead_is_refused_with_the_reason() {
        let mut roster = roster([
            voter(1, "a"),
            voter(2, "b"),
            voter(3, "c"),
            voter(4, "d"),
            voter(5, "e"),
            voter(6, "f"),
        ]);
        let mut alter = |node: u64, change: fn(&mut crate::membership::roster::Seen)| {
            roster.members.entry(node).and_modify(change);
        };
        alter(3, |seen| seen.voter = false);
        alter(4, |seen| seen.answers = false);
        alter(5, |seen| seen.behind = Behind { entries: 5_000, bytes: 12 << 20 });
        let fleet = fleet(&[], &[6]);
        let cases = [
            (2, None),
            (3, Some("learner: promote it")),
            (4, Some("does not answer")),
            (5, Some("5000 entries")),
            (6, Some("is drained")),
            (7, Some("no member: members are 1, 2, 3, 4, 5, 6")),
        ];
        for (node, expected) in cases {
            let why = unfit(node, &roster, &fleet);
            match expected {
                None => assert_eq!(why, None, "node {node}"),
                Some(text) => {
                    assert!(why.as_ref().is_some_and(|why| why.contains(text)), "node {node}: {why:?}")
                }
            }
        }
    }
}
