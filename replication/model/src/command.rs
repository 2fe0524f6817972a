//! What can be asked of the state. Everything a decision needs is in the command or in the state.

use crate::document::Document;
use crate::fleet::NodeId;
use crate::ids::{EnvironmentRef, KeyHash, KeyId, Name, RequestId, Version};

/// One entry of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// Repeats of one request carry the same id and get the first outcome. `None` for what the cluster does by itself.
    pub request_id: Option<RequestId>,
    /// Who asked.
    pub actor: String,
    /// The leader's clock when it proposed, Unix milliseconds. The state believes it: it is the only time there is.
    pub time_ms: u64,
    /// What to change.
    pub mutation: Mutation,
}

/// A change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mutation {
    /// The leader's clock, about once a second: a replica that applied it is complete up to that time.
    Tick,
    /// A new project.
    CreateProject {
        /// Its name.
        project: Name,
    },
    /// A new environment of an existing project.
    CreateEnvironment {
        /// Its name.
        environment: EnvironmentRef,
    },
    /// A new SDK key.
    CreateKey {
        /// The environment it reads.
        environment: EnvironmentRef,
        /// Of its secret.
        hash: KeyHash,
        /// Visible start of its secret.
        prefix: String,
        /// What the operator calls it.
        label: String,
    },
    /// The key stops working.
    RevokeKey {
        /// Which one.
        id: KeyId,
    },
    /// A new release, served in every region.
    Publish {
        /// Where.
        environment: EnvironmentRef,
        /// Valid and within the limits: the proposer checked it, because checks may differ between software
        /// versions and replicas must not.
        document: Document,
        /// Refuse unless this is the newest version; 0 for "none yet".
        expect_version: Option<Version>,
        /// Why.
        message: String,
    },
    /// A new release with the document of a kept one, served in every region.
    Rollback {
        /// Where.
        environment: EnvironmentRef,
        /// Whose document comes back; 0 for the one before the newest. Decided here and not by who asks, so that the
        /// repeat of a request is the same request.
        to_version: Version,
        /// As in a publish.
        expect_version: Option<Version>,
        /// Why.
        message: String,
    },
    /// Where leaders should be, and whether lost voters are replaced.
    SetPlacement {
        /// Most preferred first, none twice.
        regions: Vec<Name>,
        /// A voter that is unreachable for so long is replaced; `None` for never.
        repair_after_ms: Option<u64>,
        /// Refuse unless the placement has this version; 0 for "never set".
        expect_version: Option<u64>,
    },
    /// Takes nodes out of service, or puts them back. Those that are so already stay as they are.
    Drain {
        /// Which ones. The proposer checked that they are members.
        nodes: Vec<NodeId>,
        /// Back into service.
        undrain: bool,
    },
    /// These members left: their ids are not used again. Follows from an entry of Raft's own and is never proposed.
    Retire {
        /// Which ones.
        nodes: Vec<NodeId>,
    },
    /// The request with this command's id was not done and never will be, unless it was decided before.
    Settle,
    /// Something that the cluster did by itself, for its journal.
    Note {
        /// For people.
        text: String,
    },
    /// Lets regions serve a kept version. No new release.
    MovePointer {
        /// Where.
        environment: EnvironmentRef,
        /// What they may serve.
        version: Version,
        /// Which regions; empty for all of them.
        regions: Vec<Name>,
    },
}
