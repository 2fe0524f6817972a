//! Stamps on answers, and what readers demand of them.

use meridian_proto::admin::CreateKeyRequest;
use meridian_proto::config::{Demand, Format, GetConfigRequest, Stale, WatchConfigRequest};
use meridian_proto::statsig::ConfigSpecRequest;
use meridian_proto::statsig::config_spec_request::ApiVersion;
use prost::Message as _;
use tonic::metadata::MetadataMap;
use tonic::{Code, Request, Status};

use crate::daemon::{Cluster, Daemon, until};
use crate::node::{KEY, Node, bearing, next, operator};

fn get(demand: Demand) -> Request<GetConfigRequest> {
    bearing(GetConfigRequest { demand: Some(demand), ..Default::default() }, KEY)
}

fn watch(demand: Demand, stamp_interval_ms: u32) -> Request<WatchConfigRequest> {
    bearing(WatchConfigRequest { demand: Some(demand), stamp_interval_ms, ..Default::default() }, KEY)
}

fn specs() -> Request<ConfigSpecRequest> {
    Request::new(ConfigSpecRequest {
        sdk_key: KEY.to_owned(),
        version: Some(ApiVersion::V2.into()),
        ..Default::default()
    })
}

fn with<T>(mut request: Request<T>, header: &'static str, value: &str) -> Request<T> {
    request.metadata_mut().insert(header, value.parse().unwrap());
    request
}

fn least(at_least_version: u64) -> Demand {
    Demand { at_least_version, ..Default::default() }
}

fn stalest(max_staleness_ms: u64) -> Demand {
    Demand { max_staleness_ms: Some(max_staleness_ms), ..Default::default() }
}

const LINEARIZABLE: Demand = Demand { max_staleness_ms: None, at_least_version: 0, linearizable: true };

