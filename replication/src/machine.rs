//! Where committed entries become state: openraft calls, the model decides, readers see it, the disk follows.
//!
//! For a run of entries: decide each one, publish one view, answer the proposers, hand the changes to the
//! projection. A proposer that was answered finds its change in the view of this node.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use futures::{Stream, StreamExt as _};
use meridian_model::state::Changes;
use meridian_model::{
    Command, Digest, Document, EnvironmentRef, Mutation, Name, Outcome, Release, RequestId, wire,
};
use openraft::storage::{EntryResponder, RaftSnapshotBuilder, RaftStateMachine};
use openraft::{EntryPayload, OptionalSend};

use crate::catalog::{Catalog, Served, View};
use crate::projection::{Delta, DocumentsHeld, Projection};
use crate::state_rows::{self, Located, MODEL_VERSION};
use crate::storage::Error;
use crate::storage::log::PurgeFloor;
use crate::storage::snapshot::{Durable, Meta, Snapshots};
use crate::storage::store::Applied;
use crate::types::{
    EncodedCommand, Entry, LogId, Reply, Snapshot, SnapshotMeta, StoredMembership, TypeConfig,
};

/// A snapshot as openraft passes it around: a verified file.
#[derive(Clone, Debug)]
pub(crate) struct SnapshotFile(pub(crate) Durable);

/// Entries that are decided before readers see the result. Bounds how long a view lags within a long run.
const RUN_ENTRIES: usize = 256;

/// Who acts in the journal where the decision is Raft's own.
const RAFT: &str = "raft";

/// The replicated state machine of this node.
pub(crate) struct Machine {
    located: Located,
    view: View,
    catalog: Arc<Catalog>,
    projection: Projection,
    files: SnapshotFiles,
}

/// The snapshot files, and what rests on them.
#[derive(Clone)]
pub(crate) struct SnapshotFiles {
    pub(crate) snapshots: Snapshots,
    pub(crate) floor: PurgeFloor,
    newest: Arc<Mutex<Option<Durable>>>,
}

impl SnapshotFiles {
    pub(crate) fn new(snapshots: Snapshots, newest: Option<Durable>, floor: PurgeFloor) -> Self {
        if let Some(file) = &newest {
            floor.raise(file.position().index);
        }
        Self { snapshots, floor, newest: Arc::new(Mutex::new(newest)) }
    }

    pub(crate) fn newest(&self) -> Option<Durable> {
        self.newest.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// From here on the log may be purged up to this file.
    fn adopt(&self, file: Durable) {
        let index = file.position().index;
        self.floor.raise(index);
        let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        // One that was built beside the installation of another may be the older of the two.
        if newest.as_ref().is_none_or(|held| held.position().index < index) {
            *newest = Some(file);
        }
        drop(newest);
        if let Err(error) = self.snapshots.retain_newest() {
            tracing::warn!(%error, "old snapshot files stay");
        }
    }
}

impl Machine {
    /// Publishes what the disk holds, and goes on from there.
    pub(crate) fn new(
        located: Located,
        region: Name,
        projection: Projection,
        files: SnapshotFiles,
    ) -> Result<(Self, Arc<Catalog>), Error> {
        let view = Self::view_of(&located, &region, &projection)?;
        let catalog = Arc::new(Catalog::new(region, view.clone()));
        Ok((Self { located, view, catalog: catalog.clone(), projection, files }, catalog))
    }

    fn view_of(located: &Located, region: &Name, projection: &Projection) -> Result<View, Error> {
        let directory = located.state.directory().clone();
        let served: Vec<(&EnvironmentRef, &Arc<Release>)> = directory
            .environments()
            .filter_map(|(at, _)| Some((at, directory.served(at, region)?)))
            .collect();
        let documents = load_all(projection, &served)?;
        let mut view = View { revision: located.last.map_or(0, |id| id.index), ..View::default() };
        for ((at, release), document) in served.into_iter().zip(documents) {
            view.served.insert_mut(at.clone(), Arc::new(Served { release: release.clone(), document }));
        }
        view.directory = directory;
        Ok(view)
    }

    /// What was decided about a request, with the index of the last entry that was looked at.
    pub(crate) fn decided(&self, request: RequestId) -> (Option<Outcome>, u64) {
        (self.located.state.outcome(request).cloned(), self.located.last.map_or(0, |id| id.index))
    }

    /// Decides one entry.
    fn decide(&mut self, entry: Entry, run: &mut Run) -> Result<Reply, io::Error> {
        let log_id = entry.log_id;
        self.located.last = Some(log_id);
        match entry.payload {
            EntryPayload::Blank => Ok(Reply::Nothing),
            EntryPayload::Membership(membership) => {
                let membership = StoredMembership::new(Some(log_id), membership);
                let before = std::mem::replace(&mut self.located.membership, membership);
                self.retire(&before, run);
                Ok(Reply::Nothing)
            }
            EntryPayload::Normal(EncodedCommand(body)) => {
                let command = wire::decode_command(body).map_err(io::Error::other)?;
                let ticks = matches!(command.mutation, Mutation::Tick);
                if let Mutation::Publish { document, .. } = &command.mutation {
                    run.documents.insert(document.digest, document.clone());
                }
                let applied = self.located.state.apply(command);
                run.add(applied.changes);
                if ticks {
                    self.view.tallied = Some((log_id.index, self.located.state.tally()));
                }
                Ok(Reply::Decided(applied.outcome))
            }
        }
    }

