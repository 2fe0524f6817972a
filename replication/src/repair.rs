//! Replaces voters that are lost, where the cluster agreed to that: `repair_after_ms` of its placement, off unless set.
//!
//! Only the leader acts, and only one that has a majority and has led for at least as long as the lost one must have been
//! silent, so that it speaks of what it saw itself. A learner that answers and has caught up gets the vote, in one step
//! with the lost one leaving for good; so the number of voters stays, and below [`VOTERS_MIN`] nothing is done. Which
//! learner may, the rules about members decide as they would for an operator without `force`: no region gets a majority.
//! A drained voter is in an operator's hands, and left alone.
//!
//! Every step is in the cluster's journal, by the actor [`ACTOR`], and in this node's log; what stays as it is, is told
//! once.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use meridian_model::fleet::{Fleet, NodeId};
use openraft::async_runtime::watch::WatchReceiver as _;
use tokio::time::{MissedTickBehavior, interval};

use crate::leadership;
use crate::member::MemberState;
use crate::membership::change::{ChangeError, MembersChanged, MembershipChange};
use crate::membership::execute::{self, Asked};
use crate::membership::roster::Roster;

/// In whose name it is done.
const ACTOR: &str = "self-repair";

/// With fewer voters one more loss stops all writing, and an operator must look.
const VOTERS_MIN: usize = 3;

/// How often the leader looks. Bounds for a loss are longer.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// A leader that has not looked for so long begins to count anew.
const STOOD_STILL: Duration = Duration::from_secs(5);

/// After a step, whatever came of it: what was wrong for one may be wrong for all.
const PAUSE: Duration = Duration::from_secs(15);

/// For one change of the members.
const CHANGE_TIMEOUT: Duration = Duration::from_secs(10);

/// A voter that is to be replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Loss {
    lost: NodeId,
    /// What its silence is longer than.
    bound: Duration,
    /// Learners that could vote in its place, best first.
    candidates: Vec<NodeId>,
}

/// What the leader saw.
struct Sight<'a> {
    mine: NodeId,
    roster: &'a Roster,
    fleet: &'a Fleet,
    /// For how long this node has led.
    led_for: Duration,
    /// For how long each node has not answered; those that never did, not since this node leads.
    silences: BTreeMap<NodeId, Duration>,
}

/// The voter that was lost first, if there is one to replace.
fn decide(sight: &Sight<'_>) -> Option<Loss> {
    let Sight { mine, roster, fleet, led_for, silences } = sight;
    let bound = Duration::from_millis(fleet.placement().repair_after_ms?);
    let voters = roster.members.iter().filter(|(_, seen)| seen.voter);
    let (count, answering) =
        (voters.clone().count(), voters.clone().filter(|(_, seen)| seen.answers).count());
    if *led_for < bound || count < VOTERS_MIN || answering * 2 <= count || roster.joint || roster.uncommitted
    {
        return None;
    }
    let silent = voters.filter_map(|(node, seen)| {
        let silence = silences.get(node).copied().unwrap_or(*led_for);
        let lost =
            node != mine && !seen.answers && silence >= bound && fleet.drained_since_ms(*node).is_none();
        lost.then_some((silence, *node, seen))
    });
    // Of two that are lost since the same heartbeat, the lower id.
    let (_, lost, seen) = silent.max_by_key(|(silence, node, _)| (*silence, std::cmp::Reverse(*node)))?;
    let region = &seen.member.region;
    let learners = roster.members.iter().filter(|(node, seen)| {
        !seen.voter && seen.answers && seen.behind.caught_up() && fleet.drained_since_ms(**node).is_none()
    });
    let mut candidates: Vec<_> = learners
        .map(|(node, seen)| (seen.member.region != *region, !seen.member.wants_vote, *node))
        .collect();
    candidates.sort_unstable();
    Some(Loss { lost, bound, candidates: candidates.into_iter().map(|(_, _, node)| node).collect() })
}

/// Runs as long as the member does; idle unless it leads and repair is on.
pub(crate) async fn keep(state: Arc<MemberState>) {
    let mut interval = interval(LOOK_INTERVAL);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut reign: Option<(u64, Instant)> = None;
    let mut journal = Journal { state: state.clone(), told: BTreeMap::new() };
    let mut rest_until = Instant::now();
    let mut looked_at = Instant::now();
    loop {
        interval.tick().await;
        // This process stood still, and perhaps the whole machine: what looks like silence may be its own.
        if looked_at.elapsed() > STOOD_STILL {
            reign = None;
        }
        looked_at = Instant::now();
        reign = match (leading_in(&state), reign) {
            (Some(term), Some((before, since))) if term == before => Some((term, since)),
            (term, _) => term.map(|term| (term, Instant::now())),
        };
        let Some((_, since)) = reign else {
            journal.told.clear();
            continue;
        };
        if Instant::now() < rest_until {
            continue;
        }
        if let Some(loss) = look(&state, since.elapsed()) {
            replace(&state, &mut journal, loss).await;
            looked_at = Instant::now();
            rest_until = looked_at + PAUSE;
        }
    }
}

