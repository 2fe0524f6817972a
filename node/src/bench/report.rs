//! What was measured. The JSON form is a contract with scripts: keys are added, never changed.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Serialize;

/// A measurement.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub(super) project: String,
    pub(super) clients: u32,
    pub(super) size_bytes: u32,
    pub(super) seconds: u64,
    #[serde(flatten)]
    pub(super) small: Figures,
    pub(super) large: Option<Large>,
    /// By region of the watcher.
    pub(super) pushed: BTreeMap<String, Pushed>,
    /// Elections that were tried meanwhile.
    pub(super) terms_begun: u64,
}

#[derive(Debug, Serialize)]
pub(super) struct Figures {
    pub(super) publishes: u64,
    pub(super) rate_per_s: f64,
    #[serde(flatten)]
    pub(super) latency: Latency,
    /// How often each was met, warm-up included.
    pub(super) errors: BTreeMap<String, u64>,
}

#[derive(Debug, Serialize)]
pub(super) struct Large {
    pub(super) clients: u32,
    pub(super) size_bytes: u32,
    #[serde(flatten)]
    pub(super) figures: Figures,
}

/// From the sending of a publish to its arrival at a watcher.
#[derive(Debug, Serialize)]
pub(super) struct Pushed {
    pub(super) count: u64,
    #[serde(flatten)]
    pub(super) latency: Latency,
}

#[derive(Debug, Serialize)]
pub(super) struct Latency {
    pub(super) p50_ms: f64,
    pub(super) p99_ms: f64,
    pub(super) max_ms: f64,
}

impl Report {
    /// The lines a person reads.
    pub(super) fn text(&self) -> String {
        let mut text = format!(
            "{} in flight, {} bytes: {}",
            self.clients,
            self.size_bytes,
            self.small.text(self.seconds)
        );
        if let Some(Large { clients, size_bytes, figures }) = &self.large {
            let _ = write!(text, "\n{clients} in flight, {size_bytes} bytes: {}", figures.text(self.seconds));
        }
        for (region, Pushed { count, latency }) in &self.pushed {
            let _ = write!(text, "\npublish to pushed in {region}: {} ({count} times)", latency.text());
        }
        let _ = write!(text, "\nelections meanwhile: {}", self.terms_begun);
        text
    }
}

impl Figures {
    fn text(&self, seconds: u64) -> String {
        let mut text = format!("{:.0}/s over {seconds} s, {}", self.rate_per_s, self.latency.text());
        for (error, count) in &self.errors {
            let _ = write!(text, "\n  {count} x {error}");
        }
        text
    }
}

impl Latency {
    fn text(&self) -> String {
        format!("p50 {:.1} ms, p99 {:.1} ms, max {:.1} ms", self.p50_ms, self.p99_ms, self.max_ms)
    }
}
