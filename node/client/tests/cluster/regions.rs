//! The own region first, the others when it is lost, and back.

use std::time::{Duration, Instant};

use meridian_client::proto::config::{Demand, GetConfigRequest};
use meridian_client::{Circuit, Client, Config, Endpoint, Error, Event, Fetched, Options};

use crate::fake::{Act, Node, client, dying, eventually, nobody, pushed, stale};
use crate::relay::Relay;

/// A client in a region.
fn client_in(region: &str, endpoints: impl IntoIterator<Item = Endpoint>) -> Client {
    Client::new(Options { region: Some(region.to_owned()), ..Options::new(endpoints) }).unwrap()
}

async fn read(client: &Client) -> Result<Config, Error> {
    match client.get_config(GetConfigRequest::default()).await? {
        Fetched::Config(config) => Ok(config),
        Fetched::NotModified(freshness) => panic!("not modified: {freshness:?}"),
    }
}

/// The region that answers.
async fn region(client: &Client) -> String {
    read(client).await.unwrap().freshness.region
}

/// Reads until this region answers.
async fn until_region(client: &Client, wanted: &str) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while region(client).await != wanted {
        assert!(Instant::now() < deadline, "{wanted} never answers: {:?}", client.nodes());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn the_own_region_is_preferred_lost_and_found_again() {
    let (a, mut b, c) =
        (Node::start(Act::Serve).await, Node::start(Act::Serve).await, Node::start(Act::Serve).await);
    let client = client_in("b", [a.in_region("a"), b.in_region("b"), c.in_region("c")]);
    // Calls that are not hedged, so that a busy machine does not look like a slow region.
    for _ in 0..20 {
        client.projects().await.unwrap();
    }
    assert_eq!((a.asked().len(), b.asked().len(), c.asked().len()), (0, 20, 0));
    b.kill();
    for _ in 0..20 {
        client.projects().await.unwrap();
    }
    assert_eq!((a.asked().len(), c.asked().len()), (20, 0), "the next one given");

    let b = Node::start_at(b.address, Act::Serve).await;
    let deadline = Instant::now() + Duration::from_secs(20);
    while b.asked().is_empty() {
        assert!(Instant::now() < deadline, "it is never asked again: {:?}", client.nodes());
        client.projects().await.unwrap();
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let before = a.asked().len();
    client.projects().await.unwrap();
    assert_eq!((a.asked().len(), b.asked().len()), (before, 2), "all goes home");
}

#[tokio::test]
async fn a_node_that_fails_is_left_alone_and_tried_again() {
    let (a, b) = (Node::start(Act::Follow(None)).await, Node::start(Act::Serve).await);
    let client = client_in("a", [a.in_region("a"), b.in_region("b")]);
    let began = Instant::now();
    for _ in 0..100 {
        assert_eq!(region(&client).await, "b");
    }
    // The first pause is at least 250 ms, and no later one is shorter.
    let most = 1 + began.elapsed().as_millis() / 250;
    assert!(a.asked().len() as u128 <= most, "asked {} times, {most} allowed", a.asked().len());
    let nodes = client.nodes();
    assert_ne!(nodes[0].circuit, Circuit::Closed);
    assert_eq!(nodes[0].last_failure.as_deref(), Some("this node does not lead"));
    assert_eq!(nodes[1].circuit, Circuit::Closed);

    a.will(Act::Serve);
    until_region(&client, "a").await;
    assert_eq!(client.nodes()[0].circuit, Circuit::Closed);
}

#[tokio::test]
async fn a_region_that_falls_silent_fails_no_read() {
    let (a, b) = (Node::start(Act::Serve).await, Node::start(Act::Serve).await);
    a.in_region("a");
    let relay = Relay::to(a.address).await;
    let far = format!("a={}", relay.address).parse().unwrap();
    let client = client_in("a", [far, b.in_region("b")]);
    until_region(&client, "a").await;

    relay.silence();
    let reads: Vec<_> = (0..200)
        .map(|number| {
            let client = client.clone();
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_millis(5 * number)).await;
                region(&client).await
            })
        })
        .collect();
    for read in reads {
        assert_eq!(read.await.unwrap(), "b");
    }
    let counts = client.counts();
    assert!(counts.hedges as f64 <= 10.0 + counts.reads as f64 / 10.0, "{counts:?}");

    relay.heal();
    until_region(&client, "a").await;
}

