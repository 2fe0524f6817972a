//! What a change of members brought.

use std::io::{self, Write};

use meridian_client::proto::admin::ChangeMembersResponse;
use serde::Serialize;

use super::status::{Node, members_table};
use super::{View, clean};

/// `member add`, `promote`, `demote`, `remove` and `replace`
#[derive(Serialize)]
pub(crate) struct ChangedMembers {
    /// What was done, for people.
    #[serde(skip)]
    done: String,
    validate_only: bool,
    /// The rules that `--force` overrode.
    overridden: Vec<String>,
    members: Vec<Node>,
}

impl ChangedMembers {
    /// `done` says what was done, as a sentence without its end.
    pub(crate) fn new(done: String, validate_only: bool, answer: ChangeMembersResponse) -> Self {
        let ChangeMembersResponse { members, overridden } = answer;
        Self { done, validate_only, overridden, members: members.into_iter().map(Node::from).collect() }
    }
}

impl View for ChangedMembers {
    fn text(&self, _now_ms: u64, to: &mut dyn Write) -> io::Result<()> {
        match self.validate_only {
            true => writeln!(to, "valid: {}; nothing was changed. The members would be:", self.done)?,
            false => writeln!(to, "{}", self.done)?,
        }
        for rule in &self.overridden {
            writeln!(to, "warning: overridden by --force: {}", clean(rule))?;
        }
        members_table(&self.members, to)
    }
}

#[cfg(test)]
mod tests {
    use meridian_client::proto::admin;

    use super::*;
    use crate::view::golden::check;

    #[test]
    fn a_forced_change_says_what_it_overrode() {
        let node = admin::Node { id: 4, region: "a".into(), role: "voter".into(), ..Default::default() };
        let answer = || ChangeMembersResponse {
            members: vec![node.clone()],
            overridden: vec!["4 voters: an even number".into()],
        };
        let json = |validate_only: bool| {
            format!(
                r#"{{"validate_only":{validate_only},"overridden":["4 voters: an even number"],"members":[{{"id":4,"region":"a","zone":"","role":"voter","is_leader":false,"term":0,"applied_index":0,"lag":0,"fresh_as_of":0,"healthy":false,"pid":null,"problem":"","grpc_address":"","state_digest":"","state_index":0,"software_version":"","staleness_ms":null,"service":null,"streams":0,"peer_address":"","wants_vote":false}}]}}"#
            )
        };
        let rest = "warning: overridden by --force: 4 voters: an even number\n\
                    ID  REGION  ZONE  ROLE   LAG  PEERS  CLIENTS\n\
                    4   a             voter  0\n";
        check(
            &ChangedMembers::new("promoted node 4".into(), false, answer()),
            &format!("promoted node 4\n{rest}"),
            &json(false),
        );
        check(
            &ChangedMembers::new("node 4 can be promoted".into(), true, answer()),
            &format!("valid: node 4 can be promoted; nothing was changed. The members would be:\n{rest}"),
            &json(true),
        );
    }
}
