//! Reading one environment again and again, with a memory.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use meridian_proto::config::{Demand, Freshness, GetConfigRequest};

use crate::{Client, Config, Error, Fetched};

/// Reads the config of one environment whenever it is asked to, from whichever node answers.
///
/// Guarantees that versions never fall: a node that is behind what this reader has handed out is answered over with
/// what the reader holds. It fetches a document once; later reads ask only whether there is a newer one.
///
/// Cheap to clone; clones share what they hold. Applications that want the config at hand without a request for each
/// look want a [`Subscription`](crate::Subscription).
#[derive(Clone)]
pub struct Reader {
    client: Client,
    message: GetConfigRequest,
    held: Arc<ArcSwapOption<Config>>,
}

impl Reader {
    pub(crate) fn new(client: Client, project: &str, environment: &str) -> Self {
        let message = GetConfigRequest {
            project: project.to_owned(),
            environment: environment.to_owned(),
            ..GetConfigRequest::default()
        };
        Self { client, message, held: Arc::default() }
    }

    /// Only with answers that prove this. [`Error::Stale`] when no node can.
    pub fn demand(mut self, demand: Demand) -> Self {
        self.message.demand = Some(demand);
        self
    }

    /// The newest config that the node which answered or this reader knows. Its freshness is that of the answer.
    pub async fn read(&self) -> Result<Arc<Config>, Error> {
        let since_version = self.version();
        let message = GetConfigRequest { since_version, ..self.message.clone() };
        let answer = match self.client.get_config(message).await? {
            Fetched::Config(config) => Answer::Config(Arc::new(config)),
            Fetched::NotModified(freshness) => Answer::NotModified(freshness),
        };
        self.held.rcu(|held| match (held, &answer) {
            (Some(held), Answer::Config(new)) if new.release.version < held.release.version => {
                Some(held.clone())
            }
            (_, Answer::Config(new)) => Some(new.clone()),
            // Another read may have brought a newer one meanwhile, of which this answer knows nothing.
            (Some(held), Answer::NotModified(freshness)) if held.release.version == since_version => {
                Some(Arc::new(Config { freshness: freshness.clone(), ..(**held).clone() }))
            }
            (held, Answer::NotModified(_)) => held.clone(),
        });
        self.held.load_full().ok_or(Error::Malformed { missing: "Release" })
    }

    /// The version held; 0 before the first successful read.
    pub fn version(&self) -> u64 {
        self.held.load().as_ref().map_or(0, |held| held.release.version)
    }
}

enum Answer {
    Config(Arc<Config>),
    NotModified(Freshness),
}
