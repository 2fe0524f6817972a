//! A stretch of network that can fall silent: bytes stop in both directions, and every connection stays open.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::watch;

use crate::fake::listen;

pub(crate) struct Relay {
    pub(crate) address: SocketAddr,
    passes: watch::Sender<bool>,
}

impl Relay {
    /// Between its own address and that of a node.
    pub(crate) async fn to(node: SocketAddr) -> Self {
        let (listener, address) = listen().await;
        let passes = watch::Sender::new(true);
        let watched = passes.subscribe();
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let Ok(far) = TcpStream::connect(node).await else { continue };
                let (near_reads, near_writes) = near.into_split();
                let (far_reads, far_writes) = far.into_split();
                tokio::spawn(carry(near_reads, far_writes, watched.clone()));
                tokio::spawn(carry(far_reads, near_writes, watched.clone()));
            }
        });
        Self { address, passes }
    }

    pub(crate) fn silence(&self) {
        self.passes.send_replace(false);
    }

    pub(crate) fn heal(&self) {
        self.passes.send_replace(true);
    }
}

async fn carry(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut passes: watch::Receiver<bool>) {
    let mut bytes = vec![0; 64 << 10];
    while let Ok(count @ 1..) = from.read(&mut bytes).await {
        if passes.wait_for(|passes| *passes).await.is_err() || to.write_all(&bytes[..count]).await.is_err() {
            return;
        }
    }
}
