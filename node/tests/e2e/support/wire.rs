//! Plain TCP: a request without an HTTP client, and what is no request at all.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

/// Longer than any answer takes; a listener that says nothing must not hang a test.
const PATIENCE: Duration = Duration::from_secs(5);

/// The status and the body of `GET path`; `None` while nobody listens.
pub(crate) fn http_get(address: &str, path: &str) -> Option<(u16, String)> {
    let mut stream = connect(address)?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).ok()?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).ok()?;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let status = text.split(' ').nth(1)?.parse().ok()?;
    let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    Some((status, body.to_owned()))
}

/// Sends bytes that mean nothing, and reads until the listener has had enough, or [`PATIENCE`].
pub(crate) fn send_garbage(address: &str, garbage: &[u8]) {
    let mut stream = connect(address).expect("somebody listens");
    // The listener may close at any byte.
    let _ = stream.write_all(garbage);
    let _ = stream.shutdown(Shutdown::Write);
    let _ = stream.read_to_end(&mut Vec::new());
}

fn connect(address: &str) -> Option<TcpStream> {
    let stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    Some(stream)
}
