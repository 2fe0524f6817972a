//! Whether a node is recommended: `/freshz` and the health of each service.

use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::daemon::{Cluster, Daemon, until};

const OF_CONFIGS: [&str; 2] =
    ["meridian.config.v1.ConfigService", "statsig_forward_proxy.StatsigForwardProxy"];

async fn serves(node: &Daemon, service: &str) -> bool {
    let request = HealthCheckRequest { service: service.to_owned() };
    let answer = HealthClient::new(node.channel()).check(request).await.unwrap();
    answer.into_inner().status() == ServingStatus::Serving
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_cut_off_is_not_recommended_until_it_hears_a_leader() {
    let settings = [("freshness.degraded_after_ms", "1000"), ("freshness.bound_ms", "1000")];
    let mut cluster = Cluster::start(&["a", "b", "c"], &settings).await;
    let told = async |node: &Daemon, fresh: bool| {
        let shown = node.probe("/freshz").await;
        let of_configs = [serves(node, OF_CONFIGS[0]).await, serves(node, OF_CONFIGS[1]).await];
        shown.status == if fresh { 200 } else { 503 } && of_configs == [fresh; 2]
    };
    let node = &cluster.nodes[0];
    until("fresh", async || told(node, true).await).await;
    let shown = node.probe("/freshz").await.json();
    assert!(shown["staleness_ms"].as_u64().unwrap() <= 1_000 && shown["revision"].as_u64().unwrap() > 0);
    assert_eq!((&shown["bound_ms"], &shown["degraded"]), (&1_000.into(), &serde_json::Value::Null));

    let [_, others @ ..] = cluster.nodes.as_mut_slice() else { panic!("three nodes") };
    futures::future::join_all(others.iter_mut().map(Daemon::stop)).await;
    let node = &cluster.nodes[0];
    until("stale", async || told(node, false).await).await;
    let shown = node.probe("/freshz").await.json();
    assert!(shown["staleness_ms"].as_u64().unwrap() > 1_000 && shown["degraded"].is_string(), "{shown}");
    // A region without quorum still serves.
    assert_eq!(node.probe("/readyz").await.status, 200);
    assert!(serves(node, "").await && serves(node, "meridian.admin.v1.AdminService").await);
    let status = node.status().await.unwrap();
    assert!(status.problems.iter().any(|problem| problem.contains("quorum lost: 1 of 3")), "{status:?}");

    cluster.nodes[1].start_again();
    let node = &cluster.nodes[0];
    until("fresh again", async || told(node, true).await).await;
    cluster.stop().await;
}
