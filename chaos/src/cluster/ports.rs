//! Ports that stay free while a node restarts.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use anyhow::bail;

use crate::random::Random;

/// The listeners of one node.
#[derive(Clone, Debug)]
pub(crate) struct Listen {
    pub(crate) grpc: SocketAddr,
    pub(crate) peer: SocketAddr,
    pub(crate) http: SocketAddr,
    pub(crate) admin: SocketAddr,
}

/// Below the range from which systems take the local ports of outgoing connections: one of those could sit on a dead
/// node's port when it is started again.
const SEARCHED: std::ops::Range<u16> = 10_240..30_000;

/// A block is free unless something happens to sit in it; that many misses in a row are not chance.
const TRIES: usize = 64;

const PER_NODE: u16 = 4;

/// Listeners for so many nodes, at a random place so that several runs can start at once.
pub(crate) fn free(nodes: usize) -> anyhow::Result<Vec<Listen>> {
    let mut random = Random::new(uuid::Uuid::new_v4().as_u64_pair().0, 0);
    let wanted = PER_NODE * u16::try_from(nodes)?;
    for _ in 0..TRIES {
        let span = usize::from(SEARCHED.end - SEARCHED.start - wanted);
        let base = SEARCHED.start + u16::try_from(random.below(span))?;
        let at = |port: u16| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        if (base..base + wanted).all(|port| TcpListener::bind(at(port)).is_ok()) {
            let listen = |first| Listen {
                grpc: at(first),
                peer: at(first + 1),
                http: at(first + 2),
                admin: at(first + 3),
            };
            return Ok((base..base + wanted).step_by(PER_NODE.into()).map(listen).collect());
        }
    }
    bail!("no free ports were found in {SEARCHED:?}")
}
