//! A snapshot file on its way to another node: resumable, and given up only when nothing moves.
//!
//! The sender names the file; the receiver says how much of it it already holds; chunks follow from there, each
//! acknowledged. A connection that breaks costs what was not acknowledged. Names are derived from the content, so
//! a resumed file is the same file.

use std::io::{Read as _, Seek as _, SeekFrom};
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::Stream;
use meridian_proto::raft as proto;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use super::peer::Client;
use super::wire::{Wire, check_snapshot_sender};
use crate::machine::SnapshotFile;
use crate::state_rows;
use crate::storage::snapshot::{Durable, Incoming, Snapshots};
use crate::types::{Snapshot, SnapshotMeta, Vote};

/// One chunk. Small enough to acknowledge often, large enough to cost little.
const CHUNK_BYTES: usize = 1 << 20;

/// Chunks read ahead of the network: bounds the memory of one transfer.
const CHUNKS_AHEAD: usize = 4;

/// A transfer in which the other side was silent for this long has failed.
const PROGRESS_TIMEOUT: Duration = Duration::from_secs(30);

/// How often a receiver says that it is still there while it verifies and installs what has arrived.
const STILL_HERE_INTERVAL: Duration = Duration::from_secs(5);

/// For verifying and installing: about ten times what the largest snapshot takes on a slow disk. Beyond it the receiver
/// hangs, and only says that it does not.
const INSTALL_TIMEOUT: Duration = Duration::from_secs(3_600);

/// A receiver that goes away is waited for so long, and what it was being sent is kept ready. A restart takes less.
const RESUMED_WITHIN: Duration = Duration::from_secs(60);

/// The snapshot that is on its way to somebody. While it is, neither it nor the log after it should go: the receiver
/// would have to begin again, with a newer one. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sending(Arc<Mutex<Option<(u64, Instant)>>>);

impl Sending {
    /// The receiver of the snapshot at this index was heard from. Not to be called for an attempt alone: openraft tries
    /// again for as long as the receiver is a member, and one that is gone for good would hold the log for ever.
    fn note(&self, index: u64) {
        let held = self.index().unwrap_or(index);
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((held.min(index), Instant::now()));
    }

    /// Where in the log the snapshot is that is being sent, or was until lately; the oldest, if there are several.
    pub(crate) fn index(&self) -> Option<u64> {
        let noted = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        noted.filter(|(_, at)| at.elapsed() < RESUMED_WITHIN).map(|(index, _)| index)
    }
}

/// Sends a snapshot and waits until it is installed. Answers the receiver's vote.
pub(crate) async fn send(
    mut client: Client,
    vote: Vote,
    snapshot: Snapshot,
    sending: &Sending,
) -> Result<Vote, Status> {
    let Snapshot { meta, snapshot: SnapshotFile(file) } = snapshot;
    let index = file.position().index;
    let (parts, outgoing) = mpsc::channel(CHUNKS_AHEAD);
    let header = proto::SnapshotHeader {
        vote: Some(vote.into_message()),
        meta: Some(meta.into_message()),
        name: file.name(),
        size_bytes: file.size_bytes(),
    };
    let header = proto::SnapshotPart { part: Some(proto::snapshot_part::Part::Header(header)) };
    parts.try_send(header).map_err(|_| Status::internal("the snapshot queue is not empty"))?;
    let call = client.install_snapshot(ReceiverStream::new(outgoing));
    let mut progress = tokio::time::timeout(PROGRESS_TIMEOUT, call).await.map_err(stalled)??.into_inner();
    sending.note(index);
    let mut reading = Some((file, parts));
    let mut moved = (0, Instant::now());
    loop {
        let step = tokio::time::timeout(PROGRESS_TIMEOUT, progress.message()).await.map_err(stalled)??;
        let step = step.ok_or_else(|| Status::unavailable("the peer ended the snapshot transfer early"))?;
        sending.note(index);
        if let Some(vote) = step.installed {
            return Vote::from_message(vote).map_err(|error| Status::internal(error.to_string()));
        }
        if step.offset > moved.0 {
            moved = (step.offset, Instant::now());
        } else if moved.1.elapsed() > INSTALL_TIMEOUT {
            return Err(Status::deadline_exceeded(format!(
                "a snapshot was not installed within {INSTALL_TIMEOUT:?}"
            )));
        }
        if let Some((file, parts)) = reading.take() {
            if step.offset > 0 {
                tracing::info!(snapshot = file.name(), offset = step.offset, "a snapshot transfer goes on");
            }
            tokio::task::spawn_blocking(move || read_chunks(&file, step.offset, &parts));
        }
    }
}

