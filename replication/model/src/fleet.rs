//! What the nodes agree on about themselves: where leaders should be, who is out of service, who left for good, and a
//! journal of such changes. Who is a member is Raft's own; this is what goes beside it.

use std::sync::Arc;

use rpds::RedBlackTreeMapSync;

use crate::ids::Name;

/// A node's number in the cluster. Never given to another machine.
pub type NodeId = u64;

/// Where leaders should be, and whether lost voters are replaced.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Placement {
    /// Rises by one with each change; 0 before the first.
    pub version: u64,
    /// Most preferred first, none twice. Empty: no preference.
    pub regions: Vec<Name>,
    /// A voter that is unreachable for so long is replaced. `None`: never.
    pub repair_after_ms: Option<u64>,
}

/// One entry of the cluster's journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// When it was decided.
    pub time_ms: u64,
    /// Who did it.
    pub actor: String,
    /// What happened, for people.
    pub text: String,
}

/// What is agreed on about the nodes. Ordered maps: iteration is the same everywhere.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fleet {
    pub(crate) placement: Arc<Placement>,
    pub(crate) drained: RedBlackTreeMapSync<NodeId, u64>,
    pub(crate) retired: RedBlackTreeMapSync<NodeId, u64>,
    pub(crate) events: RedBlackTreeMapSync<u64, Arc<Event>>,
}

impl Fleet {
    /// Where leaders should be.
    pub fn placement(&self) -> &Placement {
        &self.placement
    }

    /// Since when a node is to be out of service, Unix milliseconds.
    pub fn drained_since_ms(&self, node: NodeId) -> Option<u64> {
        self.drained.get(&node).copied()
    }

    /// Nodes that are to be out of service, by id.
    pub fn drained(&self) -> impl Iterator<Item = NodeId> {
        self.drained.keys().copied()
    }

    /// When a node left the cluster for good, Unix milliseconds. Its id is not used again.
    pub fn retired_at_ms(&self, node: NodeId) -> Option<u64> {
        self.retired.get(&node).copied()
    }

    /// The journal, oldest first, each entry with its number.
    pub fn events(&self) -> impl DoubleEndedIterator<Item = (u64, &Event)> {
        self.events.iter().map(|(sequence, event)| (*sequence, event.as_ref()))
    }
}
