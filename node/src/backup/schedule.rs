//! Backups that take themselves: by the leader, at an interval, the last few of them kept.
//!
//! Every node runs this and only the one that leads does anything, so there is one backup at a time but for the moments
//! in which leadership changes; and a new leader waits until the last one is an interval old. No node takes more than one
//! an interval, whatever its clock says: a clock that jumps costs a backup too many, and not the history. A backup that
//! fails is counted, told in the log and tried again at the next turn. Nothing is removed before a newer one is verified.

use std::io;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use meridian_replication::Handle;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};
use tempfile::NamedTempFile;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::kept::Kept;
use super::{Error, Target, keep, verified};
use crate::config;
use crate::telemetry::with_causes;

/// How often it is looked whether a backup is due, at most: nodes that lead alternately must not each wait a whole
/// interval.
const LOOK_INTERVAL: Duration = Duration::from_secs(10);

/// What is known of the backups this node took.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    last_success: Gauge,
    size_bytes: Gauge,
    failures: Counter,
}

impl Metrics {
    /// Makes them, and shows them under `meridian_backup_…`.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register_with_unit(
            "meridian_backup_last_success",
            "When this node last finished a scheduled backup, Unix time; 0 for never",
            Unit::Seconds,
            metrics.last_success.clone(),
        );
        registry.register_with_unit(
            "meridian_backup_size",
            "Size of the scheduled backup that this node last finished",
            Unit::Bytes,
            metrics.size_bytes.clone(),
        );
        registry.register(
            "meridian_backup_failures",
            "Scheduled backups that this node could not finish",
            metrics.failures.clone(),
        );
        metrics
    }
}

/// Runs until `stopping`. A place that cannot be used is tried again at each turn: it may be mended from outside.
pub async fn run(handle: Handle, config: config::Backup, metrics: Metrics, stopping: CancellationToken) {
    let turns = async {
        let mut last = None;
        loop {
            sleep(jittered(LOOK_INTERVAL.min(config.interval))).await;
            if handle.status().leader != Some(handle.node_id()) {
                continue;
            }
            match take_if_due(&handle, &config, &mut last).await {
                Ok(None) => {}
                Ok(Some(taken)) => {
                    tracing::info!(
                        backup = taken.place,
                        bytes = taken.size_bytes,
                        "backup taken and verified"
                    );
                    metrics.last_success.set(i64::try_from(taken.at_ms / 1_000).unwrap_or(i64::MAX));
                    metrics.size_bytes.set(i64::try_from(taken.size_bytes).unwrap_or(i64::MAX));
                }
                Err(error) => {
                    tracing::error!(error = with_causes(&error), "no backup was taken");
                    metrics.failures.inc();
                    // What failed is not tried again at once.
                    sleep(jittered(config.interval)).await;
                }
            }
        }
    };
    let _: Option<()> = stopping.run_until_cancelled(turns).await;
}

/// Half of it to all of it: nodes that started together do not look together.
fn jittered(time: Duration) -> Duration {
    let mut random = [0; 4];
    // Without randomness they do look together, and that is all.
    let _ = getrandom::fill(&mut random);
    time.mul_f64(0.5 + f64::from(u32::from_be_bytes(random)) / f64::from(u32::MAX) / 2.0)
}

struct Taken {
    place: String,
    at_ms: u64,
    size_bytes: u64,
}

/// `last` is when this process began the last one that it wrote, by a clock that nobody sets.
async fn take_if_due(
    handle: &Handle,
    config: &config::Backup,
    last: &mut Option<Instant>,
) -> Result<Option<Taken>, Error> {
    let began = Instant::now();
    if last.is_some_and(|last| began.duration_since(last) < config.interval) {
        return Ok(None);
    }
    let place = Target::place(&config.url)?;
    let cluster_id = handle.cluster_id();
    let at_ms = now_ms();
    if !Kept::is_next_due(&Kept::among(&place.names().await?, cluster_id), at_ms, config.interval) {
        return Ok(None);
    }

    let export = handle.export().await?;
    let (revision, size_bytes) = (export.revision, export.size_bytes);
    let file = local_copy(export.file).await?;
    let written = Kept::new(cluster_id, at_ms, revision);
    let target = place.child(&written.name())?;
    verified(&Target::file(&file.path().to_string_lossy())?, &std::env::temp_dir()).await?;
    keep(file.path(), &target).await?;
    *last = Some(began);

    let kept = Kept::among(&place.names().await?, cluster_id);
    for old in Kept::surplus(kept, &written, config.keep) {
        place.child(&old.name())?.remove().await?;
    }
    Ok(Some(Taken { place: target.to_string(), at_ms, size_bytes }))
}

/// The exported file has no name of its own that would last.
async fn local_copy(mut from: std::fs::File) -> Result<NamedTempFile, Error> {
    let dir = std::env::temp_dir();
    let failed = |source| Error::File { doing: "write a temporary file in", path: dir.clone(), source };
    let copied = tokio::task::spawn_blocking(move || -> io::Result<NamedTempFile> {
        let mut to = NamedTempFile::new()?;
        io::copy(&mut from, &mut to)?;
        Ok(to)
    });
    match copied.await {
        Ok(copied) => copied.map_err(failed),
        Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
    }
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_millis().try_into().unwrap_or(u64::MAX)
}
