//! The command line. Values are parsed here, once; the rest of the crate takes them as they are.

mod cluster;
mod documents;
mod value;

use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use meridian_client::{Endpoint, Secret};

pub(crate) use cluster::{
    Caution, LeaderCommand, MemberCommand, Named, Outcome, PlacementCommand, ServiceChange, SetPlacement,
    Status,
};
pub(crate) use documents::{EnvCommand, Get, KeyCommand, ProjectCommand, Publish, Rollback, Watch};

use crate::exit::exit_codes;
use crate::names::EnvironmentName;
use crate::parsed::Parsed;
use value::{secret, up_to_an_hour};

/// Ends a command's help: an example, and the exit codes.
macro_rules! examples {
    ($($line:literal),+) => {
        concat!("Example:\n", $("  ", $line, "\n",)+ "\n", exit_codes!())
    };
}

pub(crate) use examples;

/// Keeps what every command takes apart from what one takes.
const GLOBAL: &str = "Cluster and output";

/// What every command takes.
#[derive(Clone, Debug, Args)]
pub struct Global {
    /// Nodes to ask, in the order of preference: host:port, separated by commas
    #[arg(
        long,
        global = true,
        help_heading = GLOBAL,
        env = "MERIDIAN_ENDPOINTS",
        value_delimiter = ',',
        value_parser = Parsed::<Endpoint>::new(),
        value_name = "HOST:PORT,…",
        default_value = "127.0.0.1:7400"
    )]
    pub endpoints: Vec<Endpoint>,

    /// Operator token, or for reading an SDK key
    #[arg(long, global = true, help_heading = GLOBAL, env = "MERIDIAN_TOKEN", hide_env_values = true, value_parser = secret)]
    pub token: Option<Secret>,

    /// How results are printed; json is one line per result
    #[arg(long, global = true, help_heading = GLOBAL, env = "MERIDIAN_OUTPUT", value_enum, default_value_t)]
    pub output: OutputFormat,

    /// Time for one call, over all its attempts, e.g. 10s, 500ms, 2m
    #[arg(long, global = true, help_heading = GLOBAL, env = "MERIDIAN_DEADLINE", default_value = "10s", value_name = "TIME", value_parser = up_to_an_hour)]
    pub deadline: Duration,
}

/// How results are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum OutputFormat {
    /// For people.
    #[default]
    Text,
    /// For programs: one line of JSON per result; errors too, on stderr.
    Json,
}

