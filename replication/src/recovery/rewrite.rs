//! Makes a stopped node the only voter of what goes on.
//!
//! Three steps, each durable before the next; an interrupted recovery is repeated. From the second step on there is no other
//! way: the members that are given up do not know this node any more.
//!
//! 1. The vote: a term above all that this node has seen, for itself.
//! 2. The incarnation: the members that are given up know this node by the old one. Should some of them still run, no
//!    call of theirs is let in here, and none of this node's there, so they cannot take it back.
//! 3. The log: a membership of this node alone, in that term, and a note for the journal. When the node starts it elects
//!    itself and commits all of its log with them; applying the membership retires the ids of everybody else.

use std::collections::{BTreeMap, BTreeSet};

use meridian_model::{Command, Mutation, wire};
use openraft::storage::{IOFlushed, RaftLogStorage as _};
use openraft::type_config::TypeConfigExt as _;

use super::inspect::{LogPoint, Stopped};
use super::judge::Verdict;
use super::{Error, wait};
use crate::member::now_ms;
use crate::storage::log::LogStore;
use crate::types::{EncodedCommand, Entry, EntryPayload, LeaderId, LogId, Membership, TypeConfig, Vote};

/// Who the journal says did it.
const ACTOR: &str = "recover";

/// A recovery that was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recovered {
    /// The only voter.
    pub node_id: u64,
    /// Where its membership stands in the log.
    pub at: LogPoint,
}

impl Stopped {
    /// Recovers from this node. On return everything is on disk, and the node may be started.
    ///
    /// # Errors
    /// If the verdict is of other data than this, or the disk fails: then repeat it.
    pub fn recover(mut self, verdict: &Verdict) -> Result<Recovered, Error> {
        let node_id = self.disk.data_dir.node_id();
        let Some(last) = self.last.filter(|last| {
            let about = (verdict.cluster_id.as_str(), verdict.node_id, verdict.last);
            about == (self.disk.data_dir.cluster_id(), node_id, LogPoint::of(*last))
        }) else {
            return Err(Error("the verdict is of another node: inspect the survivors again".to_owned()));
        };
        let term = self.vote.map_or(0, |vote| vote.leader_id.term).max(last.leader_id.term) + 1;
        let own = self.membership.membership().get_node(&node_id).cloned();
        let own = own.ok_or_else(|| Error(format!("node {node_id} is no member of its own cluster")))?;

        wait(async {
            let log = &mut self.disk.log;
            vote(log, node_id, term).await?;
            let incarnation = self.disk.data_dir.renew_incarnation()?;
            let alone = crate::Member { incarnation, wants_vote: false, ..own };
            let membership = sole_voter(node_id, alone)?;
            // It is all that is left to serve; on one that is not drained, also not by the end of its log, this does nothing.
            let undrain = Mutation::Drain { nodes: vec![node_id], undrain: true };
            let commands = [Mutation::Note { text: note(verdict) }, undrain];
            let payloads = std::iter::once(EntryPayload::Membership(membership))
                .chain(commands.into_iter().map(|mutation| command(ACTOR, mutation)));
            let at = append(log, last.index, node_id, term, payloads).await?;
            Ok(Recovered { node_id, at })
        })
    }
}

fn note(verdict: &Verdict) -> String {
    let Verdict { node_id, last, given_up, .. } = verdict;
    format!(
        "recovered from node {node_id} alone, at index {} of term {}; given up: {given_up:?}. what was acknowledged \
         after that may be lost",
        last.index, last.term
    )
}

/// Saves a vote for this node itself, durably.
pub(super) async fn vote(log: &mut LogStore, node_id: u64, term: u64) -> Result<(), Error> {
    let vote = Vote { leader_id: LeaderId { term, node_id }, committed: false };
    log.save_vote(&vote).await.map_err(Error::log("write the vote to"))
}

pub(super) fn sole_voter(node_id: u64, member: crate::Member) -> Result<Membership, Error> {
    Membership::new(vec![BTreeSet::from([node_id])], BTreeMap::from([(node_id, member)]))
        .map_err(|error| Error(format!("a membership of node {node_id} alone is impossible: {error}")))
}

pub(super) fn command(actor: &str, mutation: Mutation) -> EntryPayload {
    let command = Command { request_id: None, actor: actor.to_owned(), time_ms: now_ms(), mutation };
    EntryPayload::Normal(EncodedCommand(wire::encode_command(&command)))
}

/// Appends what a leader of this term would have, durably; answers where the first of it stands.
pub(super) async fn append(
    log: &mut LogStore,
    after: u64,
    node_id: u64,
    term: u64,
    payloads: impl Iterator<Item = EntryPayload>,
) -> Result<LogPoint, Error> {
    let leader_id = LeaderId { term, node_id };
    let entries: Vec<Entry> = (after + 1..)
        .zip(payloads)
        .map(|(index, payload)| Entry { log_id: LogId { leader_id, index }, payload })
        .collect();
    let (sender, durable) = TypeConfig::oneshot();
    log.append(entries, IOFlushed::signal(sender)).await.map_err(Error::log("append to"))?;
    let written = durable.await.map_err(std::io::Error::other);
    written.and_then(|written| written).map_err(Error::log("append to"))?;
    Ok(LogPoint { term, leader: node_id, index: after + 1 })
}
