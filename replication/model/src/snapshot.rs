//! The state as a sequence of rows, and back.
//!
//! Equal states give equal rows in equal order. The documents' bytes travel beside the rows, by digest.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::ids::Digest;
use crate::row::{MalformedKey, RowKey};
use crate::state::{State, Tally};
use crate::wire::{self, Malformed};

/// Rows that are no state.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A key of another software version, or damage.
    #[error(transparent)]
    Key(#[from] MalformedKey),
    /// A body of another software version, or damage.
    #[error("row {key:?} is malformed")]
    Row {
        /// Which one.
        key: RowKey,
        /// What is wrong with it.
        #[source]
        source: Malformed,
    },
    /// Rows were lost, changed or added.
    #[error("the rows' tally is {found:?}, not {expected:?}: rows were lost or changed")]
    WrongTally {
        /// What was stored beside the rows.
        expected: Tally,
        /// What the rows give.
        found: Tally,
    },
}

impl State {
    /// All rows, in key order.
    pub fn rows(&self) -> impl Iterator<Item = (Vec<u8>, Vec<u8>)> {
        let directory = &self.directory;
        let clock = directory.clock_ms.map(|time_ms| (RowKey::Clock, wire::clock_row(time_ms)));
        let projects =
            directory.projects.iter().map(|(name, p)| (RowKey::Project(name.clone()), wire::project_row(p)));
        let environments = directory
            .environments
            .iter()
            .map(|(at, e)| (RowKey::Environment(at.clone()), wire::environment_row(e)));
        let releases = directory
            .releases
            .iter()
            .map(|((at, version), r)| (RowKey::Release(at.clone(), *version), wire::release_row(r)));
        let keys = directory.keys.iter().map(|(hash, key)| (RowKey::Key(*hash), wire::key_row(key)));
        let requests =
            self.requests.iter().map(|(sequence, r)| (RowKey::Request(sequence), wire::request_row(r)));
        let fleet = &directory.fleet;
        let placement =
            (fleet.placement.version > 0).then(|| (RowKey::Placement, wire::placement_row(&fleet.placement)));
        let drained =
            fleet.drained.iter().map(|(node, since)| (RowKey::Drained(*node), wire::drained_row(*since)));
        let retired = fleet.retired.iter().map(|(node, at)| (RowKey::Retired(*node), wire::retired_row(*at)));
        let events =
            fleet.events.iter().map(|(sequence, event)| (RowKey::Event(*sequence), wire::event_row(event)));
        clock
            .into_iter()
            .chain(projects)
            .chain(environments)
            .chain(releases)
            .chain(keys)
            .chain(requests)
            .chain(placement)
            .chain(drained)
            .chain(retired)
            .chain(events)
            .map(|(key, row)| (key.encode(), row))
    }

    /// Digests of all documents that the rows speak of, in order.
    pub fn documents(&self) -> impl Iterator<Item = Digest> {
        self.document_uses.keys().copied()
    }

    /// The state that these rows are. The caller compares its tally with the one stored beside them, see
    /// [`State::expect_tally`].
    pub fn from_rows<K, V>(rows: impl IntoIterator<Item = (K, V)>) -> Result<Self, Error>
    where
        K: AsRef<[u8]>,
        V: AsRef<[u8]>,
    {
        let mut state = Self::default();
        for (key, row) in rows {
            let (key, row) = (key.as_ref(), row.as_ref());
            let parsed = RowKey::decode(key)?;
            state.restore(&parsed, row).map_err(|source| Error::Row { key: parsed, source })?;
            state.tally.add(key, row);
        }
        let mut uses = BTreeMap::<Digest, u32>::new();
        for release in state.directory.releases.values() {
            *uses.entry(release.digest).or_default() += 1;
        }
        state.document_uses = uses;
        Ok(state)
    }

    /// This state, if its rows have this tally.
    pub fn expect_tally(self, expected: Tally) -> Result<Self, Error> {
        match self.tally {
            found if found == expected => Ok(self),
            found => Err(Error::WrongTally { expected, found }),
        }
    }

    fn restore(&mut self, key: &RowKey, row: &[u8]) -> Result<(), Malformed> {
        let directory = &mut self.directory;
        match key {
            RowKey::Clock => directory.clock_ms = Some(wire::read_clock_row(row)?),
            RowKey::Project(name) => {
                directory.projects.insert_mut(name.clone(), wire::read_project_row(row)?)
            }
            RowKey::Environment(at) => {
                directory.environments.insert_mut(at.clone(), Arc::new(wire::read_environment_row(row)?));
            }
            RowKey::Release(at, version) => {
                let release = wire::read_release_row(*version, row)?;
                directory.releases.insert_mut((at.clone(), *version), Arc::new(release));
            }
            RowKey::Key(hash) => directory.keys.insert_mut(*hash, Arc::new(wire::read_key_row(*hash, row)?)),
            RowKey::Request(sequence) => self.requests.restore(*sequence, wire::read_request_row(row)?),
            RowKey::Placement => directory.fleet.placement = Arc::new(wire::read_placement_row(row)?),
            RowKey::Drained(node) => directory.fleet.drained.insert_mut(*node, wire::read_drained_row(row)?),
            RowKey::Retired(node) => directory.fleet.retired.insert_mut(*node, wire::read_retired_row(row)?),
            RowKey::Event(sequence) => {
                directory.fleet.events.insert_mut(*sequence, Arc::new(wire::read_event_row(row)?));
            }
        }
        Ok(())
    }
}
