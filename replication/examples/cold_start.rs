//! Measures how soon a node serves what is on its disk, alone, with the disk still cached.
//!
//! `cold_start DIR [ENVIRONMENTS] [RELEASES] [DOCUMENT_BYTES]` fills DIR if it is empty (a cluster of one node, each
//! environment with so many releases), then starts a node on it three times and prints how long each start took until
//! the node was ready. `RUST_LOG=meridian_replication=info` shows where the time goes.
#![allow(clippy::print_stdout)]

use std::collections::BTreeMap;
use std::error::Error;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use meridian_model::{Document, EnvironmentRef, Format, Mutation, RequestId};
use meridian_replication::{Founder, Handle, Join, Options, Readiness, Timing, start};
use uuid::Uuid;

/// As in the daemon: half of a start is allocation.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Proposals at once while filling: enough for the log to batch its syncs.
const WRITERS: usize = 256;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

#[tokio::main]
async fn main() -> Result<()> {
    tracing_subscriber::fmt().with_env_filter(tracing_subscriber::EnvFilter::from_default_env()).init();
    let mut arguments = std::env::args().skip(1);
    let dir = PathBuf::from(arguments.next().ok_or("say in which directory")?);
    let mut number = |default: usize| arguments.next().map_or(Ok(default), |text| text.parse());
    let (environments, releases, document_bytes) = (number(1_000)?, number(100)?, number(500)?);

    if !dir.exists() {
        let handle = ready(&dir).await?;
        let began = Instant::now();
        fill(&handle, environments, releases, document_bytes).await?;
        println!("filled with {environments} x {releases} releases in {:.1?}", began.elapsed());
        handle.stop().await;
    }
    for _ in 0..3 {
        let began = Instant::now();
        let handle = ready(&dir).await?;
        println!("ready after {:.2?}, revision {}", began.elapsed(), handle.catalog().view().revision);
        handle.stop().await;
    }
    Ok(())
}

async fn ready(dir: &Path) -> Result<Handle> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let own = Founder {
        region: "us-east".to_owned(),
        zone: "a".to_owned(),
        peer_address: listener.local_addr()?.to_string(),
        grpc_address: "none".to_owned(),
    };
    let options = Options {
        cluster_id: "cold-start".to_owned(),
        node_id: 1,
        own: own.clone(),
        founders: BTreeMap::from([(1, own)]),
        join: Join::default(),
        data_dir: dir.to_owned(),
        timing: Timing::default(),
        software_version: "example".to_owned(),
    };
    let handle = tokio::task::spawn_blocking(move || start(options, listener)).await??;
    while handle.readiness() != Readiness::Ready {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    Ok(handle)
}

async fn fill(handle: &Handle, environments: usize, releases: usize, document_bytes: usize) -> Result<()> {
    let project: meridian_model::Name = "filled".parse()?;
    while handle.status().leader != Some(handle.node_id()) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    propose(handle, Mutation::CreateProject { project }).await?;
    let names =
        (0..environments).map(|number| EnvironmentRef::parse("filled", &format!("environment-{number}")));
    let names = names.collect::<std::result::Result<Vec<_>, _>>()?;
    let create = names.iter().map(|at| Mutation::CreateEnvironment { environment: at.clone() });
    all(handle, create).await?;
    for release in 0..releases {
        all(handle, names.iter().map(|at| publish(at, release, document_bytes))).await?;
    }
    Ok(())
}

fn publish(at: &EnvironmentRef, release: usize, document_bytes: usize) -> Mutation {
    // Digits of hashes do not compress to nothing, as repeated text would.
    let mut text = format!("{{\"{at}\": {release}, \"padding\": \"");
    while text.len() < document_bytes {
        text.push_str(&Uuid::new_v4().to_string());
    }
    text.push_str("\"}");
    Mutation::Publish {
        environment: at.clone(),
        document: Document::seal(Format::Json, text.into()),
        expect_version: None,
        message: String::new(),
    }
}

async fn all(handle: &Handle, mutations: impl Iterator<Item = Mutation>) -> Result<()> {
    stream::iter(mutations.map(|mutation| propose(handle, mutation)))
        .buffer_unordered(WRITERS)
        .try_collect::<Vec<()>>()
        .await
        .map(drop)
}

async fn propose(handle: &Handle, mutation: Mutation) -> Result<()> {
    let id = RequestId(Uuid::new_v4().into_bytes());
    handle.propose(id, "cold-start".to_owned(), mutation, Duration::from_secs(60)).await?;
    Ok(())
}
