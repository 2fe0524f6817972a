//! `meridian dev` itself.

use std::fs;
use std::net::TcpListener;
use std::path::Path;

use rustix::process::Signal;

use super::support::{Cluster, Process, SOON, eventually, is_alive, meridian, signal};

#[test]
fn it_leaves_nothing_behind() {
    let mut cluster = Cluster::start(&[]);
    assert!(Path::new(&cluster.data_dir).is_dir());
    assert!(cluster.pids.values().all(|pid| is_alive(*pid)));
    assert_eq!(cluster.stop().code(), Some(0));
    assert_eq!(cluster.dev.rest(), "", "it was to be silent after its line");
    assert!(cluster.pids.values().all(|pid| !is_alive(*pid)));
    assert!(!Path::new(&cluster.data_dir).exists());
    for address in cluster.grpc.values().chain(cluster.admin.values()) {
        TcpListener::bind(address).unwrap();
    }
}

#[test]
fn its_nodes_do_not_outlive_it() {
    let mut cluster = Cluster::start(&["--regions", "solo"]);
    cluster.dev.kill();
    eventually("the node has stopped by itself", SOON, || {
        cluster.pids.values().all(|pid| !is_alive(*pid)).then_some(())
    });
    fs::remove_dir_all(&cluster.data_dir).unwrap();
}

#[test]
fn a_kept_directory_is_gone_on_with() {
    let directory = tempfile::tempdir().unwrap();
    let kept = directory.path().join("kept");
    let options = ["--regions", "a,b,c", "--data-dir", kept.to_str().unwrap()];
    let mut first = Cluster::start(&options);
    first.meridian(&["project", "create", "mine"]).ok();
    assert_eq!(first.stop().code(), Some(0));

    let second = Cluster::start(&["--data-dir", kept.to_str().unwrap()]);
    assert_eq!(second.grpc, first.grpc);
    assert_eq!((&second.sdk_key, &second.operator_token), (&first.sdk_key, &first.operator_token));
    assert!(second.meridian(&["project", "list"]).ok().contains("mine"));
    assert_eq!(second.version("demo/production"), 1, "the sample was published again");
    drop(second);
    assert!(kept.join("a.log").exists());
}

#[test]
fn a_killed_node_stays_dead_unless_asked() {
    let mut cluster = Cluster::start(&["--restart"]);
    let before = cluster.pids["eu-west"];
    signal(before, Signal::KILL);
    assert_ne!(cluster.revived("eu-west"), before);

    let mut dev = Process::start(["dev", "--base-port", "0", "--regions", "solo", "--until-stdin-closes"]);
    let mut board = Vec::new();
    let pid: u32 = loop {
        let line = dev.line().expect("the board goes on");
        if let Some(pid) = line.split("pid ").nth(1).and_then(|rest| rest.split(',').next()) {
            break pid.parse().unwrap();
        }
        board.push(line);
    };
    assert!(board.iter().any(|line| line.contains("export MERIDIAN_ENDPOINTS=127.0.0.1:")), "{board:?}");
    signal(pid, Signal::KILL);
    loop {
        let line = dev.line().expect("the board goes on");
        if line.starts_with("solo: dead") {
            break;
        }
        assert!(line.contains(&format!("pid {pid}")), "{line}");
    }
    assert!(!is_alive(pid));
    assert_eq!(dev.stop(SOON).code(), Some(0));
    assert!(!dev.rest().contains("alive"), "it was started again");
}

#[test]
fn a_fourth_region_learns_and_one_more_node_joins_by_hand() {
    let cluster = Cluster::start(&["--regions", "a,b,c,d"]);
    let roles = || -> Vec<String> {
        let members = cluster.meridian(&["member", "list", "--output", "json"]).json();
        let members = members["members"].as_array().unwrap().clone();
        members.iter().map(|member| member["role"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(roles(), ["voter", "voter", "voter", "learner"]);
    assert!(cluster.meridian_at(&cluster.grpc["d"], &["get", "demo/production"]).ok().contains("checkout"));

    let _more = Process::start(["serve", "--config", &cluster.one_more_config, "--until-stdin-closes"]);
    eventually("the node more is let in", SOON, || (roles().len() == 5).then_some(()));
    cluster.meridian(&["status", "--wait", "healthy", "--timeout", "30s"]).ok();
}

#[test]
fn what_it_cannot_do_it_says() {
    meridian(&["dev", "--regions", "a,b,c,d,e,f,g,h,i,j"]).fails(2, &["10 regions"]);
    meridian(&["dev", "--regions", "a,b,a"]).fails(2, &["region a is named twice"]);
    meridian(&["dev", "--regions", "Bad Name"]).fails(2, &["badly named"]);
    meridian(&["dev", "--base-port", "65530"]).fails(1, &["lower --base-port"]);

    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    fs::write(&file, "").unwrap();
    meridian(&["dev", "--base-port", "0", "--data-dir", file.to_str().unwrap()])
        .fails(1, &[file.to_str().unwrap(), "another --data-dir"]);

    let ports = meridian::dev::Ports::free(3).unwrap();
    let taken = ports.of_region(2).http;
    let _held = TcpListener::bind(taken).unwrap();
    meridian(&["dev", "--base-port", &ports.base().to_string()])
        .fails(1, &[&taken.to_string(), "--base-port"]);
}

#[test]
fn a_node_that_does_not_start_is_named_with_its_reason() {
    let directory = tempfile::tempdir().unwrap();
    let data_dir = directory.path().join("data/solo");
    fs::create_dir_all(&data_dir).unwrap();
    fs::write(data_dir.join("thesis.tex"), "somebody else's").unwrap();
    let path = directory.path().to_str().unwrap();
    meridian(&["dev", "--base-port", "0", "--regions", "solo", "--data-dir", path])
        .fails(1, &["solo stopped while starting", "thesis.tex"]);
}
