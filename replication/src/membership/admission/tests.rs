#![allow(clippy::unwrap_used)]
use meridian_model::{Command, Mutation, State};

use super::*;
use crate::membership::rules::testing::roster;

/// A cluster's agreement: a placement, and who left.
fn fleet(regions: &[&str], retired: &[u64]) -> Fleet {
    let mut state = State::default();
    let regions = regions.iter().map(|region| region.parse().unwrap()).collect();
    let placed = Mutation::SetPlacement { regions, repair_after_ms: None, expect_version: None };
    for mutation in [placed, Mutation::Retire { nodes: retired.to_vec() }] {
        state.apply(Command { request_id: None, actor: String::new(), time_ms: 1, mutation });
    }
    state.directory().fleet().clone()
}

fn newcomer(region: &str, node: u8) -> Member {
    Member {
        region: region.to_owned(),
        zone: "z".to_owned(),
        peer_address: format!("10.0.0.{node}:7401"),
        grpc_address: format!("10.0.0.{node}:7400"),
        incarnation: [node; 16],
        wants_vote: true,
    }
}

/// Somebody who comes to voters 1 to 3 in regions a, b, c; 9 left.
fn check(regions: &[&str], node: u64, member: Member, expected: Result<Verdict, &str>) {
    let verdict = judge(&roster("abc", ""), &fleet(regions, &[9]), node, &member);
    match (verdict, expected) {
        (Ok(verdict), Ok(expected)) => assert_eq!(verdict, expected, "{node} {member:?}"),
        (Err(Refusal::Final(why)), Err(expected)) => assert!(why.contains(expected), "{why}"),
        (verdict, expected) => panic!("{verdict:?} instead of {expected:?}"),
    }
}

#[test]
fn newcomers_are_told_from_members_and_from_impostors() {
    check(&[], 4, newcomer("d", 4), Ok(Verdict::New));
    check(&["a", "d"], 4, newcomer("d", 4), Ok(Verdict::New));
    check(&["a", "b"], 4, newcomer("d", 4), Err("region d is not in the placement, which has a, b"));
    check(&[], 9, newcomer("d", 9), Err("removed"));
    check(&[], 3, newcomer("c", 4), Err("another data directory"));
    check(&[], 4, newcomer("d", 3), Err("is node 3's"));

    let known = Member { wants_vote: false, ..newcomer("c", 3) };
    check(&[], 3, known.clone(), Ok(Verdict::In));
    check(&["a", "b"], 3, known.clone(), Ok(Verdict::In));
    // Its wish for a vote counts once.
    check(&[], 3, Member { wants_vote: true, ..known.clone() }, Ok(Verdict::In));
    let moved = Member { peer_address: "10.9.9.9:7401".to_owned(), ..known.clone() };
    check(&[], 3, moved.clone(), Ok(Verdict::Moved(moved)));
    check(&[], 3, Member { region: "a".to_owned(), ..known }, Err("stands in region c and not in a"));
}

#[test]
fn a_membership_is_not_let_grow_past_its_row() {
    let mut roster = roster("abc", "");
    let seen = roster.members[&3].clone();
    let mut node = 3;
    let refused = loop {
        node += 1;
        match judge(&roster, &fleet(&[], &[]), node, &newcomer("d", 200)) {
            Ok(_) => {}
            Err(refused) => break refused,
        }
        let mut seen = seen.clone();
        seen.member.peer_address = format!("node-{node}.{}:7401", "x".repeat(200));
        roster.members.insert(node, seen);
        assert!(node < 10_000);
    };
    let Refusal::Final(why) = refused else { panic!("{refused:?}") };
    assert!(why.contains("full") && node > 100, "{why} at {node}");
}

#[test]
fn what_a_stranger_says_of_itself_is_bounded_and_parsed() {
    let message = || (4, newcomer("eu-west", 4)).into_message();
    assert_eq!(candidate(message()), Ok((4, newcomer("eu-west", 4))));
    type Change = fn(&mut proto::Member);
    let with = |change: Change| {
        let mut message = message();
        change(&mut message);
        candidate(message).unwrap_err()
    };
    let wrong: [(Change, &str); 8] = [
        (|m| m.id = 0, "0 is none"),
        (|m| m.region = "EU".to_owned(), "region of the node"),
        (|m| m.region = "x".repeat(10_000), "region of the node"),
        (|m| m.zone = String::new(), "zone of the node"),
        (|m| m.peer_address = "x".repeat(10_000), "the limit is 260"),
        (|m| m.peer_address = "host".to_owned(), "is not host:port"),
        (|m| m.grpc_address = "http://host/x:1".to_owned(), "is not host:port"),
        (|m| m.incarnation = bytes::Bytes::from_static(&[1]), "16"),
    ];
    for (change, expected) in wrong {
        let Refusal::Final(why) = with(change) else { panic!("not final: {expected}") };
        assert!(why.contains(expected) && why.len() < 300, "{why}");
    }
    for (address, good) in [
        ("10.0.0.1:7401", true),
        ("[2001:db8::1]:7401", true),
        ("node-1.meridian.svc:7401", true),
        ("host:0", false),
        (":7401", false),
        ("host:70000", false),
        ("a b:1", false),
        ("user@host:1", false),
    ] {
        assert_eq!(check_address(address).is_ok(), good, "{address}");
    }
}

#[test]
fn a_token_is_known_by_its_hash() {
    let hash = |token: &str| -> [u8; 32] { Sha256::digest(token.as_bytes()).into() };
    let known = [hash("one"), hash("two")];
    let member = newcomer("a", 4);
    let check = |token: &str, known: &[[u8; 32]]| check_token(token, known, &member);
    assert_eq!(check("one", &known), Ok(()));
    assert_eq!(check("two", &known), Ok(()));
    assert!(matches!(check("three", &known), Err(Refusal::Final(why)) if !why.contains("three")));
    assert!(
        matches!(check("", &known), Err(Refusal::Later(why)) if why.contains("member add 10.0.0.4:7401"))
    );
    assert!(matches!(check("one", &[]), Err(Refusal::Later(_))));
}
