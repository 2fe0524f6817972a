//! Where the leader should be, and where it is.

use std::io::{self, Write};

use meridian_client::proto::admin;
use serde::Serialize;

use super::{View, clean, span};

/// `placement show` and `placement set`
#[derive(Serialize)]
pub(crate) struct Placement {
    /// 0: never set.
    version: u64,
    /// Most preferred first.
    regions: Vec<String>,
    /// Absent: never.
    repair_after_ms: Option<u64>,
}

/// `leader show` and `leader transfer`
#[derive(Serialize)]
pub(crate) struct Leader {
    leader: u64,
    region: String,
    term: u64,
    grpc_address: String,
}

impl From<admin::Placement> for Placement {
    fn from(placement: admin::Placement) -> Self {
        let admin::Placement { version, regions, repair_after_ms } = placement;
        Self { version, regions, repair_after_ms }
    }
}

impl From<admin::Node> for Leader {
    fn from(node: admin::Node) -> Self {
        Self { leader: node.id, region: node.region, term: node.term, grpc_address: node.grpc_address }
    }
}

impl Placement {
    pub(super) fn is_set(&self) -> bool {
        self.version > 0
    }

    /// One line without its end.
    pub(super) fn sentence(&self) -> String {
        let leader = match self.regions.as_slice() {
            [] => "the leader may be anywhere".to_owned(),
            regions => format!("the leader belongs in {}", regions.join(", else ")),
        };
        let repair = match self.repair_after_ms {
            None => "lost voters are not replaced".to_owned(),
            Some(ms) => format!("voters lost for {} are replaced", span(ms)),
        };
        let version = match self.version {
            0 => "no placement was set".to_owned(),
            version => format!("placement {version}"),
        };
        clean(&format!("{version}: {leader}; {repair}")).into_owned()
    }
}

impl View for Placement {
    fn text(&self, _now_ms: u64, to: &mut dyn Write) -> io::Result<()> {
        writeln!(to, "{}", self.sentence())
    }
}

impl View for Leader {
    fn text(&self, _now_ms: u64, to: &mut dyn Write) -> io::Result<()> {
        let Self { leader, region, term, grpc_address } = self;
        writeln!(to, "node {leader} in {} leads term {term}, at {}", clean(region), clean(grpc_address))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::golden::check;

    #[test]
    fn placements() {
        check(
            &Placement::from(admin::Placement::default()),
            "no placement was set: the leader may be anywhere; lost voters are not replaced\n",
            r#"{"version":0,"regions":[],"repair_after_ms":null}"#,
        );
        let regions = vec!["us-east".into(), "eu-west".into()];
        check(
            &Placement::from(admin::Placement { version: 3, regions, repair_after_ms: Some(300_000) }),
            "placement 3: the leader belongs in us-east, else eu-west; voters lost for 5m are replaced\n",
            r#"{"version":3,"regions":["us-east","eu-west"],"repair_after_ms":300000}"#,
        );
    }

    #[test]
    fn a_leader() {
        let node = admin::Node {
            id: 2,
            region: "eu-west".into(),
            term: 7,
            grpc_address: "10.0.0.2:7400".into(),
            ..Default::default()
        };
        check(
            &Leader::from(node),
            "node 2 in eu-west leads term 7, at 10.0.0.2:7400\n",
            r#"{"leader":2,"region":"eu-west","term":7,"grpc_address":"10.0.0.2:7400"}"#,
        );
    }
}
