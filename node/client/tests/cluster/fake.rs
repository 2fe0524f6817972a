//! A node that does as told. It speaks the real contracts on a real socket and remembers what it was asked.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use meridian_client::{Client, Endpoint, Options};
use meridian_proto::admin::admin_service_server::{AdminService, AdminServiceServer};
use meridian_proto::admin::*;
use meridian_proto::config::config_service_server::{ConfigService, ConfigServiceServer};
use meridian_proto::config::*;
use prost::Message as _;
use sha2::{Digest as _, Sha256};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::{Code, Request, Response, Status};

/// What a node does with a unary call.
#[derive(Clone)]
pub(crate) enum Act {
    /// Answers; a publish is version 1.
    Serve,
    /// Answers after a while.
    Late(Duration),
    /// Says that it does not lead, and who does.
    Follow(Option<String>),
    /// Never answers.
    Hang,
    /// Answers with this status.
    Say(Status),
}

/// What a node was asked.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Asked {
    pub(crate) call: &'static str,
    pub(crate) request_id: String,
    pub(crate) authorization: Option<String>,
}

/// What is pushed at watchers; an error ends the stream.
pub(crate) type Push = Result<WatchConfigResponse, Status>;

pub(crate) struct Node {
    pub(crate) endpoint: Endpoint,
    pub(crate) address: SocketAddr,
    state: Arc<State>,
    /// Its own, so that stopping it drops every socket at once, as the death of a process does.
    runtime: Option<tokio::runtime::Runtime>,
}

struct State {
    act: Mutex<Act>,
    asked: Mutex<Vec<Asked>>,
    since: Mutex<Vec<u64>>,
    connections: AtomicUsize,
    /// What it serves, and where it stands.
    config: Mutex<(u64, Bytes)>,
    region: Mutex<String>,
    demands: Mutex<Vec<Demand>>,
    backup: Mutex<Vec<Result<BackupPart, Status>>>,
    /// One stream's worth of messages per connection of a watcher, in order.
    streams: Mutex<Vec<mpsc::Receiver<Push>>>,
}

impl Node {
    pub(crate) async fn start(act: Act) -> Self {
        Self::start_at("127.0.0.1:0".parse().unwrap(), act).await
    }

    /// As [`Node::start`], where another one has been.
    pub(crate) async fn start_at(address: SocketAddr, act: Act) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.spawn(TcpListener::bind(address)).await.unwrap().unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State {
            act: Mutex::new(act),
            asked: Mutex::default(),
            since: Mutex::default(),
            connections: AtomicUsize::default(),
            config: Mutex::new((1, document(1).into())),
            region: Mutex::default(),
            demands: Mutex::default(),
            backup: Mutex::default(),
            streams: Mutex::default(),
        });
        let counting = state.clone();
        let incoming = TcpListenerStream::new(listener).map(move |socket| {
            counting.connections.fetch_add(1, Ordering::Relaxed);
            socket
        });
        let server = tonic::transport::Server::builder()
            .add_service(AdminServiceServer::from_arc(state.clone()))
            .add_service(ConfigServiceServer::from_arc(state.clone()))
            .serve_with_incoming(incoming);
        runtime.spawn(async { server.await.unwrap() });
        Self { endpoint: address.into(), address, state, runtime: Some(runtime) }
    }

    /// Its endpoint, in a region.
    pub(crate) fn in_region(&self, region: &str) -> Endpoint {
        *self.state.region.lock().unwrap() = region.to_owned();
        format!("{region}={}", self.address).parse().unwrap()
    }

    /// What it serves to those who ask, rather than watch.
    pub(crate) fn serves(&self, version: u64, document: impl Into<Bytes>) {
        *self.state.config.lock().unwrap() = (version, document.into());
    }

    pub(crate) fn sends_backup(&self, parts: Vec<Result<BackupPart, Status>>) {
        *self.state.backup.lock().unwrap() = parts;
    }

    pub(crate) fn will(&self, act: Act) {
        *self.state.act.lock().unwrap() = act;
    }

    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.state.asked.lock().unwrap().clone()
    }

    /// How often it was connected to.
    pub(crate) fn connections(&self) -> usize {
        self.state.connections.load(Ordering::Relaxed)
    }

    /// The versions with which watches began.
    pub(crate) fn since(&self) -> Vec<u64> {
        self.state.since.lock().unwrap().clone()
    }

    /// What readers and watchers wanted proved.
    pub(crate) fn demands(&self) -> Vec<Demand> {
        self.state.demands.lock().unwrap().clone()
    }

    /// Serves the next watch from what is sent here; dropping the sender ends the stream.
    pub(crate) fn next_stream(&self) -> mpsc::Sender<Push> {
        let (sender, receiver) = mpsc::channel(16);
        self.state.streams.lock().unwrap().push(receiver);
        sender
    }

    pub(crate) fn kill(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill();
    }
}