/// Reads the file from an offset on. Ends early when the transfer does; a file that cannot be read ends the
/// transfer, and the receiver's check finds it short.
fn read_chunks(file: &Durable, offset: u64, parts: &mpsc::Sender<proto::SnapshotPart>) {
    let read = || -> std::io::Result<()> {
        let mut input = std::fs::File::open(file.path())?;
        input.seek(SeekFrom::Start(offset))?;
        loop {
            let mut chunk = Vec::with_capacity(CHUNK_BYTES);
            input.by_ref().take(CHUNK_BYTES as u64).read_to_end(&mut chunk)?;
            if chunk.is_empty() {
                return Ok(());
            }
            let part = proto::snapshot_part::Part::Chunk(Bytes::from(chunk));
            if parts.blocking_send(proto::SnapshotPart { part: Some(part) }).is_err() {
                return Ok(());
            }
        }
    };
    if let Err(error) = read() {
        tracing::error!(path = %file.path().display(), %error, "cannot read the snapshot that is being sent");
    }
}

/// What a receiver made of a transfer.
pub(crate) struct Received {
    pub(crate) vote: Vote,
    pub(crate) meta: SnapshotMeta,
    pub(crate) file: SnapshotFile,
}

/// Takes a snapshot in, acknowledging each chunk. The file is verified and durable when this returns.
pub(crate) async fn receive(
    snapshots: &Snapshots,
    parts: &mut Streaming<proto::SnapshotPart>,
    progress: &mpsc::Sender<Result<proto::SnapshotProgress, Status>>,
) -> Result<Received, Status> {
    let malformed = |error: super::wire::Malformed| Status::invalid_argument(error.to_string());
    let first = next(parts).await?.and_then(|part| part.part);
    let Some(proto::snapshot_part::Part::Header(header)) = first else {
        return Err(Status::invalid_argument("a snapshot transfer begins with a header"));
    };
    let vote = Vote::from_message(header.vote.unwrap_or_default()).map_err(malformed)?;
    let meta = SnapshotMeta::from_message(header.meta.unwrap_or_default()).map_err(malformed)?;
    check_snapshot_sender(&vote, &meta).map_err(malformed)?;

    let (snapshots, name, size_bytes) = (snapshots.clone(), header.name, header.size_bytes);
    let mut incoming = blocking(move || snapshots.incoming(&name, size_bytes)).await?;
    let acknowledge = |offset| async move {
        let step = proto::SnapshotProgress { offset, installed: None };
        progress.send(Ok(step)).await.map_err(|_| Status::cancelled("the sender went away"))
    };
    acknowledge(incoming.offset()).await?;
    while incoming.offset() < size_bytes {
        let chunk = match next(parts).await?.and_then(|part| part.part) {
            Some(proto::snapshot_part::Part::Chunk(chunk)) => chunk,
            Some(proto::snapshot_part::Part::Header(_)) => {
                return Err(Status::invalid_argument("a second header in one snapshot transfer"));
            }
            None => return Err(Status::unavailable("the sender ended the snapshot transfer early")),
        };
        incoming = blocking(move || -> Result<Incoming, _> {
            incoming.append(&chunk)?;
            Ok(incoming)
        })
        .await?;
        acknowledge(incoming.offset()).await?;
    }
    let file = meanwhile(progress, size_bytes, blocking(move || incoming.finish())).await?;
    check_header(&meta, &file)?;
    Ok(Received { vote, meta, file: SnapshotFile(file) })
}

/// Does what takes long, and lets the sender know meanwhile that the receiver is there.
pub(crate) async fn meanwhile<T>(
    progress: &mpsc::Sender<Result<proto::SnapshotProgress, Status>>,
    offset: u64,
    work: impl Future<Output = T>,
) -> T {
    saying_so(progress, offset, STILL_HERE_INTERVAL, work).await
}

async fn saying_so<T>(
    progress: &mpsc::Sender<Result<proto::SnapshotProgress, Status>>,
    offset: u64,
    every: Duration,
    work: impl Future<Output = T>,
) -> T {
    let mut work = pin!(work);
    loop {
        tokio::select! {
            done = &mut work => return done,
            () = tokio::time::sleep(every) => {
                // One that does not fit is one too many. A sender that is gone does not stop what has begun.
                let _ = progress.try_send(Ok(proto::SnapshotProgress { offset, installed: None }));
            }
        }
    }
}

