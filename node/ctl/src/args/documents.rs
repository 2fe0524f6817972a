//! What is done with projects, keys and documents.

use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use meridian_client::Secret;
use meridian_client::proto::config::{Demand, Format};
use uuid::Uuid;

use super::examples;
use super::value::{secret, up_to_a_day};
use crate::exit::exit_codes;
use crate::names::{EnvironmentName, Name};

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
    #[arg(long, alias = "dry-run")]
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

/// `meridian get`
#[derive(Clone, Debug, Args)]
pub struct Get {
    /// Which environment
    #[arg(value_name = "PROJECT/ENV")]
    pub environment: EnvironmentName,
    /// An old version out of the history
    #[arg(
        long,
        value_name = "N",
        value_parser = clap::value_parser!(u64).range(1..),
        conflicts_with_all = ["max_staleness", "at_least_version", "linearizable"]
    )]
    pub version: Option<u64>,
    #[command(flatten)]
    pub proof: Proof,
}

/// `meridian watch`
#[derive(Clone, Debug, Args)]
pub struct Watch {
    /// Which environment
    #[arg(value_name = "PROJECT/ENV")]
    pub environment: EnvironmentName,
    /// Only versions after this one
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub since: u64,
    /// End after so many versions
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub count: Option<u64>,
    #[command(flatten)]
    pub proof: Proof,
}

/// What an answer must prove. Without any of it, whatever a node holds is fine, and reading works even while no node
/// hears from another.
#[derive(Clone, Copy, Debug, Default, Args)]
pub struct Proof {
    /// The answer may lack what was committed within this time, and nothing older, e.g. 5s
    #[arg(long, value_name = "TIME", value_parser = up_to_a_day, help_heading = PROOF)]
    pub max_staleness: Option<Duration>,
    /// The answer must be this version or newer: read what you just published
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..), help_heading = PROOF)]
    pub at_least_version: Option<u64>,
    /// The answer must hold everything that was committed before it was asked for: a round trip to the leader
    #[arg(long, help_heading = PROOF)]
    pub linearizable: bool,
}

/// Keeps apart what is asked for from how fresh it must be.
const PROOF: &str = "Freshness to prove (refused with exit code 9 where it cannot be)";

impl Proof {
    /// As messages carry it; `None` asks for no proof.
    pub(crate) fn demand(self) -> Option<Demand> {
        let Self { max_staleness, at_least_version, linearizable } = self;
        let is_asked = max_staleness.is_some() || at_least_version.is_some() || linearizable;
        is_asked.then(|| Demand {
            // Parsed to be at most a day.
            max_staleness_ms: max_staleness.map(|time| time.as_millis() as u64),
            at_least_version: at_least_version.unwrap_or_default(),
            linearizable,
        })
    }
}
