//! `meridian.config.v1.ConfigService`: the native way to fetch a config and to be pushed the next one.

use std::sync::Arc;

use futures::StreamExt as _;
use futures::stream::BoxStream;
use meridian_model::{EnvironmentRef, Version};
use meridian_proto::config::config_service_server::ConfigService;
use meridian_proto::config::{
    Freshness, GetConfigRequest, GetConfigResponse, WatchConfigRequest, WatchConfigResponse,
};
use meridian_replication::Catalog;
use meridian_replication::catalog::{Served, View};
use tonic::{Request, Response, Status};

use super::access::{Access, Reader};
use super::streams::Streams;
use super::watch::{self, Feed};
use super::{status, wire};
use crate::render::cache::Renderings;

/// Serves published bytes as they are.
pub(super) struct Config {
    pub(super) access: Access,
    pub(super) source: Source,
    pub(super) streams: Arc<Streams>,
}

/// Where answers come from.
#[derive(Clone)]
pub(super) struct Source {
    pub(super) catalog: Arc<Catalog>,
    pub(super) renderings: Renderings,
    pub(super) node_id: u64,
}

impl Source {
    fn freshness(&self, view: &View) -> Freshness {
        Freshness {
            revision: view.revision,
            fresh_as_of_ms: view.fresh_as_of_ms(),
            region: self.catalog.region().to_string(),
            node: self.node_id,
        }
    }

    async fn document(&self, served: &Served) -> Result<bytes::Bytes, Status> {
        self.renderings.plain(served).await.map_err(|error| status::rendering(&error))
    }
}

#[tonic::async_trait]
impl ConfigService for Config {
    async fn get_config(
        &self,
        request: Request<GetConfigRequest>,
    ) -> Result<Response<GetConfigResponse>, Status> {
        let (metadata, _, asked) = request.into_parts();
        let Reader { environment, .. } =
            self.access.by_metadata(&metadata, &asked.project, &asked.environment)?;
        let view = self.source.catalog.view();
        let served = view.served(&environment).ok_or_else(|| status::nothing_published(&environment))?;
        let not_modified = served.release.version <= asked.since_version;
        let document = if not_modified { Default::default() } else { self.source.document(served).await? };
        Ok(Response::new(GetConfigResponse {
            release: Some(wire::release(&served.release)),
            freshness: Some(self.source.freshness(&view)),
            not_modified,
            document,
        }))
    }

    type WatchConfigStream = BoxStream<'static, Result<WatchConfigResponse, Status>>;

    async fn watch_config(
        &self,
        request: Request<WatchConfigRequest>,
    ) -> Result<Response<Self::WatchConfigStream>, Status> {
        let (metadata, _, asked) = request.into_parts();
        let reader = self.access.by_metadata(&metadata, &asked.project, &asked.environment)?;
        let open = self.streams.open(reader.holder).map_err(|bound| status::too_many(&bound))?;
        let feed = NativeFeed {
            source: self.source.clone(),
            environment: reader.environment.clone(),
            position: Position { held: asked.since_version, begun: false },
        };
        let catalog = self.source.catalog.clone();
        Ok(Response::new(watch::follow(catalog, reader, open, feed).boxed()))
    }
}

struct NativeFeed {
    source: Source,
    environment: EnvironmentRef,
    position: Position,
}

impl Feed for NativeFeed {
    type Message = WatchConfigResponse;

    async fn next(&mut self, view: &View) -> Result<Option<WatchConfigResponse>, Status> {
        let served = view.served(&self.environment);
        let step = self.position.step(served.map(|served| served.release.version));
        let document = match (step, served) {
            (Step::Wait, _) => return Ok(None),
            (Step::Send, Some(served)) => self.source.document(served).await?,
            (Step::Send | Step::UpToDate, _) => Default::default(),
        };
        Ok(Some(WatchConfigResponse {
            release: served.map(|served| wire::release(&served.release)),
            freshness: Some(self.source.freshness(view)),
            not_modified: step == Step::UpToDate,
            document,
        }))
    }

    /// Pings keep the connection alive; a message would say nothing.
    fn idle(&self) -> Option<WatchConfigResponse> {
        None
    }
}

/// What a client of a stream holds. It only ever rises (invariant I4).
#[derive(Clone, Copy, Debug)]
struct Position {
    held: Version,
    begun: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Send,
    UpToDate,
    Wait,
}

impl Position {
    /// What a stream does when this version is served.
    fn step(&mut self, served: Option<Version>) -> Step {
        let first = !std::mem::replace(&mut self.begun, true);
        match served {
            Some(version) if version > self.held => {
                self.held = version;
                Step::Send
            }
            _ if first => Step::UpToDate,
            _ => Step::Wait,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_begins_with_an_answer_and_never_goes_back() {
        use Step::{Send, UpToDate, Wait};
        let check = |since: Version, served: &[Option<Version>], expected: &[Step]| {
            let mut position = Position { held: since, begun: false };
            let steps: Vec<Step> = served.iter().map(|version| position.step(*version)).collect();
            assert_eq!(steps, expected, "since {since}: {served:?}");
        };
        check(0, &[Some(1), Some(1), Some(2)], &[Send, Wait, Send]);
        check(0, &[None, None, Some(1)], &[UpToDate, Wait, Send]);
        check(3, &[Some(3), Some(7)], &[UpToDate, Send]);
        // A node that is behind, or a pointer that was moved back.
        check(5, &[Some(3), Some(4), Some(5), Some(6)], &[UpToDate, Wait, Wait, Send]);
        check(1, &[Some(3), Some(2), Some(4)], &[Send, Wait, Send]);
    }
}
