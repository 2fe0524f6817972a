//! A node's own part in being a member: getting in, saying where it is reached, and finding out that it was removed.
//!
//! A node that no membership names asks its seeds who leads, and the leader to let it in, again and again, until it is
//! told that asking is of no use. A member that is reached elsewhere than the membership says asks in the same way to have
//! that corrected. A member that can prove no freshness for a while asks whether it was removed: the others do not speak
//! to it any more, but they tell it that much. Its vote was never in their way, because they refuse to be asked for one.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use meridian_proto::raft as proto;
use openraft::async_runtime::watch::WatchReceiver as _;
use tokio::time::{Instant, sleep, timeout};

use crate::error::Fatal;
use crate::member::MemberState;
use crate::membership::Member;
use crate::membership::admission::{self, Refusal};
use crate::network::meeting::{Unmet, meet};
use crate::network::peer::member_of;
use crate::network::wire::Wire as _;

/// How often a member looks whether all is well.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// Between two attempts to get in: from the first to the second, doubling to the second one. People wait for it, and a
/// fleet may start at once.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
/// See [`FIRST_PAUSE`].
const LONGEST_PAUSE: Duration = Duration::from_secs(3);

/// A refusal that a member survives is repeated so often, so that it is seen in the log.
const REFUSED_PAUSE: Duration = Duration::from_secs(60);

/// Without proof of freshness for so long, a member asks whether it still is one. Longer than any election.
const SILENCE: Duration = Duration::from_secs(3);

/// Nodes asked at once. Any of them that has heard of it can tell.
const ASKED: usize = 8;

/// For the leader's answer: it calls back, and waits for a majority.
const JOIN_TIMEOUT: Duration = Duration::from_secs(10);

/// How this node stands towards the membership.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// A member, reached where the membership says.
    Member,
    /// No membership names it.
    Outside,
    /// Reached elsewhere, or described otherwise.
    Moved,
    /// A member as far as it knows, but nobody proves it fresh.
    Silent,
    /// It has applied its own removal, at this time.
    Removed(u64),
}

/// What an attempt came to.
#[derive(Debug)]
enum Outcome {
    /// Let in, or still in.
    In,
    /// Not now.
    Later(String),
    /// Not ever.
    Never(Fatal),
}

/// Runs as long as the member does, or until it turns out that this node has no place in the cluster: that rings the
/// alarm.
pub(crate) async fn run(state: Arc<MemberState>) {
    let since = Instant::now();
    let mut pause = FIRST_PAUSE;
    let mut told = String::new();
    loop {
        let standing = standing(&state, since);
        let outcome = match standing {
            Standing::Member => Outcome::In,
            Standing::Removed(at_ms) => Outcome::Never(removed(&state, at_ms)),
            Standing::Outside => get_in(&state).await,
            Standing::Moved if state.leads() => correct_own(&state).await,
            Standing::Moved => get_in(&state).await,
            Standing::Silent => why_silent(&state).await,
        };
        let why = match outcome {
            Outcome::In => match standing {
                Standing::Outside => "it is let in, and waits for its log".to_owned(),
                _ => String::new(),
            },
            Outcome::Later(why) => why,
            // What the leader does not let into the membership is no reason to end a member.
            Outcome::Never(Fatal::NotLetIn(why)) if standing == Standing::Moved => {
                tracing::warn!("the membership does not say where this node is: {why}");
                sleep(jittered(REFUSED_PAUSE)).await;
                continue;
            }
            Outcome::Never(fatal) => return state.alarm.ring(fatal),
        };
        if !why.is_empty() && why != told {
            tracing::info!("waiting to be let in: {why}");
        }
        if standing == Standing::Outside {
            state.set_waiting_for(vec![format!("the cluster to let this node in: {why}")]);
        }
        told = why;
        pause = if standing == Standing::Member { FIRST_PAUSE } else { (pause * 2).min(LONGEST_PAUSE) };
        sleep(if standing == Standing::Member { LOOK_INTERVAL } else { jittered(pause) }).await;
    }
}

