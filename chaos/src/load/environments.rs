//! Where the writers publish. The cluster keeps the newest 1,000 releases of an environment, and the run is judged by
//! what it keeps: so an environment is left for a new one before that many were sent to it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use meridian_client::proto::admin::CreateEnvironmentRequest;
use meridian_client::{Client, Error};
use tokio::sync::Mutex;
use tokio::time::sleep;

/// Everything of a run is in here.
pub(crate) const PROJECT: &str = "chaos";

/// Publishes sent to one environment; each becomes at most one release.
const PUBLISHES: u32 = 900;

/// Environments in use at a time: fewer than writers, so that they meet.
const LANES: usize = 4;

const RETRY_PAUSE: Duration = Duration::from_millis(50);

/// The environments of a run.
pub(crate) struct Environments {
    lanes: [Mutex<Option<Place>>; LANES],
    used: AtomicU32,
}

/// An environment, for one publish.
#[derive(Clone)]
pub(crate) struct Place {
    pub(crate) environment: u32,
    /// The newest version that was acknowledged in it.
    pub(crate) newest: Arc<AtomicU64>,
    left: u32,
}

impl Environments {
    pub(super) fn new() -> Self {
        Self { lanes: Default::default(), used: AtomicU32::new(0) }
    }

    /// The name of an environment.
    pub(crate) fn name(environment: u32) -> String {
        format!("env-{environment:06}")
    }

    /// A place for one publish, in a new environment if need be. `None` if the run stops meanwhile.
    pub(super) async fn claim(
        &self,
        client: &Client,
        lane: usize,
        stop: &AtomicBool,
    ) -> Result<Option<Place>, Error> {
        let mut lane = self.lanes[lane % LANES].lock().await;
        if lane.as_ref().is_none_or(|place| place.left == 0) {
            let environment = self.used.fetch_add(1, Ordering::Relaxed);
            if !create(client, environment, stop).await? {
                return Ok(None);
            }
            *lane = Some(Place { environment, newest: Arc::default(), left: PUBLISHES });
        }
        let place = lane.as_mut().expect("it was filled above");
        place.left -= 1;
        Ok(Some(place.clone()))
    }

    /// An environment that is in use, for a reader; `None` while it is being made.
    pub(super) fn glance(&self, lane: usize) -> Option<Place> {
        self.lanes[lane % LANES].try_lock().ok()?.clone()
    }

    pub(super) fn used(&self) -> u32 {
        self.used.load(Ordering::Relaxed)
    }
}

/// False if the run stopped before it was known to be there.
async fn create(client: &Client, environment: u32, stop: &AtomicBool) -> Result<bool, Error> {
    let message = CreateEnvironmentRequest {
        project: PROJECT.to_owned(),
        environment: Environments::name(environment),
        request_id: uuid::Uuid::new_v4().to_string(),
    };
    while !stop.load(Ordering::Relaxed) {
        match client.create_environment(message.clone()).await {
            Ok(_) => return Ok(true),
            Err(Error::Refused { reason, .. }) if reason == "exists" => return Ok(true),
            Err(error) if error.is_retryable() => sleep(RETRY_PAUSE).await,
            Err(error) => return Err(error),
        }
    }
    Ok(false)
}
