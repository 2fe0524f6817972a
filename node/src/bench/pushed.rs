//! From publish to pushed: how long it takes until a watcher in another region holds what was published.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, bail};
use meridian_client::proto::admin::{Node, PublishRequest};
use meridian_client::proto::config::Format;
use meridian_client::{Client, Endpoint, Error, Event, Watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout, timeout_at};

use super::Project;
use super::document::Document;
use super::report::Pushed;
use super::tally::Tally;

const ENVIRONMENT: &str = "watched";

/// Between two publishes that are watched: far enough apart that none is skipped for the next.
const INTERVAL: Duration = Duration::from_millis(50);

/// The last push comes after the measured time.
const LAST_PUSH: Duration = Duration::from_secs(1);

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Watchers that are connected, by region.
pub(super) struct Watchers(Vec<(String, Watch)>);

/// When each publish was sent, by its number.
type Sent = Arc<Mutex<Vec<Instant>>>;

/// Connects a watcher to a node of each region.
pub(super) async fn connect(
    project: &Project,
    regions: &[String],
    connect: impl Fn(Vec<Endpoint>) -> Result<Client, Error>,
) -> anyhow::Result<Watchers> {
    if regions.is_empty() {
        return Ok(Watchers(Vec::new()));
    }
    project.environment(ENVIRONMENT.to_owned()).await?;
    let nodes = project.client.cluster_status().await?.nodes;
    let mut watchers = Vec::with_capacity(regions.len());
    for region in regions {
        let endpoint: Endpoint = node_in(&nodes, region)?.grpc_address.parse()?;
        let mut watch = connect(vec![endpoint])?.watch(&project.name, ENVIRONMENT, 0);
        let connected = timeout(CONNECT_TIMEOUT, async {
            // A node that has not heard of the environment yet refuses, and is asked again.
            while !matches!(watch.next().await, Ok(Event::Connected { .. })) {}
        });
        connected.await.with_context(|| format!("cannot watch in {region}"))?;
        watchers.push((region.clone(), watch));
    }
    Ok(Watchers(watchers))
}

fn node_in<'a>(nodes: &'a [Node], region: &str) -> anyhow::Result<&'a Node> {
    if let Some(node) = nodes.iter().find(|node| node.region == region) {
        return Ok(node);
    }
    let mut known: Vec<_> = nodes.iter().map(|node| node.region.as_str()).collect();
    known.dedup();
    bail!("no node is in region {region:?}: there are {}", known.join(", "))
}

impl Watchers {
    /// Publishes and watches until the measured time is over. Without watchers it does nothing.
    pub(super) async fn run(
        self,
        project: &Project,
        document: Document,
        measured: Range<Instant>,
    ) -> anyhow::Result<BTreeMap<String, Pushed>> {
        if self.0.is_empty() {
            return Ok(BTreeMap::new());
        }
        let sent = Sent::default();
        let mut watching = JoinSet::new();
        for (region, watch) in self.0 {
            let (sent, measured) = (sent.clone(), measured.clone());
            watching.spawn(async move { (region, follow(watch, &sent, measured).await) });
        }
        publish(project, &document, &sent, measured.end).await;
        let mut pushed = BTreeMap::new();
        while let Some(watched) = watching.join_next().await {
            let (region, tally) = watched.context("a watcher panicked")?;
            pushed.insert(region, Pushed { count: tally.len(), latency: tally.latency() });
        }
        Ok(pushed)
    }
}

/// Failed publishes are not pushed, and so not measured.
async fn publish(project: &Project, document: &Document, sent: &Sent, until: Instant) {
    let mut ticks = interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for number in 0.. {
        ticks.tick().await;
        if Instant::now() >= until {
            return;
        }
        let message = PublishRequest {
            project: project.name.clone(),
            environment: ENVIRONMENT.to_owned(),
            format: Format::Json.into(),
            document: document.numbered(number),
            ..Default::default()
        };
        sent.lock().unwrap_or_else(PoisonError::into_inner).push(Instant::now());
        let _ = project.client.publish(message).await;
    }
}

async fn follow(mut watch: Watch, sent: &Sent, measured: Range<Instant>) -> Tally {
    let mut tally = Tally::new();
    while let Ok(event) = timeout_at(measured.end + LAST_PUSH, watch.next()).await {
        let Ok(Event::Config(config)) = event else { continue };
        let arrived = Instant::now();
        let number = Document::number(&config.document).and_then(|number| usize::try_from(number).ok());
        let sent = sent.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sent) = number.and_then(|number| sent.get(number)).filter(|sent| measured.contains(sent))
        {
            tally.answered(arrived - *sent);
        }
    }
    tally
}
