//! What an application gets: at its start, while nodes come and go, and after a restart.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::StreamExt as _;
use meridian_client::proto::config::WatchConfigResponse;
use meridian_client::subscription::{Builder, Link, Source};
use meridian_client::{Endpoint, Subscription};
use serde_json::json;
use tonic::Status;

use crate::fake::{Act, Node, client, document, eventually, nobody, pushed, release, stamp};

fn subscribe(endpoints: impl IntoIterator<Item = Endpoint>) -> Builder {
    client(endpoints).subscribe("shop", "live").defaults(json!({"version": -1, "only": "here"}))
}

/// A start that does not wait for nodes which will not come.
async fn start_alone(file: &Path) -> (Subscription, Source) {
    let builder = subscribe([nobody().await]).cache_file(file);
    builder.wait(Duration::ZERO).init().await
}

fn version(subscription: &Subscription) -> i64 {
    subscription.get_or("version", 0)
}

fn file(directory: &tempfile::TempDir) -> PathBuf {
    directory.path().join("shop.cache")
}

#[tokio::test]
async fn with_nothing_to_be_had_the_defaults_answer() {
    let endpoints = [nobody().await, nobody().await];
    let (config, source) = subscribe(endpoints.clone()).wait(Duration::from_millis(300)).init().await;
    assert_eq!(source, Source::Defaults);
    assert_eq!((version(&config), config.get_or("nowhere", 7)), (-1, 7));
    let status = config.status();
    assert_eq!((status.source, status.version, status.link), (Source::Defaults, 0, Link::Down));
    assert_eq!((status.last_heard, status.staleness, status.endpoint), (None, None, None));
    let problem = status.problem.unwrap();
    assert!(endpoints.iter().any(|endpoint| problem.contains(&endpoint.to_string())), "{problem}");
}

#[tokio::test]
async fn a_node_makes_it_live_and_pushes_what_is_new() {
    let node = Node::start(Act::Serve).await;
    let stream = node.next_stream();
    stream.send(pushed(1)).await.unwrap();
    let (config, source) = subscribe([node.endpoint.clone()]).init().await;
    assert_eq!((source, version(&config)), (Source::Live, 1));
    assert_eq!(config.get::<String>("only").unwrap(), "here", "what the config lacks");

    let mut changes = config.changes();
    let mut streamed = Box::pin(config.changes().into_stream());
    let called: Arc<Mutex<Vec<u64>>> = Arc::default();
    let calls = called.clone();
    config.on_change(move |snapshot| {
        calls.lock().unwrap().push(snapshot.version());
        assert_ne!(snapshot.version(), 2, "a callback that panics is called again");
    });
    for pushed_version in [2, 3] {
        stream.send(pushed(pushed_version)).await.unwrap();
        assert_eq!(changes.next().await.unwrap().version(), pushed_version);
        assert_eq!(streamed.next().await.unwrap().version(), pushed_version);
        eventually("the callback", || called.lock().unwrap().last() == Some(&pushed_version)).await;
    }
    stream.send(stamp(40)).await.unwrap();
    eventually("the stamp", || config.status().staleness.is_some()).await;
    let status = config.status();
    assert!(status.staleness.unwrap() >= Duration::from_millis(40));
    assert_eq!(
        (status.link, status.endpoint, status.problem),
        (Link::Streaming, Some(node.endpoint.clone()), None)
    );
    assert_eq!((status.version, status.digest), (3, pushed(3).unwrap().release.unwrap().digest));

    drop(config);
    assert!(changes.next().await.is_none(), "it ends with the subscription");
    eventually("the stream is closed", || stream.is_closed()).await;
}

#[tokio::test]
async fn without_streams_it_polls_and_streams_again_when_it_can() {
    // No stream is scripted: each is refused.
    let node = Node::start(Act::Serve).await;
    let builder = subscribe([node.endpoint.clone()]).poll_every(Duration::from_millis(100));
    let (config, source) = builder.wait(Duration::from_secs(20)).init().await;
    assert_eq!((source, version(&config)), (Source::Live, 1));
    assert_eq!(config.status().link, Link::Polling);
    assert!(config.status().problem.unwrap().contains("no stream is scripted"));
    node.serves(2, document(2));
    eventually("a poll brings it", || version(&config) == 2).await;

    let stream = node.next_stream();
    stream.send(pushed(3)).await.unwrap();
    eventually("a stream brings it", || version(&config) == 3).await;
    assert_eq!(config.status().link, Link::Streaming);
}