/// The term this node leads in.
fn leading_in(state: &MemberState) -> Option<u64> {
    let metrics = state.raft.metrics();
    let metrics = metrics.borrow_watched();
    (metrics.state.is_leader() && !state.is_stopping()).then_some(metrics.current_term)
}

fn look(state: &MemberState, led_for: Duration) -> Option<Loss> {
    let view = state.catalog.view();
    let fleet = view.directory.fleet();
    fleet.placement().repair_after_ms?;
    let silences = leadership::silences(state).into_iter();
    let silences = silences.filter_map(|(node, silence)| Some((node, silence?))).collect();
    decide(&Sight { mine: state.home.node_id, roster: &Roster::of(state), fleet, led_for, silences })
}

/// Takes one step: a change of the members, or the reason why there is none.
async fn replace(state: &Arc<MemberState>, journal: &mut Journal, loss: Loss) {
    let Loss { lost, bound, candidates } = loss;
    journal.tell(lost, format!("node {lost} has not answered for {bound:?}: it is to be replaced")).await;
    let mut reasons = Vec::new();
    for new in candidates {
        match change(state, lost, new, true).await {
            Ok(_) => {}
            Err(error @ ChangeError::Refused(_)) => {
                reasons.push(format!("node {new}: {error}"));
                continue;
            }
            // Another change is under way, or another leader: that goes first.
            Err(error) => return tracing::info!(lost, new, %error, "self-repair waits"),
        }
        journal.tell(lost, format!("node {new} is to vote in the place of node {lost}")).await;
        // One that succeeds is in the journal as every change of the members is.
        if let Err(error) = change(state, lost, new, false).await {
            journal.tell(lost, format!("node {new} did not get the vote of node {lost}: {error}")).await;
        }
        return;
    }
    let why = match reasons.is_empty() {
        true => "no learner that is in service answers and has caught up".to_owned(),
        false => reasons.join("; "),
    };
    journal.tell(lost, format!("nobody can take the place of node {lost}: {why}")).await;
}

/// Replaces a voter as an operator without `force` would, or only says whether that is allowed.
async fn change(
    state: &Arc<MemberState>,
    old: NodeId,
    new: NodeId,
    validate_only: bool,
) -> Result<MembersChanged, ChangeError> {
    let change = MembershipChange::Replace { old, new };
    let asked = Asked { change, force: false, validate_only, actor: ACTOR.to_owned() };
    execute::change(state, asked, CHANGE_TIMEOUT).await
}

/// The cluster's journal, in this task's name.
struct Journal {
    state: Arc<MemberState>,
    /// What was said of each lost node since this node leads: at most [`TOLD_LINES`] for each.
    told: BTreeMap<NodeId, Vec<String>>,
}

/// Lines about one node that are remembered, so that reasons that alternate are not told again and again.
const TOLD_LINES: usize = 8;

