//! What every run is told, and where it leaves things.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::ValueEnum;
use serde::Serialize;

use crate::verdict::Verdict;

/// Options of every scenario.
#[derive(Clone, Debug, clap::Args)]
pub struct Runs {
    /// The daemon under test
    #[arg(long, value_name = "FILE", default_value = "target/release/meridian")]
    binary: PathBuf,

    /// Repeats the choices of an earlier run (its timing is the machine's) [default: chance]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,

    /// Keep logs and report.json here [default: a temporary directory, kept only if the run does not pass]
    #[arg(long, value_name = "DIR")]
    report: Option<PathBuf>,

    /// How the result is printed
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

/// How results are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    #[default]
    Text,
    /// For programs: one line of JSON.
    Json,
}

impl Output {
    /// Prints a result on stdout.
    pub(crate) fn print(self, report: &impl Serialize, text: &str) -> anyhow::Result<()> {
        let mut out = std::io::stdout();
        match self {
            Self::Text => writeln!(out, "{text}"),
            Self::Json => writeln!(out, "{}", serde_json::to_string(report)?),
        }
        .context("cannot print the result")
    }
}

/// A directory for the files of a run.
pub(crate) enum Files {
    Given(PathBuf),
    Temporary(tempfile::TempDir),
}

impl Files {
    pub(crate) fn path(&self) -> &Path {
        match self {
            Self::Given(path) => path,
            Self::Temporary(dir) => dir.path(),
        }
    }

    /// Where the nodes keep their data.
    pub(crate) fn data(&self) -> PathBuf {
        self.path().join("data")
    }

    /// Of a run that passed, nothing is needed but its report. Anything else is left for whoever looks into it.
    pub(crate) fn end(self, verdict: Verdict) -> anyhow::Result<()> {
        let data = self.data();
        match (verdict, self) {
            (Verdict::Pass, Self::Given(_)) => {
                std::fs::remove_dir_all(&data).with_context(|| format!("cannot remove {}", data.display()))
            }
            (Verdict::Pass, Self::Temporary(dir)) => {
                dir.close().context("cannot remove the temporary directory")
            }
            (Verdict::Fail | Verdict::Inconclusive, Self::Given(_)) => Ok(()),
            (Verdict::Fail | Verdict::Inconclusive, Self::Temporary(dir)) => {
                let _ = dir.keep();
                Ok(())
            }
        }
    }
}

impl Runs {
    pub(crate) fn seed(&self) -> u64 {
        // Few digits, so that it can be read out.
        self.seed.unwrap_or_else(|| uuid::Uuid::new_v4().as_u64_pair().0 >> 40)
    }

    /// The daemon, by a path that stays right wherever it is run.
    pub(crate) fn binary(&self) -> anyhow::Result<PathBuf> {
        let path = &self.binary;
        path.canonicalize().with_context(|| {
            format!("no daemon at {}: build it, or name another with --binary", path.display())
        })
    }

    pub(crate) fn files(&self) -> anyhow::Result<Files> {
        let Some(dir) = &self.report else {
            let dir = tempfile::Builder::new().prefix("meridian-chaos-").tempdir();
            return Ok(Files::Temporary(dir.context("cannot make a temporary directory")?));
        };
        std::fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
        // Nodes are told absolute paths.
        Ok(Files::Given(dir.canonicalize()?))
    }

    /// Tells how the run goes, on stderr.
    pub(crate) fn note(&self, line: &str) {
        // Nobody may be listening, and the run goes on all the same.
        let _ = writeln!(std::io::stderr(), "{line}");
    }

    /// Says that this machine cannot do it. The answer is the exit code.
    pub(crate) fn skipped(&self, scenario: &'static str, why: &str) -> anyhow::Result<u8> {
        #[derive(Serialize)]
        struct Skipped<'a> {
            scenario: &'static str,
            verdict: &'static str,
            why: &'a str,
        }
        self.report(&Skipped { scenario, verdict: "skipped", why }, &format!("SKIPPED: {scenario}: {why}"))?;
        Ok(0)
    }

    /// Keeps a file where a report was asked for.
    pub(crate) fn keep(&self, name: &str, content: &str) -> anyhow::Result<()> {
        let Some(dir) = &self.report else { return Ok(()) };
        let file = dir.join(name);
        std::fs::write(&file, content).with_context(|| format!("cannot write {}", file.display()))
    }

    /// Prints the result on stdout, and keeps it where a report was asked for.
    pub(crate) fn report(&self, report: &impl Serialize, text: &str) -> anyhow::Result<()> {
        self.keep("report.json", &serde_json::to_string(report)?)?;
        self.output.print(report, text)
    }
}
