//! What is done with the cluster itself: its members, who leads, who serves.

use std::time::Duration;

use clap::{ArgGroup, Args, Subcommand, ValueEnum};
use uuid::Uuid;

use super::documents::Repeat;
use super::examples;
use super::value::{up_to_a_day, up_to_an_hour};
use crate::exit::exit_codes;
use crate::names::Name;

/// `meridian member …`
#[derive(Clone, Debug, Subcommand)]
pub enum MemberCommand {
    /// List the members: who votes, who only learns, where each is reached
    #[command(after_help = examples!("meridian member list"))]
    List,

    /// Let a node in as a learner, without a join token
    ///
    /// The node must be running and reachable at this peer address (`listen.peer` of its configuration). It tells which
    /// node it is and where it stands; it gets the log, serves reads, and has no vote until it is promoted.
    #[command(after_help = examples!("meridian member add 10.1.0.9:7401"))]
    Add {
        /// Where other nodes reach it: host:port of its peer listener
        #[arg(value_name = "PEER_ADDRESS", value_parser = host_and_port)]
        peer_address: String,
        #[command(flatten)]
        caution: Caution,
    },

    /// Give learners a vote; refused while one of them has not caught up
    ///
    /// Name two at once where one alone would make the number of voters even.
    #[command(after_help = examples!("meridian member promote 4 5"))]
    Promote(Named),

    /// Take voters their vote; they stay as learners and go on serving
    #[command(after_help = examples!("meridian member demote 4 5"))]
    Demote(Named),

    /// Take nodes out of the cluster for good
    ///
    /// A removed node stops by itself when it hears of it, and its id is not used again: to bring the machine back,
    /// give it a new id and an empty data directory.
    #[command(after_help = examples!("meridian member remove 6", "meridian member remove 4 5 --dry-run"))]
    Remove(Named),

    /// Give the vote of one node to a learner, in one step; the old one leaves the cluster for good
    #[command(after_help = examples!("meridian member replace 2 6"))]
    Replace {
        /// The voter that leaves
        #[arg(value_parser = node_id())]
        old: u64,
        /// The learner that takes its place; it must have caught up
        #[arg(value_parser = node_id())]
        new: u64,
        #[command(flatten)]
        caution: Caution,
    },
}

/// Nodes, and how careful to be.
#[derive(Clone, Debug, Args)]
pub struct Named {
    /// Their ids, as `member list` shows them
    #[arg(value_name = "NODE", required = true, value_parser = node_id())]
    pub nodes: Vec<u64>,
    #[command(flatten)]
    pub caution: Caution,
}

/// How careful a change of members is.
#[derive(Clone, Copy, Debug, Default, Args)]
pub struct Caution {
    /// Do it although a rule speaks against it: an even number of voters, a region with the majority of them, a
    /// majority that would not answer. What was overridden is told
    #[arg(long)]
    pub force: bool,
    /// Check only, and change nothing
    #[arg(long, alias = "validate-only")]
    pub dry_run: bool,
}

/// `meridian leader …`
#[derive(Clone, Debug, Subcommand)]
pub enum LeaderCommand {
    /// Show who leads, since which term
    #[command(after_help = examples!("meridian leader show"))]
    Show,

    /// Let another voter lead; ends when it does
    ///
    /// With a placement in force the leader goes back to a preferred region after a while: to keep a region free of
    /// the leader, drain it, or change the placement.
    #[command(after_help = examples!("meridian leader transfer", "meridian leader transfer --to 3"))]
    Transfer {
        /// Which voter [default: the one that the placement prefers]
        #[arg(long, value_name = "NODE", value_parser = node_id())]
        to: Option<u64>,
    },
}

/// `meridian placement …`
#[derive(Clone, Debug, Subcommand)]
pub enum PlacementCommand {
    /// Show where the leader should be, and whether lost voters are replaced
    #[command(after_help = examples!("meridian placement show"))]
    Show,

