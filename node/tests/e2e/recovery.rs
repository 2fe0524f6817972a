//! After a loss that no protocol mends: a majority of the voters gone, or everything but a backup.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::support::{Handmade, JOIN_TOKEN, SOON, eventually, meridian};

/// What a stopped node says of itself, as the file that is passed to the others.
fn inspect(data_dir: &Path, into: &Path) -> PathBuf {
    let dir = data_dir.to_str().unwrap();
    let said = meridian(&["recover", "inspect", "--data-dir", dir, "--output", "json"]).ok();
    let file = into.join(format!("{}.json", data_dir.file_name().unwrap().to_str().unwrap()));
    fs::write(&file, said).unwrap();
    file
}

#[test]
fn the_survivor_that_holds_most_goes_on_and_others_join_it() {
    let mut cluster = Handmade::new(5).start();
    cluster.with_a_release("1");
    cluster.wait_equal();
    // Node 2 misses the second release.
    cluster.nodes[1].kill();
    cluster.publish("2").ok();
    eventually("node 1 serves it", SOON, || {
        (cluster.nodes[0].meridian(&["get", "shop/live"]).ok() == "2").then_some(())
    });
    let running = cluster.nodes[0].data_dir.to_str().unwrap().to_owned();
    meridian(&["recover", "inspect", "--data-dir", &running]).fails(1, &["in use by another process"]);
    for index in [0, 2, 3, 4] {
        cluster.nodes[index].kill();
    }

    // Nodes 3, 4 and 5 are lost.
    let files = tempfile::tempdir().unwrap();
    let [first, second] = [0, 1].map(|index| inspect(&cluster.nodes[index].data_dir, files.path()));
    let [first, second] = [&first, &second].map(|file| file.to_str().unwrap());
    let dirs = [0, 1].map(|index| cluster.nodes[index].data_dir.to_str().unwrap().to_owned());
    let recover = |dir: &str, survivor: &str, more: &[&str]| {
        let line = ["recover", "--data-dir", dir, "--survivor", survivor];
        meridian(&[&line[..], more].concat())
    };
    recover(&dirs[1], first, &[]).fails(1, &["node 1 holds more", "recover node 1 instead"]);
    let told = recover(&dirs[0], second, &[]).fails(1, &["LOST", "node 3, node 4, node 5", "--confirm"]);
    let phrase = told.split("--confirm \"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    assert!(phrase.starts_with("recover acme from node 1 at "), "{phrase}");
    recover(&dirs[0], second, &["--confirm", "yes"]).fails(1, &["nothing was changed"]);
    recover(&dirs[0], second, &["--confirm", &phrase]).ok();
    recover(&dirs[0], second, &["--confirm", &phrase]).fails(1, &[]);

    cluster.nodes[0].start();
    cluster.nodes[0].wait_ready();
    assert_eq!(cluster.nodes[0].meridian(&["get", "shop/live"]).ok(), "2");
    cluster.publish("3").ok();

    // The other survivor is told that it is out, and comes back as a new node.
    cluster.nodes[1].start();
    let (code, said) = cluster.nodes[1].end();
    assert!(code != 0 && said.contains("removed"), "{code}: {said}");
    let mut new = cluster.joiner(0, "r2", "voter", JOIN_TOKEN);
    new.start();
    new.wait_ready();
    eventually("the new node serves what was published", SOON, || {
        (new.meridian(&["get", "shop/live"]).ok() == "3").then_some(())
    });
}

#[test]
fn with_a_majority_left_nothing_is_recovered() {
    let mut cluster = Handmade::new(3).start();
    cluster.with_a_release("1");
    cluster.wait_equal();
    cluster.nodes.iter_mut().for_each(|node| node.kill());
    let files = tempfile::tempdir().unwrap();
    let second = inspect(&cluster.nodes[1].data_dir, files.path());
    let dir = cluster.nodes[0].data_dir.to_str().unwrap();
    meridian(&["recover", "--data-dir", dir, "--survivor", second.to_str().unwrap()])
        .fails(1, &["no recovery is needed", "start them"]);

    // With all peers down it serves from its disk.
    let began = std::time::Instant::now();
    cluster.nodes[2].start();
    cluster.nodes[2].wait_ready();
    println!("ready alone after {:.0?}", began.elapsed());
    assert_eq!(cluster.nodes[2].meridian(&["get", "shop/live"]).ok(), "1");
}

#[test]
fn a_backup_is_verified_refused_when_bad_and_restored() {
    let source = Handmade::new(1).start();
    source.with_a_release("1");
    source.publish("2").ok();
    let files = tempfile::tempdir().unwrap();
    let [whole, bad] = ["whole", "bad"].map(|name| files.path().join(name).to_str().unwrap().to_owned());
    source.meridian(&["backup", &whole]).ok();
    source.meridian(&["backup", &whole]).fails(1, &["exists", "--overwrite"]);
    source.meridian(&["backup", &whole, "--overwrite"]).ok();
    source.meridian(&["backup", "gopher://there"]).fails(1, &["s3://bucket/key"]);
    source.meridian(&["backup", "/no/such/directory/file"]).fails(1, &["make it first"]);
    assert!(meridian(&["backup", "verify", &whole]).ok().contains("cluster acme at revision"));

    let bytes = fs::read(&whole).unwrap();
    let mut flipped = bytes.clone();
    flipped[bytes.len() / 2] ^= 1;
    let mut empty = Handmade::new(1);
    let config = empty.nodes[0].config.to_str().unwrap().to_owned();
    for damaged in [&bytes[..bytes.len() - 1], &bytes[..100], &flipped] {
        fs::write(&bad, damaged).unwrap();
        meridian(&["backup", "verify", &bad]).fails(1, &["damaged"]);
        meridian(&["restore", &bad, "--config", &config]).fails(1, &["damaged", "use another one"]);
    }
    let foreign = Handmade::of_cluster("other", 1, &[]);
    let other = foreign.nodes[0].config.to_str().unwrap();
    meridian(&["restore", &whole, "--config", other]).fails(1, &["is of cluster \"acme\"", "--from-cluster"]);
    assert!(!foreign.nodes[0].data_dir.exists() && !empty.nodes[0].data_dir.exists());

    meridian(&["restore", &whole, "--config", &config]).ok();
    meridian(&["restore", &whole, "--config", &config]).fails(1, &["holds a node's data"]);
    empty.nodes[0].start();
    empty.nodes[0].wait_ready();
    assert_eq!(empty.meridian(&["get", "shop/live"]).ok(), "2");
    assert_eq!(empty.meridian(&["get", "shop/live", "--version", "1"]).ok(), "1");
    empty.publish("3").ok();
    let mut joined = empty.joiner(0, "r2", "learner", JOIN_TOKEN);
    joined.start();
    joined.wait_ready();
    eventually("the joined node serves it", Duration::from_secs(60), || {
        (joined.meridian(&["get", "shop/live"]).ok() == "3").then_some(())
    });
}
