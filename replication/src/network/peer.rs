//! This node's end towards the others: what openraft calls to reach a peer.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::{Stream, StreamExt as _, stream};
use meridian_proto::raft as proto;
use meridian_proto::raft::peer_service_client::PeerServiceClient;
use openraft::OptionalSend;
use openraft::base::{BoxFuture, BoxStream};
use openraft::errors::{NetworkError, RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::v2::RaftNetworkV2;
use openraft::network::{Backoff, RPCOption, RaftNetworkFactory, stream_append_sequential};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendResult, TransferLeaderRequest,
    TransferLeaderResponse, VoteRequest, VoteResponse,
};
use prost::Message as _;
use tokio::time::Instant;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

use super::passport::{Home, Stamp};
use super::search::{Granted, Search};
use super::wire::{Malformed, Wire};
use super::{
    CONNECTION_WINDOW_BYTES, CONTROL_KEEPALIVE, KEEPALIVE_INTERVAL, KEEPALIVE_TIMEOUT, MAX_MESSAGE_BYTES,
    STREAM_WINDOW_BYTES,
    snapshot::{self, Sending},
};
use crate::machine::SnapshotFile;
use crate::membership::Member;
use crate::types::{Snapshot, TypeConfig, Vote};

pub(crate) type Client = PeerServiceClient<InterceptedService<Channel, Stamp>>;

type RpcError = RPCError<TypeConfig>;

/// An append is given up after this, and more where it is large: openraft's own budget, the heartbeat interval,
/// would never let a large entry cross a slow link.
const APPEND_TIMEOUT: Duration = Duration::from_secs(3);

/// Slowest link a large append is still waited for.
const APPEND_BYTES_PER_SECOND_MIN: u64 = 1 << 20;

/// Asking a node to take over must not hang on a dead one.
const TRANSFER_TIMEOUT: Duration = Duration::from_secs(2);

/// All connections to other nodes, kept open between uses. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Peers {
    home: Home,
    /// One per member this node spoke to; [`Peers::follow`] drops those who left.
    links: Arc<Mutex<HashMap<u64, Arc<Link>>>>,
    /// The snapshot that is on its way to one of them.
    pub(crate) sending: Sending,
}

/// One peer, wherever it is reached: whoever has a link to it is taken along when it moves.
#[derive(Debug)]
struct Link {
    incarnation: [u8; 16],
    way: Mutex<Way>,
    /// The newest vote that the peer granted to this node.
    granted: Mutex<Option<Granted>>,
}

/// The three connections to one address.
#[derive(Debug)]
struct Way {
    address: String,
    control: Client,
    append: Client,
    snapshot: Client,
}

impl Way {
    fn to(address: &str, stamp: Stamp) -> Self {
        Self {
            address: address.to_owned(),
            control: connect(address, stamp.clone(), CONTROL),
            append: connect(address, stamp.clone(), BULK),
            snapshot: connect(address, stamp, BULK),
        }
    }
}

impl Link {
    fn control(&self) -> Client {
        self.way().control.clone()
    }

    fn append(&self) -> Client {
        self.way().append.clone()
    }

    fn snapshot(&self) -> Client {
        self.way().snapshot.clone()
    }

    fn way(&self) -> MutexGuard<'_, Way> {
        self.way.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Peers {
    pub(crate) fn new(home: Home) -> Self {
        Self { home, links: Arc::default(), sending: Sending::default() }
    }

    /// A client for status questions.
    pub(crate) fn control(&self, node_id: u64, member: &Member) -> Client {
        self.link(node_id, member).control()
    }

    /// A client for the connection that the log goes over.
    pub(super) fn append(&self, node_id: u64, member: &Member) -> Client {
        self.link(node_id, member).append()
    }

    /// Takes over where the members are, for those that this node has spoken to, and forgets everybody else. A connection
    /// ends with its last user.
    pub(super) fn follow<'m>(&self, member: impl Fn(u64) -> Option<&'m Member>) {
        let mut links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        links.retain(|node_id, link| match member(*node_id) {
            Some(member) if member.incarnation == link.incarnation => {
                self.aim(link, *node_id, member);
                true
            }
            _ => false,
        });
    }

    fn peer(&self, node_id: u64, member: &Member, pipelined: bool) -> Peer {
        let link = self.link(node_id, member);
        Peer { link, pipelined, search: Search::default(), sending: self.sending.clone() }
    }

    fn aim(&self, link: &Link, node_id: u64, member: &Member) {
        let mut way = link.way();
        if way.address != member.peer_address {
            *way = Way::to(
                &member.peer_address,
                Stamp::new(&self.home, Some(node_id), Some(member.incarnation)),
            );
        }
    }

