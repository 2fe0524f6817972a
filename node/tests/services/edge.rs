//! What does not fit: nodes that are not ready, garbage, what is too large; and what a stranger may look at.

use std::time::Duration;

use meridian_proto::admin::admin_service_client::AdminServiceClient;
use meridian_proto::admin::{ClusterStatusRequest, CreateProjectRequest, ListProjectsRequest};
use meridian_proto::config::{Format, GetConfigRequest, WatchConfigRequest};
use meridian_proto::statsig::ConfigSpecRequest;
use meridian_proto::statsig::config_spec_request::ApiVersion;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_stream::StreamExt as _;
use tonic::Code;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

use crate::node::{KEY, Node, OPERATOR, PATIENCE, bearing, operator};

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_not_ready_turns_nobody_away_for_good() {
    let node = Node::of_cluster(3, &[OPERATOR]).await;
    for credential in [KEY, OPERATOR] {
        let request = GetConfigRequest {
            project: "shop".to_owned(),
            environment: "live".to_owned(),
            ..Default::default()
        };
        let fetch = node.config().get_config(bearing(request, credential)).await.unwrap_err();
        assert_eq!(fetch.code(), Code::Unavailable, "{fetch}");
    }
    let watch = node.config().watch_config(bearing(WatchConfigRequest::default(), KEY)).await.unwrap_err();
    assert_eq!(watch.code(), Code::Unavailable);
    let request = ConfigSpecRequest {
        sdk_key: KEY.to_owned(),
        version: Some(ApiVersion::V2.into()),
        ..Default::default()
    };
    assert_eq!(node.statsig().stream_config_spec(request).await.unwrap_err().code(), Code::Unavailable);
    let mut admin = node.admin();
    let list = admin.list_projects(operator(ListProjectsRequest {})).await.unwrap_err();
    assert_eq!(list.code(), Code::Unavailable);
    let request = CreateProjectRequest { project: "shop".to_owned(), ..Default::default() };
    assert_eq!(admin.create_project(operator(request)).await.unwrap_err().code(), Code::Unavailable);
    let status = admin.cluster_status(operator(ClusterStatusRequest {})).await.unwrap().into_inner();
    assert_eq!((status.cluster_id.as_str(), status.answered_by), ("test", 1));
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_configured_token_the_answer_says_what_to_configure() {
    let node = Node::of_cluster(3, &[]).await;
    let refused = node.admin().list_projects(operator(ListProjectsRequest {})).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    assert!(refused.message().contains("auth.operator_token_sha256"), "{refused}");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_on_the_port_disturbs_nobody() {
    let node = Node::start().await;
    node.publish(Format::Json, "1").await;
    for garbage in [
        &[0xff; 4_096][..],
        b"GET / HTTP/1.1\r\nhost: x\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff",
    ] {
        let mut socket = tokio::net::TcpStream::connect(node.address).await.unwrap();
        socket.write_all(garbage).await.unwrap();
        socket.shutdown().await.unwrap();
        let mut said = Vec::new();
        // It may be cut off while it still speaks.
        let end = tokio::time::timeout(PATIENCE, socket.read_to_end(&mut said)).await;
        assert!(end.is_ok(), "the connection is closed");
    }
    let answer = node.config().get_config(bearing(GetConfigRequest::default(), KEY)).await.unwrap();
    assert_eq!(answer.into_inner().document, "1");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_large_is_refused() {
    let node = Node::start().await;
    let huge = "x".repeat(10 << 20);
    let request = GetConfigRequest { project: huge.clone(), ..Default::default() };
    let fetch = node.config().get_config(bearing(request, KEY)).await.unwrap_err();
    assert_eq!(fetch.code(), Code::OutOfRange, "{fetch}");
    let request = CreateProjectRequest { project: huge.clone(), ..Default::default() };
    let create = node.admin().create_project(operator(request)).await.unwrap_err();
    assert_eq!(create.code(), Code::OutOfRange, "{create}");
    let request = CreateProjectRequest { project: huge[..5 << 20].to_owned(), ..Default::default() };
    let create = node.admin().create_project(operator(request)).await.unwrap_err();
    assert_eq!(create.code(), Code::InvalidArgument, "{create}");
    assert!(create.message().len() < 500);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_largest_document_comes_through() {
    let node = Node::start().await;
    let mut admin = AdminServiceClient::new(node.channel());
    let document = format!("\"{}\"", "x".repeat(meridian_model::limits::DOCUMENT_BYTES - 2));
    let release = node.publish(Format::Json, &document).await;
    // A client that knows nothing of us takes four mebibytes.
    let answer = node.config().get_config(bearing(GetConfigRequest::default(), KEY)).await.unwrap();
    assert_eq!(answer.into_inner().document, document);
    let request = meridian_proto::admin::GetReleaseRequest {
        project: "shop".to_owned(),
        environment: "live".to_owned(),
        version: release.version,
    };
    assert_eq!(admin.get_release(operator(request)).await.unwrap().into_inner().document, document);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn reflection_lists_what_this_port_serves() {
    let node = Node::start().await;
    let request = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let answers = ServerReflectionClient::new(node.channel())
        .server_reflection_info(tokio_stream::once(request))
        .await
        .unwrap()
        .into_inner();
    let answers: Vec<_> = answers.collect().await;
    let Some(MessageResponse::ListServicesResponse(list)) =
        answers[0].as_ref().unwrap().message_response.clone()
    else {
        panic!("no list: {answers:?}");
    };
    let mut names: Vec<_> = list.service.into_iter().map(|service| service.name).collect();
    names.sort();
    assert_eq!(
        names,
        [
            "grpc.health.v1.Health",
            "grpc.reflection.v1.ServerReflection",
            "meridian.admin.v1.AdminService",
            "meridian.config.v1.ConfigService",
            "statsig_forward_proxy.StatsigForwardProxy",
        ]
    );
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_and_streams_are_counted() {
    let node = Node::start().await;
    let mut client = node.config();
    let watch = client.watch_config(bearing(WatchConfigRequest::default(), KEY)).await.unwrap();
    client.get_config(bearing(GetConfigRequest::default(), KEY)).await.unwrap_err();
    let shows = async |line: &str| {
        let shown = async {
            loop {
                let mut text = String::new();
                prometheus_client::encoding::text::encode(&mut text, &node.registry).unwrap();
                if text.lines().any(|shown| shown == line) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(PATIENCE, shown).await.unwrap_or_else(|_| panic!("never shown: {line}"));
    };
    let calls = |method: &str, code: &str| {
        format!(
            r#"meridian_grpc_calls_total{{method="meridian.config.v1.ConfigService/{method}",code="{code}"}} 1"#
        )
    };
    shows("meridian_grpc_streams 1").await;
    shows(&calls("GetConfig", "NOT_FOUND")).await;
    // A call is over when the server is done with it, which a client may know earlier.
    drop(watch);
    shows("meridian_grpc_streams 0").await;
    shows(&calls("WatchConfig", "CANCELLED")).await;
    node.stop().await;
}
