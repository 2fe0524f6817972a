//! This node's end for the others: each call is checked by its passport, decoded, and handed to openraft.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use futures::{Stream, StreamExt as _, stream};
use meridian_proto::raft as proto;
use meridian_proto::raft::peer_service_server::{PeerService, PeerServiceServer};
use openraft::async_runtime::watch::WatchReceiver as _;
use openraft::raft::{AppendEntriesRequest, TransferLeaderRequest, VoteRequest};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::service::interceptor::InterceptedService;
use tonic::{Request, Response, Status, Streaming};

use super::passport::{Caller, Control};
use super::wire::{Malformed, Wire};
use super::{MAX_MESSAGE_BYTES, snapshot};
use crate::error::Fatal;
use crate::joining;
use crate::member::MemberState;
use crate::membership::admission;
use crate::read_index;
use crate::types::TypeConfig;

/// The service with its check in front.
pub(crate) type Guarded = InterceptedService<PeerServiceServer<Service>, Control>;

/// Answers other nodes for this member.
#[derive(Clone)]
pub(crate) struct Service {
    state: Arc<MemberState>,
    /// One snapshot comes in at a time: the partial file has one writer.
    receiving: Arc<tokio::sync::Mutex<()>>,
}

impl Service {
    pub(crate) fn guarded(state: Arc<MemberState>) -> Guarded {
        let control = Control::new(state.home.clone());
        let service = Self { state, receiving: Arc::default() };
        let server = PeerServiceServer::new(service)
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES);
        InterceptedService::new(server, control)
    }

    /// Refuses whoever left the cluster, or is known with another data directory, and whoever does not know ours.
    fn admit<T>(&self, request: &Request<T>) -> Result<(), Status> {
        let caller = caller(request)?;
        if caller.node_id == self.state.home.node_id {
            // openraft takes a call from itself for a bug of its own, and panics.
            return Err(Status::failed_precondition(
                "the caller has this node's id: check `node_id` and the peer addresses",
            ));
        }
        if !caller.knows_us {
            return Err(Status::failed_precondition("ask who this is first"));
        }
        if self.state.retired_at_ms(caller.node_id).is_some() {
            return Err(Status::failed_precondition(format!(
                "node {} was removed from the cluster: nobody speaks to it but to tell it so",
                caller.node_id
            )));
        }
        let metrics = self.state.raft.metrics();
        let metrics = metrics.borrow_watched();
        let known = metrics.membership_config.membership().get_node(&caller.node_id);
        match known {
            Some(member) if member.incarnation != caller.incarnation => {
                Err(Status::failed_precondition(format!(
                    "node {} is known with another data directory: its disk was wiped or replaced",
                    caller.node_id
                )))
            }
            _ => Ok(()),
        }
    }

    fn append_request(
        &self,
        message: proto::AppendRequest,
    ) -> Result<AppendEntriesRequest<TypeConfig>, Status> {
        let request = AppendEntriesRequest::<TypeConfig>::from_message(message).map_err(malformed)?;
        if request.vote.leader_id.node_id == self.state.home.node_id {
            return Err(Status::invalid_argument("an append in this node's own name"));
        }
        Ok(request)
    }

    /// From the first promise on, this node may not lose its log: says so on disk before the promise is given.
    fn promise(&self) -> Result<(), Status> {
        self.state.mark_initialized().map_err(|error| {
            let text = error.to_string();
            // A write that failed is not tried again at the next call.
            self.state.alarm.ring(Fatal::Storage(text.clone()));
            Status::unavailable(text)
        })
    }
}

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl PeerService for Service {
    type AppendStreamStream = Answers<proto::AppendResponse>;
    type InstallSnapshotStream = snapshot::Progress;

    async fn identify(
        &self,
        request: Request<proto::IdentifyRequest>,
    ) -> Result<Response<proto::IdentifyResponse>, Status> {
        let caller = caller(&request)?;
        let home = &self.state.home;
        let leader_peer_address = self.state.leader_peer_address();
        let metrics = self.state.raft.metrics();
        let metrics = metrics.borrow_watched();
        let members = metrics.membership_config.membership().nodes();
        let members: Vec<_> = members.map(|(id, member)| (*id, member.clone()).into_message()).collect();
        Ok(Response::new(proto::IdentifyResponse {
            cluster_id: home.cluster_id.clone(),
            node_id: home.node_id,
            incarnation: home.incarnation.to_vec().into(),
            initialized: !members.is_empty(),
            members,
            self_: Some((home.node_id, joining::own(&self.state)).into_message()),
            caller_removed_at_ms: self.state.retired_at_ms(caller.node_id).map_or(0, |at_ms| at_ms.max(1)),
            leader_peer_address,
        }))
    }

    async fn vote(
        &self,
        request: Request<proto::VoteRequest>,
    ) -> Result<Response<proto::VoteResponse>, Status> {
        self.admit(&request)?;
        let vote = VoteRequest::from_message(request.into_inner()).map_err(malformed)?;
        self.promise()?;
        let answer = self.state.raft.vote(vote).await.map_err(stopped)?;
        Ok(Response::new(answer.into_message()))
    }

    async fn pre_vote(
        &self,
        request: Request<proto::VoteRequest>,
    ) -> Result<Response<proto::VoteResponse>, Status> {
        self.admit(&request)?;
        let vote = VoteRequest::from_message(request.into_inner()).map_err(malformed)?;
        let answer = self.state.raft.pre_vote(vote).await.map_err(stopped)?;
        Ok(Response::new(answer.into_message()))
    }

    async fn append(
        &self,
        request: Request<proto::AppendRequest>,
    ) -> Result<Response<proto::AppendResponse>, Status> {
        self.admit(&request)?;
        let append = self.append_request(request.into_inner())?;
        self.promise()?;
        let answer = self.state.raft.append_entries(append).await.map_err(stopped)?;
        Ok(Response::new(answer.into_message()))
    }

    async fn append_stream(
        &self,
        request: Request<Streaming<proto::AppendRequest>>,
    ) -> Result<Response<Self::AppendStreamStream>, Status> {
        self.admit(&request)?;
        self.promise()?;
        // A request that cannot be read ends the stream with its error, after the answers to those before it: left
        // out silently, its answer would be awaited for ever.
        let broken = Arc::new(Mutex::new(None));
        let note = broken.clone();
        let service = self.clone();
        let requests = request.into_inner().map(move |message| service.append_request(message?));
        let requests = requests.scan(note, |note, request| {
            let request = request.map_err(|status| {
                *note.lock().unwrap_or_else(PoisonError::into_inner) = Some(status);
            });
            std::future::ready(request.ok())
        });
        let answers = self.state.raft.stream_append(requests).map(|answer| match answer {
            Ok(result) => Ok(result.into_message()),
            Err(fatal) => Err(stopped(fatal)),
        });
        let last = stream::once(async move { broken.lock().unwrap_or_else(PoisonError::into_inner).take() })
            .filter_map(|status| std::future::ready(status.map(Err)));
        Ok(Response::new(Box::pin(answers.chain(last))))
    }

    async fn transfer_leader(
        &self,
        request: Request<proto::TransferLeaderRequest>,
    ) -> Result<Response<proto::TransferLeaderResponse>, Status> {
        self.admit(&request)?;
        let transfer = TransferLeaderRequest::from_message(request.into_inner()).map_err(malformed)?;
        let answer = self.state.raft.handle_transfer_leader(transfer).await.map_err(stopped)?;
        let refused = answer.err().map(|error| error.to_string()).unwrap_or_default();
        Ok(Response::new(proto::TransferLeaderResponse { refused }))
    }

    async fn install_snapshot(
        &self,
        request: Request<Streaming<proto::SnapshotPart>>,
    ) -> Result<Response<Self::InstallSnapshotStream>, Status> {
        self.admit(&request)?;
        self.promise()?;
        let receiving = self.receiving.clone().try_lock_owned();
        let receiving = receiving.map_err(|_| Status::aborted("another snapshot is coming in"))?;
        let state = self.state.clone();
        let mut parts = request.into_inner();
        let (progress, answers) = mpsc::channel(1);
        // Ends with the transfer: either side going away fails its next message.
        tokio::spawn(async move {
            let _receiving = receiving;
            let installed = async {
                let received = snapshot::receive(&state.files.snapshots, &mut parts, &progress).await?;
                let offset = received.file.0.size_bytes();
                let snapshot = crate::types::Snapshot { meta: received.meta, snapshot: received.file };
                let installing = state.raft.install_full_snapshot(received.vote, snapshot);
                let answer = snapshot::meanwhile(&progress, offset, installing).await.map_err(stopped)?;
                Ok(proto::SnapshotProgress { offset, installed: Some(answer.vote.into_message()) })
            };
            let last: Result<_, Status> = installed.await;
            if let Err(status) = &last {
                tracing::warn!(error = status.message(), "a snapshot transfer failed");
            }
            let _ = progress.send(last).await;
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(answers))))
    }

    async fn status(
        &self,
        request: Request<proto::StatusRequest>,
    ) -> Result<Response<proto::StatusResponse>, Status> {
        self.admit(&request)?;
        Ok(Response::new(self.state.status().into_message()))
    }

    async fn join(
        &self,
        request: Request<proto::JoinRequest>,
    ) -> Result<Response<proto::JoinResponse>, Status> {
        let caller = caller(&request)?;
        if !caller.names_us {
            return Err(Status::failed_precondition("ask who this is first"));
        }
        Ok(Response::new(admission::join(&self.state, caller, request.into_inner()).await))
    }

    async fn read_index(
        &self,
        request: Request<proto::ReadIndexRequest>,
    ) -> Result<Response<proto::ReadIndexResponse>, Status> {
        self.admit(&request)?;
        Ok(Response::new(read_index::serve(&self.state, request.into_inner()).await))
    }
}

fn caller<T>(request: &Request<T>) -> Result<Caller, Status> {
    let caller = request.extensions().get::<Caller>();
    caller.copied().ok_or_else(|| Status::internal("a call came past the passport check"))
}

fn malformed(error: Malformed) -> Status {
    Status::invalid_argument(error.to_string())
}

/// openraft refuses only when it has stopped; the alarm has the reason.
fn stopped(error: impl std::fmt::Display) -> Status {
    Status::unavailable(format!("raft has stopped: {error}"))
}
