//! Who is a member, and who leads. Both are decided by the leader, in replication; here the request is read.

use meridian_proto::admin::change_members_request::Change as Asked;
use meridian_proto::admin::{
    AddMember, ChangeMembersRequest, ChangeMembersResponse, Node, NodeSet, ReplaceMember,
    TransferLeaderRequest, TransferLeaderResponse,
};
use meridian_replication::{Leader, ListedMember, MembershipChange};
use tokio::time::Instant;
use tonic::{Request, Status};

use super::Admin;
use super::change::Change;
use crate::config::Address;
use crate::grpc::status;

impl Admin {
    pub(super) async fn change_members(
        &self,
        request: Request<ChangeMembersRequest>,
    ) -> Result<ChangeMembersResponse, Status> {
        let Change { actor, until, .. } = Change::asked_by(&request, "")?;
        let ChangeMembersRequest { change, force, validate_only } = request.into_inner();
        let change = parse(change)?;
        let timeout = until.saturating_duration_since(Instant::now());
        let changed = self.handle.change_members(change, force, validate_only, actor, timeout).await;
        let changed = changed.map_err(|error| status::members(&error))?;
        let members = changed.members.iter().map(node).collect();
        Ok(ChangeMembersResponse { members, overridden: changed.overridden })
    }

    pub(super) async fn transfer_leader(
        &self,
        request: Request<TransferLeaderRequest>,
    ) -> Result<TransferLeaderResponse, Status> {
        let Change { until, .. } = Change::asked_by(&request, "")?;
        let to = Some(request.get_ref().to).filter(|to| *to > 0);
        let timeout = until.saturating_duration_since(Instant::now());
        let transferred = self.handle.transfer_leader(to, timeout).await;
        let leader = transferred.map_err(|error| status::transfer(&error))?;
        Ok(TransferLeaderResponse { leader })
    }

    /// Refuses on a node that does not lead, before it judges a request by a membership that may be old.
    pub(super) fn must_lead(&self) -> Result<(), Status> {
        let leader = self.handle.status().leader;
        if leader == Some(self.handle.node_id()) {
            return Ok(());
        }
        let listed = self.handle.members().into_iter().find(|listed| Some(listed.node_id) == leader);
        let leader =
            listed.map(|listed| Leader { node_id: listed.node_id, grpc_address: listed.member.grpc_address });
        Err(status::not_leader(leader.as_ref()))
    }
}

fn parse(asked: Option<Asked>) -> Result<MembershipChange, Status> {
    let nodes = |NodeSet { nodes }: NodeSet| match nodes.is_empty() {
        true => Err(Status::invalid_argument("no node is named")),
        false => Ok(nodes),
    };
    Ok(match asked {
        None => return Err(Status::invalid_argument("no change is named")),
        Some(Asked::Add(AddMember { peer_address })) => {
            let address = peer_address.parse::<Address>();
            let address =
                address.map_err(|error| Status::invalid_argument(format!("{peer_address:?} {error}")))?;
            MembershipChange::Add { peer_address: address.to_string() }
        }
        Some(Asked::Promote(set)) => MembershipChange::Promote(nodes(set)?),
        Some(Asked::Demote(set)) => MembershipChange::Demote(nodes(set)?),
        Some(Asked::Remove(set)) => MembershipChange::Remove(nodes(set)?),
        Some(Asked::Replace(ReplaceMember { old, new })) => MembershipChange::Replace { old, new },
    })
}

/// A member as the membership has it, without anything it says itself.
pub(super) fn node(listed: &ListedMember) -> Node {
    let member = &listed.member;
    Node {
        id: listed.node_id,
        region: member.region.clone(),
        zone: member.zone.clone(),
        role: if listed.voter { "voter" } else { "learner" }.to_owned(),
        grpc_address: member.grpc_address.clone(),
        peer_address: member.peer_address.clone(),
        wants_vote: member.wants_vote && !listed.voter,
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use tonic::Code;

    use super::*;

    #[test]
    fn a_change_names_what_it_is_about() {
        let set = |nodes: &[u64]| NodeSet { nodes: nodes.to_vec() };
        let add = |address: &str| Asked::Add(AddMember { peer_address: address.to_owned() });
        for (asked, expected) in [
            (Some(Asked::Promote(set(&[4, 5]))), Some(MembershipChange::Promote(vec![4, 5]))),
            (Some(Asked::Demote(set(&[4]))), Some(MembershipChange::Demote(vec![4]))),
            (Some(Asked::Remove(set(&[4]))), Some(MembershipChange::Remove(vec![4]))),
            (
                Some(Asked::Replace(ReplaceMember { old: 1, new: 4 })),
                Some(MembershipChange::Replace { old: 1, new: 4 }),
            ),
            (Some(add("a:1")), Some(MembershipChange::Add { peer_address: "a:1".to_owned() })),
            (None, None),
            (Some(Asked::Promote(set(&[]))), None),
            (Some(Asked::Demote(set(&[]))), None),
            (Some(Asked::Remove(set(&[]))), None),
            (Some(add("")), None),
            (Some(add("http://a:1")), None),
            (Some(add("a")), None),
        ] {
            let parsed = parse(asked.clone()).map_err(|status| status.code());
            assert_eq!(parsed, expected.ok_or(Code::InvalidArgument), "{asked:?}");
        }
    }
}
