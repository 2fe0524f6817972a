//! Their side: three etcd processes with their defaults, and a load as ours is, sent to the leader.

use std::fs::{self, File};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, bail};
use bytes::Bytes;
use hdrhistogram::Histogram;
use tokio::process::{Child, Command};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tonic::transport::{Channel, Endpoint};

use super::Point;
use crate::cluster::ports;
use crate::document;
use crate::random::Random;

#[allow(missing_docs, unreachable_pub, clippy::all)] // generated
mod rpc {
    tonic::include_proto!("etcdserverpb");
}

use rpc::kv_client::KvClient;
use rpc::maintenance_client::MaintenanceClient;

const NODES: usize = 3;
const START_TIMEOUT: Duration = Duration::from_secs(30);
const WARM_UP: Duration = Duration::from_secs(1);

/// As many connections as our side opens.
const CONNECTIONS: u32 = 16;

const KEYS: u64 = 1_000;

/// A document of ours counts as a value of theirs; longer answers count as this.
const LONGEST_US: u64 = 60_000_000;

/// A running cluster; it ends with this value.
pub(super) struct Etcd {
    _processes: Vec<Child>,
    leader: String,
}

impl Etcd {
    /// Starts three processes that keep everything under `dir`, and waits for their leader.
    pub(super) async fn start(binary: &Path, dir: &Path) -> anyhow::Result<Self> {
        fs::create_dir_all(dir)?;
        let listens = ports::free(NODES)?;
        let url = |address: std::net::SocketAddr| format!("http://{address}");
        let members: Vec<_> =
            listens.iter().enumerate().map(|(i, listen)| format!("n{i}={}", url(listen.peer))).collect();
        let mut processes = Vec::with_capacity(NODES);
        for (i, listen) in listens.iter().enumerate() {
            let (client, peer) = (url(listen.grpc), url(listen.peer));
            let log = File::create(dir.join(format!("n{i}.log")))?;
            let process = Command::new(binary)
                .args(["--name", &format!("n{i}"), "--initial-cluster-state", "new", "--log-level", "error"])
                .args(["--initial-cluster", &members.join(",")])
                .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
                .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
                .arg("--data-dir")
                .arg(dir.join(format!("n{i}")))
                .stdin(Stdio::null())
                .stdout(log.try_clone()?)
                .stderr(log)
                .kill_on_drop(true)
                .spawn()
                .with_context(|| format!("cannot start {}", binary.display()))?;
            processes.push(process);
        }
        let deadline = Instant::now() + START_TIMEOUT;
        while Instant::now() < deadline {
            for listen in &listens {
                if leads(&url(listen.grpc)).await.unwrap_or(false) {
                    return Ok(Self { _processes: processes, leader: url(listen.grpc) });
                }
            }
            sleep(Duration::from_millis(100)).await;
        }
        bail!("etcd has no leader after {START_TIMEOUT:?}: see its logs in {}", dir.display())
    }

    /// Puts values of this size, with so many in flight, for so long after a warm-up.
    pub(super) async fn put(&self, in_flight: u32, size_bytes: u32, time: Duration) -> anyhow::Result<Point> {
        let mut channels = Vec::new();
        for _ in 0..in_flight.min(CONNECTIONS) {
            channels.push(connect(&self.leader).await?);
        }
        let begin = Instant::now() + WARM_UP;
        let end = begin + time;
        let value = document::json("etcd", size_bytes as usize, &mut Random::new(0, 0));
        let mut clients = JoinSet::new();
        for (number, channel) in (0..in_flight).zip(channels.into_iter().cycle()) {
            let keys = Random::new(number.into(), 1);
            clients.spawn(client(channel, value.clone(), keys, begin, end));
        }
        let mut latencies_us = histogram();
        let mut errors = 0;
        while let Some(client) = clients.join_next().await {
            let (seen, failed) = client.context("a client panicked")?;
            latencies_us.add(seen)?;
            errors += failed;
        }
        #[allow(clippy::cast_precision_loss)] // of numbers that are measured anyway
        let (count, ms) = (latencies_us.len() as f64, |us: u64| us as f64 / 1_000.0);
        Ok(Point {
            rate_per_s: count / time.as_secs_f64(),
            p50_ms: ms(latencies_us.value_at_quantile(0.5)),
            p99_ms: ms(latencies_us.value_at_quantile(0.99)),
            errors,
        })
    }
}

async fn client(
    channel: Channel,
    value: Bytes,
    mut keys: Random,
    begin: Instant,
    end: Instant,
) -> (Histogram<u64>, u64) {
    let mut client = KvClient::new(channel);
    let mut latencies_us = histogram();
    let mut errors = 0;
    while Instant::now() < end {
        let key = format!("key-{}", keys.next() % KEYS).into();
        let sent = Instant::now();
        let answer = client.put(rpc::PutRequest { key, value: value.clone() }).await;
        let ended = Instant::now();
        match answer {
            Ok(_) if sent >= begin && ended < end => {
                latencies_us.saturating_record(u64::try_from((ended - sent).as_micros()).unwrap_or(u64::MAX));
            }
            Ok(_) => {}
            Err(_) => errors += 1,
        }
    }
    (latencies_us, errors)
}

fn histogram() -> Histogram<u64> {
    Histogram::new_with_max(LONGEST_US, 3).expect("the bounds are in order")
}

async fn connect(url: &str) -> anyhow::Result<Channel> {
    Ok(Endpoint::from_shared(url.to_owned())?.tcp_nodelay(true).connect().await?)
}

/// Whether this member leads.
async fn leads(url: &str) -> anyhow::Result<bool> {
    let status =
        MaintenanceClient::new(connect(url).await?).status(rpc::StatusRequest {}).await?.into_inner();
    Ok(status.leader != 0 && status.header.is_some_and(|header| header.member_id == status.leader))
}
