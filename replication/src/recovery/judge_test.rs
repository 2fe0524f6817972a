#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use super::super::inspect::Standing;
use super::*;

fn at(term: u64, index: u64) -> LogPoint {
    LogPoint { term, leader: 1, index }
}

/// A survivor of a cluster with these voters.
fn survivor(node_id: u64, voters: &[&[u64]], last: LogPoint) -> Inspection {
    let standing = |id: u64| Standing {
        region: format!("r{id}"),
        zone: "a".to_owned(),
        peer_address: format!("h{id}:1"),
    };
    Inspection {
        format: 1,
        cluster_id: "acme".to_owned(),
        node_id,
        incarnation: String::new(),
        term: last.term,
        last: Some(last),
        committed: None,
        applied: None,
        snapshot: None,
        clock_ms: None,
        voter_sets: voters.iter().map(|set| set.to_vec()).collect(),
        members: voters.iter().copied().flatten().map(|id| (*id, standing(*id))).collect(),
        heads: Vec::new(),
        unconfirmed: Vec::new(),
        unconfirmed_total: 0,
    }
}

#[track_caller]
fn check(own: &Inspection, survivors: &[Inspection], expected: Result<&str, &str>) {
    match (judge(own, survivors), expected) {
        (Ok(verdict), Ok(phrase)) => assert_eq!(verdict.phrase(), phrase),
        (Err(refusal), Err(text)) => {
            let said = refusal.to_string();
            assert!(said.contains(text), "{said:?} lacks {text:?}");
        }
        (other, _) => panic!("{other:?} instead of {expected:?}"),
    }
}

const FIVE: &[&[u64]] = &[&[1, 2, 3, 4, 5]];

#[test]
fn only_the_furthest_survivor_of_a_minority_is_recovered() {
    let one = survivor(1, FIVE, at(3, 70));
    // Own, others, and what is said.
    let cases = [
        (one.clone(), vec![], Ok("recover acme from node 1 at 70")),
        (one.clone(), vec![survivor(2, FIVE, at(3, 69))], Ok("recover acme from node 1 at 70")),
        (one.clone(), vec![survivor(2, FIVE, at(3, 70))], Ok("recover acme from node 1 at 70")),
        // A higher term beats a longer log: what it lacks was never committed.
        (one.clone(), vec![survivor(2, FIVE, at(2, 90))], Ok("recover acme from node 1 at 70")),
        (
            one.clone(),
            vec![survivor(2, FIVE, at(4, 10))],
            Err("node 2 holds more: its log ends at index 10 of term 4"),
        ),
        (one.clone(), vec![survivor(2, FIVE, at(3, 71))], Err("recover node 2 instead")),
        (
            one.clone(),
            vec![survivor(2, FIVE, at(3, 60)), survivor(3, FIVE, at(3, 71))],
            Err("no recovery is needed: 1, 2, 3 are left, a majority of the voters 1, 2, 3, 4, 5"),
        ),
        (one.clone(), vec![one.clone()], Err("node 1 was inspected twice")),
        (one.clone(), vec![survivor(9, FIVE, at(1, 1))], Err("node 9 is no member")),
        (survivor(1, &[&[1]], at(3, 70)), vec![], Err("the only voter already")),
    ];
    for (own, survivors, expected) in cases {
        check(&own, &survivors, expected);
    }
}

#[test]
fn both_sets_of_voters_must_be_lost_for_nothing_to_go_on() {
    // 1 and 2 are a majority of the old voters only.
    let joint: &[&[u64]] = &[&[1, 2, 3], &[3, 4, 5]];
    let (one, two) = (survivor(1, joint, at(3, 70)), survivor(2, joint, at(3, 60)));
    check(&one, std::slice::from_ref(&two), Ok("recover acme from node 1 at 70"));
    let more = [two, survivor(4, joint, at(3, 60)), survivor(5, joint, at(3, 60))];
    check(&one, &more, Err("no recovery is needed"));
}

#[test]
fn the_furthest_membership_counts() {
    // Node 2 knows that the cluster has grown: 1 and 2 are no majority any more.
    let (one, two) = (survivor(1, &[&[1, 2, 3]], at(3, 70)), survivor(2, FIVE, at(3, 71)));
    check(&one, std::slice::from_ref(&two), Err("node 2 holds more"));
    check(&two, &[one], Ok("recover acme from node 2 at 71"));
}

#[test]
fn inspections_of_something_else_are_refused() {
    let own = survivor(1, FIVE, at(3, 70));
    let foreign = Inspection { cluster_id: "other".to_owned(), ..survivor(2, FIVE, at(3, 60)) };
    check(&own, &[foreign], Err("node 2 is of cluster \"other\", not \"acme\""));
    let newer = Inspection { format: 2, ..survivor(2, FIVE, at(3, 60)) };
    check(&own, &[newer], Err("has format 2"));
    let fresh = Inspection { last: None, members: BTreeMap::new(), ..own };
    check(&fresh, &[], Err("never belonged to a cluster"));
}

#[test]
fn a_verdict_says_who_is_given_up_and_who_is_wiped() {
    let verdict = judge(&survivor(1, FIVE, at(3, 70)), &[survivor(2, FIVE, at(3, 60))]).unwrap();
    assert_eq!(verdict.given_up, [3, 4, 5]);
    assert_eq!(verdict.wiped, [(2, Some(at(3, 60)))]);
}