/// openraft believes the header, readers get the file: they have to speak of the same place in the log.
fn check_header(announced: &SnapshotMeta, file: &Durable) -> Result<(), Status> {
    match state_rows::snapshot_meta(file) {
        Ok(held) if held == *announced => Ok(()),
        Ok(held) => Err(Status::invalid_argument(format!("the file holds snapshot {held}, not {announced}"))),
        Err(error) => Err(Status::invalid_argument(format!("the file's membership is malformed: {error}"))),
    }
}

async fn next(parts: &mut Streaming<proto::SnapshotPart>) -> Result<Option<proto::SnapshotPart>, Status> {
    tokio::time::timeout(PROGRESS_TIMEOUT, parts.message()).await.map_err(stalled)?
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, crate::storage::Error> + Send + 'static,
) -> Result<T, Status> {
    let done =
        tokio::task::spawn_blocking(work).await.map_err(|error| Status::internal(error.to_string()))?;
    done.map_err(|error| Status::internal(error.to_string()))
}

fn stalled(_: tokio::time::error::Elapsed) -> Status {
    Status::deadline_exceeded(format!("the snapshot transfer made no progress for {PROGRESS_TIMEOUT:?}"))
}

/// What a transfer answers with.
pub(crate) type Progress =
    std::pin::Pin<Box<dyn Stream<Item = Result<proto::SnapshotProgress, Status>> + Send>>;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::iter::empty;

    use super::*;
    use crate::network::passport::Home;
    use crate::network::peer::Peers;
    use crate::state_rows::Located;
    use crate::storage::snapshot::Meta;
    use crate::types::{LeaderId, LogId};

    fn at(term: u64, index: u64) -> LogId {
        LogId { leader_id: LeaderId { term, node_id: 1 }, index }
    }

    /// A snapshot of nothing.
    fn file_at(last: LogId, dir: &std::path::Path) -> Durable {
        let applied = Located { last: Some(last), ..Located::default() }.applied().unwrap();
        let meta = Meta {
            position: applied.position,
            membership: applied.membership,
            digest: applied.digest,
            rows: applied.rows,
            model_version: state_rows::MODEL_VERSION,
        };
        let snapshots = Snapshots::open(dir, "test").unwrap();
        snapshots.write(&meta, applied.position, empty(), empty()).unwrap()
    }

    #[tokio::test]
    async fn an_attempt_to_reach_a_receiver_holds_nothing() {
        let temp = tempfile::tempdir().unwrap();
        let file = file_at(at(3, 7), temp.path());
        let home = Home { cluster_id: "test".to_owned(), node_id: 1, incarnation: [1; 16] };
        // Nobody has port 1.
        let client = Peers::new(home).stranger(Some(2), "127.0.0.1:1");
        let vote = Vote { leader_id: LeaderId { term: 3, node_id: 1 }, committed: true };
        let snapshot =
            Snapshot { meta: state_rows::snapshot_meta(&file).unwrap(), snapshot: SnapshotFile(file) };
        let sending = Sending::default();
        send(client, vote, snapshot, &sending).await.unwrap_err();
        assert_eq!(sending.index(), None);
    }

    #[test]
    fn a_header_that_speaks_of_another_snapshot_is_refused() {
        let temp = tempfile::tempdir().unwrap();
        let file = file_at(at(3, 7), temp.path());
        let announce = |last| SnapshotMeta { last_log_id: last, ..SnapshotMeta::default() };
        assert!(check_header(&announce(Some(at(3, 7))), &file).is_ok());
        for other in [None, Some(at(3, 8)), Some(at(4, 7))] {
            let refused = check_header(&announce(other), &file).unwrap_err();
            assert_eq!(refused.code(), tonic::Code::InvalidArgument, "{other:?}");
        }
    }

    /// A receiver that installs for longer than a sender bears silence is not given up, and one whose sender is gone
    /// finishes all the same.
    #[tokio::test]
    async fn a_receiver_that_is_busy_says_so() {
        assert!(STILL_HERE_INTERVAL * 3 < PROGRESS_TIMEOUT);
        let (progress, mut heard) = mpsc::channel(1);
        let (finish, finished) = tokio::sync::oneshot::channel();
        let work = saying_so(&progress, 7, Duration::from_millis(1), finished);
        let listen = async {
            for _ in 0..3 {
                let step = heard.recv().await.unwrap().unwrap();
                assert_eq!(step, proto::SnapshotProgress { offset: 7, installed: None });
            }
            drop(heard);
            finish.send("installed").unwrap();
        };
        let (done, ()) = tokio::join!(work, listen);
        assert_eq!(done, Ok("installed"));
    }
}
