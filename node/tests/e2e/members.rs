//! Nodes that join, are promoted, are removed, and are refused.

use std::fs;

use serde_json::Value;

use super::support::{Handmade, JOIN_TOKEN, Node, SOON, eventually};

fn role(cluster: &Handmade, id: usize) -> Option<String> {
    let members = cluster.meridian(&["member", "list", "--output", "json"]).json();
    let members = members["members"].as_array().unwrap().clone();
    let member = members.into_iter().find(|member| member["id"] == id)?;
    member["role"].as_str().map(str::to_owned)
}

fn wait_for_role(cluster: &Handmade, node: &Node, wanted: &str) {
    eventually("the node has its role", SOON, || (role(cluster, node.id)? == wanted).then_some(()));
}

#[test]
fn a_node_with_the_token_joins_learns_is_promoted_and_leaves_for_good() {
    let mut cluster = Handmade::new(3).start();
    cluster.with_a_release("1");
    let (mut fourth, mut fifth) =
        (cluster.joiner(0, "r4", "learner", JOIN_TOKEN), cluster.joiner(1, "r5", "learner", JOIN_TOKEN));
    for node in [&mut fourth, &mut fifth] {
        node.start();
        node.wait_ready();
        assert_eq!(node.meridian(&["get", "shop/live"]).ok(), "1");
        wait_for_role(&cluster, node, "learner");
    }
    cluster.meridian(&["status", "--wait", "healthy", "--timeout", "30s"]).ok();

    // One alone would make the count even.
    cluster.meridian(&["member", "promote", "4"]).fails(1, &["4 voters"]);
    let dry = cluster.meridian(&["member", "promote", "4", "5", "--dry-run"]).ok();
    assert!(dry.starts_with("valid: nodes 4, 5 can be promoted; nothing was changed"), "{dry}");
    assert_eq!(role(&cluster, 4).as_deref(), Some("learner"));
    cluster.meridian(&["member", "promote", "4", "5"]).ok();
    assert_eq!(role(&cluster, 4).as_deref(), Some("voter"));
    // Asking for what is so changes nothing.
    cluster.meridian(&["member", "promote", "4", "5"]).ok();

    cluster.meridian(&["member", "remove", "4"]).fails(1, &["4 voters"]);
    cluster.meridian(&["member", "demote", "4", "5"]).ok();
    cluster.meridian(&["member", "remove", "4"]).ok();
    let (code, said) = fourth.end();
    assert_eq!(code, 2, "{said}");
    assert!(said.contains("node 4 was removed from the cluster") && said.contains("new node id"), "{said}");
    assert_eq!(role(&cluster, 4), None);

    // It is told again when it comes back, and disturbs nobody.
    let (code, said) = fourth.start_in_vain();
    assert_eq!(code, 2, "{said}");
    assert!(said.contains("node 4 was removed from the cluster"), "{said}");
    fs::remove_dir_all(&fourth.data_dir).unwrap();
    let (code, said) = fourth.start_in_vain();
    assert_eq!(code, 2, "an id is not used again: {said}");
    cluster.publish("2").ok();
    cluster.meridian(&["status", "--wait", "healthy", "--timeout", "30s"]).ok();

    let journal = cluster.meridian(&["journal"]).ok();
    assert!(journal.contains("node 4 left the cluster for good"), "{journal}");
    for node in &mut cluster.nodes {
        assert!(node.stop().success());
    }
}

#[test]
fn a_node_that_wants_a_vote_waits_until_the_rules_allow_it() {
    let cluster = Handmade::new(3).start();
    cluster.with_a_release("1");
    let mut fourth = cluster.joiner(0, "r4", "voter", JOIN_TOKEN);
    fourth.start();
    fourth.wait_ready();
    let waits = || {
        let members = cluster.meridian(&["member", "list"]).ok();
        members.contains("learner, wants a vote").then_some(())
    };
    eventually("it waits, since four voters bear no more than three", SOON, waits);
    let mut fifth = cluster.joiner(1, "r5", "voter", JOIN_TOKEN);
    fifth.start();
    wait_for_role(&cluster, &fourth, "voter");
    wait_for_role(&cluster, &fifth, "voter");

    // A lost voter gives its place to a learner in one step.
    let mut cluster = Handmade::new(3).start();
    cluster.with_a_release("1");
    let mut fourth = cluster.joiner(0, "r4", "learner", JOIN_TOKEN);
    fourth.start();
    fourth.wait_ready();
    wait_for_role(&cluster, &fourth, "learner");
    let lost = (0..3).find(|index| *index != cluster.leader()).unwrap();
    cluster.nodes[lost].kill();
    let replaced = eventually("it has caught up", SOON, || {
        let ran = cluster.meridian(&["member", "replace", &(lost + 1).to_string(), "4"]);
        (ran.code == 0).then_some(ran)
    });
    assert!(replaced.stdout.contains("node 4 votes in the place of node"), "{replaced:#?}");
    assert_eq!((role(&cluster, 4).as_deref(), role(&cluster, lost + 1)), (Some("voter"), None));
    cluster.publish("2").ok();
}

