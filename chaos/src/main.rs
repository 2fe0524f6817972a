//! `meridian-chaos`: the command line.

use std::io::Write as _;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use meridian_chaos::{bench, crash_loop, failover, one_way, power_loss, region_loss, rolling_restart};
use tokio::runtime::Runtime;

/// Hurts real Meridian processes and says whether they kept their promises
#[derive(Debug, Parser)]
#[command(
    name = "meridian-chaos",
    version,
    after_help = "Exit codes: 0 every promise was kept, or SKIPPED was printed; 1 a promise was broken; 2 no verdict: the \
                  run did not do what it was to do."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    CrashLoop(crash_loop::Args),
    PowerLoss(power_loss::Args),
    RegionLoss(region_loss::Args),
    OneWay(one_way::Args),
    RollingRestart(rolling_restart::Args),
    Failover(failover::Args),
    Bench(bench::Args),
}

/// There is no verdict.
const INCONCLUSIVE: u8 = 2;

fn main() -> ExitCode {
    let command = Cli::parse().command;
    let ended = Runtime::new().map_err(Into::into).and_then(|runtime| {
        runtime.block_on(async {
            match command {
                Command::CrashLoop(args) => crash_loop::run(args).await.map(|verdict| verdict.exit_code()),
                Command::PowerLoss(args) => power_loss::run(args).await,
                Command::RegionLoss(args) => region_loss::run(args).await.map(|verdict| verdict.exit_code()),
                Command::OneWay(args) => one_way::run(args).await.map(|verdict| verdict.exit_code()),
                Command::RollingRestart(args) => {
                    rolling_restart::run(args).await.map(|verdict| verdict.exit_code())
                }
                Command::Failover(args) => failover::run(args).await.map(|verdict| verdict.exit_code()),
                Command::Bench(args) => bench::run(args).await.map(|()| 0),
            }
        })
    });
    let code = ended.unwrap_or_else(|error: anyhow::Error| {
        let _ = writeln!(std::io::stderr(), "error: {error:#}");
        INCONCLUSIVE
    });
    code.into()
}
