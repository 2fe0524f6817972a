//! How a call can fail, by what the caller can do about it.

use meridian_proto::admin::Finding;

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
    /// Time ran out after an attempt that may have been committed. Repeating the change under the same request id is
    /// safe and answers the first outcome.
    #[error("the outcome of request {request_id} is unknown: {message}")]
    Unknown {
        /// The id of all attempts.
        request_id: String,
        /// What came of the last attempt at each endpoint.
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
            Self::Busy { .. } | Self::Unavailable { .. } | Self::Unknown { .. } => true,
            Self::Refused { .. }
            | Self::NotFound { .. }
            | Self::Invalid { .. }
            | Self::Unauthenticated { .. }
            | Self::PermissionDenied { .. }
            | Self::Malformed { .. }
            | Self::Options(_) => false,
        }
    }

    /// Whether this answer to a repeated change also tells what became of the attempts before it. The cluster
    /// remembers what it decided by request id; what it says at the door it says of the last attempt only.
    pub(crate) fn is_decision(&self) -> bool {
        matches!(self, Self::Refused { .. } | Self::NotFound { .. } | Self::Invalid { .. })
    }
}
