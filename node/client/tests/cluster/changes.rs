//! Changes follow the leader under one request id, and never claim to know what they cannot.

use meridian_client::proto::admin::{CreateProjectRequest, PublishRequest};
use meridian_client::{Client, Endpoint, Error, Options};
use tonic::{Code, Status};

use crate::fake::{Act, Node, client, dying, nobody, refused};

fn message() -> PublishRequest {
    PublishRequest { project: "shop".into(), environment: "live".into(), ..PublishRequest::default() }
}

#[tokio::test]
async fn a_leader_hint_is_followed_even_out_of_the_list() {
    let leader = Node::start(Act::Serve).await;
    let follower = Node::start(Act::Follow(Some(leader.endpoint.to_string()))).await;
    let client = client([follower.endpoint.clone()]);

    let published = client.publish(message()).await.unwrap();
    assert_eq!(published.release.version, 1);
    assert_eq!(leader.asked()[0].request_id, follower.asked()[0].request_id);
    assert!(uuid::Uuid::parse_str(&leader.asked()[0].request_id).is_ok());

    client.publish(message()).await.unwrap();
    assert_eq!(follower.asked().len(), 1, "the leader is remembered");
    assert_ne!(leader.asked()[0].request_id, leader.asked()[1].request_id, "another change, another id");
}

#[tokio::test]
async fn two_followers_that_name_each_other_are_not_asked_in_a_spin() {
    let first = Node::start(Act::Serve).await;
    let second = Node::start(Act::Follow(Some(first.endpoint.to_string()))).await;
    first.will(Act::Follow(Some(second.endpoint.to_string())));
    let error = client([first.endpoint.clone()]).publish(message()).await.unwrap_err();
    assert!(matches!(error, Error::Unavailable { .. }), "{error:?}");
    let asked = first.asked().len() + second.asked().len();
    assert!(asked < 100, "asked {asked} times in 1.5 s, which is more than the pauses allow");
}

/// A change over these endpoints, of which the last comes to lead once the one before it was asked.
async fn change_after(first: Endpoint) -> (String, String) {
    let survivor = Node::start(Act::Follow(None)).await;
    let client = client([first, survivor.endpoint.clone()]);
    let id = "11111111-2222-4333-8444-555555555555".to_owned();
    let change = client.publish(PublishRequest { request_id: id.clone(), ..message() });
    let (answer, ()) = tokio::join!(change, async {
        while survivor.asked().is_empty() {
            tokio::task::yield_now().await;
        }
        survivor.will(Act::Serve);
    });
    answer.unwrap();
    (id, survivor.asked().pop().unwrap().request_id)
}

#[tokio::test]
async fn a_change_is_repeated_elsewhere_under_the_same_id() {
    let hanging = Node::start(Act::Hang).await;
    for first in [nobody().await, dying().await, hanging.endpoint.clone()] {
        let (given, sent) = change_after(first).await;
        assert_eq!(given, sent);
    }
    assert_eq!(hanging.asked()[0].request_id, "11111111-2222-4333-8444-555555555555");
}

#[tokio::test]
async fn a_leader_that_dies_is_replaced() {
    let mut old = Node::start(Act::Serve).await;
    let survivor = Node::start(Act::Follow(Some(old.endpoint.to_string()))).await;
    let client = client([survivor.endpoint.clone()]);
    client.publish(message()).await.unwrap();
    old.kill();
    let (answer, ()) = tokio::join!(client.publish(message()), async {
        // It names the dead leader until the election is over.
        while survivor.asked().len() < 3 {
            tokio::task::yield_now().await;
        }
        survivor.will(Act::Serve);
    });
    answer.unwrap();
}

#[tokio::test]
async fn callers_share_connections_even_when_all_lose_patience() {
    let node = Node::start(Act::Hang).await;
    let client = client([node.endpoint.clone()]);
    let calls: Vec<_> = (0..100)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move { client.publish(message()).await.unwrap_err() })
        })
        .collect();
    for call in calls {
        call.await.unwrap();
    }
    // Attempts of 300, 600 and the remaining ms: as many connections as rounds, not as callers.
    assert!(node.asked().len() > 100, "asked {} times", node.asked().len());
    assert!(node.connections() <= 6, "{} connections", node.connections());
}

