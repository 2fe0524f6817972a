//! What a development cluster has from the start: a project, an environment, an SDK key, and a published sample.

use std::time::Duration;

use meridian_client::proto::admin::{
    CreateEnvironmentRequest, CreateKeyRequest, CreateProjectRequest, PublishRequest,
};
use meridian_client::proto::config::{Format, GetConfigRequest};
use meridian_client::{Client, Error};
use tokio::time::sleep;

use super::START_TIMEOUT;
use super::home::Home;
use super::observe::{client_of, clients};

/// The sample's project.
pub(super) const PROJECT: &str = "demo";

/// The sample's environment.
pub(super) const ENVIRONMENT: &str = "production";

/// Gates `checkout` (on for everybody), `new_search` (half) and `staff_tools`, a config, an experiment.
const SAMPLE: &[u8] = include_bytes!("sample.statsig.json");

/// Between two looks at nodes that are starting.
const PAUSE: Duration = Duration::from_millis(50);

/// Waits until every node is ready, the sample is published, and every region serves it.
///
/// What is there already stays as it is. Has no deadline of its own for nodes that never become ready.
pub(super) async fn until_ready(home: &Home) -> Result<(), Error> {
    let client = client_of(home, home.sites().iter(), START_TIMEOUT)?;
    publish_sample(&client, home.sdk_key()).await?;
    for (_, region) in clients(home, Duration::from_secs(1))? {
        until_served(&region).await;
    }
    while !all_healthy(&client, home.sites().len()).await {
        sleep(PAUSE).await;
    }
    Ok(())
}

async fn publish_sample(client: &Client, sdk_key: &str) -> Result<(), Error> {
    let (project, environment) = (PROJECT.to_owned(), ENVIRONMENT.to_owned());
    let request = CreateProjectRequest { project: project.clone(), ..Default::default() };
    or_there_already(client.create_project(request).await)?;
    let request = CreateEnvironmentRequest {
        project: project.clone(),
        environment: environment.clone(),
        ..Default::default()
    };
    or_there_already(client.create_environment(request).await)?;
    let request = CreateKeyRequest {
        project: project.clone(),
        environment: environment.clone(),
        secret: sdk_key.to_owned(),
        label: "meridian dev".to_owned(),
        ..Default::default()
    };
    or_there_already(client.create_key(request).await)?;
    let request = PublishRequest {
        project,
        environment,
        format: Format::Statsig.into(),
        document: SAMPLE.into(),
        expect_version: Some(0),
        message: "the sample of meridian dev".to_owned(),
        ..Default::default()
    };
    or_there_already(client.publish(request).await)
}

/// A cluster that was kept has all of it: then each step is refused, and that is fine.
fn or_there_already<T>(answer: Result<T, Error>) -> Result<(), Error> {
    match answer {
        Err(Error::Refused { reason, .. }) if matches!(reason.as_str(), "exists" | "version-conflict") => {
            Ok(())
        }
        answer => answer.map(drop),
    }
}

async fn until_served(region: &Client) {
    let request = GetConfigRequest {
        project: PROJECT.to_owned(),
        environment: ENVIRONMENT.to_owned(),
        ..Default::default()
    };
    while region.get_config(request.clone()).await.is_err() {
        sleep(PAUSE).await;
    }
}

async fn all_healthy(client: &Client, count: usize) -> bool {
    match client.cluster_status().await {
        Ok(status) => status.nodes.len() == count && status.nodes.iter().all(|node| node.healthy),
        Err(_) => false,
    }
}
