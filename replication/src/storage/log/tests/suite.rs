//! openraft's conformance suite. It checks the contract of the calls; it never reopens a log.

use futures::{Stream, TryStreamExt as _};
use openraft::storage::{EntryResponder, RaftSnapshotBuilder, RaftStateMachine};
use openraft::testing::log::{StoreBuilder, Suite};
use openraft::{OptionalSend, StorageError};

use super::*;
use crate::types::{Reply, SnapshotMeta, StoredMembership};

/// The suite wants a state machine beside the log: one that knows only how far it is.
#[derive(Clone, Default)]
struct Counter {
    applied: SnapshotMeta,
    snapshot: Option<SnapshotMeta>,
}

type Snapshot = openraft::alias::SnapshotOf<TypeConfig, ()>;

impl RaftSnapshotBuilder<TypeConfig> for Counter {
    type SnapshotData = ();

    async fn build_snapshot(&mut self) -> io::Result<Snapshot> {
        Ok(Snapshot { meta: self.applied.clone(), snapshot: () })
    }
}

impl RaftStateMachine<TypeConfig> for Counter {
    type SnapshotData = ();
    type SnapshotBuilder = Self;

    async fn applied_state(&mut self) -> io::Result<(Option<LogId>, StoredMembership)> {
        Ok((self.applied.last_log_id, self.applied.last_membership.clone()))
    }

    async fn apply<S>(&mut self, mut entries: S) -> io::Result<()>
    where
        S: Stream<Item = io::Result<EntryResponder<TypeConfig>>> + Unpin + OptionalSend,
    {
        while let Some((entry, responder)) = entries.try_next().await? {
            self.applied.last_log_id = Some(entry.log_id);
            if let EntryPayload::Membership(membership) = entry.payload {
                self.applied.last_membership = StoredMembership::new(Some(entry.log_id), membership);
            }
            if let Some(responder) = responder {
                responder.send(Reply::Nothing);
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Self {
        self.snapshot = Some(self.applied.clone());
        self.clone()
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, (): ()) -> io::Result<()> {
        self.applied = meta.clone();
        self.snapshot = Some(meta.clone());
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<Snapshot>> {
        Ok(self.snapshot.clone().map(|meta| Snapshot { meta, snapshot: () }))
    }
}

struct Builder;

impl StoreBuilder<TypeConfig, LogStore, Counter, TempDir> for Builder {
    async fn build(&self) -> Result<(TempDir, LogStore, Counter), StorageError<TypeConfig>> {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path());
        Ok((dir, store, Counter::default()))
    }
}

#[tokio::test]
async fn the_log_does_what_openraft_expects() {
    Suite::test_all(Builder).await.unwrap();
}
