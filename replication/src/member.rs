//! A running member: what its parts share, and how it comes up and goes down.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures::{Stream, StreamExt as _};
use meridian_model::state::Tally;
use openraft::Config;
use openraft::async_runtime::watch::WatchReceiver as _;
use openraft::storage::RaftLogStorage as _;
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;

use crate::alarm::Alarm;
use crate::barrier::Barriers;
use crate::catalog::Catalog;
use crate::disk::{Disk, refuse};
use crate::error::{Leader, StartError};
use crate::freshness::Freshness;
use crate::handle::Handle;
use crate::machine::{Machine, SnapshotFiles};
use crate::network::passport::Home;
use crate::network::peer::Peers;
use crate::network::service::Service;
use crate::network::{
    CONNECTION_WINDOW_BYTES, KEEPALIVE_INTERVAL, KEEPALIVE_TIMEOUT, STREAM_WINDOW_BYTES, warm,
};
use crate::options::{Founder, Join, Options, Timing};
use crate::projection::Projection;
use crate::status::{NodeStatus, NotReady, Readiness};
use crate::storage;
use crate::storage::identity::DataDir;
use crate::storage::log::LogUsage;
use crate::types::Raft;
use crate::{formation, freshness, joining, leadership, placement, promotion, repair, service_state, upkeep};

/// One thread for Raft alone; SDK traffic has others. Its tasks hand each entry on to one another: with a second thread
/// each hand-over would wake the other one up, which costs a lone publish a tenth of a millisecond. What blocks (the
/// disk, a snapshot) runs on threads that the runtime adds.
const WORKER_THREADS: usize = 1;

/// Calls that one peer may have open on one connection. A healthy one has three.
const PEER_STREAMS_MAX: u32 = 64;

/// Out of file descriptors, accepting fails at once, again and again: tonic would spin on it, beside Raft.
const PAUSE_AFTER_ERROR: Duration = Duration::from_millis(200);

/// Nodes that are being let in at once: the leader calls each of them back.
const GUESTS_MAX: usize = 8;

/// For what still runs after everything was told to end.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(2);

/// What the parts of a member share.
pub(crate) struct MemberState {
    pub(crate) home: Home,
    /// Where this node stands and how others reach it, by its configuration.
    pub(crate) own: Founder,
    pub(crate) join: Join,
    /// Held by whoever changes the members. See [`crate::membership::execute`].
    pub(crate) changing: Arc<tokio::sync::Mutex<()>>,
    /// See [`GUESTS_MAX`].
    pub(crate) guests: Semaphore,
    /// One export at a time: each writes the whole state.
    pub(crate) exporting: Semaphore,
    pub(crate) raft: Raft,
    pub(crate) peers: Peers,
    pub(crate) log: LogUsage,
    pub(crate) files: SnapshotFiles,
    pub(crate) alarm: Alarm,
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) projection: Projection,
    /// Taken away when the member has stopped: that unlocks the directory.
    data_dir: Mutex<Option<DataDir>>,
    initialized: AtomicBool,
    /// Latched: this node has held everything that was committed, in this run or an earlier one.
    complete: AtomicBool,
    /// Latched: a membership is never taken away.
    has_membership: AtomicBool,
    /// Newest entry that was known to be committed at the start: SDKs were served it before.
    committed_at_start: u64,
    waiting_for: Mutex<Vec<String>>,
    stopping: AtomicBool,
    software_version: String,
    pub(crate) freshness: Freshness,
    pub(crate) barriers: Barriers,
    pub(crate) reported: service_state::Reported,
}

impl MemberState {
    /// Asked by every request, and Raft only until the answer is yes: its metrics are behind a lock that its core takes.
    pub(crate) fn has_membership(&self) -> bool {
        if self.has_membership.load(Ordering::Acquire) {
            return true;
        }
        let metrics = self.raft.metrics();
        let has = metrics.borrow_watched().membership_config.membership().nodes().next().is_some();
        self.has_membership.fetch_or(has, Ordering::AcqRel);
        has
    }

    pub(crate) fn set_waiting_for(&self, founders: Vec<String>) {
        *lock(&self.waiting_for) = founders;
    }

