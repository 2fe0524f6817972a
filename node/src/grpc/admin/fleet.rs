//! What is agreed on about the nodes beside their membership: who is out of service, where leaders should be, and the
//! journal of such changes.
//!
//! A request that names nodes or regions is checked against the members here: the log does not know them.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use meridian_model::{Mutation, Name};
use meridian_proto::admin::{
    self, DrainRequest, DrainResponse, GetPlacementResponse, ListEventsRequest, ListEventsResponse,
    SetPlacementRequest, SetPlacementResponse,
};
use meridian_replication::ListedMember;
use tonic::{Code, Request, Status};

use super::Admin;
use super::change::Change;
use crate::grpc::{lookup, status};

/// A voter that is silent for less is restarting; nobody waits for more than a month.
const REPAIR_AFTER_MS: RangeInclusive<u64> = 5_000..=2_678_400_000;

/// Events in one answer, when the caller does not say, and at most.
const PAGE: u32 = 50;
/// See [`PAGE`].
const LARGEST_PAGE: u32 = 1_000;

impl Admin {
    pub(super) async fn drain(&self, request: Request<DrainRequest>) -> Result<DrainResponse, Status> {
        let change = Change::asked_by(&request, &request.get_ref().request_id)?;
        let asked = request.into_inner();
        self.must_lead()?;
        let members = self.handle.members();
        let nodes = meant(&members, &asked)?;
        if !asked.undrain && !asked.force {
            let view = self.handle.catalog().view();
            let drained: BTreeSet<u64> = view.directory.fleet().drained().collect();
            must_leave_some(&members, &drained, &nodes)?;
        }
        let mutation = Mutation::Drain { nodes: nodes.clone(), undrain: asked.undrain };
        change.commit(&self.handle, mutation).await?;
        Ok(DrainResponse { nodes })
    }

    pub(super) fn get_placement(&self) -> Result<GetPlacementResponse, Status> {
        Ok(GetPlacementResponse { placement: Some(placement(self.view()?.directory.fleet().placement())) })
    }

    pub(super) async fn set_placement(
        &self,
        request: Request<SetPlacementRequest>,
    ) -> Result<SetPlacementResponse, Status> {
        let change = Change::asked_by(&request, &request.get_ref().request_id)?;
        let SetPlacementRequest { regions, repair_after_ms, expect_version, .. } = request.into_inner();
        let regions = order(&regions)?;
        if let Some(after_ms) = repair_after_ms.filter(|after_ms| !REPAIR_AFTER_MS.contains(after_ms)) {
            return Err(Status::invalid_argument(format!(
                "repair_after_ms is {after_ms}: write {} to {}, or leave it out to replace nobody",
                REPAIR_AFTER_MS.start(),
                REPAIR_AFTER_MS.end()
            )));
        }
        self.must_lead()?;
        let members = self.handle.members();
        for region in &regions {
            must_be_populated(&members, region.as_str())?;
        }
        let mutation = Mutation::SetPlacement { regions, repair_after_ms, expect_version };
        change.commit(&self.handle, mutation).await?;
        let view = self.handle.catalog().view();
        Ok(SetPlacementResponse { placement: Some(placement(view.directory.fleet().placement())) })
    }

    pub(super) fn list_events(&self, asked: &ListEventsRequest) -> Result<ListEventsResponse, Status> {
        let limit = match asked.limit {
            0 => PAGE,
            limit => limit.min(LARGEST_PAGE),
        };
        let view = self.view()?;
        let newest_first = view.directory.fleet().events().rev().take(limit as usize);
        let events = newest_first.map(|(sequence, event)| admin::Event {
            sequence,
            time_ms: event.time_ms,
            actor: event.actor.clone(),
            text: event.text.clone(),
        });
        Ok(ListEventsResponse { events: events.collect() })
    }
}

pub(super) fn placement(placement: &meridian_model::Placement) -> admin::Placement {
    admin::Placement {
        version: placement.version,
        regions: placement.regions.iter().map(Name::to_string).collect(),
        repair_after_ms: placement.repair_after_ms,
    }
}

