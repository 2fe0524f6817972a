//! What `meridian recover` says to people.

use std::fmt::Write as _;

use meridian_replication::recovery::{Inspection, LogPoint, Verdict};

pub(super) fn inspection(found: &Inspection) -> String {
    let mut text = format!("cluster    {}\nnode       {}\n", found.cluster_id, found.node_id);
    let voters: Vec<String> = found.voter_sets.iter().map(|set| format!("{set:?}")).collect();
    let _ = writeln!(text, "voters     {}", voters.join(" and "));
    for (id, member) in &found.members {
        let _ =
            writeln!(text, "member     {id} in {}/{} at {}", member.region, member.zone, member.peer_address);
    }
    let _ = writeln!(text, "log ends   {}", place(found.last));
    let _ = writeln!(text, "committed  {}, and perhaps more", place(found.committed));
    let _ = writeln!(text, "applied    {}", place(found.applied));
    let _ = writeln!(text, "snapshot   {}", place(found.snapshot));
    let _ = writeln!(text, "clock      {}", clock(found));
    for head in &found.heads {
        let _ = writeln!(text, "newest     {} version {}", head.environment, head.version);
    }
    text.push_str(&unconfirmed(found));
    text.trim_end().to_owned()
}

pub(super) fn warning(own: &Inspection, verdict: &Verdict) -> String {
    let Verdict { cluster_id, node_id, last, given_up, wiped } = verdict;
    let mut text = format!(
        "Cluster {cluster_id} goes on from node {node_id} alone, whose log ends {}.\n\
         Whatever was acknowledged after that is LOST. The clock at the end of this log: {}.\n\
         Given up for good, never to come back with their data: {}.\n",
        place(Some(*last)),
        clock(own),
        nodes(given_up),
    );
    for (id, last) in wiped {
        let _ = writeln!(
            text,
            "Node {id}, whose log ends {}, must be wiped and join under a new id.",
            place(*last)
        );
    }
    if let Some(id) = given_up.first() {
        let _ =
            writeln!(text, "If node {id}, or another one of them, still has its disk: inspect that first.");
    }
    text.push_str(&unconfirmed(own));
    text.trim_end().to_owned()
}

pub(super) fn recovered(verdict: &Verdict) -> String {
    format!(
        "recovered: node {} is the only voter of cluster {}. start it, then add members until no loss can hurt again; \
         every other node joins with an empty data directory and a new id",
        verdict.node_id, verdict.cluster_id
    )
}

/// What a recovery keeps without knowing whether anybody was told of it.
fn unconfirmed(found: &Inspection) -> String {
    if found.unconfirmed_total == 0 {
        return String::new();
    }
    let mut text = format!(
        "In the log and not known to be committed: {} changes. They are kept; whoever made them may have been told \
         nothing.\n",
        found.unconfirmed_total
    );
    for change in &found.unconfirmed {
        let _ = writeln!(text, "  {} {} by {:?}", change.index, change.what, change.actor);
    }
    let hidden = found.unconfirmed_total - found.unconfirmed.len() as u64;
    if hidden > 0 {
        let _ = writeln!(text, "  and {hidden} more");
    }
    text
}

fn place(at: Option<LogPoint>) -> String {
    at.map_or("nowhere".to_owned(), |at| format!("at index {} of term {}", at.index, at.term))
}

fn clock(found: &Inspection) -> String {
    found.clock_ms.map_or("never set".to_owned(), |ms| format!("{ms} (Unix milliseconds)"))
}

fn nodes(ids: &[u64]) -> String {
    match ids {
        [] => "nobody".to_owned(),
        ids => ids.iter().map(|id| format!("node {id}")).collect::<Vec<_>>().join(", "),
    }
}
