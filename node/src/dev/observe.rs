//! Asks a development cluster how it is, from outside.

use std::time::Duration;

use futures::future::join_all;
use meridian_client::proto::admin::node::Service;
use meridian_client::proto::config::GetConfigRequest;
use meridian_client::{Client, Error, Fetched, Options};

use super::home::{Home, Site};
use super::seed::{ENVIRONMENT, PROJECT};

/// A node that takes longer on loopback counts as silent; the board must not wait for it.
const PATIENCE: Duration = Duration::from_millis(900);

/// Looks at all nodes, time and again.
pub(super) struct Observer {
    /// Any node: each tells of all.
    any: Client,
    regions: Vec<Watched>,
}

struct Watched {
    node_id: u64,
    client: Client,
    /// Newest version it was seen to serve; documents that were seen are not sent again.
    version: u64,
}

/// What is seen in one look.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Seen {
    /// What to know first, e.g. that the quorum is lost.
    pub(super) problems: Vec<String>,
    /// In the order of the regions.
    pub(super) sights: Vec<Sight>,
}

/// What a node tells; zeros and blanks where it does not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Sight {
    /// `leader`, `voter` or `learner`.
    pub(super) role: String,
    pub(super) term: u64,
    pub(super) applied_index: u64,
    /// Served in its region.
    pub(super) version: u64,
    /// Unix milliseconds: what it serves holds everything committed up to here.
    pub(super) fresh_as_of_ms: u64,
    /// `draining` or `drained`; blank while it is in service.
    pub(super) service: &'static str,
    /// Why it is not healthy.
    pub(super) problem: String,
}

impl Observer {
    pub(super) fn new(home: &Home) -> Result<Self, Error> {
        let watched = |(site, client): (Site, Client)| Watched { node_id: site.node_id, client, version: 0 };
        Ok(Self {
            any: client_of(home, home.sites().iter(), PATIENCE)?,
            regions: clients(home, PATIENCE)?.into_iter().map(watched).collect(),
        })
    }

    /// One look. Takes little more than [`PATIENCE`] at worst.
    pub(super) async fn look(&mut self) -> Seen {
        let (status, served) =
            tokio::join!(self.any.cluster_status(), join_all(self.regions.iter_mut().map(Watched::look)));
        let status = status.unwrap_or_default();
        let sight = |(watched, fresh_as_of_ms): (&Watched, u64)| {
            let node = status.nodes.iter().find(|node| node.id == watched.node_id).cloned();
            let node = node.unwrap_or_default();
            Sight {
                service: match node.service() {
                    Service::Draining => "draining",
                    Service::Drained => "drained",
                    Service::Serving | Service::Unspecified => "",
                },
                role: if node.is_leader { "leader".to_owned() } else { node.role },
                term: node.term,
                applied_index: node.applied_index,
                version: watched.version,
                fresh_as_of_ms,
                problem: node.problem,
            }
        };
        Seen { sights: self.regions.iter().zip(served).map(sight).collect(), problems: status.problems }
    }
}

impl Watched {
    /// How fresh what it serves is; 0 if it does not say.
    async fn look(&mut self) -> u64 {
        let request = GetConfigRequest {
            project: PROJECT.to_owned(),
            environment: ENVIRONMENT.to_owned(),
            since_version: self.version,
            demand: None,
        };
        match self.client.get_config(request).await {
            Ok(Fetched::Config(config)) => {
                self.version = config.release.version;
                config.freshness.fresh_as_of_ms
            }
            Ok(Fetched::NotModified(freshness)) => freshness.fresh_as_of_ms,
            Err(_) => 0,
        }
    }
}

/// A client of these nodes, as an operator.
pub(super) fn client_of<'a>(
    home: &Home,
    sites: impl Iterator<Item = &'a Site>,
    deadline: Duration,
) -> Result<Client, Error> {
    let endpoint = |site: &Site| site.listen.grpc.to_string().parse().expect("an address is host:port");
    Client::new(Options {
        token: Some(home.operator_token().into()),
        deadline,
        ..Options::new(sites.map(endpoint))
    })
}

/// A client of each region alone.
pub(super) fn clients(home: &Home, deadline: Duration) -> Result<Vec<(Site, Client)>, Error> {
    home.sites()
        .into_iter()
        .map(|site| Ok((site.clone(), client_of(home, std::iter::once(&site), deadline)?)))
        .collect()
}