#[test]
fn whoever_may_not_join_is_told_why() {
    let cluster = Handmade::new(1).start();
    cluster.with_a_release("1");
    let check = |node: &Node, parts: &[&str]| {
        let (code, said) = node.start_in_vain();
        assert_eq!(code, 2, "{said}");
        for part in parts {
            assert!(said.contains(part), "{part:?} is not told: {said}");
        }
        assert!(!said.contains("the-cluster-of-the-tests"), "a token is shown: {said}");
        assert_eq!(cluster.status().len(), 1);
    };
    check(&cluster.joiner(0, "r2", "learner", "join-with-a-wrong-one"), &["token"]);

    // An id that somebody has.
    fs::remove_dir_all(cluster.joiner(0, "r2", "learner", JOIN_TOKEN).data_dir).unwrap();
    let taken = cluster.joiner(0, "r2", "learner", JOIN_TOKEN);
    let text = fs::read_to_string(&taken.config).unwrap();
    fs::write(&taken.config, text.replace("node_id = 2", "node_id = 1")).unwrap();
    check(&taken, &["node id 1 belongs to another"]);

    // A region that the placement does not know.
    cluster.meridian(&["placement", "set", "r1"]).ok();
    check(&cluster.joiner(1, "r9", "learner", JOIN_TOKEN), &["r9", "r1"]);
    cluster.publish("2").ok();
}

#[test]
fn a_node_without_a_token_is_let_in_by_an_operator() {
    let cluster = Handmade::new(1).start();
    cluster.with_a_release("1");
    let mut second = cluster.joiner(0, "r2", "learner", JOIN_TOKEN);
    let text = fs::read_to_string(&second.config).unwrap();
    let without = text.replace(&format!("token = \"{JOIN_TOKEN}\"\n"), "");
    assert_ne!(without, text);
    fs::write(&second.config, without).unwrap();
    second.start();
    eventually("it waits to be let in", SOON, || second.http("/readyz").filter(|(status, _)| *status == 503));
    assert_eq!(role(&cluster, 2), None);
    let peer = second.listen.peer.to_string();
    cluster.meridian(&["member", "add", &peer]).ok();
    second.wait_ready();
    wait_for_role(&cluster, &second, "learner");
    assert_eq!(second.meridian(&["get", "shop/live"]).ok(), "1");
    // Nobody listens there.
    cluster.meridian(&["member", "add", "127.0.0.1:1", "--deadline", "5s"]).fails(1, &["127.0.0.1:1"]);
}

#[test]
fn changes_that_nobody_can_want_are_refused_even_when_forced() {
    let cluster = Handmade::new(1).start();
    let check = |line: &[&str], part: &str| {
        cluster.meridian(line).fails(1, &[part]);
        let status: Vec<Value> = cluster.status();
        assert_eq!((status.len(), &status[0]["role"]), (1, &"voter".into()));
    };
    check(&["member", "remove", "1", "--force"], "nobody would have a vote");
    check(&["member", "demote", "1", "--force"], "nobody would have a vote");
    check(&["member", "promote", "7"], "node 7 is no member");
    check(&["member", "replace", "1", "1"], "its own place");
}

#[test]
fn what_became_of_a_request_can_be_asked() {
    let cluster = Handmade::new(1).start();
    cluster.with_a_release("1");
    let done = "00000000-0000-4000-8000-000000000001";
    cluster.meridian(&["rollback", "shop/live", "--to", "1", "--request-id", done]).ok();
    let answer = cluster.meridian(&["outcome", done, "--output", "json"]).json();
    assert_eq!((&answer["state"], &answer["version"]), (&"done".into(), &2.into()));

    let never = "00000000-0000-4000-8000-000000000002";
    let asked = cluster.meridian(&["outcome", never]);
    assert_eq!((asked.code, asked.stdout.contains("--settle")), (8, true), "{asked:#?}");
    let settled = cluster.meridian(&["outcome", never, "--settle"]);
    assert_eq!((settled.code, settled.stdout.as_str()), (1, "not done, and it never will be\n"));
    cluster.meridian(&["rollback", "shop/live", "--to", "1", "--request-id", never]).fails(1, &[]);
    assert_eq!(cluster.meridian(&["get", "shop/live", "--output", "json"]).json()["version"], 2);
}
