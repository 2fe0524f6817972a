//! A replicated state to look at, for tests: made by the commands that make the real one.

#![allow(clippy::unwrap_used)]

use bytes::Bytes;
use meridian_model::state::Directory;
use meridian_model::{
    Command, Document, EnvironmentRef, Format, KeyHash, Mutation, Outcome, RequestId, State,
};

#[derive(Default)]
pub(super) struct Shop {
    state: State,
    commands: u64,
}

impl Shop {
    pub(super) fn directory(&self) -> Directory {
        self.state.directory().clone()
    }

    pub(super) fn project(&mut self, project: &str) {
        self.apply(Mutation::CreateProject { project: project.parse().unwrap() });
    }

    pub(super) fn environment(&mut self, project: &str, environment: &str) {
        let environment = EnvironmentRef::parse(project, environment).unwrap();
        self.apply(Mutation::CreateEnvironment { environment });
    }

    pub(super) fn key(&mut self, project: &str, environment: &str, secret: &str) {
        self.apply(Mutation::CreateKey {
            environment: EnvironmentRef::parse(project, environment).unwrap(),
            hash: KeyHash::of(secret),
            prefix: secret[..8].to_owned(),
            label: String::new(),
        });
    }

    pub(super) fn revoke(&mut self, secret: &str) {
        self.apply(Mutation::RevokeKey { id: KeyHash::of(secret).id() });
    }

    pub(super) fn publish(&mut self, project: &str, environment: &str, document: &str) {
        self.apply(Mutation::Publish {
            environment: EnvironmentRef::parse(project, environment).unwrap(),
            document: Document::seal(Format::Json, Bytes::copy_from_slice(document.as_bytes())),
            expect_version: None,
            message: String::new(),
        });
    }

    fn apply(&mut self, mutation: Mutation) {
        self.commands += 1;
        let request_id = Some(RequestId(u128::from(self.commands).to_be_bytes()));
        let command = Command { request_id, actor: "test".to_owned(), time_ms: self.commands, mutation };
        let outcome = self.state.apply(command).outcome;
        assert!(!matches!(outcome, Outcome::Refused(_)), "{outcome:?}");
    }
}
