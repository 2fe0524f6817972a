//! `meridian backup`: what an operator takes by hand.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use meridian_client::{Client, Options};
use meridian_ctl::Global;
use meridian_replication::recovery::Archive;
use serde_json::json;
use tempfile::NamedTempFile;

use super::{Error, Target, keep, verified};

/// `meridian backup`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct Backup {
    #[command(subcommand)]
    verify: Option<BackupCommand>,

    /// Where it goes: a path, file:///path, or s3://bucket/key with credentials from AWS_… in the environment
    #[arg(value_name = "FILE|URL", required = true)]
    target: Option<String>,

    /// Replace what is there
    #[arg(long)]
    overwrite: bool,
}

#[derive(Debug, Subcommand)]
enum BackupCommand {
    /// Read a backup to its end and say what is in it, or what is wrong with it
    Verify {
        /// Where it is
        #[arg(value_name = "FILE|URL")]
        target: String,
    },
}

/// Runs it; the answer is what to print.
pub async fn run(global: Global, command: Backup) -> Result<String, Error> {
    let as_json = global.output == meridian_ctl::OutputFormat::Json;
    if let Some(BackupCommand::Verify { target }) = command.verify {
        let target = Target::file(&target)?;
        let (archive, _fetched) = verified(&target, &std::env::temp_dir()).await?;
        return Ok(shown("verified", &archive, &target, as_json));
    }
    let target = Target::file(&command.target.unwrap_or_default())?;
    if !command.overwrite && target.exists().await? {
        return Err(Error::Exists(target.to_string()));
    }
    let received = receive(global, &spool(&target)).await?;
    let local = Target::file(&received.path().to_string_lossy())?;
    let (archive, _) = verified(&local, Path::new("")).await?;
    keep(received.path(), &target).await?;
    Ok(shown("backed up", &archive, &target, as_json))
}

/// Beside the place of a local backup, where there must be room for it anyway.
fn spool(target: &Target) -> PathBuf {
    let beside = target.local().and_then(|path| path.parent().map(Path::to_owned));
    beside.unwrap_or_else(std::env::temp_dir)
}

/// What a node sends, as it announced it.
async fn receive(global: Global, spool: &Path) -> Result<NamedTempFile, Error> {
    let Global { endpoints, token, deadline, output: _ } = global;
    let token = token.filter(|token| !token.expose().is_empty());
    let client = Client::new(Options { token, deadline, ..Options::new(endpoints) })?;
    let mut file = NamedTempFile::new_in(spool).map_err(Error::file("make a temporary file in", spool))?;
    let mut backup = client.backup().await?;
    while let Some(chunk) = backup.next().await? {
        file.write_all(&chunk).map_err(Error::file("write", file.path()))?;
    }
    Ok(file)
}

fn shown(done: &str, archive: &Archive, target: &Target, as_json: bool) -> String {
    let Archive { cluster_id, revision, fresh_as_of_ms, environments, documents, .. } = archive;
    if as_json {
        let facts = json!({
            "target": target.to_string(),
            "cluster_id": cluster_id,
            "revision": revision,
            "fresh_as_of_ms": fresh_as_of_ms,
            "environments": environments,
            "documents": documents,
        });
        return facts.to_string();
    }
    format!(
        "{done}: cluster {cluster_id} at revision {revision}, {environments} environments, {documents} documents, in \
         {target}"
    )
}
