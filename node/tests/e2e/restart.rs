//! Planned stops, a node that starts alone, and data directories that are not what they should be.

use std::fs;
use std::time::{Duration, Instant};

use serde_json::json;

use super::support::{Handmade, SOON, eventually, file};

fn publish(cluster: &Handmade, document: &str) {
    let file = file(document);
    let path = file.path().to_str().unwrap();
    if cluster.meridian(&["project", "create", "shop"]).code == 0 {
        cluster.meridian(&["env", "create", "shop/live"]).ok();
    }
    cluster.meridian(&["publish", "shop/live", path, "--format", "json"]).ok();
}

#[test]
fn one_node_of_three_starts_alone_and_serves_from_its_disk() {
    let mut cluster = Handmade::new(3).start();
    publish(&cluster, r#"{"kept": true}"#);
    cluster.wait_equal();
    for node in &mut cluster.nodes {
        assert_eq!(node.stop().code(), Some(0));
    }

    let node = &mut cluster.nodes[1];
    node.start();
    let started = Instant::now();
    node.wait_ready();
    println!("{}", json!({"alone_ready_ms": started.elapsed().as_millis()}));
    assert_eq!(node.meridian(&["get", "shop/live"]).ok(), r#"{"kept": true}"#);
    assert_eq!(node.http("/livez").unwrap().0, 200);
}

#[test]
fn the_others_go_on_while_one_is_stopped() {
    let mut cluster = Handmade::new(3).start();
    publish(&cluster, "1");
    let leader = cluster.leader();
    assert_eq!(cluster.nodes[leader].stop().code(), Some(0));
    publish(&cluster, "2");
    cluster.nodes[leader].start();
    cluster.nodes[leader].wait_ready();
    cluster.wait_equal();
    assert_eq!(cluster.nodes[leader].meridian(&["get", "shop/live"]).ok(), "2");
}

#[test]
fn a_second_process_on_one_data_directory_is_refused() {
    let cluster = Handmade::new(1).start();
    publish(&cluster, "{}");
    let other = Handmade::new(1);
    let text = fs::read_to_string(&other.nodes[0].config).unwrap();
    let (own, taken) = (other.nodes[0].data_dir.display(), cluster.nodes[0].data_dir.display());
    fs::write(&other.nodes[0].config, text.replace(&own.to_string(), &taken.to_string())).unwrap();
    let (code, said) = other.nodes[0].start_in_vain();
    assert_ne!(code, 0);
    assert!(said.contains("in use by another process") && said.contains(&taken.to_string()), "{said}");
    assert_eq!(cluster.meridian(&["get", "shop/live"]).ok(), "{}");
}

#[test]
fn a_wiped_data_directory_does_not_come_back_under_its_old_id() {
    let mut cluster = Handmade::new(3).start();
    publish(&cluster, "1");
    cluster.wait_equal();
    let wiped = (cluster.leader() + 1) % 3;
    assert_eq!(cluster.nodes[wiped].stop().code(), Some(0));
    fs::remove_dir_all(&cluster.nodes[wiped].data_dir).unwrap();
    let (code, said) = cluster.nodes[wiped].start_in_vain();
    assert_ne!(code, 0);
    assert!(said.contains("wiped or replaced") && said.contains("new id"), "{said}");
    publish(&cluster, "2");
}

#[test]
fn another_nodes_data_directory_is_refused() {
    let mut cluster = Handmade::new(3).start();
    publish(&cluster, "1");
    cluster.nodes.iter_mut().for_each(|node| assert!(node.stop().success()));
    let (first, second) = (cluster.nodes[0].data_dir.clone(), cluster.nodes[1].data_dir.clone());
    fs::rename(&first, second.with_extension("aside")).unwrap();
    fs::rename(&second, &first).unwrap();
    let (code, said) = cluster.nodes[0].start_in_vain();
    assert_ne!(code, 0);
    assert!(said.contains(&first.display().to_string()) && said.contains("node 2"), "{said}");
}

#[test]
fn a_node_stops_when_its_stdin_closes() {
    let node = &Handmade::new(1).nodes[0];
    let mut process = node.spawn();
    eventually("the node is ready", SOON, || node.is_ready().then_some(()));
    process.close_stdin();
    assert_eq!(process.wait(Duration::from_secs(10)).code(), Some(0));
}
