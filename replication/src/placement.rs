//! Keeps the leader where the cluster agreed that it should be: in the most preferred region that has a voter for it, and
//! never on a node that is drained.
//!
//! Only the leader acts, on what it sees itself. It hands over to a more preferred voter when that one was there, caught
//! up and in service for [`STEADY`] on end; after each attempt it bears the next wish for longer, up to
//! [`PAUSE_MAX`]. Two leaders cannot throw leadership to and fro, because both order the voters alike; a voter that comes
//! and goes is followed at most once a minute. A leader that is drained does not wait.

use std::sync::Arc;
use std::time::{Duration, Instant};

use meridian_model::fleet::{Fleet, NodeId};
use tokio::time::{MissedTickBehavior, interval};

use crate::leadership;
use crate::member::MemberState;
use crate::membership::roster::Roster;

/// How soon a drained leader notices that it is.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);

/// How long a better leader must have been there.
const STEADY: Duration = Duration::from_secs(5);

/// Between the first two attempts, and from then on doubled.
const PAUSE_MIN: Duration = Duration::from_secs(5);
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// Between two attempts of a drained leader.
const URGENT_PAUSE: Duration = Duration::from_secs(2);

/// After so long without an attempt, pauses begin small again.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(600);

/// For one handover. One over a slow link takes 0.7 s.
const TRANSFER_TIMEOUT: Duration = Duration::from_secs(2);

/// Somebody else ought to lead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wish {
    pub(crate) to: NodeId,
    /// This leader is out of service: no reason to wait.
    pub(crate) urgent: bool,
}

/// Voters in service that could lead instead of `mine` now, best first.
pub(crate) fn successors(mine: NodeId, roster: &Roster, fleet: &Fleet) -> impl Iterator<Item = NodeId> {
    let others = roster.members.iter().filter(|(node, seen)| {
        **node != mine
            && seen.voter
            && seen.answers
            && seen.behind.caught_up()
            && fleet.drained_since_ms(**node).is_none()
    });
    let mut others: Vec<_> = others.map(|(node, seen)| (rank(&seen.member.region, fleet), *node)).collect();
    others.sort_unstable();
    others.into_iter().map(|(_, node)| node)
}

/// Whether the leader `mine` should hand over, and to whom.
pub(crate) fn decide(mine: NodeId, roster: &Roster, fleet: &Fleet) -> Option<Wish> {
    // Who votes is about to be settled: let that be first.
    if roster.joint || roster.uncommitted {
        return None;
    }
    let to = successors(mine, roster, fleet).next()?;
    if fleet.drained_since_ms(mine).is_some() {
        return Some(Wish { to, urgent: true });
    }
    let rank_of = |node: NodeId| Some(rank(&roster.members.get(&node)?.member.region, fleet));
    (rank_of(to)? < rank_of(mine)?).then_some(Wish { to, urgent: false })
}

/// Place in the order of preference. Regions that are not in it are last, and equal.
fn rank(region: &str, fleet: &Fleet) -> usize {
    let regions = &fleet.placement().regions;
    regions.iter().position(|preferred| preferred.as_str() == region).unwrap_or(regions.len())
}

/// Turns wishes into attempts that are far enough apart.
#[derive(Debug, Default)]
struct Patience {
    wanted: Option<(Wish, Instant)>,
    tried: Option<(Instant, Duration)>,
}

impl Patience {
    /// Whether to act now. Told of every look, also of those that saw nothing to wish for.
    fn admits(&mut self, wish: Option<Wish>, now: Instant) -> Option<NodeId> {
        let since = |at: Instant| now.saturating_duration_since(at);
        self.wanted = wish.map(|wish| match self.wanted {
            Some((before, at)) if before == wish => (wish, at),
            _ => (wish, now),
        });
        let (wish, at) = self.wanted?;
        let (steady, pause) = match (wish.urgent, self.tried) {
            (true, _) => (Duration::ZERO, URGENT_PAUSE),
            (false, tried) => (STEADY, tried.map_or(Duration::ZERO, |(_, pause)| pause)),
        };
        let rested = self.tried.is_none_or(|(tried_at, _)| since(tried_at) >= pause);
        if since(at) < steady || !rested {
            return None;
        }
        let pause = match self.tried {
            Some((tried_at, pause)) if since(tried_at) < FORGOTTEN_AFTER => (pause * 2).min(PAUSE_MAX),
            _ => PAUSE_MIN,
        };
        self.tried = Some((now, pause));
        Some(wish.to)
    }
}

