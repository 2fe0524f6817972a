//! `meridian`: a node, the tools around it, and the operator's commands in one binary.

use std::error::Error;
use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::Parser as _;
use meridian::config::{self, LogFormat, Sources};
use meridian::serve::{self, Listeners};
use meridian::telemetry::{self, with_causes};
use meridian::{backup, bench, dev, recover, restore, token};
use meridian_ctl::OutputFormat;
use tokio::runtime::Runtime;

mod cli;

/// A node allocates small things all the time; in glibc's allocator a busy one spent a sixth of its processor time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

use cli::{CheckConfig, Cli, Command, Restore, Serve};

/// Something failed that may work another time.
const FAILED: u8 = 1;
/// The command line or the configuration is wrong, be it that the cluster does not take this node: another time is no
/// better. As clap has it.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    let Cli { global, command } = Cli::parse();
    let as_json = global.output == OutputFormat::Json;
    let ended = match command {
        Command::Serve(args) => run(args),
        Command::CheckConfig(args) => check(args, as_json),
        Command::Token => show_token(as_json),
        Command::Dev(args) => Runtime::new().map_err(Into::into).and_then(|runtime| {
            runtime.block_on(dev::run(args, global.output)).map(|()| ExitCode::SUCCESS).map_err(Into::into)
        }),
        Command::Bench(command) => Runtime::new().map_err(Into::into).and_then(|runtime| {
            runtime.block_on(bench::run(global, command)).map(|()| ExitCode::SUCCESS).map_err(Into::into)
        }),
        Command::Backup(command) => Runtime::new().map_err(Into::into).and_then(|runtime| {
            Ok(print(&runtime.block_on(backup::run(global, command))?).map(|()| ExitCode::SUCCESS)?)
        }),
        Command::Restore(args) => restored(args),
        Command::Recover(command) => recover::run(command, as_json)
            .map_err(Into::into)
            .and_then(|said| Ok(print(&said).map(|()| ExitCode::SUCCESS)?)),
        Command::Operate(command) => Runtime::new()
            .map_err(Into::into)
            .map(|runtime| runtime.block_on(meridian_ctl::run(global, command))),
    };
    ended.unwrap_or_else(|error| {
        complain(&with_causes(&*error));
        FAILED.into()
    })
}

type Ended = Result<ExitCode, Box<dyn Error>>;

fn run(args: Serve) -> Ended {
    let loaded = match config::load(Sources::of_process(args.config, args.overrides.set)) {
        Ok(loaded) => loaded,
        Err(invalid) => {
            invalid.problems.iter().for_each(|problem| complain(&problem.to_string()));
            return Ok(USAGE.into());
        }
    };
    telemetry::start(&loaded.config.log);
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    let log_format = loaded.config.log.format;
    let runtime = Runtime::new()?;
    let served: Result<(), Box<dyn Error>> = runtime.block_on(async {
        let stop = serve::asked_to_stop(args.until_stdin_closes)?;
        let listeners = Listeners::bind(&loaded.config.listen)?;
        Ok(serve::run(loaded.config, listeners, stop).await?)
    });
    // What was left behind goes with the process.
    runtime.shutdown_background();
    let Err(error) = served else { return Ok(ExitCode::SUCCESS) };
    match log_format {
        LogFormat::Text => complain(&with_causes(&*error)),
        LogFormat::Json => tracing::error!("{}", with_causes(&*error)),
    }
    // Whoever supervises the process must not start a node again that the others do not want.
    let unwelcome = matches!(error.downcast_ref(), Some(serve::Error::Unwelcome(_)));
    Ok(if unwelcome { USAGE } else { FAILED }.into())
}

fn check(args: CheckConfig, as_json: bool) -> Ended {
    let loaded = config::load(Sources::of_process(args.config, args.overrides.set));
    match (&loaded, as_json) {
        (Err(invalid), false) => invalid.problems.iter().for_each(|problem| complain(&problem.to_string())),
        _ => print(&config::explain(&loaded, as_json))?,
    }
    Ok(if loaded.is_ok() { ExitCode::SUCCESS } else { USAGE.into() })
}

fn restored(args: Restore) -> Ended {
    let loaded = match config::load(Sources::of_process(args.config, args.overrides.set)) {
        Ok(loaded) => loaded,
        Err(invalid) => {
            invalid.problems.iter().for_each(|problem| complain(&problem.to_string()));
            return Ok(USAGE.into());
        }
    };
    print(&Runtime::new()?.block_on(restore::run(args.source, &loaded.config))?)?;
    Ok(ExitCode::SUCCESS)
}

fn show_token(as_json: bool) -> Ended {
    let token = token::generate()?;
    let hash = token::hash(&token);
    let shown = if as_json {
        serde_json::json!({ "token": token, "sha256": hash }).to_string()
    } else {
        format!(
            "token   {token}\nsha256  {hash}\n\nPut the hash into auth.operator_token_sha256 of every node, and keep the \
             token: it is stored nowhere."
        )
    };
    print(&shown)?;
    Ok(ExitCode::SUCCESS)
}

/// A result, on stdout. Who reads only its beginning has read enough.
fn print(text: &str) -> io::Result<()> {
    match writeln!(io::stdout(), "{text}") {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}

/// If stderr is closed too, the exit code has to do.
fn complain(problem: &str) {
    let _ = writeln!(io::stderr(), "error: {problem}");
}