    /// A client for somebody whose incarnation is not known yet, and perhaps not even whose id: it may ask who is there,
    /// and with an id to be let in.
    pub(crate) fn stranger(&self, node_id: Option<u64>, address: &str) -> Client {
        connect(address, Stamp::new(&self.home, node_id, None), CONTROL)
    }

    fn link(&self, node_id: u64, member: &Member) -> Arc<Link> {
        let mut links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(link) = links.get(&node_id)
            && link.incarnation == member.incarnation
        {
            self.aim(link, node_id, member);
            return link.clone();
        }
        let stamp = Stamp::new(&self.home, Some(node_id), Some(member.incarnation));
        let link = Arc::new(Link {
            incarnation: member.incarnation,
            way: Mutex::new(Way::to(&member.peer_address, stamp)),
            granted: Mutex::default(),
        });
        links.insert(node_id, link.clone());
        link
    }
}

/// How long a connection may be silent, and then how long a ping may stay unanswered.
type Patience = (Duration, Duration);
const CONTROL: Patience = (CONTROL_KEEPALIVE, CONTROL_KEEPALIVE);
const BULK: Patience = (KEEPALIVE_INTERVAL, KEEPALIVE_TIMEOUT);

/// Dials when first used, and when it is used again after the connection was lost.
fn connect(address: &str, stamp: Stamp, (silence, ping): Patience) -> Client {
    // A text that is no URI becomes one that cannot be reached, so that the error shows where it is used.
    let endpoint = Endpoint::from_shared(format!("http://{address}"))
        .unwrap_or_else(|_| Endpoint::from_static("http://malformed-peer-address.invalid"));
    let channel = endpoint
        .tcp_nodelay(true)
        .connect_timeout(Duration::from_secs(1))
        .http2_keep_alive_interval(silence)
        .keep_alive_timeout(ping)
        .keep_alive_while_idle(true)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .connect_lazy();
    PeerServiceClient::with_interceptor(channel, stamp)
        .max_decoding_message_size(MAX_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_MESSAGE_BYTES)
}

impl RaftNetworkFactory<TypeConfig> for Peers {
    type Network = Peer;

    async fn new_client(&mut self, target: u64, node: &Member) -> Peer {
        self.peer(target, node, true)
    }

    async fn new_heartbeat_client(&mut self, target: u64, node: &Member) -> Peer {
        self.peer(target, node, false)
    }
}

/// One of openraft's ends of a [`Link`]. Each kind of call has its own connection.
#[derive(Debug)]
pub(crate) struct Peer {
    link: Arc<Link>,
    /// Replication streams its appends; heartbeats are single calls on the control connection.
    pipelined: bool,
    search: Search,
    sending: Sending,
}

impl RaftNetworkV2<TypeConfig> for Peer {
    type SnapshotData = SnapshotFile;

    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<TypeConfig>, RpcError> {
        let mut client = self.link.control();
        let answer = within(option.hard_ttl(), client.append(request.into_message())).await?;
        AppendEntriesResponse::from_message(answer).map_err(malformed)
    }

