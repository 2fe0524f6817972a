//! The keys of stored rows, in the catalog on disk and in snapshot files. The bodies are in `row.proto`.

use crate::fleet::NodeId;
use crate::ids::{EnvironmentRef, KeyHash, Name, Version};

/// One row of the stored state. The encoded form begins with the number of its kind; numbers are never reused.
///
/// | no. | row | how many | changes | layout after the number |
/// |---|---|---|---|---|
/// | 1 | clock | one | every tick | – |
/// | 2 | project | per project | never | name |
/// | 3 | environment | per environment | every publish | project, 0, name |
/// | 4 | release | kept releases of each environment | never | project, 0, name, 0, version (u64 big-endian) |
/// | 5 | SDK key | per key | never | SHA-256 of the secret |
/// | 6 | request | remembered requests | never | sequence (u64 big-endian) |
/// | 7 | placement | one, once set | by hand | – |
/// | 8 | drained node | per node out of service | never | node id (u64 big-endian) |
/// | 9 | retired node | per node that left | never | node id (u64 big-endian) |
/// | 10 | event | kept events | never | sequence (u64 big-endian) |
///
/// Names hold no zero byte, so the order of the bytes is the order of the parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RowKey {
    /// The last committed time.
    Clock,
    /// A project.
    Project(Name),
    /// The head of an environment.
    Environment(EnvironmentRef),
    /// A release.
    Release(EnvironmentRef, Version),
    /// An SDK key.
    Key(KeyHash),
    /// A remembered request, by the order in which it came.
    Request(u64),
    /// Where leaders should be.
    Placement,
    /// A node that is out of service.
    Drained(NodeId),
    /// A node that left for good.
    Retired(NodeId),
    /// An entry of the journal, by its number.
    Event(u64),
}

/// The bytes are no row key of this software version.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("row key {} is malformed", hex::encode(.0))]
pub struct MalformedKey(pub Vec<u8>);

const CLOCK: u8 = 1;
const PROJECT: u8 = 2;
const ENVIRONMENT: u8 = 3;
const RELEASE: u8 = 4;
const KEY: u8 = 5;
const REQUEST: u8 = 6;
const PLACEMENT: u8 = 7;
const DRAINED: u8 = 8;
const RETIRED: u8 = 9;
const EVENT: u8 = 10;

impl RowKey {
    /// The stored form.
    pub fn encode(&self) -> Vec<u8> {
        fn environment(kind: u8, at: &EnvironmentRef, tail: &[u8]) -> Vec<u8> {
            [&[kind], at.project.as_str().as_bytes(), &[0], at.environment.as_str().as_bytes(), tail].concat()
        }
        fn numbered(kind: u8, number: u64) -> Vec<u8> {
            [&[kind][..], &number.to_be_bytes()].concat()
        }
        match self {
            Self::Clock => vec![CLOCK],
            Self::Project(name) => [&[PROJECT], name.as_str().as_bytes()].concat(),
            Self::Environment(at) => environment(ENVIRONMENT, at, &[]),
            Self::Release(at, version) => {
                let mut tail = [0; 9];
                tail[1..].copy_from_slice(&version.to_be_bytes());
                environment(RELEASE, at, &tail)
            }
            Self::Key(hash) => [&[KEY][..], &hash.0].concat(),
            Self::Request(sequence) => numbered(REQUEST, *sequence),
            Self::Placement => vec![PLACEMENT],
            Self::Drained(node) => numbered(DRAINED, *node),
            Self::Retired(node) => numbered(RETIRED, *node),
            Self::Event(sequence) => numbered(EVENT, *sequence),
        }
    }

    /// Reads the stored form back.
    pub fn decode(bytes: &[u8]) -> Result<Self, MalformedKey> {
        Self::parse(bytes).ok_or_else(|| MalformedKey(bytes.to_vec()))
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        fn name(bytes: &[u8]) -> Option<Name> {
            std::str::from_utf8(bytes).ok()?.parse().ok()
        }
        fn environment(bytes: &[u8]) -> Option<EnvironmentRef> {
            let zero = bytes.iter().position(|b| *b == 0)?;
            Some(EnvironmentRef { project: name(&bytes[..zero])?, environment: name(&bytes[zero + 1..])? })
        }
        fn number(bytes: &[u8]) -> Option<u64> {
            Some(u64::from_be_bytes(bytes.try_into().ok()?))
        }
        let (kind, rest) = bytes.split_first()?;
        Some(match *kind {
            CLOCK if rest.is_empty() => Self::Clock,
            PROJECT => Self::Project(name(rest)?),
            ENVIRONMENT => Self::Environment(environment(rest)?),
            RELEASE => {
                let (at, version) = rest.split_last_chunk::<8>()?;
                Self::Release(environment(at.strip_suffix(&[0])?)?, u64::from_be_bytes(*version))
            }
            KEY => Self::Key(KeyHash(rest.try_into().ok()?)),
            REQUEST => Self::Request(number(rest)?),
            PLACEMENT if rest.is_empty() => Self::Placement,
            DRAINED => Self::Drained(number(rest)?),
            RETIRED => Self::Retired(number(rest)?),
            EVENT => Self::Event(number(rest)?),
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn keys_round_trip_and_keep_their_numbers() {
        let at = EnvironmentRef::parse("web", "prod").unwrap();
        let cases: [(RowKey, &[u8]); 10] = [
            (RowKey::Clock, b"\x01"),
            (RowKey::Project("web".parse().unwrap()), b"\x02web"),
            (RowKey::Environment(at.clone()), b"\x03web\0prod"),
            (RowKey::Release(at, 258), b"\x04web\0prod\0\0\0\0\0\0\0\x01\x02"),
            (RowKey::Key(KeyHash([7; 32])), &[&[5][..], &[7; 32]].concat()),
            (RowKey::Request(1), b"\x06\0\0\0\0\0\0\0\x01"),
            (RowKey::Placement, b"\x07"),
            (RowKey::Drained(2), b"\x08\0\0\0\0\0\0\0\x02"),
            (RowKey::Retired(3), b"\x09\0\0\0\0\0\0\0\x03"),
            (RowKey::Event(258), b"\x0a\0\0\0\0\0\0\x01\x02"),
        ];
        for (key, bytes) in cases {
            assert_eq!(key.encode(), bytes);
            assert_eq!(RowKey::decode(bytes).unwrap(), key);
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_key_or_an_error(bytes: Vec<u8>) {
            if let Ok(key) = RowKey::decode(&bytes) {
                prop_assert_eq!(key.encode(), bytes);
            }
        }
    }
}
