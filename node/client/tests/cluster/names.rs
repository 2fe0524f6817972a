//! Endpoints whose host is a name.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use meridian_client::{Client, Endpoint, Error, Options, Resolver};

use crate::fake::{Act, Node, eventually, nobody};

/// What a name stands for, which may change.
#[derive(Clone, Default)]
struct Records {
    addresses: Arc<Mutex<Vec<SocketAddr>>>,
    asked: Arc<AtomicUsize>,
}

impl Records {
    fn of(addresses: impl IntoIterator<Item = SocketAddr>) -> Self {
        let records = Self::default();
        records.set(addresses);
        records
    }

    fn set(&self, addresses: impl IntoIterator<Item = SocketAddr>) {
        *self.addresses.lock().unwrap() = addresses.into_iter().collect();
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }

    fn client(&self, endpoints: &[&str]) -> Client {
        let records = self.clone();
        let resolver = Resolver::new(move |host, port| {
            assert_eq!((host.as_str(), port), ("nodes.test", 7400));
            records.asked.fetch_add(1, Ordering::Relaxed);
            let addresses = records.addresses.lock().unwrap().clone();
            async move { if addresses.is_empty() { Err(io::Error::other("no such name")) } else { Ok(addresses) } }
        });
        let endpoints = endpoints.iter().map(|text| text.parse().unwrap());
        let deadline = Duration::from_secs(3);
        Client::new(Options { resolver, deadline, ..Options::new(endpoints) }).unwrap()
    }
}

#[tokio::test]
async fn each_address_of_a_name_is_a_node() {
    let (mut first, mut second) = (Node::start(Act::Serve).await, Node::start(Act::Serve).await);
    let records = Records::of([first.address, second.address, first.address]);
    let client = records.client(&["a=nodes.test:7400"]);
    assert!(client.projects().await.is_ok());
    assert_eq!(client.nodes().len(), 2);

    let (used, other) = if first.asked().is_empty() { (&mut second, &first) } else { (&mut first, &second) };
    assert!(other.asked().is_empty(), "one connection is enough");
    used.kill();
    assert!(client.projects().await.is_ok());
    assert_eq!(other.asked().len(), 1);
}

#[tokio::test]
async fn a_name_is_looked_up_again_when_its_nodes_fail() {
    let node = Node::start(Act::Serve).await;
    let gone = nobody().await;
    let records = Records::of([gone.to_string().parse().unwrap()]);
    let client = records.client(&["nodes.test:7400"]);
    let error = client.projects().await.unwrap_err();
    let Error::Unavailable { message } = error else { panic!("{error:?}") };
    assert!(message.starts_with(&format!("nodes.test:7400 at {gone}: cannot connect: ")), "{message}");

    records.set([node.address]);
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    while client.projects().await.is_err() {
        assert!(tokio::time::Instant::now() < deadline, "it is never looked up again");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(client.nodes().len(), 1, "the address that is gone is forgotten");

    let asked = records.asked();
    for _ in 0..100 {
        client.projects().await.unwrap();
    }
    assert_eq!(records.asked(), asked, "all is well: not at each call");
}

#[tokio::test]
async fn a_name_without_addresses_leaves_the_other_endpoints() {
    let node = Node::start(Act::Serve).await;
    let records = Records::of([]);
    let client = records.client(&["nodes.test:7400", &node.endpoint.to_string()]);
    assert!(client.projects().await.is_ok());

    let client = records.client(&["nodes.test:7400"]);
    let expected = "nodes.test:7400: cannot look its name up: no such name";
    assert_eq!(client.projects().await, Err(Error::Unavailable { message: expected.to_owned() }));
    let error = client.create_project(Default::default()).await.unwrap_err();
    assert_eq!(error, Error::Unavailable { message: expected.to_owned() });

    records.set([node.address]);
    eventually("it is looked up again in the background", || {
        let _ = client.nodes();
        records.asked() > 0
    })
    .await;
}

#[tokio::test]
async fn a_resolver_that_hangs_holds_nobody_up_for_long() {
    let node = Node::start(Act::Serve).await;
    let resolver = Resolver::new(|_, _| std::future::pending());
    let endpoints: [Endpoint; 2] = ["hangs.test:1".parse().unwrap(), node.endpoint.clone()];
    let client = Client::new(Options { resolver, ..Options::new(endpoints) }).unwrap();
    for _ in 0..3 {
        assert!(client.projects().await.is_ok());
    }
    let unresolved = client.nodes().pop().unwrap();
    assert_eq!(unresolved.last_failure.as_deref(), Some("its name has not been looked up yet"));
}

#[tokio::test]
async fn the_operating_system_is_asked_by_default() {
    let node = Node::start(Act::Serve).await;
    let endpoint: Endpoint = format!("localhost:{}", node.address.port()).parse().unwrap();
    assert!(Client::new(Options::new([endpoint])).unwrap().projects().await.is_ok());
}
