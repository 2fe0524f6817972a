//! One immutable version of an environment's config.

use crate::document::Format;
use crate::ids::{Digest, Version};

/// What is known of a release beside its document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Release {
    /// Dense within the environment, never reused.
    pub version: Version,
    /// Of the document's plain bytes.
    pub digest: Digest,
    /// Of the document.
    pub format: Format,
    /// Length of the document's plain bytes.
    pub size_bytes: u64,
    /// Who published it.
    pub author: String,
    /// Why.
    pub message: String,
    /// Unix milliseconds, strictly rising within the environment whatever the leaders' clocks do: Statsig SDKs
    /// drop an update whose `time` is not larger.
    pub time_ms: u64,
    /// The version whose document this release restored.
    pub rollback_of: Option<Version>,
}