    /// Says on disk that this node has promised something to others, so that it never again starts without its log.
    /// Durable on return.
    pub(crate) fn mark_initialized(&self) -> Result<(), storage::Error> {
        if self.initialized.load(Ordering::Acquire) {
            return Ok(());
        }
        tokio::task::block_in_place(|| match lock(&self.data_dir).as_mut() {
            Some(data_dir) => data_dir.mark_initialized(),
            None => Ok(()),
        })?;
        self.initialized.store(true, Ordering::Release);
        Ok(())
    }

    /// Says on disk, once, that this node has held everything that was committed: from then on it serves what it has,
    /// also when it starts with nobody else there.
    pub(crate) fn mark_complete(&self) -> Result<(), storage::Error> {
        if self.complete.load(Ordering::Acquire) {
            return Ok(());
        }
        tokio::task::block_in_place(|| match lock(&self.data_dir).as_ref() {
            Some(data_dir) => data_dir.mark_complete(),
            None => Ok(()),
        })?;
        self.complete.store(true, Ordering::Release);
        Ok(())
    }

    pub(crate) fn leads(&self) -> bool {
        self.raft.is_leader()
    }

    /// Newest entry that this node was told to be committed.
    fn committed(&self) -> u64 {
        let metrics = self.raft.metrics();
        let committed = metrics.borrow_watched().cluster_committed;
        committed.map_or(0, |log_id| log_id.index)
    }

    /// Who leads instead of this node, as far as it knows.
    pub(crate) fn other_leader(&self) -> Option<Leader> {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let node_id = metrics.current_leader.filter(|leader| *leader != self.home.node_id)?;
        let member = metrics.membership_config.membership().get_node(&node_id)?;
        Some(Leader { node_id, grpc_address: member.grpc_address.clone() })
    }

    /// Where other nodes reach the leader, as far as this node knows; empty if it knows none.
    pub(crate) fn leader_peer_address(&self) -> String {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let leader = metrics.current_leader;
        let member = leader.and_then(|leader| metrics.membership_config.membership().get_node(&leader));
        member.map(|member| member.peer_address.clone()).unwrap_or_default()
    }

