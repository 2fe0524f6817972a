//! The whole replicated state, and the only way to change it.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::command::{Command, Mutation};
use crate::credential::SdkKey;
use crate::document::{Document, Format};
use crate::ids::{Digest, EnvironmentRef, KeyHash, Name, RequestId, Version};
use crate::limits;
use crate::outcome::{Outcome, Refusal};
use crate::project::{Environment, Project, ServedPointer};
use crate::release::Release;
use crate::row::RowKey;
use crate::wire;

mod directory;
mod fleet;
mod requests;
mod tally;

pub use directory::Directory;
use fleet::By;
pub(crate) use requests::{Remembered, Requests};
pub use tally::Tally;

/// Everything that is agreed on, except the documents' bytes.
///
/// Equal sequences of commands give equal states on every node and in every software version that speaks the same
/// commands: `apply` looks at nothing but the state and the command.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// What readers see.
    pub(crate) directory: Directory,
    /// Outcomes of recent requests, for repeats.
    pub(crate) requests: Requests,
    /// How many kept releases have each document. Follows from the releases; not stored.
    pub(crate) document_uses: BTreeMap<Digest, u32>,
    /// Digest and number of the stored rows.
    pub(crate) tally: Tally,
}

/// What applying one command did.
#[derive(Debug, PartialEq, Eq)]
pub struct Applied {
    /// The answer.
    pub outcome: Outcome,
    /// What has to be written, dropped and announced.
    pub changes: Changes,
}

/// The difference that a command made.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Stored rows to write, or to remove where the value is `None`.
    pub rows: Vec<(Vec<u8>, Option<Vec<u8>>)>,
    /// Documents that are used for the first time.
    pub new_documents: Vec<Document>,
    /// Documents that no kept release uses any more.
    pub dropped_documents: Vec<Digest>,
    /// Environments whose readers should look again.
    pub touched: Vec<EnvironmentRef>,
}

impl State {
    /// What readers see. Cloning it is cheap and gives an immutable view.
    pub fn directory(&self) -> &Directory {
        &self.directory
    }

    /// Digest and number of the stored rows: equal states have equal tallies (invariant I3).
    pub fn tally(&self) -> Tally {
        self.tally
    }

    /// What was decided about a request, as long as it is remembered.
    pub fn outcome(&self, request: RequestId) -> Option<&Outcome> {
        self.requests.find(request).map(|remembered| &remembered.outcome)
    }

    /// Decides one command. A refused one changes nothing but the memory of its request.
    pub fn apply(&mut self, command: Command) -> Applied {
        let mut changes = Changes::default();
        let Some(id) = command.request_id else {
            let outcome = self.decide(command, &mut changes).unwrap_or_else(Outcome::Refused);
            return Applied { outcome, changes };
        };
        let fingerprint = wire::fingerprint(&command.mutation);
        if let Some(first) = self.requests.find(id) {
            let settles = matches!(command.mutation, Mutation::Settle);
            let given_up = first.outcome == Outcome::Refused(Refusal::Abandoned);
            let outcome = if first.fingerprint == fingerprint || settles || given_up {
                first.outcome.clone()
            } else {
                Outcome::Refused(Refusal::RequestIdReused)
            };
            return Applied { outcome, changes };
        }
        let outcome = self.decide(command, &mut changes).unwrap_or_else(Outcome::Refused);
        self.remember(Remembered { id, fingerprint, outcome: outcome.clone() }, &mut changes);
        Applied { outcome, changes }
    }

