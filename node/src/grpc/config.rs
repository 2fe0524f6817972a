//! `meridian.config.v1.ConfigService`: the native way to fetch a config and to be pushed the next one.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::BoxStream;
use meridian_model::{EnvironmentRef, Version};
use meridian_proto::config::config_service_server::ConfigService;
use meridian_proto::config::{GetConfigRequest, GetConfigResponse, WatchConfigRequest, WatchConfigResponse};
use meridian_replication::catalog::{Served, View};
use tonic::{Request, Response, Status};

use super::access::{Access, Call};
use super::streams::Streams;
use super::watch::{self, Feed};
use super::{status, wire};
use crate::demand::Demand;
use crate::render::cache::Renderings;
use crate::stamp::Stamp;

/// Serves published bytes as they are.
pub(super) struct Config {
    pub(super) access: Access,
    pub(super) renderings: Renderings,
    pub(super) streams: Arc<Streams>,
}

/// The shortest interval of stamps on a silent stream.
const STAMP_INTERVAL_MIN: Duration = Duration::from_secs(1);

#[tonic::async_trait]
impl ConfigService for Config {
    async fn get_config(
        &self,
        request: Request<GetConfigRequest>,
    ) -> Result<Response<GetConfigResponse>, Status> {
        let (metadata, _, asked) = request.into_parts();
        let demand = Demand::from_message(asked.demand.as_ref(), metadata.as_ref())
            .map_err(|error| status::malformed(&error))?;
        let look_up = || self.access.by_metadata(Call::Read, &metadata, &asked.project, &asked.environment);
        let reader = self.access.admit(&demand, look_up).await?;
        let (view, stamp) = self.access.look(&demand, &reader).await?;
        let served =
            view.served(&reader.environment).ok_or_else(|| status::nothing_published(&reader.environment))?;
        let not_modified = served.release.version <= asked.since_version;
        let document = match not_modified {
            true => Default::default(),
            false => document(&self.renderings, served).await?,
        };
        let mut response = Response::new(GetConfigResponse {
            release: Some(wire::release(&served.release)),
            freshness: Some(stamp.freshness()),
            not_modified,
            document,
        });
        stamp.write(Some(&served.release), response.metadata_mut().as_mut());
        Ok(response)
    }

    type WatchConfigStream = BoxStream<'static, Result<WatchConfigResponse, Status>>;

    async fn watch_config(
        &self,
        request: Request<WatchConfigRequest>,
    ) -> Result<Response<Self::WatchConfigStream>, Status> {
        let (metadata, _, asked) = request.into_parts();
        let demand = Demand::from_message(asked.demand.as_ref(), metadata.as_ref())
            .map_err(|error| status::malformed(&error))?;
        let look_up = || self.access.by_metadata(Call::Stream, &metadata, &asked.project, &asked.environment);
        let reader = self.access.admit(&demand, look_up).await?;
        watch::check(&demand)?;
        let stamp_interval = stamp_interval(asked.stamp_interval_ms)?;
        let open = self.streams.open(reader.holder).map_err(|bound| status::too_many(&bound))?;
        let (view, stamp) = self.access.look(&demand, &reader).await?;
        let served = view.served(&reader.environment).map(|served| &*served.release);
        let feed = NativeFeed {
            renderings: self.renderings.clone(),
            environment: reader.environment.clone(),
            position: Position { held: asked.since_version, begun: false },
            stamp_interval,
        };
        let messages = watch::follow(self.access.clone(), reader, open, &demand, feed).boxed();
        let mut response = Response::new(messages);
        stamp.write(served, response.metadata_mut().as_mut());
        Ok(response)
    }
}

/// How often a silent stream says that it lives, if it does.
fn stamp_interval(given_ms: u32) -> Result<Option<Duration>, Status> {
    let given = (given_ms > 0).then(|| Duration::from_millis(given_ms.into()));
    match given {
        Some(given) if given < STAMP_INTERVAL_MIN => Err(Status::invalid_argument(format!(
            "stamp_interval_ms is {given_ms}: write 0 for no stamps, or {} and more",
            STAMP_INTERVAL_MIN.as_millis()
        ))),
        given => Ok(given),
    }
}

async fn document(renderings: &Renderings, served: &Served) -> Result<bytes::Bytes, Status> {
    renderings.plain(served).await.map_err(|error| status::rendering(&error))
}

struct NativeFeed {
    renderings: Renderings,
    environment: EnvironmentRef,
    position: Position,
    stamp_interval: Option<Duration>,
}

impl Feed for NativeFeed {
    type Message = WatchConfigResponse;

    async fn next(&mut self, view: &View, stamp: &Stamp) -> Result<Option<WatchConfigResponse>, Status> {
        let served = view.served(&self.environment);
        let step = self.position.step(served.map(|served| served.release.version));
        let document = match (step, served) {
            (Step::Wait, _) => return Ok(None),
            (Step::Send, Some(served)) => document(&self.renderings, served).await?,
            (Step::Send | Step::UpToDate, _) => Default::default(),
        };
        Ok(Some(WatchConfigResponse {
            release: served.map(|served| wire::release(&served.release)),
            freshness: Some(stamp.freshness()),
            not_modified: step == Step::UpToDate,
            document,
        }))
    }

    /// Pings keep the connection alive; without an interval there is nothing to say.
    fn silence(&self) -> Option<Duration> {
        self.stamp_interval
    }

    fn nothing_new(&self, stamp: &Stamp) -> WatchConfigResponse {
        WatchConfigResponse { freshness: Some(stamp.freshness()), not_modified: true, ..Default::default() }
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
