//! Readers at fixed times: applications in every region that read one environment through the shipped client, at a
//! steady rate whatever becomes of the reads before. A read counts from the moment it should have been sent.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use meridian_client::Reader;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval, sleep};

use crate::cluster::Cluster;
use crate::figures::Figures;
use crate::probe;
use crate::verdict::Check;

/// An application gives up on a read after this: to it, a slower answer is none.
const DEADLINE: Duration = Duration::from_secs(2);

/// Reads on their way. More than fit into [`DEADLINE`] at any rate that this is used with: what finds no place has
/// failed.
const IN_FLIGHT: usize = 10_000;

/// Reads that failed or went back are told up to this number; all are counted.
const TOLD: usize = 20;

/// Readers at work. They end when dropped.
pub(crate) struct Readers {
    seen: Arc<Mutex<Seen>>,
    task: JoinHandle<()>,
}

/// What the readers saw.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    pub(crate) took: Vec<Duration>,
    pub(crate) failed: u64,
    pub(crate) backwards: u64,
    told: Vec<String>,
}

impl Readers {
    /// One application in the region of each node; together they read so often in a second. Each has read once when
    /// this returns. Reads what the probe writes.
    pub(crate) async fn start(cluster: &Cluster, per_second: u32) -> anyhow::Result<Self> {
        let mut readers = Vec::with_capacity(cluster.nodes.len());
        for index in 0..cluster.nodes.len() {
            let client = cluster.client_in_region(index, DEADLINE)?;
            let reader = client.reader(probe::PROJECT, probe::ENVIRONMENT);
            let name = cluster.nodes[index].name;
            reader.read().await.with_context(|| format!("the application in {name} cannot read"))?;
            readers.push((name, reader));
        }
        let seen = Arc::<Mutex<Seen>>::default();
        let task = tokio::spawn(read(readers, Duration::from_secs(1) / per_second, seen.clone()));
        Ok(Self { seen, task })
    }

    /// How many reads have ended so far.
    pub(crate) fn count(&self) -> usize {
        let seen = lock(&self.seen);
        seen.took.len() + usize::try_from(seen.failed).unwrap_or(usize::MAX)
    }

    /// Lets those finish that are on their way, and tells what was seen.
    pub(crate) async fn stop(self) -> Seen {
        self.task.abort();
        sleep(DEADLINE).await;
        lock(&self.seen).clone()
    }
}

impl Drop for Readers {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn read(readers: Vec<(&'static str, Reader)>, pause: Duration, seen: Arc<Mutex<Seen>>) {
    let places = Arc::new(Semaphore::new(IN_FLIGHT));
    let mut interval = interval(pause);
    // A late one counts from when it should have been sent.
    interval.set_missed_tick_behavior(MissedTickBehavior::Burst);
    for (name, reader) in readers.into_iter().cycle() {
        let intended = interval.tick().await;
        let Ok(place) = places.clone().try_acquire_owned() else {
            lock(&seen).fail(format!("{name}: {IN_FLIGHT} reads are unanswered"));
            continue;
        };
        let seen = seen.clone();
        tokio::spawn(async move {
            let held = reader.version();
            let read = reader.read().await;
            drop(place);
            let took = intended.elapsed();
            let mut seen = lock(&seen);
            match read {
                Ok(config) if config.release.version < held => {
                    seen.backwards += 1;
                    seen.tell(format!("{name}: version {} after {held}", config.release.version));
                }
                Ok(_) => seen.took.push(took),
                Err(error) => seen.fail(format!("{name}, after {} ms: {error}", took.as_millis())),
            }
        });
    }
}

impl Seen {
    fn fail(&mut self, what: String) {
        self.failed += 1;
        self.tell(what);
    }

    fn tell(&mut self, what: String) {
        if self.told.len() < TOLD {
            self.told.push(what);
        }
    }

    /// How long the reads took that were answered.
    pub(crate) fn figures(&self) -> Figures {
        Figures::of(self.took.iter().copied())
    }

    /// Nobody noticed anything: none failed, none went back, and 99 of 100 took less than this.
    pub(crate) fn checks(&self, p99_below: Duration) -> [Check; 2] {
        let p99_ms = self.figures().p99_ms;
        let slow = p99_ms >= p99_below.as_secs_f64() * 1e3;
        let slow =
            slow.then(|| format!("p99 is {p99_ms:.1} ms, and must be below {} ms", p99_below.as_millis()));
        [
            Check::counted("no read failed or went back", self.failed + self.backwards, &self.told),
            Check::new("99 of 100 reads are answered in time", slow),
        ]
    }
}

fn lock(seen: &Mutex<Seen>) -> MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}
