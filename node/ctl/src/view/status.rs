//! The nodes of a cluster.

use std::io::{self, Write};

use meridian_client::proto::admin::node::Service;
use meridian_client::proto::admin::{ClusterStatusResponse, Node as Message};
use serde::Serialize;

use super::placement::Placement;
use super::table::Table;
use super::{View, clean, span};

/// `status`
#[derive(Serialize)]
pub(crate) struct Status {
    cluster_id: String,
    answered_by: u64,
    nodes: Vec<Node>,
    /// What to know first; empty when all is well.
    problems: Vec<String>,
    placement: Placement,
}

/// `member list`
#[derive(Serialize)]
pub(crate) struct Members {
    members: Vec<Node>,
}

#[derive(Serialize)]
pub(super) struct Node {
    id: u64,
    region: String,
    zone: String,
    role: String,
    is_leader: bool,
    term: u64,
    applied_index: u64,
    /// Entries behind the longest log seen.
    lag: u64,
    /// Unix milliseconds; 0 where nothing was applied or nothing is known.
    fresh_as_of: u64,
    healthy: bool,
    /// Absent where unknown.
    pid: Option<u32>,
    /// Empty when healthy.
    problem: String,
    grpc_address: String,
    state_digest: String,
    state_index: u64,
    software_version: String,
    /// For how long it may have missed something, by its own stopwatch. Absent: it has not heard from a leader since it
    /// started, or does not answer.
    staleness_ms: Option<u64>,
    /// `serving`, `draining` or `drained`. Absent: it does not answer.
    service: Option<&'static str>,
    /// Config streams that are open on it.
    streams: u64,
    peer_address: String,
    /// A learner that asked for a vote and does not have it yet.
    wants_vote: bool,
}

impl From<ClusterStatusResponse> for Status {
    fn from(answer: ClusterStatusResponse) -> Self {
        let ClusterStatusResponse { cluster_id, answered_by, nodes, problems, placement } = answer;
        Self {
            cluster_id,
            answered_by,
            nodes: nodes.into_iter().map(Node::from).collect(),
            problems,
            placement: placement.unwrap_or_default().into(),
        }
    }
}

impl From<Vec<Message>> for Members {
    fn from(nodes: Vec<Message>) -> Self {
        Self { members: nodes.into_iter().map(Node::from).collect() }
    }
}

impl From<Message> for Node {
    fn from(node: Message) -> Self {
        Self {
            service: service_name(node.service()),
            id: node.id,
            region: node.region,
            zone: node.zone,
            role: node.role,
            is_leader: node.is_leader,
            term: node.term,
            applied_index: node.applied_index,
            lag: node.lag,
            fresh_as_of: node.fresh_as_of_ms,
            healthy: node.healthy,
            pid: Some(node.pid).filter(|pid| *pid != 0),
            problem: node.problem,
            grpc_address: node.grpc_address,
            state_digest: node.state_digest,
            state_index: node.state_index,
            software_version: node.software_version,
            staleness_ms: node.staleness_ms,
            streams: node.streams,
            peer_address: node.peer_address,
            wants_vote: node.wants_vote,
        }
    }
}

impl Status {
    /// Nothing that somebody should look at: no problems, a leader, and every node well, or out of service on purpose.
    pub(crate) fn is_well(&self) -> bool {
        let is_led = self.nodes.iter().any(|node| node.is_leader);
        let is_well = |node: &Node| node.healthy || node.is_out_of_service();
        self.problems.is_empty() && is_led && self.nodes.iter().all(is_well)
    }
}

impl Node {
    fn is_out_of_service(&self) -> bool {
        matches!(self.service, Some("draining" | "drained"))
    }

    fn standing(&self) -> String {
        match (self.is_leader, self.wants_vote) {
            (true, _) => "leader".to_owned(),
            (false, true) => format!("{}, wants a vote", self.role),
            (false, false) => self.role.clone(),
        }
    }

    fn health(&self) -> &'static str {
        match self.service {
            Some(service) if self.is_out_of_service() => service,
            _ if self.healthy => "ok",
            _ => "unhealthy",
        }
    }
}

fn service_name(service: Service) -> Option<&'static str> {
    match service {
        Service::Unspecified => None,
        Service::Serving => Some("serving"),
        Service::Draining => Some("draining"),
        Service::Drained => Some("drained"),
    }
}

impl View for Status {
    fn text(&self, _now_ms: u64, to: &mut dyn Write) -> io::Result<()> {
        for problem in &self.problems {
            writeln!(to, "PROBLEM: {}", clean(problem))?;
        }
        let mut table = Table::new([
            "ID",
            "REGION",
            "ZONE",
            "ROLE",
            "HEALTH",
            "TERM",
            "APPLIED",
            "LAG",
            "STALENESS",
            "STREAMS",
            "ADDRESS",
        ]);
        for node in &self.nodes {
            table.row([
                node.id.to_string(),
                node.region.clone(),
                node.zone.clone(),
                node.standing(),
                node.health().to_owned(),
                node.term.to_string(),
                node.applied_index.to_string(),
                node.lag.to_string(),
                node.staleness_ms.map_or_else(|| "unknown".to_owned(), span),
                node.streams.to_string(),
                node.grpc_address.clone(),
            ]);
        }
        table.write(to)?;
        for node in self.nodes.iter().filter(|node| !node.problem.is_empty()) {
            writeln!(to, "node {}: {}", node.id, clean(&node.problem))?;
        }
        if self.placement.is_set() {
            writeln!(to, "{}", self.placement.sentence())?;
        }
        writeln!(to, "cluster {}, answered by node {}", clean(&self.cluster_id), self.answered_by)
    }
}

