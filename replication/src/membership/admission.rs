//! Who is let in: the leader's side of joining.
//!
//! Whoever asks is untrusted until shown otherwise: what it says of itself is bounded and parsed, its token is compared
//! by hash in constant time, and its address is called before it is written down, so that no membership ever names an
//! address at which somebody else answers.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use meridian_model::{Fleet, Name};
use meridian_proto::raft as proto;
use openraft::ChangeMembers;
use openraft::async_runtime::watch::WatchReceiver as _;
use sha2::{Digest as _, Sha256};
use tokio::time::Instant;

use super::Member;
use super::change::{ChangeError, ListedMember, MembersChanged};
use super::execute::{self, CLUSTER, Step, Turn};
use super::roster::Roster;
use crate::leadership;
use crate::member::MemberState;
use crate::network::meeting::{Unmet, meet};
use crate::network::passport::Caller;
use crate::network::wire::Wire as _;
use crate::state_rows::encode_membership;
use crate::storage::store::MAX_MEMBERSHIP_BYTES;
use crate::types::{Membership, StoredMembership};

/// For writing a newcomer down. It asks again.
const JOIN_TIMEOUT: Duration = Duration::from_secs(5);

/// A leader that no majority answered for so long decides nothing about strangers. Heartbeats come many times in it.
const QUORUM_WITHIN: Duration = Duration::from_secs(2);

/// Longest address: a DNS name of 253 bytes, and a port.
const ADDRESS_BYTES: usize = 260;

/// What must stay free of [`MAX_MEMBERSHIP_BYTES`], so that voters can still be changed: that takes a second set.
const RESERVED_BYTES: usize = 4 << 10;

/// Why somebody is not let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Asking again does not help.
    Final(String),
    /// It may.
    Later(String),
}

/// What is to be done about somebody.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Verdict {
    /// Unknown so far, and nothing speaks against it.
    New,
    /// Known, and reached elsewhere now.
    Moved(Member),
    /// In already, as it says.
    In,
}

/// Answers a node that wants in, or that has moved.
pub(crate) async fn join(
    state: &Arc<MemberState>,
    caller: Caller,
    request: proto::JoinRequest,
) -> proto::JoinResponse {
    let leads = state.leads();
    let answer = match leads {
        true => admit(state, caller, request).await,
        false => Err(Refusal::Later(format!("node {} does not lead", state.home.node_id))),
    };
    let (refused, try_again) = match answer {
        Ok(()) => (String::new(), false),
        Err(Refusal::Later(why)) => (why, true),
        Err(Refusal::Final(why)) => (why, false),
    };
    proto::JoinResponse { refused, try_again, leader_peer_address: state.leader_peer_address() }
}

async fn admit(state: &Arc<MemberState>, caller: Caller, request: proto::JoinRequest) -> Result<(), Refusal> {
    if !majority_answers(state) {
        return Err(Refusal::Later(format!("no majority answers node {}, which leads", state.home.node_id)));
    }
    let (node_id, member) = candidate(request.member.unwrap_or_default())?;
    if (node_id, member.incarnation) != (caller.node_id, caller.incarnation) {
        return Err(Refusal::Final("a node may only ask for itself".to_owned()));
    }
    match judge(&Roster::of(state), state.catalog.view().directory.fleet(), node_id, &member)? {
        Verdict::In => return Ok(()),
        Verdict::New => check_token(&request.token, &state.join.token_sha256, &member)?,
        // It was let in before, and has the same disk.
        Verdict::Moved(_) => {}
    }
    let _guest =
        state.guests.try_acquire().map_err(|_| Refusal::Later("others are being let in".to_owned()))?;
    answers_there(state, node_id, &member).await?;
    let deadline = Instant::now() + JOIN_TIMEOUT;
    let turn = execute::begin(state, deadline).await.map_err(later)?;
    let written = enter(state, turn, node_id, member, CLUSTER.to_owned(), deadline).await?;
    written.map_err(later)
}

/// A leader that was cut off may know of things that are no longer so. What it refuses, nobody asks again.
fn majority_answers(state: &MemberState) -> bool {
    let metrics = state.raft.metrics();
    let metrics = metrics.borrow_watched();
    leadership::quorum_age(&metrics).is_some_and(|age| age < QUORUM_WITHIN)
}

/// Adds the node at an address, for an operator.
pub(super) async fn add(
    state: &Arc<MemberState>,
    address: &str,
    validate_only: bool,
    actor: String,
    deadline: Instant,
) -> Result<MembersChanged, ChangeError> {
    if !state.leads() {
        return Err(execute::not_leader(state));
    }
    let refused = |why: Refusal| match why {
        Refusal::Final(why) | Refusal::Later(why) => ChangeError::Refused(vec![why]),
    };
    let (node_id, member) = whoever_is_at(state, address).await.map_err(refused)?;
    let turn = execute::begin(state, deadline).await?;
    let verdict =
        judge(&turn.roster, state.catalog.view().directory.fleet(), node_id, &member).map_err(refused)?;
    if validate_only {
        let mut members = turn.roster.listed();
        if verdict == Verdict::New {
            members.push(ListedMember { node_id, member, voter: false });
            members.sort_by_key(|listed| listed.node_id);
        }
        return Ok(MembersChanged { members, overridden: Vec::new() });
    }
    enter(state, turn, node_id, member, actor, deadline).await.map_err(refused)??;
    Ok(MembersChanged { members: Roster::of(state).listed(), overridden: Vec::new() })
}

