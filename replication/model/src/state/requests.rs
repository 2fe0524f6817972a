//! Outcomes of recent requests, so that a repeat gets the first answer.
//!
//! Part of the replicated state, but not of what readers see: plain maps, owned by `apply`.

use std::collections::{BTreeMap, HashMap};

use crate::ids::RequestId;
use crate::limits::REQUESTS_REMEMBERED;
use crate::outcome::Outcome;

/// One request and its first outcome.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Remembered {
    pub(crate) id: RequestId,
    /// Tells a repeat from a reused id.
    pub(crate) fingerprint: [u8; 8],
    pub(crate) outcome: Outcome,
}

/// The last [`REQUESTS_REMEMBERED`] requests, in the order in which they came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Requests {
    by_sequence: BTreeMap<u64, Remembered>,
    by_id: HashMap<RequestId, u64>,
}

impl Requests {
    pub(crate) fn find(&self, id: RequestId) -> Option<&Remembered> {
        self.by_sequence.get(self.by_id.get(&id)?)
    }

    /// Adds the newest request and says its place in the order.
    pub(crate) fn push(&mut self, request: Remembered) -> u64 {
        let sequence = self.by_sequence.last_key_value().map_or(1, |(last, _)| last.saturating_add(1));
        self.restore(sequence, request);
        sequence
    }

    /// Puts a request back where it was.
    pub(crate) fn restore(&mut self, sequence: u64, request: Remembered) {
        self.by_id.insert(request.id, sequence);
        self.by_sequence.insert(sequence, request);
    }

    /// Forgets the oldest request when there is one too many.
    pub(crate) fn overflow(&mut self) -> Option<(u64, Remembered)> {
        if self.by_sequence.len() <= REQUESTS_REMEMBERED {
            return None;
        }
        let (sequence, oldest) = self.by_sequence.pop_first()?;
        self.by_id.remove(&oldest.id);
        Some((sequence, oldest))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (u64, &Remembered)> {
        self.by_sequence.iter().map(|(sequence, request)| (*sequence, request))
    }
}
