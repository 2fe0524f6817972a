//! A writer at fixed times: publishes are sent at a steady rate whatever became of those before them, so that what one
//! of them waits for holds up no other one, and an outage is seen from its first moment to its last.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use meridian_client::proto::admin::{CreateEnvironmentRequest, CreateProjectRequest, PublishRequest};
use meridian_client::proto::config::Format;
use meridian_client::{Client, Error};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use crate::cluster::Cluster;

/// What the probe writes, for those who read it.
pub(crate) const PROJECT: &str = "probe";
/// See [`PROJECT`].
pub(crate) const ENVIRONMENT: &str = "probe";

/// Between two publishes, where an outage is measured: two hundred a second are little work for a cluster.
pub(crate) const FINE: Duration = Duration::from_millis(5);

/// Publishes on their way: those of an outage of ten seconds. When there are more, the rest is left out, which shows as
/// a gap like any other.
const IN_FLIGHT: usize = 2_000;

/// For one publish, over all attempts: longer than any outage that is measured.
const DEADLINE: Duration = Duration::from_secs(20);

/// How often somebody who waits for an acknowledgement looks; what is measured are the times that were noted.
const LOOK_INTERVAL: Duration = Duration::from_millis(10);

/// A probe at work. Ends when dropped.
pub(crate) struct Probe {
    began: Instant,
    acks: Arc<Mutex<Vec<Ack>>>,
    task: JoinHandle<()>,
}

/// A publish that was acknowledged, by the time since the probe began.
#[derive(Clone, Copy, Debug)]
struct Ack {
    sent: Duration,
    ended: Duration,
}

impl Probe {
    /// Makes a place to publish to, and begins. Returns after the first acknowledgement.
    pub(crate) async fn start(cluster: &Cluster, pause: Duration) -> anyhow::Result<Self> {
        let client = cluster.client(0, DEADLINE)?;
        let project = CreateProjectRequest { project: PROJECT.to_owned(), ..Default::default() };
        client.create_project(project).await.context("cannot make the project of the probe")?;
        let environment = CreateEnvironmentRequest {
            project: PROJECT.to_owned(),
            environment: ENVIRONMENT.to_owned(),
            ..Default::default()
        };
        client.create_environment(environment).await.context("cannot make the environment of the probe")?;
        publish(&client, 0).await.context("cannot publish")?;

        let acks = Arc::<Mutex<Vec<Ack>>>::default();
        let began = Instant::now();
        let task = tokio::spawn(send(client, pause, acks.clone(), began));
        Ok(Self { began, acks, task })
    }

    /// The time since it began.
    pub(crate) fn now(&self) -> Duration {
        self.began.elapsed()
    }

    /// From `at` to the end of the first publish that was sent after it and acknowledged. `None` if there was none for
    /// this long.
    pub(crate) async fn next_ack(&self, at: Duration, patience: Duration) -> Option<Duration> {
        let until = at + patience;
        loop {
            let next = lock(&self.acks).iter().filter(|ack| ack.sent >= at).map(|ack| ack.ended).min();
            if next.is_some() || self.now() > until {
                return next.map(|ended| ended - at);
            }
            sleep(LOOK_INTERVAL).await;
        }
    }

    /// The longest time without an acknowledgement since `at`.
    pub(crate) fn longest_gap(&self, at: Duration) -> Duration {
        let mut ended: Vec<_> =
            lock(&self.acks).iter().map(|ack| ack.ended).filter(|ended| *ended >= at).collect();
        ended.push(at);
        ended.sort_unstable();
        ended.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or(Duration::MAX)
    }

    /// How long publishes took that were sent since `at` and acknowledged.
    pub(crate) fn latencies(&self, at: Duration) -> Vec<Duration> {
        lock(&self.acks).iter().filter(|ack| ack.sent >= at).map(|ack| ack.ended - ack.sent).collect()
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn send(client: Client, pause: Duration, acks: Arc<Mutex<Vec<Ack>>>, began: Instant) {
    let places = Arc::new(Semaphore::new(IN_FLIGHT));
    let mut interval = interval(pause);
    // A late one counts from when it should have been sent.
    interval.set_missed_tick_behavior(MissedTickBehavior::Burst);
    for number in 1.. {
        let sent = interval.tick().await.duration_since(began);
        let Ok(place) = places.clone().try_acquire_owned() else { continue };
        let (client, acks) = (client.clone(), acks.clone());
        tokio::spawn(async move {
            let published = publish(&client, number).await;
            drop(place);
            if published.is_ok() {
                lock(&acks).push(Ack { sent, ended: began.elapsed() });
            }
        });
    }
}

async fn publish(client: &Client, number: u64) -> Result<(), Error> {
    let message = PublishRequest {
        project: PROJECT.to_owned(),
        environment: ENVIRONMENT.to_owned(),
        format: Format::Json.into(),
        document: format!(r#"{{"number":{number}}}"#).into(),
        ..Default::default()
    };
    client.publish(message).await.map(|_| ())
}

fn lock(acks: &Mutex<Vec<Ack>>) -> MutexGuard<'_, Vec<Ack>> {
    acks.lock().unwrap_or_else(PoisonError::into_inner)
}
