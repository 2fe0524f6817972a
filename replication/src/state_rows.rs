//! Between the model's state and the rows that storage keeps without understanding them.

use bytes::Bytes;
use meridian_model::state::{State, Tally};
use prost::Message as _;

use crate::network::wire::Wire as _;
use crate::storage::snapshot::Durable;
use crate::storage::store::{Applied, Position, SmallState};
use crate::types::{LeaderId, LogId, SnapshotMeta, StoredMembership};

/// Which reading of the rows this software writes; goes into snapshot files.
pub(crate) const MODEL_VERSION: u32 = 1;

/// A state with its place in the log.
#[derive(Clone, Debug, Default)]
pub(crate) struct Located {
    pub(crate) state: State,
    pub(crate) last: Option<LogId>,
    pub(crate) membership: StoredMembership,
}

impl Located {
    /// What storage writes beside the rows. `None` before the first entry.
    pub(crate) fn applied(&self) -> Option<Applied> {
        let tally = self.state.tally();
        Some(Applied {
            position: position(self.last.as_ref()?),
            membership: encode_membership(&self.membership),
            digest: tally.digest,
            rows: tally.rows,
        })
    }

    /// The state that these rows are, if they are whole and their documents are there.
    pub(crate) fn load(stored: SmallState) -> Result<Self, String> {
        let state = State::from_rows(stored.rows).map_err(|error| error.to_string())?;
        let listed = stored.documents.iter().map(|(digest, _)| *digest);
        if !state.documents().map(|digest| digest.0).eq(listed) {
            return Err("the documents are not the ones that its releases name".to_owned());
        }
        let Some(applied) = &stored.applied else { return Ok(Self { state, ..Self::default() }) };
        let tally = Tally { digest: applied.digest, rows: applied.rows };
        Ok(Self {
            state: state.expect_tally(tally).map_err(|error| error.to_string())?,
            last: Some(log_id(applied.position)),
            membership: decode_membership(&applied.membership)?,
        })
    }
}

pub(crate) fn position(id: &LogId) -> Position {
    Position { term: id.leader_id.term, leader: id.leader_id.node_id, index: id.index }
}

pub(crate) fn log_id(position: Position) -> LogId {
    LogId { leader_id: LeaderId { term: position.term, node_id: position.leader }, index: position.index }
}

/// What openraft is told about a snapshot file.
pub(crate) fn snapshot_meta(file: &Durable) -> Result<SnapshotMeta, String> {
    let meta = file.meta();
    Ok(SnapshotMeta {
        last_log_id: Some(log_id(meta.position)),
        last_membership: decode_membership(&meta.membership)?,
    })
}

pub(crate) fn encode_membership(membership: &StoredMembership) -> Bytes {
    membership.clone().into_message().encode_to_vec().into()
}

pub(crate) fn decode_membership(bytes: &Bytes) -> Result<StoredMembership, String> {
    let message = meridian_proto::raft::StoredMembership::decode(bytes.clone()).map_err(|e| e.to_string())?;
    StoredMembership::from_message(message).map_err(|error| error.to_string())
}
