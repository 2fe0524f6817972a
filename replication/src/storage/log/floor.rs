//! How far the log may be purged.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The last log index that a durable snapshot covers; entries beyond it exist nowhere else.
///
/// Clones share one value. It only rises: raise it after the snapshot has been fsynced, renamed and verified.
#[derive(Clone, Debug, Default)]
pub(crate) struct PurgeFloor {
    /// The first index that must stay.
    keep_from: Arc<AtomicU64>,
}

impl PurgeFloor {
    /// No snapshot yet: nothing may be purged.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// A durable snapshot covers the log up to and including `index`.
    pub(crate) fn raise(&self, index: u64) {
        self.keep_from.fetch_max(index.saturating_add(1), Ordering::AcqRel);
    }

    /// Whether entries up to and including `index` may go.
    pub(crate) fn allows(&self, index: u64) -> bool {
        index < self.keep_from.load(Ordering::Acquire)
    }

    /// The last index that may go.
    pub(crate) fn index(&self) -> Option<u64> {
        self.keep_from.load(Ordering::Acquire).checked_sub(1)
    }
}
