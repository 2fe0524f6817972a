//! Projects, environments and keys.

use std::io::{self, Write};

use meridian_client::Secret;
use meridian_client::proto::admin;
use serde::{Serialize, Serializer};

use super::table::Table;
use super::{View, age, clean, format_name};
use crate::names::EnvironmentName;

/// `project list`
#[derive(Serialize)]
pub(crate) struct Projects {
    projects: Vec<Project>,
}

/// `project create`
#[derive(Serialize)]
#[serde(transparent)]
pub(crate) struct CreatedProject(Project);

#[derive(Serialize)]
struct Project {
    name: String,
    created_at_ms: u64,
    environments: Vec<Environment>,
}

#[derive(Serialize)]
struct Environment {
    name: String,
    created_at_ms: u64,
    /// 0 before the first publish.
    version: u64,
    /// Absent before the first publish.
    format: Option<&'static str>,
}

impl From<Vec<admin::Project>> for Projects {
    fn from(projects: Vec<admin::Project>) -> Self {
        Self { projects: projects.into_iter().map(Project::from).collect() }
    }
}

impl From<admin::Project> for CreatedProject {
    fn from(project: admin::Project) -> Self {
        Self(project.into())
    }
}

impl From<admin::Project> for Project {
    fn from(project: admin::Project) -> Self {
        let environments = project.environments.into_iter().map(Environment::from).collect();
        Self { name: project.name, created_at_ms: project.created_at_ms, environments }
    }
}

impl From<admin::Environment> for Environment {
    fn from(environment: admin::Environment) -> Self {
        let admin::Environment { name, created_at_ms, version, format } = environment;
        Self { name, created_at_ms, version, format: (version > 0).then(|| format_name(format)) }
    }
}

impl View for Projects {
    fn text(&self, now_ms: u64, to: &mut dyn Write) -> io::Result<()> {
        let mut table = Table::new(["PROJECT", "ENVIRONMENT", "VERSION", "FORMAT", "CREATED"]);
        for project in &self.projects {
            if project.environments.is_empty() {
                let created = age(now_ms, project.created_at_ms);
                table.row([project.name.clone(), "-".into(), "-".into(), "-".into(), created]);
            }
            for environment in &project.environments {
                table.row([
                    project.name.clone(),
                    environment.name.clone(),
                    environment.version.to_string(),
                    environment.format.unwrap_or("-").to_owned(),
                    age(now_ms, environment.created_at_ms),
                ]);
            }
        }
        table.write(to)
    }
}

impl View for CreatedProject {
    fn text(&self, _now_ms: u64, to: &mut dyn Write) -> io::Result<()> {
        writeln!(to, "created project {}", clean(&self.0.name))
    }
}

/// `env create`
#[derive(Serialize)]
pub(crate) struct CreatedEnvironment {
    project: String,
    #[serde(flatten)]
    environment: Environment,
}

impl CreatedEnvironment {
    pub(crate) fn new(named: &EnvironmentName, environment: admin::Environment) -> Self {
        Self { project: named.project.to_string(), environment: environment.into() }
    }
}

impl View for CreatedEnvironment {
    fn text(&self, _now_ms: u64, to: &mut dyn Write) -> io::Result<()> {
        writeln!(to, "created environment {}/{}", self.project, clean(&self.environment.name))
    }
}

/// `key list`
#[derive(Serialize)]
pub(crate) struct Keys {
    keys: Vec<Key>,
}

/// `key create`: in text the secret alone, so that it can be taken into a variable.
#[derive(Serialize)]
pub(crate) struct CreatedKey {
    #[serde(flatten)]
    key: Key,
    /// Absent for an imported one: whoever gave it has it.
    #[serde(serialize_with = "exposed")]
    secret: Option<Secret>,
}

/// `key revoke`
#[derive(Serialize)]
#[serde(transparent)]
pub(crate) struct RevokedKey(Key);

#[derive(Serialize)]
struct Key {
    id: String,
    prefix: String,
    project: String,
    environment: String,
    label: String,
    created_at_ms: u64,
}

impl From<Vec<admin::SdkKey>> for Keys {
    fn from(keys: Vec<admin::SdkKey>) -> Self {
        Self { keys: keys.into_iter().map(Key::from).collect() }
    }
}

impl From<admin::SdkKey> for RevokedKey {
    fn from(key: admin::SdkKey) -> Self {
        Self(key.into())
    }
}

impl From<admin::SdkKey> for Key {
    fn from(key: admin::SdkKey) -> Self {
        let admin::SdkKey { id, prefix, project, environment, label, created_at_ms } = key;
        Self { id, prefix, project, environment, label, created_at_ms }
    }
}

impl CreatedKey {
    /// `secret` is the one made here, `None` for an imported one.
    pub(crate) fn new(key: admin::SdkKey, secret: Option<Secret>) -> Self {
        Self { key: key.into(), secret }
    }
}

