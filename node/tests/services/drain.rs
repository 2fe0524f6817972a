//! Leaving service and coming back, with readers connected.

use meridian_proto::admin::DrainRequest;
use meridian_proto::admin::node::Service;
use meridian_proto::config::{Format, GetConfigRequest, WatchConfigRequest};
use tonic::Code;

use crate::daemon::{Cluster, Daemon, until};
use crate::node::{KEY, bearing, next, operator};

/// Short enough for a test, long enough to look at a node while it drains.
const WINDOW: (&str, &str) = ("drain.window_ms", "2000");

async fn drain(cluster: &Cluster, node: u64, undrain: bool) -> Vec<u64> {
    let request = DrainRequest { nodes: vec![node], undrain, ..Default::default() };
    let mut admin = cluster.nodes[cluster.leader().await].admin();
    admin.drain(operator(request)).await.unwrap().into_inner().nodes
}

/// How far node `id` is, as `observer` sees it, and how many streams it has.
async fn service(observer: &Daemon, id: u64) -> Option<(Service, u64)> {
    let status = observer.status().await?;
    let shown = status.nodes.iter().find(|node| node.id == id)?;
    Some((shown.service(), shown.streams))
}

async fn reads(node: &Daemon) -> Result<(), Code> {
    let answer = node.config().get_config(bearing(GetConfigRequest::default(), KEY)).await;
    answer.map(drop).map_err(|status| status.code())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drained_node_lets_go_of_its_readers_and_takes_them_back() {
    let cluster = Cluster::start(&["a", "b", "c"], &[WINDOW]).await;
    cluster.publish(Format::Json, "1").await;
    // The leader, so that leadership has to move too.
    let leader = cluster.leader().await;
    let (node, id) = (&cluster.nodes[leader], leader as u64 + 1);
    let observer = &cluster.nodes[(leader + 1) % 3];
    let watch = || bearing(WatchConfigRequest::default(), KEY);
    let mut streams = Vec::new();
    for _ in 0..20 {
        let mut stream = node.config().watch_config(watch()).await.unwrap().into_inner();
        next(&mut stream).await.unwrap();
        streams.push(stream);
    }
    until("the streams are counted", async || service(observer, id).await == Some((Service::Serving, 20)))
        .await;

    assert_eq!(drain(&cluster, id, false).await, [id]);
    until("not ready", async || node.probe("/readyz").await.body == "draining\n").await;
    assert_eq!(reads(node).await, Ok(()), "single reads are answered until the window ends");
    assert_eq!(node.config().watch_config(watch()).await.unwrap_err().code(), Code::Unavailable);
    for stream in &mut streams {
        let ended = next(stream).await.unwrap_err();
        assert_eq!(ended.code(), Code::Unavailable);
        assert!(ended.message().contains("draining"), "{ended}");
    }
    until("drained", async || service(observer, id).await == Some((Service::Drained, 0))).await;
    assert_eq!(node.probe("/readyz").await.body, "drained\n");
    assert_eq!((reads(node).await, node.fetch(&[]).await.status), (Err(Code::Unavailable), 503));
    assert_ne!(cluster.leader().await, leader, "a drained node does not lead");

    // It is reached by operators all the while.
    assert!(node.status().await.is_some());
    assert_eq!(drain(&cluster, id, false).await, [id], "asking again changes nothing");
    drain(&cluster, id, true).await;
    until("back", async || node.probe("/readyz").await.status == 200).await;
    assert_eq!(reads(node).await, Ok(()));
    let mut stream = node.config().watch_config(watch()).await.unwrap().into_inner();
    next(&mut stream).await.unwrap();
    until("told", async || matches!(service(observer, id).await, Some((Service::Serving, 1)))).await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_stops_answers_reads_until_it_closes() {
    let mut cluster = Cluster::start(&["here"], &[]).await;
    cluster.publish(Format::Json, "1").await;
    let node = &cluster.nodes[0];
    let (mut client, probed) = (node.config(), node.listen.admin);
    let mut stream =
        client.watch_config(bearing(WatchConfigRequest::default(), KEY)).await.unwrap().into_inner();
    next(&mut stream).await.unwrap();
    let stopping = async {
        cluster.nodes[0].stop().await;
    };
    let reading = async {
        let mut answered_while_not_ready = 0;
        loop {
            // Once the listener is closed, nothing new comes through; until then, nothing fails.
            let not_ready = crate::daemon::is_unavailable(probed).await;
            match client.get_config(bearing(GetConfigRequest::default(), KEY)).await {
                Ok(_) if not_ready => answered_while_not_ready += 1,
                Ok(_) => {}
                Err(ended) => {
                    assert_eq!(ended.code(), Code::Unavailable);
                    assert!(
                        !ended.message().contains("this node is"),
                        "it was answered, and refused: {ended}"
                    );
                    return answered_while_not_ready;
                }
            }
        }
    };
    let watching = async { next(&mut stream).await.unwrap_err() };
    let ((), answered, ended) = tokio::join!(stopping, reading, watching);
    assert!(answered > 10, "{answered} reads were answered after the node said that it is not ready");
    assert_eq!(ended.code(), Code::Unavailable);
}
