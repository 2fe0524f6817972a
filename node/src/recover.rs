//! `meridian recover`: brings a cluster back that lost a majority of its voters, from the survivor that holds most.
//!
//! Works on the data of stopped nodes and speaks to nobody. Without the phrase that names what cannot be taken back it
//! changes nothing.

use std::fs;
use std::io::{self, BufRead as _, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use meridian_replication::recovery::{self, Inspection, Recovered, Refusal, Stopped, Verdict, judge};

mod text;

/// `meridian recover`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct Recover {
    #[command(subcommand)]
    inspect: Option<RecoverCommand>,

    /// Data directory of the stopped node to go on from
    #[arg(long, value_name = "DIR", required = true)]
    data_dir: Option<PathBuf>,

    /// What `meridian recover inspect --output json` said of another survivor; once for each
    #[arg(long, value_name = "FILE")]
    survivor: Vec<PathBuf>,

    /// The phrase that agrees, where nobody can be asked to type it
    #[arg(long, value_name = "PHRASE")]
    confirm: Option<String>,
}

#[derive(Debug, Subcommand)]
enum RecoverCommand {
    /// Say what a stopped node knows: its members, how far its log reaches, what changed last
    Inspect {
        /// Its data directory
        #[arg(long, value_name = "DIR")]
        data_dir: PathBuf,
    },
}

/// Why nothing was recovered. The text names the thing and the way out.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The data directory.
    #[error(transparent)]
    Data(#[from] recovery::Error),
    /// There is a better way.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// An inspection of another node.
    #[error("{} is no inspection: make it with `meridian recover inspect --output json`", .path.display())]
    Survivor {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        source: io::Error,
    },
    /// Nobody agreed.
    #[error("nothing was changed: {0}")]
    Unconfirmed(String),
}

/// Runs it; the answer is what to print. Call it outside of any async runtime.
pub fn run(command: Recover, as_json: bool) -> Result<String, Error> {
    if let Some(RecoverCommand::Inspect { data_dir }) = command.inspect {
        let stopped = Stopped::open(&data_dir)?;
        return Ok(match as_json {
            true => serde_json::to_string(stopped.inspection()).expect("numbers and texts have a JSON form"),
            false => text::inspection(stopped.inspection()),
        });
    }
    let stopped = Stopped::open(&command.data_dir.unwrap_or_default())?;
    let survivors = command.survivor.iter().map(|path| read(path)).collect::<Result<Vec<_>, _>>()?;
    let verdict = judge(stopped.inspection(), &survivors)?;
    let warning = text::warning(stopped.inspection(), &verdict);
    agree(&verdict, &warning, command.confirm.as_deref())?;
    let Recovered { node_id, at } = stopped.recover(&verdict)?;
    Ok(match as_json {
        true => serde_json::json!({ "node_id": node_id, "term": at.term, "index": at.index }).to_string(),
        false => text::recovered(&verdict),
    })
}

fn read(path: &Path) -> Result<Inspection, Error> {
    let failed = |source| Error::Survivor { path: path.to_owned(), source };
    let bytes = fs::read(path).map_err(failed)?;
    serde_json::from_slice(&bytes).map_err(|error| failed(error.into()))
}

fn agree(verdict: &Verdict, warning: &str, confirmed: Option<&str>) -> Result<(), Error> {
    let phrase = verdict.phrase();
    // If stderr is closed, the phrase still has to be known.
    let _ = writeln!(io::stderr(), "{warning}");
    let typed = match confirmed {
        Some(typed) => typed.to_owned(),
        None if !io::stdin().is_terminal() => {
            return Err(Error::Unconfirmed(format!(
                "there is nobody to ask. pass --confirm \"{phrase}\" to agree"
            )));
        }
        None => {
            let _ = write!(io::stderr(), "To agree, type: {phrase}\n> ");
            let mut typed = String::new();
            let read = io::stdin().lock().read_line(&mut typed);
            read.map_err(|error| Error::Unconfirmed(format!("cannot read the answer: {error}")))?;
            typed
        }
    };
    if typed.trim() == phrase {
        Ok(())
    } else {
        Err(Error::Unconfirmed(format!("{:?} is not {phrase:?}", typed.trim())))
    }
}