#[tokio::test]
async fn it_starts_from_its_file_with_everything_down_and_never_below_it() {
    let directory = tempfile::tempdir().unwrap();
    let file = file(&directory);
    let node = Node::start(Act::Serve).await;
    node.next_stream().send(pushed(5)).await.unwrap();
    let (config, source) = subscribe([node.endpoint.clone()]).cache_file(&file).init().await;
    assert_eq!((source, config.status().cache_problem), (Source::Live, None));
    drop(config);

    let (config, source) = start_alone(&file).await;
    assert_eq!((source, version(&config)), (Source::Cached, 5));
    assert_eq!(config.current().config().unwrap().document, document(5));
    assert_eq!(config.status().staleness, None, "no stopwatch was running");
    drop(config);

    let behind = Node::start(Act::Serve).await;
    let stream = behind.next_stream();
    stream.send(pushed(4)).await.unwrap();
    let builder = subscribe([behind.endpoint.clone()]).cache_file(&file);
    let (config, source) = builder.wait(Duration::from_millis(300)).init().await;
    assert_eq!((source, version(&config)), (Source::Cached, 5), "a node that is behind confirms nothing");
    assert_eq!(behind.since(), [5]);
    let mut changes = config.changes();
    stream.send(stamp(0)).await.unwrap();
    eventually("its stamp", || config.status().staleness.is_some()).await;
    assert_eq!(config.status().source, Source::Cached, "nor does its stamp");
    let same = WatchConfigResponse { release: Some(release(5)), ..stamp(0).unwrap() };
    stream.send(Ok(same)).await.unwrap();
    eventually("the node serves the same", || config.status().source == Source::Live).await;
    stream.send(pushed(6)).await.unwrap();
    assert_eq!(changes.next().await.unwrap().version(), 6, "what is confirmed is no change");
    drop(config);
    assert_eq!(version(&start_alone(&file).await.0), 6);
}

#[tokio::test]
async fn a_damaged_file_is_not_served_and_the_next_config_replaces_it() {
    let directory = tempfile::tempdir().unwrap();
    let file = file(&directory);
    let node = Node::start(Act::Serve).await;
    node.next_stream().send(pushed(5)).await.unwrap();
    drop(subscribe([node.endpoint.clone()]).cache_file(&file).init().await);
    let mut bytes = std::fs::read(&file).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&file, bytes).unwrap();

    let (config, source) = start_alone(&file).await;
    assert_eq!((source, version(&config)), (Source::Defaults, -1));
    let problem = config.status().cache_problem.unwrap();
    assert!(problem.contains("shop.cache is damaged and not used"), "{problem}");
    drop(config);

    node.next_stream().send(pushed(6)).await.unwrap();
    let (config, _) = subscribe([node.endpoint.clone()]).cache_file(&file).init().await;
    assert_eq!(config.status().cache_problem, None, "it is sound again");
    drop(config);
    assert_eq!(version(&start_alone(&file).await.0), 6);
}

#[tokio::test]
async fn the_file_of_another_environment_is_neither_served_nor_touched() {
    let directory = tempfile::tempdir().unwrap();
    let file = file(&directory);
    let node = Node::start(Act::Serve).await;
    for stream in [node.next_stream(), node.next_stream()] {
        stream.send(pushed(5)).await.unwrap();
    }
    let client = client([node.endpoint.clone()]);
    drop(client.subscribe("shop", "live").cache_file(&file).init().await);
    let before = std::fs::read(&file).unwrap();
    let (config, source) = client.subscribe("shop", "test").cache_file(&file).init().await;
    assert_eq!(source, Source::Live);
    let problem = config.status().cache_problem.unwrap();
    assert!(problem.contains("holds shop/live, not shop/test: give each environment a file"), "{problem}");
    assert_eq!(std::fs::read(&file).unwrap(), before);
}

