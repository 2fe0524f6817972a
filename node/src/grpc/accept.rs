//! Connections for the server, one after the other, however long the listener lives.

use std::io;
use std::time::Duration;

use futures::Stream;
use tokio::net::{TcpListener, TcpStream};

/// How long to leave the listener alone after it could not accept. Out of file descriptors it fails at once, again
/// and again, and the server would spin on it.
const PAUSE_AFTER_ERROR: Duration = Duration::from_millis(200);

/// Accepts for ever. Connections are bounded by the file descriptors that the process may have: past them new
/// clients wait in the kernel's queue.
pub(super) fn connections(listener: TcpListener) -> impl Stream<Item = io::Result<TcpStream>> + Send {
    futures::stream::unfold(listener, |listener| async move {
        loop {
            match listener.accept().await {
                Ok((socket, _)) => {
                    // Only fails on a socket that is already broken, and then the connection ends by itself.
                    let _ = socket.set_nodelay(true);
                    return Some((Ok(socket), listener));
                }
                Err(error) => {
                    tracing::warn!(%error, "could not accept a connection");
                    tokio::time::sleep(PAUSE_AFTER_ERROR).await;
                }
            }
        }
    })
}
