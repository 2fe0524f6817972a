//! A copy of the cluster's data on its way to the caller.

use std::time::Duration;

use bytes::Bytes;
use meridian_proto::admin::backup_part::Part;
use meridian_proto::admin::{BackupHeader, BackupPart};
use tokio::time::timeout;
use tonic::Streaming;

use crate::Error;
use crate::verdict::judge;

/// A backup that a node is sending: what it holds, then its bytes. It comes from one node and is not resumed; begin
/// anew when it is cut short.
///
/// Guarantees that [`Backup::next`] ends with `None` only after as many bytes as were announced. Whether they are the
/// right ones, the file's own checksum tells: `meridian restore` checks it.
#[derive(Debug)]
pub struct Backup {
    header: BackupHeader,
    stream: Streaming<BackupPart>,
    received_bytes: u64,
}

impl Backup {
    pub(crate) async fn begin(mut stream: Streaming<BackupPart>, patience: Duration) -> Result<Self, Error> {
        let first = match timeout(patience, stream.message()).await {
            Ok(first) => first.map_err(|status| Error::Unavailable { message: judge(&status).why() })?,
            Err(_) => return Err(Error::Unavailable { message: "the backup does not begin".to_owned() }),
        };
        match first.and_then(|first| first.part) {
            Some(Part::Header(header)) => Ok(Self { header, stream, received_bytes: 0 }),
            _ => Err(Error::Malformed { missing: "BackupHeader" }),
        }
    }

    /// Of which cluster, up to where, how large.
    pub fn header(&self) -> &BackupHeader {
        &self.header
    }

    /// The next bytes; `None` at the end. [`Error::CutShort`] if that came too early or too late.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        loop {
            let part = match self.stream.message().await {
                Ok(Some(part)) => part.part,
                Ok(None) if self.received_bytes == self.header.size_bytes => return Ok(None),
                Ok(None) => return Err(self.cut_short("the stream ended".to_owned())),
                Err(status) => return Err(self.cut_short(judge(&status).why())),
            };
            let Some(Part::Chunk(chunk)) = part else { continue };
            self.received_bytes += chunk.len() as u64;
            if self.received_bytes > self.header.size_bytes {
                return Err(self.cut_short("more came than was announced".to_owned()));
            }
            return Ok(Some(chunk));
        }
    }

    fn cut_short(&self, message: String) -> Error {
        let (received_bytes, expected_bytes) = (self.received_bytes, self.header.size_bytes);
        Error::CutShort { received_bytes, expected_bytes, message }
    }
}
