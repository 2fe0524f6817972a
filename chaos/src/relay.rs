//! The network of a run, made in this process: every connection to a node passes a relay in front of its port, which
//! takes the time of a long way, and lets nothing through where a link is cut.
//!
//! Links are directed, between places: a node, or outside, where the clients are. A cut is silence: what is under way
//! is held, neither lost nor refused, and arrives after the heal, as TCP would repeat it. A connection that is made
//! over a cut link gets no answer. What a dead process leaves behind (a reset) takes the way like anything else.
//!
//! Not modelled: loss, jitter, and rates. One difference to a real network: dialling succeeds at once, and it is the
//! first bytes that wait for the round trip which dialling takes.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use bytes::{Bytes, BytesMut};
use futures::future::{self, Either};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

mod dialler;

pub(crate) use dialler::Processes;

/// Read at once; what one system call hands on.
const CHUNK_BYTES: usize = 64 << 10;

/// Chunks on the way in one direction of one connection. With 40 ms of way it passes 100 MB/s: the link is long, not
/// narrow.
const CHUNKS: usize = 64;

/// Where a connection begins or ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Place {
    /// The node with this index.
    Node(usize),
    /// Everybody else.
    Outside,
}

/// From one place to another.
pub(crate) type Way = (Place, Place);

/// All relays of a run, and what holds for them. They end when it is dropped.
pub(crate) struct Network {
    state: watch::Sender<State>,
    /// Chunks that met a cut: the proof that there was one.
    held: Arc<AtomicU64>,
    processes: Arc<Processes>,
    relays: JoinSet<()>,
}

#[derive(Clone, Debug)]
struct State {
    one_way: Duration,
    cut: BTreeSet<Way>,
}

/// Whom a relay may take for the dialler.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Diallers {
    /// The nodes: a peer port.
    Nodes,
    /// Clients: any other port.
    Outside,
}

impl Network {
    /// Nothing is cut, and every way takes this long.
    pub(crate) fn new(one_way: Duration, processes: Arc<Processes>) -> Self {
        let state = watch::Sender::new(State { one_way, cut: BTreeSet::new() });
        Self { state, held: Arc::default(), processes, relays: JoinSet::new() }
    }

    /// Puts a relay in front of a port of a node. The answer is where it listens.
    pub(crate) async fn relay(
        &mut self,
        node: usize,
        port: SocketAddr,
        diallers: Diallers,
    ) -> anyhow::Result<SocketAddr> {
        let listener = TcpListener::bind("127.0.0.1:0").await.context("cannot listen for a relay")?;
        let address = listener.local_addr()?;
        let end = End {
            node,
            port,
            diallers,
            state: self.state.subscribe(),
            held: self.held.clone(),
            processes: self.processes.clone(),
        };
        self.relays.spawn(end.accept(listener));
        Ok(address)
    }

    /// Cuts these ways, beside those that are cut.
    pub(crate) fn cut(&self, ways: impl IntoIterator<Item = Way>) {
        self.state.send_modify(|state| state.cut.extend(ways));
    }

    /// Heals everything.
    pub(crate) fn heal(&self) {
        self.state.send_modify(|state| state.cut.clear());
    }

    /// How many chunks met a cut so far.
    pub(crate) fn held(&self) -> u64 {
        self.held.load(Ordering::Relaxed)
    }
}

/// A port of a node, seen from its relay.
#[derive(Clone)]
struct End {
    node: usize,
    port: SocketAddr,
    diallers: Diallers,
    state: watch::Receiver<State>,
    held: Arc<AtomicU64>,
    processes: Arc<Processes>,
}