/// Runs as long as the member does; idle unless it leads.
pub(crate) async fn keep(state: Arc<MemberState>) {
    let mut interval = interval(LOOK_INTERVAL);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut patience = Patience::default();
    loop {
        interval.tick().await;
        let wish = if state.leads() && !state.is_stopping() { look(&state) } else { None };
        let Some(to) = patience.admits(wish, Instant::now()) else { continue };
        tracing::info!(to, "handing leadership over, as the placement and the drained nodes have it");
        if let Err(error) = leadership::hand_to(&state, to, TRANSFER_TIMEOUT).await {
            tracing::warn!(to, %error, "leadership not handed over");
        }
    }
}

fn look(state: &MemberState) -> Option<Wish> {
    let view = state.catalog.view();
    let fleet = view.directory.fleet();
    let mine = state.home.node_id;
    if fleet.placement().regions.is_empty() && fleet.drained_since_ms(mine).is_none() {
        return None;
    }
    decide(mine, &Roster::of(state), fleet)
}

/// Clusters for tables.
#[cfg(test)]
pub(crate) mod testing {
    #![allow(clippy::unwrap_used)]
    use meridian_model::{Command, Mutation, State};

    use super::*;
    use crate::membership::Member;
    use crate::membership::roster::{Behind, Seen};

    /// A voter that could lead.
    pub(crate) fn voter(node: NodeId, region: &str) -> (NodeId, Seen) {
        let member = Member { region: region.to_owned(), ..Member::default() };
        (node, Seen { member, voter: true, answers: true, behind: Behind::default() })
    }

    pub(crate) fn roster(members: impl IntoIterator<Item = (NodeId, Seen)>) -> Roster {
        Roster { members: members.into_iter().collect(), ..Roster::default() }
    }

    /// What a cluster agreed on.
    pub(crate) fn fleet(regions: &[&str], drained: &[NodeId]) -> Fleet {
        let mut state = State::default();
        let mut apply = |mutation| {
            state.apply(Command { request_id: None, actor: String::new(), time_ms: 1, mutation });
        };
        let regions = regions.iter().map(|region| region.parse().unwrap()).collect();
        apply(Mutation::SetPlacement { regions, repair_after_ms: None, expect_version: None });
        apply(Mutation::Drain { nodes: drained.to_vec(), undrain: false });
        state.directory().fleet().clone()
    }
}

#[cfg(test)]
mod tests {
    use super::testing::{fleet, roster, voter};
    use super::*;
    use crate::membership::roster::{Behind, Seen};

    fn wish(to: NodeId, urgent: bool) -> Option<Wish> {
        Some(Wish { to, urgent })
    }

    #[test]
    fn the_most_preferred_fit_voter_leads() {
        // Node 1 in a, 2 in b, 3 and 4 in c.
        let check = |regions: &[&str], drained: &[NodeId], unfit: &[NodeId], mine, expected: Option<Wish>| {
            type Flaw = fn(&mut Seen);
            let flaws: [Flaw; 3] = [
                |seen| seen.voter = false,
                |seen| seen.answers = false,
                |seen| seen.behind = Behind { entries: 9_999, bytes: 0 },
            ];
            for flaw in flaws {
                let mut roster = roster([voter(1, "a"), voter(2, "b"), voter(3, "c"), voter(4, "c")]);
                for node in unfit {
                    roster.members.entry(*node).and_modify(flaw);
                }
                let decided = decide(mine, &roster, &fleet(regions, drained));
                assert_eq!(
                    decided, expected,
                    "{regions:?} drained {drained:?} unfit {unfit:?} led by {mine}"
                );
            }
        };
        // No preference, no reason to move.
        check(&[], &[], &[], 1, None);
        check(&["a", "b"], &[], &[], 1, None);
        check(&["a", "b"], &[], &[], 2, wish(1, false));
        check(&["a", "b"], &[], &[], 3, wish(1, false));
        check(&["a", "b"], &[], &[1], 3, wish(2, false));
        check(&["a", "b"], &[1], &[], 3, wish(2, false));
        // All that is left is no better, or not fit.
        check(&["a", "b"], &[], &[1], 2, None);
        check(&["a", "b"], &[1, 2], &[], 3, None);
        check(&["a", "b"], &[], &[1, 2], 3, None);
        // Within a region nobody is better.
        check(&["c"], &[], &[], 4, None);
        check(&["c"], &[], &[], 1, wish(3, false));
        check(&["c"], &[3], &[], 1, wish(4, false));
        // A region that nobody knows prefers nobody.
        check(&["x"], &[], &[], 1, None);
        // A drained leader goes at once, also to a less preferred one; where all are drained it stays.
        check(&["a", "b"], &[1], &[], 1, wish(2, true));
        check(&["a", "b"], &[1, 2], &[], 1, wish(3, true));
        check(&[], &[1], &[], 1, wish(2, true));
        check(&["a", "b"], &[1, 2], &[3, 4], 1, None);
        check(&["a"], &[1, 2, 3, 4], &[], 1, None);
    }

