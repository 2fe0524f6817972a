//! Things by the names that a request gives. What is not there is refused as the log would refuse it.

use std::sync::Arc;

use meridian_model::state::Directory;
use meridian_model::{Environment, EnvironmentRef, Name, Refusal, Release, Version};
use tonic::Status;

/// A name, where a request must give one.
pub(super) fn name(what: &str, given: &str) -> Result<Name, Status> {
    given.parse().map_err(|error| Status::invalid_argument(format!("{what}: {error}")))
}

/// An environment's name, where a request must give one.
pub(super) fn environment_name(project: &str, environment: &str) -> Result<EnvironmentRef, Status> {
    Ok(EnvironmentRef { project: name("project", project)?, environment: name("environment", environment)? })
}

pub(super) fn environment<'a>(
    directory: &'a Directory,
    at: &EnvironmentRef,
) -> Result<&'a Environment, Refusal> {
    directory.environment(at).ok_or_else(|| match directory.project(&at.project) {
        None => Refusal::UnknownProject(at.project.to_string()),
        Some(_) => Refusal::UnknownEnvironment(at.to_string()),
    })
}

pub(super) fn release(
    directory: &Directory,
    at: &EnvironmentRef,
    version: Version,
) -> Result<Arc<Release>, Refusal> {
    let kept = directory.release(at, version);
    kept.cloned().ok_or_else(|| Refusal::UnknownVersion { environment: at.to_string(), version })
}
