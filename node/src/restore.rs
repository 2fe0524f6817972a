//! `meridian restore`: begins a cluster with what a backup holds, on a node that is stopped and empty.

use std::path::Path;

use clap::Args;
use meridian_replication::recovery::{self, Restore};

use crate::backup::{self, Target, verified};
use crate::config::Config;

/// `meridian restore`, beside the configuration of the node.
#[derive(Debug, Args)]
pub struct Source {
    /// The backup: a path, file:///path, or s3://bucket/key with credentials from AWS_… in the environment
    #[arg(value_name = "FILE|URL")]
    target: String,

    /// Take a backup of this other cluster, whose data begins the one of the configuration
    #[arg(long, value_name = "CLUSTER")]
    from_cluster: Option<String>,
}

/// Verifies the backup, then puts it into the node's data directory. The answer is what to print.
pub async fn run(source: Source, config: &Config) -> Result<String, backup::Error> {
    let target = Target::file(&source.target)?;
    // There is room for it, or there is none for the restored data either.
    let beside = config.data_dir.parent().filter(|parent| parent.is_dir()).map(Path::to_owned);
    let spool = beside.unwrap_or_else(std::env::temp_dir);
    let (archive, fetched) = verified(&target, &spool).await?;
    let options = config.replication();
    let restore = Restore {
        cluster_id: options.cluster_id,
        from_cluster: source.from_cluster,
        node_id: options.node_id,
        own: options.own,
        data_dir: options.data_dir,
    };
    let (node_id, cluster_id) = (restore.node_id, restore.cluster_id.clone());
    let revision = archive.revision;
    let restored = tokio::task::spawn_blocking(move || recovery::restore(&archive, &restore)).await;
    restored.unwrap_or_else(|panicked| std::panic::resume_unwind(panicked.into_panic()))?;
    drop(fetched);
    Ok(format!(
        "restored cluster {cluster_id} at revision {revision} on node {node_id}, its only voter. start it, then let the \
         others join: empty data directories, and `join.seeds` with this node's peer address"
    ))
}
