//! A snapshot file on its way to another node: resumable, and given up only when nothing moves.
//!
//! The sender names the file; the receiver says how much of it it already holds; chunks follow from there, each
//! acknowledged. A connection that breaks costs what was not acknowledged. Names are derived from the content, so
//! a resumed file is the same file.

use std::io::{Read as _, Seek as _, SeekFrom};
use std::time::Duration;

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

/// A transfer in which nothing was acknowledged for this long has failed. Installing a large state counts too.
const PROGRESS_TIMEOUT: Duration = Duration::from_secs(30);

/// Sends a snapshot and waits until it is installed. Answers the receiver's vote.
pub(crate) async fn send(mut client: Client, vote: Vote, snapshot: Snapshot) -> Result<Vote, Status> {
    let Snapshot { meta, snapshot: SnapshotFile(file) } = snapshot;
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
    let mut reading = Some((file, parts));
    loop {
        let step = tokio::time::timeout(PROGRESS_TIMEOUT, progress.message()).await.map_err(stalled)??;
        let step = step.ok_or_else(|| Status::unavailable("the peer ended the snapshot transfer early"))?;
        if let Some(vote) = step.installed {
            return Vote::from_message(vote).map_err(|error| Status::internal(error.to_string()));
        }
        if let Some((file, parts)) = reading.take() {
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
    let file = blocking(move || incoming.finish()).await?;
    check_header(&meta, &file)?;
    Ok(Received { vote, meta, file: SnapshotFile(file) })
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
    use crate::state_rows::Located;
    use crate::storage::snapshot::Meta;
    use crate::types::{LeaderId, LogId};

    #[test]
    fn a_header_that_speaks_of_another_snapshot_is_refused() {
        let at = |term, index| LogId { leader_id: LeaderId { term, node_id: 1 }, index };
        let applied = Located { last: Some(at(3, 7)), ..Located::default() }.applied().unwrap();
        let meta = Meta {
            position: applied.position,
            membership: applied.membership,
            digest: applied.digest,
            rows: applied.rows,
            model_version: state_rows::MODEL_VERSION,
        };
        let temp = tempfile::tempdir().unwrap();
        let snapshots = Snapshots::open(temp.path(), "test").unwrap();
        let file = snapshots.write(&meta, applied.position, empty(), empty()).unwrap();

        let announce = |last| SnapshotMeta { last_log_id: last, ..SnapshotMeta::default() };
        assert!(check_header(&announce(Some(at(3, 7))), &file).is_ok());
        for other in [None, Some(at(3, 8)), Some(at(4, 7))] {
            let refused = check_header(&announce(other), &file).unwrap_err();
            assert_eq!(refused.code(), tonic::Code::InvalidArgument, "{other:?}");
        }
    }
}
