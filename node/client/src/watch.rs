//! Following an environment: one stream at a time, to whichever node serves it.
//!
//! A watch that ended up in another region than the preferred one goes back there when it can, and opens the new stream
//! before it leaves the old one.

use std::sync::Arc;
use std::time::Duration;

use meridian_proto::config::{Demand, Freshness, WatchConfigRequest, WatchConfigResponse};
use tokio::time::{Instant, sleep_until, timeout_at};
use tonic::Streaming;

use crate::backoff::Backoff;
use crate::call::Caller;
use crate::peer::Peer;
use crate::pool::Rotation;
use crate::verdict::{Verdict, judge};
use crate::{Config, Endpoint, Error};

/// How often a watch looks whether it could be in a region that is preferred to its own. Half of it to one and a half,
/// so that a region that comes back is not met by everybody at once.
const HOMEWARD_EVERY: Duration = Duration::from_secs(20);

/// A stream that was promised a message at an interval is given up after so many of them without one: the connection
/// lives, as its pings tell, but whoever should write to it does not.
const MISSED_STAMPS: u32 = 5;

/// Longest wait for the first message of a stream, unless the patience with attempts is longer.
const FIRST_PATIENCE: Duration = Duration::from_secs(60);

/// What a watch tells.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A newer config than all before it.
    Config(Config),
    /// A node has accepted the watch; one that was connected before is left. What it serves follows, if that is newer.
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

/// What a node said on a stream.
pub(crate) enum Said {
    Event(Event),
    /// Nothing new; the node's stamp.
    Stamp {
        freshness: Freshness,
        /// The version that the node last said it serves, on this stream.
        serves: Option<u64>,
    },
}

/// Follows the config of one environment for as long as [`Watch::next`] is called.
///
/// - Versions only rise: a node that is behind is never heard.
/// - A reader that is slow gets the newest config; those between are skipped.
/// - A lost node is replaced by another after a short random pause; one that falls silent, within
///   [`Keepalive`](crate::Keepalive). Nothing ends a watch but dropping it.
pub struct Watch {
    caller: Arc<Caller>,
    message: WatchConfigRequest,
    rotation: Rotation,
    backoff: Backoff,
    /// With a stream that has said nothing yet. Doubles each time, so that a large config comes over a slow link in the
    /// end.
    first_patience: Duration,
    link: Link,
}

enum Link {
    Down { until: Instant },
    Up(Up),
}

struct Up {
    peer: Arc<Peer>,
    connection: u64,
    stream: Box<Streaming<WatchConfigResponse>>,
    /// Whether a message came: the first one may look like a stamp.
    has_spoken: bool,
    /// Whether the node has shown that it sends stamps.
    is_stamped: bool,
    /// When something must have come, if anything must.
    due: Option<Instant>,
    /// The version of the last release that came.
    serves: Option<u64>,
    homeward_at: Instant,
}

impl Watch {
    pub(crate) fn new(caller: Arc<Caller>, project: &str, environment: &str, since_version: u64) -> Self {
        let (project, environment) = (project.to_owned(), environment.to_owned());
        let message =
            WatchConfigRequest { project, environment, since_version, demand: None, stamp_interval_ms: 0 };
        let first_patience = caller.attempt_timeout;
        Self {
            caller,
            first_patience,
            message,
            rotation: Rotation::default(),
            backoff: Backoff::between_streams(),
            link: Link::Down { until: Instant::now() },
        }
    }

    /// Only from nodes that prove this when the stream opens, and `max_staleness_ms` for as long as it lives. A node
    /// that cannot is left for another one. A stream takes a `max_staleness_ms` of 1000 and more.
    pub fn demand(mut self, demand: Demand) -> Self {
        self.message.demand = Some(demand);
        self
    }

    /// Asks for a stamp after so long without news.
    pub(crate) fn stamped(mut self, interval_ms: u32) -> Self {
        self.message.stamp_interval_ms = interval_ms;
        self
    }

