//! How the listener lets go of its clients.

use std::time::{Duration, Instant};

use meridian_proto::config::{GetConfigRequest, WatchConfigRequest};
use meridian_proto::statsig::ConfigSpecRequest;
use meridian_proto::statsig::config_spec_request::ApiVersion;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use crate::node::{KEY, Node, bearing, next};

#[tokio::test(flavor = "multi_thread")]
async fn every_stream_ends_with_unavailable_and_the_listener_is_gone() {
    let mut node = Node::start().await;
    let (mut config, mut statsig) = (node.config(), node.statsig());
    let mut watch =
        config.watch_config(bearing(WatchConfigRequest::default(), KEY)).await.unwrap().into_inner();
    let request = ConfigSpecRequest {
        sdk_key: KEY.to_owned(),
        version: Some(ApiVersion::V2.into()),
        ..Default::default()
    };
    let mut specs = statsig.stream_config_spec(request).await.unwrap().into_inner();
    let mut health = HealthClient::new(node.channel());
    let mut health = health.watch(HealthCheckRequest::default()).await.unwrap().into_inner();
    next(&mut watch).await.unwrap();
    next(&mut specs).await.unwrap();
    next(&mut health).await.unwrap();

    let began = Instant::now();
    node.stopping.cancel();
    assert_eq!(next(&mut watch).await.unwrap_err().code(), Code::Unavailable);
    assert_eq!(next(&mut specs).await.unwrap_err().code(), Code::Unavailable);
    assert_eq!(next(&mut health).await.unwrap_err().code(), Code::Unavailable);
    (&mut node.server).await.unwrap().unwrap();
    assert!(began.elapsed() < Duration::from_secs(4), "clients that let go do not hold it up");
    let late = config.get_config(bearing(GetConfigRequest::default(), KEY)).await.unwrap_err();
    // Cancelled: the client took its connection for good a moment too long, and did not send anything on it.
    assert!(matches!(late.code(), Code::Unavailable | Code::Cancelled), "{late}");
    assert!(tokio::net::TcpStream::connect(node.address).await.is_err());
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_let_go_holds_it_up_for_a_bounded_time() {
    let mut node = Node::start().await;
    let mut client = tokio::net::TcpStream::connect(node.address).await.unwrap();
    // The preface and empty settings. From then on it never answers a ping.
    client.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
    client.read_exact(&mut [0; 9]).await.unwrap();
    let began = Instant::now();
    node.stopping.cancel();
    (&mut node.server).await.unwrap().unwrap();
    let held_up = began.elapsed();
    assert!((Duration::from_secs(4)..Duration::from_secs(8)).contains(&held_up), "{held_up:?}");
    node.stop().await;
}
