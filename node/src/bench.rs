//! `meridian bench`: measures a cluster from outside, as its clients meet it.
//!
//! Works in a project of its own, which it makes and leaves behind: the history of a cluster is never deleted.
//! Closed loop: each client sends its next publish when the last one is answered, so a rate is what the cluster can
//! do, and a pause of the cluster shows in the highest latency, not in their number.

use std::io::Write as _;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use meridian_client::proto::admin::{CreateEnvironmentRequest, CreateProjectRequest};
use meridian_client::{Client, Error, Options};
use meridian_ctl::{Global, OutputFormat};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

mod document;
mod publisher;
mod pushed;
mod report;
mod tally;

use document::Document;
use publisher::Publisher;
use report::{Large, Report};
use tally::Tally;

/// Before the measured time: connections are opened, the leader is found, code is warm.
const WARM_UP: Duration = Duration::from_secs(1);

/// Most connections that carry the clients: HTTP/2 carries many calls at a time, and a client per connection would
/// measure the kernel.
const CONNECTIONS: usize = 16;

/// Most environments the small documents are spread over.
const ENVIRONMENTS: usize = 64;

/// What is measured.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum Command {
    /// Publish as fast as the cluster answers, and tell the rate and how long it took
    ///
    /// Makes a project bench-… and leaves it behind. Not for a cluster that is near its limits: this load is the limit.
    Publish(Publish),
}

/// `meridian bench publish`
#[derive(Clone, Debug, clap::Args)]
pub struct Publish {
    /// Publishes in flight
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    clients: u32,

    /// Measured time, after one second of warm-up
    #[arg(long, value_name = "S", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    seconds: u64,

    /// Size of the documents
    #[arg(long, value_name = "BYTES", default_value_t = 1_024, value_parser = clap::value_parser!(u32).range(64..=4_190_000))]
    size: u32,

    /// Measure too how long a publish takes to be pushed to a watcher in these regions
    #[arg(long, value_name = "REGION,…", value_delimiter = ',')]
    watch: Vec<String>,

    /// Publishes of large documents in flight beside the others
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=100))]
    large_clients: u32,

    /// Size of the large documents; they hardly compress
    #[arg(long, value_name = "BYTES", default_value_t = 4_000_000, value_parser = clap::value_parser!(u32).range(64..=4_190_000))]
    large_size: u32,

    /// Pause of a client between two large documents
    #[arg(long, value_name = "MS", default_value_t = 0)]
    large_every: u64,
}

/// Measures, and prints the result to stdout. Fails if the cluster cannot be prepared, or answers nothing.
pub async fn run(global: Global, command: Command) -> anyhow::Result<()> {
    let Command::Publish(publish) = command;
    let output = global.output;
    let report = measure(global, &publish).await?;
    let text = match output {
        OutputFormat::Text => report.text(),
        OutputFormat::Json => serde_json::to_string(&report)?,
    };
    writeln!(std::io::stdout(), "{text}").context("cannot print the result")?;
    ensure!(report.small.publishes > 0, "nothing was published");
    Ok(())
}

async fn measure(global: Global, publish: &Publish) -> anyhow::Result<Report> {
    let Global { endpoints, token, deadline, output: _ } = global;
    let token = token.filter(|token| !token.expose().is_empty());
    let connect =
        |endpoints| Client::new(Options { token: token.clone(), deadline, ..Options::new(endpoints) });
    let client = connect(endpoints.clone())?;
    let id = uuid::Uuid::new_v4().simple().to_string();
    let project = Project { client: client.clone(), name: format!("bench-{}", &id[..8]) };
    project.create().await?;

    let clients = publish.clients as usize;
    let places = environments(&project, "small", clients.min(ENVIRONMENTS)).await?;
    let large_places = environments(&project, "large", publish.large_clients as usize).await?;
    let connections = (0..clients.min(CONNECTIONS)).map(|_| connect(endpoints.clone()));
    let connections = connections.collect::<Result<Vec<_>, _>>()?;
    let large_client = connect(endpoints.clone())?;

    let term = term(&client).await?;
    let watchers = pushed::connect(&project, &publish.watch, connect).await?;
    let begin = Instant::now() + WARM_UP;
    let measured = begin..begin + Duration::from_secs(publish.seconds);

    let small = Document::new(publish.size as usize)?;
    let mut publishers = JoinSet::new();
    for number in 0..clients {
        let publisher = Publisher {
            client: connections[number % connections.len()].clone(),
            project: project.name.clone(),
            environment: places[number % places.len()].clone(),
            document: small.clone(),
            pause: Duration::ZERO,
        };
        publishers.spawn(publisher.run(number, measured.clone()));
    }
    let large = Document::new(publish.large_size as usize)?;
    let mut large_publishers = JoinSet::new();
    for (number, environment) in large_places.iter().enumerate() {
        let publisher = Publisher {
            client: large_client.clone(),
            project: project.name.clone(),
            environment: environment.clone(),
            document: large.clone(),
            pause: Duration::from_millis(publish.large_every),
        };
        large_publishers.spawn(publisher.run(number, measured.clone()));
    }
    let pushed = watchers.run(&project, small.clone(), measured.clone()).await?;
    let small = total(publishers, &measured).await?;
    let large = total(large_publishers, &measured).await?;
    let terms_begun = self::term(&client).await?.saturating_sub(term);

    let seconds = publish.seconds;
    Ok(Report {
        project: project.name,
        clients: publish.clients,
        size_bytes: publish.size,
        seconds,
        small: small.figures(seconds),
        large: (publish.large_clients > 0).then(|| Large {
            clients: publish.large_clients,
            size_bytes: publish.large_size,
            figures: large.figures(seconds),
        }),
        pushed,
        terms_begun,
    })
}

/// Where everything is published.
struct Project {
    client: Client,
    name: String,
}

impl Project {
    async fn create(&self) -> anyhow::Result<()> {
        let message = CreateProjectRequest { project: self.name.clone(), ..Default::default() };
        self.client
            .create_project(message)
            .await
            .with_context(|| format!("cannot make project {}", self.name))?;
        Ok(())
    }

    async fn environment(&self, name: String) -> anyhow::Result<String> {
        let message = CreateEnvironmentRequest {
            project: self.name.clone(),
            environment: name.clone(),
            ..Default::default()
        };
        self.client
            .create_environment(message)
            .await
            .with_context(|| format!("cannot make environment {name}"))?;
        Ok(name)
    }
}

async fn environments(project: &Project, kind: &str, count: usize) -> anyhow::Result<Arc<[String]>> {
    let mut names = Vec::with_capacity(count);
    for number in 0..count {
        names.push(project.environment(format!("{kind}-{number:02}")).await?);
    }
    Ok(names.into())
}

/// The highest term that any node knows: it rises with every election that is tried.
async fn term(client: &Client) -> Result<u64, Error> {
    let status = client.cluster_status().await?;
    Ok(status.nodes.iter().map(|node| node.term).max().unwrap_or(0))
}

/// Adds up what the publishers saw; returns after the measured time, whoever publishes.
async fn total(mut publishers: JoinSet<Tally>, measured: &Range<Instant>) -> anyhow::Result<Tally> {
    let mut total = Tally::new();
    while let Some(tally) = publishers.join_next().await {
        total.add(tally.context("a publisher panicked")?);
    }
    sleep_until(measured.end).await;
    Ok(total)
}
