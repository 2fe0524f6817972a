//! Members, leaders, placement, service; asking and waiting.

use std::time::Duration;

use meridian_client::proto::admin::change_members_request::Change;
use meridian_client::proto::admin::{
    self, AddMember, ChangeMembersRequest, DrainRequest, NodeSet, ReplaceMember, SetPlacementRequest,
};
use meridian_client::{Client, Error};
use tokio::time::{Instant, sleep};

use super::{End, text_of};
use crate::args::{
    Caution, LeaderCommand, MemberCommand, Named, Outcome, PlacementCommand, ServiceChange, SetPlacement,
    Status,
};
use crate::exit;
use crate::output::Output;
use crate::problem::Problem;
use crate::view::{self, ChangedMembers, Goal, InService, Journal, Leader, Members, Placement};

/// Between two looks at a cluster that is changing. A look asks every node for its status.
const PAUSE: Duration = Duration::from_millis(300);

pub(super) async fn status(client: &Client, status: Status, output: Output) -> Result<(), End> {
    let Status { check, wait, timeout } = status;
    let deadline = Instant::now() + timeout;
    let (seen, is_well) = loop {
        let seen = client.cluster_status().await.map(view::Status::from);
        let is_well = seen.as_ref().is_ok_and(view::Status::is_well);
        if wait.is_none() || is_well || !may_pass(&seen) || Instant::now() + PAUSE >= deadline {
            break (seen, is_well);
        }
        sleep(PAUSE).await;
    };
    output.show(&seen.map_err(not_even_status)?)?;
    match (is_well, wait.is_some(), check) {
        (true, _, _) | (false, false, false) => Ok(()),
        (false, true, _) => Err(End::Told(exit::NOT_IN_TIME)),
        (false, false, true) => Err(End::Told(exit::UNHEALTHY)),
    }
}

/// Whether the next look may see something else: a node that is starting says no in several ways, a wrong token stays
/// wrong.
fn may_pass<T>(seen: &Result<T, Error>) -> bool {
    seen.as_ref().err().is_none_or(Error::is_retryable)
}

fn not_even_status(error: Error) -> Problem {
    match error {
        Error::Unavailable { .. } => Problem::from(error).hint(
            "none of these endpoints answers as a node; each node's own log says how it is, and `curl ADMIN/readyz` asks \
             one that runs. If others are left, name them with --endpoints or MERIDIAN_ENDPOINTS",
        ),
        error => error.into(),
    }
}

pub(super) async fn member(client: &Client, command: MemberCommand, output: Output) -> Result<(), End> {
    let (change, done, can, Caution { force, dry_run }) = match command {
        MemberCommand::List => {
            output.show(&Members::from(client.cluster_status().await?.nodes))?;
            return Ok(());
        }
        MemberCommand::Add { peer_address, caution } => (
            Change::Add(AddMember { peer_address: peer_address.clone() }),
            format!("the node at {peer_address} is a learner now"),
            format!("the node at {peer_address} can be let in"),
            caution,
        ),
        MemberCommand::Promote(Named { nodes, caution }) => (
            Change::Promote(NodeSet { nodes: nodes.clone() }),
            format!("promoted {}", named(&nodes)),
            format!("{} can be promoted", named(&nodes)),
            caution,
        ),
        MemberCommand::Demote(Named { nodes, caution }) => (
            Change::Demote(NodeSet { nodes: nodes.clone() }),
            format!("demoted {}", named(&nodes)),
            format!("{} can be demoted", named(&nodes)),
            caution,
        ),
        MemberCommand::Remove(Named { nodes, caution }) => (
            Change::Remove(NodeSet { nodes: nodes.clone() }),
            format!("removed {}", named(&nodes)),
            format!("{} can be removed", named(&nodes)),
            caution,
        ),
        MemberCommand::Replace { old, new, caution } => (
            Change::Replace(ReplaceMember { old, new }),
            format!("node {new} votes in the place of node {old}, which has left"),
            format!("node {new} can take the place of node {old}"),
            caution,
        ),
    };
    let message = ChangeMembersRequest { change: Some(change), force, validate_only: dry_run };
    let answer = client.change_members(message).await?;
    output.show(&ChangedMembers::new(if dry_run { can } else { done }, dry_run, answer))?;
    Ok(())
}

