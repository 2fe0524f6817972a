//! Deciding what concerns the nodes themselves.

use std::sync::Arc;

use super::{Changes, State, within};
use crate::fleet::{Event, NodeId, Placement};
use crate::ids::Name;
use crate::limits;
use crate::outcome::{Outcome, Refusal};
use crate::row::RowKey;
use crate::wire;

/// Who changes something, and when: goes into the journal with what was done.
pub(super) struct By {
    pub(super) actor: String,
    pub(super) time_ms: u64,
}

impl State {
    pub(super) fn set_placement(
        &mut self,
        by: By,
        regions: Vec<Name>,
        repair_after_ms: Option<u64>,
        expect_version: Option<u64>,
        changes: &mut Changes,
    ) -> Result<Outcome, Refusal> {
        let current = self.directory.fleet.placement.version;
        if let Some(expected) = expect_version.filter(|expected| *expected != current) {
            return Err(Refusal::PlacementConflict { current, expected });
        }
        within(regions.len(), limits::PLACEMENT_REGIONS + 1, "regions in the placement")?;
        let listed: Vec<&str> = regions.iter().map(Name::as_str).collect();
        let leaders = match listed.as_slice() {
            [] => "leaders may be anywhere".to_owned(),
            listed => format!("leaders belong in {}", listed.join(", then ")),
        };
        let repair = match repair_after_ms {
            Some(after_ms) => format!("voters lost for {after_ms} ms are replaced"),
            None => "lost voters are not replaced".to_owned(),
        };
        self.put_placement(Placement { version: current + 1, regions, repair_after_ms }, changes);
        self.note(by, format!("placement {}: {leaders}; {repair}", current + 1), changes);
        Ok(Outcome::Done)
    }

    /// Nodes that are drained already keep their time, so that a repeat changes nothing.
    pub(super) fn drain(
        &mut self,
        by: By,
        nodes: Vec<NodeId>,
        undrain: bool,
        changes: &mut Changes,
    ) -> Outcome {
        let mut changed = Vec::new();
        for node in nodes {
            if undrain == self.directory.fleet.drained.contains_key(&node) {
                self.put_drained(node, (!undrain).then_some(by.time_ms), changes);
                changed.push(node);
            }
        }
        if !changed.is_empty() {
            let what = if undrain { "put back into service" } else { "taken out of service" };
            self.note(by, format!("{} {what}", list(&changed)), changes);
        }
        Outcome::Done
    }

    pub(super) fn retire(&mut self, by: By, nodes: Vec<NodeId>, changes: &mut Changes) -> Outcome {
        let mut left = Vec::new();
        for node in nodes {
            if self.directory.fleet.drained.contains_key(&node) {
                self.put_drained(node, None, changes);
            }
            if !self.directory.fleet.retired.contains_key(&node) {
                self.put_retired(node, Some(by.time_ms), changes);
                left.push(node);
            }
        }
        // Ids are expected to rise: the lowest one is the least likely to come back.
        while self.directory.fleet.retired.size() > limits::RETIRED_NODES {
            let Some(lowest) = self.directory.fleet.retired.first().map(|(node, _)| *node) else { break };
            self.put_retired(lowest, None, changes);
        }
        if !left.is_empty() {
            self.note(by, format!("{} left the cluster for good", list(&left)), changes);
        }
        Outcome::Done
    }

    /// Adds to the journal, and forgets its oldest entry when there is one too many.
    pub(super) fn note(&mut self, by: By, mut text: String, changes: &mut Changes) {
        let mut end = limits::TEXT_BYTES.min(text.len());
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
        let events = &self.directory.fleet.events;
        let sequence = events.last().map_or(1, |(last, _)| last.saturating_add(1));
        self.put_event(sequence, Some(Event { time_ms: by.time_ms, actor: by.actor, text }), changes);
        if self.directory.fleet.events.size() > limits::EVENTS_KEPT
            && let Some(oldest) = self.directory.fleet.events.first().map(|(sequence, _)| *sequence)
        {
            self.put_event(oldest, None, changes);
        }
    }
}

fn list(nodes: &[NodeId]) -> String {
    let ids: Vec<String> = nodes.iter().map(NodeId::to_string).collect();
    format!("node{} {}", if nodes.len() == 1 { "" } else { "s" }, ids.join(", "))
}

/// Each change of a map, together with its stored row. Nothing else touches the maps.
impl State {
    fn put_placement(&mut self, placement: Placement, changes: &mut Changes) {
        let held = &mut self.directory.fleet.placement;
        let old = (held.version > 0).then(|| wire::placement_row(held));
        let row = wire::placement_row(&placement);
        *held = Arc::new(placement);
        self.write_row(RowKey::Placement, old, Some(row), changes);
    }

    fn put_drained(&mut self, node: NodeId, since_ms: Option<u64>, changes: &mut Changes) {
        let drained = &mut self.directory.fleet.drained;
        let old = drained.get(&node).map(|since_ms| wire::drained_row(*since_ms));
        match since_ms {
            Some(since_ms) => drained.insert_mut(node, since_ms),
            None => drop(drained.remove_mut(&node)),
        }
        self.write_row(RowKey::Drained(node), old, since_ms.map(wire::drained_row), changes);
    }

    fn put_retired(&mut self, node: NodeId, at_ms: Option<u64>, changes: &mut Changes) {
        let retired = &mut self.directory.fleet.retired;
        let old = retired.get(&node).map(|at_ms| wire::retired_row(*at_ms));
        match at_ms {
            Some(at_ms) => retired.insert_mut(node, at_ms),
            None => drop(retired.remove_mut(&node)),
        }
        self.write_row(RowKey::Retired(node), old, at_ms.map(wire::retired_row), changes);
    }

    fn put_event(&mut self, sequence: u64, event: Option<Event>, changes: &mut Changes) {
        let events = &mut self.directory.fleet.events;
        let old = events.get(&sequence).map(|event| wire::event_row(event));
        let row = event.as_ref().map(wire::event_row);
        match event {
            Some(event) => events.insert_mut(sequence, Arc::new(event)),
            None => drop(events.remove_mut(&sequence)),
        }
        self.write_row(RowKey::Event(sequence), old, row, changes);
    }
}
