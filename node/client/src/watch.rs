//! Following an environment: one stream at a time, to whichever node serves it.

use std::sync::Arc;
use std::time::Duration;

use meridian_proto::config::{WatchConfigRequest, WatchConfigResponse};
use tokio::time::{Instant, sleep_until, timeout};
use tonic::Streaming;

use crate::backoff::Backoff;
use crate::call::Caller;
use crate::pool::{Peer, Rotation};
use crate::verdict::{Verdict, judge};
use crate::{Config, Endpoint, Error};

/// What a watch tells.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A newer config than all before it.
    Config(Config),
    /// A node has accepted the watch. What it serves follows, if that is newer.
    Connected {
        /// Which node.
        endpoint: Endpoint,
    },
    /// The stream ended or could not be opened; another node is asked next.
    Disconnected {
        /// Which node.
        endpoint: Endpoint,
        /// What happened.
        why: String,
        /// Until then.
        retry_in: Duration,
    },
}

/// Follows the config of one environment for as long as [`Watch::next`] is called.
///
/// - Versions only rise: a node that is behind is never heard.
/// - A reader that is slow gets the newest config; those between are skipped.
/// - A lost node is replaced by another after a short random pause. Nothing ends a watch but dropping it.
pub struct Watch {
    caller: Arc<Caller>,
    project: String,
    environment: String,
    /// Newest version handed out.
    version: u64,
    rotation: Rotation,
    backoff: Backoff,
    link: Link,
}

enum Link {
    Down { until: Instant },
    Up { peer: Arc<Peer>, stream: Box<Streaming<WatchConfigResponse>> },
}

impl Watch {
    pub(crate) fn new(caller: Arc<Caller>, project: &str, environment: &str, since_version: u64) -> Self {
        Self {
            caller,
            project: project.to_owned(),
            environment: environment.to_owned(),
            version: since_version,
            rotation: Rotation::default(),
            backoff: Backoff::between_streams(),
            link: Link::Down { until: Instant::now() },
        }
    }

    /// The next event. Dropping the future loses none.
    ///
    /// An error is a node's definite answer, e.g. that the environment does not exist or that the key was revoked.
    /// A caller who expects that to change may call again: the next attempt comes after a pause.
    pub async fn next(&mut self) -> Result<Event, Error> {
        loop {
            match &mut self.link {
                Link::Down { until } => {
                    sleep_until(*until).await;
                    let peer = self.rotation.next(&self.caller.pool);
                    return match self.open(&peer).await {
                        Ok(stream) => {
                            let endpoint = peer.endpoint.clone();
                            self.link = Link::Up { peer, stream: Box::new(stream) };
                            Ok(Event::Connected { endpoint })
                        }
                        Err(verdict) => self.lost(&peer, verdict),
                    };
                }
                Link::Up { peer, stream } => match stream.message().await {
                    Ok(Some(message)) => {
                        peer.answered();
                        self.backoff.reset();
                        if let Some(config) =
                            Config::pushed(message).filter(|c| c.release.version > self.version)
                        {
                            self.version = config.release.version;
                            return Ok(Event::Config(config));
                        }
                    }
                    end => {
                        let peer = peer.clone();
                        let verdict = match end {
                            Err(status) => judge(&status),
                            Ok(_) => Verdict::Elsewhere { leader: None, why: "the stream ended".to_owned() },
                        };
                        return self.lost(&peer, verdict);
                    }
                },
            }
        }
    }

    async fn open(&self, peer: &Peer) -> Result<Streaming<WatchConfigResponse>, Verdict> {
        let line = self.caller.line(peer).await.map_err(|why| Verdict::Unreachable { why })?;
        let connection = line.connection.number;
        let request = line.request(WatchConfigRequest {
            project: self.project.clone(),
            environment: self.environment.clone(),
            since_version: self.version,
        });
        let verdict = match timeout(self.caller.attempt_timeout, line.config().watch_config(request)).await {
            Ok(Ok(response)) => return Ok(response.into_inner()),
            Ok(Err(status)) => judge(&status),
            Err(_) => Verdict::Ambiguous { why: "no answer in time".to_owned() },
        };
        if let Verdict::Unreachable { .. } | Verdict::Ambiguous { .. } = verdict {
            peer.disconnect(connection);
        }
        Err(verdict)
    }

    fn lost(&mut self, peer: &Peer, verdict: Verdict) -> Result<Event, Error> {
        let retry_in = self.backoff.jittered();
        self.link = Link::Down { until: Instant::now() + retry_in };
        match verdict {
            Verdict::Final(error) => Err(error),
            Verdict::Unreachable { why } | Verdict::Elsewhere { why, .. } | Verdict::Ambiguous { why } => {
                peer.failed(&why);
                Ok(Event::Disconnected { endpoint: peer.endpoint.clone(), why, retry_in })
            }
        }
    }
}
