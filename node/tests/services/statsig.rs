//! `StatsigForwardProxy`.

use meridian::render::statsig::{EMPTY, NO_UPDATES};
use meridian_proto::admin::{ListKeysRequest, RevokeKeyRequest};
use meridian_proto::config::Format;
use meridian_proto::statsig::config_spec_request::ApiVersion;
use meridian_proto::statsig::{ConfigSpecRequest, ConfigSpecResponse};
use tonic::Code;

use crate::node::{KEY, Node, is_silent, next, operator};

const PROJECT: &str = r#"{"feature_gates":{},"dynamic_configs":{},"layer_configs":{},"condition_map":{},"experiment_to_layer":{}}"#;

fn ask(since_time: u64) -> ConfigSpecRequest {
    ConfigSpecRequest {
        sdk_key: KEY.to_owned(),
        since_time: Some(since_time),
        version: Some(ApiVersion::V2.into()),
        zstd_dict_id: None,
    }
}

fn rendered(time_ms: u64) -> ConfigSpecResponse {
    let spec = meridian::render::statsig::render(PROJECT.as_bytes(), time_ms).unwrap();
    ConfigSpecResponse { spec, last_updated: time_ms, zstd_dict_id: None }
}

fn no_updates(last_updated: u64) -> ConfigSpecResponse {
    ConfigSpecResponse { spec: NO_UPDATES.to_owned(), last_updated, zstd_dict_id: None }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_sdk_gets_the_project_and_then_each_change() {
    let node = Node::start().await;
    let mut client = node.statsig();
    let empty = ConfigSpecResponse { spec: EMPTY.to_owned(), last_updated: 1, zstd_dict_id: None };
    assert_eq!(client.get_config_spec(ask(0)).await.unwrap().into_inner(), empty);
    let mut early = client.stream_config_spec(ask(0)).await.unwrap().into_inner();
    assert_eq!(next(&mut early).await.unwrap(), empty);

    let first = node.publish(Format::Statsig, PROJECT).await.time_ms;
    assert_eq!(next(&mut early).await.unwrap(), rendered(first));
    for (since_time, expected) in [
        (0, rendered(first)),
        (first - 1, rendered(first)),
        (first, no_updates(first)),
        (first + 1, no_updates(first)),
    ] {
        let mut stream = client.stream_config_spec(ask(since_time)).await.unwrap().into_inner();
        assert_eq!(next(&mut stream).await.unwrap(), expected, "since {since_time}");
        assert_eq!(client.get_config_spec(ask(since_time)).await.unwrap().into_inner(), expected);
    }

    let second = node.publish(Format::Statsig, PROJECT).await.time_ms;
    assert!(second > first);
    assert_eq!(next(&mut early).await.unwrap(), rendered(second));
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_in_another_format_takes_no_values_away() {
    let node = Node::start().await;
    let mut client = node.statsig();
    let published = node.publish(Format::Statsig, PROJECT).await.time_ms;
    let mut stream = client.stream_config_spec(ask(0)).await.unwrap().into_inner();
    assert_eq!(next(&mut stream).await.unwrap(), rendered(published));
    node.publish(Format::Json, "{}").await;
    assert!(is_silent(&mut stream).await);
    let held = client.get_config_spec(ask(published)).await.unwrap().into_inner();
    assert_eq!(held.spec, NO_UPDATES);
    assert_eq!(client.get_config_spec(ask(0)).await.unwrap().into_inner().spec, EMPTY);
    let again = node.publish(Format::Statsig, PROJECT).await.time_ms;
    assert_eq!(next(&mut stream).await.unwrap(), rendered(again));
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_sdk_hears_it_before_the_stream_begins() {
    let node = Node::start().await;
    let mut client = node.statsig();
    let unknown = || ConfigSpecRequest { sdk_key: "secret-nobody-knows".to_owned(), ..ask(0) };
    let version = |version| ConfigSpecRequest { version, ..ask(0) };
    for (request, code) in [
        (unknown(), Code::PermissionDenied),
        (ConfigSpecRequest { sdk_key: String::new(), ..ask(0) }, Code::PermissionDenied),
        (version(None), Code::InvalidArgument),
        (version(Some(0)), Code::InvalidArgument),
        (version(Some(1)), Code::InvalidArgument),
        (version(Some(9)), Code::InvalidArgument),
    ] {
        assert_eq!(client.get_config_spec(request.clone()).await.unwrap_err().code(), code, "{request:?}");
        assert_eq!(client.stream_config_spec(request.clone()).await.unwrap_err().code(), code, "{request:?}");
    }
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_key_ends_its_stream() {
    let node = Node::start().await;
    let mut stream = node.statsig().stream_config_spec(ask(0)).await.unwrap().into_inner();
    next(&mut stream).await.unwrap();
    let keys = node.admin().list_keys(operator(ListKeysRequest::default())).await.unwrap().into_inner().keys;
    let request = RevokeKeyRequest { id: keys[0].id.clone(), ..Default::default() };
    node.admin().revoke_key(operator(request)).await.unwrap();
    assert_eq!(next(&mut stream).await.unwrap_err().code(), Code::PermissionDenied);
    assert_eq!(node.statsig().stream_config_spec(ask(0)).await.unwrap_err().code(), Code::PermissionDenied);
    node.stop().await;
}
