//! Projects, their environments, and the pointer that says what a region may serve.

use std::collections::BTreeMap;

use crate::ids::{Name, Version};

/// A project: a name for a set of environments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Project {
    /// Unix milliseconds.
    pub created_at_ms: u64,
}

/// The head of an environment. Its releases are kept beside it, by version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Environment {
    /// Unix milliseconds.
    pub created_at_ms: u64,
    /// Newest version; 0 before the first publish.
    pub head: Version,
    /// `time_ms` of the newest release.
    pub last_time_ms: u64,
    /// What may be served where.
    pub served: ServedPointer,
    /// SDK keys that read it, counted so that the bound costs no search.
    pub key_count: u32,
}

/// Which version each region of an environment may serve. Bytes replicate everywhere at once; this decides what
/// is visible.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServedPointer {
    everywhere: Version,
    by_region: BTreeMap<Name, Version>,
}

impl ServedPointer {
    /// A pointer from its stored parts.
    pub fn new(everywhere: Version, by_region: BTreeMap<Name, Version>) -> Self {
        Self { everywhere, by_region }
    }

    /// What a region without a pointer of its own may serve; 0 for nothing.
    pub fn everywhere(&self) -> Version {
        self.everywhere
    }

    /// Regions with a pointer of their own.
    pub fn by_region(&self) -> &BTreeMap<Name, Version> {
        &self.by_region
    }

    /// The version this region may serve.
    pub fn in_region(&self, region: &Name) -> Option<Version> {
        Some(*self.by_region.get(region).unwrap_or(&self.everywhere)).filter(|version| *version > 0)
    }

    /// Whether any region may serve this version.
    pub fn points_at(&self, version: Version) -> bool {
        self.everywhere == version || self.by_region.values().any(|v| *v == version)
    }

    /// Lets every region serve this version.
    pub(crate) fn move_everywhere(&mut self, version: Version) {
        self.everywhere = version;
        self.by_region.clear();
    }

    /// Lets one region serve this version.
    pub(crate) fn move_region(&mut self, region: Name, version: Version) {
        self.by_region.insert(region, version);
    }
}
