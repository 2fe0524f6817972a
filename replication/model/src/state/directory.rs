//! What readers see of the state: immutable maps that share structure, so that a view costs a few reference
//! counts and lives as long as its reader wants.

use std::ops::Range;
use std::sync::Arc;

use rpds::RedBlackTreeMapSync;

use crate::credential::SdkKey;
use crate::fleet::Fleet;
use crate::ids::{EnvironmentRef, KeyHash, KeyId, Name, Version};
use crate::project::{Environment, Project};
use crate::release::Release;

/// Projects, environments, releases, keys, the committed clock and the fleet. Ordered maps: iteration is the same everywhere.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Directory {
    pub(crate) clock_ms: Option<u64>,
    pub(crate) projects: RedBlackTreeMapSync<Name, Project>,
    pub(crate) environments: RedBlackTreeMapSync<EnvironmentRef, Arc<Environment>>,
    pub(crate) releases: RedBlackTreeMapSync<(EnvironmentRef, Version), Arc<Release>>,
    pub(crate) keys: RedBlackTreeMapSync<KeyHash, Arc<SdkKey>>,
    pub(crate) fleet: Fleet,
}

impl Directory {
    /// The last committed time, Unix milliseconds: everything committed up to then is in here. `None` before the
    /// first tick.
    pub fn clock_ms(&self) -> Option<u64> {
        self.clock_ms
    }

    /// What is agreed on about the nodes.
    pub fn fleet(&self) -> &Fleet {
        &self.fleet
    }

    /// All projects, by name.
    pub fn projects(&self) -> impl Iterator<Item = (&Name, &Project)> {
        self.projects.iter()
    }

    /// How many projects there are.
    pub fn project_count(&self) -> usize {
        self.projects.size()
    }

    /// How many environments all projects have.
    pub fn environment_count(&self) -> usize {
        self.environments.size()
    }

    /// How many SDK keys all environments have.
    pub fn key_count(&self) -> usize {
        self.keys.size()
    }

    /// One project.
    pub fn project(&self, name: &Name) -> Option<&Project> {
        self.projects.get(name)
    }

    /// All environments, by project and name.
    pub fn environments(&self) -> impl Iterator<Item = (&EnvironmentRef, &Environment)> {
        self.environments.iter().map(|(at, environment)| (at, environment.as_ref()))
    }

    /// One environment.
    pub fn environment(&self, at: &EnvironmentRef) -> Option<&Environment> {
        self.environments.get(at).map(Arc::as_ref)
    }

    /// One kept release.
    pub fn release(&self, at: &EnvironmentRef, version: Version) -> Option<&Arc<Release>> {
        self.releases.get(&(at.clone(), version))
    }

    /// Kept releases of an environment with a version in this range, oldest first.
    pub fn releases(
        &self,
        at: &EnvironmentRef,
        versions: Range<Version>,
    ) -> impl DoubleEndedIterator<Item = &Arc<Release>> {
        let range = (at.clone(), versions.start)..(at.clone(), versions.end.max(versions.start));
        self.releases.range(range).map(|(_, release)| release)
    }

    /// The release that a region may serve.
    pub fn served(&self, at: &EnvironmentRef, region: &Name) -> Option<&Arc<Release>> {
        self.release(at, self.environment(at)?.served.in_region(region)?)
    }

    /// All SDK keys, by hash.
    pub fn keys(&self) -> impl Iterator<Item = &SdkKey> {
        self.keys.values().map(Arc::as_ref)
    }

    /// One SDK key.
    pub fn key(&self, hash: &KeyHash) -> Option<&SdkKey> {
        self.keys.get(hash).map(Arc::as_ref)
    }

    /// One SDK key, by what operators call it. Two keys never share an id.
    pub fn key_by_id(&self, id: KeyId) -> Option<&SdkKey> {
        self.keys.range(id.hashes()).next().map(|(_, key)| key.as_ref())
    }
}
