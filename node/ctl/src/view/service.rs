//! How far nodes are in leaving service, or in coming back.

use std::io::{self, Write};

use meridian_client::proto::admin;
use meridian_client::proto::admin::node::Service;
use serde::Serialize;

use super::{View, clean};

/// Where nodes are to end up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Goal {
    Drained,
    Serving,
}

/// `drain` and `undrain`
#[derive(Serialize)]
pub(crate) struct InService {
    goal: Goal,
    /// Those that were meant.
    nodes: Vec<u64>,
    /// Whether all of them have come so far; with `--no-wait` nobody looked.
    reached: bool,
}

impl Goal {
    /// Which of these nodes are not there yet, each with what is missing. A node that does not answer is not known to
    /// be there.
    pub(crate) fn missing(self, meant: &[u64], nodes: &[admin::Node]) -> Vec<String> {
        let missing = |id: &u64| {
            let Some(node) = nodes.iter().find(|node| node.id == *id) else {
                return Some(format!("node {id} is not a member any more"));
            };
            self.lacks(node).map(|why| format!("node {id} {why}"))
        };
        meant.iter().filter_map(missing).collect()
    }

    fn lacks(self, node: &admin::Node) -> Option<String> {
        match (self, node.service()) {
            (Self::Drained, Service::Drained) => None,
            (Self::Serving, Service::Serving) if node.healthy => None,
            (_, Service::Unspecified) => Some(match node.problem.as_str() {
                "" => "does not answer".to_owned(),
                problem => format!("does not answer: {}", clean(problem)),
            }),
            (Self::Drained, Service::Serving | Service::Draining) => {
                let leads = if node.is_leader { " and leads" } else { "" };
                Some(match node.streams {
                    1 => format!("has 1 stream left{leads}"),
                    streams => format!("has {streams} streams left{leads}"),
                })
            }
            (Self::Serving, _) if node.problem.is_empty() => Some("is not back in service yet".to_owned()),
            (Self::Serving, _) => Some(format!("is not back in service yet: {}", clean(&node.problem))),
        }
    }
}

impl InService {
    pub(crate) fn new(goal: Goal, nodes: Vec<u64>, reached: bool) -> Self {
        Self { goal, nodes, reached }
    }
}

impl View for InService {
    fn text(&self, _now_ms: u64, to: &mut dyn Write) -> io::Result<()> {
        let nodes: Vec<_> = self.nodes.iter().map(ToString::to_string).collect();
        let nodes = format!("node{} {}", if nodes.len() == 1 { "" } else { "s" }, nodes.join(", "));
        match (self.goal, self.reached) {
            (Goal::Drained, true) => writeln!(to, "{nodes} drained: safe to stop"),
            (Goal::Drained, false) => {
                writeln!(to, "{nodes} told to drain; not safe to stop until `meridian status` shows drained")
            }
            (Goal::Serving, true) => writeln!(to, "{nodes} back in service"),
            (Goal::Serving, false) => writeln!(to, "{nodes} told to come back into service"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::golden::check;

    #[test]
    fn what_is_missing_is_told_of_each_node() {
        let node = |id, service: Service, streams, is_leader| admin::Node {
            id,
            service: service.into(),
            streams,
            is_leader,
            healthy: service == Service::Serving,
            ..Default::default()
        };
        let nodes = [
            node(1, Service::Drained, 0, false),
            node(2, Service::Draining, 12, true),
            node(3, Service::Unspecified, 0, false),
            node(4, Service::Serving, 1, false),
        ];
        assert_eq!(Goal::Drained.missing(&[1], &nodes), [""; 0]);
        assert_eq!(
            Goal::Drained.missing(&[1, 2, 3, 4, 5], &nodes),
            [
                "node 2 has 12 streams left and leads",
                "node 3 does not answer",
                "node 4 has 1 stream left",
                "node 5 is not a member any more",
            ]
        );
        assert_eq!(Goal::Serving.missing(&[4], &nodes), [""; 0]);
        assert_eq!(
            Goal::Serving.missing(&[1, 3], &nodes),
            ["node 1 is not back in service yet", "node 3 does not answer"]
        );
    }

    #[test]
    fn ends() {
        let end = |goal, nodes: &[u64], reached| InService::new(goal, nodes.to_vec(), reached);
        check(
            &end(Goal::Drained, &[1, 4], true),
            "nodes 1, 4 drained: safe to stop\n",
            r#"{"goal":"drained","nodes":[1,4],"reached":true}"#,
        );
        check(
            &end(Goal::Drained, &[1], false),
            "node 1 told to drain; not safe to stop until `meridian status` shows drained\n",
            r#"{"goal":"drained","nodes":[1],"reached":false}"#,
        );
        check(
            &end(Goal::Serving, &[1], true),
            "node 1 back in service\n",
            r#"{"goal":"serving","nodes":[1],"reached":true}"#,
        );
    }
}
