//! `statsig_forward_proxy.StatsigForwardProxy`: what Statsig's own SDKs speak, unmodified.
//!
//! The SDK key is in the message. The SDKs look at no status code, only wait and come back, so a refusal is cheap
//! and says for people what it is. What they are sensitive to is the first message: a stream always begins with one,
//! and a client that holds nothing never hears "no updates", which it would take for success without values.
//!
//! An environment without a release gives the empty project, so that applications start at once, with defaults. So
//! does one whose release is in another format to a client that holds nothing; a client that holds values keeps them.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::BoxStream;
use meridian_model::{EnvironmentRef, Format};
use meridian_proto::statsig::config_spec_request::ApiVersion;
use meridian_proto::statsig::statsig_forward_proxy_server::StatsigForwardProxy;
use meridian_proto::statsig::{ConfigSpecRequest, ConfigSpecResponse};
use meridian_replication::catalog::{Served, View};
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status};

use super::access::{Access, Call, Reader};
use super::status;
use super::streams::Streams;
use super::watch::{self, Feed};
use crate::demand::Demand;
use crate::render::cache::Renderings;
use crate::render::statsig::{EMPTY, EMPTY_TIME_MS, NO_UPDATES};
use crate::stamp::Stamp;

/// Silence after which a stream says that there is nothing new: proxies on the way close what looks dead.
const SILENCE: Duration = Duration::from_secs(30);

/// Serves Statsig's SDKs.
pub(super) struct Statsig {
    pub(super) access: Access,
    pub(super) renderings: Renderings,
    pub(super) streams: Arc<Streams>,
}

#[tonic::async_trait]
impl StatsigForwardProxy for Statsig {
    async fn get_config_spec(
        &self,
        request: Request<ConfigSpecRequest>,
    ) -> Result<Response<ConfigSpecResponse>, Status> {
        let (metadata, _, asked) = request.into_parts();
        let (reader, demand) = self.admit(Call::Read, &metadata, &asked).await?;
        let (view, stamp) = self.access.look(&demand, &reader).await?;
        let mut feed = self.feed(&asked, reader.environment.clone());
        let answer = feed.next(&view, &stamp).await?;
        let answer = answer.ok_or_else(|| Status::internal("a feed begins with a message"))?;
        Ok(stamped(answer, &stamp, &view, &reader.environment))
    }

    type StreamConfigSpecStream = BoxStream<'static, Result<ConfigSpecResponse, Status>>;

    async fn stream_config_spec(
        &self,
        request: Request<ConfigSpecRequest>,
    ) -> Result<Response<Self::StreamConfigSpecStream>, Status> {
        let (metadata, _, asked) = request.into_parts();
        let (reader, demand) = self.admit(Call::Stream, &metadata, &asked).await?;
        watch::check(&demand)?;
        let open = self.streams.open(reader.holder).map_err(|bound| status::too_many(&bound))?;
        let (view, stamp) = self.access.look(&demand, &reader).await?;
        let environment = reader.environment.clone();
        let feed = self.feed(&asked, environment.clone());
        let messages = watch::follow(self.access.clone(), reader, open, &demand, feed).boxed();
        Ok(stamped(messages, &stamp, &view, &environment))
    }
}

impl Statsig {
    /// What the protocol has no room for, demands, travels in the metadata.
    async fn admit(
        &self,
        call: Call,
        metadata: &MetadataMap,
        asked: &ConfigSpecRequest,
    ) -> Result<(Reader, Demand), Status> {
        check_version(asked)?;
        let demand = Demand::from_headers(metadata.as_ref()).map_err(|error| status::malformed(&error))?;
        let reader = self.access.admit(&demand, || self.access.by_key(call, &asked.sdk_key)).await?;
        Ok((reader, demand))
    }

    fn feed(&self, asked: &ConfigSpecRequest, environment: EnvironmentRef) -> StatsigFeed {
        let position = Position::new(asked.since_time.unwrap_or(0));
        StatsigFeed { renderings: self.renderings.clone(), environment, position }
    }
}

fn stamped<T>(message: T, stamp: &Stamp, view: &View, at: &EnvironmentRef) -> Response<T> {
    let mut response = Response::new(message);
    stamp.write(view.served(at).map(|served| &*served.release), response.metadata_mut().as_mut());
    response
}