/// Writes down where this node is, which leads.
pub(crate) async fn correct_own(state: &Arc<MemberState>, own: Member) -> Result<(), Refusal> {
    let deadline = Instant::now() + JOIN_TIMEOUT;
    let (node_id, own) = candidate((state.home.node_id, own).into_message())?;
    answers_there(state, node_id, &own).await?;
    let turn = execute::begin(state, deadline).await.map_err(later)?;
    enter(state, turn, node_id, own, CLUSTER.to_owned(), deadline).await?.map_err(later)
}

fn later(error: ChangeError) -> Refusal {
    Refusal::Later(error.to_string())
}

/// Writes a node down that was found to be who it says, unless the others changed meanwhile so that it may not.
async fn enter(
    state: &Arc<MemberState>,
    turn: Turn,
    node_id: u64,
    member: Member,
    actor: String,
    deadline: Instant,
) -> Result<Result<(), ChangeError>, Refusal> {
    let verdict = judge(&turn.roster, state.catalog.view().directory.fleet(), node_id, &member)?;
    let (change, note) = match verdict {
        Verdict::In => return Ok(Ok(())),
        Verdict::New => {
            let note = format!("members: node {node_id} joined, {member}");
            (ChangeMembers::AddNodes([(node_id, member)].into()), note)
        }
        Verdict::Moved(member) => {
            let note = format!("members: node {node_id} is reached at {} now", member.peer_address);
            (ChangeMembers::SetNodes([(node_id, member)].into()), note)
        }
    };
    let step = Step { changes: vec![change], retain: true, actor, note };
    Ok(execute::write(state, turn, step, deadline).await.map(drop))
}

/// Whether somebody may be in, going by who is and who was.
fn judge(roster: &Roster, fleet: &Fleet, node_id: u64, member: &Member) -> Result<Verdict, Refusal> {
    if fleet.retired_at_ms(node_id).is_some() {
        return Err(Refusal::Final(format!(
            "node {node_id} was removed from the cluster, and its id is not used again: start with a new node id and an \
             empty data directory"
        )));
    }
    let same_address = |(other, seen): &(&u64, &super::roster::Seen)| {
        **other != node_id && seen.member.peer_address == member.peer_address
    };
    if let Some((other, _)) = roster.members.iter().find(same_address) {
        return Err(Refusal::Final(format!(
            "the peer address {} is node {other}'s: check `advertise` and `node_id`",
            member.peer_address
        )));
    }
    if let Some(seen) = roster.members.get(&node_id) {
        let known = &seen.member;
        if known.incarnation != member.incarnation {
            return Err(Refusal::Final(format!(
                "node id {node_id} belongs to another data directory, at {}: choose another id; if this node is that \
                 one and lost its disk, remove {node_id} first and use a new id",
                known.peer_address
            )));
        }
        if known.region != member.region {
            return Err(Refusal::Final(format!(
                "node {node_id} stands in region {} and not in {}: a node that moves to another region is another node; \
                 remove {node_id} and join with a new id",
                known.region, member.region
            )));
        }
        // Whether it wants a vote is asked once, when it joins: after that it is the operators' to say.
        let now = Member { wants_vote: known.wants_vote, ..member.clone() };
        return Ok(if now == *known { Verdict::In } else { Verdict::Moved(now) });
    }
    let regions = &fleet.placement().regions;
    if !regions.is_empty() && !regions.iter().any(|region| region.as_str() == member.region) {
        let known: Vec<&str> = regions.iter().map(Name::as_str).collect();
        return Err(Refusal::Final(format!(
            "region {} is not in the placement, which has {}: add it there, or correct `region`",
            member.region,
            known.join(", ")
        )));
    }
    let bytes = membership_bytes(roster, node_id, member);
    if bytes + RESERVED_BYTES > MAX_MEMBERSHIP_BYTES {
        let members = roster.members.len();
        return Err(Refusal::Final(format!("the cluster is full with {members} members: remove one first")));
    }
    Ok(Verdict::New)
}

fn membership_bytes(roster: &Roster, node_id: u64, member: &Member) -> usize {
    let members = roster.members.iter().map(|(node_id, seen)| (*node_id, seen.member.clone()));
    let members = members.chain([(node_id, member.clone())]);
    let voters: BTreeSet<u64> = roster.voters();
    let membership = Membership::new(vec![voters], members.collect::<std::collections::BTreeMap<_, _>>());
    membership.map_or(usize::MAX, |membership| {
        encode_membership(&StoredMembership::new(roster.log_id, membership)).len()
    })
}

