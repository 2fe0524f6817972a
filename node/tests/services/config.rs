//! `ConfigService`.

use meridian_proto::admin::{CreateKeyRequest, RevokeKeyRequest};
use meridian_proto::config::{Format, GetConfigRequest, WatchConfigRequest};
use tonic::Code;

use crate::node::{KEY, Node, OPERATOR, bearing, is_silent, next, operator, refusal};

fn get(project: &str, environment: &str, since_version: u64) -> GetConfigRequest {
    GetConfigRequest {
        project: project.to_owned(),
        environment: environment.to_owned(),
        since_version,
        demand: None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_config_is_fetched_once_and_then_not_modified() {
    let node = Node::start().await;
    let mut client = node.config();
    let nothing = client.get_config(bearing(get("", "", 0), KEY)).await.unwrap_err();
    assert_eq!((nothing.code(), refusal(&nothing).reason.as_str()), (Code::NotFound, "nothing-published"));

    let published = node.publish(Format::Json, r#"{"a":1}"#).await;
    for (credential, request) in
        [(KEY, get("", "", 0)), (KEY, get("shop", "live", 0)), (OPERATOR, get("shop", "live", 0))]
    {
        let answer = client.get_config(bearing(request, credential)).await.unwrap().into_inner();
        assert_eq!(answer.release.as_ref(), Some(&published));
        assert_eq!((answer.not_modified, answer.document.as_ref()), (false, &br#"{"a":1}"#[..]));
        let freshness = answer.freshness.unwrap();
        assert_eq!((freshness.node, freshness.region.as_str()), (1, "here"));
        assert!(freshness.revision > 0);
    }
    for since_version in [1, 2, u64::MAX] {
        let answer = client.get_config(bearing(get("", "", since_version), KEY)).await.unwrap().into_inner();
        assert_eq!((answer.not_modified, answer.document.len()), (true, 0), "since {since_version}");
    }
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_read_is_told_why() {
    let node = Node::start().await;
    let mut client = node.config();
    let none = client.get_config(get("shop", "live", 0)).await.unwrap_err();
    assert_eq!(none.code(), Code::Unauthenticated);
    for (credential, project, environment, code) in [
        ("secret-nobody-knows", "", "", Code::PermissionDenied),
        (KEY, "shop", "test", Code::PermissionDenied),
        (KEY, "blog", "", Code::PermissionDenied),
        (OPERATOR, "", "", Code::InvalidArgument),
        (OPERATOR, "shop", "nul\0", Code::InvalidArgument),
        (OPERATOR, "blog", "live", Code::NotFound),
        (OPERATOR, "shop", "test", Code::NotFound),
    ] {
        let fetch = client.get_config(bearing(get(project, environment, 0), credential)).await.unwrap_err();
        assert_eq!(fetch.code(), code, "{project:?}/{environment:?}: {fetch}");
        let request = WatchConfigRequest {
            project: project.to_owned(),
            environment: environment.to_owned(),
            ..Default::default()
        };
        let watch = client.watch_config(bearing(request, credential)).await.unwrap_err();
        assert_eq!((watch.code(), watch.message()), (code, fetch.message()));
    }
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watcher_is_pushed_each_release_and_never_an_older_one() {
    let node = Node::start().await;
    let mut client = node.config();
    let watch = |since_version| bearing(WatchConfigRequest { since_version, ..Default::default() }, KEY);

    let mut early = client.watch_config(watch(0)).await.unwrap().into_inner();
    let first = next(&mut early).await.unwrap();
    assert_eq!((first.not_modified, first.release), (true, None));
    for version in 1..=3 {
        let document = format!("{{\"version\":{version}}}");
        node.publish(Format::Json, &document).await;
        let pushed = next(&mut early).await.unwrap();
        assert_eq!((pushed.not_modified, pushed.release.unwrap().version), (false, version));
        assert_eq!(pushed.document, document);
    }

    let mut late = client.watch_config(watch(2)).await.unwrap().into_inner();
    assert_eq!(next(&mut late).await.unwrap().release.unwrap().version, 3);
    let mut ahead = client.watch_config(watch(4)).await.unwrap().into_inner();
    let first = next(&mut ahead).await.unwrap();
    assert!(first.not_modified && first.document.is_empty());
    node.publish(Format::Json, "4").await;
    assert_eq!(next(&mut late).await.unwrap().release.unwrap().version, 4);
    assert!(is_silent(&mut ahead).await, "it holds version 4");
    node.publish(Format::Json, "5").await;
    assert_eq!(next(&mut ahead).await.unwrap().release.unwrap().version, 5);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_reader_ends_on_the_newest_release() {
    const LAST: u64 = 40;
    let node = Node::start().await;
    let mut stream =
        node.config().watch_config(bearing(WatchConfigRequest::default(), KEY)).await.unwrap().into_inner();
    // Larger than what flow control lets pass unread, so most of them must be skipped.
    for n in 1..=LAST {
        node.publish(Format::Json, &format!("\"{n}{}\"", "x".repeat(100_000))).await;
    }
    let mut seen = vec![0];
    while seen.last() != Some(&LAST) {
        seen.push(next(&mut stream).await.unwrap().release.map_or(0, |release| release.version));
    }
    assert!(seen.is_sorted() && seen.len() < LAST as usize, "{seen:?}");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn revoking_a_key_ends_its_streams_only() {
    const OTHER: &str = "secret-of-somebody-else";
    let node = Node::start().await;
    let request = CreateKeyRequest {
        project: "shop".to_owned(),
        environment: "live".to_owned(),
        secret: OTHER.to_owned(),
        ..Default::default()
    };
    let key = node.admin().create_key(operator(request)).await.unwrap().into_inner().key.unwrap();
    let mut client = node.config();
    let mut streams = Vec::new();
    for credential in [KEY, OTHER] {
        let request = bearing(WatchConfigRequest::default(), credential);
        let mut stream = client.watch_config(request).await.unwrap().into_inner();
        next(&mut stream).await.unwrap();
        streams.push(stream);
    }
    let request = RevokeKeyRequest { id: key.id.clone(), ..Default::default() };
    node.admin().revoke_key(operator(request)).await.unwrap();
    assert_eq!(next(&mut streams[1]).await.unwrap_err().code(), Code::PermissionDenied);
    assert!(is_silent(&mut streams[0]).await);
    node.publish(Format::Json, "1").await;
    assert_eq!(next(&mut streams[0]).await.unwrap().document, "1");
    node.stop().await;
}