pub(super) async fn leader(client: &Client, command: LeaderCommand, output: Output) -> Result<(), End> {
    if let LeaderCommand::Transfer { to } = command {
        let leader = client.transfer_leader(to.unwrap_or_default()).await?;
        output.note(&format!("node {leader} leads now"));
    }
    let nodes = client.cluster_status().await?.nodes;
    // One that was cut off may still say that it leads: the higher term is the one that holds.
    match nodes.into_iter().filter(|node| node.is_leader).max_by_key(|node| node.term) {
        Some(leader) => output.show(&Leader::from(leader))?,
        None => return Err(Problem::nobody_leads().into()),
    }
    Ok(())
}

pub(super) async fn placement(client: &Client, command: PlacementCommand, output: Output) -> Result<(), End> {
    let placement = match command {
        PlacementCommand::Show => client.placement().await?,
        PlacementCommand::Set(set) => set_placement(client, set).await?,
    };
    output.show(&Placement::from(placement))?;
    Ok(())
}

/// What is not named is taken from the placement in force, and the change is refused if that is no longer the one that
/// was read.
async fn set_placement(client: &Client, set: SetPlacement) -> Result<admin::Placement, Problem> {
    let SetPlacement { regions, anywhere, repair_after, no_repair, expect_version } = set;
    let current = client.placement().await?;
    let regions = match (regions.is_empty(), anywhere) {
        (false, _) => regions.iter().map(ToString::to_string).collect(),
        (true, true) => Vec::new(),
        (true, false) => current.regions,
    };
    let repair_after_ms = match (repair_after, no_repair) {
        // Parsed to be at most a day.
        (Some(after), _) => Some(after.as_millis() as u64),
        (None, true) => None,
        (None, false) => current.repair_after_ms,
    };
    let message = SetPlacementRequest {
        regions,
        repair_after_ms,
        expect_version: Some(expect_version.unwrap_or(current.version)),
        request_id: String::new(),
    };
    client.set_placement(message).await.map_err(|error| match &error {
        Error::Unknown { request_id, .. } => {
            let hint = format!(
                "it may have been set: `meridian placement show` tells what is in force, `meridian outcome {request_id}` \
                 what became of this request"
            );
            Problem::from(error).hint(hint)
        }
        _ => error.into(),
    })
}

/// Asks for it, and waits until each node meant has come so far.
pub(super) async fn service(
    client: &Client,
    change: ServiceChange,
    goal: Goal,
    force: bool,
    output: Output,
) -> Result<(), End> {
    let ServiceChange { nodes, region, timeout, no_wait, repeat } = change;
    let message = DrainRequest {
        nodes,
        region: region.map(|region| region.to_string()).unwrap_or_default(),
        undrain: goal == Goal::Serving,
        force,
        request_id: text_of(repeat.request_id),
    };
    let meant = client.drain(message).await?.nodes;
    if !no_wait {
        wait_for(client, goal, &meant, Instant::now() + timeout, output).await?;
    }
    output.show(&InService::new(goal, meant, !no_wait))?;
    Ok(())
}

/// Tells on the way what is missing, whenever that changes.
async fn wait_for(
    client: &Client,
    goal: Goal,
    meant: &[u64],
    deadline: Instant,
    output: Output,
) -> Result<(), Problem> {
    let mut told = Vec::new();
    loop {
        let seen = client.cluster_status().await;
        let missing = match seen {
            Ok(status) => goal.missing(meant, &status.nodes),
            Err(error) if error.is_retryable() => vec![error.to_string()],
            Err(error) => return Err(error.into()),
        };
        if missing.is_empty() {
            return Ok(());
        }
        for line in missing.iter().filter(|line| !told.contains(*line)) {
            output.note(line);
        }
        if Instant::now() + PAUSE >= deadline {
            return Err(Problem::not_in_time(goal, &missing));
        }
        told = missing;
        sleep(PAUSE).await;
    }
}

pub(super) async fn outcome(client: &Client, outcome: Outcome, output: Output) -> Result<(), End> {
    let Outcome { request_id, settle } = outcome;
    let answer = client.outcome(&request_id.to_string(), settle).await?;
    let outcome = view::Outcome::new(request_id, answer);
    output.show(&outcome)?;
    match outcome.exit_code() {
        exit::OK => Ok(()),
        code => Err(End::Told(code)),
    }
}

pub(super) async fn journal(client: &Client, limit: u32, output: Output) -> Result<(), End> {
    output.show(&Journal::from(client.events(limit).await?))?;
    Ok(())
}

fn named(nodes: &[u64]) -> String {
    let ids: Vec<_> = nodes.iter().map(ToString::to_string).collect();
    format!("node{} {}", if ids.len() == 1 { "" } else { "s" }, ids.join(", "))
}
