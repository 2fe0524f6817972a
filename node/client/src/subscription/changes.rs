//! The snapshots to come.

use std::sync::Arc;

use futures::Stream;
use tokio::sync::watch;

use super::Snapshot;

/// Each new version of a config, as it comes. A reader that is slow gets the newest; those between are skipped.
pub struct Changes {
    receiver: watch::Receiver<Arc<Snapshot>>,
    /// The version that the reader has.
    version: u64,
}

impl Changes {
    pub(super) fn new(mut receiver: watch::Receiver<Arc<Snapshot>>) -> Self {
        let version = receiver.borrow_and_update().version();
        Self { receiver, version }
    }

    /// The next snapshot; `None` once the subscription has ended. Dropping the future loses none.
    pub async fn next(&mut self) -> Option<Arc<Snapshot>> {
        let version = self.version;
        let newer = self.receiver.wait_for(|snapshot| snapshot.version() > version).await.ok()?;
        let snapshot = newer.clone();
        drop(newer);
        self.version = snapshot.version();
        Some(snapshot)
    }

    /// The same as a stream.
    pub fn into_stream(self) -> impl Stream<Item = Arc<Snapshot>> + Send {
        futures::stream::unfold(self, async |mut changes| Some((changes.next().await?, changes)))
    }
}
