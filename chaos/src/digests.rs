//! State digests as the nodes tell them: equal index must mean equal digest.

use std::collections::{BTreeMap, BTreeSet};

use meridian_client::proto::admin::Node;

/// Indexes that are remembered. Nodes digest their state about once a second, so a node may be minutes behind.
const INDEXES: usize = 1_000;

/// What was seen of each index.
#[derive(Debug, Default)]
pub struct Digests {
    by_index: BTreeMap<u64, Seen>,
    compared: u64,
}

#[derive(Debug)]
struct Seen {
    digest: String,
    nodes: BTreeSet<u64>,
}

/// Two nodes applied the same entries and hold different things.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("at index {index}, node {node} has state {digest}, and nodes {others:?} have {other_digest}")]
pub struct Divergence {
    /// Where.
    pub index: u64,
    /// Who differs.
    pub node: u64,
    /// What it has.
    pub digest: String,
    /// From whom.
    pub others: Vec<u64>,
    /// What they have.
    pub other_digest: String,
}

impl Digests {
    /// Takes in what a node says of itself. Silent nodes say nothing.
    pub fn note(&mut self, node: &Node) -> Result<(), Divergence> {
        if node.state_index == 0 || node.state_digest.is_empty() {
            return Ok(());
        }
        let seen = self
            .by_index
            .entry(node.state_index)
            .or_insert_with(|| Seen { digest: node.state_digest.clone(), nodes: BTreeSet::new() });
        if seen.digest != node.state_digest {
            return Err(Divergence {
                index: node.state_index,
                node: node.id,
                digest: node.state_digest.clone(),
                others: seen.nodes.iter().copied().collect(),
                other_digest: seen.digest.clone(),
            });
        }
        if seen.nodes.insert(node.id) && seen.nodes.len() > 1 {
            self.compared += 1;
        }
        if self.by_index.len() > INDEXES {
            self.by_index.pop_first();
        }
        Ok(())
    }

    /// The newest index at which so many nodes were seen, and agreed.
    pub fn agreed(&self, nodes: usize) -> Option<u64> {
        let agreed = self.by_index.iter().rev().find(|(_, seen)| seen.nodes.len() >= nodes);
        agreed.map(|(index, _)| *index)
    }

    /// How often a node was found equal to another one.
    pub fn compared(&self) -> u64 {
        self.compared
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn node(id: u64, state_index: u64, digest: &str) -> Node {
        Node { id, state_index, state_digest: digest.to_owned(), ..Default::default() }
    }

    #[test]
    fn equal_states_at_equal_index_agree() {
        let mut digests = Digests::default();
        for (id, index, digest) in [(1, 5, "a"), (2, 4, "b"), (3, 5, "a"), (2, 5, "a"), (1, 6, "c")] {
            digests.note(&node(id, index, digest)).unwrap();
        }
        digests.note(&Node { id: 9, ..Default::default() }).unwrap();
        assert_eq!((digests.agreed(3), digests.agreed(1), digests.compared()), (Some(5), Some(6), 2));
    }

    #[test]
    fn different_states_at_equal_index_are_seen() {
        let mut digests = Digests::default();
        digests.note(&node(1, 5, "a")).unwrap();
        let divergence = digests.note(&node(2, 5, "b")).unwrap_err();
        assert_eq!((divergence.index, divergence.node, divergence.others), (5, 2, vec![1]));
        assert_eq!(digests.agreed(2), None);
    }

    #[test]
    fn memory_is_bounded() {
        let mut digests = Digests::default();
        for index in 1..3_000 {
            digests.note(&node(1, index, "a")).unwrap();
        }
        assert_eq!(digests.by_index.len(), INDEXES);
    }
}
