//! Watches come back by themselves and never step back.

use std::time::Duration;

use meridian_client::{Error, Event, Watch};
use tonic::Status;

use crate::fake::{Act, Node, client, document, nobody, pushed};

/// Versions handed out until this one, and the connections and losses on the way.
async fn until(watch: &mut Watch, version: u64) -> (Vec<u64>, Vec<&'static str>) {
    let (mut versions, mut links) = (Vec::new(), Vec::new());
    let watching = async {
        while versions.last() != Some(&version) {
            match watch.next().await.unwrap() {
                Event::Config(config) => {
                    assert_eq!(config.document, document(config.release.version));
                    versions.push(config.release.version);
                }
                Event::Connected { .. } => links.push("up"),
                Event::Disconnected { .. } => links.push("down"),
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), watching).await.expect("the watch goes on");
    (versions, links)
}

#[tokio::test]
async fn a_watch_moves_to_another_node_and_resumes() {
    let (first, second) = (Node::start(Act::Serve).await, Node::start(Act::Serve).await);
    let stream = first.next_stream();
    let rest = second.next_stream();
    stream.send(pushed(1)).await.unwrap();
    stream.send(pushed(2)).await.unwrap();
    stream.send(Err(Status::unavailable("draining"))).await.unwrap();
    rest.send(pushed(3)).await.unwrap();

    let endpoints = [nobody().await, first.endpoint.clone(), second.endpoint.clone()];
    let mut watch = client(endpoints).watch("shop", "live", 0);
    let (versions, links) = until(&mut watch, 3).await;
    assert_eq!(versions, [1, 2, 3]);
    assert_eq!(links, ["down", "up", "down", "up"]);
    assert_eq!((first.since(), second.since()), (vec![0], vec![2]));
}

#[tokio::test]
async fn a_watch_never_steps_back() {
    let node = Node::start(Act::Serve).await;
    let stream = node.next_stream();
    for version in [6, 5, 7, 7, 6, 8] {
        stream.send(pushed(version)).await.unwrap();
    }
    drop(stream);
    // The node that takes over is behind, and sends what it was not asked for.
    let behind = node.next_stream();
    for version in [4, 8, 9] {
        behind.send(pushed(version)).await.unwrap();
    }
    let mut watch = client([node.endpoint.clone()]).watch("shop", "live", 5);
    // As applications do it: in a task of its own.
    let (versions, _) = tokio::spawn(async move { until(&mut watch, 9).await }).await.unwrap();
    assert_eq!(versions, [6, 7, 8, 9]);
    assert_eq!(node.since(), [5, 8]);
}

#[tokio::test]
async fn a_watch_survives_the_death_of_its_node() {
    let (mut first, second) = (Node::start(Act::Serve).await, Node::start(Act::Serve).await);
    let (stream, rest) = (first.next_stream(), second.next_stream());
    stream.send(pushed(1)).await.unwrap();
    let mut watch = client([first.endpoint.clone(), second.endpoint.clone()]).watch("shop", "live", 0);
    until(&mut watch, 1).await;
    first.kill();
    rest.send(pushed(2)).await.unwrap();
    let (versions, _) = until(&mut watch, 2).await;
    assert_eq!(versions, [2]);
}

#[tokio::test]
async fn a_dropped_wait_loses_nothing() {
    let node = Node::start(Act::Serve).await;
    let stream = node.next_stream();
    let mut watch = client([node.endpoint.clone()]).watch("shop", "live", 0);
    assert!(matches!(watch.next().await, Ok(Event::Connected { .. })));
    for version in 1..=20 {
        // Give up the wait at every point at which it can be given up: before, while and after a message comes.
        let waited = tokio::time::timeout(Duration::ZERO, watch.next()).await;
        assert!(waited.is_err(), "nothing was sent yet: {waited:?}");
        stream.send(pushed(version)).await.unwrap();
        let (versions, _) = until(&mut watch, version).await;
        assert_eq!(versions, [version]);
    }
}

#[tokio::test]
async fn a_definite_answer_is_told_and_the_watch_may_go_on() {
    let node = Node::start(Act::Say(Status::not_found("no such environment"))).await;
    let mut watch = client([node.endpoint.clone()]).watch("shop", "live", 0);
    for _ in 0..2 {
        assert!(matches!(watch.next().await, Err(Error::NotFound { .. })));
    }
    node.will(Act::Serve);
    node.next_stream().send(pushed(1)).await.unwrap();
    let (versions, _) = until(&mut watch, 1).await;
    assert_eq!(versions, [1]);
}
