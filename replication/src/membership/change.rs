//! Who is a member, and how that changes: asked by an operator, decided by the leader, one change at a time.

use std::time::Duration;

use super::execute::{self, Asked};
use crate::error::Leader;
use crate::handle::Handle;
use crate::membership::Member;

/// What an operator can ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MembershipChange {
    /// The node that answers at this peer address becomes a learner.
    Add {
        /// `host:port`.
        peer_address: String,
    },
    /// Learners get a vote.
    Promote(Vec<u64>),
    /// Voters become learners.
    Demote(Vec<u64>),
    /// Members leave for good.
    Remove(Vec<u64>),
    /// A learner gets the vote of a member that leaves, in one step.
    Replace {
        /// Leaves.
        old: u64,
        /// Votes from now on.
        new: u64,
    },
}

/// A member as the newest membership has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedMember {
    /// Its id.
    pub node_id: u64,
    /// Where it is.
    pub member: Member,
    /// Whether it has a vote.
    pub voter: bool,
}

/// A committed change, or what one would do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MembersChanged {
    /// Everybody, by id.
    pub members: Vec<ListedMember>,
    /// Rules that spoke against it and were overridden.
    pub overridden: Vec<String>,
}

/// Why the members did not change.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    /// Nothing was done: another node leads, or none does.
    #[error("this node does not lead")]
    NotLeader {
        /// Who does, where known.
        leader: Option<Leader>,
    },
    /// Nothing was done: rules speak against it. Each names itself and the way out.
    #[error("{}", .0.join("; "))]
    Refused(Vec<String>),
    /// Nothing was done: another change is under way.
    #[error("another change of the members is under way: wait for it")]
    Busy,
    /// It may or may not take effect: look at the members.
    #[error("the outcome is unknown: look at the members")]
    Unknown,
    /// Nothing was done: this node is stopping.
    #[error("this node is stopping")]
    Stopping,
}

impl Handle {
    /// Changes the members, and waits until that is committed. Asking for what is already so changes nothing.
    ///
    /// `force` overrides the rules that an operator may know better about: how votes are spread over regions, how many
    /// there are, and whether a majority answers now. `validate_only` answers what the change would do. A change that
    /// goes on after `timeout` ends as [`ChangeError::Unknown`].
    ///
    /// A leader that is to lose its own vote hands over first, and answers [`ChangeError::NotLeader`] with the one who
    /// carries it out when asked again.
    pub async fn change_members(
        &self,
        change: MembershipChange,
        force: bool,
        validate_only: bool,
        actor: String,
        timeout: Duration,
    ) -> Result<MembersChanged, ChangeError> {
        execute::change(&self.state, Asked { change, force, validate_only, actor }, timeout).await
    }
}
