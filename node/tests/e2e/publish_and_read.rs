//! What an operator does with a cluster of three regions, in text and in JSON.

use serde_json::{Value, json};

use super::support::{Cluster, Process, SOON, eventually, file, gates, meridian, shared};

#[test]
fn from_a_new_project_to_a_rollback() {
    let cluster = Cluster::start(&[]);
    let regions: Vec<_> = cluster.grpc.keys().cloned().collect();
    assert_eq!(regions, ["ap-south", "eu-west", "us-east"]);
    let run = |line: &[&str]| cluster.meridian(line);

    assert_eq!(run(&["project", "create", "shop"]).ok(), "created project shop\n");
    assert_eq!(run(&["env", "create", "shop/live"]).ok(), "created environment shop/live\n");
    let projects = run(&["project", "list", "--output", "json"]).json();
    let shop = projects["projects"].as_array().unwrap().iter().find(|project| project["name"] == "shop");
    assert_eq!(shop.unwrap()["environments"][0]["version"], 0);

    // The same document comes back byte for byte, however it is laid out.
    let first = "{ \"limit\" : 1.50,\n  \"unit\": \"MB\" }\n";
    let (one, two) = (file(first), file(r#"{"limit": 2, "unit": "MB"}"#));
    let publish = |document: &tempfile::NamedTempFile, options: &[&str]| {
        let path = document.path().to_str().unwrap();
        run(&[&["publish", "shop/live", path, "--format", "json"], options].concat())
    };
    let dry = publish(&one, &["--validate-only", "--output", "json"]).json();
    assert_eq!((&dry["version"], &dry["validate_only"]), (&json!(1), &json!(true)));
    assert_eq!(cluster.version("shop/live"), 0);
    assert!(publish(&one, &["--message", "first"]).ok().contains("version 1"));
    assert_eq!(run(&["get", "shop/live"]).ok(), first);

    // Every region serves it, to operators and to SDKs; and to nobody else.
    let key = cluster.key("shop/live");
    for endpoint in cluster.grpc.values() {
        eventually("the region serves the release to the new key", SOON, || {
            let ran = meridian(&["get", "shop/live", "--endpoints", endpoint, "--token", &key]);
            (ran.code == 0).then(|| assert_eq!(ran.stdout, first))
        });
        meridian(&["get", "shop/live", "--endpoints", endpoint]).fails(6, &["token"]);
        meridian(&["get", "demo/production", "--endpoints", endpoint, "--token", &key])
            .fails(6, &["another"]);
    }
    let keys = run(&["key", "list", "shop/live", "--output", "json"]).json();
    assert!(!keys.to_string().contains(&key), "the secret is kept");
    assert!(key.starts_with(keys["keys"][0]["prefix"].as_str().unwrap()));

    // A watcher in another region hears of the next one, and skips nothing that it asked for.
    let any = cluster.grpc["ap-south"].clone();
    let mut watch = Process::start([
        "watch",
        "shop/live",
        "--count",
        "2",
        "--output",
        "json",
        "--endpoints",
        &any,
        "--token",
        &key,
    ]);
    let heard: Value = serde_json::from_str(&watch.line().unwrap()).unwrap();
    assert_eq!((&heard["version"], &heard["region"]), (&json!(1), &json!("ap-south")));
    let published = publish(&two, &["--expect-version", "1", "--output", "json"]).json();
    assert_eq!((&published["version"], &published["format"]), (&json!(2), &json!("json")));
    let heard: Value = serde_json::from_str(&watch.line().unwrap()).unwrap();
    assert_eq!((&heard["version"], &heard["document"]["limit"]), (&json!(2), &json!(2)));
    assert_eq!(watch.wait(SOON).code(), Some(0));

    let got = run(&["get", "shop/live", "--output", "json"]).json();
    for field in ["version", "digest", "fresh_as_of", "region", "document"] {
        assert!(!got[field].is_null(), "{field} is missing: {got}");
    }
    assert_eq!(got["digest"], published["digest"]);
    let diff = run(&["diff", "shop/live", "1", "2"]).ok();
    assert!(diff.contains("-  \"limit\": 1.5") && diff.contains("+  \"limit\": 2"), "{diff}");

    let back = run(&["rollback", "shop/live", "--to", "1", "--output", "json"]).json();
    assert_eq!((&back["version"], &back["rollback_of"]), (&json!(3), &json!(1)));
    assert_eq!(run(&["get", "shop/live"]).ok(), first);
    assert_eq!(run(&["get", "shop/live", "--version", "2"]).ok(), r#"{"limit": 2, "unit": "MB"}"#);
    let history = run(&["history", "shop/live", "--output", "json"]).json();
    let releases = history["releases"].as_array().unwrap();
    let versions: Vec<_> = releases.iter().map(|release| release["version"].as_u64().unwrap()).collect();
    assert_eq!(versions, [3, 2, 1]);
    assert_eq!(releases[0]["digest"], releases[2]["digest"]);
    assert_eq!(releases[2]["message"], "first");
    let times: Vec<_> = releases.iter().map(|release| release["time_ms"].as_u64().unwrap()).collect();
    assert!(times[0] > times[1] && times[1] > times[2], "{times:?}");

    let status = run(&["status", "--output", "json"]).json();
    let nodes = status["nodes"].as_array().unwrap();
    assert_eq!(nodes.len(), 3);
    assert_eq!(nodes.iter().filter(|node| node["is_leader"] == true).count(), 1);
    for node in nodes {
        let region = node["region"].as_str().unwrap();
        assert_eq!((&node["healthy"], &node["role"]), (&json!(true), &json!("voter")), "{node}");
        assert_eq!(node["pid"], cluster.pids[region], "{node}");
        assert_eq!(node["grpc_address"], cluster.grpc[region].as_str(), "{node}");
    }
    let table = run(&["status"]).ok();
    assert!(regions.iter().all(|region| table.contains(region)), "{table}");
}

#[test]
fn a_repeated_request_has_one_effect() {
    let cluster = shared();
    let environment = cluster.environment("repeats");
    let document = file(gates(&[("checkout", true)]));
    let publish = |id: &str| {
        let path = document.path().to_str().unwrap();
        let line =
            ["publish", &environment, path, "--format", "statsig", "--request-id", id, "--output", "json"];
        cluster.meridian(&line).json()
    };
    let first = publish("6f1c0e51-3b63-4b6d-8f5e-1d1f2f6a7b01");
    let again = publish("6f1c0e51-3b63-4b6d-8f5e-1d1f2f6a7b01");
    assert_eq!((&first["version"], &first["time_ms"]), (&again["version"], &again["time_ms"]));
    assert_eq!(publish("6f1c0e51-3b63-4b6d-8f5e-1d1f2f6a7b02")["version"], 2);
}

#[test]
fn every_kind_of_end_has_its_exit_code() {
    let cluster = shared();
    let environment = cluster.environment("exits");
    let (good, bad) = (file("{}"), file("{"));
    let [good, bad] = [&good, &bad].map(|file| file.path().to_str().unwrap());
    let check = |code: i32, line: &[&str]| {
        let ran = cluster.meridian(line);
        assert_eq!(ran.code, code, "{ran:#?}");
    };
    check(0, &["publish", &environment, good, "--format", "json"]);
    check(1, &["project", "create", "exits"]);
    check(2, &["publish", &environment, good, "--format", "yaml"]);
    check(3, &["get", "nowhere/live"]);
    check(4, &["publish", &environment, good, "--format", "json", "--expect-version", "7"]);
    check(5, &["publish", &environment, bad, "--format", "json"]);
    check(6, &["get", &environment, "--token", "nobodys-token-at-all"]);
    // A port of loopback that is never given to anybody.
    check(7, &["get", &environment, "--endpoints", "127.0.0.1:1", "--deadline", "1s"]);

    let failed = cluster.meridian(&["get", "nowhere/live", "--output", "json"]);
    let error: Value = serde_json::from_str(&failed.fails(3, &[])).unwrap();
    assert_eq!(
        (&error["error"]["code"], &error["error"]["reason"]),
        (&json!("not_found"), &json!("unknown-project"))
    );
}
