//! What was changed about the cluster itself.

use std::io::{self, Write};

use meridian_client::proto::admin;
use serde::Serialize;

use super::table::Table;
use super::{View, age};

/// `journal`
#[derive(Serialize)]
pub(crate) struct Journal {
    /// Newest first.
    events: Vec<Event>,
}

#[derive(Serialize)]
struct Event {
    /// Rises by one with each entry.
    sequence: u64,
    time_ms: u64,
    actor: String,
    text: String,
}

impl From<Vec<admin::Event>> for Journal {
    fn from(events: Vec<admin::Event>) -> Self {
        let event = |event: admin::Event| {
            let admin::Event { sequence, time_ms, actor, text } = event;
            Event { sequence, time_ms, actor, text }
        };
        Self { events: events.into_iter().map(event).collect() }
    }
}

impl View for Journal {
    fn text(&self, now_ms: u64, to: &mut dyn Write) -> io::Result<()> {
        let mut table = Table::new(["WHEN", "WHO", "WHAT"]);
        for event in &self.events {
            table.row([age(now_ms, event.time_ms), event.actor.clone(), event.text.clone()]);
        }
        table.write(to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::golden::{NOW_MS, check};

    #[test]
    fn entries() {
        let event = |sequence, age_ms, actor: &str, text: &str| admin::Event {
            sequence,
            time_ms: NOW_MS - age_ms,
            actor: actor.into(),
            text: text.into(),
        };
        let events = vec![
            event(8, 5_000, "self-repair", "node 6 takes the vote of node 2"),
            event(7, 400_000, "alice", "drained\n"),
        ];
        check(
            &Journal::from(events),
            "WHEN    WHO          WHAT\n\
             5s ago  self-repair  node 6 takes the vote of node 2\n\
             6m ago  alice        drained\\n\n",
            r#"{"events":[{"sequence":8,"time_ms":1727999995000,"actor":"self-repair","text":"node 6 takes the vote of node 2"},{"sequence":7,"time_ms":1727999600000,"actor":"alice","text":"drained\n"}]}"#,
        );
    }
}