/// Bounds and parses what a node says of itself.
fn candidate(message: proto::Member) -> Result<(u64, Member), Refusal> {
    let wrong = |what: &str, why: String| Refusal::Final(format!("{what} of the node that wants in: {why}"));
    for (what, name) in [("region", &message.region), ("zone", &message.zone)] {
        name.parse::<Name>().map_err(|error| wrong(what, error.to_string()))?;
    }
    for (what, address) in [("peer address", &message.peer_address), ("gRPC address", &message.grpc_address)]
    {
        check_address(address).map_err(|why| wrong(what, why))?;
    }
    let (node_id, member) =
        <(u64, Member)>::from_message(message).map_err(|error| wrong("entry", error.to_string()))?;
    if node_id == 0 {
        return Err(wrong("id", "0 is none".to_owned()));
    }
    Ok((node_id, member))
}

/// `host:port`, as it goes into a membership and into URLs.
fn check_address(address: &str) -> Result<(), String> {
    if address.len() > ADDRESS_BYTES {
        return Err(format!("it has {} bytes, the limit is {ADDRESS_BYTES}", address.len()));
    }
    let parts = address.rsplit_once(':');
    let port = parts.and_then(|(_, port)| port.parse::<u16>().ok()).filter(|port| *port > 0);
    let host = parts.map_or("", |(host, _)| host);
    let letter = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'.' | b'-' | b'_' | b':' | b'[' | b']');
    if port.is_none() || host.is_empty() || !host.bytes().all(letter) {
        return Err(format!("{address:?} is not host:port"));
    }
    Ok(())
}

fn check_token(token: &str, known: &[[u8; 32]], member: &Member) -> Result<(), Refusal> {
    if token.is_empty() {
        let address = &member.peer_address;
        return Err(Refusal::Later(format!(
            "it has no join token: an operator lets it in with `meridian member add {address}`"
        )));
    }
    if known.is_empty() {
        return Err(Refusal::Later(
            "the leader knows no join tokens: set `join.token_sha256` there".to_owned(),
        ));
    }
    if !among(token, known) {
        return Err(Refusal::Final(
            "the join token is wrong: the members know others, by `join.token_sha256`".to_owned(),
        ));
    }
    Ok(())
}

/// Looks at every byte of every hash, however early one differs.
fn among(token: &str, known: &[[u8; 32]]) -> bool {
    let hash: [u8; 32] = Sha256::digest(token.as_bytes()).into();
    let differs = |one: &[u8; 32]| one.iter().zip(&hash).fold(0, |differs, (a, b)| differs | (a ^ b));
    known.iter().fold(false, |found, one| found | (std::hint::black_box(differs(one)) == 0))
}

/// Whether the node at its address is the one that wants in.
async fn answers_there(state: &MemberState, node_id: u64, member: &Member) -> Result<(), Refusal> {
    let answer = meet(&state.peers, &member.peer_address).await.map_err(|unmet| unreached(state, &unmet))?;
    if (answer.node_id, answer.incarnation.as_ref()) != (node_id, member.incarnation.as_slice()) {
        return Err(Refusal::Final(format!(
            "another node answers at {}, node {}: check `advertise.peer`",
            member.peer_address, answer.node_id
        )));
    }
    related(state, &answer)
}

async fn whoever_is_at(state: &MemberState, address: &str) -> Result<(u64, Member), Refusal> {
    check_address(address).map_err(Refusal::Final)?;
    let answer = meet(&state.peers, address).await.map_err(|unmet| unreached(state, &unmet))?;
    related(state, &answer)?;
    let (node_id, member) = candidate(answer.self_.unwrap_or_default())?;
    if member.peer_address != address {
        answers_there(state, node_id, &member).await?;
    }
    Ok((node_id, member))
}

fn unreached(state: &MemberState, unmet: &Unmet) -> Refusal {
    Refusal::Later(format!("node {}, which leads, does not reach it at {unmet}", state.home.node_id))
}

/// A node that has a membership already must have it from this cluster: a log of another founding would be taken for
/// this one's. One that was let in by a leader that was lost before a majority knew of it has.
fn related(state: &MemberState, answer: &proto::IdentifyResponse) -> Result<(), Refusal> {
    let roster = Roster::of(state);
    let known = roster.members.get(&answer.node_id);
    if known.is_some_and(|seen| seen.member.incarnation == answer.incarnation.as_ref()) {
        return Ok(());
    }
    let shared = |member: &proto::Member| {
        let known = roster.members.get(&member.id);
        known.is_some_and(|seen| {
            member.id != answer.node_id && seen.member.incarnation == member.incarnation.as_ref()
        })
    };
    if answer.initialized && !answer.members.iter().any(shared) {
        return Err(Refusal::Final(format!(
            "node {} has data of another founding of this cluster: move its data directory away",
            answer.node_id
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