/// What a refusal says of the node that refused.
fn stale(status: &Status) -> Stale {
    assert_eq!(status.code(), Code::FailedPrecondition, "{status}");
    let details = tonic_types::Status::decode(status.details()).unwrap().details;
    assert_eq!(details[0].type_url, "type.googleapis.com/meridian.config.v1.Stale");
    Stale::decode(details[0].value.as_slice()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_is_stamped_the_same_way() {
    let cluster = Cluster::start(&["here"], &[]).await;
    let node = &cluster.nodes[0];
    let release = cluster.publish(Format::Json, "{}").await;
    let check = |said: &dyn Fn(&str) -> Option<String>| {
        let number = |name| said(name).unwrap_or_else(|| panic!("{name} is missing")).parse::<u64>().unwrap();
        assert_eq!(said("meridian-version").as_deref(), Some("1"));
        assert_eq!(said("meridian-digest").as_deref(), Some(release.digest.as_str()));
        assert_eq!(said("meridian-region").as_deref(), Some("here"));
        assert_eq!((said("meridian-node").as_deref(), said("meridian-degraded")), (Some("1"), None));
        assert!(number("meridian-revision") > 0 && number("meridian-fresh-as-of-ms") > 1_700_000_000_000);
        assert!(number("meridian-staleness-ms") < 5_000);
    };
    let metadata = |metadata: &MetadataMap| {
        let metadata = metadata.clone();
        check(&move |name| Some(metadata.get(name)?.to_str().unwrap().to_owned()));
    };
    until("a first proof and a first tick", async || {
        let shown = node.probe("/freshz").await;
        shown.status == 200 && shown.json()["fresh_as_of_ms"] != 0
    })
    .await;
    let answer = node.config().get_config(get(Demand::default())).await.unwrap();
    metadata(answer.metadata());
    let freshness = answer.into_inner().freshness.unwrap();
    assert_eq!((freshness.degraded.as_str(), freshness.staleness_ms.is_some()), ("", true));
    metadata(node.config().watch_config(watch(Demand::default(), 0)).await.unwrap().metadata());
    metadata(node.statsig().get_config_spec(specs()).await.unwrap().metadata());
    metadata(node.statsig().stream_config_spec(specs()).await.unwrap().metadata());
    let fetched = node.fetch(&[]).await;
    check(&|name| fetched.header(name).map(str::to_owned));
    let known = node.fetch(&[("if-none-match", &format!("\"{}\"", release.digest))]).await;
    assert_eq!(known.status, 304);
    check(&|name| known.header(name).map(str::to_owned));
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_is_not_there_is_refused_with_the_stamp() {
    let cluster = Cluster::start(&["here"], &[]).await;
    let node = &cluster.nodes[0];
    cluster.publish(Format::Json, "1").await;
    let check = |status: Status| {
        let stale = stale(&status);
        assert_eq!((stale.version, stale.freshness.unwrap().node), (1, 1));
        assert!(stale.reason.contains("version 1, not 2"), "{}", stale.reason);
    };
    check(node.config().get_config(get(least(2))).await.unwrap_err());
    check(node.config().watch_config(watch(least(2), 0)).await.unwrap_err());
    let demanding = |header, value| with(specs(), header, value);
    check(node.statsig().get_config_spec(demanding("meridian-at-least-version", "2")).await.unwrap_err());
    check(node.statsig().stream_config_spec(demanding("meridian-at-least-version", "2")).await.unwrap_err());
    let by_metadata = with(bearing(GetConfigRequest::default(), KEY), "meridian-at-least-version", "2");
    check(node.config().get_config(by_metadata).await.unwrap_err());

    let refused = node.fetch(&[("meridian-at-least-version", "2")]).await;
    assert_eq!((refused.status, refused.header("meridian-node")), (412, Some("1")), "{refused:?}");
    let body = refused.json();
    assert_eq!((&body["stale"]["version"], &body["stale"]["freshness"]["node"]), (&1.into(), &1.into()));
    assert_eq!(node.fetch(&[("meridian-at-least-version", "1")]).await.status, 200);
    assert!(
        node.probe("/metrics")
            .await
            .body
            .contains(r#"meridian_demand_refused_total{kind="AtLeastVersion"} 6"#)
    );
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_malformed_demand_is_refused_by_name() {
    let node = Node::start().await;
    node.publish(Format::Json, "1").await;
    for (header, value) in [
        ("meridian-max-staleness-ms", "soon"),
        ("meridian-at-least-version", "-1"),
        ("meridian-linearizable", "yes"),
    ] {
        let request = with(bearing(GetConfigRequest::default(), KEY), header, value);
        let refused = node.config().get_config(request).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
        assert!(refused.message().starts_with(header), "{refused}");
        let refused = node.statsig().stream_config_spec(with(specs(), header, value)).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
    }
    for (request, says) in [
        (watch(Demand::default(), 999), "stamp_interval_ms is 999"),
        (watch(stalest(999), 0), "max staleness of a stream is 999 ms"),
    ] {
        let refused = node.config().watch_config(request).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
        assert!(refused.message().contains(says), "{refused}");
    }
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_malformed_demand_over_http_is_refused_by_name() {
    let cluster = Cluster::start(&["here"], &[]).await;
    cluster.publish(Format::Json, "1").await;
    let refused = cluster.nodes[0].fetch(&[("meridian-max-staleness-ms", "1s")]).await;
    assert_eq!(refused.status, 400);
    assert!(
        refused.json()["error"].as_str().unwrap().starts_with("meridian-max-staleness-ms"),
        "{refused:?}"
    );
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_published_is_read_on_every_node() {
    let cluster = Cluster::start(&["a", "b", "c"], &[]).await;
    for version in 1..=10 {
        let document = version.to_string();
        let release = cluster.publish(Format::Json, &document).await;
        assert_eq!(release.version, version);
        for node in &cluster.nodes {
            let both = Demand { linearizable: true, ..least(version) };
            for demand in [least(version), LINEARIZABLE, stalest(0), both] {
                let answer = node.config().get_config(get(demand)).await.unwrap().into_inner();
                assert_eq!(answer.document, document, "{demand:?}");
            }
        }
    }
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_on_its_own_serves_and_says_what_it_cannot_prove() {
    let mut cluster = Cluster::start(&["a", "b", "c"], &[("freshness.degraded_after_ms", "1000")]).await;
    cluster.publish(Format::Json, "1").await;
    let mut streams = Vec::new();
    let node = &cluster.nodes[0];
    until("the release is everywhere", async || node.config().get_config(get(least(1))).await.is_ok()).await;
    for demand in [stalest(1_000), Demand::default()] {
        let mut stream = node.config().watch_config(watch(demand, 1_000)).await.unwrap().into_inner();
        assert_eq!(next(&mut stream).await.unwrap().document, "1");
        streams.push(stream);
    }
    // While all is well, both say so again and again.
    for stream in &mut streams {
        let stamp = next(stream).await.unwrap();
        assert!(stamp.not_modified && stamp.release.is_none());
        assert_eq!(stamp.freshness.unwrap().degraded, "");
    }

    let [_, others @ ..] = cluster.nodes.as_mut_slice() else { panic!("three nodes") };
    futures::future::join_all(others.iter_mut().map(Daemon::stop)).await;
    let node = &cluster.nodes[0];
    let ended = loop {
        if let Err(ended) = next(&mut streams[0]).await {
            break stale(&ended);
        }
    };
    assert!(ended.freshness.unwrap().staleness_ms.unwrap() >= 1_000, "it ends when it must, not before");
    until("the other stream says that it is degraded", async || {
        let stamp = next(&mut streams[1]).await.unwrap();
        stamp.freshness.unwrap().degraded.contains("newer versions may be missing")
    })
    .await;

    let plain = node.config().get_config(bearing(GetConfigRequest::default(), KEY)).await.unwrap();
    assert!(plain.metadata().get("meridian-degraded").is_some());
    assert_eq!(plain.into_inner().document, "1");
    for (demand, says) in [(stalest(500), "may have missed"), (LINEARIZABLE, "linearizable")] {
        let refused = stale(&node.config().get_config(get(demand)).await.unwrap_err());
        assert!(refused.reason.contains(says) && refused.version == 1, "{refused:?}");
    }
    cluster.stop().await;
}

/// A key that was made a moment ago may not be known everywhere. "Unknown" turns a client away for good, so a node says it
/// to nobody who demands freshness before it has made sure.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_was_just_made_reads_where_freshness_is_demanded() {
    let cluster = Cluster::start(&["a", "b", "c"], &[]).await;
    cluster.publish(Format::Json, "1").await;
    let mut admin = cluster.nodes[cluster.leader().await].admin();
    for number in 0..20 {
        let secret = format!("secret-just-made-{number:04}");
        let request = CreateKeyRequest {
            project: "shop".to_owned(),
            environment: "live".to_owned(),
            secret: secret.clone(),
            ..Default::default()
        };
        admin.create_key(operator(request)).await.unwrap();
        for node in &cluster.nodes {
            let read = GetConfigRequest { demand: Some(LINEARIZABLE), ..Default::default() };
            let answer = node.config().get_config(bearing(read, &secret)).await.unwrap();
            assert_eq!(answer.into_inner().release.unwrap().version, 1);
        }
    }
    let read = GetConfigRequest { demand: Some(LINEARIZABLE), ..Default::default() };
    let stranger = cluster.nodes[0].config().get_config(bearing(read, "secret-of-a-stranger")).await;
    assert_eq!(stranger.unwrap_err().code(), Code::PermissionDenied);
    cluster.stop().await;
}