    /// Say where the leader should be, and whether lost voters are replaced
    ///
    /// What is not named stays as it is. If somebody else changes the placement meanwhile, yours is refused.
    #[command(after_help = examples!(
        "meridian placement set us-east,eu-west,ap-south",
        "meridian placement set --repair-after 5m",
        "meridian placement set --anywhere --no-repair"
    ))]
    Set(SetPlacement),
}

/// `meridian placement set`
#[derive(Clone, Debug, Args)]
#[group(skip)]
#[command(group(
    ArgGroup::new("what")
        .required(true)
        .multiple(true)
        .args(["regions", "anywhere", "repair_after", "no_repair"])
))]
pub struct SetPlacement {
    /// Regions for the leader, most preferred first
    #[arg(value_name = "REGION,…", value_delimiter = ',', conflicts_with = "anywhere")]
    pub regions: Vec<Name>,
    /// No preference: whoever is elected leads on
    #[arg(long)]
    pub anywhere: bool,
    /// Replace a voter by a caught-up learner when it was unreachable for so long, e.g. 5m
    #[arg(long, value_name = "TIME", value_parser = up_to_a_day, conflicts_with = "no_repair")]
    pub repair_after: Option<Duration>,
    /// Leave lost voters alone, as it is from the start
    #[arg(long)]
    pub no_repair: bool,
    /// Refuse unless the placement has this version; 0: unless it was never set [default: the one just read]
    #[arg(long, value_name = "N")]
    pub expect_version: Option<u64>,
}

/// `meridian drain` and `undrain`
#[derive(Clone, Debug, Args)]
pub struct ServiceChange {
    /// Which nodes, by id
    #[arg(value_name = "NODE", required_unless_present = "region", value_parser = node_id())]
    pub nodes: Vec<u64>,
    /// All nodes of one region
    #[arg(long, conflicts_with = "nodes")]
    pub region: Option<Name>,
    /// How long to wait until it has come so far
    #[arg(
        long,
        value_name = "TIME",
        default_value = "2m",
        value_parser = up_to_an_hour,
        conflicts_with = "no_wait"
    )]
    pub timeout: Duration,
    /// End as soon as the cluster has agreed; `meridian status` shows how far it is
    #[arg(long)]
    pub no_wait: bool,
    #[command(flatten)]
    pub repeat: Repeat,
}

/// `meridian status`
#[derive(Clone, Debug, Args)]
pub struct Status {
    /// End with 10 when there are problems, for probes and scripts
    #[arg(long)]
    pub check: bool,
    /// Ask until it is so, and then show it; end with 11 when it does not come to it in time
    #[arg(long, value_enum, value_name = "WHAT")]
    pub wait: Option<WaitFor>,
    /// How long to wait
    #[arg(long, value_name = "TIME", default_value = "1m", value_parser = up_to_an_hour, requires = "wait")]
    pub timeout: Duration,
}

/// What can be waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum WaitFor {
    /// No problems, and every node well or out of service on purpose
    Healthy,
}

/// `meridian outcome`
#[derive(Clone, Copy, Debug, Args)]
pub struct Outcome {
    /// The id that was told with "the outcome is unknown"
    #[arg(value_name = "REQUEST_ID")]
    pub request_id: Uuid,
    /// If nobody has decided it yet, decide now that it never will be done
    #[arg(long)]
    pub settle: bool,
}

fn node_id() -> clap::builder::RangedU64ValueParser {
    clap::value_parser!(u64).range(1..)
}

/// Shape only: whether anybody answers there is found out by the cluster.
fn host_and_port(text: &str) -> Result<String, String> {
    let is_port = |port: &str| port.parse::<u16>().is_ok_and(|port| port > 0);
    let is_host = |host: &str| {
        !host.is_empty() && host.len() <= 255 && !host.contains(|c: char| c.is_whitespace() || c == '/')
    };
    match text.rsplit_once(':') {
        Some((host, port)) if is_host(host) && is_port(port) => Ok(text.to_owned()),
        _ => Err("write host:port of its peer listener, e.g. 10.1.0.9:7401".to_owned()),
    }
}
