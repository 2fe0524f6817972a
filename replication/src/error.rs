//! What can go wrong at the door, told apart by what the caller can do about it.

/// Who leads, as far as this node knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leader {
    /// Its id.
    pub node_id: u64,
    /// Where clients reach it.
    pub grpc_address: String,
}

/// Why a proposal has no outcome.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    /// Not appended: another node leads, or none does. Ask there.
    #[error("this node does not lead{}", hint(.leader))]
    NotLeader {
        /// Who does, where known.
        leader: Option<Leader>,
    },
    /// Not appended: as many bytes are waiting as may. Try again soon.
    #[error("too many changes are waiting for the log")]
    Busy,
    /// It may or may not take effect. Repeat it with the same request id.
    #[error("the outcome is unknown: repeat the request with the same id")]
    Unknown,
    /// Not appended: this node is stopping.
    #[error("this node is stopping")]
    Stopping,
}

fn hint(leader: &Option<Leader>) -> String {
    match leader {
        Some(leader) => format!(": node {} at {} does", leader.node_id, leader.grpc_address),
        None => ", and knows no leader".to_owned(),
    }
}

/// Why a document could not be read from this node's disk.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The bytes on disk are damaged. The node stops and rebuilds its catalog.
    #[error("the catalog on disk is damaged: {0}")]
    Damaged(String),
    /// Somebody else is having the whole state written already.
    #[error("another export is under way: wait for it")]
    Busy,
    /// Nothing was ever applied here.
    #[error("this node holds nothing yet")]
    Empty,
    /// This node is stopping.
    #[error("this node is stopping")]
    Stopping,
}

/// Why a node does not start. Each names the thing and the way out.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The timing makes no sense.
    #[error("raft timing: {0}")]
    Timing(String),
    /// The founders do not fit this node.
    #[error("founders: {0}")]
    Founders(String),
    /// The data directory, the log or the catalog.
    #[error("{0}")]
    Storage(String),
    /// A thread, a runtime, a socket.
    #[error("{what}")]
    Machine {
        /// What was tried.
        what: String,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
}

/// Why a running node cannot go on. The daemon must stop.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fatal {
    /// The log, the vote or the catalog could not be written or read. Never retried: after a failed fsync the
    /// kernel may have dropped the pages.
    #[error("storage failed: {0}")]
    Storage(String),
    /// Raft stopped or panicked.
    #[error("raft stopped: {0}")]
    Raft(String),
    /// The cluster knows this node id with another disk, as a peer answered after the start.
    #[error("{0}")]
    Wiped(String),
    /// This node was a member and is none any more. The others do not speak to it.
    #[error(
        "node {node_id} was removed from the cluster at {}: move its data directory away, and join with a new node id",
        utc(*.at_ms)
    )]
    Removed {
        /// This node.
        node_id: u64,
        /// When the cluster decided it, Unix milliseconds.
        at_ms: u64,
    },
    /// The cluster does not let this node in, and asking again would not change that.
    #[error("the cluster does not let this node in: {0}")]
    NotLetIn(String),
}

/// `2026-11-22 00:05:09 UTC`, by the calendar that is also used for the past.
fn utc(ms: u64) -> String {
    let seconds = ms / 1_000;
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    // Years that begin in March, so that the leap day is the last: 1970-01-01 is day 719,468 of them.
    let day = days + 719_468;
    let (era, day) = (day / 146_097, day % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, next_year) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    let year = era * 400 + year + next_year;
    format!(
        "{year:04}-{month:02}-{day:02} {:02}:{:02}:{:02} UTC",
        second / 3_600,
        second / 60 % 60,
        second % 60
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_people_read_them() {
        for (ms, written) in [
            (0, "1970-01-01 00:00:00 UTC"),
            (951_827_696_789, "2000-02-29 12:34:56 UTC"),
            (1_709_251_199_999, "2024-02-29 23:59:59 UTC"),
            (1_795_305_909_000, "2026-11-22 00:05:09 UTC"),
            (4_107_542_400_000, "2100-03-01 00:00:00 UTC"),
        ] {
            assert_eq!(utc(ms), written);
        }
    }
}
