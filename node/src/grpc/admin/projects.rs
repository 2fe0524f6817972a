//! Projects and their environments.

use meridian_model::state::Directory;
use meridian_model::{EnvironmentRef, Mutation};
use meridian_proto::admin::{
    CreateEnvironmentRequest, CreateEnvironmentResponse, CreateProjectRequest, CreateProjectResponse,
    Environment, ListProjectsResponse, Project,
};
use tonic::{Request, Status};

use super::Admin;
use super::change::Change;
use crate::grpc::{lookup, wire};

impl Admin {
    pub(super) async fn create_project(
        &self,
        request: Request<CreateProjectRequest>,
    ) -> Result<CreateProjectResponse, Status> {
        let change = Change::asked_by(&request, &request.get_ref().request_id)?;
        let project = lookup::name("project", &request.get_ref().project)?;
        change.commit(&self.handle, Mutation::CreateProject { project: project.clone() }).await?;
        let view = self.handle.catalog().view();
        let created_at_ms = view.directory.project(&project).map_or(0, |created| created.created_at_ms);
        let created = Project { name: project.to_string(), created_at_ms, environments: Vec::new() };
        Ok(CreateProjectResponse { project: Some(created) })
    }

    pub(super) async fn create_environment(
        &self,
        request: Request<CreateEnvironmentRequest>,
    ) -> Result<CreateEnvironmentResponse, Status> {
        let change = Change::asked_by(&request, &request.get_ref().request_id)?;
        let asked = request.into_inner();
        let at = lookup::environment_name(&asked.project, &asked.environment)?;
        change.commit(&self.handle, Mutation::CreateEnvironment { environment: at.clone() }).await?;
        let created = environment(&self.handle.catalog().view().directory, &at);
        Ok(CreateEnvironmentResponse { environment: Some(created) })
    }

    pub(super) fn list_projects(&self) -> Result<ListProjectsResponse, Status> {
        Ok(ListProjectsResponse { projects: projects(&self.view()?.directory) })
    }
}

/// All projects with their environments, by name.
fn projects(directory: &Directory) -> Vec<Project> {
    // Both are in the order of the project's name.
    let mut environments = directory.environments().peekable();
    directory
        .projects()
        .map(|(name, project)| Project {
            name: name.to_string(),
            created_at_ms: project.created_at_ms,
            environments: std::iter::from_fn(|| environments.next_if(|(at, _)| at.project == *name))
                .map(|(at, _)| environment(directory, at))
                .collect(),
        })
        .collect()
}

fn environment(directory: &Directory, at: &EnvironmentRef) -> Environment {
    let name = at.environment.to_string();
    let Some(known) = directory.environment(at) else { return Environment { name, ..Default::default() } };
    let newest = directory.release(at, known.head);
    Environment {
        name,
        created_at_ms: known.created_at_ms,
        version: known.head,
        format: newest.map_or(0, |release| wire::format(release.format).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grpc::testing::Shop;

    #[test]
    fn every_environment_is_listed_under_its_project() {
        let mut shop = Shop::default();
        for project in ["blog", "empty", "shop"] {
            shop.project(project);
        }
        for (project, environment) in [("shop", "live"), ("shop", "test"), ("blog", "live")] {
            shop.environment(project, environment);
        }
        shop.publish("shop", "test", "{}");
        let listed: Vec<_> = projects(&shop.directory())
            .into_iter()
            .map(|project| {
                let environments = project.environments.iter().map(|e| (e.name.clone(), e.version, e.format));
                (project.name, environments.collect::<Vec<_>>())
            })
            .collect();
        let environment = |name: &str, version, format| (name.to_owned(), version, format);
        assert_eq!(
            listed,
            [
                ("blog".to_owned(), vec![environment("live", 0, 0)]),
                ("empty".to_owned(), vec![]),
                ("shop".to_owned(), vec![environment("live", 0, 0), environment("test", 1, 1)]),
            ]
        );
    }
}
