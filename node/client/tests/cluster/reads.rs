//! Reads go on to the next node until one gives a definite answer.

use std::time::{Duration, Instant};

use meridian_client::proto::config::{Demand, GetConfigRequest};
use meridian_client::{Endpoint, Error, Fetched};
use tonic::{Code, Status};

use crate::fake::{Act, Node, client, dying, listen, nobody, stale};

/// A read over this endpoint and then a healthy node; says how often the healthy one was asked.
async fn read_with_first(first: Endpoint) -> usize {
    let healthy = Node::start(Act::Serve).await;
    let client = client([first, healthy.endpoint.clone()]);
    assert_eq!(client.projects().await.unwrap().len(), 1);
    healthy.asked().len()
}

#[tokio::test]
async fn a_read_goes_on_where_a_node_cannot_serve() {
    assert_eq!(read_with_first(nobody().await).await, 1, "nobody listens");
    assert_eq!(read_with_first(dying().await).await, 1, "the connection breaks");
    let (silent, address) = listen().await;
    assert_eq!(read_with_first(address.into()).await, 1, "the process is stopped");
    drop(silent);
    for act in
        [Act::Hang, Act::Follow(None), Act::Say(Status::internal("")), Act::Say(Status::unimplemented(""))]
    {
        let node = Node::start(act).await;
        assert_eq!(read_with_first(node.endpoint.clone()).await, 1);
        assert_eq!(node.asked().len(), 1);
    }
}

#[tokio::test]
async fn a_definite_answer_ends_a_read() {
    for (code, check) in [
        (Code::NotFound, (|e| matches!(e, Error::NotFound { .. })) as fn(&Error) -> bool),
        (Code::InvalidArgument, |e| matches!(e, Error::Invalid { .. })),
        (Code::PermissionDenied, |e| matches!(e, Error::PermissionDenied { .. })),
        (Code::Unauthenticated, |e| matches!(e, Error::Unauthenticated { .. })),
        (Code::ResourceExhausted, |e| matches!(e, Error::Busy { .. })),
    ] {
        let first = Node::start(Act::Say(Status::new(code, "said so"))).await;
        let second = Node::start(Act::Serve).await;
        let error = client([first.endpoint.clone(), second.endpoint.clone()]).projects().await.unwrap_err();
        assert!(check(&error), "{code:?} became {error:?}");
        assert!(second.asked().is_empty(), "{code:?} went on");
    }
}

#[tokio::test]
async fn a_node_that_failed_is_asked_last() {
    let hanging = Node::start(Act::Hang).await;
    let healthy = Node::start(Act::Serve).await;
    let client = client([hanging.endpoint.clone(), healthy.endpoint.clone()]);
    for _ in 0..3 {
        client.projects().await.unwrap();
    }
    assert_eq!(hanging.asked().len(), 1);
    assert_eq!(healthy.asked().len(), 3);
}

#[tokio::test]
async fn nodes_that_are_not_ready_are_asked_again_until_the_deadline() {
    let node = Node::start(Act::Follow(None)).await;
    let client = client([node.endpoint.clone()]);
    let (answer, ()) = tokio::join!(client.projects(), async {
        while node.asked().len() < 2 {
            tokio::task::yield_now().await;
        }
        node.will(Act::Serve);
    });
    assert_eq!(answer.unwrap().len(), 1);
}

#[tokio::test]
async fn when_nobody_listens_a_read_says_so_at_once() {
    let endpoints = [nobody().await, nobody().await];
    let began = Instant::now();
    let error = client(endpoints.clone()).projects().await.unwrap_err();
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    let Error::Unavailable { message } = error else { panic!("{error:?}") };
    for endpoint in endpoints {
        assert!(message.contains(&format!("{endpoint}: cannot connect: ")), "{message}");
    }
}

#[tokio::test]
async fn a_read_ends_at_the_deadline() {
    let nodes = [Node::start(Act::Hang).await, Node::start(Act::Hang).await];
    let began = Instant::now();
    let error = client(nodes.iter().map(|node| node.endpoint.clone())).projects().await.unwrap_err();
    assert!(matches!(error, Error::Unavailable { .. }), "{error:?}");
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
}

#[tokio::test]
async fn large_documents_arrive_and_the_token_is_sent() {
    let node = Node::start(Act::Serve).await;
    // Larger than the 4 MB at which gRPC libraries stop by default.
    node.serves(1, vec![b'x'; 5 << 20]);
    let fetched = client([node.endpoint.clone()]).get_config(GetConfigRequest::default()).await.unwrap();
    let Fetched::Config(config) = fetched else { panic!("{fetched:?}") };
    assert_eq!(config.document.len(), 5 << 20);
    assert_eq!(node.asked()[0].authorization.as_deref(), Some("Bearer operator-token"));
}

#[tokio::test]
async fn what_one_node_does_not_know_another_may_when_proof_is_demanded() {
    let demanding = GetConfigRequest { demand: Some(Demand::default()), ..GetConfigRequest::default() };
    for code in [Code::NotFound, Code::PermissionDenied, Code::Unauthenticated] {
        let behind = Node::start(Act::Say(Status::new(code, "never heard of it"))).await;
        let second = Node::start(Act::Serve).await;
        // A client of its own each time: it remembers who failed.
        let client = || client([behind.endpoint.clone(), second.endpoint.clone()]);
        assert!(client().get_config(demanding.clone()).await.is_ok(), "{code:?}");
        let bare = client().get_config(GetConfigRequest::default()).await;
        assert!(bare.is_err(), "{code:?} without a demand: {bare:?}");

        second.will(Act::Follow(None));
        let error = client().get_config(demanding.clone()).await.unwrap_err();
        assert_eq!(error.to_string(), "never heard of it", "{code:?}: nobody knows better");
        second.will(Act::Say(stale(7)));
        let error = client().get_config(demanding.clone()).await.unwrap_err();
        assert!(matches!(error, Error::Stale { version: 7, .. }), "{code:?}: {error:?}");
    }
}