    fn decide(&mut self, command: Command, changes: &mut Changes) -> Result<Outcome, Refusal> {
        let Command { actor, time_ms, mutation, .. } = command;
        match mutation {
            // Not a maximum: after a leader with a fast clock the next tick tells the truth again.
            Mutation::Tick => {
                self.put_clock(time_ms, changes);
                Ok(Outcome::Done)
            }
            Mutation::CreateProject { project } => {
                if self.directory.project(&project).is_some() {
                    return Err(Refusal::Exists(format!("project {project}")));
                }
                within(self.directory.projects.size(), limits::PROJECTS, "projects")?;
                self.put_project(project, Project { created_at_ms: time_ms }, changes);
                Ok(Outcome::Done)
            }
            Mutation::CreateEnvironment { environment } => {
                if self.directory.project(&environment.project).is_none() {
                    return Err(Refusal::UnknownProject(environment.project.to_string()));
                }
                if self.directory.environment(&environment).is_some() {
                    return Err(Refusal::Exists(format!("environment {environment}")));
                }
                within(self.directory.environments.size(), limits::ENVIRONMENTS, "environments")?;
                let created = Environment {
                    created_at_ms: time_ms,
                    head: 0,
                    last_time_ms: 0,
                    served: ServedPointer::default(),
                    key_count: 0,
                };
                self.put_environment(environment, created, changes);
                Ok(Outcome::Done)
            }
            Mutation::CreateKey { environment, hash, prefix, label } => {
                let mut owner = self.require(&environment)?;
                if self.directory.key_by_id(hash.id()).is_some() {
                    return Err(Refusal::Exists(format!("key {}", hash.id())));
                }
                within(owner.key_count as usize, limits::KEYS_PER_ENVIRONMENT, "keys in one environment")?;
                owner.key_count += 1;
                let key =
                    SdkKey { hash, environment: environment.clone(), prefix, label, created_at_ms: time_ms };
                self.put_environment(environment, owner, changes);
                self.put_key(key, changes);
                Ok(Outcome::Done)
            }
            Mutation::RevokeKey { id } => {
                let Some(key) = self.directory.key_by_id(id) else {
                    return Err(Refusal::UnknownKey(id.to_string()));
                };
                let (hash, environment) = (key.hash, key.environment.clone());
                let mut owner = self.require(&environment)?;
                owner.key_count = owner.key_count.saturating_sub(1);
                self.remove_key(&hash, changes);
                self.put_environment(environment.clone(), owner, changes);
                // Open streams find out by looking again.
                changes.touched.push(environment);
                Ok(Outcome::Done)
            }
            Mutation::Publish { environment, document, expect_version, message } => {
                let head = self.require(&environment)?;
                expect(&environment, &head, expect_version)?;
                let draft = Draft {
                    digest: document.digest,
                    format: document.format,
                    size_bytes: document.size_bytes,
                    author: actor,
                    message,
                    rollback_of: None,
                };
                if !self.document_uses.contains_key(&document.digest) {
                    changes.new_documents.push(document);
                }
                Ok(self.release(environment, head, draft, time_ms, changes))
            }
            Mutation::Rollback { environment, to_version, expect_version, message } => {
                let head = self.require(&environment)?;
                expect(&environment, &head, expect_version)?;
                let to_version = match (to_version, head.head) {
                    (0, 0 | 1) => return Err(Refusal::NoEarlierVersion(environment.to_string())),
                    (0, newest) => newest - 1,
                    (chosen, _) => chosen,
                };
                let old = self.require_version(&environment, to_version)?;
                let draft = Draft {
                    digest: old.digest,
                    format: old.format,
                    size_bytes: old.size_bytes,
                    author: actor,
                    message,
                    rollback_of: Some(to_version),
                };
                Ok(self.release(environment, head, draft, time_ms, changes))
            }
            Mutation::MovePointer { environment, version, regions } => {
                let mut head = self.require(&environment)?;
                self.require_version(&environment, version)?;
                if regions.is_empty() {
                    head.served.move_everywhere(version);
                }
                for region in regions {
                    head.served.move_region(region, version);
                }
                within(head.served.by_region().len(), limits::REGION_POINTERS + 1, "regions with a pointer")?;
                self.put_environment(environment.clone(), head, changes);
                self.forget_old_releases(&environment, changes);
                changes.touched.push(environment);
                Ok(Outcome::Done)
            }
            Mutation::SetPlacement { regions, repair_after_ms, expect_version } => {
                let by = By { actor, time_ms };
                self.set_placement(by, regions, repair_after_ms, expect_version, changes)
            }
            Mutation::Drain { nodes, undrain } => {
                Ok(self.drain(By { actor, time_ms }, nodes, undrain, changes))
            }
            Mutation::Retire { nodes } => Ok(self.retire(By { actor, time_ms }, nodes, changes)),
            // Remembered under the id of the request that it settles.
            Mutation::Settle => Err(Refusal::Abandoned),
            Mutation::Note { text } => {
                self.note(By { actor, time_ms }, text, changes);
                Ok(Outcome::Done)
            }
        }
    }

    /// Makes the next release and lets every region serve it.
    fn release(
        &mut self,
        at: EnvironmentRef,
        mut head: Environment,
        draft: Draft,
        time_ms: u64,
        changes: &mut Changes,
    ) -> Outcome {
        let version = head.head + 1;
        // Strictly rising whatever the leaders' clocks do, see `Release::time_ms`.
        let time_ms = time_ms.max(head.last_time_ms.saturating_add(1));
        let Draft { digest, format, size_bytes, author, message, rollback_of } = draft;
        head.head = version;
        head.last_time_ms = time_ms;
        head.served.move_everywhere(version);
        let release = Release { version, digest, format, size_bytes, author, message, time_ms, rollback_of };
        self.put_release(at.clone(), release, changes);
        self.put_environment(at.clone(), head, changes);
        self.forget_old_releases(&at, changes);
        changes.touched.push(at);
        Outcome::Published { version, time_ms }
    }

    /// Drops releases past [`limits::RELEASES_KEPT`] that no region serves.
    fn forget_old_releases(&mut self, at: &EnvironmentRef, changes: &mut Changes) {
        let Some(head) = self.directory.environment(at).cloned() else { return };
        let Some(newest_forgotten) = head.head.checked_sub(limits::RELEASES_KEPT as u64) else { return };
        let old: Vec<Version> = self
            .directory
            .releases(at, 0..newest_forgotten + 1)
            .map(|release| release.version)
            .filter(|version| !head.served.points_at(*version))
            .collect();
        for version in old {
            self.remove_release(at, version, changes);
        }
    }

