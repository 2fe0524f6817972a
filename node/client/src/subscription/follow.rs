//! The two tasks behind a subscription: one follows a stream, the other polls while there is none.
//!
//! They end with the subscription, which aborts them. Neither fails: what goes wrong is in the status.

use std::sync::Arc;
use std::time::Duration;

use meridian_proto::config::{Demand, GetConfigRequest};
use tokio::time::timeout;

use super::Link;
use super::state::State;
use crate::watch::Said;
use crate::{Client, Event, Fetched};

/// How often a stream says that it lives, which is how fresh the status can be.
const STAMP_INTERVAL_MS: u32 = 1_000;

/// Without a stream for so long, poll: long enough for one to be moved to another node.
const POLL_AFTER: Duration = Duration::from_secs(1);

pub(super) struct Follow {
    pub(super) client: Client,
    pub(super) project: String,
    pub(super) environment: String,
    pub(super) demand: Option<Demand>,
    pub(super) poll_every: Duration,
    pub(super) state: Arc<State>,
}

impl Follow {
    pub(super) async fn run(self) {
        tokio::join!(self.stream(), self.poll());
    }

    async fn stream(&self) {
        let since = self.state.glance().version();
        let mut watch = self.client.watch(&self.project, &self.environment, since).stamped(STAMP_INTERVAL_MS);
        if let Some(demand) = self.demand {
            watch = watch.demand(demand);
        }
        let mut endpoint = None;
        loop {
            match watch.listen().await {
                Ok(Said::Event(Event::Connected { endpoint: connected })) => endpoint = Some(connected),
                Ok(Said::Event(Event::Config(config))) => {
                    self.state.offer(config, Link::Streaming, endpoint.as_ref()).await;
                }
                Ok(Said::Stamp { freshness, serves }) => {
                    self.state.confirm(serves, &freshness, Link::Streaming, endpoint.as_ref()).await;
                }
                Ok(Said::Event(Event::Disconnected { endpoint, why, .. })) => {
                    self.state.lost(format!("{endpoint}: {why}"));
                    // A poll may have brought a newer one.
                    watch.hold(self.state.glance().version());
                }
                Err(error) => self.state.lost(error.to_string()),
            }
        }
    }

    async fn poll(&self) {
        let mut streaming = self.state.streaming();
        // The sender is in `self`, so waiting never fails.
        loop {
            let _ = streaming.wait_for(|streaming| !streaming).await;
            if timeout(POLL_AFTER, streaming.wait_for(|streaming| *streaming)).await.is_ok() {
                continue;
            }
            while !*streaming.borrow_and_update() {
                self.poll_once().await;
                let pause = self.poll_every.mul_f64(0.5 + fastrand::f64());
                let _ = timeout(pause, streaming.wait_for(|streaming| *streaming)).await;
            }
        }
    }

    async fn poll_once(&self) {
        let message = GetConfigRequest {
            project: self.project.clone(),
            environment: self.environment.clone(),
            since_version: self.state.glance().version(),
            demand: self.demand,
        };
        let answer = self.client.fetch(message).await.and_then(|answer| {
            let serves = answer.release.as_ref().map(|release| release.version);
            Ok((serves, answer.try_into()?))
        });
        match answer {
            Ok((_, Fetched::Config(config))) => self.state.offer(config, Link::Polling, None).await,
            Ok((serves, Fetched::NotModified(stamp))) => {
                self.state.confirm(serves, &stamp, Link::Polling, None).await;
            }
            Err(error) => self.state.unheard(error.to_string()),
        }
    }
}
