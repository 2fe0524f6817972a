//! Numbers about a member's disk, for whoever exports them. What Raft says of itself is in [`crate::NodeStatus`].

use std::time::Duration;

/// What this node keeps on disk, at one instant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StorageMetrics {
    /// Files of the log, purged entries included until their whole chunk goes.
    pub log_bytes: u64,
    /// Entries in the log.
    pub log_entries: u64,
    /// Last index of the newest snapshot; 0 without one. The log may be purged up to here.
    pub snapshot_index: u64,
    /// Files of the catalog.
    pub catalog_bytes: u64,
    /// Documents in the catalog.
    pub documents: u64,
    /// What they take, compressed.
    pub document_bytes: u64,
    /// Files that the catalog's engine must never make. Above zero its guards have failed.
    pub blob_files: u64,
    /// fsyncs that the catalog's engine asked for since the process started.
    pub catalog_syncs: u64,
    /// Since the last catalog checkpoint. Small while ticks are applied.
    pub checkpoint_age: Duration,
}
