//! What a member does on its own: the clock tick, snapshots and purging by bytes, and watching that Raft lives.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use meridian_model::{Command, Mutation, wire};
use openraft::async_runtime::watch::WatchReceiver as _;
use openraft::errors::Fatal as RaftFatal;
use tokio::time::{MissedTickBehavior, interval};

use crate::error::Fatal;
use crate::member::{MemberState, now_ms};
use crate::types::EncodedCommand;

/// How often the leader commits its clock. What readers may call fresh is older by up to this.
const TICK_INTERVAL: Duration = Duration::from_secs(1);

const UPKEEP_INTERVAL: Duration = Duration::from_secs(1);

/// How long a stopped Raft may go unnoticed. It answers nothing meanwhile.
const RAFT_WATCH_INTERVAL: Duration = Duration::from_millis(100);

/// Log written since the last snapshot before there is a new one: what a restart replays, at about 300 MB/s.
const SNAPSHOT_AFTER_BYTES: u64 = 64 << 20;

/// The same by number, because ticks are small but not free to replay.
const SNAPSHOT_AFTER_ENTRIES: u64 = 100_000;

/// While a snapshot is being sent, the log may grow to this before there is another one. That takes the receiver along:
/// it could not go on where the transfer broke off, nor from where it ends.
const SNAPSHOT_AFTER_BYTES_SENDING: u64 = 1 << 30;

/// Log kept behind the newest snapshot, so that a node that was away briefly needs no snapshot.
const KEPT_BEHIND_SNAPSHOT_BYTES: u64 = 64 << 20;

/// Purged at once at least: each purge costs a sync, and space comes back by whole chunks only.
const PURGE_STEP_BYTES: u64 = 16 << 20;

/// Commits the leader's clock. A tick that does not commit is not repeated: the next one says more.
pub(crate) async fn tick(state: Arc<MemberState>) {
    let mut interval = interval(TICK_INTERVAL);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        interval.tick().await;
        if !state.leads() {
            continue;
        }
        let command =
            Command { request_id: None, actor: String::new(), time_ms: now_ms(), mutation: Mutation::Tick };
        let written = state.raft.client_write(EncodedCommand(wire::encode_command(&command)));
        match tokio::time::timeout(TICK_INTERVAL, written).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => tracing::debug!(%error, "tick not committed"),
            Err(_) => tracing::debug!("tick not committed in time"),
        }
    }
}

/// Keeps the log within its bounds.
pub(crate) async fn bound_the_log(state: Arc<MemberState>) {
    let mut interval = interval(UPKEEP_INTERVAL);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        interval.tick().await;
        let (applied, snapshot) = {
            let metrics = state.raft.metrics();
            let metrics = metrics.borrow_watched();
            (metrics.last_applied.map_or(0, |id| id.index), metrics.snapshot.map_or(0, |id| id.index))
        };
        let grown_bytes = state.log.bytes_since(snapshot);
        let grown_entries = applied.saturating_sub(snapshot);
        let sending = state.peers.sending.index().filter(|_| grown_bytes < SNAPSHOT_AFTER_BYTES_SENDING);
        if (grown_bytes > SNAPSHOT_AFTER_BYTES || grown_entries > SNAPSHOT_AFTER_ENTRIES)
            && applied > snapshot
            && sending.is_none()
        {
            // openraft ignores the request while one is being built.
            if let Err(error) = state.raft.trigger().snapshot().await {
                tracing::debug!(%error, "no snapshot");
            }
        }
        if let Some(upto) = purge_target(&state, snapshot)
            && sending.is_none_or(|sending| upto <= sending)
            && let Err(error) = state.raft.trigger().purge_log(upto).await
        {
            tracing::debug!(%error, "log not purged");
        }
    }
}

/// Where to purge to: behind the snapshot stays [`KEPT_BEHIND_SNAPSHOT_BYTES`] of log, found by halving.
fn purge_target(state: &MemberState, snapshot: u64) -> Option<u64> {
    let first = state.log.stats().first_index;
    let behind = |index: u64| state.log.bytes_since(index).saturating_sub(state.log.bytes_since(snapshot));
    if snapshot <= first || behind(first) < KEPT_BEHIND_SNAPSHOT_BYTES + PURGE_STEP_BYTES {
        return None;
    }
    let (mut low, mut high) = (first, snapshot);
    while low < high {
        let middle = low + (high - low) / 2;
        if behind(middle) > KEPT_BEHIND_SNAPSHOT_BYTES { low = middle + 1 } else { high = middle }
    }
    Some(low)
}

/// Rings the alarm when openraft has stopped: its handle stays, but nothing answers any more.
pub(crate) async fn watch_raft(state: Arc<MemberState>) {
    // Asked, not awaited: the metrics change with each entry, and so would wake this task.
    let mut interval = interval(RAFT_WATCH_INTERVAL);
    let mut metrics = state.raft.metrics();
    loop {
        interval.tick().await;
        // Its core is a task: one that panics takes the sender along, and says nothing.
        let panicked = matches!(metrics.changed().now_or_never(), Some(Err(_)));
        let running = metrics.borrow_watched().running_state.clone();
        match running {
            Ok(()) if panicked => {
                return state.alarm.ring(Fatal::Raft("it panicked; the log says where".to_owned()));
            }
            Ok(()) => {}
            Err(RaftFatal::StorageError(error)) => {
                return state.alarm.ring(Fatal::Storage(error.to_string()));
            }
            Err(RaftFatal::Stopped) if state.is_stopping() => return,
            Err(error) => return state.alarm.ring(Fatal::Raft(error.to_string())),
        }
    }
}
