//! What this node knows of every node.

use std::time::{SystemTime, UNIX_EPOCH};

use meridian_proto::admin::node::Service;
use meridian_proto::admin::{ClusterStatusResponse, Node};
use meridian_replication::{ListedMember, NodeReport, NodeStatus, Readiness, ServiceState};

use super::{Admin, fleet, members};
use crate::stamp::millis;

mod problems;

use problems::{Seen, problems};

impl Admin {
    /// Answered even by a node that is not ready: that is when operators ask.
    pub(super) async fn cluster_status(&self) -> ClusterStatusResponse {
        let reports = self.handle.cluster().await;
        let view = self.handle.catalog().view();
        let fleet = view.directory.fleet();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let seen = Seen {
            reports: &reports,
            leader: leader(&reports),
            drained: fleet.drained().collect(),
            observer: self.handle.node_id(),
            now_ms: millis(now),
        };
        ClusterStatusResponse {
            cluster_id: self.handle.cluster_id().to_owned(),
            answered_by: self.handle.node_id(),
            nodes: nodes(&reports),
            problems: problems(&seen),
            placement: Some(fleet::placement(fleet.placement())),
        }
    }
}

/// A leader that was cut off believes in itself until it hears of the next one: the newest term is right.
fn leader(reports: &[NodeReport]) -> Option<&NodeStatus> {
    let answers = reports.iter().filter_map(|report| report.status.as_ref().ok());
    answers.filter(|status| leads(status)).max_by_key(|status| status.term)
}

/// The reports side by side, by id.
fn nodes(reports: &[NodeReport]) -> Vec<Node> {
    let answers = reports.iter().filter_map(|report| report.status.as_ref().ok());
    let longest_log = answers.map(|status| status.last_index).max().unwrap_or(0);
    let leader = leader(reports).map(|status| status.node_id);
    let mut nodes: Vec<Node> = reports.iter().map(|report| node(report, leader, longest_log)).collect();
    nodes.sort_by_key(|node| node.id);
    nodes
}

fn leads(status: &NodeStatus) -> bool {
    status.leader == Some(status.node_id)
}

fn node(report: &NodeReport, leader: Option<u64>, longest_log: u64) -> Node {
    let NodeReport { node_id, member, voter, .. } = report.clone();
    let listed = members::node(&ListedMember { node_id, member, voter });
    let known = Node { is_leader: leader == Some(node_id), ..listed };
    let status = match &report.status {
        Ok(status) => status,
        Err(problem) => return Node { problem: problem.clone(), ..known },
    };
    let problem = match (&status.readiness, status.leader) {
        (Readiness::NotReady(why), _) => why.to_string(),
        (Readiness::Ready, None) => "knows no leader: changes wait, reads are served".to_owned(),
        (Readiness::Ready, Some(_)) => String::new(),
    };
    Node {
        term: status.term,
        applied_index: status.applied_index,
        lag: longest_log.saturating_sub(status.applied_index),
        fresh_as_of_ms: status.fresh_as_of_ms,
        healthy: problem.is_empty(),
        pid: status.pid,
        problem,
        state_digest: hex::encode(status.tally.digest),
        state_index: status.tally_index,
        software_version: status.software_version.clone(),
        staleness_ms: status.staleness.map(millis),
        service: service(status.service).into(),
        streams: status.streams,
        ..known
    }
}

fn service(state: ServiceState) -> Service {
    match state {
        ServiceState::Serving => Service::Serving,
        ServiceState::Draining => Service::Draining,
        ServiceState::Drained => Service::Drained,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use meridian_model::state::Tally;
    use meridian_replication::{Member, NotReady};

    use super::*;

    pub(super) fn answered(node_id: u64, leader: Option<u64>, term: u64, applied_index: u64) -> NodeReport {
        let status = NodeStatus {
            node_id,
            term,
            leader,
            last_index: applied_index + 1,
            applied_index,
            fresh_as_of_ms: 1,
            readiness: Readiness::Ready,
            pid: 1,
            tally: Tally::default(),
            tally_index: applied_index,
            software_version: "1".to_owned(),
            staleness: None,
            service: meridian_replication::ServiceState::Serving,
            streams: 0,
            quorum_age: None,
        };
        NodeReport { node_id, member: Member::default(), voter: true, status: Ok(status) }
    }

    #[test]
    fn health_lag_and_leader_come_from_all_reports() {
        let silent =
            NodeReport { status: Err("no answer within 500 ms".to_owned()), ..answered(4, None, 0, 0) };
        let mut behind = answered(5, Some(1), 3, 40);
        let catching_up = NotReady::CatchingUp { applied: 40, target: 100 };
        behind.status.as_mut().unwrap().readiness = Readiness::NotReady(catching_up);
        let reports = [
            silent,
            behind,
            answered(3, None, 3, 90),
            answered(2, Some(2), 2, 80),
            answered(1, Some(1), 3, 100),
        ];

        let shown: Vec<_> = nodes(&reports)
            .into_iter()
            .map(|node| (node.id, node.is_leader, node.healthy, node.lag, node.problem))
            .collect();

        let problem = |text: &str| text.to_owned();
        assert_eq!(
            shown,
            [
                (1, true, true, 1, problem("")),
                (2, false, true, 21, problem("")),
                (3, false, false, 11, problem("knows no leader: changes wait, reads are served")),
                (4, false, false, 0, problem("no answer within 500 ms")),
                (5, false, false, 61, problem("catching up: applied 40 of 100")),
            ]
        );
    }
}