/// The nodes that a request is about, by id, each once.
fn meant(members: &[ListedMember], asked: &DrainRequest) -> Result<Vec<u64>, Status> {
    match (asked.nodes.as_slice(), asked.region.as_str()) {
        ([], "") => Err(Status::invalid_argument("name nodes or a region")),
        ([], region) => {
            must_be_populated(members, region)?;
            let in_region = members.iter().filter(|listed| listed.member.region == region);
            Ok(in_region.map(|listed| listed.node_id).collect())
        }
        (nodes, "") => {
            for node in nodes {
                if !members.iter().any(|listed| listed.node_id == *node) {
                    let known: Vec<String> =
                        members.iter().map(|listed| listed.node_id.to_string()).collect();
                    let text = format!("node {node} is no member; members are {}", known.join(", "));
                    return Err(status::because(Code::FailedPrecondition, "unknown-node", text));
                }
            }
            Ok(nodes.iter().copied().collect::<BTreeSet<u64>>().into_iter().collect())
        }
        (_, _) => Err(Status::invalid_argument("name nodes or a region, not both")),
    }
}

fn must_be_populated(members: &[ListedMember], region: &str) -> Result<(), Status> {
    let known: BTreeSet<&str> = members.iter().map(|listed| listed.member.region.as_str()).collect();
    if known.contains(region) {
        return Ok(());
    }
    let known: Vec<&str> = known.into_iter().collect();
    let text = format!("no member is in region {region:?}; members are in {}", known.join(", "));
    Err(status::because(Code::FailedPrecondition, "unknown-region", text))
}

fn must_leave_some(members: &[ListedMember], drained: &BTreeSet<u64>, asked: &[u64]) -> Result<(), Status> {
    let serves =
        |listed: &&ListedMember| !drained.contains(&listed.node_id) && !asked.contains(&listed.node_id);
    if members.iter().any(|listed| serves(&listed)) {
        return Ok(());
    }
    Err(status::because(
        Code::FailedPrecondition,
        "none-would-serve",
        "no node would be left to serve: put another one back into service first, or insist with `--force`",
    ))
}

/// Regions in order of preference, none twice.
fn order(regions: &[String]) -> Result<Vec<Name>, Status> {
    let mut order = Vec::with_capacity(regions.len());
    for region in regions {
        let region = lookup::name("region", region)?;
        if order.contains(&region) {
            return Err(Status::invalid_argument(format!("region {region} is named twice")));
        }
        order.push(region);
    }
    Ok(order)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use meridian_replication::Member;

    use super::*;

    fn members() -> Vec<ListedMember> {
        let member = |(node_id, region): (u64, &str)| ListedMember {
            node_id,
            member: Member { region: region.to_owned(), ..Member::default() },
            voter: true,
        };
        [(1, "a"), (2, "b"), (3, "b")].into_iter().map(member).collect()
    }

    #[test]
    fn a_drain_means_members_by_id_or_by_region() {
        let check = |nodes: &[u64], region: &str, expected: Result<&[u64], (Code, &str)>| {
            let asked =
                DrainRequest { nodes: nodes.to_vec(), region: region.to_owned(), ..Default::default() };
            let meant = meant(&members(), &asked);
            match expected {
                Ok(nodes) => assert_eq!(meant.unwrap(), nodes),
                Err((code, says)) => {
                    let refused = meant.unwrap_err();
                    assert_eq!(refused.code(), code);
                    assert!(refused.message().contains(says), "{refused}");
                }
            }
        };
        check(&[2, 1, 2], "", Ok(&[1, 2]));
        check(&[], "b", Ok(&[2, 3]));
        check(&[4], "", Err((Code::FailedPrecondition, "members are 1, 2, 3")));
        check(&[], "c", Err((Code::FailedPrecondition, "members are in a, b")));
        check(&[1], "a", Err((Code::InvalidArgument, "not both")));
        check(&[], "", Err((Code::InvalidArgument, "name nodes or a region")));
    }

    #[test]
    fn somebody_must_go_on_serving() {
        let check = |drained: &[u64], asked: &[u64], allowed: bool| {
            let left = must_leave_some(&members(), &drained.iter().copied().collect(), asked);
            assert_eq!(left.is_ok(), allowed, "{drained:?} {asked:?}");
        };
        check(&[], &[1, 2], true);
        check(&[], &[1, 2, 3], false);
        check(&[1, 2], &[3], false);
        check(&[1, 2], &[1], true);
        check(&[1, 2, 3], &[1], false);
    }

    #[test]
    fn a_region_is_preferred_once() {
        let order = |regions: &[&str]| {
            let regions: Vec<String> = regions.iter().map(|region| (*region).to_owned()).collect();
            super::order(&regions).map(|order| order.len()).map_err(|status| status.code())
        };
        assert_eq!(order(&["b", "a"]), Ok(2));
        assert_eq!(order(&[]), Ok(0));
        assert_eq!(order(&["a", "a"]), Err(Code::InvalidArgument));
        assert_eq!(order(&["A b"]), Err(Code::InvalidArgument));
    }
}
