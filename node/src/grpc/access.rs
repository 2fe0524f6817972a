//! Who may read the config of which environment, and whether they still may.

use std::sync::Arc;

use meridian_model::state::Directory;
use meridian_model::{EnvironmentRef, KeyHash};
use meridian_replication::catalog::View;
use meridian_replication::{Handle, Readiness};
use tonic::metadata::MetadataMap;
use tonic::{Code, Status};

use super::{lookup, status};
use crate::auth::{self, Auth, Operator};
use crate::demand::{Demand, Prover};
use crate::service::Service;
use crate::stamp::{Stamp, Stamper};

/// Decides who reads what on this node, and whether it can be shown as they demand.
#[derive(Clone)]
pub(super) struct Access {
    pub(super) handle: Handle,
    pub(super) auth: Arc<Auth>,
    pub(super) service: Service,
    pub(super) stamper: Stamper,
    pub(super) prover: Prover,
}

/// How a reader wants to be served. A node that leaves service refuses streams first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Call {
    Read,
    Stream,
}

/// Somebody who may read one environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reader {
    pub(super) environment: EnvironmentRef,
    pub(super) holder: Holder,
}

/// Whose credential it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Holder {
    Key(KeyHash),
    Operator(Operator),
}

impl Access {
    /// Whether this node has what it would show. Asked before a credential is looked up: a node that is behind does not
    /// know every key yet, and must not turn its owner away for good.
    pub(super) fn ready(&self) -> Result<(), Status> {
        match self.handle.readiness() {
            Readiness::Ready => Ok(()),
            Readiness::NotReady(why) => Err(status::not_ready(&why)),
        }
    }

    /// Whether this node serves readers.
    fn serves(&self, call: Call) -> Result<(), Status> {
        let in_service = match call {
            Call::Read => self.service.answers_reads(),
            Call::Stream => self.service.ready(),
        };
        in_service.map_err(|away| status::away(&away))?;
        self.ready()
    }

    /// What to answer this reader from: proved, and then looked up.
    pub(super) async fn look(&self, demand: &Demand, reader: &Reader) -> Result<(Arc<View>, Stamp), Status> {
        if *demand != Demand::default() {
            self.prover
                .prove(demand, &reader.environment)
                .await
                .map_err(|unproved| status::unproved(&unproved))?;
        }
        let (view, stamp) = self.stamper.look();
        // A key that was revoked before a linearizable read must not read.
        reader.may_go_on(&view.directory)?;
        Ok((view, stamp))
    }

    /// Lets a reader in. One who demands freshness is not told that a key or an environment does not exist by a node that
    /// may only be behind: that would turn them away for good.
    pub(super) async fn admit(
        &self,
        demand: &Demand,
        look_up: impl Fn() -> Result<Reader, Status>,
    ) -> Result<Reader, Status> {
        match look_up() {
            Err(unknown)
                if matches!(unknown.code(), Code::PermissionDenied | Code::NotFound)
                    && *demand != Demand::default() =>
            {
                // Boxed: it is rare, and would otherwise be a part of every call.
                Box::pin(self.prover.catch_up()).await.map_err(|why| status::uncertain(&why))?;
                look_up()
            }
            answer => answer,
        }
    }

    /// The reader whose credential is in the metadata. An SDK key may leave project and environment empty: it reads
    /// one environment only. An operator must name them.
    pub(super) fn by_metadata(
        &self,
        call: Call,
        metadata: &MetadataMap,
        project: &str,
        environment: &str,
    ) -> Result<Reader, Status> {
        let credential = auth::bearer(metadata.as_ref()).ok_or_else(|| {
            Status::unauthenticated("send an sdk key or an operator token as `authorization: Bearer …`")
        })?;
        self.serves(call)?;
        if let Some(operator) = self.auth.identify(credential) {
            let environment = lookup::environment_name(project, environment)?;
            lookup::environment(&self.handle.catalog().view().directory, &environment)
                .map_err(|unknown| status::refusal(&unknown))?;
            return Ok(Reader { environment, holder: Holder::Operator(operator) });
        }
        let reader = self.by_key(call, credential)?;
        reader.must_mean(project, environment)?;
        Ok(reader)
    }

    /// The reader with this SDK key.
    pub(super) fn by_key(&self, call: Call, secret: &str) -> Result<Reader, Status> {
        self.serves(call)?;
        let environment = self.auth.sdk_key(secret).ok_or_else(|| {
            Status::permission_denied("this credential is not known: it was never created, or it was revoked")
        })?;
        Ok(Reader { environment, holder: Holder::Key(KeyHash::of(secret)) })
    }
}

impl Reader {
    /// Refuses a request that names another environment than the key's. Empty names mean the key's own.
    fn must_mean(&self, project: &str, environment: &str) -> Result<(), Status> {
        let means = |given: &str, own: &str| given.is_empty() || given == own;
        if means(project, self.environment.project.as_str())
            && means(environment, self.environment.environment.as_str())
        {
            return Ok(());
        }
        Err(Status::permission_denied("this sdk key reads another environment than the one asked for"))
    }

    /// Whether what let the reader in is still there.
    pub(super) fn may_go_on(&self, directory: &Directory) -> Result<(), Status> {
        let Holder::Key(hash) = &self.holder else { return Ok(()) };
        match directory.key(hash) {
            Some(key) if key.environment == self.environment => Ok(()),
            _ => Err(Status::permission_denied("this sdk key was revoked")),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::grpc::testing::Shop;

    const SECRET: &str = "secret-abcdefghijklmnop";

    fn reader() -> Reader {
        Reader {
            environment: EnvironmentRef::parse("shop", "live").unwrap(),
            holder: Holder::Key(KeyHash::of(SECRET)),
        }
    }

    #[test]
    fn a_key_reads_its_own_environment_only() {
        for (project, environment, may) in [
            ("", "", true),
            ("shop", "live", true),
            ("shop", "", true),
            ("", "live", true),
            ("shop", "test", false),
            ("blog", "live", false),
            ("blog", "", false),
        ] {
            let code = reader().must_mean(project, environment).map_err(|status| status.code());
            assert_eq!(
                code,
                if may { Ok(()) } else { Err(Code::PermissionDenied) },
                "{project}/{environment}"
            );
        }
    }

    #[test]
    fn a_revoked_key_may_not_go_on() {
        let mut shop = Shop::default();
        shop.project("shop");
        shop.environment("shop", "live");
        shop.key("shop", "live", SECRET);
        let known = shop.directory();
        shop.revoke(SECRET);
        let revoked = shop.directory();

        assert!(reader().may_go_on(&known).is_ok());
        assert_eq!(reader().may_go_on(&revoked).unwrap_err().code(), Code::PermissionDenied);
        let elsewhere = Reader { environment: EnvironmentRef::parse("shop", "test").unwrap(), ..reader() };
        assert_eq!(elsewhere.may_go_on(&known).unwrap_err().code(), Code::PermissionDenied);
    }
}
