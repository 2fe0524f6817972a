//! Whether a cluster may be recovered from a survivor, and at what price. Pure: looks at nothing but what the survivors
//! say of themselves.

use std::collections::BTreeSet;

use super::inspect::{Inspection, LogPoint};

/// Leave to recover, given for one node at one place in its log. Made by [`judge`] only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Which cluster.
    pub cluster_id: String,
    /// The node that goes on, as the only voter.
    pub node_id: u64,
    /// The end of its log. Changes that were acknowledged and stand after it are lost.
    pub last: LogPoint,
    /// Members that nobody inspected. They are given up: none of them may come back with its data.
    pub given_up: Vec<u64>,
    /// Inspected members that must be wiped, and join anew under new ids, with the ends of their logs.
    pub wiped: Vec<(u64, Option<LogPoint>)>,
}

impl Verdict {
    /// What an operator types to agree. Names what cannot be taken back: the cluster, the node, the place.
    pub fn phrase(&self) -> String {
        format!("recover {} from node {} at {}", self.cluster_id, self.node_id, self.last.index)
    }
}

/// Why there is no recovery, and what to do instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The inspections are not of one cluster.
    #[error(
        "node {node_id} is of cluster {found:?}, not {expected:?}: pass only inspections of the same cluster"
    )]
    OtherCluster {
        /// Whose inspection it is.
        node_id: u64,
        /// Its cluster.
        found: String,
        /// This node's.
        expected: String,
    },
    /// Of another version of this program.
    #[error(
        "the inspection of node {node_id} has format {found}: make it with the version of meridian that is used here"
    )]
    OtherFormat {
        /// Whose inspection it is.
        node_id: u64,
        /// Its format.
        found: u32,
    },
    /// One inspection too many.
    #[error("node {0} was inspected twice: pass one inspection of each survivor, and none of this node")]
    Twice(u64),
    /// There is nothing to recover.
    #[error("node {0} never belonged to a cluster: there is nothing to recover")]
    NoMembership(u64),
    /// A node of which this one knows nothing.
    #[error("node {0} is no member: pass only inspections of members")]
    Stranger(u64),
    /// It was done already, or never needed.
    #[error("node {0} is the only voter already: start it")]
    Alone(u64),
    /// The protocol still works.
    #[error(
        "no recovery is needed: {} are left, a majority of the voters {}. start them: they go on by themselves, and \
         nothing is lost",
        nodes(.alive), nodes(.voters)
    )]
    MajorityLeft {
        /// Voters that were inspected.
        alive: Vec<u64>,
        /// All voters.
        voters: Vec<u64>,
    },
    /// Another survivor holds more.
    #[error(
        "node {furthest} holds more: its log ends at index {} of term {}, that of node {node_id} {}. recover node \
         {furthest} instead, with this node's inspection as --survivor",
        .at.index, .at.term, ends(.last)
    )]
    NotFurthest {
        /// This node.
        node_id: u64,
        /// Where its log ends.
        last: Option<LogPoint>,
        /// The one to recover.
        furthest: u64,
        /// Where that one's log ends.
        at: LogPoint,
    },
}

fn nodes(ids: &[u64]) -> String {
    let ids: Vec<String> = ids.iter().map(u64::to_string).collect();
    ids.join(", ")
}

fn ends(last: &Option<LogPoint>) -> String {
    last.map_or("is empty".to_owned(), |last| format!("at index {} of term {}", last.index, last.term))
}

/// Decides whether `own` may be recovered, given all other survivors.
pub fn judge(own: &Inspection, survivors: &[Inspection]) -> Result<Verdict, Refusal> {
    let mut inspected = BTreeSet::new();
    for one in std::iter::once(own).chain(survivors) {
        let node_id = one.node_id;
        if one.format != own.format {
            return Err(Refusal::OtherFormat { node_id, found: one.format });
        }
        if one.cluster_id != own.cluster_id {
            let (found, expected) = (one.cluster_id.clone(), own.cluster_id.clone());
            return Err(Refusal::OtherCluster { node_id, found, expected });
        }
        if !inspected.insert(node_id) {
            return Err(Refusal::Twice(node_id));
        }
    }
    // The first of those that are equally far: this node, if it is among them.
    let mut furthest = own;
    for other in survivors {
        if other.last > furthest.last {
            furthest = other;
        }
    }
    let Some(last) = furthest.last.filter(|_| !furthest.members.is_empty()) else {
        return Err(Refusal::NoMembership(own.node_id));
    };
    // Only the furthest one's membership counts: the others' may be older.
    if let Some(stranger) = inspected.iter().find(|id| !furthest.members.contains_key(*id)) {
        return Err(Refusal::Stranger(*stranger));
    }
    if furthest.members.keys().eq([&own.node_id]) {
        return Err(Refusal::Alone(own.node_id));
    }
    let agree = |set: &Vec<u64>| set.iter().filter(|id| inspected.contains(*id)).count() > set.len() / 2;
    if furthest.voter_sets.iter().all(agree) {
        let voters: BTreeSet<u64> = furthest.voter_sets.iter().flatten().copied().collect();
        let alive = voters.intersection(&inspected).copied().collect();
        return Err(Refusal::MajorityLeft { alive, voters: voters.into_iter().collect() });
    }
    if furthest.node_id != own.node_id {
        let (node_id, furthest) = (own.node_id, furthest.node_id);
        return Err(Refusal::NotFurthest { node_id, last: own.last, furthest, at: last });
    }
    Ok(Verdict {
        cluster_id: own.cluster_id.clone(),
        node_id: own.node_id,
        last,
        given_up: own.members.keys().filter(|id| !inspected.contains(*id)).copied().collect(),
        wiped: survivors.iter().map(|survivor| (survivor.node_id, survivor.last)).collect(),
    })
}

#[cfg(test)]
#[path = "judge_test.rs"]
mod tests;
