//! What an unmodified Statsig SDK gets, message by message.

use std::time::Duration;

use meridian_proto::statsig::{ConfigSpecRequest, ConfigSpecResponse};
use rustix::process::Signal;
use serde_json::{Value, json};
use tonic::{Code, Status, Streaming};

use super::support::{Cluster, Handmade, SAMPLE, SOON, file, gates, shared, signal, statsig, without_time};

const NO_UPDATES: &str = r#"{"has_updates":false}"#;

fn ask(sdk_key: &str, since_time: u64) -> ConfigSpecRequest {
    ConfigSpecRequest {
        sdk_key: sdk_key.to_owned(),
        since_time: Some(since_time),
        version: Some(2),
        zstd_dict_id: None,
    }
}

async fn open(address: &str, request: ConfigSpecRequest) -> Result<Streaming<ConfigSpecResponse>, Status> {
    Ok(statsig(address).await.stream_config_spec(request).await?.into_inner())
}

/// The next message, which must come soon.
async fn next(stream: &mut Streaming<ConfigSpecResponse>) -> Result<ConfigSpecResponse, Status> {
    let message = tokio::time::timeout(SOON, stream.message()).await.expect("the stream says something");
    Ok(message?.expect("a stream never ends with OK"))
}

fn publish(cluster: &Cluster, environment: &str, document: &str) -> Value {
    let file = file(document);
    let path = file.path().to_str().unwrap();
    cluster.meridian(&["publish", environment, path, "--format", "statsig", "--output", "json"]).json()
}

#[tokio::test]
async fn a_stream_begins_with_the_whole_project() {
    let cluster = shared();
    let mut stream = open(cluster.solo(), ask(&cluster.sdk_key, 0)).await.unwrap();
    let first = next(&mut stream).await.unwrap();
    assert_eq!(without_time(&first.spec), serde_json::from_str::<Value>(SAMPLE).unwrap());
    let spec: Value = serde_json::from_str(&first.spec).unwrap();
    assert_eq!(spec["has_updates"], true);
    assert_eq!(spec["time"], first.last_updated);

    let mut client = statsig(cluster.solo()).await;
    let unary = client.get_config_spec(ask(&cluster.sdk_key, 0)).await.unwrap().into_inner();
    assert_eq!(unary, first);
}

#[tokio::test]
async fn who_holds_the_newest_hears_that_there_is_nothing_newer() {
    let cluster = shared();
    let mut client = statsig(cluster.solo()).await;
    let newest = client.get_config_spec(ask(&cluster.sdk_key, 0)).await.unwrap().into_inner();
    let time = newest.last_updated;
    for (since, whole) in [(0, true), (1, true), (time - 1, true), (time, false), (time + 1, false)] {
        let mut stream = open(cluster.solo(), ask(&cluster.sdk_key, since)).await.unwrap();
        let first = next(&mut stream).await.unwrap();
        assert_eq!(first.last_updated, time, "since {since}");
        assert_eq!(first.spec, if whole { newest.spec.as_str() } else { NO_UPDATES }, "since {since}");
    }
}

#[tokio::test]
async fn a_publish_is_pushed() {
    let cluster = shared();
    let environment = cluster.environment("pushed");
    let key = cluster.key(&environment);
    publish(cluster, &environment, &gates(&[("checkout", true)]));
    let mut stream = open(cluster.solo(), ask(&key, 0)).await.unwrap();
    let before = next(&mut stream).await.unwrap();

    let flipped = gates(&[("checkout", false)]);
    let release = publish(cluster, &environment, &flipped);
    let after = next(&mut stream).await.unwrap();
    assert_eq!(without_time(&after.spec), serde_json::from_str::<Value>(&flipped).unwrap());
    assert_eq!(release["time_ms"], after.last_updated);
    assert!(after.last_updated > before.last_updated);
    let checksum = |message: &ConfigSpecResponse| {
        serde_json::from_str::<Value>(&message.spec).unwrap()["checksum"].clone()
    };
    assert_ne!(checksum(&before), checksum(&after));

    // Going back is going forward: SDKs drop what is not newer.
    cluster.meridian(&["rollback", &environment]).ok();
    let restored = next(&mut stream).await.unwrap();
    assert_eq!(without_time(&restored.spec), without_time(&before.spec));
    assert!(restored.last_updated > after.last_updated);
}

