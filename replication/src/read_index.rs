//! How far the log is committed, as only its leader can say: both ends of the question.
//!
//! The answer is an index. Whoever has applied it has applied everything that was committed before the question was
//! asked. The leader gives it after it has made sure that nobody leads in its place; [`Certainty`] says how.
//!
//! The index may be that of the leader's first entry, which is not committed yet, and may end up in another one's log
//! with other content. That does no harm: everything that was committed before the question lies below it or at it, in
//! whichever log wins.

use std::time::Duration;

use meridian_proto::raft as proto;
use openraft::async_runtime::watch::WatchReceiver as _;
use openraft::errors::{LinearizableReadError, RaftError};
use openraft::{LinearizerOption, ReadPolicy};
use tokio::time::timeout;

use crate::member::MemberState;

/// How long a leader waits for a majority before it says that it cannot tell. More than a heartbeat interval.
const MAJORITY_TIMEOUT: Duration = Duration::from_secs(1);

/// How the leader makes sure that it leads still.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Certainty {
    /// A majority answered within the last election timeout, and elects nobody else for as long: costs nothing, and
    /// trusts that no clock runs much faster than another.
    Lease,
    /// A majority answers now: a round trip, and trusts no clock.
    Majority,
}

/// Why there is no index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Unanswered {
    /// This node knows of no leader.
    NoLeader,
    /// It gave no answer, or not this one; asking again may help.
    Refused,
    /// Raft has stopped here.
    Stopping,
}

/// Asks whoever leads as far as this node knows, itself included. Waits for `patience` at most.
pub(crate) async fn ask(
    state: &MemberState,
    certainty: Certainty,
    patience: Duration,
) -> Result<u64, Unanswered> {
    let (leader, member) = {
        let metrics = state.raft.metrics();
        let metrics = metrics.borrow_watched();
        let leader = metrics.current_leader.ok_or(Unanswered::NoLeader)?;
        let member = metrics.membership_config.membership().get_node(&leader).cloned();
        (leader, member.ok_or(Unanswered::NoLeader)?)
    };
    if leader == state.home.node_id {
        return timeout(patience, answer(state, certainty)).await.unwrap_or(Err(Unanswered::Refused));
    }
    let mut client = state.peers.control(leader, &member);
    let question = proto::ReadIndexRequest { confirm: certainty == Certainty::Majority };
    match timeout(patience, client.read_index(question)).await {
        Ok(Ok(answer)) => match answer.into_inner() {
            proto::ReadIndexResponse { index, refused } if refused.is_empty() => Ok(index),
            refusal => {
                tracing::debug!(leader, why = refusal.refused, "the leader did not confirm");
                Err(Unanswered::Refused)
            }
        },
        Ok(Err(status)) => {
            tracing::debug!(leader, error = status.message(), "the leader was not reached");
            Err(Unanswered::Refused)
        }
        Err(_) => Err(Unanswered::Refused),
    }
}

/// This node's answer as a leader.
pub(crate) async fn answer(state: &MemberState, certainty: Certainty) -> Result<u64, Unanswered> {
    if state.is_stopping() {
        return Err(Unanswered::Stopping);
    }
    let option = match certainty {
        Certainty::Lease => LinearizerOption::new(None, true),
        Certainty::Majority => ReadPolicy::ReadIndex.into(),
    };
    match state.raft.get_read_linearizer(option.with_wait_timeout(MAJORITY_TIMEOUT)).await {
        Ok(linearizer) => Ok(linearizer.read_log_id().index()),
        Err(RaftError::APIError(
            LinearizableReadError::ForwardToLeader(_) | LinearizableReadError::QuorumNotEnough(_),
        )) => Err(Unanswered::Refused),
        Err(RaftError::Fatal(_)) => Err(Unanswered::Stopping),
    }
}

/// The same for another node that asks.
pub(crate) async fn serve(
    state: &MemberState,
    question: proto::ReadIndexRequest,
) -> proto::ReadIndexResponse {
    let certainty = if question.confirm { Certainty::Majority } else { Certainty::Lease };
    match answer(state, certainty).await {
        Ok(index) => proto::ReadIndexResponse { index, refused: String::new() },
        Err(_) => proto::ReadIndexResponse {
            index: 0,
            refused: format!("node {} does not lead, or no majority answers it", state.home.node_id),
        },
    }
}
