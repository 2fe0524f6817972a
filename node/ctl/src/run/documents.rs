//! Keys, publishing, reading.

use std::pin::pin;
use std::time::Duration;

use meridian_client::proto::admin::{
    CreateKeyRequest, GetReleaseRequest, ListReleasesRequest, PublishRequest, RollbackRequest,
};
use meridian_client::proto::config::{Format, GetConfigRequest, Release};
use meridian_client::{Client, Error, Event, Fetched, Secret, StoredRelease};
use uuid::Uuid;

use super::{End, text_of};
use crate::args::{Get, Publish, Rollback, Watch};
use crate::names::EnvironmentName;
use crate::output::Output;
use crate::problem::Problem;
use crate::view::{Change, ChangeKind, CreatedKey, Diff, Document, Watched, clean};
use crate::{secret, source};

/// Most releases that one page may hold.
const PAGE: u32 = 1_000;

pub(super) async fn create_key(
    client: &Client,
    environment: EnvironmentName,
    label: String,
    import: Option<Secret>,
    request_id: Option<Uuid>,
    output: Output,
) -> Result<(), End> {
    let (secret, is_new) = match import {
        Some(given) => (source::secret(&given)?, false),
        None => {
            let made = secret::generate();
            (made.map_err(|error| Problem::local(format!("cannot make a secret: {error}")))?, true)
        }
    };
    let message = CreateKeyRequest {
        project: environment.project.to_string(),
        environment: environment.environment.to_string(),
        secret: secret.expose().to_owned(),
        label,
        request_id: text_of(request_id),
    };
    let key = client.create_key(message).await.map_err(|error| match error {
        Error::Unknown { .. } if is_new => Problem::from(error).hint(format!(
            "the key may have been made, and its secret is lost: find it with `meridian key list {environment}`, \
             revoke it and create another"
        )),
        error => error.into(),
    })?;
    if is_new {
        output.note(&format!("key {} of {environment}: its secret is shown this once", clean(&key.id)));
    }
    output.show(&CreatedKey::new(key, is_new.then_some(secret)))?;
    Ok(())
}

pub(super) async fn publish(client: &Client, publish: Publish, output: Output) -> Result<(), End> {
    let Publish { environment, file, format, expect_version, message, validate_only, repeat } = publish;
    let message = PublishRequest {
        project: environment.project.to_string(),
        environment: environment.environment.to_string(),
        format: Format::from(format).into(),
        document: source::document(&file)?,
        expect_version,
        message,
        validate_only,
        request_id: text_of(repeat.request_id),
    };
    let kind = if validate_only { ChangeKind::DryRun } else { ChangeKind::Publish };
    output.show(&Change::new(kind, &environment, client.publish(message).await?))?;
    Ok(())
}

pub(super) async fn rollback(client: &Client, rollback: Rollback, output: Output) -> Result<(), End> {
    let Rollback { environment, to, expect_version, message, repeat } = rollback;
    let message = RollbackRequest {
        project: environment.project.to_string(),
        environment: environment.environment.to_string(),
        to_version: to.unwrap_or_default(),
        expect_version,
        message,
        request_id: text_of(repeat.request_id),
    };
    output.show(&Change::new(ChangeKind::Rollback, &environment, client.rollback(message).await?))?;
    Ok(())
}

pub(super) async fn get(client: &Client, get: Get, output: Output) -> Result<(), End> {
    let Get { environment, version, proof } = get;
    let document = match version {
        Some(version) => Document::from(release(client, &environment, version).await?),
        None => {
            let message = GetConfigRequest {
                project: environment.project.to_string(),
                environment: environment.environment.to_string(),
                since_version: 0,
                demand: proof.demand(),
            };
            match client.get_config(message).await? {
                Fetched::Config(config) => config.into(),
                // Every version is newer than none.
                Fetched::NotModified(_) => return Err(Error::Malformed { missing: "document" }.into()),
            }
        }
    };
    if let Some(note) = document.note() {
        output.note(&note);
    }
    output.show(&document)?;
    Ok(())
}

async fn release(
    client: &Client,
    environment: &EnvironmentName,
    version: u64,
) -> Result<StoredRelease, Error> {
    let message = GetReleaseRequest {
        project: environment.project.to_string(),
        environment: environment.environment.to_string(),
        version,
    };
    client.release(message).await
}

pub(super) async fn diff(
    client: &Client,
    environment: &EnvironmentName,
    from: u64,
    to: u64,
    output: Output,
) -> Result<(), End> {
    let (from, to) = (release(client, environment, from).await?, release(client, environment, to).await?);
    let diff = Diff::between(environment, &from, &to);
    if let Some(note) = diff.note() {
        output.note(note);
    }
    output.show(&diff)?;
    Ok(())
}

pub(super) async fn history(
    client: &Client,
    environment: &EnvironmentName,
    limit: u32,
) -> Result<Vec<Release>, Error> {
    let mut releases = Vec::new();
    let mut before_version = 0;
    loop {
        let missing = limit.saturating_sub(releases.len() as u32);
        let message = ListReleasesRequest {
            project: environment.project.to_string(),
            environment: environment.environment.to_string(),
            limit: missing.min(PAGE),
            before_version,
        };
        let page = client.releases(message).await?;
        let is_last = page.next_before_version == 0 || page.releases.is_empty();
        releases.extend(page.releases.into_iter().take(missing as usize));
        if is_last || releases.len() as u32 >= limit {
            return Ok(releases);
        }
        before_version = page.next_before_version;
    }
}

/// Follows until Ctrl-C, or for so many versions as were asked for. Whether anybody is there must show within the
/// deadline; after that lost nodes are waited for.
pub(super) async fn watch(
    client: &Client,
    watch: Watch,
    deadline: Duration,
    output: Output,
) -> Result<(), End> {
    let Watch { environment: EnvironmentName { project, environment }, since, count, proof } = watch;
    let mut watch = client.watch(project.as_str(), environment.as_str(), since);
    if let Some(demand) = proof.demand() {
        watch = watch.demand(demand);
    }
    let mut interrupted = pin!(tokio::signal::ctrl_c());
    let mut nobody = pin!(tokio::time::sleep(deadline));
    let mut was_connected = false;
    let mut last_loss = String::new();
    let mut missing = count;
    while missing != Some(0) {
        let event = tokio::select! {
            Ok(()) = &mut interrupted => return Ok(()),
            () = &mut nobody, if !was_connected => return Err(Error::Unavailable { message: last_loss }.into()),
            event = watch.next() => event?,
        };
        match event {
            Event::Config(config) => {
                let watched = Watched::from(config);
                if let Some(note) = watched.note() {
                    output.note(&note);
                }
                output.show(&watched)?;
                missing = missing.map(|missing| missing - 1);
            }
            Event::Connected { endpoint } => {
                was_connected = true;
                output.note(&format!("watching at {endpoint}"));
            }
            Event::Disconnected { endpoint, why, retry_in } => {
                last_loss = format!("{endpoint}: {why}");
                let seconds = retry_in.as_secs_f64();
                output.note(&format!("lost {endpoint}: {}; next attempt in {seconds:.1} s", clean(&why)));
            }
        }
    }
    Ok(())
}