impl View for Keys {
    fn text(&self, now_ms: u64, to: &mut dyn Write) -> io::Result<()> {
        let mut table = Table::new(["ID", "PREFIX", "ENVIRONMENT", "LABEL", "CREATED"]);
        for key in &self.keys {
            table.row([
                key.id.clone(),
                format!("{}…", key.prefix),
                format!("{}/{}", key.project, key.environment),
                key.label.clone(),
                age(now_ms, key.created_at_ms),
            ]);
        }
        table.write(to)
    }
}

impl View for CreatedKey {
    fn text(&self, _now_ms: u64, to: &mut dyn Write) -> io::Result<()> {
        match &self.secret {
            Some(secret) => writeln!(to, "{}", secret.expose()),
            None => {
                let Key { id, project, environment, .. } = &self.key;
                writeln!(to, "imported key {} of {}/{}", clean(id), clean(project), clean(environment))
            }
        }
    }
}

impl View for RevokedKey {
    fn text(&self, _now_ms: u64, to: &mut dyn Write) -> io::Result<()> {
        let Key { id, project, environment, .. } = &self.0;
        writeln!(to, "revoked key {} of {}/{}", clean(id), clean(project), clean(environment))
    }
}

fn exposed<S: Serializer>(secret: &Option<Secret>, serializer: S) -> Result<S::Ok, S::Error> {
    secret.as_ref().map(Secret::expose).serialize(serializer)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::view::golden::{NOW_MS, check};

    fn key() -> admin::SdkKey {
        admin::SdkKey {
            id: "9f86d081884c7d65".into(),
            prefix: "sdk-A1b2".into(),
            project: "shop".into(),
            environment: "live".into(),
            label: "web".into(),
            created_at_ms: NOW_MS - 60_000,
        }
    }

    #[test]
    fn projects() {
        let live = admin::Environment { name: "live".into(), created_at_ms: NOW_MS, version: 42, format: 2 };
        let test = admin::Environment { name: "test".into(), created_at_ms: NOW_MS, version: 0, format: 0 };
        let shop = admin::Project { name: "shop".into(), created_at_ms: 7, environments: vec![live, test] };
        let empty = admin::Project { name: "empty".into(), created_at_ms: 7, environments: vec![] };
        check(
            &Projects::from(vec![shop, empty]),
            "PROJECT  ENVIRONMENT  VERSION  FORMAT   CREATED\n\
             shop     live         42       statsig  now\n\
             shop     test         0        -        now\n\
             empty    -            -        -        19999d ago\n",
            r#"{"projects":[{"name":"shop","created_at_ms":7,"environments":[{"name":"live","created_at_ms":1728000000000,"version":42,"format":"statsig"},{"name":"test","created_at_ms":1728000000000,"version":0,"format":null}]},{"name":"empty","created_at_ms":7,"environments":[]}]}"#,
        );
    }

    #[test]
    fn what_was_created() {
        let project = admin::Project { name: "shop".into(), created_at_ms: 7, environments: vec![] };
        check(
            &CreatedProject::from(project),
            "created project shop\n",
            r#"{"name":"shop","created_at_ms":7,"environments":[]}"#,
        );
        let environment = admin::Environment { name: "live".into(), created_at_ms: 7, ..Default::default() };
        check(
            &CreatedEnvironment::new(&"shop/live".parse().unwrap(), environment),
            "created environment shop/live\n",
            r#"{"project":"shop","name":"live","created_at_ms":7,"version":0,"format":null}"#,
        );
    }

    #[test]
    fn keys() {
        check(
            &Keys::from(vec![key()]),
            "ID                PREFIX     ENVIRONMENT  LABEL  CREATED\n\
             9f86d081884c7d65  sdk-A1b2…  shop/live    web    60s ago\n",
            r#"{"keys":[{"id":"9f86d081884c7d65","prefix":"sdk-A1b2","project":"shop","environment":"live","label":"web","created_at_ms":1727999940000}]}"#,
        );
        check(
            &CreatedKey::new(key(), Some("sdk-A1b2C3".into())),
            "sdk-A1b2C3\n",
            r#"{"id":"9f86d081884c7d65","prefix":"sdk-A1b2","project":"shop","environment":"live","label":"web","created_at_ms":1727999940000,"secret":"sdk-A1b2C3"}"#,
        );
        check(
            &CreatedKey::new(key(), None),
            "imported key 9f86d081884c7d65 of shop/live\n",
            r#"{"id":"9f86d081884c7d65","prefix":"sdk-A1b2","project":"shop","environment":"live","label":"web","created_at_ms":1727999940000,"secret":null}"#,
        );
        check(
            &RevokedKey::from(key()),
            "revoked key 9f86d081884c7d65 of shop/live\n",
            r#"{"id":"9f86d081884c7d65","prefix":"sdk-A1b2","project":"shop","environment":"live","label":"web","created_at_ms":1727999940000}"#,
        );
    }
}
