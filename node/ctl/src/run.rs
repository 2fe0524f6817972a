//! Runs a command: asks the cluster, shows the answer, tells what went wrong.

mod cluster;
mod documents;

use std::process::ExitCode;

use meridian_client::proto::admin::{
    CreateEnvironmentRequest, CreateProjectRequest, ListKeysRequest, RevokeKeyRequest,
};
use meridian_client::{Client, Error, Options};
use uuid::Uuid;

use crate::args::{Command, EnvCommand, Global, KeyCommand, ProjectCommand};
use crate::names::EnvironmentName;
use crate::output::{Closed, Output};
use crate::problem::Problem;
use crate::view::{CreatedEnvironment, CreatedProject, Goal, History, Keys, Projects, RevokedKey};

/// Runs a command to its end, printing results to stdout and problems to stderr. Needs a tokio runtime with time and
/// I/O. The answer is one of [`crate::exit`].
pub async fn run(global: Global, command: Command) -> ExitCode {
    let output = Output::new(global.output);
    let code = match execute(global, command, output).await {
        Ok(()) => crate::exit::OK,
        Err(End::Problem(problem)) => output.problem(&problem),
        Err(End::Closed(closed)) => output.closed(closed),
        Err(End::Told(code)) => code,
    };
    code.into()
}

/// Why a command ended other than with success.
enum End {
    Problem(Problem),
    Closed(Closed),
    /// The result that was shown says it all, and this is its number.
    Told(u8),
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
            documents::create_key(&client, environment, label, import, request_id, output).await?;
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
        Command::Publish(publish) => documents::publish(&client, publish, output).await?,
        Command::Get(get) => documents::get(&client, get, output).await?,
        Command::Watch(watch) => documents::watch(&client, watch, deadline, output).await?,
        Command::History { environment, limit } => {
            let releases = documents::history(&client, &environment, limit).await?;
            output.show(&History::from(releases))?;
        }
        Command::Diff { environment, from, to } => {
            documents::diff(&client, &environment, from, to, output).await?;
        }
        Command::Rollback(rollback) => documents::rollback(&client, rollback, output).await?,
        Command::Outcome(outcome) => cluster::outcome(&client, outcome, output).await?,
        Command::Status(status) => cluster::status(&client, status, output).await?,
        Command::Member(member) => cluster::member(&client, member, output).await?,
        Command::Leader(leader) => cluster::leader(&client, leader, output).await?,
        Command::Placement(placement) => cluster::placement(&client, placement, output).await?,
        Command::Drain { change, force } => {
            cluster::service(&client, change, Goal::Drained, force, output).await?;
        }
        Command::Undrain(change) => {
            cluster::service(&client, change, Goal::Serving, false, output).await?;
        }
        Command::Journal { limit } => cluster::journal(&client, limit, output).await?,
    }
    Ok(())
}

/// A request id as messages carry it: empty for a new request.
fn text_of(request_id: Option<Uuid>) -> String {
    request_id.map(|id| id.to_string()).unwrap_or_default()
}
