//! Between nodes: who may speak to whom, what is said, and both ends of it.
//!
//! Each node dials each other node three times, so that nothing waits behind something bigger: *control* (votes,
//! heartbeats, leadership, status), *append* (the log) and *snapshot*. The first two stay open between all voters
//! ([`warm`]): dialling when somebody has to be elected would add a round trip or two to each failover.

use std::time::Duration;

pub(crate) mod meeting;
pub(crate) mod passport;
pub(crate) mod peer;
mod search;
pub(crate) mod service;
pub(crate) mod snapshot;
pub(crate) mod warm;
pub(crate) mod wire;

/// One message between peers. Append batches are cut at 2 MB, but one entry may be larger: a document of up to
/// 4,190,000 bytes that does not compress. Beyond this a peer is wrong.
pub(crate) const MAX_MESSAGE_BYTES: usize = 16 << 20;

/// HTTP/2 windows. The defaults (1 MB) would cap a stream at 12 MB/s over an 80 ms round trip.
pub(crate) const STREAM_WINDOW_BYTES: u32 = 8 << 20;
/// See [`STREAM_WINDOW_BYTES`].
pub(crate) const CONNECTION_WINDOW_BYTES: u32 = 16 << 20;

/// A dead peer is noticed on an otherwise silent connection after these two. No election waits for it: a vote that is
/// not answered counts as none. Longer than a 16 MB message takes, which a ping waits behind.
pub(crate) const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(2);
/// See [`KEEPALIVE_INTERVAL`].
pub(crate) const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(3);

/// The same on a control connection, where nothing is large: after a partition the old connection may be stuck in
/// TCP's own retries for longer than the partition was, and the dialled one is not.
pub(crate) const CONTROL_KEEPALIVE: Duration = Duration::from_secs(1);
