//! `meridian.admin.v1.AdminService`: what operators speak.
//!
//! What a request says by itself is checked here: names, sizes, the document. What depends on the state is left to
//! the log, which alone knows whether the request is the repeat of one that was decided before; an early look at
//! this node's view would refuse the repeat of a publish as a conflict with itself, and on a node that is behind it
//! would deny what exists. Reads look at the view, on any node that is ready.

use std::sync::Arc;

use futures::stream::BoxStream;
use meridian_proto::admin::admin_service_server::AdminService;
use meridian_proto::admin::*;
use meridian_replication::Handle;
use meridian_replication::catalog::View;
use tokio::sync::Semaphore;
use tonic::service::Interceptor;
use tonic::{Request, Response, Status};

use super::access::Access;
use crate::auth::{self, Auth};

mod backup;
mod change;
mod cluster;
mod fleet;
mod keys;
mod members;
mod outcome;
mod projects;
mod publish;
mod releases;

/// Serves operators.
pub(super) struct Admin {
    handle: Handle,
    access: Access,
    /// Large documents being checked and sealed: it takes a core for tens of milliseconds, and readers need the rest.
    checks: Arc<Semaphore>,
    /// Copies of everything on their way out: each takes the disk and the network.
    backups: Arc<Semaphore>,
}

/// See [`Admin::checks`].
const CHECKS: usize = 2;

/// See [`Admin::backups`].
const BACKUPS: usize = 2;

impl Admin {
    pub(super) fn new(handle: Handle, access: Access) -> Self {
        let (checks, backups) = (Arc::new(Semaphore::new(CHECKS)), Arc::new(Semaphore::new(BACKUPS)));
        Self { handle, access, checks, backups }
    }

    /// What a read looks at.
    fn view(&self) -> Result<Arc<View>, Status> {
        self.access.ready()?;
        Ok(self.handle.catalog().view())
    }
}

/// Lets operators in, and notes on the request who it was.
#[derive(Clone)]
pub(super) struct OperatorsOnly {
    auth: Arc<Auth>,
}

impl OperatorsOnly {
    pub(super) fn new(auth: Arc<Auth>) -> Self {
        Self { auth }
    }
}

impl Interceptor for OperatorsOnly {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let token = auth::bearer(request.metadata().as_ref())
            .ok_or_else(|| Status::unauthenticated("send an operator token as `authorization: Bearer …`"))?;
        let Some(operator) = self.auth.identify(token) else {
            return Err(Status::permission_denied(if !self.auth.has_operators() {
                "this node knows no operator token: list the SHA-256 of one under `auth.operator_token_sha256` in its \
                 configuration"
            } else if self.auth.sdk_key(token).is_some() {
                "this is an sdk key: administration needs an operator token"
            } else {
                "this operator token is not known"
            }));
        };
        request.extensions_mut().insert(operator);
        Ok(request)
    }
}

/// Each call is in the file of its subject.
#[tonic::async_trait]
impl AdminService for Admin {
    async fn create_project(
        &self,
        request: Request<CreateProjectRequest>,
    ) -> Result<Response<CreateProjectResponse>, Status> {
        self.create_project(request).await.map(Response::new)
    }

    async fn list_projects(
        &self,
        _: Request<ListProjectsRequest>,
    ) -> Result<Response<ListProjectsResponse>, Status> {
        self.list_projects().map(Response::new)
    }

    async fn create_environment(
        &self,
        request: Request<CreateEnvironmentRequest>,
    ) -> Result<Response<CreateEnvironmentResponse>, Status> {
        self.create_environment(request).await.map(Response::new)
    }

    async fn create_key(
        &self,
        request: Request<CreateKeyRequest>,
    ) -> Result<Response<CreateKeyResponse>, Status> {
        self.create_key(request).await.map(Response::new)
    }

    async fn list_keys(
        &self,
        request: Request<ListKeysRequest>,
    ) -> Result<Response<ListKeysResponse>, Status> {
        self.list_keys(&request.into_inner()).map(Response::new)
    }

    async fn revoke_key(
        &self,
        request: Request<RevokeKeyRequest>,
    ) -> Result<Response<RevokeKeyResponse>, Status> {
        self.revoke_key(request).await.map(Response::new)
    }

    async fn publish(&self, request: Request<PublishRequest>) -> Result<Response<PublishResponse>, Status> {
        self.publish(request).await.map(Response::new)
    }

    async fn list_releases(
        &self,
        request: Request<ListReleasesRequest>,
    ) -> Result<Response<ListReleasesResponse>, Status> {
        self.list_releases(&request.into_inner()).map(Response::new)
    }

    async fn get_release(
        &self,
        request: Request<GetReleaseRequest>,
    ) -> Result<Response<GetReleaseResponse>, Status> {
        self.get_release(request.into_inner()).await.map(Response::new)
    }

    async fn rollback(
        &self,
        request: Request<RollbackRequest>,
    ) -> Result<Response<RollbackResponse>, Status> {
        self.rollback(request).await.map(Response::new)
    }

    async fn cluster_status(
        &self,
        _: Request<ClusterStatusRequest>,
    ) -> Result<Response<ClusterStatusResponse>, Status> {
        Ok(Response::new(self.cluster_status().await))
    }

    async fn get_outcome(
        &self,
        request: Request<GetOutcomeRequest>,
    ) -> Result<Response<GetOutcomeResponse>, Status> {
        self.get_outcome(request).await.map(Response::new)
    }

    async fn change_members(
        &self,
        request: Request<ChangeMembersRequest>,
    ) -> Result<Response<ChangeMembersResponse>, Status> {
        self.change_members(request).await.map(Response::new)
    }

    async fn transfer_leader(
        &self,
        request: Request<TransferLeaderRequest>,
    ) -> Result<Response<TransferLeaderResponse>, Status> {
        self.transfer_leader(request).await.map(Response::new)
    }

    async fn drain(&self, request: Request<DrainRequest>) -> Result<Response<DrainResponse>, Status> {
        self.drain(request).await.map(Response::new)
    }

    async fn get_placement(
        &self,
        _: Request<GetPlacementRequest>,
    ) -> Result<Response<GetPlacementResponse>, Status> {
        self.get_placement().map(Response::new)
    }

    async fn set_placement(
        &self,
        request: Request<SetPlacementRequest>,
    ) -> Result<Response<SetPlacementResponse>, Status> {
        self.set_placement(request).await.map(Response::new)
    }

    async fn list_events(
        &self,
        request: Request<ListEventsRequest>,
    ) -> Result<Response<ListEventsResponse>, Status> {
        self.list_events(&request.into_inner()).map(Response::new)
    }

    type BackupStream = BoxStream<'static, Result<BackupPart, Status>>;

    async fn backup(&self, _: Request<BackupRequest>) -> Result<Response<Self::BackupStream>, Status> {
        self.backup().await.map(Response::new)
    }
}