#[tokio::test]
async fn a_file_that_cannot_be_written_stops_nobody() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("file"), "not a directory").unwrap();
    let node = Node::start(Act::Serve).await;
    node.next_stream().send(pushed(1)).await.unwrap();
    let builder = subscribe([node.endpoint.clone()]).cache_file(directory.path().join("file/below"));
    let (config, source) = builder.init().await;
    assert_eq!((source, version(&config)), (Source::Live, 1));
    assert!(config.status().cache_problem.unwrap().starts_with("cannot "));
}

/// Nodes push versions in any order, streams break, the application restarts: what it sees only rises.
#[tokio::test]
async fn versions_only_rise_across_failover_and_restart() {
    let directory = tempfile::tempdir().unwrap();
    let file = file(&directory);
    let seed = fastrand::u64(..);
    let mut random = fastrand::Rng::with_seed(seed);
    let mut newest = 0;
    for round in 0..10 {
        let node = Node::start(Act::Serve).await;
        let builder = subscribe([node.endpoint.clone()]).cache_file(&file).wait(Duration::ZERO);
        let (config, source) = builder.init().await;
        assert_eq!(source == Source::Cached, newest > 0, "seed {seed}, round {round}");
        // The file may be ahead: a config is on the disk before it is handed out.
        let first = config.current().version();
        assert!(first >= newest, "seed {seed}, round {round}: {first} after {newest} and a restart");
        newest = first;
        for _ in 0..3 {
            let stream = node.next_stream();
            for _ in 0..5 {
                let version = newest.saturating_sub(3) + random.u64(1..6);
                stream.send(pushed(version)).await.unwrap();
                let seen = config.current().version();
                assert!(seen >= newest, "seed {seed}, round {round}: {seen} after {newest}");
                newest = seen;
            }
            stream.send(Err(Status::unavailable("draining"))).await.unwrap();
            eventually("the stream has ended", || stream.is_closed()).await;
            newest = newest.max(config.current().version());
        }
        drop(config);
        newest = start_alone(&file).await.0.current().version().max(newest);
    }
    assert!(newest > 10, "seed {seed}: {newest}");
}

#[tokio::test]
async fn a_stream_that_stops_stamping_is_left() {
    let (first, second) = (Node::start(Act::Serve).await, Node::start(Act::Serve).await);
    let (stream, rest) = (first.next_stream(), second.next_stream());
    for message in [pushed(1), stamp(0)] {
        stream.send(message).await.unwrap();
    }
    rest.send(pushed(2)).await.unwrap();
    let (config, _) = subscribe([first.endpoint.clone(), second.endpoint.clone()]).init().await;
    // Its connection lives, and answers pings.
    eventually("the other node is asked", || version(&config) == 2).await;
    assert_eq!(config.status().endpoint, Some(second.endpoint.clone()));
}

#[tokio::test]
async fn a_poll_of_a_node_that_is_behind_does_not_confirm_the_file() {
    let directory = tempfile::tempdir().unwrap();
    let file = file(&directory);
    let node = Node::start(Act::Serve).await;
    node.next_stream().send(pushed(5)).await.unwrap();
    drop(subscribe([node.endpoint.clone()]).cache_file(&file).init().await);

    node.serves(4, document(4));
    let builder = subscribe([node.endpoint.clone()]).cache_file(&file).wait(Duration::ZERO);
    let (config, _) = builder.poll_every(Duration::from_millis(100)).init().await;
    eventually("it polls", || config.status().link == Link::Polling).await;
    assert_eq!((config.status().source, version(&config)), (Source::Cached, 5));
    node.serves(5, document(5));
    eventually("the node has it", || config.status().source == Source::Live).await;
}

#[tokio::test]
async fn a_stream_on_which_nothing_comes_is_left() {
    let (first, second) = (Node::start(Act::Serve).await, Node::start(Act::Serve).await);
    let (silent, rest) = (first.next_stream(), second.next_stream());
    rest.send(pushed(2)).await.unwrap();
    let (config, source) = subscribe([first.endpoint.clone(), second.endpoint.clone()]).init().await;
    assert_eq!((source, version(&config)), (Source::Live, 2));
    eventually("the silent stream is closed", || silent.is_closed()).await;
    eventually("the other one is heard", || config.status().endpoint == Some(second.endpoint.clone())).await;
}
