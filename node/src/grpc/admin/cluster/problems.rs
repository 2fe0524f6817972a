//! What an operator should know first about a cluster, out of what its nodes say of themselves.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use meridian_replication::{NodeReport, NodeStatus};

/// A leader whose majority is silent for so long commits nothing. More than any election timeout that makes sense.
const QUORUM_AGE_MAX: Duration = Duration::from_secs(2);

/// Clocks further apart than this mislead people: ticks come once a second, and asking takes half of one.
const CLOCK_DIFFERENCE_MAX_MS: u64 = 5_000;

/// What one look at a cluster shows.
pub(super) struct Seen<'a> {
    pub(super) reports: &'a [NodeReport],
    /// The leader of the newest term, if any node leads.
    pub(super) leader: Option<&'a NodeStatus>,
    /// Nodes that are out of service.
    pub(super) drained: BTreeSet<u64>,
    /// Who looks, and what its clock says.
    pub(super) observer: u64,
    pub(super) now_ms: u64,
}

/// The most pressing first; none when all is well.
pub(super) fn problems(seen: &Seen<'_>) -> Vec<String> {
    let mut problems = Vec::new();
    problems.extend(differences(seen));
    problems.extend(quorum(seen));
    problems.extend(leadership(seen));
    problems.extend(clocks(seen));
    problems.extend(votes(seen));
    problems
}

/// Equal index means equal state (invariant I3).
fn differences(seen: &Seen<'_>) -> Vec<String> {
    let mut states: BTreeMap<u64, BTreeMap<[u8; 32], Vec<u64>>> = BTreeMap::new();
    for status in seen.reports.iter().filter_map(|report| report.status.as_ref().ok()) {
        let at_index = states.entry(status.tally_index).or_default();
        at_index.entry(status.tally.digest).or_default().push(status.node_id);
    }
    states.retain(|index, digests| *index > 0 && digests.len() > 1);
    let described = states.into_iter().map(|(index, digests)| {
        let groups: Vec<String> = digests.values().map(|nodes| list(nodes)).collect();
        format!(
            "corruption: at revision {index} the state of node {} differs; stop publishing, and rebuild the minority \
             from an empty data directory",
            groups.join(" and that of node ")
        )
    });
    described.collect()
}

fn quorum(seen: &Seen<'_>) -> Option<String> {
    let voters = seen.reports.iter().filter(|report| report.voter);
    let (answering, silent): (Vec<&NodeReport>, Vec<&NodeReport>) =
        voters.partition(|report| report.status.is_ok());
    let (answering, silent) = (answering.len(), ids(&silent));
    let voters = answering + silent.len();
    let majority = voters / 2 + 1;
    let verb = if silent.len() == 1 { "does" } else { "do" };
    if answering < majority {
        return Some(format!(
            "quorum lost: {answering} of {voters} voters answer, {majority} are needed to publish; node {} {verb} not",
            list(&silent)
        ));
    }
    (answering == majority && !silent.is_empty())
        .then(|| format!("no further voter may be lost: node {} {verb} not answer", list(&silent)))
}

fn leadership(seen: &Seen<'_>) -> Option<String> {
    let Some(leader) = seen.leader else {
        return Some("no node leads: nothing can be published until one is elected".to_owned());
    };
    let id = leader.node_id;
    if let Some(age) = leader.quorum_age.filter(|age| *age > QUORUM_AGE_MAX) {
        return Some(format!(
            "node {id} calls itself the leader, but no majority has answered it for {} s: nothing can be published",
            age.as_secs()
        ));
    }
    seen.drained.contains(&id).then(|| {
        format!("node {id} is drained and leads all the same: no voter that is in service can take over")
    })
}

/// The leader's clock is in its newest tick. Only a leader that commits ticks now shows what its clock says now.
fn clocks(seen: &Seen<'_>) -> Option<String> {
    let leader = seen.leader?;
    leader.staleness.filter(|staleness| *staleness < QUORUM_AGE_MAX)?;
    let (leads, now_ms) = (leader.fresh_as_of_ms, seen.now_ms);
    let apart_ms = now_ms.abs_diff(leads);
    (leads > 0 && apart_ms > CLOCK_DIFFERENCE_MAX_MS).then(|| {
        format!(
            "the clock of node {} is {} s {} the clock of node {}, which leads: times are wrong by that, freshness is not",
            seen.observer,
            apart_ms / 1_000,
            if now_ms > leads { "ahead of" } else { "behind" },
            leader.node_id
        )
    })
}

