//! Between nodes: who may speak to whom, what is said, and both ends of it.
//!
//! Each node dials each other node three times, so that nothing waits behind something bigger: *control* (votes,
//! heartbeats, leadership, status), *append* (the log) and *snapshot*. Control channels stay warm: openraft asks for
//! a client at every vote, and dialling then would add a round trip or two to each failover.

use std::time::Duration;

pub(crate) mod passport;
pub(crate) mod peer;
pub(crate) mod service;

pub(crate) mod snapshot;
pub(crate) mod wire;

/// One message between peers. Append batches are cut at 2 MB, but one entry may be larger: a document of up to
/// 4,190,000 bytes that does not compress. Beyond this a peer is wrong.
pub(crate) const MAX_MESSAGE_BYTES: usize = 16 << 20;

/// HTTP/2 windows. The defaults (1 MB) would cap a stream at 12 MB/s over an 80 ms round trip.
pub(crate) const STREAM_WINDOW_BYTES: u32 = 8 << 20;
/// See [`STREAM_WINDOW_BYTES`].
pub(crate) const CONNECTION_WINDOW_BYTES: u32 = 16 << 20;

/// A dead peer is noticed on an otherwise silent connection after these two.
pub(crate) const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(2);
/// See [`KEEPALIVE_INTERVAL`].
pub(crate) const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(3);