    /// When a node left the cluster for good, Unix milliseconds, as far as this node has applied the log.
    pub(crate) fn retired_at_ms(&self, node_id: u64) -> Option<u64> {
        self.catalog.view().directory.fleet().retired_at_ms(node_id)
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    pub(crate) fn readiness(&self) -> Readiness {
        let applied = self.catalog.revision();
        Readiness::NotReady(if let Some(fatal) = self.alarm.rung() {
            NotReady::Failed(fatal.to_string())
        } else if self.is_stopping() {
            NotReady::Stopping
        } else if !self.has_membership() {
            NotReady::NoMembership { waiting_for: lock(&self.waiting_for).clone() }
        } else if applied < self.committed_at_start.max(1) {
            NotReady::CatchingUp { applied, target: self.committed_at_start.max(1) }
        } else if !self.complete.load(Ordering::Acquire) {
            // It began with nothing: what it holds so far may be any part of the whole.
            NotReady::CatchingUp { applied, target: self.committed().max(applied) }
        } else {
            return Readiness::Ready;
        })
    }

    pub(crate) fn status(&self) -> NodeStatus {
        let readiness = self.readiness();
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let view = self.catalog.view();
        let (tally_index, tally) = view.tallied.unwrap_or((0, Tally::default()));
        let (service, streams) = self.reported.get();
        NodeStatus {
            node_id: self.home.node_id,
            term: metrics.current_term,
            leader: metrics.current_leader,
            last_index: metrics.last_log_index.unwrap_or(0),
            applied_index: view.revision,
            fresh_as_of_ms: view.fresh_as_of_ms(),
            readiness,
            pid: std::process::id(),
            tally,
            tally_index,
            software_version: self.software_version.clone(),
            staleness: self.freshness.staleness(),
            service,
            streams,
            quorum_age: leadership::quorum_age(&metrics),
        }
    }
}

/// Unix milliseconds by this machine's clock.
pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_millis().try_into().unwrap_or(u64::MAX)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What ends a member, and what says that it has ended.
#[derive(Clone, Debug)]
pub(crate) struct Lifeline {
    pub(crate) stop: watch::Sender<bool>,
    pub(crate) stopped: watch::Receiver<bool>,
}

/// See [`crate::start`]. The member lives on a thread that owns its runtime, so that the caller's may be any.
pub(crate) fn start(options: Options, listener: TcpListener) -> Result<Handle, StartError> {
    let (started, wait) = std::sync::mpsc::channel();
    let thread = std::thread::Builder::new().name("raft".to_owned());
    let spawned = thread.spawn(move || {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(WORKER_THREADS)
            .thread_name("raft-worker")
            .enable_all()
            .build();
        let runtime = match runtime.map_err(|source| machine("start the raft runtime", source)) {
            Ok(runtime) => runtime,
            Err(error) => return drop(started.send(Err(error))),
        };
        let (stopped, stopped_seen) = watch::channel(false);
        let lifeline = Lifeline { stop: watch::Sender::new(false), stopped: stopped_seen };
        runtime.block_on(live(options, listener, lifeline, started));
        runtime.shutdown_timeout(SHUTDOWN_TIMEOUT);
        stopped.send_replace(true);
    });
    spawned.map_err(|source| machine("start the raft thread", source))?;
    let gone = |_| machine("start raft", std::io::Error::other("its thread ended"));
    wait.recv().map_err(gone)?
}

fn machine(what: &str, source: std::io::Error) -> StartError {
    StartError::Machine { what: format!("cannot {what}"), source }
}

async fn live(
    options: Options,
    listener: TcpListener,
    lifeline: Lifeline,
    started: std::sync::mpsc::Sender<Result<Handle, StartError>>,
) {
    let mut stop = lifeline.stop.subscribe();
    let founders = options.founders.clone();
    let member = open(options).await.and_then(|state| Ok((state, incoming(listener)?)));
    let (state, incoming) = match member {
        Ok(member) => member,
        Err(error) => return drop(started.send(Err(error))),
    };
    let mut tasks = JoinSet::new();
    tasks.spawn(serve(state.clone(), incoming));
    tasks.spawn(belong(state.clone(), founders));
    tasks.spawn(promotion::run(state.clone()));
    tasks.spawn(upkeep::tick(state.clone()));
    tasks.spawn(upkeep::bound_the_log(state.clone()));
    tasks.spawn(upkeep::watch_raft(state.clone()));
    tasks.spawn(warm::keep_warm(state.clone()));
    tasks.spawn(freshness::keep_proving(state.clone()));
    tasks.spawn(placement::keep(state.clone()));
    tasks.spawn(repair::keep(state.clone()));
    if started.send(Ok(Handle::new(state.clone(), lifeline))).is_err() {
        return;
    }
    // A handle that is dropped everywhere without `stop` stops the member too.
    let _ = stop.wait_for(|stop| *stop).await;
    state.stopping.store(true, Ordering::Release);
    leadership::leave(&state).await;
    if let Err(error) = state.raft.shutdown().await {
        tracing::warn!(%error, "raft did not end in order");
    }
    // The peer listener with them: nobody is served once Raft has ended.
    tasks.shutdown().await;
    state.projection.close().await;
    drop(lock(&state.data_dir).take());
}

/// Gets this node into the cluster, by founding it or by joining it, and sees to it that it is a member.
async fn belong(state: Arc<MemberState>, founders: BTreeMap<u64, Founder>) {
    if founders.contains_key(&state.home.node_id) {
        formation::run(state.clone(), founders).await;
    }
    joining::run(state).await;
}

/// Opens everything on disk, rebuilds what has to be, and starts Raft on it.
async fn open(options: Options) -> Result<Arc<MemberState>, StartError> {
    let Options { cluster_id, node_id, own, founders: _, join, data_dir, timing, software_version } = options;
    let config = config(&cluster_id, timing)?;
    let region =
        own.region.parse().map_err(|_| StartError::Founders(format!("{:?} is no region", own.region)))?;
    let Disk { data_dir, mut log, files, catalog, store, located } = tokio::task::block_in_place(|| {
        Disk::open(DataDir::open(&data_dir, &cluster_id, node_id).map_err(refuse)?)
    })?;
    let usage = log.usage();
    let committed = log.read_committed().await.map_err(|source| machine("read the log", source))?;
    let alarm = Alarm::new();
    let projection = Projection::start(catalog, store, alarm.clone());
    let projection = projection.map_err(|source| machine("start the catalog thread", source))?;
    let (state_machine, catalog) =
        Machine::new(located, region, projection.clone(), files.clone()).map_err(refuse)?;

    let home = Home { cluster_id, node_id, incarnation: data_dir.incarnation() };
    let peers = Peers::new(home.clone());
    let raft = Raft::new(node_id, config, peers.clone(), log, state_machine).await;
    let raft = raft.map_err(|error| StartError::Storage(error.to_string()))?;
    let initialized = AtomicBool::new(data_dir.initialized());
    let complete = AtomicBool::new(data_dir.was_complete());
    Ok(Arc::new(MemberState {
        home,
        own,
        join,
        changing: Arc::default(),
        guests: Semaphore::new(GUESTS_MAX),
        exporting: Semaphore::new(1),
        raft,
        peers,
        log: usage,
        files,
        alarm,
        catalog,
        projection,
        data_dir: Mutex::new(Some(data_dir)),
        initialized,
        complete,
        has_membership: AtomicBool::new(false),
        committed_at_start: committed.map_or(0, |id| id.index),
        waiting_for: Mutex::default(),
        stopping: AtomicBool::new(false),
        software_version,
        freshness: Freshness::new(),
        barriers: Barriers::default(),
        reported: service_state::Reported::default(),
    }))
}

/// openraft, as section "Timers" of docs/adr/0001 argues.
fn config(cluster_id: &str, timing: Timing) -> Result<Arc<Config>, StartError> {
    let Timing { heartbeat_interval_ms, election_timeout_min_ms, election_timeout_max_ms } = timing;
    let config = Config {
        cluster_name: cluster_id.to_owned(),
        heartbeat_interval: heartbeat_interval_ms,
        election_timeout_min: election_timeout_min_ms,
        election_timeout_max: election_timeout_max_ms,
        // A node that cannot hear the leader must not depose it by campaigning.
        enable_pre_vote: Some(true),
        // A leader that lost its quorum stops holding back those who still have one. At least twice the maximum.
        quorum_loss_probe_interval: Some(election_timeout_max_ms * 3),
        // A restarted leader asks to be elected again: its state machine may be a little behind its log.
        enable_leader_restore: Some(false),
        // Both go by bytes, in `upkeep`; entries say nothing about size.
        snapshot_policy: openraft::SnapshotPolicy::Never,
        max_in_snapshot_log_to_keep: u64::MAX,
        // As long as the log is there it is sent; a snapshot only when it is not.
        replication_lag_threshold: u64::MAX,
        // Only passed through to our own transfer, which has its own deadline.
        install_snapshot_timeout: 60_000,
        ..Config::default()
    };
    Ok(Arc::new(config.validate().map_err(|error| StartError::Timing(error.to_string()))?))
}

/// Connections from peers, one after the other, however long the listener lives.
fn incoming(
    listener: TcpListener,
) -> Result<impl Stream<Item = std::io::Result<TcpStream>> + Send + 'static, StartError> {
    listener.set_nonblocking(true).map_err(|source| machine("use the peer listener", source))?;
    let listener = tokio::net::TcpListener::from_std(listener);
    let listener = listener.map_err(|source| machine("use the peer listener", source))?;
    let accepted = TcpIncoming::from(listener).with_nodelay(Some(true));
    Ok(accepted.then(|accepted| async {
        if let Err(error) = &accepted {
            tracing::warn!(%error, "could not accept a peer");
            tokio::time::sleep(PAUSE_AFTER_ERROR).await;
        }
        accepted
    }))
}

async fn serve(state: Arc<MemberState>, incoming: impl Stream<Item = std::io::Result<TcpStream>>) {
    let server = Server::builder()
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .max_concurrent_streams(PEER_STREAMS_MAX)
        .add_service(Service::guarded(state.clone()));
    if let Err(error) = server.serve_with_incoming(incoming).await {
        state.alarm.ring(crate::error::Fatal::Raft(format!("the peer listener failed: {error}")));
    }
}
