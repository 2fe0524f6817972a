//! Known-bad histories: a checker that has never said no proves nothing.

#![allow(clippy::unwrap_used)]
use std::time::Duration;

use super::*;

const A: Digest = [0xa; 32];
const B: Digest = [0xb; 32];
const C: Digest = [0xc; 32];

/// Sent at `sent`, told one second later.
fn publish(digest: Digest, sent: u64, outcome: Outcome) -> Publish {
    let at = Duration::from_secs;
    Publish { environment: 0, digest, expect_version: None, sent: at(sent), ended: at(sent + 1), outcome }
}

fn acked(digest: Digest, sent: u64, version: u64) -> Publish {
    publish(digest, sent, Outcome::Acked { version, digest })
}

fn node(name: &str, releases: &[(u64, Digest)]) -> (String, Releases) {
    (name.to_owned(), releases.iter().copied().collect())
}

#[track_caller]
fn check(publishes: &[Publish], nodes: &[(String, Releases)], expected: &[Breach]) {
    assert_eq!(environment(publishes, nodes), expected);
}

fn n1() -> String {
    "n1".to_owned()
}

#[test]
fn a_good_history_is_not_accused() {
    let publishes = [
        acked(A, 0, 1),
        publish(B, 1, Outcome::Unknown),
        publish([0xd; 32], 1, Outcome::Unknown),
        publish([0xe; 32], 2, Outcome::Refused),
        Publish { expect_version: Some(2), ..acked(C, 4, 3) },
    ];
    let releases = [(1, A), (2, B), (3, C)];
    check(&publishes, &[node("n1", &releases), node("n2", &releases)], &[]);
    check(&[], &[node("n1", &[])], &[]);
}

#[test]
fn concurrent_publishes_may_come_in_any_order() {
    let long = Publish { ended: Duration::from_secs(9), ..acked(A, 0, 2) };
    check(&[long, acked(B, 3, 1)], &[node("n1", &[(1, B), (2, A)])], &[]);
}

#[test]
fn a_lost_acknowledgement_is_seen_on_the_node_that_lost_it() {
    let publishes = [acked(A, 0, 1), acked(B, 2, 2)];
    let nodes = [node("n1", &[(1, A)]), node("n2", &[(1, A), (2, B)])];
    check(&publishes, &nodes, &[Breach::Lost { node: n1(), version: 2, digest: B }]);
}

#[test]
fn everything_lost_is_seen() {
    check(&[acked(A, 0, 1)], &[node("n1", &[])], &[Breach::Lost { node: n1(), version: 1, digest: A }]);
}

#[test]
fn a_version_acknowledged_twice_is_seen() {
    let publishes = [acked(A, 0, 1), publish(B, 0, Outcome::Acked { version: 1, digest: B })];
    let twice = |told_by: &str| Breach::Reused { version: 1, one: A, other: B, told_by: told_by.to_owned() };
    let gone = Breach::Reused { version: 1, one: B, other: A, told_by: n1() };
    check(&publishes, &[node("n1", &[(1, A)])], &[twice("another client"), gone]);
}

#[test]
fn a_version_that_changed_its_document_is_seen() {
    // As after a power loss that takes a release whose number is then given to the next one.
    let publishes = [acked(A, 0, 1), publish(B, 2, Outcome::Unknown)];
    let reused = Breach::Reused { version: 1, one: A, other: B, told_by: n1() };
    check(&publishes, &[node("n1", &[(1, B)])], &[reused]);
}

#[test]
fn a_gap_is_seen() {
    let publishes = [publish(A, 0, Outcome::Unknown), publish(C, 2, Outcome::Unknown)];
    let gap = |version| Breach::Gap { node: n1(), version };
    check(&publishes, &[node("n1", &[(1, A), (3, C)])], &[gap(2)]);
    check(&publishes, &[node("n1", &[(2, A), (3, C)])], &[gap(1)]);
}

#[test]
fn a_publish_that_was_done_twice_is_seen() {
    let publishes = [publish(A, 0, Outcome::Unknown)];
    let twice = Breach::Twice { node: n1(), digest: A, first: 1, second: 2 };
    check(&publishes, &[node("n1", &[(1, A), (2, A)])], &[twice]);
}

#[test]
fn a_refused_publish_that_was_done_is_seen() {
    let publishes = [publish(A, 0, Outcome::Refused)];
    let done = Breach::RefusedButDone { node: n1(), digest: A, version: 1 };
    check(&publishes, &[node("n1", &[(1, A)])], &[done]);
}

#[test]
fn a_release_that_nobody_sent_is_seen() {
    check(&[], &[node("n1", &[(1, A)])], &[Breach::Foreign { node: n1(), digest: A, version: 1 }]);
}

#[test]
fn nodes_that_disagree_about_an_unknown_outcome_are_seen() {
    let publishes = [publish(A, 0, Outcome::Unknown), publish(B, 0, Outcome::Unknown)];
    let differ = Breach::Reused { version: 1, one: A, other: B, told_by: "n2".to_owned() };
    check(&publishes, &[node("n1", &[(1, A)]), node("n2", &[(1, B)])], &[differ]);
}

#[test]
fn an_acknowledgement_of_another_document_is_seen() {
    let publishes = [publish(A, 0, Outcome::Acked { version: 1, digest: B })];
    check(&publishes, &[node("n1", &[(1, A)])], &[Breach::WrongDocument { version: 1, sent: A, told: B }]);
}

#[test]
fn a_compare_and_set_that_ignored_its_condition_is_seen() {
    let publishes = [acked(A, 0, 1), Publish { expect_version: Some(0), ..acked(B, 2, 2) }];
    let ignored = Breach::CompareAndSet { version: 2, expected: 0 };
    check(&publishes, &[node("n1", &[(1, A), (2, B)])], &[ignored]);
}

#[test]
fn a_later_publish_below_an_acknowledged_one_is_seen() {
    let publishes = [acked(A, 0, 2), acked(B, 5, 1)];
    let order = Breach::Order { version: 1, above: 2 };
    check(&publishes, &[node("n1", &[(1, B), (2, A)])], &[order]);
}
