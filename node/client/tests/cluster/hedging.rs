//! Second attempts: where they go, and that there are few.

use std::time::{Duration, Instant};

use meridian_client::proto::config::GetConfigRequest;
use meridian_client::{Client, Options};

use crate::fake::{Act, Node, client, eventually};

async fn read_at_once(client: &Client, count: usize) -> Vec<bool> {
    let reads: Vec<_> = (0..count)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move { client.get_config(GetConfigRequest::default()).await.is_ok() })
        })
        .collect();
    let mut answered = Vec::new();
    for read in reads {
        answered.push(read.await.unwrap());
    }
    answered
}

#[tokio::test]
async fn a_slow_answer_is_asked_for_in_another_region_too() {
    let slow = Node::start(Act::Late(Duration::from_millis(1_500))).await;
    let (neighbour, far) = (Node::start(Act::Serve).await, Node::start(Act::Serve).await);
    let endpoints = [slow.in_region("a"), neighbour.in_region("b"), far.in_region("c")];
    let options = Options { region: Some("a".to_owned()), ..Options::new(endpoints) };
    let client = Client::new(options).unwrap();
    assert_eq!(read_at_once(&client, 1).await, [true]);
    assert_eq!((slow.asked().len(), neighbour.asked().len(), far.asked().len()), (1, 1, 0));
    assert_eq!((slow.connections(), neighbour.connections()), (1, 1), "each on its own connection");
    let counts = client.counts();
    assert_eq!((counts.reads, counts.attempts, counts.hedges, counts.retries), (1, 2, 1, 0));
}

#[tokio::test]
async fn the_connection_for_a_hedge_is_there_before_it_is_needed() {
    let (near, far) = (Node::start(Act::Serve).await, Node::start(Act::Serve).await);
    let client = Client::new(Options::new([near.endpoint.clone(), far.endpoint.clone()])).unwrap();
    assert_eq!(read_at_once(&client, 1).await, [true]);
    eventually("it connects", || far.connections() == 1).await;
    read_at_once(&client, 20).await;
    assert_eq!(far.connections(), 1);
}

#[tokio::test]
async fn a_hedge_that_fails_leaves_the_first_attempt_its_time() {
    let slow = Node::start(Act::Late(Duration::from_millis(500))).await;
    let other = Node::start(Act::Follow(None)).await;
    let client = Client::new(Options::new([slow.endpoint.clone(), other.endpoint.clone()])).unwrap();
    assert_eq!(read_at_once(&client, 1).await, [true]);
    assert_eq!((slow.asked().len(), other.asked().len()), (1, 1));
}

#[tokio::test]
async fn a_hedge_that_knows_nothing_does_not_beat_the_first_attempt() {
    let slow = Node::start(Act::Late(Duration::from_millis(500))).await;
    let other = Node::start(Act::Say(tonic::Status::not_found("no such environment"))).await;
    let client = Client::new(Options::new([slow.endpoint.clone(), other.endpoint.clone()])).unwrap();
    assert_eq!(read_at_once(&client, 1).await, [true]);
    assert_eq!((slow.asked().len(), other.asked().len()), (1, 1));
}

#[tokio::test]
async fn hedges_stay_within_a_tenth_of_the_reads() {
    // Longer than any hedge waits, so that each read would be hedged; shorter than what is taken for silence.
    let slow = Node::start(Act::Late(Duration::from_millis(200))).await;
    let other = Node::start(Act::Serve).await;
    let client = Client::new(Options::new([slow.endpoint.clone(), other.endpoint.clone()])).unwrap();
    for _ in 0..10 {
        assert!(read_at_once(&client, 50).await.into_iter().all(|answered| answered));
        let counts = client.counts();
        assert!(counts.hedges > 0, "{counts:?}");
        assert!(counts.hedges <= 10 + counts.reads / 10, "{counts:?}");
    }
}

#[tokio::test]
async fn when_all_fail_retries_stay_within_their_budget() {
    let nodes = [Node::start(Act::Follow(None)).await, Node::start(Act::Follow(None)).await];
    let client = client(nodes.iter().map(|node| node.endpoint.clone()));
    let began = Instant::now();
    assert!(read_at_once(&client, 300).await.into_iter().all(|answered| !answered));
    let counts = client.counts();
    let allowed = 200 + 300 / 5 + 10 * (began.elapsed().as_secs() + 1);
    assert!(counts.retries <= allowed, "{counts:?}, {allowed} allowed");
    assert!(counts.held_back > 0, "{counts:?}");
    assert!(counts.attempts <= 300 + counts.retries, "{counts:?}");
}
