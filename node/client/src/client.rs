//! A client and what applications do with it: read and follow configs.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use meridian_proto::config::{GetConfigRequest, GetConfigResponse};
use tokio::time::Instant;
use tonic::metadata::{Ascii, MetadataValue};

use crate::budget::Budget;
use crate::call::{Caller, Tally};
use crate::health::Circuit;
use crate::line::Line;
use crate::pool::Pool;
use crate::read::Manner;
use crate::{Endpoint, Error, Fetched, Options, Reader, Secret, Watch, subscription};

/// A client of one cluster. Cheap to clone; clones share connections and what they know of the nodes.
///
/// Every call ends within [`Options::deadline`]. A change keeps the request id of its message, so that one whose
/// outcome stayed [`Error::Unknown`] can be repeated; where it is empty, a new one is made.
#[derive(Clone)]
pub struct Client {
    pub(crate) caller: Arc<Caller>,
}

impl Client {
    /// A client of these endpoints. Connects on first use.
    ///
    /// Fails with [`Error::Options`] if the options hold no endpoint or too many, or a token that cannot be sent.
    pub fn new(options: Options) -> Result<Self, Error> {
        let Options { endpoints, region, token, deadline, attempt_timeout, keepalive, resolver } = options;
        if endpoints.is_empty() {
            return Err(Error::Options("no endpoint was given"));
        }
        if endpoints.len() > Options::ENDPOINTS {
            return Err(Error::Options("more than 64 endpoints were given"));
        }
        let (deadline, attempt_timeout) =
            (deadline.min(Options::LONGEST), attempt_timeout.min(Options::LONGEST));
        let authorization = token.as_ref().map(bearer).transpose()?;
        let pool = Pool::new(endpoints, region.as_deref(), keepalive, &resolver);
        let (hedges, retries) = (Budget::of_hedges(), Budget::of_retries());
        let tally = Tally::default();
        let caller = Caller { pool, authorization, deadline, attempt_timeout, hedges, retries, tally };
        Ok(Self { caller: Arc::new(caller) })
    }

    /// The config served now, if it is newer than the one the caller holds. Hedged: a node that is slow to answer does
    /// not make the caller wait.
    ///
    /// Any node's word is taken, and one that is behind may answer with an older version than another one did before,
    /// unless the message says with `since_version` what the caller holds. [`Client::reader`] does that.
    ///
    /// With a `demand`, nodes that cannot prove it are passed by; [`Error::Stale`] when nobody can until the deadline.
    /// That a node does not know the environment or the key is believed then only if no sound node knows better.
    pub async fn get_config(&self, message: GetConfigRequest) -> Result<Fetched, Error> {
        self.fetch(message).await?.try_into()
    }

    /// As [`Client::get_config`], as the node said it.
    pub(crate) async fn fetch(&self, message: GetConfigRequest) -> Result<GetConfigResponse, Error> {
        let is_demanding = message.demand.is_some();
        let send = |line: Line, request| async move { line.config().get_config(request).await };
        self.caller.read(Manner::Hedged { is_demanding }, message, send).await
    }

    /// Reads the config of an environment again and again, and never a lower version than before. See [`Reader`].
    ///
    /// Both names may be empty when the credential is an SDK key: the key names its environment.
    pub fn reader(&self, project: &str, environment: &str) -> Reader {
        Reader::new(self.clone(), project, environment)
    }

    /// Follows the config of an environment from `since_version` (0: from the one served now). See [`Watch`].
    ///
    /// Both names may be empty when the credential is an SDK key: the key names its environment.
    pub fn watch(&self, project: &str, environment: &str, since_version: u64) -> Watch {
        Watch::new(self.caller.clone(), project, environment, since_version)
    }

    /// Keeps the config of an environment at hand, whatever happens to the cluster: what an application wants. See
    /// [`Subscription`](crate::Subscription).
    ///
    /// Both names may be empty when the credential is an SDK key: the key names its environment.
    pub fn subscribe(&self, project: &str, environment: &str) -> subscription::Builder {
        subscription::Builder::new(self.clone(), project, environment)
    }

    /// What this client thinks of each node behind its endpoints, most preferred first; endpoints behind which no node
    /// is known stand at the end.
    pub fn nodes(&self) -> Vec<NodeHealth> {
        let now = Instant::now();
        let known = self.caller.pool.peers().map(|peer| {
            let health = peer.health();
            NodeHealth {
                endpoint: peer.endpoint.clone(),
                circuit: health.circuit(now),
                is_silent: health.is_silent(now),
                p95: health.measured_p95(),
                last_failure: health.last_failure(),
            }
        });
        let unresolved = self.caller.pool.unresolved().into_iter().map(|(endpoint, why)| NodeHealth {
            endpoint,
            circuit: Circuit::Open,
            is_silent: false,
            p95: None,
            last_failure: Some(why),
        });
        known.chain(unresolved).collect()
    }

    /// What this client and its clones have sent so far.
    pub fn counts(&self) -> Counts {
        let tally = &self.caller.tally;
        Counts {
            reads: tally.reads.load(Relaxed),
            attempts: tally.attempts.load(Relaxed),
            hedges: tally.hedges.load(Relaxed),
            retries: tally.retries.load(Relaxed),
            held_back: tally.held_back.load(Relaxed),
        }
    }
}

/// One node, as a client sees it.
#[derive(Clone, Debug)]
pub struct NodeHealth {
    /// Where it is. An endpoint whose host is a name may stand here once for each of its addresses.
    pub endpoint: Endpoint,
    /// Whether it is asked.
    pub circuit: Circuit,
    /// Nothing has come back for suspiciously long.
    pub is_silent: bool,
    /// 95 of 100 of its last answers took no longer; absent before the first 16.
    pub p95: Option<Duration>,
    /// Why it failed last, if it did not serve since.
    pub last_failure: Option<String>,
}

/// Requests of a client. All rise from 0; `hedges + retries` is what failover added to the reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Reads that were asked for.
    pub reads: u64,
    /// Requests that went out, for reads and changes.
    pub attempts: u64,
    /// Reads for which a second node was asked before the first one had answered.
    pub hedges: u64,
    /// Attempts at reads after one that failed.
    pub retries: u64,
    /// Retries that had to wait, because those before them had used the budget up.
    pub held_back: u64,
}

fn bearer(token: &Secret) -> Result<MetadataValue<Ascii>, Error> {
    let mut value: MetadataValue<Ascii> = format!("Bearer {}", token.expose())
        .parse()
        .map_err(|_| Error::Options("the token holds characters that cannot be sent"))?;
    value.set_sensitive(true);
    Ok(value)
}
