//! Keeps connections open between all voters, so that nobody has to dial when a leader is to be elected.
//!
//! Followers have nothing to say to each other until one of them asks for a vote; and whoever wins then sends its first
//! entry. Dialling costs a round trip at each of the two, just when nobody can write. So every voter asks every other
//! one who it is, on both connections that an election needs, again and again: that dials, and dials again when a
//! connection was lost.
//!
//! Says nothing of who lives: that is openraft's to find out. Learners neither vote nor are kept warm.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use meridian_proto::raft as proto;
use openraft::async_runtime::watch::WatchReceiver as _;
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::member::MemberState;
use crate::membership::Member;

/// How long a lost connection may go unnoticed, and so how soon after a restart a node is a warm peer again. Two small
/// calls to each other voter in that time.
const INTERVAL: Duration = Duration::from_millis(500);

/// Runs as long as the member does. Also goes with members to where they are reached now, and lets go of those that left.
pub(crate) async fn keep_warm(state: Arc<MemberState>) {
    let mut interval = interval(INTERVAL);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        interval.tick().await;
        let voters = other_voters(&state);
        let calls = voters.iter().flat_map(|(node_id, member)| {
            [state.peers.control(*node_id, member), state.peers.append(*node_id, member)]
        });
        let calls = calls.map(|mut client| async move {
            // Whatever the answer is, there is a connection now, or there can be none.
            let _ = timeout(INTERVAL, client.identify(proto::IdentifyRequest {})).await;
        });
        join_all(calls).await;
    }
}

/// The voters beside this node; none if it is no voter itself.
fn other_voters(state: &MemberState) -> Vec<(u64, Member)> {
    let metrics = state.raft.metrics();
    let metrics = metrics.borrow_watched();
    let membership = metrics.membership_config.membership();
    state.peers.follow(|node_id| membership.get_node(&node_id));
    let mine = state.home.node_id;
    let voters: Vec<u64> = membership.voter_ids().collect();
    if !voters.contains(&mine) {
        return Vec::new();
    }
    let others = voters.into_iter().filter(|node_id| *node_id != mine);
    others.filter_map(|node_id| Some((node_id, membership.get_node(&node_id)?.clone()))).collect()
}
