use proptest::prelude::*;

use super::testing::roster;
use super::*;
use MembershipChange::{Demote, Promote, Remove, Replace};

/// What the rules say to a change: beginnings of their names, in order.
fn verdict(roster: &Roster, change: &MembershipChange) -> Vec<String> {
    let broken = match goal(roster, |node| node == 99, change) {
        Ok(goal) => broken(roster, &goal),
        Err(broken) => broken,
    };
    let name = |rule: &Broken| {
        let debug = format!("{rule:?}");
        debug.split([' ', '{']).next().unwrap_or_default().to_owned()
    };
    broken.iter().map(name).collect()
}

fn check(voters: &str, learners: &str, change: MembershipChange, expected: &[&str]) {
    let roster = roster(voters, learners);
    assert_eq!(verdict(&roster, &change), expected, "{change:?} of {voters} and {learners}");
}

#[test]
fn votes_stay_spread_odd_and_there() {
    check("abc", "ab", Promote(vec![4, 5]), &[]);
    check("abc", "a", Promote(vec![4]), &["EvenCount"]);
    check("abc", "aa", Promote(vec![4, 5]), &["RegionMajority"]);
    check("aaa", "aa", Promote(vec![4, 5]), &[]);
    check("aaa", "ab", Promote(vec![4, 5]), &["RegionMajority"]);
    check("a", "a", Promote(vec![2]), &["EvenCount"]);
    check("a", "ab", Promote(vec![2, 3]), &["RegionMajority"]);
    check("abcab", "", Demote(vec![1, 2]), &[]);
    check("abcab", "", Demote(vec![3]), &["EvenCount"]);
    check("abcab", "", Demote(vec![2, 3]), &["RegionMajority"]);
    check("abcaa", "", Demote(vec![2, 4]), &["RegionMajority"]);
    check("abc", "", Remove(vec![3]), &["EvenCount"]);
    check("abc", "", Remove(vec![2, 3]), &[]);
    check("abc", "c", Replace { old: 3, new: 4 }, &[]);
    check("abc", "a", Replace { old: 3, new: 4 }, &["RegionMajority"]);
    // The region that is left has no vote any more, and nobody to spread to.
    check("aab", "a", Replace { old: 3, new: 4 }, &[]);
}

#[test]
fn what_is_so_already_breaks_no_rule() {
    check("aab", "", Promote(vec![1, 2, 3]), &[]);
    check("aabb", "a", Demote(vec![5]), &[]);
    check("aabb", "a", Remove(vec![5]), &[]);
    check("aabb", "a", Remove(vec![99]), &[]);
    check("abc", "", Replace { old: 99, new: 3 }, &[]);
    check("abc", "", Promote(vec![]), &[]);
}

#[test]
fn what_nobody_can_want_is_refused_whatever_is_forced() {
    for (voters, learners, change, expected) in [
        ("a", "", Remove(vec![1]), "NoVoters"),
        ("abc", "", Demote(vec![1, 2, 3]), "NoVoters"),
        ("abc", "a", Promote(vec![4, 7]), "UnknownNode"),
        ("abc", "a", Remove(vec![7]), "UnknownNode"),
        ("abc", "a", Promote(vec![99]), "UnknownNode"),
        ("abc", "ab", Replace { old: 4, new: 5 }, "NoVoteToGive"),
        ("abc", "a", Replace { old: 99, new: 4 }, "UnknownNode"),
        ("abc", "a", Replace { old: 3, new: 3 }, "OwnPlace"),
    ] {
        let roster = roster(voters, learners);
        assert_eq!(verdict(&roster, &change), [expected], "{change:?}");
        let rules = match goal(&roster, |node| node == 99, &change) {
            Ok(goal) => broken(&roster, &goal),
            Err(rules) => rules,
        };
        assert!(rules.iter().all(|rule| !rule.can_be_forced()), "{rules:?}");
    }
}