    /// The reader has got this version elsewhere.
    pub(crate) fn hold(&mut self, version: u64) {
        self.message.since_version = self.message.since_version.max(version);
    }

    /// The next event. Dropping the future loses none.
    ///
    /// An error is a node's definite answer, e.g. that the environment does not exist or that the key was revoked.
    /// A caller who expects that to change may call again: the next attempt comes after a pause.
    pub async fn next(&mut self) -> Result<Event, Error> {
        loop {
            if let Said::Event(event) = self.listen().await? {
                return Ok(event);
            }
        }
    }

    /// As [`Watch::next`], with the stamps.
    pub(crate) async fn listen(&mut self) -> Result<Said, Error> {
        loop {
            let up = match &mut self.link {
                Link::Down { until } => {
                    sleep_until(*until).await;
                    return self.connect().await.map(Said::Event);
                }
                Link::Up(up) => up,
            };
            let (due, has_spoken) = (up.due, up.has_spoken);
            let silent = async {
                match due {
                    Some(due) => sleep_until(due).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                // Whoever calls late finds a message before it finds that its time is over.
                biased;
                () = sleep_until(up.homeward_at) => {
                    if let Some(event) = self.go_homeward().await {
                        return Ok(Said::Event(event));
                    }
                }
                message = up.stream.message() => match message {
                    Ok(Some(message)) => {
                        if let Some(said) = self.take(message) {
                            return Ok(said);
                        }
                    }
                    Ok(None) => return self.ended("the stream ended".to_owned()),
                    Err(status) => {
                        let verdict = judge(&status);
                        return self.lost_stream(verdict);
                    }
                },
                () = silent => {
                    if has_spoken {
                        return self.ended("the node has stopped sending stamps".to_owned());
                    }
                    let longest = FIRST_PATIENCE.max(self.caller.attempt_timeout);
                    self.first_patience = (self.first_patience * 2).min(longest);
                    return self.ended("nothing came on the stream".to_owned());
                }
            }
        }
    }

    /// What a message says, unless it is behind what the reader holds.
    fn take(&mut self, message: WatchConfigResponse) -> Option<Said> {
        let Link::Up(up) = &mut self.link else { return None };
        up.peer.pushed();
        self.backoff.reset();
        let is_stamp = message.not_modified && up.has_spoken && self.message.stamp_interval_ms > 0;
        up.has_spoken = true;
        up.is_stamped |= is_stamp;
        let interval = Duration::from_millis(self.message.stamp_interval_ms.into());
        up.due = up.is_stamped.then(|| Instant::now() + interval * MISSED_STAMPS);
        if let Some(release) = &message.release {
            up.serves = Some(release.version);
        }
        self.first_patience = self.caller.attempt_timeout;
        let (freshness, serves) = (message.freshness.clone(), up.serves);
        match Config::pushed(message) {
            Some(config) if config.release.version > self.message.since_version => {
                self.message.since_version = config.release.version;
                Some(Said::Event(Event::Config(config)))
            }
            // The stamp of another version says nothing of the one that the reader holds.
            Some(_) => None,
            None => freshness.map(|freshness| Said::Stamp { freshness, serves }),
        }
    }

    async fn connect(&mut self) -> Result<Event, Error> {
        let deadline = Instant::now() + self.caller.attempt_timeout;
        let peer = match self.rotation.next(&self.caller.pool, deadline).await {
            Ok(peer) => peer,
            Err(unresolved) => {
                let (endpoint, why) =
                    unresolved.into_iter().next().expect("a client has at least one endpoint, as it checks");
                return Ok(self.disconnected(endpoint, why));
            }
        };
        match self.open(&peer).await {
            Ok(up) => {
                self.link = Link::Up(up);
                Ok(Event::Connected { endpoint: peer.endpoint.clone() })
            }
            Err(verdict) => self.lost(&peer, verdict),
        }
    }

    /// Moves to a region that is preferred to the present one, if a node there takes the watch.
    async fn go_homeward(&mut self) -> Option<Event> {
        let Link::Up(up) = &mut self.link else { return None };
        up.homeward_at = homeward_at();
        let peer = self.caller.pool.better_than(up.peer.rank)?;
        match self.open(&peer).await {
            Ok(up) => {
                self.link = Link::Up(up);
                Some(Event::Connected { endpoint: peer.endpoint.clone() })
            }
            Err(verdict) => {
                note(&peer, verdict);
                None
            }
        }
    }

    async fn open(&self, peer: &Arc<Peer>) -> Result<Up, Verdict> {
        let sent = Instant::now();
        let until = sent + self.caller.attempt_timeout;
        let Ok(line) = timeout_at(until, self.caller.line(peer)).await else {
            return Err(Verdict::Unreachable { why: "cannot connect in time".to_owned() });
        };
        let line = line.map_err(|why| Verdict::Unreachable { why })?;
        let connection = line.connection.number;
        let request = line.request(self.message.clone());
        peer.asked();
        let verdict = match timeout_at(until, line.config().watch_config(request)).await {
            Ok(Ok(response)) => {
                peer.pushed();
                return Ok(Up {
                    peer: peer.clone(),
                    connection,
                    stream: Box::new(response.into_inner()),
                    has_spoken: false,
                    is_stamped: false,
                    due: Some(Instant::now() + self.first_patience),
                    serves: None,
                    homeward_at: homeward_at(),
                });
            }
            Ok(Err(status)) => judge(&status),
            Err(_) => Verdict::Silent,
        };
        match &verdict {
            Verdict::Unreachable { why } | Verdict::Ambiguous { why, is_broken: true } => {
                peer.broke(connection, why);
            }
            Verdict::Silent => peer.kept_silent(connection, sent, "no answer in time"),
            _ => peer.heard(),
        }
        Err(verdict)
    }

    fn ended(&mut self, why: String) -> Result<Said, Error> {
        self.lost_stream(Verdict::Elsewhere { leader: None, why })
    }

    fn lost_stream(&mut self, verdict: Verdict) -> Result<Said, Error> {
        let down = Link::Down { until: Instant::now() };
        let Link::Up(up) = std::mem::replace(&mut self.link, down) else {
            unreachable!("only a stream that is open can be lost");
        };
        if let Verdict::Ambiguous { why, is_broken: true } = &verdict {
            up.peer.broke(up.connection, why);
        }
        // Who came next may have changed since the round began. A node that is only stale would come first again.
        if !matches!(verdict, Verdict::Stale(_)) {
            self.rotation = Rotation::default();
        }
        self.lost(&up.peer, verdict).map(Said::Event)
    }

    fn lost(&mut self, peer: &Peer, verdict: Verdict) -> Result<Event, Error> {
        if let Verdict::Final(error) = verdict {
            self.link = Link::Down { until: Instant::now() + self.backoff.pause() };
            return Err(error);
        }
        let why = note(peer, verdict);
        Ok(self.disconnected(peer.endpoint.clone(), why))
    }

    fn disconnected(&mut self, endpoint: Endpoint, why: String) -> Event {
        let retry_in = self.backoff.pause();
        self.link = Link::Down { until: Instant::now() + retry_in };
        Event::Disconnected { endpoint, why, retry_in }
    }
}

/// Remembers that a node did not take a watch, and says why. One that is too stale for it serves others.
fn note(peer: &Peer, verdict: Verdict) -> String {
    let is_stale = matches!(verdict, Verdict::Stale(_));
    let why = verdict.why();
    if !is_stale {
        peer.failed(&why);
    }
    why
}

fn homeward_at() -> Instant {
    Instant::now() + HOMEWARD_EVERY.mul_f64(0.5 + fastrand::f64())
}
