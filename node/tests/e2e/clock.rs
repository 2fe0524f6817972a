//! One node's clock jumps by an hour, back and forth. Nobody is called stale or fresh for it, nothing is lost, and
//! releases stay in order.

use std::path::Path;
use std::{env, fs};

use super::support::{Handmade, SOON, eventually};

/// Where the library that shows a process another time is looked for.
const LIBRARIES: [&str; 3] = [
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib/faketime/libfaketimeMT.so.1",
];

#[test]
fn a_clock_that_jumps_by_an_hour_changes_no_verdict() {
    let given = env::var("FAKETIME_LIBRARY").ok();
    let known = LIBRARIES.into_iter().find(|path| Path::new(path).exists()).map(str::to_owned);
    let Some(library) = given.or(known) else {
        println!("SKIPPED: libfaketime is not installed (Debian: apt-get install libfaketime)");
        return;
    };
    let directory = tempfile::tempdir().unwrap();
    let offset = directory.path().join("offset");
    let jump = |by: &str| fs::write(&offset, by).unwrap();
    jump("+0");
    let variables = [
        ("LD_PRELOAD", library.as_str()),
        ("FAKETIME_TIMESTAMP_FILE", offset.to_str().unwrap()),
        ("FAKETIME_NO_CACHE", "1"),
        // A stopwatch is no clock.
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
    ];

    let mut cluster = Handmade::new(3);
    let (jumping, others) = cluster.nodes.split_first_mut().unwrap();
    jumping.start_with(&variables);
    others.iter_mut().for_each(super::support::Node::start);
    cluster.nodes.iter().for_each(super::support::Node::wait_ready);
    cluster.with_a_release("0");

    let mut version = 1;
    for by in ["+1h", "-1h", "+0"] {
        jump(by);
        // Whether it follows or leads.
        for leader in ["2", "1"] {
            cluster.meridian(&["leader", "transfer", "--to", leader]).ok();
            version += 1;
            cluster.publish(&version.to_string()).ok();
            for node in &cluster.nodes {
                let told = eventually("each node proves that it is fresh", SOON, || {
                    let ran = node.meridian(&["get", "shop/live", "--linearizable", "--output", "json"]);
                    (ran.code == 0).then(|| ran.json())
                });
                assert_eq!(told["version"], version, "node {} after {by}", node.id);
                let fresh =
                    node.meridian(&["get", "shop/live", "--max-staleness", "5s", "--output", "json"]).json();
                assert_eq!(fresh["degraded"], "", "node {} after {by}", node.id);
            }
        }
    }
    let history = cluster.meridian(&["history", "shop/live", "--output", "json"]).json();
    let times: Vec<u64> = history["releases"]
        .as_array()
        .unwrap()
        .iter()
        .map(|release| release["time_ms"].as_u64().unwrap())
        .collect();
    assert!(times.windows(2).all(|pair| pair[0] > pair[1]), "newest first: {times:?}");
    // The cluster's own clock does not go back: until the others have caught up with the jump, `status` may say so.
    let status = cluster.status();
    assert!(status.iter().all(|node| node["healthy"] == true), "{status:?}");
}
