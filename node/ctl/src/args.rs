//! The command line. Values are parsed here, once; the rest of the crate takes them as they are.

use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use meridian_client::proto::config::Format;
use meridian_client::{Endpoint, Secret};
use uuid::Uuid;

use crate::exit::exit_codes;
use crate::names::{EnvironmentName, Name};
use crate::parsed::Parsed;

/// Ends a command's help: an example, and the exit codes.
macro_rules! examples {
    ($($line:literal),+) => {
        concat!("Example:\n", $("  ", $line, "\n",)+ "\n", exit_codes!())
    };
}

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
    #[arg(long, global = true, help_heading = GLOBAL, env = "MERIDIAN_DEADLINE", default_value = "10s", value_name = "TIME", value_parser = deadline)]
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
    #[command(after_help = examples!(
        "meridian get shop/production | jq .feature_gates",
        "meridian get shop/production --version 41 > before.json"
    ))]
    Get {
        /// Which environment
        #[arg(value_name = "PROJECT/ENV")]
        environment: EnvironmentName,
        /// An old version out of the history
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
        version: Option<u64>,
    },

    /// Follow an environment: a line for each version, as it is served; with json, the document too
    #[command(after_help = examples!(
        "meridian watch shop/production",
        "meridian watch shop/production --output json | while read -r line; do reload \"$line\"; done"
    ))]
    Watch {
        /// Which environment
        #[arg(value_name = "PROJECT/ENV")]
        environment: EnvironmentName,
        /// Only versions after this one
        #[arg(long, value_name = "N", default_value_t = 0)]
        since: u64,
        /// End after so many versions
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
        count: Option<u64>,
    },

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

    /// Show every node: who leads, how far each is, how fresh what it serves
    #[command(after_help = examples!(
        "meridian status",
        "meridian status --output json | jq '.nodes[] | select(.healthy | not)'"
    ))]
    Status,
}

/// `meridian project …`
#[derive(Clone, Debug, Subcommand)]
pub enum ProjectCommand {
    /// Make a project
    #[command(after_help = examples!("meridian project create shop"))]
    Create {
        /// Its name
        name: Name,
        #[command(flatten)]
        repeat: Repeat,
    },
    /// List projects and their environments
    #[command(after_help = examples!("meridian project list"))]
    List,
}

/// `meridian env …`
#[derive(Clone, Debug, Subcommand)]
pub enum EnvCommand {
    /// Make an environment in a project
    #[command(after_help = examples!("meridian env create shop/production"))]
    Create {
        /// Its name
        #[arg(value_name = "PROJECT/ENV")]
        environment: EnvironmentName,
        #[command(flatten)]
        repeat: Repeat,
    },
}

/// `meridian key …`
#[derive(Clone, Debug, Subcommand)]
pub enum KeyCommand {
    /// Make a key. Its secret is printed once, alone on stdout: the cluster keeps only a hash
    #[command(after_help = examples!(
        "SDK_KEY=$(meridian key create shop/production --label web)",
        "meridian key create shop/production --label ios --import - < statsig-server-secret"
    ))]
    Create {
        /// The environment it reads
        #[arg(value_name = "PROJECT/ENV")]
        environment: EnvironmentName,
        /// What you call it
        #[arg(long, default_value = "", hide_default_value = true)]
        label: String,
        /// Take this existing secret, or - to read it from stdin, where other users cannot see it
        #[arg(long, value_name = "SECRET|-", value_parser = secret)]
        import: Option<Secret>,
        /// Repeat an import whose outcome stayed unknown: give the id that was told, and the same secret
        #[arg(long, value_name = "UUID", requires = "import")]
        request_id: Option<Uuid>,
    },
    /// List keys, without their secrets
    #[command(after_help = examples!("meridian key list shop/production"))]
    List {
        /// Only those of this environment
        #[arg(value_name = "PROJECT/ENV")]
        environment: Option<EnvironmentName>,
    },
    /// End a key: SDKs that hold it are refused from then on
    #[command(after_help = examples!("meridian key revoke 9f86d081884c7d65"))]
    Revoke {
        /// Its id, as `key list` shows it
        id: Name,
        #[command(flatten)]
        repeat: Repeat,
    },
}

