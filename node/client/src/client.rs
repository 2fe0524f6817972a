//! The calls of a client, one method per RPC.

use std::sync::Arc;

use meridian_proto::admin::{
    ClusterStatusRequest, ClusterStatusResponse, CreateEnvironmentRequest, CreateKeyRequest,
    CreateProjectRequest, Environment, GetReleaseRequest, ListKeysRequest, ListProjectsRequest,
    ListReleasesRequest, ListReleasesResponse, Project, PublishRequest, RevokeKeyRequest, RollbackRequest,
    SdkKey,
};
use meridian_proto::config::GetConfigRequest;
use tonic::metadata::{Ascii, MetadataValue};

use crate::answer::required;
use crate::call::{Caller, Effect};
use crate::line::Line;
use crate::pool::Pool;
use crate::{Error, Fetched, Options, Published, Secret, StoredRelease, Watch};

/// A client of one cluster. Cheap to clone; clones share connections and what they know of the nodes.
///
/// Every call ends within [`Options::deadline`]. A change keeps the request id of its message, so that one whose
/// outcome stayed [`Error::Unknown`] can be repeated; where it is empty, a new one is made.
#[derive(Clone)]
pub struct Client {
    caller: Arc<Caller>,
}

impl Client {
    /// A client of these endpoints. Connects on first use.
    ///
    /// Fails with [`Error::Options`] if the options hold no endpoint or too many, or a token that cannot be sent.
    pub fn new(options: Options) -> Result<Self, Error> {
        let Options { endpoints, token, deadline, attempt_timeout } = options;
        if endpoints.is_empty() {
            return Err(Error::Options("no endpoint was given"));
        }
        if endpoints.len() > Options::ENDPOINTS {
            return Err(Error::Options("more than 64 endpoints were given"));
        }
        let authorization = token.as_ref().map(bearer).transpose()?;
        let pool = Pool::new(endpoints);
        Ok(Self { caller: Arc::new(Caller { pool, authorization, deadline, attempt_timeout }) })
    }

    /// The config served now, if it is newer than the one the caller holds.
    pub async fn get_config(&self, message: GetConfigRequest) -> Result<Fetched, Error> {
        let send = |line: Line, request| async move { line.config().get_config(request).await };
        self.caller.read(message, send).await?.try_into()
    }

    /// Follows the config of an environment from `since_version` (0: from the one served now). See [`Watch`].
    ///
    /// Both names may be empty when the credential is an SDK key: the key names its environment.
    pub fn watch(&self, project: &str, environment: &str, since_version: u64) -> Watch {
        Watch::new(self.caller.clone(), project, environment, since_version)
    }
}

/// What any node answers.
impl Client {
    /// All projects with their environments.
    pub async fn projects(&self) -> Result<Vec<Project>, Error> {
        let send = |line: Line, request| async move { line.admin().list_projects(request).await };
        Ok(self.caller.read(ListProjectsRequest {}, send).await?.projects)
    }

    /// The SDK keys of one environment, or all.
    pub async fn keys(&self, message: ListKeysRequest) -> Result<Vec<SdkKey>, Error> {
        let send = |line: Line, request| async move { line.admin().list_keys(request).await };
        Ok(self.caller.read(message, send).await?.keys)
    }

    /// One page of an environment's history, newest first.
    pub async fn releases(&self, message: ListReleasesRequest) -> Result<ListReleasesResponse, Error> {
        let send = |line: Line, request| async move { line.admin().list_releases(request).await };
        self.caller.read(message, send).await
    }

    /// One release with its document.
    pub async fn release(&self, message: GetReleaseRequest) -> Result<StoredRelease, Error> {
        let send = |line: Line, request| async move { line.admin().get_release(request).await };
        self.caller.read(message, send).await?.try_into()
    }

    /// What the node that answers knows of every node.
    pub async fn cluster_status(&self) -> Result<ClusterStatusResponse, Error> {
        let send = |line: Line, request| async move { line.admin().cluster_status(request).await };
        self.caller.read(ClusterStatusRequest {}, send).await
    }
}

/// What only the leader decides.
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
fn request_id(field: &mut String) -> String {
    if field.is_empty() {
        *field = uuid::Uuid::new_v4().to_string();
    }
    field.clone()
}

fn bearer(token: &Secret) -> Result<MetadataValue<Ascii>, Error> {
    let mut value: MetadataValue<Ascii> = format!("Bearer {}", token.expose())
        .parse()
        .map_err(|_| Error::Options("the token holds characters that cannot be sent"))?;
    value.set_sensitive(true);
    Ok(value)
}