/// Between half of it and all of it.
fn jittered(pause: Duration) -> Duration {
    pause.mul_f64(0.5 + fastrand::f64() / 2.0)
}

fn standing(state: &MemberState, since: Instant) -> Standing {
    if let Some(at_ms) = state.retired_at_ms(state.home.node_id) {
        return Standing::Removed(at_ms);
    }
    let known = {
        let metrics = state.raft.metrics();
        let metrics = metrics.borrow_watched();
        metrics.membership_config.membership().get_node(&state.home.node_id).cloned()
    };
    let Some(known) = known else { return Standing::Outside };
    if state.freshness.staleness().unwrap_or(since.elapsed()) > SILENCE {
        return Standing::Silent;
    }
    let own = Member { wants_vote: known.wants_vote, ..own(state) };
    if known == own { Standing::Member } else { Standing::Moved }
}

/// What this node would join as.
pub(crate) fn own(state: &MemberState) -> Member {
    Member { wants_vote: state.join.wants_vote, ..Member::founding(&state.own, state.home.incarnation) }
}

fn removed(state: &MemberState, at_ms: u64) -> Fatal {
    Fatal::Removed { node_id: state.home.node_id, at_ms }
}

async fn correct_own(state: &Arc<MemberState>) -> Outcome {
    match admission::correct_own(state, own(state)).await {
        Ok(()) => Outcome::In,
        Err(Refusal::Later(why)) => Outcome::Later(why),
        Err(Refusal::Final(why)) => Outcome::Never(Fatal::NotLetIn(why)),
    }
}

/// Asks the leader to let this node in, or to write down where it is.
async fn get_in(state: &MemberState) -> Outcome {
    let answers = ask_around(state).await;
    if let Some(fatal) = told_removed(state, &answers).or_else(|| misplaced(&answers)) {
        return Outcome::Never(fatal);
    }
    let leaders: BTreeSet<&str> = answers
        .iter()
        .flatten()
        .map(|answer| answer.leader_peer_address.as_str())
        .filter(|address| !address.is_empty())
        .collect();
    let mut why = nobody_leads(state, &answers);
    for address in leaders {
        match ask_leader(state, address).await {
            Outcome::Later(later) => why = later,
            decided => return decided,
        }
    }
    Outcome::Later(why)
}

async fn ask_leader(state: &MemberState, address: &str) -> Outcome {
    let leader = match meet(&state.peers, address).await {
        Ok(leader) => leader,
        Err(unmet) => return Outcome::Later(format!("the leader does not answer: {unmet}")),
    };
    let mut client = state.peers.stranger(Some(leader.node_id), address);
    let member = (state.home.node_id, own(state)).into_message();
    let token = state.join.token.clone().unwrap_or_default();
    let asked = client.join(proto::JoinRequest { member: Some(member), token });
    let answer = match timeout(JOIN_TIMEOUT, asked).await {
        Ok(Ok(answer)) => answer.into_inner(),
        Ok(Err(status)) => return Outcome::Later(format!("{address}: {}", status.message())),
        Err(_) => return Outcome::Later(format!("{address}: no answer within {JOIN_TIMEOUT:?}")),
    };
    match answer.refused {
        refused if refused.is_empty() => Outcome::In,
        refused if answer.try_again => Outcome::Later(refused),
        refused => Outcome::Never(Fatal::NotLetIn(refused)),
    }
}

