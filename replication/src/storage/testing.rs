//! What the tests of storage share: a state that knows what a store must hold after each of its changes.

use std::collections::BTreeMap;

use bytes::Bytes;
use sha2::{Digest as _, Sha256};

use super::store::{Applied, Digest, Position, SmallState, Store, WriteBatch};

/// The state a store is compared with.
#[derive(Clone, Debug, Default)]
pub(super) struct Model {
    pub(super) rows: BTreeMap<Vec<u8>, Vec<u8>>,
    pub(super) documents: BTreeMap<Digest, Bytes>,
    pub(super) index: u64,
}

/// One change, in readable form.
#[derive(Default)]
pub(super) struct Change<'a> {
    pub(super) puts: &'a [(&'a str, &'a str)],
    pub(super) deletes: &'a [&'a str],
    pub(super) new: &'a [(Digest, Bytes)],
    pub(super) dropped: &'a [Digest],
}

impl Model {
    /// Takes the change and returns the batch which makes a store follow.
    pub(super) fn change(&mut self, change: Change<'_>) -> WriteBatch {
        let bytes = |text: &str| text.as_bytes().to_vec();
        let deletes: Vec<_> = change.deletes.iter().map(|key| bytes(key)).collect();
        let puts: Vec<_> = change.puts.iter().map(|(key, value)| (bytes(key), bytes(value))).collect();
        deletes.iter().for_each(|key| drop(self.rows.remove(key)));
        self.rows.extend(puts.iter().cloned());
        change.dropped.iter().for_each(|digest| drop(self.documents.remove(digest)));
        self.documents.extend(change.new.iter().cloned());
        self.index += 1;
        WriteBatch {
            puts,
            deletes,
            new_documents: change.new.to_vec(),
            dropped_documents: change.dropped.to_vec(),
            applied: self.applied(),
        }
    }

    pub(super) fn put(&mut self, key: &str, value: &str) -> WriteBatch {
        self.change(Change { puts: &[(key, value)], ..Change::default() })
    }

    pub(super) fn position(&self) -> Position {
        Position { term: 1 + self.index / 10, leader: 2, index: self.index }
    }

    pub(super) fn applied(&self) -> Applied {
        Applied {
            position: self.position(),
            membership: Bytes::from_static(b"one, two, three"),
            digest: state_digest(self.rows.iter()),
            rows: self.rows.len() as u64,
        }
    }

    /// What a store that followed must answer when it opens.
    pub(super) fn state(&self) -> SmallState {
        SmallState {
            applied: (self.index > 0).then(|| self.applied()),
            rows: self.rows.clone().into_iter().collect(),
            documents: self.documents.iter().map(|(digest, stored)| (*digest, stored.len() as u64)).collect(),
        }
    }

    #[track_caller]
    pub(super) fn assert_documents(&self, store: &impl Store) {
        for (digest, stored) in &self.documents {
            let found = store.document(digest).expect("readable").expect("present");
            assert!(found == *stored, "document {} has other bytes", hex::encode(digest));
        }
    }
}

/// The caller's check of the state digest; there is none in a store that was never written.
pub(super) fn checked(state: SmallState) -> Result<SmallState, String> {
    let found = state_digest(state.rows.iter().map(|(key, value)| (key, value)));
    match &state.applied {
        Some(applied) if applied.digest != found => Err("the state digest differs".to_owned()),
        _ => Ok(state),
    }
}

/// A document that does not compress, and the digest it goes by.
pub(super) fn document(seed: u64, bytes: usize) -> (Digest, Bytes) {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    let mut stored: Vec<u8> = (0..bytes.div_ceil(8)).flat_map(|_| next()).collect();
    stored.truncate(bytes);
    (Sha256::digest(seed.to_be_bytes()).into(), stored.into())
}

fn state_digest<'a>(rows: impl Iterator<Item = (&'a Vec<u8>, &'a Vec<u8>)>) -> Digest {
    let mut hash = Sha256::new();
    for (key, value) in rows {
        hash.update((key.len() as u64).to_be_bytes());
        hash.update(key);
        hash.update((value.len() as u64).to_be_bytes());
        hash.update(value);
    }
    hash.finalize().into()
}
