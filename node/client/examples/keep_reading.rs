//! Reads a config all the while and says once a second what it got, so that one can watch what the loss of a region
//! does to an application: nothing.
//!
//! ```sh
//! cargo run -p meridian-client --example keep_reading -- \
//!     --endpoints a=127.0.0.1:7400,b=127.0.0.1:7410,c=127.0.0.1:7420 --region a \
//!     --token "$MERIDIAN_TOKEN" --environment shop/live --cache-file /tmp/shop.cache
//! ```
//!
//! Two ways of reading are shown side by side. `held` is what most applications want: a [`Subscription`], which
//! answers from memory. `asked` sends a request for each of its reads, a hundred a second, to whichever node is best,
//! and so shows what failover costs. Both count what fails, and what goes back to a lower version.

#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use meridian_client::{Client, Endpoint, Options, Reader, Subscription};
use tokio::time::{Instant, MissedTickBehavior, interval};

const USAGE: &str = "usage: keep_reading --endpoints [REGION=]HOST:PORT,… [--region REGION] [--token TOKEN] \
                     [--environment PROJECT/ENV] [--path PATH] [--cache-file FILE] [--seconds N]";

/// Reads that are sent, of `asked`: one every so often, whether or not those before are answered.
const READ_EVERY: Duration = Duration::from_millis(10);

/// What the command line says.
struct Arguments {
    options: Options,
    project: String,
    environment: String,
    /// The value that is read, with a default of 0.
    path: String,
    cache_file: Option<String>,
    seconds: u64,
}

/// What came of the reads that were sent.
#[derive(Default)]
struct Tally {
    answered: AtomicU64,
    failed: AtomicU64,
    backwards: AtomicU64,
    /// Of the present second.
    slowest_us: AtomicU64,
    newest: AtomicU64,
    /// Of the last answer.
    region: Mutex<String>,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = match parse(std::env::args().skip(1)) {
        Ok(arguments) => arguments,
        Err(why) => {
            eprintln!("{why}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    match run(arguments).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> Result<(), meridian_client::Error> {
    let Arguments { options, project, environment, path, cache_file, seconds } = arguments;
    let client = Client::new(options)?;
    let mut builder = client.subscribe(&project, &environment);
    if let Some(file) = cache_file {
        builder = builder.cache_file(file);
    }
    let (config, source) = builder.init().await;
    println!("init: {source}, version {}", config.current().version());
    if let Some(problem) = config.status().problem {
        println!("      {problem}");
    }
    config.on_change(|snapshot| println!("change: version {} is here", snapshot.version()));

    let tally = Arc::new(Tally::default());
    tokio::spawn(keep_asking(client.reader(&project, &environment), tally.clone()));
    let began = Instant::now();
    let mut seconds_passed = interval(Duration::from_secs(1));
    seconds_passed.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for _ in 0..seconds {
        seconds_passed.tick().await;
        println!("{}", line(began.elapsed(), &config, &path, &tally));
    }
    let counts = client.counts();
    println!(
        "sent {} reads: {} hedges, {} retries; {} failed, {} backwards",
        counts.reads,
        counts.hedges,
        counts.retries,
        tally.failed.load(Relaxed),
        tally.backwards.load(Relaxed)
    );
    Ok(())
}

/// Open loop: the next read does not wait for the one before it.
async fn keep_asking(reader: Reader, tally: Arc<Tally>) {
    let mut ticks = interval(READ_EVERY);
    loop {
        ticks.tick().await;
        let (reader, tally) = (reader.clone(), tally.clone());
        tokio::spawn(async move {
            let newest = tally.newest.load(Relaxed);
            let asked = Instant::now();
            match reader.read().await {
                Ok(config) => {
                    let version = config.release.version;
                    tally.answered.fetch_add(1, Relaxed);
                    tally.backwards.fetch_add(u64::from(version < newest), Relaxed);
                    tally.newest.fetch_max(version, Relaxed);
                    if let Ok(mut region) = tally.region.lock() {
                        region.clone_from(&config.freshness.region);
                    }
                    tally.slowest_us.fetch_max(asked.elapsed().as_micros() as u64, Relaxed);
                }
                Err(error) => {
                    tally.failed.fetch_add(1, Relaxed);
                    eprintln!("failed: {error}");
                }
            }
        });
    }
}

fn line(elapsed: Duration, config: &Subscription, path: &str, tally: &Tally) -> String {
    let status = config.status();
    let age = |age: Option<Duration>| age.map_or("?".to_owned(), |age| format!("{} ms", age.as_millis()));
    let mut line = format!(
        "{:>4} s  held: {} v{} {path}={} {:?} region {:?}, heard {} ago, stale {}  asked: v{} region {:?}, {} answered, slowest {} ms, \
         {} failed, {} backwards",
        elapsed.as_secs(),
        status.source,
        status.version,
        config.get_or(path, serde_json::Value::from(0)),
        status.link,
        status.region(),
        age(status.last_heard),
        age(status.staleness),
        tally.newest.load(Relaxed),
        tally.region.lock().map(|region| region.clone()).unwrap_or_default(),
        tally.answered.load(Relaxed),
        tally.slowest_us.swap(0, Relaxed) / 1_000,
        tally.failed.load(Relaxed),
        tally.backwards.load(Relaxed),
    );
    if let Some(problem) = status.problem {
        line.push_str(&format!("  ({problem})"));
    }
    line
}

fn parse(mut words: impl Iterator<Item = String>) -> Result<Arguments, String> {
    let mut endpoints = Vec::<Endpoint>::new();
    let (mut region, mut token, mut cache_file) = (None, None, None);
    let (mut environment, mut path) = (String::new(), "version".to_owned());
    let mut seconds = u64::MAX;
    while let Some(name) = words.next() {
        let value = words.next().ok_or_else(|| format!("{name} needs a value"))?;
        match name.as_str() {
            "--endpoints" => {
                for text in value.split(',') {
                    endpoints.push(text.parse().map_err(|error| format!("{error}"))?);
                }
            }
            "--region" => region = Some(value),
            "--token" => token = Some(value.into()),
            "--environment" => environment = value,
            "--path" => path = value,
            "--cache-file" => cache_file = Some(value),
            "--seconds" => seconds = value.parse().map_err(|_| format!("{value:?} is not a number"))?,
            _ => return Err(format!("unknown option {name}")),
        }
    }
    let (project, environment) = match environment.split_once('/') {
        Some((project, environment)) => (project.to_owned(), environment.to_owned()),
        // The key names its environment.
        None if environment.is_empty() => Default::default(),
        None => return Err(format!("{environment:?} is not PROJECT/ENV")),
    };
    let options = Options { region, token, ..Options::new(endpoints) };
    Ok(Arguments { options, project, environment, path, cache_file, seconds })
}