pub(crate) async fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// An address at which nobody listens.
pub(crate) async fn nobody() -> Endpoint {
    listen().await.1.into()
}

/// A node that takes a request and drops the connection, as one that is killed does.
pub(crate) async fn dying() -> Endpoint {
    let (listener, address) = listen().await;
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            // The preface of HTTP/2 and more: at least the beginning of a request has arrived.
            let mut taken = 0;
            while taken < 200 {
                match socket.read(&mut [0; 1024]).await {
                    Ok(1..) => taken += 100,
                    _ => break,
                }
            }
        }
    });
    address.into()
}

/// A client with little patience.
pub(crate) fn client(endpoints: impl IntoIterator<Item = Endpoint>) -> Client {
    Client::new(Options {
        token: Some("operator-token".into()),
        deadline: Duration::from_millis(1_500),
        attempt_timeout: Duration::from_millis(300),
        ..Options::new(endpoints)
    })
    .unwrap()
}

pub(crate) fn document(version: u64) -> String {
    format!(r#"{{"version":{version}}}"#)
}

pub(crate) fn release(version: u64) -> Release {
    let digest = hex::encode(Sha256::digest(document(version)));
    Release { version, digest, ..Release::default() }
}

pub(crate) fn pushed(version: u64) -> Push {
    let document = document(version).into();
    Ok(WatchConfigResponse { release: Some(release(version)), document, ..WatchConfigResponse::default() })
}

/// A message with nothing but the freshness.
pub(crate) fn stamp(staleness_ms: u64) -> Push {
    let freshness = Freshness { staleness_ms: Some(staleness_ms), ..Freshness::default() };
    let freshness = Some(freshness);
    Ok(WatchConfigResponse { freshness, not_modified: true, ..WatchConfigResponse::default() })
}

/// What a node says that cannot prove a demand and has this version.
pub(crate) fn stale(version: u64) -> Status {
    let freshness = Freshness { fresh_as_of_ms: version * 1_000, ..Freshness::default() };
    let stale = Stale { freshness: Some(freshness), version, reason: format!("only at {version}") };
    detailed(Code::FailedPrecondition, "meridian.config.v1.Stale", &stale)
}

/// A refusal for this reason.
pub(crate) fn refused(code: Code, reason: &str) -> Status {
    let refusal = Refusal { reason: reason.to_owned(), ..Refusal::default() };
    detailed(code, "meridian.admin.v1.Refusal", &refusal)
}

fn detailed(code: Code, name: &str, message: &impl prost::Message) -> Status {
    let type_url = format!("type.googleapis.com/{name}");
    let any = prost_types::Any { type_url, value: message.encode_to_vec() };
    let details = tonic_types::Status { code: code.into(), message: "no".into(), details: vec![any] };
    Status::with_details(code, "no", details.encode_to_vec().into())
}

/// Waits for something that will happen.
pub(crate) async fn eventually(what: &str, mut happened: impl FnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    while !happened() {
        assert!(tokio::time::Instant::now() < deadline, "it never happened: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

impl State {
    async fn act<M>(
        &self,
        call: &'static str,
        request: &Request<M>,
        request_id: String,
    ) -> Result<(), Status> {
        let authorization = request.metadata().get("authorization");
        let authorization = authorization.map(|value| value.to_str().unwrap().to_owned());
        self.asked.lock().unwrap().push(Asked { call, request_id, authorization });
        let act = self.act.lock().unwrap().clone();
        match act {
            Act::Serve => Ok(()),
            Act::Late(delay) => {
                tokio::time::sleep(delay).await;
                Ok(())
            }
            Act::Hang => std::future::pending().await,
            Act::Say(status) => Err(status),
            Act::Follow(leader) => {
                let mut status = Status::unavailable("this node does not lead");
                if let Some(leader) = leader {
                    status.metadata_mut().insert("meridian-leader", leader.parse().unwrap());
                }
                Err(status)
            }
        }
    }
}

/// The admin service, each call with its answer; `id` names where the message holds its request id.
macro_rules! admin_service {
    ($($name:ident($request:ty $(, id $id:ident)?) -> $answer:ty = $make:expr;)*) => {
        #[tonic::async_trait]
        impl AdminService for State {
            $(async fn $name(&self, request: Request<$request>) -> Result<Response<$answer>, Status> {
                let id = String::new() $(+ &request.get_ref().$id)?;
                self.act(stringify!($name), &request, id).await?;
                Ok(Response::new($make))
            })*

            type BackupStream = tokio_stream::Iter<std::vec::IntoIter<Result<BackupPart, Status>>>;

            async fn backup(
                &self,
                request: Request<BackupRequest>,
            ) -> Result<Response<Self::BackupStream>, Status> {
                self.act("backup", &request, String::new()).await?;
                Ok(Response::new(tokio_stream::iter(self.backup.lock().unwrap().clone())))
            }
        }
    };
}

admin_service! {
    create_project(CreateProjectRequest, id request_id) -> CreateProjectResponse =
        CreateProjectResponse { project: Some(Project::default()) };
    list_projects(ListProjectsRequest) -> ListProjectsResponse =
        ListProjectsResponse { projects: vec![Project::default()] };
    create_environment(CreateEnvironmentRequest, id request_id) -> CreateEnvironmentResponse = Default::default();
    create_key(CreateKeyRequest, id request_id) -> CreateKeyResponse =
        CreateKeyResponse { key: Some(SdkKey::default()) };
    list_keys(ListKeysRequest) -> ListKeysResponse = Default::default();
    revoke_key(RevokeKeyRequest, id request_id) -> RevokeKeyResponse = Default::default();
    publish(PublishRequest, id request_id) -> PublishResponse =
        PublishResponse { release: Some(release(1)), ..Default::default() };
    list_releases(ListReleasesRequest) -> ListReleasesResponse = Default::default();
    get_release(GetReleaseRequest) -> GetReleaseResponse = Default::default();
    rollback(RollbackRequest, id request_id) -> RollbackResponse = Default::default();
    cluster_status(ClusterStatusRequest) -> ClusterStatusResponse = Default::default();
    get_outcome(GetOutcomeRequest, id request_id) -> GetOutcomeResponse =
        GetOutcomeResponse { state: get_outcome_response::State::Done.into(), version: 7, time_ms: 8, ..Default::default() };
    change_members(ChangeMembersRequest) -> ChangeMembersResponse = Default::default();
    transfer_leader(TransferLeaderRequest) -> TransferLeaderResponse = TransferLeaderResponse { leader: 2 };
    drain(DrainRequest, id request_id) -> DrainResponse = DrainResponse { nodes: vec![1] };
    get_placement(GetPlacementRequest) -> GetPlacementResponse =
        GetPlacementResponse { placement: Some(Placement::default()) };
    set_placement(SetPlacementRequest, id request_id) -> SetPlacementResponse =
        SetPlacementResponse { placement: Some(Placement { version: 1, ..Default::default() }) };
    list_events(ListEventsRequest) -> ListEventsResponse = ListEventsResponse { events: vec![Event::default()] };
}

#[tonic::async_trait]
impl ConfigService for State {
    async fn get_config(
        &self,
        request: Request<GetConfigRequest>,
    ) -> Result<Response<GetConfigResponse>, Status> {
        self.demands.lock().unwrap().extend(request.get_ref().demand);
        self.act("get_config", &request, String::new()).await?;
        let (version, document) = self.config.lock().unwrap().clone();
        let region = self.region.lock().unwrap().clone();
        let freshness = Some(Freshness { region, ..Freshness::default() });
        let digest = hex::encode(Sha256::digest(&document));
        let release = Some(Release { version, digest, ..Release::default() });
        Ok(Response::new(if version <= request.get_ref().since_version {
            GetConfigResponse { release, freshness, not_modified: true, ..Default::default() }
        } else {
            GetConfigResponse { release, freshness, document, ..Default::default() }
        }))
    }

    type WatchConfigStream = ReceiverStream<Push>;

    async fn watch_config(
        &self,
        request: Request<WatchConfigRequest>,
    ) -> Result<Response<Self::WatchConfigStream>, Status> {
        self.demands.lock().unwrap().extend(request.get_ref().demand);
        self.act("watch_config", &request, String::new()).await?;
        self.since.lock().unwrap().push(request.get_ref().since_version);
        let mut streams = self.streams.lock().unwrap();
        if streams.is_empty() {
            return Err(Status::unavailable("no stream is scripted"));
        }
        Ok(Response::new(ReceiverStream::new(streams.remove(0))))
    }
}
