//! Runs a command: asks the cluster, shows the answer, tells what went wrong.

use std::pin::pin;
use std::process::ExitCode;
use std::time::Duration;

use meridian_client::proto::admin::{
    CreateEnvironmentRequest, CreateKeyRequest, CreateProjectRequest, GetReleaseRequest, ListKeysRequest,
    ListReleasesRequest, PublishRequest, RevokeKeyRequest, RollbackRequest,
};
use meridian_client::proto::config::{Format, GetConfigRequest, Release};
use meridian_client::{Client, Error, Event, Fetched, Options, Secret, StoredRelease};
use uuid::Uuid;

use crate::args::{Command, EnvCommand, Global, KeyCommand, ProjectCommand, Publish, Rollback};
use crate::names::EnvironmentName;
use crate::output::{Closed, Output};
use crate::problem::Problem;
use crate::view::{
    Change, ChangeKind, CreatedEnvironment, CreatedKey, CreatedProject, Diff, Document, History, Keys,
    Projects, RevokedKey, Status, Watched, clean,
};
use crate::{secret, source};

/// Most releases that one page may hold.
const PAGE: u32 = 1_000;

/// Runs a command to its end, printing results to stdout and problems to stderr. Needs a tokio runtime with time and
/// I/O. The answer is one of [`crate::exit`].
pub async fn run(global: Global, command: Command) -> ExitCode {
    let output = Output::new(global.output);
    let code = match execute(global, command, output).await {
        Ok(()) => crate::exit::OK,
        Err(End::Problem(problem)) => output.problem(&problem),
        Err(End::Closed(closed)) => output.closed(closed),
    };
    code.into()
}

/// Why a command ended early.
enum End {
    Problem(Problem),
    Closed(Closed),
}

impl From<Problem> for End {
    fn from(problem: Problem) -> Self {
        Self::Problem(problem)
    }
}

impl From<Error> for End {
    fn from(error: Error) -> Self {
        Self::Problem(error.into())
    }
}

impl From<Closed> for End {
    fn from(closed: Closed) -> Self {
        Self::Closed(closed)
    }
}

async fn execute(global: Global, command: Command, output: Output) -> Result<(), End> {
    let Global { endpoints, token, deadline, output: _ } = global;
    // A variable that is set to nothing means the same as one that is not set.
    let token = token.filter(|token| !token.expose().is_empty());
    let client = Client::new(Options { token, deadline, ..Options::new(endpoints) })?;
    match command {
        Command::Project(ProjectCommand::Create { name, repeat }) => {
            let message =
                CreateProjectRequest { project: name.to_string(), request_id: text_of(repeat.request_id) };
            output.show(&CreatedProject::from(client.create_project(message).await?))?;
        }
        Command::Project(ProjectCommand::List) => output.show(&Projects::from(client.projects().await?))?,
        Command::Env(EnvCommand::Create { environment, repeat }) => {
            let EnvironmentName { project, environment: name } = &environment;
            let message = CreateEnvironmentRequest {
                project: project.to_string(),
                environment: name.to_string(),
                request_id: text_of(repeat.request_id),
            };
            let created = client.create_environment(message).await?;
            output.show(&CreatedEnvironment::new(&environment, created))?;
        }
        Command::Key(KeyCommand::Create { environment, label, import, request_id }) => {
            create_key(&client, environment, label, import, request_id, output).await?;
        }
        Command::Key(KeyCommand::List { environment }) => {
            let message = environment.map(|environment| ListKeysRequest {
                project: environment.project.to_string(),
                environment: environment.environment.to_string(),
            });
            output.show(&Keys::from(client.keys(message.unwrap_or_default()).await?))?;
        }
        Command::Key(KeyCommand::Revoke { id, repeat }) => {
            let message = RevokeKeyRequest { id: id.to_string(), request_id: text_of(repeat.request_id) };
            output.show(&RevokedKey::from(client.revoke_key(message).await?))?;
        }
        Command::Publish(publish) => self::publish(&client, publish, output).await?,
        Command::Get { environment, version } => output.show(&get(&client, &environment, version).await?)?,
        Command::Watch { environment, since, count } => {
            watch(&client, &environment, since, count, deadline, output).await?;
        }
        Command::History { environment, limit } => {
            output.show(&History::from(history(&client, &environment, limit).await?))?;
        }
        Command::Diff { environment, from, to } => diff(&client, &environment, from, to, output).await?,
        Command::Rollback(rollback) => self::rollback(&client, rollback, output).await?,
        Command::Status => output.show(&Status::from(client.cluster_status().await?))?,
    }
    Ok(())
}

async fn create_key(
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

async fn publish(client: &Client, publish: Publish, output: Output) -> Result<(), End> {
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

async fn rollback(client: &Client, rollback: Rollback, output: Output) -> Result<(), End> {
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

async fn get(
    client: &Client,
    environment: &EnvironmentName,
    version: Option<u64>,
) -> Result<Document, Error> {
    let Some(version) = version else {
        let message = GetConfigRequest {
            project: environment.project.to_string(),
            environment: environment.environment.to_string(),
            since_version: 0,
        };
        return match client.get_config(message).await? {
            Fetched::Config(config) => Ok(config.into()),
            // Every version is newer than none.
            Fetched::NotModified(_) => Err(Error::Malformed { missing: "document" }),
        };
    };
    Ok(release(client, environment, version).await?.into())
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

async fn diff(
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

async fn history(client: &Client, environment: &EnvironmentName, limit: u32) -> Result<Vec<Release>, Error> {
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

/// Follows until Ctrl-C, or for `count` versions. Whether anybody is there must show within the deadline; after that
/// lost nodes are waited for.
async fn watch(
    client: &Client,
    environment: &EnvironmentName,
    since: u64,
    count: Option<u64>,
    deadline: Duration,
    output: Output,
) -> Result<(), End> {
    let EnvironmentName { project, environment } = environment;
    let mut watch = client.watch(project.as_str(), environment.as_str(), since);
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
                output.show(&Watched::from(config))?;
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

/// A request id as messages carry it: empty for a new request.
fn text_of(request_id: Option<Uuid>) -> String {
    request_id.map(|id| id.to_string()).unwrap_or_default()
}
