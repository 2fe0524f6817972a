use super::*;
use crate::membership::rules::testing::roster;
use MembershipChange::{Demote, Promote, Remove, Replace};

/// What openraft is told for a change of three voters (1 to 3) and two learners (4 and 5) that want a vote.
fn check(change: MembershipChange, expected: &[Changes], retain: bool) {
    let mut roster = roster("abc", "ab");
    for seen in roster.members.values_mut() {
        seen.member.wants_vote = !seen.voter;
    }
    let goal = rules::goal(&roster, |_| false, &change).expect("all of them are known");
    assert_eq!(changes(&roster, &goal), expected, "{change:?}");
    assert_eq!(goal.leaving.is_empty(), retain, "{change:?}");
}

#[test]
fn a_goal_becomes_what_openraft_understands() {
    let voters = |voters: &[u64]| ChangeMembers::ReplaceAllVoters(voters.iter().copied().collect());
    let node_4 = roster("abc", "ab").members[&4].member.clone();
    check(Promote(vec![1, 2]), &[], true);
    check(Promote(vec![4, 5]), &[voters(&[1, 2, 3, 4, 5])], true);
    check(Demote(vec![2, 3]), &[voters(&[1])], true);
    // A learner that an operator demotes shall not be promoted by itself.
    check(Demote(vec![4]), &[ChangeMembers::SetNodes([(4, node_4)].into())], true);
    check(Remove(vec![3]), &[voters(&[1, 2])], false);
    check(Remove(vec![4]), &[ChangeMembers::RemoveNodes([4].into())], false);
    check(Remove(vec![3, 4]), &[ChangeMembers::RemoveNodes([4].into()), voters(&[1, 2])], false);
    check(Replace { old: 3, new: 5 }, &[voters(&[1, 2, 5])], false);
}

#[test]
fn the_rules_that_may_be_forced_are_told_apart() {
    let even = || vec![Broken::EvenCount { voters: 4 }];
    let none = || vec![Broken::NoVoters];
    let both = || [even(), none()].concat();
    assert_eq!(allowed(vec![], false), Ok(vec![]));
    assert_eq!(allowed(even(), true), Ok(vec![even()[0].to_string()]));
    let refused = |texts: &[String]| Err(ChangeError::Refused(texts.to_vec()));
    let hinted = format!("{} (can be forced)", even()[0]);
    assert_eq!(allowed(even(), false), refused(std::slice::from_ref(&hinted)));
    assert_eq!(allowed(none(), true), refused(&[none()[0].to_string()]));
    assert_eq!(allowed(both(), false), refused(&[hinted, none()[0].to_string()]));
}

#[test]
fn leadership_goes_to_a_voter_that_keeps_its_vote_and_answers() {
    let mut roster = roster("abcab", "");
    roster.members.get_mut(&3).expect("it is there").answers = false;
    roster.members.get_mut(&4).expect("it is there").behind.entries = 7;
    let goal = |change| rules::goal(&roster, |_| false, &change).expect("all of them are known");
    assert_eq!(successor(&roster, &goal(Remove(vec![1, 2]))), Some(5));
    assert_eq!(successor(&roster, &goal(Remove(vec![1, 2, 5]))), Some(4));
    assert_eq!(successor(&roster, &goal(Remove(vec![1, 2, 4, 5]))), None);
}
