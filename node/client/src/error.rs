//! How a call can fail, by what the caller can do about it.

use meridian_proto::admin::Finding;
use meridian_proto::config::Freshness;

/// Reasons of a node that refused a change without asking the log.
const AT_THE_DOOR: [&str; 4] = ["invalid-document", "none-would-serve", "unknown-node", "unknown-region"];

/// Why a call brought no result.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Error {
    /// The cluster decided against the change; nothing was done.
    #[error("{message}")]
    Refused {
        /// Stable name, e.g. `version-conflict`; empty where the node gave none.
        reason: String,
        /// For people.
        message: String,
        /// What is wrong with the document, where that is the reason.
        findings: Vec<Finding>,
        /// With `version-conflict`: the newest version.
        current_version: u64,
    },
    /// The thing named is not there.
    #[error("{message}")]
    NotFound {
        /// Stable name, e.g. `unknown-project`; empty where the node gave none.
        reason: String,
        /// For people.
        message: String,
    },
    /// The request itself is wrong, e.g. a name with forbidden characters.
    #[error("{message}")]
    Invalid {
        /// For people.
        message: String,
    },
    /// No credential was given, or nobody knows it.
    #[error("{message}")]
    Unauthenticated {
        /// For people.
        message: String,
    },
    /// The credential is known and does not allow this.
    #[error("{message}")]
    PermissionDenied {
        /// For people.
        message: String,
    },
    /// The cluster limits its load and took no notice of the request.
    #[error("the cluster is busy: {message}")]
    Busy {
        /// For people.
        message: String,
    },
    /// Nobody could answer in time, and it is certain that nothing was done.
    #[error("no node could answer: {message}")]
    Unavailable {
        /// What came of the last attempt at each endpoint.
        message: String,
    },
    /// No node that could be reached proved what the reader demands; the best of them stands here. A reader who can do
    /// with that repeats the call without the demand.
    #[error("no node could prove what was demanded: {message}")]
    Stale {
        /// What came of the last attempt at each endpoint.
        message: String,
        /// The newest version that a node would have served; 0 for none.
        version: u64,
        /// The stamp of that node.
        freshness: Box<Freshness>,
    },
    /// Time ran out after an attempt that may have been committed. Repeating the change under the same request id is
    /// safe and answers the first outcome; [`Client::outcome`](crate::Client::outcome) tells it without repeating, and
    /// can decide that the change shall never be made.
    #[error("the outcome of request {request_id} is unknown: {message}")]
    Unknown {
        /// The id of all attempts.
        request_id: String,
        /// What came of the last attempt at each endpoint.
        message: String,
    },
    /// Time ran out after an attempt that may have had its effect, at something that has no request id because asking
    /// for what is already so changes nothing: members, who leads. Look at the cluster's status, or ask again.
    #[error("it may have been done, look at the status or ask again: {message}")]
    MaybeDone {
        /// What came of the last attempt at each endpoint.
        message: String,
    },
    /// A stream ended before its end.
    #[error("cut short after {received_bytes} of {expected_bytes} bytes: {message}")]
    CutShort {
        /// What came.
        received_bytes: u64,
        /// What was announced.
        expected_bytes: u64,
        /// What happened.
        message: String,
    },
    /// A node answered with a part missing; it does not speak this version of the contract.
    #[error("a node's answer lacks its {missing}: it speaks another version of the protocol")]
    Malformed {
        /// The part.
        missing: &'static str,
    },
    /// The options cannot make a client.
    #[error("{0}")]
    Options(&'static str),
}

impl Error {
    /// Whether the same call may succeed later. A change that ended [`Error::Unknown`] must be repeated with its
    /// request id.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Busy { .. }
            | Self::Unavailable { .. }
            | Self::Stale { .. }
            | Self::Unknown { .. }
            | Self::MaybeDone { .. }
            | Self::CutShort { .. } => true,
            Self::Refused { .. }
            | Self::NotFound { .. }
            | Self::Invalid { .. }
            | Self::Unauthenticated { .. }
            | Self::PermissionDenied { .. }
            | Self::Malformed { .. }
            | Self::Options(_) => false,
        }
    }

    /// Whether this answer to a repeated change also tells what became of the attempts before it. The log remembers
    /// by request id what it decided, and always gives a reason; what a node says at its door it says of the last
    /// attempt only.
    pub(crate) fn is_decision(&self) -> bool {
        match self {
            Self::Refused { reason, .. } | Self::NotFound { reason, .. } => {
                !reason.is_empty() && !AT_THE_DOOR.contains(&reason.as_str())
            }
            _ => false,
        }
    }

    /// Whether a node that is behind says this of what it does not know yet: an environment, a key.
    pub(crate) fn may_be_outdated(&self) -> bool {
        matches!(self, Self::NotFound { .. } | Self::PermissionDenied { .. } | Self::Unauthenticated { .. })
    }
}