/// Only version 2 of the document is served; every SDK that streams asks for it.
fn check_version(asked: &ConfigSpecRequest) -> Result<(), Status> {
    match asked.version() {
        ApiVersion::V2 => Ok(()),
        ApiVersion::NoVersion | ApiVersion::V1 => Err(Status::invalid_argument(
            "only version 2 of the config spec is served: ask for `version: v2`",
        )),
    }
}

struct StatsigFeed {
    renderings: Renderings,
    environment: EnvironmentRef,
    position: Position,
}

impl Feed for StatsigFeed {
    type Message = ConfigSpecResponse;

    async fn next(&mut self, view: &View, _: &Stamp) -> Result<Option<ConfigSpecResponse>, Status> {
        let served = view.served(&self.environment).filter(|served| served.release.format == Format::Statsig);
        let spec = match (self.position.step(served.map(|served| served.release.time_ms)), served) {
            (Step::Wait, _) => return Ok(None),
            (Step::NoUpdates, _) => NO_UPDATES.to_owned(),
            (Step::Send, Some(served)) => self.text(served).await?,
            (Step::Send, None) => EMPTY.to_owned(),
        };
        Ok(Some(self.response(spec)))
    }

    fn silence(&self) -> Option<Duration> {
        Some(SILENCE)
    }

    fn nothing_new(&self, _: &Stamp) -> ConfigSpecResponse {
        self.response(NO_UPDATES.to_owned())
    }
}

impl StatsigFeed {
    async fn text(&self, served: &Served) -> Result<String, Status> {
        let text = self.renderings.statsig(served).await.map_err(|error| status::rendering(&error))?;
        let text = text.ok_or_else(|| Status::internal("the release is not a statsig project"))?;
        String::from_utf8(text.into()).map_err(|_| Status::internal("the rendered project is not UTF-8"))
    }

    fn response(&self, spec: String) -> ConfigSpecResponse {
        ConfigSpecResponse { spec, last_updated: self.position.newest_ms, zstd_dict_id: None }
    }
}

/// Where a client stands, by the `time` of the documents. What it is sent only ever rises.
#[derive(Clone, Copy, Debug)]
struct Position {
    /// Of the document that the client holds; 0 for none.
    held_ms: u64,
    /// Of the newest document that this node serves, or would if it had none.
    newest_ms: u64,
    begun: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Send,
    NoUpdates,
    Wait,
}

impl Position {
    fn new(held_ms: u64) -> Self {
        Self { held_ms, newest_ms: held_ms, begun: false }
    }

    /// What a stream does when the release of this time is served. Where there is none, the empty project stands for
    /// it: its time is below that of any release, so only a client that holds nothing is sent it.
    fn step(&mut self, served_ms: Option<u64>) -> Step {
        let first = !std::mem::replace(&mut self.begun, true);
        self.newest_ms = served_ms.unwrap_or(EMPTY_TIME_MS);
        if self.newest_ms > self.held_ms {
            self.held_ms = self.newest_ms;
            return Step::Send;
        }
        if first { Step::NoUpdates } else { Step::Wait }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_begins_with_a_message_and_never_goes_back() {
        use Step::{NoUpdates, Send, Wait};
        let check = |since_ms: u64, served_ms: &[Option<u64>], expected: &[(Step, u64)]| {
            let mut position = Position::new(since_ms);
            let steps: Vec<_> =
                served_ms.iter().map(|time_ms| (position.step(*time_ms), position.newest_ms)).collect();
            assert_eq!(steps, expected, "since {since_ms}: {served_ms:?}");
        };
        check(0, &[Some(70), Some(70), Some(80)], &[(Send, 70), (Wait, 70), (Send, 80)]);
        check(70, &[Some(70), Some(80)], &[(NoUpdates, 70), (Send, 80)]);
        check(90, &[Some(70), Some(80), Some(91)], &[(NoUpdates, 70), (Wait, 80), (Send, 91)]);
        // Nothing published, or in another format: the empty project, once, to who holds nothing.
        check(0, &[None, None, Some(70)], &[(Send, 1), (Wait, 1), (Send, 70)]);
        check(1, &[None, Some(70)], &[(NoUpdates, 1), (Send, 70)]);
        check(70, &[None, Some(80), None], &[(NoUpdates, 1), (Send, 80), (Wait, 1)]);
    }

    #[test]
    fn only_version_2_is_served() {
        for (version, served) in
            [(None, false), (Some(0), false), (Some(1), false), (Some(2), true), (Some(3), false)]
        {
            let asked = ConfigSpecRequest { version, ..Default::default() };
            assert_eq!(check_version(&asked).is_ok(), served, "{version:?}");
        }
    }
}
