//! Whole nodes, as `meridian serve` runs them, in this process and over real sockets; and a plain HTTP client.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

use meridian::config::{self, Config, Listen, Sources};
use meridian::serve::{self, Listeners};
use meridian_proto::admin::admin_service_client::AdminServiceClient;
use meridian_proto::admin::{
    ClusterStatusRequest, ClusterStatusResponse, CreateEnvironmentRequest, CreateKeyRequest,
    CreateProjectRequest,
};
use meridian_proto::config::config_service_client::ConfigServiceClient;
use meridian_proto::config::{Format, Release};
use meridian_proto::statsig::statsig_forward_proxy_client::StatsigForwardProxyClient;
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tonic::transport::{Channel, Endpoint};

use crate::node::{KEY, OPERATOR, PATIENCE, operator, publish};

/// One node.
pub(crate) struct Daemon {
    config: Config,
    pub(crate) listen: Listen,
    running: Option<Running>,
    _data_dir: tempfile::TempDir,
}

struct Running {
    stop: oneshot::Sender<()>,
    ended: JoinHandle<Result<(), serve::Error>>,
}

/// Nodes 1, 2, … of one cluster, one per region, with `shop/live` and its key.
pub(crate) struct Cluster {
    pub(crate) nodes: Vec<Daemon>,
}

impl Cluster {
    /// Starts a node per region, each with these settings, and waits for a leader.
    pub(crate) async fn start(regions: &[&str], settings: &[(&str, &str)]) -> Self {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let bound: Vec<Listeners> = regions
            .iter()
            .map(|_| Listeners::bind(&Listen { grpc: any, peer: any, http: any, admin: any }).unwrap())
            .collect();
        let mut founders = String::new();
        for (index, (region, bound)) in regions.iter().zip(&bound).enumerate() {
            let (node_id, peer, grpc) =
                (index + 1, bound.peer.local_addr().unwrap(), bound.grpc.local_addr().unwrap());
            writeln!(
                founders,
                "[[founders]]\nnode_id={node_id}\nregion=\"{region}\"\nzone=\"z\"\npeer=\"{peer}\"\ngrpc=\"{grpc}\""
            )
            .unwrap();
        }
        let nodes = bound.into_iter().enumerate().map(|(index, listeners)| {
            let data_dir = tempfile::tempdir().unwrap();
            let path = data_dir.path().to_str().unwrap();
            let hash = hex::encode(Sha256::digest(OPERATOR));
            let text = format!(
                "cluster_id=\"test\"\nnode_id={}\nregion=\"{}\"\nzone=\"z\"\ndata_dir=\"{path}/data\"\n\
                 [auth]\noperator_token_sha256=[\"{hash}\"]\n{founders}",
                index + 1,
                regions[index]
            );
            let file = data_dir.path().join("node.toml");
            std::fs::write(&file, text).unwrap();
            let flags =
                settings.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
            let loaded = config::load(Sources { file, environment: Vec::new(), flags }).unwrap();
            let listen = Listen {
                grpc: listeners.grpc.local_addr().unwrap(),
                peer: listeners.peer.local_addr().unwrap(),
                http: listeners.http.local_addr().unwrap(),
                admin: listeners.admin.local_addr().unwrap(),
            };
            let mut node = Daemon { config: loaded.config, listen, running: None, _data_dir: data_dir };
            node.run(listeners);
            node
        });
        let cluster = Self { nodes: nodes.collect() };
        cluster.leader().await;
        cluster.set_up().await;
        cluster
    }

    /// The place of the leader in `nodes`, once there is one and all that run follow it.
    pub(crate) async fn leader(&self) -> usize {
        let mut leader = 0;
        until("a leader that all follow", async || {
            for (index, node) in self.nodes.iter().enumerate().filter(|(_, node)| node.running.is_some()) {
                let Some(status) = node.status().await else { return false };
                if status.nodes.iter().any(|shown| shown.is_leader && shown.id == index as u64 + 1) {
                    leader = index;
                }
                if !status.nodes.iter().any(|shown| shown.is_leader && shown.healthy) {
                    return false;
                }
            }
            true
        })
        .await;
        leader
    }