    fn stream_append<'s, S>(
        &'s mut self,
        requests: S,
        option: RPCOption,
    ) -> BoxFuture<'s, Result<BoxStream<'s, Result<StreamAppendResult<TypeConfig>, RpcError>>, RpcError>>
    where
        S: Stream<Item = AppendEntriesRequest<TypeConfig>> + OptionalSend + Unpin + 'static,
    {
        if !self.pipelined {
            return stream_append_sequential(self, requests, option);
        }
        let mut client = self.link.append();
        Box::pin(async move {
            let mut requests = requests;
            // openraft waits out its back-off inside this stream. A call to a dead peer fails before it reads its
            // requests, so one must be taken before the call, or nothing slows the next attempt down.
            let Some(first) = requests.next().await else {
                return Ok(Box::pin(stream::empty()) as BoxStream<'s, _>);
            };
            let granted = self.link.granted.lock().unwrap_or_else(PoisonError::into_inner).clone();
            if let Some(answer) = self.search.answer(&first, granted.as_ref()) {
                return Ok(Box::pin(stream::once(std::future::ready(Ok(answer)))) as BoxStream<'s, _>);
            }
            let deadlines = Deadlines::default();
            let sent = deadlines.clone();
            let requests = stream::once(std::future::ready(first)).chain(requests).map(move |request| {
                let message = request.into_message();
                sent.push(message.encoded_len() as u64);
                message
            });
            let answers = within(APPEND_TIMEOUT, client.append_stream(requests)).await?;
            let answers = stream::unfold(Some((answers, deadlines)), |state| async {
                let (mut answers, deadlines) = state?;
                let answer = tokio::select! {
                    answer = answers.message() => answer,
                    () = deadlines.passed() => Err(Status::deadline_exceeded("append not answered in time")),
                };
                match answer {
                    Ok(None) => None,
                    Ok(Some(message)) => {
                        deadlines.pop();
                        let result = StreamAppendResult::from_message(message).map_err(malformed);
                        let next = result.is_ok().then_some((answers, deadlines));
                        Some((result, next))
                    }
                    Err(status) => Some((Err(rpc_error(status)), None)),
                }
            });
            Ok(Box::pin(answers) as BoxStream<'s, _>)
        })
    }

    async fn vote(
        &mut self,
        request: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RpcError> {
        let mut client = self.link.control();
        let answer = within(option.hard_ttl(), client.vote(request.clone().into_message())).await?;
        let response = VoteResponse::from_message(answer).map_err(malformed)?;
        if let Some(granted) = Granted::of(&request, &response) {
            *self.link.granted.lock().unwrap_or_else(PoisonError::into_inner) = Some(granted);
        }
        Ok(response)
    }

    async fn pre_vote(
        &mut self,
        request: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RpcError> {
        let mut client = self.link.control();
        let answer = within(option.hard_ttl(), client.pre_vote(request.into_message())).await?;
        VoteResponse::from_message(answer).map_err(malformed)
    }

    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<TypeConfig>,
        _option: RPCOption,
    ) -> Result<TransferLeaderResponse<TypeConfig>, RpcError> {
        let mut client = self.link.control();
        let answer = within(TRANSFER_TIMEOUT, client.transfer_leader(request.into_message())).await?;
        match answer.refused {
            refused if refused.is_empty() => Ok(Ok(())),
            refused => Err(RPCError::Network(NetworkError::from_string(refused))),
        }
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        tokio::select! {
            closed = cancel => Err(closed.into()),
            sent = snapshot::send(self.link.snapshot(), vote, snapshot, &self.sending) => {
                Ok(SnapshotResponse::new(sent.map_err(rpc_error)?))
            }
        }
    }

    /// Short at first, for a peer that restarts; at most once a second, for one that is gone.
    fn backoff(&self) -> Option<Backoff> {
        let growing = [50, 100, 200, 400].into_iter().chain(std::iter::repeat(1_000));
        Some(Backoff::new(growing.map(Duration::from_millis)))
    }
}

/// When the appends that are on their way must be answered, oldest first. openraft bounds how many there are.
#[derive(Clone, Debug, Default)]
struct Deadlines {
    waiting: Arc<Mutex<std::collections::VecDeque<Instant>>>,
    pushed: Arc<tokio::sync::Notify>,
}

impl Deadlines {
    fn push(&self, bytes: u64) {
        let crossing = Duration::from_millis(bytes * 1_000 / APPEND_BYTES_PER_SECOND_MIN);
        let deadline = Instant::now() + APPEND_TIMEOUT + crossing;
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).push_back(deadline);
        self.pushed.notify_one();
    }

    fn pop(&self) {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
    }

    fn oldest(&self) -> Option<Instant> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).front().copied()
    }

    /// Waits until the oldest append is overdue; for ever while none is on its way.
    async fn passed(&self) {
        loop {
            match self.oldest() {
                Some(deadline) => return tokio::time::sleep_until(deadline).await,
                None => self.pushed.notified().await,
            }
        }
    }
}

type Call<'c, T> = Pin<Box<dyn Future<Output = Result<tonic::Response<T>, Status>> + Send + 'c>>;

async fn within<T>(
    budget: Duration,
    call: impl Future<Output = Result<tonic::Response<T>, Status>> + Send,
) -> Result<T, RpcError> {
    let call: Call<'_, T> = Box::pin(call);
    match tokio::time::timeout(budget, call).await {
        Ok(answer) => Ok(answer.map_err(rpc_error)?.into_inner()),
        Err(_) => Err(rpc_error(Status::deadline_exceeded(format!("no answer within {budget:?}")))),
    }
}

/// What openraft does next hangs on this: *unreachable* backs off, *network* tries again soon.
fn rpc_error(status: Status) -> RpcError {
    match status.code() {
        // Not there, or there and not willing to talk to us: neither changes at once.
        Code::Unavailable | Code::FailedPrecondition | Code::InvalidArgument | Code::Unimplemented => {
            RPCError::Unreachable(Unreachable::new(&status))
        }
        _ => RPCError::Network(NetworkError::new(&status)),
    }
}

fn malformed(error: Malformed) -> RpcError {
    RPCError::Network(NetworkError::new(&error))
}

/// The membership entry of a peer that answered [`proto::IdentifyResponse`].
pub(crate) fn member_of(answer: &proto::IdentifyResponse, node_id: u64) -> Option<&proto::Member> {
    answer.members.iter().find(|member| member.id == node_id)
}