impl Journal {
    /// Tells a line about a node, unless it has been told.
    async fn tell(&mut self, node: NodeId, text: String) {
        let told = self.told.entry(node).or_default();
        if told.contains(&text) {
            return;
        }
        tracing::warn!(node, "self-repair: {text}");
        told.push(text.clone());
        if told.len() > TOLD_LINES {
            told.remove(0);
        }
        execute::write_note(&self.state, ACTOR.to_owned(), text).await;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use meridian_model::{Command, Mutation, State};

    use super::*;
    use crate::membership::roster::{Behind, Seen};
    use crate::placement::testing::{roster, voter};

    const BOUND: Duration = Duration::from_secs(60);

    fn fleet(repair_after: Option<Duration>, drained: &[NodeId]) -> Fleet {
        let mut state = State::default();
        let mut apply = |mutation| {
            state.apply(Command { request_id: None, actor: String::new(), time_ms: 1, mutation });
        };
        let repair_after_ms = repair_after.map(|after| after.as_millis().try_into().unwrap());
        apply(Mutation::SetPlacement { regions: Vec::new(), repair_after_ms, expect_version: None });
        apply(Mutation::Drain { nodes: drained.to_vec(), undrain: false });
        state.directory().fleet().clone()
    }

    /// A cluster where all is well: three voters led by node 1, and a learner in each region. Each case takes something
    /// away.
    struct Case {
        roster: Roster,
        led_for: Duration,
        silences: BTreeMap<NodeId, Duration>,
        repair_after: Option<Duration>,
        drained: Vec<NodeId>,
    }

    impl Case {
        fn new() -> Self {
            let learner = |node, region| {
                let (node, seen) = voter(node, region);
                (node, Seen { voter: false, ..seen })
            };
            let voters = [voter(1, "a"), voter(2, "b"), voter(3, "c")];
            Self {
                roster: roster(voters.into_iter().chain([learner(4, "a"), learner(5, "b"), learner(6, "c")])),
                led_for: BOUND * 10,
                silences: (2..=6).map(|node| (node, Duration::ZERO)).collect(),
                repair_after: Some(BOUND),
                drained: Vec::new(),
            }
        }

        fn seen(mut self, node: NodeId, change: impl FnOnce(&mut Seen)) -> Self {
            self.roster.members.entry(node).and_modify(change);
            self
        }

        fn silent(mut self, node: NodeId, silence: Option<Duration>) -> Self {
            self.silences.remove(&node);
            self.silences.extend(silence.map(|silence| (node, silence)));
            self.seen(node, |seen| seen.answers = false)
        }

        fn decides(self, expected: Option<(NodeId, &[NodeId])>) {
            let fleet = fleet(self.repair_after, &self.drained);
            let (led_for, silences) = (self.led_for, self.silences);
            let sight = Sight { mine: 1, roster: &self.roster, fleet: &fleet, led_for, silences };
            let decided = decide(&sight).map(|loss| (loss.lost, loss.candidates));
            assert_eq!(decided, expected.map(|(lost, candidates)| (lost, candidates.to_vec())));
        }
    }

    #[test]
    fn a_voter_that_is_silent_for_long_enough_is_lost() {
        Case::new().decides(None);
        let lost = || Case::new().silent(3, Some(BOUND));
        lost().decides(Some((3, &[6, 4, 5])));
        Case::new().silent(3, Some(BOUND - Duration::from_millis(1))).decides(None);
        // It never answered this leader.
        Case::new().silent(3, None).decides(Some((3, &[6, 4, 5])));
        Case { led_for: BOUND - Duration::from_secs(1), ..Case::new().silent(3, None) }.decides(None);
        // Off, or not seen by this leader for long enough.
        Case { repair_after: None, ..lost() }.decides(None);
        Case { led_for: BOUND - Duration::from_secs(1), ..lost() }.decides(None);
        // In an operator's hands.
        Case { drained: vec![3], ..lost() }.decides(None);
        // A lost learner is not replaced.
        Case::new().silent(6, Some(BOUND)).decides(None);
    }

    #[test]
    fn who_may_take_the_place() {
        let lost = || Case::new().silent(2, Some(BOUND));
        lost().decides(Some((2, &[5, 4, 6])));
        lost().seen(6, |seen| seen.member.wants_vote = true).decides(Some((2, &[5, 6, 4])));
        lost().seen(5, |seen| seen.answers = false).decides(Some((2, &[4, 6])));
        lost().seen(5, |seen| seen.behind = Behind { entries: 99_999, bytes: 0 }).decides(Some((2, &[4, 6])));
        Case { drained: vec![4, 5, 6], ..lost() }.decides(Some((2, &[])));
    }

    #[test]
    fn nothing_is_done_where_it_could_do_harm() {
        let lost = || Case::new().silent(3, Some(BOUND));
        // No majority: this node may lead no more.
        lost().silent(2, Some(BOUND)).decides(None);
        // Two voters are too few.
        lost().seen(2, |seen| seen.voter = false).decides(None);
        let mut changing = lost();
        changing.roster.joint = true;
        changing.decides(None);
        let mut changing = lost();
        changing.roster.uncommitted = true;
        changing.decides(None);
    }

    #[test]
    fn one_at_a_time_and_the_longest_lost_first() {
        let five = |case: Case| case.seen(4, |seen| seen.voter = true).seen(5, |seen| seen.voter = true);
        let lost =
            |longer, shorter| five(Case::new().silent(longer, Some(BOUND * 2)).silent(shorter, Some(BOUND)));
        lost(2, 3).decides(Some((2, &[6])));
        lost(3, 2).decides(Some((3, &[6])));
        five(Case::new().silent(2, Some(BOUND)).silent(3, Some(BOUND))).decides(Some((2, &[6])));
    }
}