    async fn set_up(&self) {
        let (shop, live) = (|| "shop".to_owned(), || "live".to_owned());
        let mut admin = self.nodes[self.leader().await].admin();
        let request = CreateProjectRequest { project: shop(), ..Default::default() };
        admin.create_project(operator(request)).await.unwrap();
        let request = CreateEnvironmentRequest { project: shop(), environment: live(), ..Default::default() };
        admin.create_environment(operator(request)).await.unwrap();
        let request = CreateKeyRequest {
            project: shop(),
            environment: live(),
            secret: KEY.to_owned(),
            ..Default::default()
        };
        let key = admin.create_key(operator(request)).await.unwrap().into_inner().key.unwrap();
        for node in &self.nodes {
            let request = meridian_proto::admin::ListKeysRequest::default();
            until("the key is everywhere", async || {
                let listed = node.admin().list_keys(operator(request.clone())).await;
                listed.is_ok_and(|listed| listed.into_inner().keys.contains(&key))
            })
            .await;
        }
    }

    pub(crate) async fn publish(&self, format: Format, document: &str) -> Release {
        let mut admin = self.nodes[self.leader().await].admin();
        let answer = admin.publish(operator(publish(format, document))).await.unwrap();
        answer.into_inner().release.unwrap()
    }

    pub(crate) async fn stop(mut self) {
        futures::future::join_all(self.nodes.iter_mut().map(Daemon::stop)).await;
    }
}

impl Daemon {
    fn run(&mut self, listeners: Listeners) {
        let (stop, stopped) = oneshot::channel();
        let asked = async {
            // A test that failed asks nobody to stop.
            if stopped.await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        let ended = tokio::spawn(serve::run(self.config.clone(), listeners, asked));
        self.running = Some(Running { stop, ended });
    }

    /// As after a restart of the process, at the same addresses.
    pub(crate) fn start_again(&mut self) {
        self.run(Listeners::bind(&self.listen).unwrap());
    }

    pub(crate) async fn stop(&mut self) {
        if let Some(Running { stop, ended }) = self.running.take() {
            let _ = stop.send(());
            ended.await.unwrap().unwrap();
        }
    }

    pub(crate) fn channel(&self) -> Channel {
        Endpoint::from_shared(format!("http://{}", self.listen.grpc)).unwrap().connect_lazy()
    }

    pub(crate) fn admin(&self) -> AdminServiceClient<Channel> {
        AdminServiceClient::new(self.channel())
    }

    pub(crate) fn config(&self) -> ConfigServiceClient<Channel> {
        ConfigServiceClient::new(self.channel())
    }

    pub(crate) fn statsig(&self) -> StatsigForwardProxyClient<Channel> {
        StatsigForwardProxyClient::new(self.channel())
    }

    pub(crate) async fn status(&self) -> Option<ClusterStatusResponse> {
        let answer = self.admin().cluster_status(operator(ClusterStatusRequest {})).await;
        answer.ok().map(tonic::Response::into_inner)
    }

    /// What the admin listener says.
    pub(crate) async fn probe(&self, path: &str) -> Answer {
        get(self.listen.admin, path, &[]).await
    }

    /// The config over HTTP, with the key and these headers.
    pub(crate) async fn fetch(&self, headers: &[(&str, &str)]) -> Answer {
        let bearer = format!("Bearer {KEY}");
        let headers = [&[("authorization", bearer.as_str())], headers].concat();
        get(self.listen.http, "/v1/projects/shop/environments/live/config", &headers).await
    }
}

/// An HTTP answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    headers: String,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let named = |line: &'_ str| line.split_once(": ").is_some_and(|(key, _)| key == name);
        self.headers.lines().find(|line| named(line))?.split_once(": ").map(|(_, value)| value)
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

async fn get(address: SocketAddr, path: &str, headers: &[(&str, &str)]) -> Answer {
    let mut request = format!("GET {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n");
    for (name, value) in headers {
        write!(request, "{name}: {value}\r\n").unwrap();
    }
    let mut socket = tokio::net::TcpStream::connect(address).await.unwrap();
    socket.write_all(format!("{request}\r\n").as_bytes()).await.unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let (first, headers) = head.split_once("\r\n").unwrap();
    let status = first.split(' ').nth(1).unwrap().parse().unwrap();
    Answer { status, headers: headers.to_owned(), body: body.to_owned() }
}

/// Waits for what must come.
pub(crate) async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let waited = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waited).await.unwrap_or_else(|_| panic!("never so: {what}"));
}

/// Whether the node at this admin address says that it is not ready. Once it is gone, it is not.
pub(crate) async fn is_unavailable(admin: SocketAddr) -> bool {
    let Ok(mut socket) = tokio::net::TcpStream::connect(admin).await else { return true };
    let asked = socket.write_all(b"GET /readyz HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n").await;
    let mut answer = String::new();
    asked.is_err() || socket.read_to_string(&mut answer).await.is_err() || !answer.starts_with("HTTP/1.1 200")
}