#[tokio::test]
async fn an_environment_without_a_release_starts_applications_with_defaults() {
    let cluster = shared();
    let environment = cluster.environment("empty");
    let key = cluster.key(&environment);
    let mut stream = open(cluster.solo(), ask(&key, 0)).await.unwrap();
    let first = next(&mut stream).await.unwrap();
    let spec: Value = serde_json::from_str(&first.spec).unwrap();
    assert_eq!(
        (&spec["has_updates"], &spec["time"], &spec["feature_gates"]),
        (&json!(true), &json!(1), &json!({}))
    );

    publish(cluster, &environment, &gates(&[("checkout", true)]));
    let second = next(&mut stream).await.unwrap();
    assert!(second.spec.contains("checkout"), "{}", second.spec);
}

#[tokio::test]
async fn a_key_that_nobody_knows_is_refused_before_the_stream() {
    let cluster = shared();
    for key in ["", "secret-that-was-never-made", &cluster.operator_token] {
        let status = open(cluster.solo(), ask(key, 0)).await.unwrap_err();
        assert_eq!(status.code(), Code::PermissionDenied, "{status:?}");
        assert!(key.is_empty() || !status.message().contains(key), "the credential is told: {status:?}");
    }
    let old = ConfigSpecRequest { version: Some(1), ..ask(&cluster.sdk_key, 0) };
    assert_eq!(open(cluster.solo(), old).await.unwrap_err().code(), Code::InvalidArgument);
}

#[tokio::test]
async fn a_secret_from_statsig_works_as_it_is() {
    let cluster = shared();
    let environment = cluster.environment("imported");
    publish(cluster, &environment, &gates(&[("imported", true)]));
    let secret = "secret-Qz7tXvB2mK9pLw4RfHs6NdYc1";
    let shown = cluster.meridian(&["key", "create", &environment, "--import", secret, "--label", "web"]).ok();
    assert!(!shown.contains(secret), "{shown}");
    let mut stream = open(cluster.solo(), ask(secret, 0)).await.unwrap();
    assert!(next(&mut stream).await.unwrap().spec.contains("imported"));
}

#[tokio::test]
async fn revoking_a_key_ends_its_streams_and_no_others() {
    let cluster = shared();
    let environment = cluster.environment("revoked");
    publish(cluster, &environment, &gates(&[("checkout", true)]));
    let (kept, ended) = (cluster.key(&environment), cluster.key(&environment));
    let mut kept_stream = open(cluster.solo(), ask(&kept, 0)).await.unwrap();
    let mut ended_stream = open(cluster.solo(), ask(&ended, 0)).await.unwrap();
    next(&mut kept_stream).await.unwrap();
    next(&mut ended_stream).await.unwrap();

    let keys = cluster.meridian(&["key", "list", &environment, "--output", "json"]).json();
    let id = keys["keys"]
        .as_array()
        .unwrap()
        .iter()
        .find(|key| ended.starts_with(key["prefix"].as_str().unwrap()));
    cluster.meridian(&["key", "revoke", id.unwrap()["id"].as_str().unwrap()]).ok();
    assert_eq!(next(&mut ended_stream).await.unwrap_err().code(), Code::PermissionDenied);
    assert_eq!(open(cluster.solo(), ask(&ended, 0)).await.unwrap_err().code(), Code::PermissionDenied);

    publish(cluster, &environment, &gates(&[("checkout", false)]));
    next(&mut kept_stream).await.unwrap();
}

#[tokio::test]
async fn a_node_that_stops_says_so_to_each_stream() {
    let mut cluster = Handmade::new(1).start();
    for line in [&["project", "create", "shop"][..], &["env", "create", "shop/live"]] {
        cluster.meridian(line).ok();
    }
    let key = cluster.meridian(&["key", "create", "shop/live"]).ok();
    let address = cluster.nodes[0].listen.grpc.to_string();
    let mut stream = open(&address, ask(key.trim(), 0)).await.unwrap();
    next(&mut stream).await.unwrap();
    signal(cluster.nodes[0].pid(), Signal::TERM);
    assert_eq!(next(&mut stream).await.unwrap_err().code(), Code::Unavailable);
    // An open stream does not hold up the stop.
    drop(stream);
    assert_eq!(cluster.nodes[0].wait_end(Duration::from_secs(10)).code(), Some(0));
}
