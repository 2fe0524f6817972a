//! A node to talk to: a cluster of one, its gRPC listener, and clients of each contract.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::future::Either;
use meridian::auth::Auth;
use meridian::config::Freshness;
use meridian::demand::{self, Prover};
use meridian::grpc::{self, Metrics, Services};
use meridian::render::cache::{DEFAULT_CAPACITY_BYTES, Renderings};
use meridian::service::Service;
use meridian::stamp::Stamper;
use meridian_proto::admin::admin_service_client::AdminServiceClient;
use meridian_proto::admin::{
    CreateEnvironmentRequest, CreateKeyRequest, CreateProjectRequest, PublishRequest,
};
use meridian_proto::config::config_service_client::ConfigServiceClient;
use meridian_proto::config::{Format, Release};
use meridian_proto::statsig::statsig_forward_proxy_client::StatsigForwardProxyClient;
use meridian_replication::{Founder, Handle, Join, Options, Timing};
use prometheus_client::registry::Registry;
use prost::Message as _;
use sha2::{Digest as _, Sha256};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status, Streaming};
use tonic_health::server::HealthReporter;

pub(crate) const OPERATOR: &str = "operator-token";
pub(crate) const KEY: &str = "secret-abcdefghijklmnop";

/// How long anything may take here.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Node {
    pub(crate) address: SocketAddr,
    pub(crate) stopping: CancellationToken,
    pub(crate) server: JoinHandle<Result<(), grpc::Error>>,
    pub(crate) registry: Registry,
    handle: Handle,
    _data_dir: tempfile::TempDir,
}

impl Node {
    /// A node that leads, with `shop/live` and its key.
    pub(crate) async fn start() -> Self {
        let node = Self::of_cluster(1, &[OPERATOR]).await;
        node.until(|handle| handle.status().leader == Some(1) && handle.readiness().is_ready()).await;
        let mut admin = node.admin();
        let project = || "shop".to_owned();
        let request = CreateProjectRequest { project: project(), ..Default::default() };
        admin.create_project(operator(request)).await.unwrap();
        let environment = || "live".to_owned();
        let request =
            CreateEnvironmentRequest { project: project(), environment: environment(), ..Default::default() };
        admin.create_environment(operator(request)).await.unwrap();
        let request = CreateKeyRequest {
            project: project(),
            environment: environment(),
            secret: KEY.to_owned(),
            ..Default::default()
        };
        admin.create_key(operator(request)).await.unwrap();
        node
    }

    /// One of `founders` nodes; the others are not there.
    pub(crate) async fn of_cluster(founders: u64, operators: &[&str]) -> Self {
        let data_dir = tempfile::tempdir().unwrap();
        let peer = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let founder = |peer_address: String| Founder {
            region: "here".to_owned(),
            zone: "here-a".to_owned(),
            peer_address,
            grpc_address: address.to_string(),
        };
        let mut members = BTreeMap::from([(1, founder(peer.local_addr().unwrap().to_string()))]);
        members.extend((2..=founders).map(|id| (id, founder("127.0.0.1:1".to_owned()))));
        let options = Options {
            cluster_id: "test".to_owned(),
            node_id: 1,
            own: members[&1].clone(),
            founders: members,
            join: Join::default(),
            data_dir: data_dir.path().to_owned(),
            timing: Timing::default(),
            software_version: "test".to_owned(),
        };
        let handle = meridian_replication::start(options, peer).unwrap();
        let hashes = operators.iter().map(|token| Sha256::digest(token).into());
        let stopping = CancellationToken::new();
        let mut registry = Registry::default();
        let stamper = Stamper::new(handle.clone(), Freshness::default());
        let demands = demand::Metrics::register(&mut registry);
        let services = Services {
            auth: Arc::new(Auth::new(hashes, handle.catalog().clone())),
            handle: handle.clone(),
            renderings: Renderings::new(DEFAULT_CAPACITY_BYTES),
            prover: Prover::new(handle.clone(), stamper.clone(), demands),
            stamper,
            service: Service::default(),
            health: HealthReporter::new(),
            metrics: Metrics::register(&mut registry),
            stopping: stopping.clone(),
        };
        let server = tokio::spawn(grpc::serve(listener, services));
        Self { address, stopping, server, registry, handle, _data_dir: data_dir }
    }

    async fn until(&self, condition: impl Fn(&Handle) -> bool) {
        let holds = async {
            while !condition(&self.handle) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(PATIENCE, holds).await.expect("the node comes up");
    }

    pub(crate) fn channel(&self) -> Channel {
        Endpoint::from_shared(format!("http://{}", self.address)).unwrap().connect_lazy()
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

    pub(crate) async fn publish(&self, format: Format, document: &str) -> Release {
        let answer = self.admin().publish(operator(publish(format, document))).await.unwrap();
        answer.into_inner().release.unwrap()
    }

    pub(crate) async fn stop(self) {
        self.stopping.cancel();
        self.handle.stop().await;
    }
}

pub(crate) fn publish(format: Format, document: &str) -> PublishRequest {
    PublishRequest {
        project: "shop".to_owned(),
        environment: "live".to_owned(),
        format: format.into(),
        document: document.to_owned().into(),
        ..Default::default()
    }
}

pub(crate) fn operator<T>(message: T) -> Request<T> {
    bearing(message, OPERATOR)
}

pub(crate) fn bearing<T>(message: T, credential: &str) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("authorization", format!("Bearer {credential}").parse().unwrap());
    request
}

/// The next message of a stream, or how it ended.
pub(crate) async fn next<T>(stream: &mut Streaming<T>) -> Result<T, Status> {
    let message = tokio::time::timeout(PATIENCE, stream.message()).await.expect("a message or an end");
    message.transpose().expect("a stream never ends with OK")
}

/// Whether nothing more comes for now: what would come is already under way when this is asked.
pub(crate) async fn is_silent<T>(stream: &mut Streaming<T>) -> bool {
    let silence = tokio::time::sleep(Duration::from_millis(200));
    let (message, silence) = (std::pin::pin!(stream.message()), std::pin::pin!(silence));
    matches!(futures::future::select(message, silence).await, Either::Right(_))
}

/// Why a change was refused.
pub(crate) fn refusal(status: &Status) -> meridian_proto::admin::Refusal {
    let details = tonic_types::Status::decode(status.details()).unwrap().details;
    meridian_proto::admin::Refusal::decode(details[0].value.as_slice()).unwrap()
}
