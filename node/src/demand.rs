//! What a reader wants proved before it is answered, and the proof.
//!
//! Readers who demand nothing are always served. The order is: prove, then answer from a view taken after the proof,
//! so that a proof is never about another state than the one shown. Nothing here needs a clock that others share.

use std::time::Duration;

use axum::http::HeaderMap;
use meridian_model::{EnvironmentRef, Version};
use meridian_proto::config;
use meridian_replication::catalog::View;
use meridian_replication::{BarrierError, Handle};
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;
use tokio::time::{Instant, timeout_at};

use crate::stamp::{Stamp, Stamper};

/// How long a read waits for a version, or for one question to the leader. A client that cannot be helped here should
/// go elsewhere soon.
const SHORT: Duration = Duration::from_millis(500);

/// A reader who asks for everything pays a round trip to the leader, and may wait through an election. Less than the two
/// seconds that our client gives an attempt: it should hear why, and not its own clock.
const LINEARIZABLE: Duration = Duration::from_millis(1_500);

const MAX_STALENESS_MS: &str = "meridian-max-staleness-ms";
const AT_LEAST_VERSION: &str = "meridian-at-least-version";
const LINEARIZABLE_READ: &str = "meridian-linearizable";

/// What must be proved. The default is nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Demand {
    /// The answer lacks nothing that was committed longer ago.
    pub max_staleness: Option<Duration>,
    /// The answer is this version or a newer one.
    pub at_least_version: Version,
    /// The answer holds everything that was committed before the request came in.
    pub linearizable: bool,
}

/// A demand that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{header} is malformed: write {way_out}")]
pub struct Malformed {
    header: &'static str,
    way_out: &'static str,
}

impl Demand {
    /// Out of headers or metadata.
    pub fn from_headers(headers: &HeaderMap) -> Result<Self, Malformed> {
        let number = |header| {
            let parsed = headers.get(header).map(|value| value.to_str().ok()?.trim().parse().ok());
            match parsed {
                Some(None) => Err(Malformed { header, way_out: "a whole number of 0 or more" }),
                Some(number) => Ok(number),
                None => Ok(None),
            }
        };
        let linearizable = match headers.get(LINEARIZABLE_READ).map(|value| value.as_bytes()) {
            None | Some(b"false") => false,
            Some(b"true") => true,
            Some(_) => return Err(Malformed { header: LINEARIZABLE_READ, way_out: "true or false" }),
        };
        Ok(Self {
            max_staleness: number(MAX_STALENESS_MS)?.map(Duration::from_millis),
            at_least_version: number(AT_LEAST_VERSION)?.unwrap_or(0),
            linearizable,
        })
    }

    /// Out of a message, or else out of the metadata beside it.
    pub fn from_message(message: Option<&config::Demand>, metadata: &HeaderMap) -> Result<Self, Malformed> {
        let Some(message) = message else { return Self::from_headers(metadata) };
        Ok(Self {
            max_staleness: message.max_staleness_ms.map(Duration::from_millis),
            at_least_version: message.at_least_version,
            linearizable: message.linearizable,
        })
    }
}

/// Which part of a demand could not be proved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub enum Kind {
    /// [`Demand::max_staleness`].
    MaxStaleness,
    /// [`Demand::at_least_version`].
    AtLeastVersion,
    /// [`Demand::linearizable`].
    Linearizable,
}

/// A demand that this node cannot prove. Another one may.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{reason}")]
pub struct Unproved {
    /// Why, for people.
    pub reason: String,
    /// What this node has.
    pub stamp: Stamp,
    /// What it would have served; 0 for nothing.
    pub version: Version,
}

impl Unproved {
    /// In the details of a refusal.
    pub fn stale(&self) -> config::Stale {
        config::Stale {
            freshness: Some(self.stamp.freshness()),
            version: self.version,
            reason: self.reason.clone(),
        }
    }
}

/// Proves demands. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Prover {
    handle: Handle,
    stamper: Stamper,
    metrics: Metrics,
}

/// Counts demands that were refused.
#[derive(Clone, Debug)]
pub struct Metrics {
    refused: Family<Refused, Counter>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Refused {
    kind: Kind,
}

impl Metrics {
    /// Makes the counters and shows them in `registry`.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self { refused: Family::default() };
        registry.sub_registry_with_prefix("meridian_demand").register(
            "refused",
            "Reads refused because what they demanded could not be proved, by kind of demand",
            metrics.refused.clone(),
        );
        metrics
    }
}

impl Prover {
    /// Proves what `handle` can prove, and refuses with stamps of `stamper`.
    pub fn new(handle: Handle, stamper: Stamper, metrics: Metrics) -> Self {
        Self { handle, stamper, metrics }
    }

