//! Which changes of the members are allowed. Decided from what the leader sees, and nothing else.
//!
//! A change becomes a [`Goal`]; [`broken`] says which rules speak against that. The rules about voters are asked only
//! when the voters change. `force` overrides those that an operator may know better about
//! ([`Broken::can_be_forced`]); the others protect from what nobody can want.

use std::collections::{BTreeMap, BTreeSet};

use super::change::MembershipChange;
use super::roster::{Behind, Roster};

/// Where a change leads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Goal {
    /// Who votes then.
    pub(crate) voters: BTreeSet<u64>,
    /// Who is no member then.
    pub(crate) leaving: BTreeSet<u64>,
    /// Learners that are not to be promoted by themselves.
    pub(crate) content: BTreeSet<u64>,
}

/// A rule that a change breaks, with the way out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Broken {
    #[error("node {node} is no member: members are {}", list(.members))]
    UnknownNode { node: u64, members: Vec<u64> },
    #[error("nobody would have a vote: promote another node first")]
    NoVoters,
    #[error("node {node} has no vote that node {new} could get: promote {new}, and remove {node}")]
    NoVoteToGive { node: u64, new: u64 },
    #[error("node {node} cannot take its own place: name the learner that gets its vote")]
    OwnPlace { node: u64 },
    #[error("node {node} does not answer: it must before it gets a vote")]
    Silent { node: u64 },
    #[error("node {node} is {behind}: wait until it has caught up")]
    Lagging { node: u64, behind: Behind },
    #[error(
        "region {region} would have {votes} of {voters} votes, a majority: nobody could publish without it; give \
         votes to other regions first"
    )]
    RegionMajority { region: String, votes: usize, voters: usize },
    #[error("{voters} voters bear no more losses than {}: change one more or one less", voters - 1)]
    EvenCount { voters: usize },
    #[error(
        "{answering} of {voters} voters would answer now, a majority is needed: nobody could publish until {} \
         answer{}",
        list(.silent), if .silent.len() == 1 { "s" } else { "" }
    )]
    NoQuorum { answering: usize, voters: usize, silent: Vec<u64> },
}

impl Broken {
    /// Whether `force` overrides it.
    pub(crate) fn can_be_forced(&self) -> bool {
        match self {
            Self::RegionMajority { .. } | Self::EvenCount { .. } | Self::NoQuorum { .. } => true,
            Self::UnknownNode { .. }
            | Self::NoVoters
            | Self::NoVoteToGive { .. }
            | Self::OwnPlace { .. }
            | Self::Silent { .. }
            | Self::Lagging { .. } => false,
        }
    }
}

fn list(nodes: &[u64]) -> String {
    nodes.iter().map(u64::to_string).collect::<Vec<_>>().join(", ")
}

/// Where a change of known members leads. `retired` says who left for good: removing them again changes nothing.
/// Adding has no goal of this kind; it breaks no rule about voters.
pub(crate) fn goal(
    roster: &Roster,
    retired: impl Fn(u64) -> bool,
    change: &MembershipChange,
) -> Result<Goal, Vec<Broken>> {
    let mut goal = Goal { voters: roster.voters(), ..Goal::default() };
    let known = |node: u64| roster.members.contains_key(&node);
    let unknown = |node: u64| {
        let members = roster.members.keys().copied().collect();
        Broken::UnknownNode { node, members }
    };
    let strangers = |nodes: &[u64]| -> Vec<Broken> {
        nodes.iter().filter(|node| !known(**node)).map(|node| unknown(*node)).collect()
    };
    let mut problems = Vec::new();
    match change {
        MembershipChange::Add { .. } => {}
        MembershipChange::Promote(nodes) => {
            problems = strangers(nodes);
            goal.voters.extend(nodes);
        }
        MembershipChange::Demote(nodes) => {
            problems = strangers(nodes);
            goal.voters.retain(|node| !nodes.contains(node));
            goal.content.extend(nodes);
        }
        MembershipChange::Remove(nodes) => {
            problems = strangers(nodes);
            problems.retain(|problem| !matches!(problem, Broken::UnknownNode { node, .. } if retired(*node)));
            goal.voters.retain(|node| !nodes.contains(node));
            goal.leaving = nodes.iter().copied().filter(|node| known(*node)).collect();
        }
        MembershipChange::Replace { old, new } => {
            let done = !known(*old) && retired(*old) && goal.voters.contains(new);
            if old == new {
                problems.push(Broken::OwnPlace { node: *old });
            } else if !done {
                problems = strangers(&[*old, *new]);
                if problems.is_empty() && !goal.voters.contains(old) {
                    problems.push(Broken::NoVoteToGive { node: *old, new: *new });
                }
                goal.voters.remove(old);
                goal.voters.insert(*new);
                goal.leaving.insert(*old);
            }
        }
    }
    if problems.is_empty() { Ok(goal) } else { Err(problems) }
}

