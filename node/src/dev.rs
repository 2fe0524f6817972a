//! `meridian dev`: a whole cluster on this machine, to try things on.
//!
//! One child process per region, each with its own data directory and four ports of loopback; a sample project,
//! published; then a live board. What is guaranteed: no child outlives this process, however it ends, and a killed
//! child stays dead unless `--restart` was given. With `--data-dir` the cluster, its operator token and its SDK key
//! are found again at the next start; without it everything is thrown away at the end.
//!
//! The cluster is open: it has a join token, and the configuration of one node more lies ready to be started by hand.
//!
//! Left to others: everything that a node does. The children run `meridian serve`, and this process talks to them
//! over gRPC as any operator would.

use std::io::{self, IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use meridian_ctl::OutputFormat;
use tokio::time::{MissedTickBehavior, interval, timeout};

mod announce;
mod board;
mod home;
mod node;
mod node_config;
mod observe;
mod ports;
mod regions;
mod seed;

pub use ports::{Listen, Ports};
pub use regions::Regions;

use crate::serve::asked_to_stop;
use announce::Announcement;
use board::Board;
use home::{Home, Wanted};
use node::Nodes;
use observe::Observer;

/// Debug builds on a busy machine take seconds to elect their first leader; a start that takes longer hangs.
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// How often the children are looked after and the board is drawn.
const TICK: Duration = Duration::from_secs(1);

/// A development cluster on this machine.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Keep everything here and go on with it at the next start [default: a new temporary directory, removed at the end]
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,

    /// Region number i listens on N+10*i and the three ports after it; 0 picks free ports [default: as kept, else 7400]
    #[arg(long, value_name = "N")]
    pub base_port: Option<u16>,

    /// One node in each, nine at most; the first ones vote (an odd number, up to five), the rest are learners [default:
    /// as kept, else us-east,eu-west,ap-south]
    #[arg(long, value_name = "A,B,C")]
    pub regions: Option<Regions>,

    /// Start a node again when it dies
    #[arg(long)]
    pub restart: bool,

    /// Stop when stdin closes, so that a script that dies leaves nothing running
    #[arg(long)]
    pub until_stdin_closes: bool,
}

/// Runs a cluster until SIGINT or SIGTERM, or until stdin closes if that was asked for. When it returns, no child is
/// left running.
///
/// On stdout: as text a board, redrawn once a second on a terminal, elsewhere a line per change; as JSON one line when
/// the cluster is ready, and then nothing.
///
/// Fails if the cluster cannot be brought up; the error names the region and shows the end of its log.
pub async fn run(args: Args, output: OutputFormat) -> anyhow::Result<()> {
    let stop = asked_to_stop(args.until_stdin_closes).context("cannot catch signals")?;
    let home = Home::open(args.data_dir, Wanted { regions: args.regions, base_port: args.base_port })?;
    home.check_ports()?;
    let mut nodes = Nodes::start(&home)?;
    let result = tokio::select! {
        () = stop => Ok(()),
        result = look_after(&mut nodes, &home, args.restart, output) => result,
    };
    nodes.stop().await;
    result
}

/// Brings the cluster up, says so, and shows it. Only an error ends it.
async fn look_after(
    nodes: &mut Nodes,
    home: &Home,
    restart: bool,
    output: OutputFormat,
) -> anyhow::Result<()> {
    tokio::select! {
        ready = timeout(START_TIMEOUT, seed::until_ready(home)) => {
            ready.context("the cluster did not become ready in time: give it a --data-dir and look into the logs there")??;
        }
        death = nodes.first_death() => return Err(death),
    }
    let announcement = Announcement::new(home, &nodes.pids());
    let mut out = io::stdout();
    let on_terminal = out.is_terminal();
    match output {
        OutputFormat::Json => writeln!(out, "{}", announcement.json()?)?,
        OutputFormat::Text if !on_terminal => writeln!(out, "{}", announcement.text())?,
        OutputFormat::Text => {}
    }
    out.flush()?;

    let mut observer = Observer::new(home)?;
    let mut shown = Board::default();
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        nodes.reap();
        if restart {
            nodes.revive()?;
        }
        if output == OutputFormat::Json {
            continue;
        }
        let seen = observer.look().await;
        let board = Board::new(nodes.processes(), seen, board::now_ms());
        if on_terminal {
            write!(out, "{}", board::screen(&board, &announcement.text()))?;
        } else {
            board.changes_since(&shown).iter().try_for_each(|line| writeln!(out, "{line}"))?;
        }
        out.flush()?;
        shown = board;
    }
}
