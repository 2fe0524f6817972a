//! How votes, log ids and payloads look inside raft-log's records.
//!
//! Each is a frame: tag (1 byte), length (4, big endian), the length's complement (4), then the protobuf message.
//! raft-log's CRC covers the whole record, but is checked only after decoding, and a decoder that runs out of file
//! makes raft-log take the record for a torn tail and cut off **everything after it**. So a damaged length must not
//! be followed: tag and complement are checked first, and their failure is an error, never an end of file.

use std::io;

use bytes::Bytes;
use meridian_proto::raft as proto;
use openraft::EntryPayload as Payload;
use prost::Message;

use super::{Completion, MAX_ENTRY_BYTES};
use crate::network::wire::{Malformed, Wire};
use crate::types::{EntryPayload, LogId, Vote};

/// A log id or a vote is three numbers; a frame that claims more is damaged.
const MAX_SMALL_BYTES: usize = 64;

/// What a cached entry costs beside its bytes: tree node, log id, enum. Keeps the cache bound true for small entries.
pub(super) const CACHED_ENTRY_OVERHEAD_BYTES: u64 = 128;

/// The types of our log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Types;

impl raft_log::Types for Types {
    type LogId = Stored<LogId>;
    type LogPayload = Stored<EntryPayload>;
    type Vote = Stored<Vote>;
    type Callback = Completion;
    type UserData = Unused;

    fn log_index(log_id: &Self::LogId) -> u64 {
        log_id.0.index
    }

    fn payload_size(payload: &Self::LogPayload) -> u64 {
        payload_bytes(&payload.0) as u64 + CACHED_ENTRY_OVERHEAD_BYTES
    }
}

/// The bytes of an entry that vary.
pub(super) fn payload_bytes(payload: &EntryPayload) -> usize {
    match payload {
        Payload::Blank => 0,
        Payload::Normal(command) => command.0.len(),
        Payload::Membership(_) => payload.to_message().encoded_len(),
    }
}

/// `T` as it lies in the log. Compares as openraft compares `T`: raft-log refuses reversals by that order.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Stored<T>(pub(super) T);

/// What can be put into a frame.
pub(super) trait Framed: Sized {
    /// Differs between the types, and from 0, 1 and raft-log's small numbers: a decoder that has lost its place, say
    /// by a damaged record type, meets a wrong tag instead of a plausible length.
    const TAG: u8;
    /// Longest message. Bounds what a damaged length may allocate.
    const MAX_BYTES: usize;
    type Message: Message + Default;

    fn to_message(&self) -> Self::Message;
    fn from_message(message: Self::Message) -> Result<Self, Malformed>;
}

impl Framed for LogId {
    const TAG: u8 = b'I';
    const MAX_BYTES: usize = MAX_SMALL_BYTES;
    type Message = proto::LogId;

    fn to_message(&self) -> Self::Message {
        self.into_message()
    }

    fn from_message(message: Self::Message) -> Result<Self, Malformed> {
        Wire::from_message(message)
    }
}

impl Framed for Vote {
    const TAG: u8 = b'V';
    const MAX_BYTES: usize = MAX_SMALL_BYTES;
    type Message = proto::Vote;

    fn to_message(&self) -> Self::Message {
        self.into_message()
    }

    fn from_message(message: Self::Message) -> Result<Self, Malformed> {
        Wire::from_message(message)
    }
}

/// An `Entry` message without its id, which raft-log keeps apart.
impl Framed for EntryPayload {
    const TAG: u8 = b'P';
    /// A command of the largest size, with the message around it.
    const MAX_BYTES: usize = MAX_ENTRY_BYTES + MAX_SMALL_BYTES;
    type Message = proto::Entry;

    fn to_message(&self) -> Self::Message {
        proto::Entry { log_id: None, payload: Some(self.clone().into_message()) }
    }

    fn from_message(message: Self::Message) -> Result<Self, Malformed> {
        let missing = || Malformed { field: "Entry.payload", why: "is missing".to_owned() };
        Wire::from_message(message.payload.ok_or_else(missing)?)
    }
}

impl<T: Framed> codeq::Encode for Stored<T> {
    fn encode<W: io::Write>(&self, mut writer: W) -> io::Result<usize> {
        let body = self.0.to_message().encode_to_vec();
        let length = u32::try_from(body.len()).ok().filter(|_| body.len() <= T::MAX_BYTES);
        let length = length.ok_or_else(|| {
            let why = format!("a log record of {} bytes is over the limit of {}", body.len(), T::MAX_BYTES);
            io::Error::new(io::ErrorKind::InvalidInput, why)
        })?;
        writer.write_all(&header(T::TAG, length))?;
        writer.write_all(&body)?;
        Ok(HEADER_BYTES + body.len())
    }
}

impl<T: Framed> codeq::Decode for Stored<T> {
    fn decode<R: io::Read>(mut reader: R) -> io::Result<Self> {
        let mut found = [0; HEADER_BYTES];
        reader.read_exact(&mut found)?;
        let length = u32::from_be_bytes([found[1], found[2], found[3], found[4]]);
        if found != header(T::TAG, length) || length as usize > T::MAX_BYTES {
            return Err(damaged(format!(
                "frame header {found:02x?} is not one of kind {:?}",
                char::from(T::TAG)
            )));
        }
        let mut body = vec![0; length as usize];
        reader.read_exact(&mut body)?;
        let message = T::Message::decode(Bytes::from(body)).map_err(|error| damaged(error.to_string()))?;
        T::from_message(message).map(Stored).map_err(|error| damaged(error.to_string()))
    }
}

const HEADER_BYTES: usize = 9;

fn header(tag: u8, length: u32) -> [u8; HEADER_BYTES] {
    let mut header = [tag; HEADER_BYTES];
    header[1..5].copy_from_slice(&length.to_be_bytes());
    header[5..].copy_from_slice(&(!length).to_be_bytes());
    header
}

fn damaged(why: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

/// raft-log's slot for an application's own data. We have none, so finding any is damage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Unused {}

impl codeq::Encode for Unused {
    fn encode<W: io::Write>(&self, _: W) -> io::Result<usize> {
        match *self {}
    }
}

impl codeq::Decode for Unused {
    fn decode<R: io::Read>(_: R) -> io::Result<Self> {
        Err(damaged("a checkpoint has user data, which this program never writes".to_owned()))
    }
}
