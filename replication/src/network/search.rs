//! Spares a new leader the search for the end of each follower's log.
//!
//! openraft begins to lead without knowing what the others hold, and finds out by halving: one append, and so one
//! round trip, for each halving of the log. With 100,000 entries and 80 ms that is a second in which nothing can be
//! committed. But whoever granted the vote said in its answer where its log ends, so most of these questions are
//! answered here, without asking.
//!
//! Nothing is claimed that is not so. The granter's log ends with an entry of the same leader as ours does, and not
//! beyond ours: then our log holds that entry too, and all before it are equal. They are on its disk, since its vote
//! was, which it writes after them. But the answers carry no news of the follower, so they must not count for the leader's
//! lease. openraft takes none of them for a sign of life: they confirm no more than the entry *before* those that it would
//! have sent, and name a conflict that lies before that entry.

use openraft::raft::{
    AppendEntriesRequest, StreamAppendError, StreamAppendResult, VoteRequest, VoteResponse,
};
use openraft::vote::RaftLeaderId as _;

use crate::types::{LeaderId, LogId, TypeConfig};

/// What a granted vote says of the granter's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Granted {
    /// The term, and the candidate, for which it was granted.
    leader: LeaderId,
    /// The granter holds this entry of our log, and all before it.
    upto: LogId,
}

/// The search of one leader in one follower's log.
#[derive(Debug, Default)]
pub(super) struct Search {
    /// The newest entry that was confirmed here.
    confirmed: Option<LogId>,
    over: bool,
}

impl Granted {
    /// `None` if the vote was refused, or where the logs part cannot be told.
    pub(super) fn of(request: &VoteRequest<TypeConfig>, response: &VoteResponse<TypeConfig>) -> Option<Self> {
        if !response.vote_granted || response.vote != request.vote {
            return None;
        }
        let (ours, upto) = (request.last_log_id?, response.last_log_id?);
        let same_leader = upto.leader_id == ours.leader_id && upto.index <= ours.index;
        same_leader.then_some(Self { leader: request.vote.leader_id, upto })
    }
}

