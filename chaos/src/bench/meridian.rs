//! Our side: `meridian bench publish`, as any operator would run it.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context as _, ensure};
use serde_json::Value;
use tokio::process::Command;

use super::Point;
use crate::cluster::Cluster;

/// How to reach the cluster.
pub(super) struct Bench {
    binary: PathBuf,
    endpoints: String,
    operator_token: String,
}

impl Bench {
    pub(super) fn new(binary: &Path, cluster: &Cluster) -> Self {
        let operator_token = cluster.operator_token().to_owned();
        Self { binary: binary.to_owned(), endpoints: cluster.endpoints(), operator_token }
    }

    /// One measurement. The answer is what the program printed.
    pub(super) async fn publish(&self, seconds: u64, with: &[&str]) -> anyhow::Result<Value> {
        let output = Command::new(&self.binary)
            .args(["bench", "publish", "--output", "json", "--seconds", &seconds.to_string()])
            .args(with)
            .env("MERIDIAN_ENDPOINTS", &self.endpoints)
            .env("MERIDIAN_TOKEN", &self.operator_token)
            .stdin(Stdio::null())
            .stderr(Stdio::inherit())
            .kill_on_drop(true)
            .output()
            .await?;
        ensure!(output.status.success(), "meridian bench publish ended with {}", output.status);
        serde_json::from_slice(&output.stdout).context("meridian bench publish printed no JSON")
    }
}

/// The figures of the small documents.
pub(super) fn point(report: &Value) -> anyhow::Result<Point> {
    let number = |key: &str| report[key].as_f64().with_context(|| format!("the report has no {key}"));
    let errors = report["errors"].as_object().context("the report has no errors")?;
    Ok(Point {
        rate_per_s: number("rate_per_s")?,
        p50_ms: number("p50_ms")?,
        p99_ms: number("p99_ms")?,
        errors: errors.values().filter_map(Value::as_u64).sum(),
    })
}
