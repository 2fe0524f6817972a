//! How a cluster comes to be, once: the founders find each other, and the one with the lowest id writes the first
//! membership.
//!
//! It needs an answer from every founder, because the membership records each one's incarnation: a founder that
//! later comes back with an empty disk is told from the one that gave its vote.
//!
//! A node that is called a founder and finds a cluster without it came too late: it joins, as any other.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use meridian_proto::raft as proto;
use openraft::errors::{InitializeError, RaftError};

use crate::error::Fatal;
use crate::member::MemberState;
use crate::membership::Member;
use crate::network::peer::member_of;
use crate::options::Founder;

/// Between two rounds of questions. Operators start nodes by hand: faster would only fill the log.
const ROUND_INTERVAL: Duration = Duration::from_millis(200);

/// For one founder's answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);

/// Runs until this node has a membership, by its own founding act or the leader's first contact, or until it finds that
/// the cluster was founded without it. Rings the alarm when it turns out that this node lost its disk, or was removed.
pub(crate) async fn run(state: Arc<MemberState>, founders: BTreeMap<u64, Founder>) {
    let others = founders.keys().filter(|id| **id != state.home.node_id);
    state.set_waiting_for(others.map(|id| format!("node {id}, not asked yet")).collect());
    let mut told = Vec::new();
    while !state.has_membership() {
        let answers = ask(&state, &founders).await;
        if let Some(wiped) = wiped(&state, &answers) {
            return state.alarm.ring(Fatal::Wiped(wiped));
        }
        let removed_at = answers.values().flatten().map(|answer| answer.caller_removed_at_ms);
        if let Some(at_ms) = removed_at.max().filter(|at_ms| *at_ms > 0) {
            return state.alarm.ring(Fatal::Removed { node_id: state.home.node_id, at_ms });
        }
        if founded_without(state.home.node_id, &answers) {
            return tracing::info!("the cluster exists without this node, which joins it");
        }
        let missing =
            answers.iter().filter_map(|(id, answer)| Some(format!("node {id}: {}", answer.as_ref().err()?)));
        let missing: Vec<String> = missing.collect();
        if !missing.is_empty() && missing != told {
            tracing::info!("waiting for the other founders: {}", missing.join("; "));
            told.clone_from(&missing);
        }
        state.set_waiting_for(missing);
        if let Some(members) = complete(&state, &founders, &answers) {
            found(&state, members).await;
        }
        tokio::time::sleep(ROUND_INTERVAL).await;
    }
}

type Answers = BTreeMap<u64, Result<proto::IdentifyResponse, String>>;

async fn ask(state: &MemberState, founders: &BTreeMap<u64, Founder>) -> Answers {
    let others = founders.iter().filter(|(id, _)| **id != state.home.node_id);
    let questions = others.map(|(id, founder)| async move {
        let mut client = state.peers.stranger(Some(*id), &founder.peer_address);
        let asked = client.identify(proto::IdentifyRequest {});
        let answer = match tokio::time::timeout(ANSWER_TIMEOUT, asked).await {
            Ok(Ok(answer)) => Ok(answer.into_inner()),
            Ok(Err(status)) => Err(format!("{} at {}", status.message(), founder.peer_address)),
            Err(_) => Err(format!("no answer at {}", founder.peer_address)),
        };
        (*id, answer)
    });
    join_all(questions).await.into_iter().collect()
}

/// Whether the cluster knows this node id with another disk.
fn wiped(state: &MemberState, answers: &Answers) -> Option<String> {
    let home = &state.home;
    let known = answers.values().flatten().find_map(|answer| member_of(answer, home.node_id))?;
    (known.incarnation != home.incarnation.as_slice()).then(|| {
        format!(
            "the cluster knows node {} with another data directory: its disk was wiped or replaced. a node that lost \
             its disk must not vote again under its old id: remove it from the cluster, then start it with a new id",
            home.node_id
        )
    })
}

/// Whether somebody is in a cluster that this node is not in.
fn founded_without(mine: u64, answers: &Answers) -> bool {
    answers.values().flatten().any(|answer| answer.initialized && member_of(answer, mine).is_none())
}

/// The first membership, if it is this node's to write: every founder answered, none belongs to a cluster, and no
/// founder has a lower id.
fn complete(
    state: &MemberState,
    founders: &BTreeMap<u64, Founder>,
    answers: &Answers,
) -> Option<BTreeMap<u64, Member>> {
    let mine = state.home.node_id;
    if founders.keys().next() != Some(&mine) {
        return None;
    }
    let mut members = BTreeMap::new();
    for (id, founder) in founders {
        let incarnation = match answers.get(id) {
            Some(Ok(answer)) if !answer.initialized => answer.incarnation.as_ref().try_into().ok()?,
            None if *id == mine => state.home.incarnation,
            _ => return None,
        };
        members.insert(*id, Member::founding(founder, incarnation));
    }
    Some(members)
}

async fn found(state: &Arc<MemberState>, members: BTreeMap<u64, Member>) {
    if let Err(error) = state.mark_initialized() {
        return state.alarm.ring(Fatal::Storage(error.to_string()));
    }
    let voters: Vec<u64> = members.keys().copied().collect();
    match state.raft.initialize(members).await {
        Ok(()) => tracing::info!(?voters, "the cluster is founded"),
        // The leader of a cluster founded meanwhile was faster.
        Err(RaftError::APIError(InitializeError::NotAllowed(_))) => {}
        Err(error) => tracing::error!(%error, "cannot found the cluster"),
    }
}