    /// Whoever was in the membership before and is not in this one left for good. Both come from the log, and the one
    /// before is in every snapshot: all nodes decide the same, at the same index.
    fn retire(&mut self, before: &StoredMembership, run: &mut Run) {
        let staying = self.located.membership.membership();
        let left = before.nodes().map(|(node, _)| *node).filter(|node| staying.get_node(node).is_none());
        let nodes: Vec<u64> = left.collect();
        if nodes.is_empty() {
            return;
        }
        let time_ms = self.located.state.directory().clock_ms().unwrap_or(0);
        let mutation = Mutation::Retire { nodes };
        let command = Command { request_id: None, actor: RAFT.to_owned(), time_ms, mutation };
        run.add(self.located.state.apply(command).changes);
    }

    /// Lets readers see what was decided.
    fn publish(&mut self, run: &mut Run) -> Result<(), Error> {
        self.view.revision = self.located.last.map_or(0, |id| id.index);
        self.view.directory = self.located.state.directory().clone();
        run.touched.sort_unstable();
        run.touched.dedup();
        for at in &run.touched {
            let Some(release) = self.view.directory.served(at, self.catalog.region()).cloned() else {
                self.view.served.remove_mut(at);
                continue;
            };
            let before = self.view.served.get(at);
            let document = match (run.documents.get(&release.digest), before) {
                (Some(document), _) => document.clone(),
                (None, Some(before)) if before.release.digest == release.digest => before.document.clone(),
                // A rollback: from the disk, once.
                (None, _) => tokio::task::block_in_place(|| load(&self.projection, &release))?,
            };
            self.view.served.insert_mut(at.clone(), Arc::new(Served { release, document }));
        }
        self.catalog.publish(self.view.clone(), run.touched.drain(..));
        Ok(())
    }
}

/// What a run of entries did.
#[derive(Default)]
struct Run {
    delta: Delta,
    touched: Vec<EnvironmentRef>,
    /// Documents that came with the entries.
    documents: HashMap<Digest, Document>,
}

impl Run {
    fn add(&mut self, mut changes: Changes) {
        self.touched.append(&mut changes.touched);
        self.delta.add(changes);
    }
}

/// The documents of these releases, in the same order, read on all cores: reading proves each one by its checksum.
fn load_all<'a>(
    projection: &'a Projection,
    served: &'a [(&EnvironmentRef, &Arc<Release>)],
) -> Result<Vec<Document>, Error> {
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let share = served.len().div_ceil(threads).max(1);
    thread::scope(|scope| {
        let load_share = |share: &'a [(&EnvironmentRef, &Arc<Release>)]| {
            move || share.iter().map(|(_, release)| load(projection, release)).collect::<Result<Vec<_>, _>>()
        };
        // All of them run before the first is waited for.
        let running: Vec<_> = served.chunks(share).map(|share| scope.spawn(load_share(share))).collect();
        let mut documents = Vec::with_capacity(served.len());
        for thread in running {
            let share = thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            documents.append(&mut share?);
        }
        Ok(documents)
    })
}

/// A release's document from the disk.
fn load(projection: &Projection, release: &Release) -> Result<Document, Error> {
    let broken = |why: String| Error::Refused { what: format!("document {}", release.digest), why };
    let stored = projection.document(&release.digest)?;
    let stored = stored.ok_or_else(|| broken("it is missing from the catalog".to_owned()))?;
    wire::decode_document(stored).map_err(|error| broken(error.to_string()))
}