    #[test]
    fn nothing_moves_while_the_members_change() {
        let settled = roster([voter(1, "a"), voter(2, "b"), voter(3, "c")]);
        let fleet = fleet(&["a"], &[]);
        assert_eq!(decide(2, &settled, &fleet), wish(1, false));
        assert_eq!(decide(2, &Roster { joint: true, ..settled.clone() }, &fleet), None);
        assert_eq!(decide(2, &Roster { uncommitted: true, ..settled }, &fleet), None);
    }

    /// What each leader wishes for has a better rank than itself: no chain of wishes comes back to where it began.
    #[test]
    fn two_leaders_never_want_each_other() {
        let roster = roster([voter(1, "a"), voter(2, "b"), voter(3, "c"), voter(4, "c"), voter(5, "a")]);
        let orders: [&[&str]; 5] = [&[], &["a"], &["c", "a"], &["b", "c", "a"], &["x", "c"]];
        for regions in orders {
            for drained in 0..32u64 {
                let drained: Vec<NodeId> = (1..=5).filter(|node| drained >> (node - 1) & 1 == 1).collect();
                let fleet = fleet(regions, &drained);
                for start in 1..=5 {
                    let mut leader = start;
                    let mut moves = 0;
                    while let Some(wish) = decide(leader, &roster, &fleet) {
                        leader = wish.to;
                        moves += 1;
                        assert!(moves <= 1, "{regions:?} drained {drained:?} from {start}");
                    }
                }
            }
        }
    }

    /// Looks once a second, and says at which of them something was done.
    fn attempts(wishes: impl IntoIterator<Item = Option<Wish>>) -> Vec<usize> {
        let mut patience = Patience::default();
        let start = Instant::now();
        let looks = wishes.into_iter().enumerate();
        let acted = looks.filter_map(|(second, wish)| {
            let now = start + Duration::from_secs(second as u64);
            patience.admits(wish, now).map(|_| second)
        });
        acted.collect()
    }

    #[test]
    fn a_better_leader_must_be_there_for_a_while() {
        let there = |seconds| std::iter::repeat_n(wish(1, false), seconds);
        assert_eq!(attempts(there(7)), [5]);
        // It goes away for a moment: the wait begins anew.
        assert_eq!(attempts(there(4).chain([None]).chain(there(7))), [10]);
        // Another one in its place is another wish.
        assert_eq!(attempts(there(4).chain(std::iter::repeat_n(wish(2, false), 7))), [9]);
        // Coming and going it is never steady enough.
        let flapping = (0..600).map(|second| wish(1, false).filter(|_| second % 5 != 0));
        assert_eq!(attempts(flapping), [] as [usize; 0]);
    }

    #[test]
    fn attempts_become_rare() {
        let always = attempts(std::iter::repeat_n(wish(1, false), 300));
        let pauses: Vec<usize> = always.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert_eq!(pauses, [5, 10, 20, 40, 60, 60, 60]);
        // Long ago does not count.
        let again = std::iter::repeat_n(wish(1, false), 20).chain(std::iter::repeat_n(None, 600));
        let again = attempts(again.chain(std::iter::repeat_n(wish(1, false), 13)));
        assert_eq!(again, [5, 10, 625, 630]);
    }

    #[test]
    fn a_drained_leader_does_not_wait() {
        assert_eq!(attempts(std::iter::repeat_n(wish(1, true), 6)), [0, 2, 4]);
    }
}