#[tokio::test]
async fn a_silent_partition_under_a_watch_is_noticed() {
    let (a, b) = (Node::start(Act::Serve).await, Node::start(Act::Serve).await);
    let relay = Relay::to(a.address).await;
    let (stream, _rest) = (a.next_stream(), b.next_stream());
    stream.send(pushed(1)).await.unwrap();
    let mut watch = client([relay.address.into(), b.endpoint.clone()]).watch("shop", "live", 0);
    while !matches!(watch.next().await.unwrap(), Event::Config(_)) {}

    relay.silence();
    let began = Instant::now();
    let Event::Disconnected { why, .. } = watch.next().await.unwrap() else { panic!("not noticed") };
    // 900 ms by design; the rest is for a machine that is busy with other tests.
    assert!(began.elapsed() < Duration::from_millis(2_500), "after {:?}: {why}", began.elapsed());
    assert!(matches!(watch.next().await.unwrap(), Event::Connected { endpoint } if endpoint == b.endpoint));
}

#[tokio::test]
async fn when_all_endpoints_are_wrong_each_is_named_with_the_reason() {
    let wrong = [nobody().await, dying().await, "no-such-host.invalid:7400".parse().unwrap()];
    let error = read(&client(wrong.clone())).await.unwrap_err();
    let Error::Unavailable { message } = error else { panic!("{error:?}") };
    for (endpoint, why) in wrong.iter().zip(["cannot connect: ", "", "cannot look its name up: "]) {
        let told = message.split("; ").find(|told| told.starts_with(&format!("{endpoint}: ")));
        assert!(told.is_some_and(|told| told.contains(why)), "{endpoint} in {message}");
    }
}

#[tokio::test]
async fn a_demand_that_one_node_cannot_prove_is_taken_to_the_next() {
    let (a, b) = (Node::start(Act::Say(stale(3))).await, Node::start(Act::Serve).await);
    let client = client([a.endpoint.clone(), b.endpoint.clone()]);
    let demand = Demand { max_staleness_ms: Some(500), at_least_version: 4, linearizable: true };
    let message = GetConfigRequest { demand: Some(demand), ..GetConfigRequest::default() };
    assert!(client.get_config(message.clone()).await.is_ok());
    assert_eq!((a.demands(), b.demands()), (vec![demand], vec![demand]));
    assert_eq!(client.nodes()[0].circuit, Circuit::Closed, "it serves those who demand less");

    b.will(Act::Say(stale(5)));
    let error = client.get_config(message).await.unwrap_err();
    assert!(error.is_retryable());
    let Error::Stale { message, version, freshness } = error else { panic!("{error:?}") };
    assert_eq!((version, freshness.fresh_as_of_ms), (5, 5_000), "the best one seen");
    assert_eq!(message, format!("{}: only at 3; {}: only at 5", a.endpoint, b.endpoint));
}

#[tokio::test]
async fn a_watch_leaves_a_node_that_cannot_prove_its_demand() {
    let (a, b) = (Node::start(Act::Say(stale(3))).await, Node::start(Act::Serve).await);
    b.next_stream().send(pushed(4)).await.unwrap();
    let demand = Demand { max_staleness_ms: Some(500), ..Demand::default() };
    let mut watch = client([a.endpoint.clone(), b.endpoint.clone()]).watch("shop", "live", 0).demand(demand);
    let Event::Disconnected { why, .. } = watch.next().await.unwrap() else { panic!("it was taken") };
    assert_eq!(why, "only at 3");
    while !matches!(watch.next().await.unwrap(), Event::Config(_)) {}
    assert_eq!(b.demands(), [demand]);
}

#[tokio::test]
async fn a_reader_never_gets_less_than_it_had() {
    let (mut a, b) = (Node::start(Act::Serve).await, Node::start(Act::Serve).await);
    a.serves(5, "five");
    b.serves(3, "three");
    let reader = client([a.endpoint.clone(), b.endpoint.clone()]).reader("shop", "live");
    assert_eq!(reader.read().await.unwrap().document, "five");
    a.kill();
    assert_eq!(reader.read().await.unwrap().document, "five", "the node that is left has only version 3");
    b.serves(6, "six");
    assert_eq!(reader.read().await.unwrap().document, "six");
    assert_eq!(reader.version(), 6);
    eventually("the first node is dead", || a.asked().len() == 1).await;
}