    /// Proves all of a demand about one environment. The view that is taken afterwards satisfies it.
    pub async fn prove(&self, demand: &Demand, at: &EnvironmentRef) -> Result<(), Unproved> {
        if demand.at_least_version > 0 {
            self.at_least_version(demand.at_least_version, at).await?;
        }
        if demand.linearizable {
            if let Err(why) = self.handle.barrier(LINEARIZABLE).await {
                return Err(self.refuse(
                    Kind::Linearizable,
                    at,
                    format!("a linearizable read failed: {why}"),
                ));
            }
        } else if let Some(most) = demand.max_staleness {
            self.max_staleness(most, at).await?;
        }
        Ok(())
    }

    /// Gets everything that was committed before this call, briefly. For who demands something of a node that does not
    /// know them, or what they ask for: it may only be behind.
    pub async fn catch_up(&self) -> Result<(), BarrierError> {
        self.handle.barrier(SHORT).await.map(drop)
    }

    /// Proves that nothing older is missing: by what is known, else by asking the leader once. Says until when that
    /// holds by itself.
    pub async fn max_staleness(&self, most: Duration, at: &EnvironmentRef) -> Result<Instant, Unproved> {
        let began = Instant::now();
        if let Some(left) = self.handle.staleness().and_then(|staleness| most.checked_sub(staleness)) {
            return Ok(began + left);
        }
        let Err(why) = self.handle.barrier(SHORT).await else { return Ok(began + most) };
        let known = match self.handle.staleness() {
            Some(staleness) => format!("this node may have missed the last {} ms", staleness.as_millis()),
            None => "this node has heard from no leader since it started".to_owned(),
        };
        Err(self.refuse(Kind::MaxStaleness, at, format!("{known}, and {why}")))
    }

    async fn at_least_version(&self, least: Version, at: &EnvironmentRef) -> Result<(), Unproved> {
        let deadline = Instant::now() + SHORT;
        // First the ear, then the eye: a publish between the two is not lost.
        let mut changes = self.handle.catalog().subscribe(at);
        loop {
            let served = version(&self.handle.catalog().view(), at);
            if served >= least {
                return Ok(());
            }
            if timeout_at(deadline, changes.changed()).await.is_err() {
                let reason = format!("this node serves version {served}, not {least} or newer");
                return Err(self.refuse(Kind::AtLeastVersion, at, reason));
            }
        }
    }

    fn refuse(&self, kind: Kind, at: &EnvironmentRef, reason: String) -> Unproved {
        self.metrics.refused.get_or_create(&Refused { kind }).inc();
        let (view, stamp) = self.stamper.look();
        Unproved { reason, stamp, version: version(&view, at) }
    }
}

fn version(view: &View, at: &EnvironmentRef) -> Version {
    view.served(at).map_or(0, |served| served.release.version)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_demand_is_read_or_refused() {
        let ms = Duration::from_millis;
        let none = Demand::default();
        let check = |headers: &[(&'static str, &str)], expected: Result<Demand, &str>| {
            let headers = headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
            let read = Demand::from_headers(&HeaderMap::from_iter(headers));
            match expected {
                Ok(demand) => assert_eq!(read, Ok(demand)),
                Err(header) => assert!(read.unwrap_err().to_string().starts_with(header)),
            }
        };
        check(&[], Ok(none));
        check(&[(MAX_STALENESS_MS, "0")], Ok(Demand { max_staleness: Some(ms(0)), ..none }));
        check(&[(MAX_STALENESS_MS, " 250 ")], Ok(Demand { max_staleness: Some(ms(250)), ..none }));
        check(&[(AT_LEAST_VERSION, "7")], Ok(Demand { at_least_version: 7, ..none }));
        check(&[(LINEARIZABLE_READ, "true")], Ok(Demand { linearizable: true, ..none }));
        check(&[(LINEARIZABLE_READ, "false")], Ok(none));
        for (header, value) in [
            (MAX_STALENESS_MS, "-1"),
            (MAX_STALENESS_MS, "1s"),
            (MAX_STALENESS_MS, ""),
            (MAX_STALENESS_MS, "99999999999999999999"),
            (AT_LEAST_VERSION, "v1"),
            (AT_LEAST_VERSION, "1.0"),
            (LINEARIZABLE_READ, "yes"),
            (LINEARIZABLE_READ, ""),
        ] {
            check(&[(header, value)], Err(header));
        }
    }

    #[test]
    fn a_message_beats_the_metadata() {
        let headers = HeaderMap::from_iter([(AT_LEAST_VERSION.parse().unwrap(), "7".parse().unwrap())]);
        let message = config::Demand { max_staleness_ms: Some(5), ..Default::default() };
        let read = Demand::from_message(Some(&message), &headers).unwrap();
        assert_eq!((read.at_least_version, read.max_staleness), (0, Some(Duration::from_millis(5))));
        assert_eq!(Demand::from_message(None, &headers).unwrap().at_least_version, 7);
    }
}