impl End {
    async fn accept(self, listener: TcpListener) {
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                // Out of descriptors, the run fails by its timeouts; it must not spin until then.
                accepted = listener.accept() => match accepted {
                    Ok((dialled, from)) => {
                        connections.spawn(self.clone().carry(dialled, from));
                    }
                    Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
                },
                Some(_) = connections.join_next() => {}
            }
        }
    }

    /// One connection, from its dialling to its end.
    async fn carry(self, dialled: TcpStream, from: SocketAddr) {
        let place = match self.diallers {
            Diallers::Outside => Place::Outside,
            Diallers::Nodes => {
                match dialled.local_addr().ok().and_then(|to| self.processes.node_at(from, to)) {
                    Some(node) => Place::Node(node),
                    // It is gone already.
                    None => return,
                }
            }
        };
        let there: Way = (place, Place::Node(self.node));
        let back: Way = (there.1, there.0);
        let one_way = self.state.borrow().one_way;
        sleep_until(Instant::now() + 2 * one_way).await;
        if self.open(there).await.is_none() || self.open(back).await.is_none() {
            return;
        }
        let Ok(reached) = TcpStream::connect(self.port).await else { return };
        if dialled.set_nodelay(true).and(reached.set_nodelay(true)).is_err() {
            return;
        }
        let (dialled_reads, dialled_writes) = dialled.into_split();
        let (reached_reads, reached_writes) = reached.into_split();
        tokio::join!(
            self.pump(dialled_reads, reached_writes, there, one_way),
            self.pump(reached_reads, dialled_writes, back, one_way)
        );
    }

    /// Carries one direction until either side ends it.
    async fn pump(&self, mut from: OwnedReadHalf, mut to: OwnedWriteHalf, way: Way, one_way: Duration) {
        let (sent, mut arriving) = mpsc::channel::<(Instant, Bytes)>(CHUNKS);
        let depart = async move {
            loop {
                let mut chunk = BytesMut::with_capacity(CHUNK_BYTES);
                // An end, in whatever way, travels as an empty chunk.
                let read = from.read_buf(&mut chunk).await.unwrap_or(0);
                if sent.send((Instant::now() + one_way, chunk.freeze())).await.is_err() || read == 0 {
                    return;
                }
            }
        };
        let arrive = async {
            while let Some((at, chunk)) = arriving.recv().await {
                sleep_until(at).await;
                if self.open(way).await.is_none() || chunk.is_empty() || to.write_all(&chunk).await.is_err() {
                    return;
                }
            }
        };
        // Whichever ends first: a sender that is silent for ever must not outlive the one it sends to.
        match future::select(Box::pin(depart), Box::pin(arrive)).await {
            Either::Left(((), arrive)) => arrive.await,
            Either::Right(_) => {}
        }
        // Dropping the halves would close the connection only when the other direction has ended too.
        let _ = to.shutdown().await;
    }

    /// Waits until nothing is cut here; `None` when the network has ended.
    async fn open(&self, way: Way) -> Option<()> {
        let mut state = self.state.clone();
        if state.borrow().cut.contains(&way) {
            self.held.fetch_add(1, Ordering::Relaxed);
        }
        state.wait_for(|state| !state.cut.contains(&way)).await.is_ok().then_some(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use tokio::time::timeout;

    use super::*;

    const WAY: Duration = Duration::from_millis(30);
    const SILENCE: Duration = Duration::from_millis(200);

    /// A server that echoes, behind a relay of node 0, and a connection to it from outside.
    async fn echo() -> (Network, TcpStream) {
        let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = server.local_addr().unwrap();
        tokio::spawn(async move {
            loop {
                let (stream, _) = server.accept().await.unwrap();
                let (mut reads, mut writes) = stream.into_split();
                tokio::spawn(async move { tokio::io::copy(&mut reads, &mut writes).await });
            }
        });
        let mut network = Network::new(WAY, Arc::default());
        let address = network.relay(0, port, Diallers::Outside).await.unwrap();
        let stream = TcpStream::connect(address).await.unwrap();
        (network, stream)
    }

    async fn round_trip(stream: &mut TcpStream) -> Duration {
        let began = Instant::now();
        stream.write_all(b"ping").await.unwrap();
        stream.read_exact(&mut [0; 4]).await.unwrap();
        began.elapsed()
    }

    #[tokio::test]
    async fn a_way_takes_its_time_and_dialling_a_round_trip() {
        let (_network, mut stream) = echo().await;
        assert!(round_trip(&mut stream).await >= 4 * WAY, "dialling costs a round trip");
        assert!(round_trip(&mut stream).await >= 2 * WAY);
    }

    #[tokio::test]
    async fn a_cut_is_silence_and_a_heal_brings_what_was_held() {
        for way in [(Place::Outside, Place::Node(0)), (Place::Node(0), Place::Outside)] {
            let (network, mut stream) = echo().await;
            round_trip(&mut stream).await;
            network.cut([way]);
            assert!(timeout(SILENCE, round_trip(&mut stream)).await.is_err(), "{way:?}");
            assert_eq!(network.held(), 1);
            network.heal();
            stream.read_exact(&mut [0; 4]).await.unwrap();
            round_trip(&mut stream).await;
        }
    }

    #[tokio::test]
    async fn an_end_takes_the_way_too() {
        let (_network, mut stream) = echo().await;
        round_trip(&mut stream).await;
        let began = Instant::now();
        stream.shutdown().await.unwrap();
        assert_eq!(stream.read(&mut [0; 4]).await.unwrap(), 0);
        assert!(began.elapsed() >= 2 * WAY);
    }
}
