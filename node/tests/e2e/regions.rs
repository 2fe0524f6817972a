//! Five regions. One is drained, two are lost, then a third, and all come back. Whoever reads notices nothing, and
//! `meridian status` tells the truth throughout.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::Value;

use super::support::{Cluster, Handmade, Process, SOON, eventually, file};

/// Debug builds of five nodes and whatever else runs share few cores: no figure is measured here.
const GENEROUS: &str = "60s";

#[test]
fn a_drained_region_is_left_by_its_readers() {
    let cluster = Cluster::start(&["--regions", "a,b,c,d,e"]);
    let by_preference: Vec<_> = cluster.grpc.values().map(String::as_str).collect();
    let mut watch = Process::start_with(
        &[("MERIDIAN_ENDPOINTS", &by_preference.join(",")), ("MERIDIAN_TOKEN", &cluster.operator_token)],
        ["watch", "demo/production", "--output", "json"],
    );
    assert_eq!(pushed(&mut watch)["region"], "a");

    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut reads = 0;
            while !over.load(Ordering::Relaxed) {
                cluster.meridian(&["get", "demo/production"]).ok();
                reads += 1;
            }
            reads
        });
        let drained = cluster.meridian(&["drain", "--region", "a", "--timeout", GENEROUS]);
        assert!(drained.stdout.contains("node 1 drained: safe to stop"), "{drained:#?}");
        over.store(true, Ordering::Relaxed);
        assert!(reader.join().unwrap() > 0);
    });

    let node = node_of(&cluster, "a");
    assert_eq!((&node["service"], &node["is_leader"]), (&"drained".into(), &false.into()), "{node}");
    assert_eq!((&node["streams"], &node["role"]), (&0.into(), &"voter".into()), "{node}");
    // Out of service on purpose is no problem.
    cluster.meridian(&["status", "--check"]).ok();
    let read = cluster.meridian(&["get", "demo/production", "--output", "json"]).json();
    assert_ne!(read["region"], "a");

    publish(&cluster, 2);
    let second = pushed(&mut watch);
    assert_eq!(second["version"], 2);
    assert_ne!(second["region"], "a", "a stream was left open on a drained node");

    cluster.meridian(&["undrain", "1", "--timeout", GENEROUS]).ok();
    assert_eq!(node_of(&cluster, "a")["service"], "serving");
    let alone =
        cluster.meridian_at(&cluster.grpc["a"], &["get", "demo/production", "--output", "json"]).json();
    assert_eq!((&alone["version"], &alone["region"]), (&2.into(), &"a".into()));
    let journal = cluster.meridian(&["journal"]).ok();
    assert!(journal.contains("taken out of service") && journal.contains("put back"), "{journal}");
}

#[test]
fn what_cannot_be_drained_is_refused_with_the_reason() {
    let cluster = Cluster::start(&["--regions", "a"]);
    cluster.meridian(&["drain", "--region", "nowhere"]).fails(1, &["nowhere", "a"]);
    cluster.meridian(&["drain", "7"]).fails(1, &["node 7"]);
    cluster.meridian(&["drain", "1"]).fails(1, &["--force"]);
    cluster.meridian(&["placement", "set", "nowhere"]).fails(1, &["nowhere", "a"]);
    cluster.meridian(&["status", "--check"]).ok();
}

