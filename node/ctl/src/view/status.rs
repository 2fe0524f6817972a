//! The nodes of a cluster.

use std::io::{self, Write};

use meridian_client::proto::admin::{ClusterStatusResponse, Node as Message};
use serde::Serialize;

use super::table::Table;
use super::{View, age, clean};

/// `status`
#[derive(Serialize)]
pub(crate) struct Status {
    cluster_id: String,
    answered_by: u64,
    nodes: Vec<Node>,
}

#[derive(Serialize)]
struct Node {
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
}

impl From<ClusterStatusResponse> for Status {
    fn from(answer: ClusterStatusResponse) -> Self {
        let ClusterStatusResponse { cluster_id, answered_by, nodes } = answer;
        Self { cluster_id, answered_by, nodes: nodes.into_iter().map(Node::from).collect() }
    }
}

impl From<Message> for Node {
    fn from(node: Message) -> Self {
        Self {
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
        }
    }
}

impl View for Status {
    fn text(&self, now_ms: u64, to: &mut dyn Write) -> io::Result<()> {
        let mut table = Table::new([
            "ID", "REGION", "ZONE", "ROLE", "HEALTH", "TERM", "APPLIED", "LAG", "FRESH", "ADDRESS",
        ]);
        for node in &self.nodes {
            table.row([
                node.id.to_string(),
                node.region.clone(),
                node.zone.clone(),
                if node.is_leader { "leader".to_owned() } else { node.role.clone() },
                if node.healthy { "ok".to_owned() } else { "unhealthy".to_owned() },
                node.term.to_string(),
                node.applied_index.to_string(),
                node.lag.to_string(),
                age(now_ms, node.fresh_as_of),
                node.grpc_address.clone(),
            ]);
        }
        table.write(to)?;
        for node in self.nodes.iter().filter(|node| !node.problem.is_empty()) {
            writeln!(to, "node {}: {}", node.id, clean(&node.problem))?;
        }
        writeln!(to, "cluster {}, answered by node {}", clean(&self.cluster_id), self.answered_by)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::golden::{NOW_MS, check};

    #[test]
    fn status() {
        let leader = Message {
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
            ..Message::default()
        };
        let dead = Message {
            id: 2,
            region: "eu-west".into(),
            role: "voter".into(),
            lag: 20,
            fresh_as_of_ms: NOW_MS - 61_000,
            problem: "does not answer".into(),
            grpc_address: "127.0.0.1:7410".into(),
            ..Message::default()
        };
        let answer =
            ClusterStatusResponse { cluster_id: "c-1".into(), answered_by: 1, nodes: vec![leader, dead] };
        check(
            &Status::from(answer),
            "ID  REGION   ZONE  ROLE    HEALTH     TERM  APPLIED  LAG  FRESH    ADDRESS\n\
             1   us-east  a     leader  ok         3     1200     0    now      127.0.0.1:7400\n\
             2   eu-west        voter   unhealthy  0     0        20   61s ago  127.0.0.1:7410\n\
             node 2: does not answer\n\
             cluster c-1, answered by node 1\n",
            r#"{"cluster_id":"c-1","answered_by":1,"nodes":[{"id":1,"region":"us-east","zone":"a","role":"voter","is_leader":true,"term":3,"applied_index":1200,"lag":0,"fresh_as_of":1727999999600,"healthy":true,"pid":4711,"problem":"","grpc_address":"127.0.0.1:7400","state_digest":"ab","state_index":1200,"software_version":"0.1.0"},{"id":2,"region":"eu-west","zone":"","role":"voter","is_leader":false,"term":0,"applied_index":0,"lag":20,"fresh_as_of":1727999939000,"healthy":false,"pid":null,"problem":"does not answer","grpc_address":"127.0.0.1:7410","state_digest":"","state_index":0,"software_version":""}]}"#,
        );
    }
}
