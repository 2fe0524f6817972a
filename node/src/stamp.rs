//! The stamp on every answer: what it rests on, and whether it may be old.
//!
//! Two measures that must not be mixed up. `fresh_as_of` is the leader's clock: good for people, and wrong by as much
//! as the clocks are. `staleness` is this node's stopwatch since it last had proof that it missed nothing: verdicts
//! rest on that alone. It is shown the same way in messages, metadata and headers.

use std::sync::Arc;
use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use meridian_model::Release;
use meridian_proto::config;
use meridian_replication::Handle;
use meridian_replication::catalog::View;

use crate::config::Freshness;

const VERSION: HeaderName = HeaderName::from_static("meridian-version");
const DIGEST: HeaderName = HeaderName::from_static("meridian-digest");
const REVISION: HeaderName = HeaderName::from_static("meridian-revision");
const FRESH_AS_OF_MS: HeaderName = HeaderName::from_static("meridian-fresh-as-of-ms");
const STALENESS_MS: HeaderName = HeaderName::from_static("meridian-staleness-ms");
const REGION: HeaderName = HeaderName::from_static("meridian-region");
const NODE: HeaderName = HeaderName::from_static("meridian-node");
const DEGRADED: HeaderName = HeaderName::from_static("meridian-degraded");

/// Stamps the answers of one node. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Stamper(Arc<Own>);

#[derive(Debug)]
struct Own {
    handle: Handle,
    freshness: Freshness,
    region: HeaderValue,
}

/// What one answer rests on.
#[derive(Clone, Debug)]
pub struct Stamp {
    own: Arc<Own>,
    revision: u64,
    fresh_as_of_ms: u64,
    /// For how long something may have been missed; `None`: for longer than this process runs.
    pub staleness: Option<Duration>,
}

impl Stamper {
    /// Knows how fresh `handle` is, and from when on that is bad.
    pub fn new(handle: Handle, freshness: Freshness) -> Self {
        let region = HeaderValue::from_str(handle.catalog().region().as_str());
        let region = region.expect("a name has no character that a header forbids");
        Self(Arc::new(Own { handle, freshness, region }))
    }

    /// What to answer from now, and its stamp. The stopwatch is read first: what was proved since may not be in an older
    /// view.
    pub fn look(&self) -> (Arc<View>, Stamp) {
        let staleness = self.0.handle.staleness();
        let view = self.0.handle.catalog().view();
        let (revision, fresh_as_of_ms) = (view.revision, view.fresh_as_of_ms());
        (view, Stamp { own: self.0.clone(), revision, fresh_as_of_ms, staleness })
    }
}

impl Stamp {
    /// Why newer versions may be missing, for people. Plain ASCII.
    pub fn degraded(&self) -> Option<String> {
        degraded(self.staleness, self.own.freshness.degraded_after)
    }

    /// Whether the node may be recommended: it is known to be no staler than the bound.
    pub fn within_bound(&self) -> bool {
        self.staleness.is_some_and(|staleness| staleness <= self.own.freshness.bound)
    }

    /// See [`Stamp::within_bound`].
    pub fn bound(&self) -> Duration {
        self.own.freshness.bound
    }

    /// In a message.
    pub fn freshness(&self) -> config::Freshness {
        config::Freshness {
            revision: self.revision,
            fresh_as_of_ms: self.fresh_as_of_ms,
            region: self.own.handle.catalog().region().to_string(),
            node: self.own.handle.node_id(),
            degraded: self.degraded().unwrap_or_default(),
            staleness_ms: self.staleness.map(millis),
        }
    }

    /// In headers or metadata, with the release that is served, if any is.
    pub fn write(&self, release: Option<&Release>, headers: &mut HeaderMap) {
        if let Some(release) = release {
            headers.insert(VERSION, release.version.into());
            if let Ok(digest) = HeaderValue::try_from(release.digest.to_string()) {
                headers.insert(DIGEST, digest);
            }
        }
        headers.insert(REVISION, self.revision.into());
        headers.insert(FRESH_AS_OF_MS, self.fresh_as_of_ms.into());
        if let Some(staleness) = self.staleness {
            headers.insert(STALENESS_MS, millis(staleness).into());
        }
        headers.insert(REGION, self.own.region.clone());
        headers.insert(NODE, self.own.handle.node_id().into());
        if let Some(Ok(degraded)) = self.degraded().map(HeaderValue::try_from) {
            headers.insert(DEGRADED, degraded);
        }
    }
}

fn degraded(staleness: Option<Duration>, after: Duration) -> Option<String> {
    match staleness {
        None => Some("has heard from no leader since it started: newer versions may be missing".to_owned()),
        Some(staleness) if staleness > after => Some(format!(
            "has heard from no leader for {} s: newer versions may be missing",
            staleness.as_secs()
        )),
        Some(_) => None,
    }
}

pub(crate) fn millis(duration: Duration) -> u64 {
    duration.as_millis().try_into().unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_degraded_when_it_cannot_know_better() {
        let after = Duration::from_secs(5);
        let check = |staleness_ms: Option<u64>, expected: Option<&str>| {
            let shown = degraded(staleness_ms.map(Duration::from_millis), after);
            assert_eq!(shown.is_some(), expected.is_some(), "{staleness_ms:?}: {shown:?}");
            let shown = shown.unwrap_or_default();
            assert!(shown.contains(expected.unwrap_or_default()) && HeaderValue::from_str(&shown).is_ok());
        };
        check(Some(0), None);
        check(Some(5_000), None);
        check(Some(5_001), Some("for 5 s"));
        check(Some(86_400_000), Some("for 86400 s"));
        check(None, Some("since it started"));
    }
}
