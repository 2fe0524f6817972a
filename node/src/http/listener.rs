//! One HTTP listener: HTTP/1.1 and HTTP/2 without TLS on one port.
//!
//! A client can neither stop it nor fill the memory: connections, headers and the time to send them are bounded, and
//! what is no HTTP ends its own connection only. Left to others: TLS, and limits per client.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::pin;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;

/// How many may be connected.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Past them clients wait in the kernel's queue.
    pub connections: usize,
}

/// From connecting, or from the last answer, to the end of the next header. Also how long a connection may idle.
const HEADER_TIMEOUT: Duration = Duration::from_secs(20);

/// Path, credential, and what proxies add, with a margin.
const HEADER_BYTES: usize = 16 << 10;

/// Requests of one HTTP/2 connection at a time. A CDN bundles many clients on few connections.
const STREAMS_PER_CONNECTION: u32 = 128;

/// Finds HTTP/2 clients that vanished.
const PING_INTERVAL: Duration = Duration::from_secs(20);

/// How long requests that are being answered may hold up a stop.
const DRAIN: Duration = Duration::from_secs(5);

/// Out of file descriptors, accepting fails at once, again and again.
const PAUSE_AFTER_ERROR: Duration = Duration::from_millis(200);

/// Serves until cancelled, and then until all requests are answered, five seconds at most. Nothing else ends it.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    bounds: Bounds,
    stopping: CancellationToken,
) -> Result<(), Infallible> {
    let places = Arc::new(Semaphore::new(bounds.connections));
    let connections = TaskTracker::new();
    // Cancelled when time is up, so that nothing outlives this function.
    let time_is_up = CancellationToken::new();
    let _on_return = time_is_up.clone().drop_guard();
    loop {
        let place = places.clone().acquire_owned();
        let accepted = async { (place.await.expect("nobody closes the semaphore"), listener.accept().await) };
        let Some((place, accepted)) = stopping.run_until_cancelled(accepted).await else { break };
        match accepted {
            Ok((socket, _)) => {
                let connection = connection(socket, router.clone(), stopping.clone());
                let time_is_up = time_is_up.clone();
                connections.spawn(async move {
                    time_is_up.run_until_cancelled(connection).await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "could not accept a connection");
                tokio::time::sleep(PAUSE_AFTER_ERROR).await;
            }
        }
    }
    drop(listener);
    connections.close();
    if tokio::time::timeout(DRAIN, connections.wait()).await.is_err() {
        tracing::warn!(connections = connections.len(), "left behind: they did not end in time");
    }
    Ok(())
}

async fn connection(socket: TcpStream, router: Router, stopping: CancellationToken) {
    // Only fails on a socket that is already broken, and then the connection ends by itself.
    let _ = socket.set_nodelay(true);
    let asked = Arc::new(AtomicBool::new(false));
    let service = {
        let asked = asked.clone();
        tower::service_fn(move |request: Request<_>| {
            asked.store(true, Ordering::Relaxed);
            router.clone().oneshot(request.map(Body::new))
        })
    };
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(HEADER_BYTES)
        .http2()
        .timer(TokioTimer::new())
        .max_header_list_size(HEADER_BYTES as u32)
        .max_concurrent_streams(STREAMS_PER_CONNECTION)
        .keep_alive_interval(PING_INTERVAL);
    let connection = builder.serve_connection(TokioIo::new(socket), TowerToHyperService::new(service));
    pin!(connection);
    // hyper's own timeouts begin only once it knows which protocol is spoken.
    let first_request_is_due = tokio::time::sleep(HEADER_TIMEOUT);
    pin!(first_request_is_due);
    let (mut draining, mut waiting) = (false, true);
    let result = loop {
        tokio::select! {
            result = connection.as_mut() => break result,
            () = stopping.cancelled(), if !draining => {
                draining = true;
                connection.as_mut().graceful_shutdown();
            }
            () = first_request_is_due.as_mut(), if waiting => {
                if !asked.load(Ordering::Relaxed) {
                    return;
                }
                waiting = false;
            }
        }
    };
    if let Err(error) = result {
        tracing::debug!(error, "an http connection ended early");
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::net::SocketAddr;

    use axum::routing::get;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::task::JoinHandle;

    use super::*;

    struct Served {
        address: SocketAddr,
        stopping: CancellationToken,
        ended: JoinHandle<Result<(), Infallible>>,
    }

    async fn start(connections: usize) -> Served {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stopping = CancellationToken::new();
        let router = Router::new().route("/", get(|| async { "here" })).route("/panic", get(panics));
        let ended = tokio::spawn(serve(listener, router, Bounds { connections }, stopping.clone()));
        Served { address, stopping, ended }
    }

    async fn panics() -> &'static str {
        panic!("a broken handler")
    }

    /// What comes back for these bytes until the server closes.
    async fn exchange(address: SocketAddr, sent: &[u8]) -> Vec<u8> {
        let mut socket = TcpStream::connect(address).await.unwrap();
        // The server may close before it has read everything.
        let _ = socket.write_all(sent).await;
        let mut answer = Vec::new();
        let _ = socket.read_to_end(&mut answer).await;
        answer
    }

    const GET: &[u8] = b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";

    #[tokio::test]
    async fn garbage_ends_its_own_connection_only() {
        let served = start(8).await;
        let huge_header = [&b"GET / HTTP/1.1\r\nx: "[..], &[b'a'; 100_000], b"\r\n\r\n"].concat();
        let h2_garbage = [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &[0xff; 64]].concat();
        let tls_hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".repeat(20);
        for garbage in
            [&[0; 1_000][..], b"\r\n\r\n\r\n\r\nx y z\r\n\r\n", &huge_header, &h2_garbage, &tls_hello]
        {
            let answer = exchange(served.address, garbage).await;
            assert!(!answer.starts_with(b"HTTP/1.1 2"), "{:?}", String::from_utf8_lossy(&answer));
            assert!(exchange(served.address, GET).await.ends_with(b"here"));
        }
        assert!(!served.ended.is_finished());
    }

    #[tokio::test]
    async fn a_panic_ends_its_own_connection_only() {
        let served = start(1).await;
        assert_eq!(exchange(served.address, b"GET /panic HTTP/1.1\r\nhost: a\r\n\r\n").await, b"");
        assert!(exchange(served.address, GET).await.ends_with(b"here"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_client_gives_its_place_back() {
        let served = start(1).await;
        for says in ["", "PRI * HT", "GET / HT"] {
            let began = tokio::time::Instant::now();
            assert_eq!(exchange(served.address, says.as_bytes()).await, b"", "{says:?}");
            assert!(began.elapsed() >= HEADER_TIMEOUT, "{says:?}");
        }
        assert!(exchange(served.address, GET).await.ends_with(b"here"));
    }

    #[tokio::test]
    async fn it_ends_with_idle_clients_connected() {
        let served = start(8).await;
        let mut idle = TcpStream::connect(served.address).await.unwrap();
        idle.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
        let mut answer = [0; 8];
        idle.read_exact(&mut answer).await.unwrap();
        served.stopping.cancel();
        served.ended.await.unwrap().unwrap();
        assert!(TcpStream::connect(served.address).await.is_err());
    }
}