impl RaftStateMachine<TypeConfig> for Machine {
    type SnapshotData = SnapshotFile;
    type SnapshotBuilder = SnapshotBuilder;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), io::Error> {
        Ok((self.located.last, self.located.membership.clone()))
    }

    async fn apply<S>(&mut self, entries: S) -> Result<(), io::Error>
    where
        S: Stream<Item = Result<EntryResponder<TypeConfig>, io::Error>> + Unpin + OptionalSend,
    {
        let mut entries = entries.ready_chunks(RUN_ENTRIES);
        while let Some(chunk) = entries.next().await {
            let mut run = Run::default();
            let mut replies = Vec::with_capacity(chunk.len());
            for entry in chunk {
                let (entry, responder) = entry?;
                let reply = self.decide(entry, &mut run)?;
                replies.extend(responder.map(|responder| (responder, reply)));
            }
            self.publish(&mut run).map_err(io::Error::other)?;
            for (responder, reply) in replies {
                responder.send(reply);
            }
            if let Some(applied) = self.located.applied() {
                self.projection.write(run.delta, applied).await.map_err(io::Error::other)?;
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> SnapshotBuilder {
        // State and documents of the same instant: `apply` is not running now.
        SnapshotBuilder {
            located: self.located.clone(),
            documents: Some(self.projection.hold()),
            projection: self.projection.clone(),
            files: self.files.clone(),
        }
    }

    async fn install_snapshot(
        &mut self,
        _meta: &SnapshotMeta,
        snapshot: SnapshotFile,
    ) -> Result<(), io::Error> {
        let SnapshotFile(file) = snapshot;
        // First, so that a snapshot that is being built and loses its documents to this one finds it.
        self.files.adopt(file.clone());
        self.located = self.projection.install(file).await.map_err(io::Error::other)?;
        self.view = tokio::task::block_in_place(|| {
            Self::view_of(&self.located, self.catalog.region(), &self.projection)
        })
        .map_err(io::Error::other)?;
        self.catalog.replace(self.view.clone());
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot>, io::Error> {
        self.files.newest().map(as_snapshot).transpose()
    }
}

/// One instant of the state, on its way to a file.
pub(crate) struct SnapshotBuilder {
    located: Located,
    documents: Option<DocumentsHeld>,
    projection: Projection,
    files: SnapshotFiles,
}

impl SnapshotBuilder {
    fn write(&self, documents: &DocumentsHeld) -> Result<Durable, Error> {
        let nothing =
            || Error::Refused { what: "a snapshot".to_owned(), why: "nothing is applied yet".to_owned() };
        let applied = self.located.applied().ok_or_else(nothing)?;
        // Its own position may be later; it must not be earlier.
        let checkpointed = self.projection.checkpoint()?.ok_or_else(nothing)?;
        let stored = |digest: Digest| match documents.document(&digest)? {
            Some(stored) => Ok((digest.0, stored)),
            None => Err(Error::Refused {
                what: format!("document {digest}"),
                why: "it is missing from the catalog".to_owned(),
            }),
        };
        let rows = self.located.state.rows().map(Ok);
        self.files.snapshots.write(
            &meta_of(applied),
            checkpointed,
            rows,
            self.located.state.documents().map(stored),
        )
    }
}

impl RaftSnapshotBuilder<TypeConfig> for SnapshotBuilder {
    type SnapshotData = SnapshotFile;

    async fn build_snapshot(&mut self) -> Result<Snapshot, io::Error> {
        let documents = self.documents.take().unwrap_or_else(|| self.projection.hold());
        let written = tokio::task::block_in_place(|| self.write(&documents));
        let file = match (written, self.files.newest()) {
            (Ok(file), _) => file,
            // A snapshot was installed meanwhile: the documents of this instant are gone, and nobody needs them.
            (Err(_), Some(newer)) if Some(newer.position().index) > self.located.last.map(|id| id.index) => {
                return as_snapshot(newer);
            }
            (Err(error), _) => return Err(io::Error::other(error)),
        };
        tracing::info!(index = file.position().index, bytes = file.size_bytes(), "snapshot written");
        self.files.adopt(file.clone());
        as_snapshot(file)
    }
}

/// What a snapshot file says of this instant.
fn meta_of(applied: Applied) -> Meta {
    let Applied { position, membership, digest, rows } = applied;
    Meta { position, membership, digest, rows, model_version: MODEL_VERSION }
}

fn as_snapshot(file: Durable) -> Result<Snapshot, io::Error> {
    let meta = state_rows::snapshot_meta(&file).map_err(io::Error::other)?;
    Ok(Snapshot { meta, snapshot: SnapshotFile(file) })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::iter::empty;

    use super::*;
    use crate::types::LeaderId;

    fn snapshot(snapshots: &Snapshots, index: u64) -> Durable {
        let last = LogId { leader_id: LeaderId { term: 1, node_id: 1 }, index };
        let applied = Located { last: Some(last), ..Located::default() }.applied().unwrap();
        let position = applied.position;
        snapshots.write(&meta_of(applied), position, empty(), empty()).unwrap()
    }

    /// openraft builds a snapshot beside the installation of another, which may be the newer one: the log is purged
    /// up to that one, and whoever is sent the other could not go on from it.
    #[test]
    fn an_older_snapshot_does_not_replace_a_newer_one() {
        let temp = tempfile::tempdir().unwrap();
        let snapshots = Snapshots::open(temp.path(), "test").unwrap();
        let files = SnapshotFiles::new(snapshots.clone(), None, PurgeFloor::new());
        for (adopted, newest) in [(5, 5), (9, 9), (7, 9), (12, 12)] {
            files.adopt(snapshot(&snapshots, adopted));
            assert_eq!(files.newest().unwrap().position().index, newest, "after {adopted}");
            assert_eq!(files.floor.index(), Some(newest));
        }
    }
}
