//! A writer: publishes one document after the other, and keeps what it was told of each.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use meridian_client::proto::admin::PublishRequest;
use meridian_client::proto::config::Format;
use meridian_client::{Client, Error, Published};
use tokio::time::{Instant, sleep};

use super::Written;
use super::environments::{Environments, PROJECT, Place};
use crate::document;
use crate::history::{Outcome, Publish};
use crate::random::Random;

const DOCUMENT_BYTES: usize = 1_024;

/// How often a publish whose outcome is unknown is repeated under its request id, by writers that do.
const REPEATS: usize = 3;

/// After a refusal. Where no node was found, the client has waited already.
const RETRY_PAUSE: Duration = Duration::from_millis(20);

pub(super) struct Writer {
    pub(super) client: Client,
    pub(super) environments: Arc<Environments>,
    pub(super) random: Random,
    /// When the run began.
    pub(super) started: Instant,
    pub(super) stop: Arc<AtomicBool>,
    /// Names the version its publishes must follow.
    pub(super) compares_and_sets: bool,
    /// Repeats what stayed unknown, under the same request id.
    pub(super) repeats_unknown: bool,
}

impl Writer {
    pub(super) async fn run(mut self) -> Written {
        let mut written = Written::default();
        while !self.stop.load(Ordering::Relaxed) {
            let lane = self.random.below(usize::MAX);
            let place = match self.environments.claim(&self.client, lane, &self.stop).await {
                Ok(Some(place)) => place,
                Ok(None) => break,
                Err(error) => {
                    // As when a project that was made is gone.
                    *written.refusals.entry(format!("cannot make an environment: {error}")).or_default() += 1;
                    break;
                }
            };
            let publish = self.publish(&place, &mut written).await;
            if let Some(version) = publish.acked_version() {
                place.newest.fetch_max(version, Ordering::Relaxed);
            }
            let refused = publish.outcome == Outcome::Refused;
            written.publishes.push(publish);
            if refused {
                sleep(RETRY_PAUSE).await;
            }
        }
        written
    }

    async fn publish(&mut self, place: &Place, written: &mut Written) -> Publish {
        let request_id = uuid::Uuid::new_v4().to_string();
        let document = document::json(&request_id, DOCUMENT_BYTES, &mut self.random);
        let digest = document::digest(&document);
        let expect_version = self.compares_and_sets.then(|| place.newest.load(Ordering::Relaxed));
        let message = PublishRequest {
            project: PROJECT.to_owned(),
            environment: Environments::name(place.environment),
            format: Format::Json.into(),
            document,
            expect_version,
            request_id,
            ..Default::default()
        };
        let sent = self.started.elapsed();
        let outcome = self.send(message, place, written).await;
        let environment = place.environment;
        Publish { environment, digest, expect_version, sent, ended: self.started.elapsed(), outcome }
    }

    async fn send(&self, message: PublishRequest, place: &Place, written: &mut Written) -> Outcome {
        let calls = if self.repeats_unknown { 1 + REPEATS } else { 1 };
        let mut in_doubt = false;
        for _ in 0..calls {
            match self.client.publish(message.clone()).await {
                Ok(published) => return acked(&published),
                Err(Error::Unknown { .. } | Error::Malformed { .. }) => in_doubt = true,
                // That a repeat found nobody says nothing of the call before it.
                Err(Error::Unavailable { .. } | Error::Busy { .. }) if in_doubt => sleep(RETRY_PAUSE).await,
                Err(error) => {
                    if let Error::Refused { current_version, .. } = &error {
                        place.newest.fetch_max(*current_version, Ordering::Relaxed);
                    }
                    *written.refusals.entry(reason(error)).or_default() += 1;
                    return Outcome::Refused;
                }
            }
        }
        Outcome::Unknown
    }
}

fn acked(published: &Published) -> Outcome {
    // A digest that cannot be read differs from the one that was sent, which the checker tells.
    let digest = document::parse_digest(&published.release.digest).unwrap_or_default();
    Outcome::Acked { version: published.release.version, digest }
}

/// Why a publish was refused, as one of few names.
fn reason(error: Error) -> String {
    match error {
        Error::Refused { reason, message, .. } | Error::NotFound { reason, message } => {
            if reason.is_empty() {
                message
            } else {
                reason
            }
        }
        Error::Unavailable { .. } => "unavailable".to_owned(),
        Error::Busy { .. } => "busy".to_owned(),
        other => other.to_string(),
    }
}