impl View for Members {
    fn text(&self, _now_ms: u64, to: &mut dyn Write) -> io::Result<()> {
        members_table(&self.members, to)
    }
}

/// Who belongs to the cluster, without how each is.
pub(super) fn members_table(members: &[Node], to: &mut dyn Write) -> io::Result<()> {
    let mut table = Table::new(["ID", "REGION", "ZONE", "ROLE", "LAG", "PEERS", "CLIENTS"]);
    for node in members {
        table.row([
            node.id.to_string(),
            node.region.clone(),
            node.zone.clone(),
            node.standing(),
            node.lag.to_string(),
            node.peer_address.clone(),
            node.grpc_address.clone(),
        ]);
    }
    table.write(to)
}

#[cfg(test)]
mod tests {
    use meridian_client::proto::admin;

    use super::*;
    use crate::view::golden::{NOW_MS, check};

    fn leader() -> Message {
        Message {
            id: 1,
            region: "us-east".into(),
            zone: "a".into(),
            role: "voter".into(),
            is_leader: true,
            term: 3,
            applied_index: 1_200,
            fresh_as_of_ms: NOW_MS - 400,
            healthy: true,
            pid: 4_711,
            grpc_address: "127.0.0.1:7400".into(),
            state_digest: "ab".into(),
            state_index: 1_200,
            software_version: "0.1.0".into(),
            staleness_ms: Some(0),
            service: Service::Serving.into(),
            streams: 12,
            peer_address: "127.0.0.1:7401".into(),
            ..Message::default()
        }
    }

    fn dead() -> Message {
        Message {
            id: 2,
            region: "eu-west".into(),
            role: "voter".into(),
            lag: 20,
            fresh_as_of_ms: NOW_MS - 61_000,
            problem: "does not answer".into(),
            grpc_address: "127.0.0.1:7410".into(),
            ..Message::default()
        }
    }

    fn status(nodes: Vec<Message>, problems: &[&str], placement: Option<admin::Placement>) -> Status {
        let problems = problems.iter().map(|&problem| problem.into()).collect();
        let cluster_id = "c-1".into();
        ClusterStatusResponse { cluster_id, answered_by: 1, nodes, problems, placement }.into()
    }

    #[test]
    fn problems_stand_above_the_nodes() {
        let placement =
            admin::Placement { version: 3, regions: vec!["us-east".into()], repair_after_ms: None };
        check(
            &status(vec![leader(), dead()], &["1 of 2 voters answers"], Some(placement)),
            "PROBLEM: 1 of 2 voters answers\n\
             ID  REGION   ZONE  ROLE    HEALTH     TERM  APPLIED  LAG  STALENESS  STREAMS  ADDRESS\n\
             1   us-east  a     leader  ok         3     1200     0    0.0s       12       127.0.0.1:7400\n\
             2   eu-west        voter   unhealthy  0     0        20   unknown    0        127.0.0.1:7410\n\
             node 2: does not answer\n\
             placement 3: the leader belongs in us-east; lost voters are not replaced\n\
             cluster c-1, answered by node 1\n",
            r#"{"cluster_id":"c-1","answered_by":1,"nodes":[{"id":1,"region":"us-east","zone":"a","role":"voter","is_leader":true,"term":3,"applied_index":1200,"lag":0,"fresh_as_of":1727999999600,"healthy":true,"pid":4711,"problem":"","grpc_address":"127.0.0.1:7400","state_digest":"ab","state_index":1200,"software_version":"0.1.0","staleness_ms":0,"service":"serving","streams":12,"peer_address":"127.0.0.1:7401","wants_vote":false},{"id":2,"region":"eu-west","zone":"","role":"voter","is_leader":false,"term":0,"applied_index":0,"lag":20,"fresh_as_of":1727999939000,"healthy":false,"pid":null,"problem":"does not answer","grpc_address":"127.0.0.1:7410","state_digest":"","state_index":0,"software_version":"","staleness_ms":null,"service":null,"streams":0,"peer_address":"","wants_vote":false}],"problems":["1 of 2 voters answers"],"placement":{"version":3,"regions":["us-east"],"repair_after_ms":null}}"#,
        );
    }

    #[test]
    fn what_is_out_of_service_on_purpose_is_well() {
        let drained =
            Message { healthy: false, is_leader: false, service: Service::Drained.into(), ..leader() };
        for (nodes, problems, well) in [
            (vec![leader()], &[][..], true),
            (vec![leader(), drained.clone()], &[], true),
            (vec![drained], &[], false),
            (vec![], &[], false),
            (vec![leader(), dead()], &[], false),
            (vec![leader()], &["nobody leads"], false),
        ] {
            assert_eq!(status(nodes, problems, None).is_well(), well);
        }
    }

    #[test]
    fn members() {
        let learner = Message {
            id: 6,
            region: "eu-west".into(),
            zone: "b".into(),
            role: "learner".into(),
            wants_vote: true,
            lag: 7,
            peer_address: "10.0.0.6:7401".into(),
            grpc_address: "10.0.0.6:7400".into(),
            ..Message::default()
        };
        let mut text = Vec::new();
        let written = Members::from(vec![leader(), learner]).text(NOW_MS, &mut text);
        assert!(written.is_ok());
        assert_eq!(
            String::from_utf8_lossy(&text),
            "ID  REGION   ZONE  ROLE                   LAG  PEERS           CLIENTS\n\
             1   us-east  a     leader                 0    127.0.0.1:7401  127.0.0.1:7400\n\
             6   eu-west  b     learner, wants a vote  7    10.0.0.6:7401   10.0.0.6:7400\n"
        );
    }
}
