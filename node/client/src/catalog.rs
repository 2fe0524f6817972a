//! The calls about projects, environments, keys and releases, one method per RPC.

use meridian_proto::admin::{
    CreateEnvironmentRequest, CreateKeyRequest, CreateProjectRequest, Environment, GetReleaseRequest,
    ListKeysRequest, ListProjectsRequest, ListReleasesRequest, ListReleasesResponse, Project, PublishRequest,
    RevokeKeyRequest, RollbackRequest, SdkKey,
};

use crate::answer::required;
use crate::change::Effect;
use crate::line::Line;
use crate::read::Manner;
use crate::{Client, Error, Published, StoredRelease};

/// Projects, environments, keys and releases: what any node answers.
impl Client {
    /// All projects with their environments.
    pub async fn projects(&self) -> Result<Vec<Project>, Error> {
        let send = |line: Line, request| async move { line.admin().list_projects(request).await };
        Ok(self.caller.read(Manner::Plain, ListProjectsRequest {}, send).await?.projects)
    }

    /// The SDK keys of one environment, or all.
    pub async fn keys(&self, message: ListKeysRequest) -> Result<Vec<SdkKey>, Error> {
        let send = |line: Line, request| async move { line.admin().list_keys(request).await };
        Ok(self.caller.read(Manner::Plain, message, send).await?.keys)
    }

    /// One page of an environment's history, newest first.
    pub async fn releases(&self, message: ListReleasesRequest) -> Result<ListReleasesResponse, Error> {
        let send = |line: Line, request| async move { line.admin().list_releases(request).await };
        self.caller.read(Manner::Plain, message, send).await
    }

    /// One release with its document.
    pub async fn release(&self, message: GetReleaseRequest) -> Result<StoredRelease, Error> {
        let send = |line: Line, request| async move { line.admin().get_release(request).await };
        self.caller.read(Manner::Plain, message, send).await?.try_into()
    }
}

/// And what only the leader decides.
impl Client {
    /// Makes a project.
    pub async fn create_project(&self, mut message: CreateProjectRequest) -> Result<Project, Error> {
        let id = request_id(&mut message.request_id);
        let send = |line: Line, request| async move { line.admin().create_project(request).await };
        required(self.caller.change(Effect::Change(&id), message, send).await?.project)
    }

    /// Makes an environment in a project.
    pub async fn create_environment(
        &self,
        mut message: CreateEnvironmentRequest,
    ) -> Result<Environment, Error> {
        let id = request_id(&mut message.request_id);
        let send = |line: Line, request| async move { line.admin().create_environment(request).await };
        required(self.caller.change(Effect::Change(&id), message, send).await?.environment)
    }

    /// Registers an SDK key whose secret the caller made.
    pub async fn create_key(&self, mut message: CreateKeyRequest) -> Result<SdkKey, Error> {
        let id = request_id(&mut message.request_id);
        let send = |line: Line, request| async move { line.admin().create_key(request).await };
        required(self.caller.change(Effect::Change(&id), message, send).await?.key)
    }

    /// Ends an SDK key.
    pub async fn revoke_key(&self, mut message: RevokeKeyRequest) -> Result<SdkKey, Error> {
        let id = request_id(&mut message.request_id);
        let send = |line: Line, request| async move { line.admin().revoke_key(request).await };
        required(self.caller.change(Effect::Change(&id), message, send).await?.key)
    }

    /// Publishes a document, or with `validate_only` says what a publish would answer.
    pub async fn publish(&self, mut message: PublishRequest) -> Result<Published, Error> {
        let id = request_id(&mut message.request_id);
        let effect = if message.validate_only { Effect::None } else { Effect::Change(&id) };
        let send = |line: Line, request| async move { line.admin().publish(request).await };
        self.caller.change(effect, message, send).await?.try_into()
    }

    /// Publishes the document of an old release again.
    pub async fn rollback(&self, mut message: RollbackRequest) -> Result<Published, Error> {
        let id = request_id(&mut message.request_id);
        let send = |line: Line, request| async move { line.admin().rollback(request).await };
        self.caller.change(Effect::Change(&id), message, send).await?.try_into()
    }
}

/// The id of a change: the one its message carries, or a new one, which it carries from then on.
pub(crate) fn request_id(field: &mut String) -> String {
    if field.is_empty() {
        *field = uuid::Uuid::new_v4().to_string();
    }
    field.clone()
}