/// How the votes are spread.
fn votes(seen: &Seen<'_>) -> Vec<String> {
    let mut regions: BTreeMap<&str, usize> = BTreeMap::new();
    for report in seen.reports.iter().filter(|report| report.voter) {
        *regions.entry(&report.member.region).or_default() += 1;
    }
    let voters: usize = regions.values().sum();
    let mut problems = Vec::new();
    if voters > 0 && voters.is_multiple_of(2) {
        problems.push(format!(
            "{voters} voters are an even number: they bear no more losses than {} do",
            voters - 1
        ));
    }
    let majorities = regions.iter().filter(|(_, votes)| voters > 2 && 2 * **votes > voters);
    problems.extend(majorities.map(|(region, votes)| {
        format!("region {region} holds {votes} of {voters} votes: without it nothing can be published")
    }));
    problems
}

fn ids(reports: &[&NodeReport]) -> Vec<u64> {
    reports.iter().map(|report| report.node_id).collect()
}

fn list(nodes: &[u64]) -> String {
    nodes.iter().map(u64::to_string).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use meridian_replication::Member;

    use super::super::tests::answered;
    use super::*;

    const NOW_MS: u64 = 10_000_000;

    /// Three voters in three regions, of which the first leads, and all is well.
    fn healthy() -> Vec<NodeReport> {
        let node = |(node_id, region): (u64, &str)| {
            let mut report = answered(node_id, Some(1), 3, 90);
            report.member = Member { region: region.to_owned(), ..Member::default() };
            let status = report.status.as_mut().unwrap();
            status.fresh_as_of_ms = NOW_MS - 700;
            status.staleness = Some(Duration::from_millis(300));
            report
        };
        [(1, "a"), (2, "b"), (3, "c")].into_iter().map(node).collect()
    }

    fn silence(report: &mut NodeReport) {
        report.status = Err("no answer".to_owned());
    }

    fn check(change: impl FnOnce(&mut Vec<NodeReport>), drained: &[u64], expected: &[&str]) {
        let mut reports = healthy();
        change(&mut reports);
        let leads = |status: &&NodeStatus| status.leader == Some(status.node_id);
        let leader = reports.iter().filter_map(|report| report.status.as_ref().ok()).find(leads);
        let drained = drained.iter().copied().collect();
        let found = problems(&Seen { reports: &reports, leader, drained, observer: 2, now_ms: NOW_MS });
        assert_eq!(found.len(), expected.len(), "{found:#?} instead of {expected:#?}");
        for (found, expected) in found.iter().zip(expected) {
            assert!(found.contains(expected), "{found:?} should contain {expected:?}");
        }
    }

    #[test]
    fn each_problem_is_named() {
        let status =
            |report: &mut NodeReport, change: fn(&mut NodeStatus)| change(report.status.as_mut().unwrap());
        check(|_| {}, &[], &[]);
        check(|nodes| silence(&mut nodes[2]), &[], &["no further voter may be lost: node 3 does not answer"]);
        check(
            |nodes| nodes[1..].iter_mut().for_each(silence),
            &[],
            &["quorum lost: 1 of 3 voters answer, 2 are needed to publish; node 2, 3 do not"],
        );
        check(
            |nodes| nodes.iter_mut().for_each(|node| status(node, |status| status.leader = None)),
            &[],
            &["no node leads"],
        );
        check(
            |nodes| status(&mut nodes[0], |status| status.quorum_age = Some(Duration::from_secs(9))),
            &[],
            &["no majority has answered it for 9 s"],
        );
        check(|_| {}, &[1], &["node 1 is drained and leads all the same"]);
        check(|_| {}, &[2], &[]);
        check(
            |nodes| status(&mut nodes[1], |status| status.tally.digest = [1; 32]),
            &[],
            &["corruption: at revision 90 the state of node 1, 3 and that of node 2 differs"],
        );
        check(
            |nodes| {
                status(&mut nodes[1], |status| {
                    status.tally.digest = [1; 32];
                    status.tally_index = 91;
                });
            },
            &[],
            &[],
        );
        check(|nodes| drop(nodes.pop()), &[], &["2 voters are an even number"]);
        check(|nodes| nodes[1].member.region = "a".to_owned(), &[], &["region a holds 2 of 3 votes"]);
        for (fresh_as_of_ms, says) in [
            (NOW_MS - 3_600_000, "the clock of node 2 is 3600 s ahead of the clock of node 1"),
            (NOW_MS + 3_600_000, "the clock of node 2 is 3600 s behind the clock of node 1"),
        ] {
            check(|nodes| nodes[0].status.as_mut().unwrap().fresh_as_of_ms = fresh_as_of_ms, &[], &[says]);
        }
    }

    #[test]
    fn a_leader_that_ticks_no_more_says_nothing_about_clocks() {
        check(
            |nodes| {
                let leader = nodes[0].status.as_mut().unwrap();
                (leader.fresh_as_of_ms, leader.staleness) = (NOW_MS - 60_000, Some(Duration::from_secs(60)));
            },
            &[],
            &[],
        );
    }
}