/// What an operator can do.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Make and list projects
    #[command(subcommand)]
    Project(ProjectCommand),

    /// Make environments
    #[command(subcommand)]
    Env(EnvCommand),

    /// Make, list and revoke the keys with which SDKs read an environment
    #[command(subcommand)]
    Key(KeyCommand),

    /// Publish a document as the next version of an environment
    #[command(after_help = examples!(
        "meridian publish shop/production specs.json --format statsig --expect-version 41",
        "jq '.limit = 5' limits.json | meridian publish shop/staging - --format json --validate-only"
    ))]
    Publish(Publish),

    /// Print the document that an environment serves, byte for byte
    ///
    /// Whatever the node that answers holds, unless you ask for proof. What it rests on is in the JSON form; if the
    /// node may have missed something, stderr says so.
    #[command(after_help = examples!(
        "meridian get shop/production | jq .feature_gates",
        "meridian get shop/production --version 41 > before.json",
        "meridian get shop/production --at-least-version 42 --max-staleness 5s"
    ))]
    Get(Get),

    /// Follow an environment: a line for each version, as it is served; with json, the document too
    #[command(after_help = examples!(
        "meridian watch shop/production",
        "meridian watch shop/production --max-staleness 30s",
        "meridian watch shop/production --output json | while read -r line; do reload \"$line\"; done"
    ))]
    Watch(Watch),

    /// List the versions of an environment, newest first
    #[command(after_help = examples!("meridian history shop/production --limit 5"))]
    History {
        /// Which environment
        #[arg(value_name = "PROJECT/ENV")]
        environment: EnvironmentName,
        /// At most so many
        #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=100_000))]
        limit: u32,
    },

    /// Show what changed between two versions, as a unified diff of the formatted documents
    #[command(after_help = examples!("meridian diff shop/production 41 42"))]
    Diff {
        /// Which environment
        #[arg(value_name = "PROJECT/ENV")]
        environment: EnvironmentName,
        /// The version before
        #[arg(value_parser = clap::value_parser!(u64).range(1..))]
        from: u64,
        /// The version after
        #[arg(value_parser = clap::value_parser!(u64).range(1..))]
        to: u64,
    },

    /// Publish the document of an old version again, as a new version
    #[command(after_help = examples!(
        "meridian rollback shop/production",
        "meridian rollback shop/production --to 41 --message 'checkout broke'"
    ))]
    Rollback(Rollback),

    /// Ask what became of a change whose outcome stayed unknown
    ///
    /// Exit codes of its own: 0 it was done, 1 it was not and never will be, 8 nobody has decided it yet.
    #[command(after_help = examples!(
        "meridian outcome 3f1c2f4e-8a53-4b5e-9d0c-2f9f8a1b7c66",
        "meridian outcome 3f1c2f4e-8a53-4b5e-9d0c-2f9f8a1b7c66 --settle"
    ))]
    Outcome(Outcome),

    /// Show every node: problems first, then who leads, who serves, how far each is and how fresh
    ///
    /// Any node answers, from what it sees: endpoints that do not answer are passed over.
    #[command(after_help = examples!(
        "meridian status",
        "meridian status --check || page-somebody",
        "meridian status --wait healthy --timeout 2m",
        "meridian status --output json | jq '.nodes[] | select(.healthy | not)'"
    ))]
    Status(Status),

    /// List the members, let nodes in, give and take votes, take nodes out
    #[command(subcommand)]
    Member(MemberCommand),

    /// Show who leads, or let another voter lead
    #[command(subcommand)]
    Leader(LeaderCommand),

    /// Say in which regions the leader should be, and whether lost voters are replaced
    #[command(subcommand)]
    Placement(PlacementCommand),

    /// Take nodes out of service, so that they can be stopped and no reader notices
    ///
    /// A drained node does not lead, says that it is not ready, and ends its streams one by one with UNAVAILABLE, so that
    /// clients go elsewhere. It keeps its vote, and stays drained over restarts until `undrain`. This command ends when
    /// every node named is drained: then it is safe to stop.
    #[command(after_help = examples!(
        "meridian drain 2",
        "meridian drain --region us-east --timeout 5m"
    ))]
    Drain {
        /// Which nodes, and how long to wait
        #[command(flatten)]
        change: ServiceChange,
        /// Do it although nobody would be left to serve
        #[arg(long)]
        force: bool,
    },

    /// Put drained nodes back into service; ends when they serve
    #[command(after_help = examples!("meridian undrain 2", "meridian undrain --region us-east"))]
    Undrain(ServiceChange),

    /// List what was changed about the cluster itself, newest first: members, placement, drains, repairs
    #[command(after_help = examples!("meridian journal --limit 20"))]
    Journal {
        /// At most so many
        #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1_000))]
        limit: u32,
    },
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use clap::{CommandFactory as _, Parser};

    use super::*;

    /// Replicates configs.
    #[derive(Debug, Parser)]
    #[command(name = "meridian")]
    struct Cli {
        #[command(flatten)]
        global: Global,
        #[command(subcommand)]
        command: Command,
    }

    fn parse(line: &str) -> Result<Cli, String> {
        let words = std::iter::once("meridian").chain(line.split(' '));
        Cli::try_parse_from(words).map_err(|error| error.to_string())
    }

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
        let about = Cli::command().get_about().map(ToString::to_string);
        assert_eq!(
            about.as_deref(),
            Some("Replicates configs"),
            "our docs must not replace those of the binary"
        );
    }

    #[test]
    fn each_command_teaches_by_an_example_that_parses() {
        fn visit(command: &clap::Command, taught: &mut usize) {
            for sub in command.get_subcommands().filter(|sub| sub.get_name() != "help") {
                if sub.has_subcommands() {
                    visit(sub, taught);
                    continue;
                }
                let help = sub.get_after_help().map(ToString::to_string).unwrap_or_default();
                assert!(help.contains("Exit codes: 0 done"), "{}: {help}", sub.get_name());
                let example = help.lines().nth(1).unwrap_or_default();
                let line = example.split_once("meridian ").map_or("", |(_, line)| line);
                let line = line.split([')', '|', '>', '<']).next().unwrap_or_default().trim();
                assert!(parse(line).is_ok(), "{line:?}: {:?}", parse(line));
                *taught += 1;
            }
        }
        let mut taught = 0;
        visit(&Cli::command(), &mut taught);
        assert_eq!(taught, 27);
    }

    #[test]
    fn defaults_are_those_of_the_manual() {
        let cli = parse("get shop/live").unwrap();
        assert_eq!(cli.global.output, OutputFormat::Text);
        assert_eq!(cli.global.deadline, Duration::from_secs(10));
        let Command::Get(get) = cli.command else { panic!("{:?}", cli.command) };
        assert_eq!((get.environment.to_string().as_str(), get.version), ("shop/live", None));
        assert_eq!(get.proof.demand(), None);
    }

    #[test]
    fn what_must_be_proved_goes_into_the_demand() {
        let cli = parse("get shop/live --max-staleness 5s --at-least-version 7 --linearizable").unwrap();
        let Command::Get(get) = cli.command else { panic!("{:?}", cli.command) };
        let demand = get.proof.demand().unwrap();
        assert_eq!(
            (demand.max_staleness_ms, demand.at_least_version, demand.linearizable),
            (Some(5_000), 7, true)
        );
    }

    #[test]
    fn globals_may_follow_the_command() {
        let cli =
            parse("status --endpoints a:1,http://b:2 --token t --output json --deadline 500ms").unwrap();
        let endpoints: Vec<_> = cli.global.endpoints.iter().map(ToString::to_string).collect();
        assert_eq!(endpoints, ["a:1", "b:2"]);
        assert_eq!(cli.global.output, OutputFormat::Json);
        assert_eq!(cli.global.deadline, Duration::from_millis(500));
        assert!(!format!("{cli:?}").contains("\"t\""), "the token is shown: {cli:?}");
    }

    #[test]
    fn wrong_lines_are_refused_with_the_way_out() {
        for (line, told) in [
            ("get shop", "write PROJECT/ENV"),
            ("get shop/live --version 0", "0 is not in 1.."),
            ("publish shop/live f.json", "--format"),
            ("publish shop/live f.json --format yaml", "[possible values: json, statsig, flagd]"),
            ("publish shop/live f.json --format json --expect-version -1", "unexpected argument"),
            ("publish shop/live f.json --format json --request-id 7", "--request-id"),
            ("status --endpoints https://a:1", "asks for TLS"),
            ("status --endpoints nonsense", "write host:port"),
            ("status --deadline 0", "10s, 500ms, 2m"),
            ("status --deadline 61m", "10s, 500ms, 2m"),
            ("status --deadline 99999999999999999999m", "10s, 500ms, 2m"),
            ("history shop/live --limit 0", "0 is not in 1..=100000"),
            ("get shop/live --version 1 --linearizable", "cannot be used with"),
            ("get shop/live --max-staleness soon", "5s, 500ms, 2m, 1h"),
            ("member promote", "<NODE>"),
            ("member remove 0", "0 is not in 1.."),
            ("member add 10.1.0.9", "host:port of its peer listener"),
            ("member add http://a:1", "host:port of its peer listener"),
            ("placement set", "--anywhere"),
            ("placement set a --anywhere", "cannot be used with"),
            ("placement set --repair-after 5m --no-repair", "cannot be used with"),
            ("placement set --expect-version 3", "--anywhere"),
            ("placement set a/b", "spaces, slashes"),
            ("drain", "<NODE>"),
            ("drain 1 --region a", "cannot be used with"),
            ("drain 1 --no-wait --timeout 1m", "cannot be used with"),
            ("undrain 1 --force", "unexpected argument"),
            ("status --timeout 1m", "--wait"),
            ("outcome 7", "REQUEST_ID"),
        ] {
            let error = parse(line).unwrap_err();
            assert!(error.contains(told), "{line}: {error}");
        }
    }

    #[test]
    fn a_huge_argument_is_not_quoted_whole() {
        let huge = "x".repeat(10 << 20);
        for line in
            [format!("get shop/{huge}"), format!("key revoke {huge}"), format!("status --endpoints {huge}")]
        {
            let error = parse(&line).unwrap_err();
            assert!(error.len() < 500, "{} bytes", error.len());
        }
    }
}