    fn require(&self, at: &EnvironmentRef) -> Result<Environment, Refusal> {
        let known = self.directory.environment(at).cloned();
        known.ok_or_else(|| Refusal::UnknownEnvironment(at.to_string()))
    }

    fn require_version(&self, at: &EnvironmentRef, version: Version) -> Result<Arc<Release>, Refusal> {
        let kept = self.directory.release(at, version);
        kept.cloned().ok_or_else(|| Refusal::UnknownVersion { environment: at.to_string(), version })
    }
}

/// A release before it has a version and a time.
struct Draft {
    digest: Digest,
    format: Format,
    size_bytes: u64,
    author: String,
    message: String,
    rollback_of: Option<Version>,
}

/// One more fits.
fn within(count: usize, limit: usize, what: &str) -> Result<(), Refusal> {
    if count < limit {
        Ok(())
    } else {
        Err(Refusal::LimitReached { what: what.to_owned(), limit: limit as u64 })
    }
}

fn expect(at: &EnvironmentRef, head: &Environment, expected: Option<Version>) -> Result<(), Refusal> {
    match expected {
        Some(expected) if expected != head.head => {
            Err(Refusal::VersionConflict { environment: at.to_string(), current: head.head, expected })
        }
        _ => Ok(()),
    }
}

/// Each change of a map, together with its stored row and its share of the tally. Nothing else touches the maps.
impl State {
    fn put_clock(&mut self, time_ms: u64, changes: &mut Changes) {
        let old = self.directory.clock_ms.replace(time_ms).map(wire::clock_row);
        self.write_row(RowKey::Clock, old, Some(wire::clock_row(time_ms)), changes);
    }

    fn put_project(&mut self, name: Name, project: Project, changes: &mut Changes) {
        let row = wire::project_row(&project);
        self.directory.projects.insert_mut(name.clone(), project);
        self.write_row(RowKey::Project(name), None, Some(row), changes);
    }

    fn put_environment(&mut self, at: EnvironmentRef, environment: Environment, changes: &mut Changes) {
        let old = self.directory.environment(&at).map(wire::environment_row);
        let row = wire::environment_row(&environment);
        self.directory.environments.insert_mut(at.clone(), Arc::new(environment));
        self.write_row(RowKey::Environment(at), old, Some(row), changes);
    }

    fn put_release(&mut self, at: EnvironmentRef, release: Release, changes: &mut Changes) {
        let (version, row) = (release.version, wire::release_row(&release));
        *self.document_uses.entry(release.digest).or_default() += 1;
        self.directory.releases.insert_mut((at.clone(), version), Arc::new(release));
        self.write_row(RowKey::Release(at, version), None, Some(row), changes);
    }

    fn remove_release(&mut self, at: &EnvironmentRef, version: Version, changes: &mut Changes) {
        let key = (at.clone(), version);
        let Some(release) = self.directory.releases.get(&key).cloned() else { return };
        self.directory.releases.remove_mut(&key);
        if let Some(uses) = self.document_uses.get_mut(&release.digest) {
            *uses -= 1;
            if *uses == 0 {
                self.document_uses.remove(&release.digest);
                changes.dropped_documents.push(release.digest);
            }
        }
        let row = wire::release_row(&release);
        self.write_row(RowKey::Release(key.0, version), Some(row), None, changes);
    }

    fn put_key(&mut self, key: SdkKey, changes: &mut Changes) {
        let (hash, row) = (key.hash, wire::key_row(&key));
        self.directory.keys.insert_mut(hash, Arc::new(key));
        self.write_row(RowKey::Key(hash), None, Some(row), changes);
    }

    fn remove_key(&mut self, hash: &KeyHash, changes: &mut Changes) {
        let old = self.directory.key(hash).map(wire::key_row);
        self.directory.keys.remove_mut(hash);
        self.write_row(RowKey::Key(*hash), old, None, changes);
    }

    fn remember(&mut self, request: Remembered, changes: &mut Changes) {
        let row = wire::request_row(&request);
        let sequence = self.requests.push(request);
        self.write_row(RowKey::Request(sequence), None, Some(row), changes);
        if let Some((sequence, oldest)) = self.requests.overflow() {
            let row = wire::request_row(&oldest);
            self.write_row(RowKey::Request(sequence), Some(row), None, changes);
        }
    }

    fn write_row(&mut self, key: RowKey, old: Option<Vec<u8>>, new: Option<Vec<u8>>, changes: &mut Changes) {
        let key = key.encode();
        if let Some(old) = old {
            self.tally.remove(&key, &old);
        }
        if let Some(new) = &new {
            self.tally.add(&key, new);
        }
        changes.rows.push((key, new));
    }
}