/// Publishes at each of these endpoints alone, where it never succeeds.
async fn endings(endpoints: Vec<Endpoint>) -> Vec<Error> {
    let ends = endpoints
        .into_iter()
        .map(|endpoint| tokio::spawn(async { client([endpoint]).publish(message()).await.unwrap_err() }));
    let mut errors = Vec::new();
    for end in ends.collect::<Vec<_>>() {
        errors.push(end.await.unwrap());
    }
    errors
}

#[tokio::test]
async fn an_outcome_is_unknown_exactly_when_a_request_went_out_unanswered() {
    let follower = Node::start(Act::Follow(None)).await;
    for error in endings(vec![nobody().await, follower.endpoint.clone()]).await {
        assert!(matches!(error, Error::Unavailable { .. }), "{error:?}");
    }

    let hanging = Node::start(Act::Hang).await;
    let broken = Node::start(Act::Say(Status::internal("it broke"))).await;
    let late = Node::start(Act::Say(Status::deadline_exceeded("not committed in time"))).await;
    let endpoints =
        vec![hanging.endpoint.clone(), late.endpoint.clone(), dying().await, broken.endpoint.clone()];
    let mut last_id = String::new();
    for (error, endpoint) in endings(endpoints.clone()).await.into_iter().zip(endpoints) {
        assert!(error.is_retryable());
        let Error::Unknown { message, request_id } = error else { panic!("{endpoint}: {error:?}") };
        assert!(message.contains(&endpoint.to_string()), "{message}");
        last_id = request_id;
    }
    assert!(broken.asked().len() > 2, "it was repeated");
    assert!(broken.asked().iter().all(|asked| asked.request_id == last_id), "{:?}", broken.asked());
}

#[tokio::test]
async fn doubt_stays_until_the_log_has_decided() {
    for (answer, is_decided) in [
        (Status::unauthenticated("who are you"), false),
        (Status::invalid_argument("what is this"), false),
        (Status::failed_precondition("no reason is given"), false),
        (refused(Code::FailedPrecondition, "unknown-node"), false),
        (refused(Code::FailedPrecondition, "unknown-region"), false),
        (refused(Code::FailedPrecondition, "none-would-serve"), false),
        (refused(Code::FailedPrecondition, "version-conflict"), true),
        (refused(Code::Aborted, "abandoned"), true),
    ] {
        let node = Node::start(Act::Say(answer.clone())).await;
        let error = client([dying().await, node.endpoint.clone()]).publish(message()).await.unwrap_err();
        let found = match &error {
            Error::Unknown { .. } => false,
            Error::Refused { .. } => true,
            other => panic!("{answer:?} became {other:?}"),
        };
        assert_eq!(found, is_decided, "{answer:?} became {error:?}");
    }
}

#[tokio::test]
async fn in_doubt_a_busy_node_is_asked_again() {
    let busy = Node::start(Act::Say(Status::resource_exhausted("too many"))).await;
    let client = client([dying().await, busy.endpoint.clone()]);
    let (answer, ()) = tokio::join!(client.publish(message()), async {
        while busy.asked().len() < 2 {
            tokio::task::yield_now().await;
        }
        busy.will(Act::Serve);
    });
    answer.unwrap();
}

#[tokio::test]
async fn a_dry_run_leaves_no_doubt() {
    let hanging = Node::start(Act::Hang).await;
    let dry_run = PublishRequest { validate_only: true, ..message() };
    let error = client([hanging.endpoint.clone()]).publish(dry_run).await.unwrap_err();
    assert!(matches!(error, Error::Unavailable { .. }), "{error:?}");
}

#[tokio::test]
async fn an_answer_without_its_release_is_an_error() {
    let node = Node::start(Act::Serve).await;
    let client = client([node.endpoint.clone()]);
    assert!(client.create_project(CreateProjectRequest::default()).await.is_ok());
    let error = client.rollback(Default::default()).await.unwrap_err();
    assert_eq!(error, Error::Malformed { missing: "Release" });
}

#[test]
fn options_that_cannot_work_are_refused() {
    let endpoint: Endpoint = "127.0.0.1:1".parse().unwrap();
    let no_endpoint = Options::new([]);
    let too_many = Options::new(vec![endpoint.clone(); Options::ENDPOINTS + 1]);
    let bad_token = Options { token: Some("line\nbreak".into()), ..Options::new([endpoint]) };
    for options in [no_endpoint, too_many, bad_token] {
        assert!(matches!(Client::new(options), Err(Error::Options(_))));
    }
}