#[test]
fn two_of_five_lost_then_three_then_none() {
    let mut cluster = Handmade::new(5).start();
    cluster.with_a_release("1");
    cluster.wait_equal();

    // Two, the leader among them: reads and publishes go on.
    let first = cluster.leader();
    let second = (first + 1) % 5;
    cluster.nodes[first].kill();
    cluster.nodes[second].kill();
    assert_eq!(cluster.meridian(&["get", "shop/live"]).ok(), "1");
    cluster.publish("2").ok();
    assert_eq!(cluster.meridian(&["get", "shop/live", "--at-least-version", "2"]).ok(), "2");
    let check = eventually("the status is that of three", SOON, || {
        let ran = cluster.meridian(&["status", "--check"]);
        (ran.code == 10 && ran.stdout.contains("leader")).then_some(ran)
    });
    for lost in [first, second] {
        let row = check.stdout.lines().find(|line| line.starts_with(&format!("{} ", lost + 1))).unwrap();
        assert!(row.contains("unhealthy"), "{}", check.stdout);
    }
    assert!(!check.stdout.contains("quorum lost"), "{}", check.stdout);
    cluster.meridian(&["leader", "show"]).ok();

    // A third, the new leader: nobody can publish, everybody can read.
    let third = cluster.leader();
    cluster.nodes[third].kill();
    let check = eventually("the quorum is said to be lost", SOON, || {
        let ran = cluster.meridian(&["status", "--check"]);
        (ran.code == 10 && ran.stdout.contains("quorum lost")).then_some(ran)
    });
    assert!(check.stdout.starts_with("PROBLEM: "), "problems stand on top: {}", check.stdout);
    let refused = cluster.publish_within("3", "2s");
    assert!([7, 8].contains(&refused.code), "{refused:#?}");
    let left: Vec<usize> = (0..5).filter(|index| ![first, second, third].contains(index)).collect();
    for index in &left {
        let node = &cluster.nodes[*index];
        let staleness = || {
            let read = node.meridian(&["get", "shop/live", "--output", "json"]).json();
            assert_eq!(read["version"], 2);
            read["staleness_ms"].as_u64().expect("it had a leader since it started")
        };
        let before = staleness();
        eventually("staleness grows", SOON, || (staleness() > before + 500).then_some(()));
        eventually("the answer says that it may be old", SOON, || {
            let ran = node.meridian(&["get", "shop/live"]);
            ran.stderr.contains("newer versions may be missing").then_some(())
        });
        node.meridian(&["get", "shop/live", "--max-staleness", "1s", "--deadline", "3s"])
            .fails(9, &["version 2"]);
        node.meridian(&["get", "shop/live", "--linearizable"]).fails(9, &[]);
        eventually("health says so too", SOON, || node.http("/freshz").filter(|(status, _)| *status == 503));
        assert!(node.is_ready(), "a region without a quorum serves");
    }

    // The last but one: one node knows the truth, and then none does.
    cluster.nodes[left[0]].kill();
    assert_eq!(cluster.meridian(&["get", "shop/live"]).ok(), "2");
    cluster.meridian(&["status"]).ok();
    cluster.nodes[left[1]].kill();
    let all_down = cluster.meridian(&["status", "--deadline", "2s"]).fails(7, &["no node could answer"]);
    for node in &cluster.nodes {
        assert!(all_down.contains(&node.listen.grpc.to_string()), "each endpoint is told: {all_down}");
    }

    for node in &mut cluster.nodes {
        node.start();
    }
    cluster.meridian(&["status", "--wait", "healthy", "--timeout", GENEROUS]).ok();
    // What stayed unknown may have come true meanwhile.
    let healed = cluster.meridian(&["get", "shop/live", "--linearizable"]).ok();
    assert!(["2", "3"].contains(&healed.as_str()), "{healed}");
    cluster.publish("4").ok();
    cluster.wait_equal();
    cluster.meridian(&["status", "--check"]).ok();
    let healed = cluster.nodes[left[0]].http("/freshz");
    assert!(matches!(healed, Some((200, _))), "{healed:?}");
}

#[test]
fn leadership_goes_where_it_is_asked_to() {
    let cluster = Handmade::new(3).start();
    cluster.with_a_release("1");
    let to = (cluster.leader() + 1) % 3;
    let moved =
        cluster.meridian(&["leader", "transfer", "--to", &(to + 1).to_string(), "--output", "json"]).json();
    assert_eq!(moved["leader"], to + 1);
    cluster.publish("2").ok();
    cluster.meridian(&["leader", "transfer", "--to", "9"]).fails(1, &["9"]);

    let set =
        cluster.meridian(&["placement", "set", "r3,r1", "--repair-after", "10m", "--output", "json"]).json();
    assert_eq!((&set["version"], &set["repair_after_ms"]), (&1.into(), &600_000.into()));
    eventually("the leader is where it belongs", Duration::from_secs(60), || {
        (cluster.leader() == 2).then_some(())
    });
    // What is not named stays.
    let set = cluster.meridian(&["placement", "set", "--no-repair", "--output", "json"]).json();
    assert_eq!((&set["regions"][0], &set["repair_after_ms"]), (&"r3".into(), &Value::Null));
    cluster.meridian(&["placement", "set", "r1", "--expect-version", "1"]).fails(4, &["placement show"]);
    let shown = cluster.meridian(&["placement", "show"]).ok();
    assert_eq!(shown, "placement 2: the leader belongs in r3, else r1; lost voters are not replaced\n");
}

fn pushed(watch: &mut Process) -> Value {
    serde_json::from_str(&watch.line().expect("the watch goes on")).unwrap()
}

fn node_of(cluster: &Cluster, region: &str) -> Value {
    let status = cluster.meridian(&["status", "--output", "json"]).json();
    let nodes = status["nodes"].as_array().unwrap().clone();
    nodes.into_iter().find(|node| node["region"] == region).expect("the region has a node")
}

/// Publishes what is there once more.
fn publish(cluster: &Cluster, version: u64) {
    let document = file(cluster.meridian(&["get", "demo/production"]).ok());
    let path = document.path().to_str().unwrap();
    let line =
        ["publish", "demo/production", path, "--format", "statsig", "--output", "json", "--deadline", "20s"];
    assert_eq!(cluster.meridian(&line).json()["version"], version);
}
