//! Judges a run: what the clients were told against what the nodes hold afterwards. Pure, so that it can be shown
//! histories that are known to be bad.
//!
//! Environments are independent of each other, and are judged one by one. Of each, on every node:
//!
//! - versions rise by one from 1, and no two nodes hold different documents as one version;
//! - an acknowledged publish is there, as the version and with the document that was acknowledged;
//! - a publish is there at most once, whatever its outcome, and a refused one not at all;
//! - nothing is there that nobody sent;
//! - a compare-and-set that succeeded followed the version it named;
//! - a publish that began after another was acknowledged has the higher version.
//!
//! With unique documents and dense versions these together are linearizability of what was acknowledged.

use std::collections::{BTreeMap, HashMap};

use crate::document::Digest;
use crate::history::{Outcome, Publish};

#[cfg(test)]
mod tests;

/// The history of one environment as one node tells it: digest by version.
pub type Releases = BTreeMap<u64, Digest>;

/// A promise that was broken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Breach {
    /// An acknowledged release is gone.
    #[error("{node} lost version {version}, which was acknowledged for {}", short(digest))]
    Lost {
        /// Who lacks it.
        node: String,
        /// Which.
        version: u64,
        /// What it held.
        digest: Digest,
    },
    /// One version was given to two documents.
    #[error("version {version} is {} and, for {told_by}, {}", short(one), short(other))]
    Reused {
        /// Which.
        version: u64,
        /// One document.
        one: Digest,
        /// The other.
        other: Digest,
        /// Who says so.
        told_by: String,
    },
    /// A version is missing below a newer one.
    #[error("{node} has a gap: no version {version}")]
    Gap {
        /// Where.
        node: String,
        /// Which.
        version: u64,
    },
    /// One publish became two releases.
    #[error("{node} holds {} twice, as versions {first} and {second}", short(digest))]
    Twice {
        /// Where.
        node: String,
        /// Which.
        digest: Digest,
        /// Once here.
        first: u64,
        /// And here.
        second: u64,
    },
    /// A publish that was said not to be done was done.
    #[error("{node} holds {} as version {version}, which was refused", short(digest))]
    RefusedButDone {
        /// Where.
        node: String,
        /// Which.
        digest: Digest,
        /// As what.
        version: u64,
    },
    /// A release that nobody published.
    #[error("{node} holds {} as version {version}, which nobody sent", short(digest))]
    Foreign {
        /// Where.
        node: String,
        /// Which.
        digest: Digest,
        /// As what.
        version: u64,
    },
    /// The acknowledgement named another document than the one that was sent.
    #[error("version {version} was acknowledged with {} for {}", short(told), short(sent))]
    WrongDocument {
        /// Which.
        version: u64,
        /// What was sent.
        sent: Digest,
        /// What was acknowledged.
        told: Digest,
    },
    /// A compare-and-set succeeded against the version it named.
    #[error("version {version} was acknowledged for a publish that had to follow version {expected}")]
    CompareAndSet {
        /// What it became.
        version: u64,
        /// What it was to follow.
        expected: u64,
    },
    /// A later publish got a lower version.
    #[error("version {version} was sent after version {above} had been acknowledged")]
    Order {
        /// The later one.
        version: u64,
        /// The earlier one.
        above: u64,
    },
}

/// Judges one environment.
///
/// `publishes` are all that were sent to it, none in flight any more; `nodes` what each node holds of it, whole.
pub fn environment(publishes: &[Publish], nodes: &[(String, Releases)]) -> Vec<Breach> {
    let mut breaches = acknowledgements(publishes);
    for (node, releases) in nodes {
        breaches.extend(shape(node, releases));
        breaches.extend(presence(node, releases, publishes));
    }
    breaches.extend(agreement(nodes));
    breaches
}

/// What the acknowledgements say against each other.
fn acknowledgements(publishes: &[Publish]) -> Vec<Breach> {
    let mut breaches = Vec::new();
    let mut acked: BTreeMap<u64, &Publish> = BTreeMap::new();
    for publish in publishes {
        let Outcome::Acked { version, digest } = publish.outcome else { continue };
        if digest != publish.digest {
            breaches.push(Breach::WrongDocument { version, sent: publish.digest, told: digest });
        }
        if let Some(expected) = publish.expect_version.filter(|expected| expected + 1 != version) {
            breaches.push(Breach::CompareAndSet { version, expected });
        }
        if let Some(other) = acked.insert(version, publish) {
            let told_by = "another client".to_owned();
            breaches.push(Breach::Reused { version, one: other.digest, other: publish.digest, told_by });
        }
    }
    // From low to high: whoever was sent last among the lower versions must not have waited for a higher one.
    let mut last_sent: Option<(u64, &Publish)> = None;
    for (version, publish) in acked {
        if let Some((lower, _)) = last_sent.filter(|(_, before)| before.sent > publish.ended) {
            breaches.push(Breach::Order { version: lower, above: version });
        }
        if last_sent.is_none_or(|(_, before)| publish.sent > before.sent) {
            last_sent = Some((version, publish));
        }
    }
    breaches
}

/// Versions are dense, documents unique.
fn shape(node: &str, releases: &Releases) -> Vec<Breach> {
    let mut breaches = Vec::new();
    let mut first_seen: HashMap<Digest, u64> = HashMap::new();
    for (expected, (&version, &digest)) in (1..).zip(releases) {
        if version != expected && breaches.is_empty() {
            breaches.push(Breach::Gap { node: node.to_owned(), version: expected });
        }
        if let Some(first) = first_seen.insert(digest, version) {
            breaches.push(Breach::Twice { node: node.to_owned(), digest, first, second: version });
        }
    }
    breaches
}

/// Acknowledged publishes are there, refused and foreign ones are not.
fn presence(node: &str, releases: &Releases, publishes: &[Publish]) -> Vec<Breach> {
    let node = || node.to_owned();
    let mut breaches = Vec::new();
    let mut sent: HashMap<Digest, Outcome> = HashMap::with_capacity(publishes.len());
    for publish in publishes {
        sent.insert(publish.digest, publish.outcome);
        let Some(version) = publish.acked_version() else { continue };
        match releases.get(&version) {
            None => breaches.push(Breach::Lost { node: node(), version, digest: publish.digest }),
            Some(&other) if other != publish.digest => {
                breaches.push(Breach::Reused { version, one: publish.digest, other, told_by: node() });
            }
            Some(_) => {}
        }
    }
    for (&version, &digest) in releases {
        match sent.get(&digest) {
            None => breaches.push(Breach::Foreign { node: node(), digest, version }),
            Some(Outcome::Refused) => breaches.push(Breach::RefusedButDone { node: node(), digest, version }),
            Some(Outcome::Acked { .. } | Outcome::Unknown) => {}
        }
    }
    breaches
}

/// No two nodes hold different documents as one version. That one holds more than another is not judged here: what
/// must be there is known from the acknowledgements.
fn agreement(nodes: &[(String, Releases)]) -> Vec<Breach> {
    let mut breaches = Vec::new();
    let Some(((_, first), others)) = nodes.split_first() else { return breaches };
    for (node, releases) in others {
        for (&version, &other) in releases {
            if let Some(&one) = first.get(&version).filter(|one| **one != other) {
                breaches.push(Breach::Reused { version, one, other, told_by: node.clone() });
            }
        }
    }
    breaches
}

/// Enough of a digest to find it by.
fn short(digest: &Digest) -> String {
    hex::encode(&digest[..6])
}