/// `meridian publish`
#[derive(Clone, Debug, Args)]
pub struct Publish {
    /// Which environment
    #[arg(value_name = "PROJECT/ENV")]
    pub environment: EnvironmentName,
    /// The document, or - for stdin
    #[arg(value_name = "FILE|-")]
    pub file: String,
    /// How the document is to be understood and checked
    #[arg(long, value_enum)]
    pub format: DocumentFormat,
    /// Refuse unless this is the newest version; 0: unless nothing is published yet
    #[arg(long, value_name = "N")]
    pub expect_version: Option<u64>,
    /// Why, for the history
    #[arg(long, default_value = "", hide_default_value = true)]
    pub message: String,
    /// Check only, and change nothing
    #[arg(long)]
    pub validate_only: bool,
    #[command(flatten)]
    pub repeat: Repeat,
}

/// `meridian rollback`
#[derive(Clone, Debug, Args)]
pub struct Rollback {
    /// Which environment
    #[arg(value_name = "PROJECT/ENV")]
    pub environment: EnvironmentName,
    /// The version whose document comes back; without it, the one before the newest
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub to: Option<u64>,
    /// Refuse unless this is the newest version
    #[arg(long, value_name = "N")]
    pub expect_version: Option<u64>,
    /// Why, for the history
    #[arg(long, default_value = "", hide_default_value = true)]
    pub message: String,
    #[command(flatten)]
    pub repeat: Repeat,
}

/// What makes a change repeatable.
#[derive(Clone, Debug, Default, Args)]
pub struct Repeat {
    /// Repeat a change whose outcome stayed unknown: give the id that was told, and the same arguments
    #[arg(long, value_name = "UUID")]
    pub request_id: Option<Uuid>,
}

/// How a document is understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DocumentFormat {
    /// Any JSON
    Json,
    /// A Statsig project, as "download config specs" gives it
    Statsig,
    /// A flagd flag set
    Flagd,
}

impl From<DocumentFormat> for Format {
    fn from(format: DocumentFormat) -> Self {
        match format {
            DocumentFormat::Json => Self::Json,
            DocumentFormat::Statsig => Self::Statsig,
            DocumentFormat::Flagd => Self::Flagd,
        }
    }
}

#[allow(clippy::unnecessary_wraps)] // the shape of a value parser
fn secret(text: &str) -> Result<Secret, std::convert::Infallible> {
    Ok(text.into())
}

/// A time with its unit, between 1 ms and 1 h.
fn deadline(text: &str) -> Result<Duration, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor_ms = match unit {
        "ms" => Some(1),
        "s" | "" => Some(1_000),
        "m" => Some(60_000),
        _ => None,
    };
    let ms =
        number.parse::<u64>().ok().zip(factor_ms).and_then(|(number, factor)| number.checked_mul(factor));
    match ms {
        Some(ms @ 1..=3_600_000) => Ok(Duration::from_millis(ms)),
        _ => Err("write a number and ms, s or m, at most one hour: 10s, 500ms, 2m".to_owned()),
    }
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
        assert_eq!(taught, 13);
    }

    #[test]
    fn defaults_are_those_of_the_manual() {
        let cli = parse("get shop/live").unwrap();
        assert_eq!(cli.global.output, OutputFormat::Text);
        assert_eq!(cli.global.deadline, Duration::from_secs(10));
        let Command::Get { environment, version: None } = cli.command else { panic!("{:?}", cli.command) };
        assert_eq!(environment.to_string(), "shop/live");
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

    #[test]
    fn times_have_units() {
        for (text, ms) in [("10s", 10_000), ("7", 7_000), ("250ms", 250), ("2m", 120_000)] {
            assert_eq!(deadline(text), Ok(Duration::from_millis(ms)));
        }
    }
}