#[test]
fn a_vote_goes_to_who_answers_and_has_the_log() {
    let behind = |entries, bytes| Behind { entries, bytes };
    for (answers, lag, expected) in [
        (true, behind(0, 0), None),
        (true, behind(1_000, 1 << 20), None),
        (true, behind(1_001, 1 << 20), Some("Lagging")),
        (true, behind(2, 5 << 20), Some("Lagging")),
        (false, behind(0, 0), Some("Silent")),
    ] {
        let mut roster = roster("abc", "ab");
        let seen = roster.members.get_mut(&4).expect("it is there");
        (seen.answers, seen.behind) = (answers, lag);
        let expected: Vec<&str> = expected.into_iter().collect();
        assert_eq!(verdict(&roster, &Promote(vec![4, 5])), expected, "{answers} {lag}");
    }
}

#[test]
fn a_majority_of_the_new_voters_must_answer_now() {
    let mut roster = roster("abcde", "f");
    for node in [4, 5] {
        roster.members.get_mut(&node).expect("it is there").answers = false;
    }
    assert_eq!(verdict(&roster, &Remove(vec![4, 5])), [""; 0]);
    assert_eq!(verdict(&roster, &Remove(vec![2, 3])), ["NoQuorum"]);
    assert_eq!(verdict(&roster, &Replace { old: 4, new: 6 }), [""; 0]);
    let lost = rules_of(&roster, &Remove(vec![2, 3]));
    assert_eq!(
        lost,
        "1 of 3 voters would answer now, a majority is needed: nobody could publish until 4, 5 answer"
    );
}

fn rules_of(roster: &Roster, change: &MembershipChange) -> String {
    let goal = goal(roster, |_| false, change).expect("all of them are known");
    broken(roster, &goal).iter().map(Broken::to_string).collect::<Vec<_>>().join("; ")
}

#[test]
fn a_refusal_says_what_would_be_and_the_way_out() {
    for (voters, learners, change, expected) in [
        (
            "abc",
            "aa",
            Promote(vec![4, 5]),
            "region a would have 3 of 5 votes, a majority: nobody could publish without it; give votes to other regions \
             first",
        ),
        ("abc", "a", Promote(vec![4]), "4 voters bear no more losses than 3: change one more or one less"),
    ] {
        assert_eq!(rules_of(&roster(voters, learners), &change), expected);
    }
}

proptest! {
    /// Whatever is asked: a change that no rule speaks against leaves an odd number of voters, all of them members, a
    /// majority of which answers, and no region that can stop the others.
    #[test]
    fn what_is_allowed_is_good(
        voters in "[abc]{1,7}",
        learners in "[abc]{0,4}",
        silent in proptest::collection::btree_set(1u64..12, 0..5),
        picked in proptest::collection::vec(1u64..12, 1..4),
        kind in 0..4,
    ) {
        let mut roster = roster(&voters, &learners);
        for (node, seen) in &mut roster.members {
            seen.answers = !silent.contains(node);
        }
        let change = match kind {
            0 => Promote(picked),
            1 => Demote(picked),
            2 => Remove(picked),
            _ => Replace { old: picked[0], new: picked[picked.len() - 1] },
        };
        let Ok(goal) = goal(&roster, |_| false, &change) else { return Ok(()) };
        prop_assume!(goal.voters != roster.voters());
        prop_assume!(broken(&roster, &goal).is_empty());
        prop_assert_eq!(goal.voters.len() % 2, 1);
        prop_assert!(goal.voters.is_disjoint(&goal.leaving));
        let seen: Vec<_> = goal.voters.iter().map(|node| &roster.members[node]).collect();
        prop_assert!(seen.iter().filter(|seen| seen.answers).count() * 2 > seen.len());
        let regions: BTreeSet<&str> = roster
            .members
            .iter()
            .filter(|(node, _)| !goal.leaving.contains(node))
            .map(|(_, seen)| seen.member.region.as_str())
            .collect();
        for region in &regions {
            let votes = seen.iter().filter(|seen| seen.member.region == *region).count();
            prop_assert!(votes * 2 <= seen.len() || seen.len() < 3 || regions.len() == 1);
        }
    }
}