/// Asks others whether this node was removed; and the leader to let it in again, where that one does not know it: it was
/// let in by a leader that was lost before a majority heard of it. Or to correct where it is, where the leader looks for
/// it elsewhere: then it is silent for that reason.
async fn why_silent(state: &MemberState) -> Outcome {
    let answers = ask_around(state).await;
    if let Some(fatal) = told_removed(state, &answers) {
        return Outcome::Never(fatal);
    }
    let mine = state.home.node_id;
    let leads = |answer: &&proto::IdentifyResponse| {
        let own = member_of(answer, answer.node_id);
        own.is_some_and(|own| own.peer_address == answer.leader_peer_address)
    };
    let mut known = answers.iter().flatten().filter(leads).map(|leader| member_of(leader, mine));
    if known.clone().any(|known| known.is_none()) {
        return get_in(state).await;
    }
    if known.any(|known| known.is_some_and(|known| known.peer_address != state.own.peer_address)) {
        return match get_in(state).await {
            Outcome::Never(Fatal::NotLetIn(why)) => Outcome::Later(why),
            outcome => outcome,
        };
    }
    Outcome::Later("this node has not heard from a leader".to_owned())
}

type Answers = Vec<Result<proto::IdentifyResponse, Unmet>>;

/// Asks some of the seeds and known members who they are, who leads, and what became of this node.
async fn ask_around(state: &MemberState) -> Answers {
    let mut addresses: BTreeSet<String> = state.join.seeds.iter().cloned().collect();
    {
        let metrics = state.raft.metrics();
        let metrics = metrics.borrow_watched();
        let members = metrics.membership_config.membership().nodes();
        addresses.extend(members.map(|(_, member)| member.peer_address.clone()));
    }
    addresses.remove(&state.own.peer_address);
    let mut addresses: Vec<String> = addresses.into_iter().collect();
    fastrand::shuffle(&mut addresses);
    addresses.truncate(ASKED);
    join_all(addresses.iter().map(|address| meet(&state.peers, address))).await
}

fn told_removed(state: &MemberState, answers: &Answers) -> Option<Fatal> {
    let removed_at = answers.iter().flatten().map(|answer| answer.caller_removed_at_ms);
    removed_at.filter(|at_ms| *at_ms > 0).min().map(|at_ms| removed(state, at_ms))
}

/// Everybody says that this node is in the wrong place: another cluster, by its id.
fn misplaced(answers: &Answers) -> Option<Fatal> {
    let why = answers.iter().map(|answer| match answer {
        Err(unmet @ Unmet::Refused { .. }) => Some(unmet.to_string()),
        _ => None,
    });
    let why: Vec<String> = why.collect::<Option<_>>()?;
    (!why.is_empty()).then(|| Fatal::NotLetIn(why.join("; ")))
}

fn nobody_leads(state: &MemberState, answers: &Answers) -> String {
    if answers.is_empty() {
        return format!(
            "no `join.seeds` to ask: set them, or let it in with `meridian member add {}`",
            state.own.peer_address
        );
    }
    let silent: Vec<String> =
        answers.iter().filter_map(|answer| Some(answer.as_ref().err()?.to_string())).collect();
    match answers.len() - silent.len() {
        0 => format!("no seed answers: {}", silent.join("; ")),
        _ => "no seed knows a leader".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused() -> Result<proto::IdentifyResponse, Unmet> {
        Err(Unmet::Refused { address: "a:1".to_owned(), why: "belongs to cluster \"b\"".to_owned() })
    }

    fn silent() -> Result<proto::IdentifyResponse, Unmet> {
        Err(Unmet::Silent { address: "a:2".to_owned(), why: "refused".to_owned() })
    }

    #[test]
    fn a_node_is_misplaced_only_if_everybody_says_so() {
        let check = |answers: Answers, expected: bool| {
            assert_eq!(misplaced(&answers).is_some(), expected, "{answers:?}")
        };
        check(vec![], false);
        check(vec![refused()], true);
        check(vec![refused(), refused()], true);
        check(vec![refused(), silent()], false);
        check(vec![refused(), Ok(proto::IdentifyResponse::default())], false);
    }

    #[test]
    fn pauses_are_spread_over_their_second_half() {
        for _ in 0..100 {
            let pause = jittered(LONGEST_PAUSE);
            assert!((LONGEST_PAUSE / 2..=LONGEST_PAUSE).contains(&pause), "{pause:?}");
        }
    }
}
