//! How a node stands to its readers: when it calls itself stale, how it lets go of them, and where backups go.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::reader::{Reader, Table};

/// When answers are marked as possibly old.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Freshness {
    /// From here on answers say that they are degraded. They are given all the same.
    pub degraded_after: Duration,
    /// From here on `/freshz` and the health of the config services say no. Not below `degraded_after`.
    pub bound: Duration,
}

impl Default for Freshness {
    fn default() -> Self {
        Self { degraded_after: Duration::from_secs(5), bound: Duration::from_secs(60) }
    }
}

/// How a node leaves service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drain {
    /// Streams are ended one by one over this time, so that their clients do not arrive elsewhere all at once.
    pub window: Duration,
}

impl Default for Drain {
    fn default() -> Self {
        Self { window: Duration::from_secs(10) }
    }
}

/// Where backups go by themselves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backup {
    /// A directory or an object store, such as `file:///var/backups` or `s3://bucket/prefix`.
    pub url: String,
    /// From one to the next.
    pub interval: Duration,
    /// How many are kept; older ones are removed.
    pub keep: usize,
}

/// A proof of freshness comes about twice a second: below this, every hiccup would be called degraded.
const FRESHNESS_MS: RangeInclusive<u64> = 1_000..=86_400_000;

/// Longer than this, nobody waits for a node to leave.
const WINDOW_MS: RangeInclusive<u64> = 0..=600_000;

/// More often is replication, which there is; less often than monthly is forgotten.
const INTERVAL_MS: RangeInclusive<u64> = 1_000..=2_678_400_000;

const KEEP: RangeInclusive<u64> = 1..=10_000;

pub(super) fn read_freshness(reader: &mut Reader, root: &mut Table) -> Option<Freshness> {
    let default = Freshness::default();
    let mut table = reader.table(root, "freshness");
    let degraded_after = milliseconds(reader, &mut table, "degraded_after_ms", default.degraded_after);
    let bound = milliseconds(reader, &mut table, "bound_ms", default.bound);
    reader.close(table);
    let freshness = Freshness { degraded_after: degraded_after?, bound: bound? };
    let keys =
        [("freshness.degraded_after_ms", freshness.degraded_after), ("freshness.bound_ms", freshness.bound)];
    let fit = keys.map(|(key, given)| within(reader, key, millis(given), FRESHNESS_MS, "milliseconds"));
    if fit == [true, true] && freshness.bound < freshness.degraded_after {
        reader.refuse(
            "freshness.bound_ms",
            format!(
                "must be at least freshness.degraded_after_ms ({}): a node is degraded before it is given up",
                millis(freshness.degraded_after)
            ),
        );
    }
    Some(freshness)
}

pub(super) fn read_drain(reader: &mut Reader, root: &mut Table) -> Option<Drain> {
    let mut table = reader.table(root, "drain");
    let window = milliseconds(reader, &mut table, "window_ms", Drain::default().window);
    reader.close(table);
    let window = window?;
    within(reader, "drain.window_ms", millis(window), WINDOW_MS, "milliseconds");
    Some(Drain { window })
}

/// `Some(None)`: no backups are asked for.
pub(super) fn read_backup(reader: &mut Reader, root: &mut Table) -> Option<Option<Backup>> {
    const DEFAULT_INTERVAL: Duration = Duration::from_secs(3_600);
    const DEFAULT_KEEP: u64 = 24;
    let mut table = reader.table(root, "backup");
    let url = reader.absent_or::<String>(&mut table, "url");
    let interval = milliseconds(reader, &mut table, "interval_ms", DEFAULT_INTERVAL);
    let keep = reader.optional(&mut table, "keep", DEFAULT_KEEP);
    reader.close(table);
    let (url, interval, keep) = (url?, interval?, keep?);
    within(reader, "backup.interval_ms", millis(interval), INTERVAL_MS, "milliseconds");
    within(reader, "backup.keep", keep, KEEP, "backups");
    let Some(url) = url else { return Some(None) };
    if !is_url(&url) {
        reader.refuse(
            "backup.url",
            "is no URL: write file:///directory, or s3://bucket/prefix and the like; credentials belong into the \
             environment of the process",
        );
    }
    Some(Some(Backup { url, interval, keep: keep.try_into().unwrap_or(usize::MAX) }))
}

/// A scheme, and something behind it. No credentials: the URL is shown.
fn is_url(text: &str) -> bool {
    text.split_once("://").is_some_and(|(scheme, rest)| {
        let scheme_is_valid = scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'+');
        scheme_is_valid && !scheme.is_empty() && !rest.is_empty() && !rest.contains('@')
    })
}

fn milliseconds(
    reader: &mut Reader,
    table: &mut Table,
    key: &'static str,
    default: Duration,
) -> Option<Duration> {
    reader.optional(table, key, millis(default)).map(Duration::from_millis)
}

fn millis(duration: Duration) -> u64 {
    duration.as_millis().try_into().unwrap_or(u64::MAX)
}

/// Says whether the number fits; if not, it is refused.
fn within(reader: &mut Reader, key: &str, given: u64, range: RangeInclusive<u64>, unit: &str) -> bool {
    let fits = range.contains(&given);
    if !fits {
        reader.refuse(key, format!("must be {} to {} {unit}", range.start(), range.end()));
    }
    fits
}
