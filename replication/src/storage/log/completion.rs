//! Telling openraft that a write is on disk.

use std::io;

use openraft::storage::IOFlushed;

use crate::types::TypeConfig;

/// Answers openraft exactly once.
///
/// raft-log drops the callbacks of writes which were queued behind a failed one. openraft would wait for them for
/// ever, so being dropped counts as failure.
pub(super) struct Completion(Option<IOFlushed<TypeConfig>>);

impl Completion {
    pub(super) fn new(flushed: IOFlushed<TypeConfig>) -> Self {
        Self(Some(flushed))
    }
}

impl raft_log::Callback for Completion {
    fn send(mut self, result: io::Result<()>) {
        if let Some(flushed) = self.0.take() {
            flushed.io_completed(result);
        }
    }
}

impl Drop for Completion {
    fn drop(&mut self) {
        if let Some(flushed) = self.0.take() {
            flushed.io_completed(Err(io::Error::other("the log stopped before this write was durable")));
        }
    }
}
