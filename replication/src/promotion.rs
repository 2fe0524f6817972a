//! Learners that are to vote get their vote, from the leader, when the rules allow it.
//!
//! Two at once where one alone would make an even number: so three voters become five, and never four.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

use crate::member::MemberState;
use crate::membership::change::{ChangeError, MembershipChange};
use crate::membership::execute::{self, Asked, CLUSTER};
use crate::membership::roster::Roster;
use crate::membership::rules;

/// How often the leader looks for somebody to promote. Nobody waits for it.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// For one change. One that goes on after it is found finished, or finished by the next leader.
const CHANGE_TIMEOUT: Duration = Duration::from_secs(10);

/// Waiting learners that are looked at: pairs of them are tried.
const CONSIDERED: usize = 16;

/// Runs as long as the member does, and acts while it leads. Also finishes a change that an earlier leader began.
pub(crate) async fn run(state: Arc<MemberState>) {
    let mut interval = interval(LOOK_INTERVAL);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        interval.tick().await;
        if !state.leads() {
            continue;
        }
        let roster = Roster::of(&state);
        let view = state.catalog.view();
        let drained = |node| view.directory.fleet().drained_since_ms(node).is_some();
        let Some(nodes) = next(&roster, drained).or(roster.joint.then(Vec::new)) else { continue };
        drop(view);
        let change = MembershipChange::Promote(nodes);
        let asked = Asked { change, force: false, validate_only: false, actor: CLUSTER.to_owned() };
        match execute::change(&state, asked, CHANGE_TIMEOUT).await {
            Ok(_) | Err(ChangeError::NotLeader { .. } | ChangeError::Stopping) => {}
            Err(error) => tracing::info!(%error, "learners wait for their vote"),
        }
    }
}

/// Whom to promote now: one learner, or two, that want a vote and that no rule keeps from it.
fn next(roster: &Roster, drained: impl Fn(u64) -> bool) -> Option<Vec<u64>> {
    let waiting = roster.members.iter().filter(|(node, seen)| {
        let fit = seen.answers && seen.behind.caught_up() && !drained(**node);
        seen.member.wants_vote && !seen.voter && fit
    });
    let waiting: Vec<u64> = waiting.map(|(node, _)| *node).take(CONSIDERED).collect();
    let alone = waiting.iter().map(|node| vec![*node]);
    let pairs = waiting.iter().enumerate().flat_map(|(at, one)| {
        let others = waiting[at + 1..].iter();
        others.map(|other| vec![*one, *other])
    });
    alone.chain(pairs).find(|nodes| {
        let goal = rules::goal(roster, |_| false, &MembershipChange::Promote(nodes.clone()));
        goal.is_ok_and(|goal| rules::broken(roster, &goal).is_empty())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::membership::roster::Behind;
    use crate::membership::rules::testing::roster;

    /// Voters and waiting learners by region, one letter each, ids from 1; who is promoted.
    fn check(voters: &str, waiting: &str, lagging: &[u64], drained: &[u64], promoted: Option<&[u64]>) {
        let mut roster = roster(voters, waiting);
        for (node, seen) in &mut roster.members {
            seen.member.wants_vote = true;
            if lagging.contains(node) {
                seen.behind = Behind { entries: 1 << 20, bytes: 1 << 30 };
            }
        }
        let next = next(&roster, |node| drained.contains(&node));
        assert_eq!(
            next.as_deref(),
            promoted,
            "{voters} and {waiting}, lagging {lagging:?}, drained {drained:?}"
        );
    }

    #[test]
    fn votes_are_given_one_or_two_at_a_time_as_the_rules_allow() {
        check("abc", "", &[], &[], None);
        check("abc", "a", &[], &[], None);
        check("abc", "ab", &[], &[], Some(&[4, 5]));
        check("abc", "abc", &[], &[], Some(&[4, 5]));
        check("abc", "aa", &[], &[], None);
        check("abc", "aab", &[], &[], Some(&[4, 6]));
        check("abcd", "a", &[], &[], Some(&[5]));
        check("abc", "ab", &[5], &[], None);
        check("abc", "ab", &[], &[4], None);
        check("a", "ab", &[], &[], None);
        check("a", "bc", &[], &[], Some(&[2, 3]));
        check("aaa", "aa", &[], &[], Some(&[4, 5]));
    }
}
