//! What a node keeps on its own disk.
//!
//! Three things, each with its own promise:
//!
//! - the **log** (and vote), in [`log`]: what was acknowledged is here, and nowhere else;
//! - **snapshots**, in [`snapshot`]: checksummed files, the only ground on which the log may be purged;
//! - the **catalog**, in [`store`]: rows and documents at some applied position, a projection of the other two. Any
//!   damage to it means rebuild, and [`recover`] does that before Raft starts.
//!
//! Nothing here knows the model or Raft: rows are opaque bytes, documents are opaque bytes under a digest. All calls
//! block; they belong on a thread that may.

pub(crate) mod error;
mod files;
pub(crate) mod fsync_shim;
pub(crate) mod identity;
pub(crate) mod log;
#[cfg(test)]
pub(crate) mod memory;
pub(crate) mod recover;
pub(crate) mod sled;
pub(crate) mod snapshot;
pub(crate) mod store;
#[cfg(test)]
mod testing;

pub(crate) use error::Error;