/// Every rule that speaks against a goal.
pub(crate) fn broken(roster: &Roster, goal: &Goal) -> Vec<Broken> {
    let before = roster.voters();
    let mut broken = Vec::new();
    if goal.voters == before {
        return broken;
    }
    if goal.voters.is_empty() {
        return vec![Broken::NoVoters];
    }
    for node in goal.voters.difference(&before) {
        match roster.members.get(node) {
            Some(seen) if !seen.answers => broken.push(Broken::Silent { node: *node }),
            Some(seen) if !seen.behind.caught_up() => {
                broken.push(Broken::Lagging { node: *node, behind: seen.behind });
            }
            _ => {}
        }
    }
    broken.extend(region_majority(roster, goal));
    let voters = goal.voters.len();
    if voters.is_multiple_of(2) {
        broken.push(Broken::EvenCount { voters });
    }
    let answers = |node: &u64| roster.members.get(node).is_some_and(|seen| seen.answers);
    let (answering, silent): (Vec<u64>, Vec<u64>) = goal.voters.iter().partition(|node| answers(node));
    if answering.len() * 2 <= voters {
        broken.push(Broken::NoQuorum { answering: answering.len(), voters, silent });
    }
    broken
}

/// A region that could stop everybody by going away. Where all members stand in one region there is nothing to spread,
/// and fewer than three votes cannot be.
fn region_majority(roster: &Roster, goal: &Goal) -> Option<Broken> {
    let staying = roster.members.iter().filter(|(node, _)| !goal.leaving.contains(node));
    let regions: BTreeSet<&str> = staying.map(|(_, seen)| seen.member.region.as_str()).collect();
    let voters = goal.voters.len();
    if voters < 3 || regions.len() < 2 {
        return None;
    }
    let mut votes = BTreeMap::<&str, usize>::new();
    for seen in goal.voters.iter().filter_map(|node| roster.members.get(node)) {
        *votes.entry(&seen.member.region).or_default() += 1;
    }
    let (region, votes) = votes.into_iter().find(|(_, votes)| votes * 2 > voters)?;
    Some(Broken::RegionMajority { region: region.to_owned(), votes, voters })
}

/// Clusters for tables.
#[cfg(test)]
pub(crate) mod testing {
    use super::*;
    use crate::membership::Member;
    use crate::membership::roster::Seen;

    /// A voter for each letter of `voters` and a learner for each of `learners`, in the region of that letter, with ids
    /// from 1. All of them answer and have the log.
    pub(crate) fn roster(voters: &str, learners: &str) -> Roster {
        let letters =
            voters.chars().map(|letter| (letter, true)).chain(learners.chars().map(|letter| (letter, false)));
        let members = (1..).zip(letters).map(|(node, (letter, voter))| {
            let member = Member {
                region: letter.to_string(),
                peer_address: format!("10.0.0.{node}:7401"),
                grpc_address: format!("10.0.0.{node}:7400"),
                zone: "z".to_owned(),
                incarnation: [node as u8; 16],
                wants_vote: false,
            };
            (node, Seen { member, voter, answers: true, behind: Behind::default() })
        });
        Roster { members: members.collect(), ..Roster::default() }
    }
}

#[cfg(test)]
mod tests;