impl Search {
    /// The answer to an append, if it can be given here. To be asked with each one until the first `None`: then it, and
    /// all after it, are the follower's to answer.
    pub(super) fn answer(
        &mut self,
        request: &AppendEntriesRequest<TypeConfig>,
        granted: Option<&Granted>,
    ) -> Option<StreamAppendResult<TypeConfig>> {
        let granted = granted.filter(|granted| !self.over && granted.leader == request.vote.leader_id);
        let (Some(granted), Some(before), false) = (granted, request.prev_log_id, request.entries.is_empty())
        else {
            // One without entries only looks whether the follower is there.
            self.over = true;
            return None;
        };
        if before <= granted.upto && Some(before) > self.confirmed {
            self.confirmed = Some(before);
            return Some(Ok(Some(before)));
        }
        // Halving has come near the end. A few entries sent twice cost less than another round trip: so this ends the
        // search, as if the follower's log ended with what is confirmed, and all after it is sent.
        self.over = true;
        let index = self.confirmed?.index + 1;
        // Only the index says where. The leader is none, so that the id is less than that of any entry that was sent: at
        // or after the one before them, openraft would count it as an answer of the follower, and renew the lease.
        let leader_id = LeaderId { term: 0, node_id: 0 }.to_committed();
        Some(Err(StreamAppendError::Conflict(LogId { leader_id, index })))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::types::{Entry, EntryPayload, Vote};

    fn leader(term: u64) -> LeaderId {
        LeaderId { term, node_id: 1 }
    }

    fn log_id(term: u64, index: u64) -> LogId {
        LogId { leader_id: leader(term).to_committed(), index }
    }

    fn vote(last: Option<LogId>) -> VoteRequest<TypeConfig> {
        VoteRequest::new(Vote { leader_id: leader(5), committed: false }, last)
    }

    fn answer(granted: bool, term: u64, last: Option<LogId>) -> VoteResponse<TypeConfig> {
        VoteResponse::new(Vote { leader_id: leader(term), committed: false }, last, granted)
    }

    #[test]
    fn only_a_grant_by_a_log_that_is_part_of_ours_says_something() {
        let granted = |ours, response| Granted::of(&vote(ours), &response).map(|granted| granted.upto);
        let ours = Some(log_id(4, 100));
        assert_eq!(granted(ours, answer(true, 5, ours)), ours);
        assert_eq!(granted(ours, answer(true, 5, Some(log_id(4, 90)))), Some(log_id(4, 90)));
        for (why, ours, response) in [
            ("refused", ours, answer(false, 5, ours)),
            ("for another term", ours, answer(true, 6, ours)),
            ("an empty log", ours, answer(true, 5, None)),
            ("another leader's entry, which may not be in ours", ours, answer(true, 5, Some(log_id(3, 90)))),
            ("beyond ours", ours, answer(true, 5, Some(log_id(4, 101)))),
        ] {
            assert_eq!(granted(ours, response), None, "{why}");
        }
    }

    /// An append as openraft sends it while it searches: up to eight entries after `before`.
    fn append(term: u64, before: Option<u64>) -> AppendEntriesRequest<TypeConfig> {
        let first = before.map_or(0, |before| before + 1);
        let blank = |index| Entry { log_id: log_id(4, index), payload: EntryPayload::Blank };
        AppendEntriesRequest {
            vote: Vote { leader_id: leader(term), committed: true },
            prev_log_id: before.map(|index| log_id(4, index)),
            entries: (first..first + 8).map(blank).collect(),
            leader_commit: None,
        }
    }

    /// What comes of appends after these entries, the granter's log ending with 100: how far each is answered here.
    fn answers(term: u64, befores: &[Option<u64>]) -> Vec<Option<Result<u64, u64>>> {
        let granted = Granted { leader: leader(5), upto: log_id(4, 100) };
        let mut search = Search::default();
        let answer = |before: &Option<u64>| {
            let request = append(term, *before);
            search.answer(&request, Some(&granted)).map(|answer| match answer {
                Ok(confirmed) => {
                    // More would be a sign of life.
                    assert_eq!(confirmed, request.prev_log_id);
                    Ok(confirmed.unwrap().index)
                }
                Err(StreamAppendError::Conflict(conflict)) => {
                    assert!(Some(conflict) < request.prev_log_id, "{conflict} is a sign of life");
                    Err(conflict.index)
                }
                Err(other) => panic!("{other}"),
            })
        };
        befores.iter().map(answer).collect()
    }

    #[test]
    fn whether_the_follower_is_there_is_not_answered_here() {
        let granted = Granted { leader: leader(5), upto: log_id(4, 100) };
        let heartbeat = AppendEntriesRequest { entries: Vec::new(), ..append(5, Some(51)) };
        assert!(Search::default().answer(&heartbeat, Some(&granted)).is_none());
    }

    #[test]
    fn the_search_runs_here_and_then_ends() {
        let (one, end) = (|index| Some(Ok(index)), |index| Some(Err(index)));
        let cases: &[(u64, &[Option<u64>], Vec<_>)] = &[
            // Openraft has nowhere farther to look, then sends what is missing.
            (5, &[Some(51), Some(75), Some(75), Some(75)], vec![one(51), one(75), end(76), None]),
            // It looks beyond what the granter holds.
            (5, &[Some(51), Some(101), Some(51)], vec![one(51), end(52), None]),
            // Nothing is claimed for a follower that was not searched, or has answered.
            (5, &[Some(101), Some(51)], vec![None, None]),
            (5, &[None, Some(51)], vec![None, None]),
            // The vote was for another term.
            (6, &[Some(51)], vec![None]),
        ];
        for (term, befores, expected) in cases {
            assert_eq!(answers(*term, befores), *expected, "{befores:?}");
        }
    }
}
