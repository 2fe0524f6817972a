//! The command line of `meridian`.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use meridian_ctl::Global;

/// Replicates project configs between regions and serves them to SDKs
///
/// Regional nodes agree on versioned configs (feature gates, experiments,
/// dynamic configs) through Raft, keep them in memory and serve them over gRPC
/// and HTTP. A region may vanish and nobody who reads a config notices.
///
/// To try it:      meridian dev
/// To run a node:  meridian check-config node.toml
///                 meridian serve --config node.toml
/// To publish:     meridian publish shop/live config.json --format json
#[derive(Debug, Parser)]
#[command(
    name = "meridian",
    version,
    verbatim_doc_comment,
    after_help = "Exit codes of serve, check-config, token and dev: 0 done, 1 failed, 2 wrong usage or configuration. \
                  The operator commands list theirs in their own help."
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,

    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a node
    ///
    /// Runs until SIGTERM or SIGINT, then hands leadership over, finishes what it is answering and exits with 0; a
    /// second signal ends it at once. Logs go to stderr.
    Serve(Serve),

    /// Check a configuration and show what would be in force, and why
    ///
    /// Prints each setting with its origin, and warnings about what works but is seldom meant. Nothing is started.
    CheckConfig(CheckConfig),

    /// Make an operator token, and its hash for auth.operator_token_sha256
    ///
    /// The token is shown once and kept nowhere.
    Token,

    /// Run a whole cluster on this machine, to try things on
    Dev(meridian::dev::Args),

    /// Measure a cluster
    #[command(subcommand)]
    Bench(meridian::bench::Command),

    /// Copy everything the cluster holds to a file or an object store, and verify the copy
    ///
    /// Taken from whichever node answers, beside its traffic, and of one instant. A local file is replaced whole or not
    /// at all.
    Backup(meridian::backup::Backup),

    /// Begin a cluster with a backup: put it into the empty data directory of a stopped node
    ///
    /// The node then starts as the only voter, and others join it. Everything is verified before anything is written.
    Restore(Restore),

    /// Bring a cluster back that lost a majority of its voters, from the survivor that holds most
    ///
    /// Stop what is left, run `meridian recover inspect --output json` on each survivor, then this on the one whose log
    /// reaches furthest. What nobody holds any more is lost: it is said what that may be, and nothing happens before you
    /// agree. With a majority of the voters left, start them instead.
    Recover(meridian::recover::Recover),

    #[command(flatten)]
    Operate(meridian_ctl::Command),
}

#[derive(Debug, Args)]
pub(crate) struct Serve {
    /// Configuration, TOML or JSON
    #[arg(long, value_name = "FILE", env = "MERIDIAN_CONFIG")]
    pub(crate) config: PathBuf,

    #[command(flatten)]
    pub(crate) overrides: Overrides,

    /// Stop when stdin closes, so that a node does not outlive the program that started it
    #[arg(long, hide = true)]
    pub(crate) until_stdin_closes: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Restore {
    #[command(flatten)]
    pub(crate) source: meridian::restore::Source,

    /// Configuration of the node that is to be the first one
    #[arg(long, value_name = "FILE", env = "MERIDIAN_CONFIG")]
    pub(crate) config: PathBuf,

    #[command(flatten)]
    pub(crate) overrides: Overrides,
}

#[derive(Debug, Args)]
pub(crate) struct CheckConfig {
    /// Configuration, TOML or JSON
    #[arg(value_name = "FILE", env = "MERIDIAN_CONFIG")]
    pub(crate) config: PathBuf,

    #[command(flatten)]
    pub(crate) overrides: Overrides,
}

#[derive(Debug, Args)]
pub(crate) struct Overrides {
    /// Set one key, e.g. --set listen.grpc=127.0.0.1:0
    ///
    /// Wins over the environment, where the same key is MERIDIAN_LISTEN__GRPC, and that over the file.
    #[arg(long, value_name = "KEY=VALUE", value_parser = setting)]
    pub(crate) set: Vec<(String, String)>,
}

fn setting(text: &str) -> Result<(String, String), &'static str> {
    let (key, value) = text.split_once('=').ok_or("write key=value")?;
    Ok((key.trim().to_owned(), value.to_owned()))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
