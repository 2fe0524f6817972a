//! A consistent copy of everything, as a stream of pieces.

use std::fs::File;
use std::io::Read as _;
use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream::{self, BoxStream};
use meridian_proto::admin::backup_part::Part;
use meridian_proto::admin::{BackupHeader, BackupPart};
use tokio::sync::OwnedSemaphorePermit;
use tonic::{Code, Status};

use super::Admin;
use crate::grpc::status;

/// One piece. A few are on their way at once, whatever the size of the whole.
const PIECE_BYTES: usize = 1 << 20;

impl Admin {
    pub(super) async fn backup(&self) -> Result<BoxStream<'static, Result<BackupPart, Status>>, Status> {
        let Ok(turn) = self.backups.clone().try_acquire_owned() else {
            return Err(status::because(
                Code::ResourceExhausted,
                "backup-under-way",
                "as many backups are being taken from this node as may: wait for one, or ask another node",
            ));
        };
        self.access.ready()?;
        let export = self.handle.export().await.map_err(|error| status::read(&error))?;
        let header = BackupHeader {
            cluster_id: self.handle.cluster_id().to_owned(),
            revision: export.revision,
            fresh_as_of_ms: export.fresh_as_of_ms,
            size_bytes: export.size_bytes,
            software_version: env!("CARGO_PKG_VERSION").to_owned(),
        };
        let header = BackupPart { part: Some(Part::Header(header)) };
        let pieces = pieces(export.file, export.size_bytes, turn);
        Ok(stream::once(async { Ok(header) }).chain(pieces).boxed())
    }
}

/// A file that is read as fast as the caller takes it.
struct Reading {
    file: Arc<File>,
    left_bytes: u64,
    _turn: OwnedSemaphorePermit,
}

fn pieces(
    file: File,
    size_bytes: u64,
    turn: OwnedSemaphorePermit,
) -> impl stream::Stream<Item = Result<BackupPart, Status>> + Send {
    let reading = Reading { file: Arc::new(file), left_bytes: size_bytes, _turn: turn };
    stream::try_unfold(reading, |mut reading| async {
        let length = reading.left_bytes.min(PIECE_BYTES as u64);
        if length == 0 {
            return Ok(None);
        }
        let file = reading.file.clone();
        let read = tokio::task::spawn_blocking(move || {
            let mut piece = vec![0; length as usize];
            (&*file).read_exact(&mut piece).map(|()| piece)
        });
        let piece = read.await.map_err(|_| Status::internal("reading the copy was interrupted"))?;
        let piece =
            piece.map_err(|error| Status::unavailable(format!("the copy cannot be read: {error}")))?;
        reading.left_bytes -= length;
        Ok(Some((BackupPart { part: Some(Part::Chunk(Bytes::from(piece))) }, reading)))
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::io::{Seek as _, Write as _};

    use futures::TryStreamExt as _;
    use tokio::sync::Semaphore;

    use super::*;

    #[tokio::test]
    async fn a_file_comes_whole_and_in_order_or_with_an_error() {
        let turns = Arc::new(Semaphore::new(1));
        for (written, announced) in [(0, 0), (1, 1), (PIECE_BYTES, PIECE_BYTES), (3 << 20, (3 << 20) + 1)] {
            let content: Vec<u8> = (0..written).map(|n| (n % 251) as u8).collect();
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(&content).unwrap();
            file.rewind().unwrap();
            let turn = turns.clone().try_acquire_owned().unwrap();
            let pieces: Result<Vec<BackupPart>, Status> =
                pieces(file, announced as u64, turn).try_collect().await;
            let read = pieces.map(|pieces| {
                let bytes = pieces.into_iter().flat_map(|piece| match piece.part {
                    Some(Part::Chunk(bytes)) => bytes,
                    other => panic!("{other:?}"),
                });
                bytes.collect::<Vec<u8>>()
            });
            match written == announced {
                true => assert!(read.unwrap() == content),
                false => assert_eq!(read.unwrap_err().code(), Code::Unavailable),
            }
        }
    }
}
