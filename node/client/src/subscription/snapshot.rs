//! One config as an application reads it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::Config;

/// Where a config comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// From nowhere: no node was reached and nothing was cached. The application's own defaults answer.
    Defaults,
    /// From the cache on disk; no node has confirmed it since this process started.
    Cached,
    /// From a node, since this process started. It stays so when the node is lost; how old it is then,
    /// [`Status`](super::Status) says.
    Live,
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Defaults => "defaults",
            Self::Cached => "cached",
            Self::Live => "live",
        })
    }
}

/// Why a value cannot be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ValueError {
    /// Nothing stands there.
    #[error("the config has no {path:?}")]
    Missing {
        /// What was asked for.
        path: String,
    },
    /// Something else stands there.
    #[error("{path:?} in the config is of another type: {why}")]
    Type {
        /// What was asked for.
        path: String,
        /// What was expected, and what is there.
        why: String,
    },
    /// The document is no JSON, and so has no paths.
    #[error("the config is not JSON: {why}")]
    NotJson {
        /// Where it stops being JSON.
        why: String,
    },
}

/// One version of a config, or the defaults. It never changes; a reader that needs several values that fit together
/// takes them from one snapshot.
///
/// # Paths
///
/// `checkout.timeout_ms` is the member `timeout_ms` of the object `checkout`; `hosts.0` is the first element of the
/// array `hosts`. A member whose own name is the rest of the path comes first, so that names with dots can be reached:
/// in `{"a.b": 1, "a": {"b": 2}}`, `a.b` is 1. What the document lacks, the defaults given at the start may have.
#[derive(Debug)]
pub struct Snapshot {
    source: Source,
    config: Option<Config>,
    /// The document, if it is JSON; parsed once, when it arrives.
    document: Result<Value, String>,
    defaults: Arc<Value>,
    mismatches: Arc<AtomicU64>,
    /// How many of those this snapshot has had: the first is logged.
    own_mismatches: AtomicU64,
}

impl Snapshot {
    pub(super) fn of_defaults(defaults: Arc<Value>) -> Self {
        Self {
            source: Source::Defaults,
            config: None,
            document: Ok(Value::Null),
            defaults,
            mismatches: Arc::default(),
            own_mismatches: AtomicU64::default(),
        }
    }

    /// The snapshot that follows this one.
    pub(super) fn next(&self, source: Source, config: Config) -> Self {
        let document = serde_json::from_slice(&config.document).map_err(|error| error.to_string());
        Self {
            source,
            config: Some(config),
            document,
            defaults: self.defaults.clone(),
            mismatches: self.mismatches.clone(),
            own_mismatches: AtomicU64::default(),
        }
    }

    /// Where it comes from.
    pub fn source(&self) -> Source {
        self.source
    }

    /// The release, its stamp when it came, and the bytes as published; `None` while the defaults answer.
    pub fn config(&self) -> Option<&Config> {
        self.config.as_ref()
    }

    /// 0 while the defaults answer.
    pub fn version(&self) -> u64 {
        self.config.as_ref().map_or(0, |config| config.release.version)
    }

    /// The value at a path, as the caller's type.
    pub fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ValueError> {
        let in_document = self.document.as_ref().ok().and_then(|document| find(document, path));
        let Some(value) = in_document.or_else(|| find(&self.defaults, path)) else {
            return Err(match &self.document {
                Ok(_) => ValueError::Missing { path: path.to_owned() },
                Err(why) => ValueError::NotJson { why: why.clone() },
            });
        };
        T::deserialize(value)
            .map_err(|error| ValueError::Type { path: path.to_owned(), why: error.to_string() })
    }

    /// The value at a path, or this one where the config has none. Where the config has one of another type, too:
    /// that is counted in [`Status::mismatches`](super::Status::mismatches) and logged once for each version.
    pub fn get_or<T: DeserializeOwned>(&self, path: &str, default: T) -> T {
        match self.get(path) {
            Ok(value) => value,
            Err(ValueError::Missing { .. }) => default,
            Err(error @ (ValueError::Type { .. } | ValueError::NotJson { .. })) => {
                self.mismatches.fetch_add(1, Relaxed);
                if self.own_mismatches.fetch_add(1, Relaxed) == 0 {
                    tracing::warn!(%error, version = self.version(), "a default is used instead of the config's value");
                }
                default
            }
        }
    }

    pub(super) fn mismatches(&self) -> u64 {
        self.mismatches.load(Relaxed)
    }
}

/// The value at a path. The depth of a document bounds the depth of the search: `serde_json` parses 128 levels.
fn find<'a>(value: &'a Value, path: &str) -> Option<&'a Value> {
    let child = |name: &str| match value {
        Value::Object(members) => members.get(name),
        Value::Array(elements) => elements.get(name.parse::<usize>().ok()?),
        _ => None,
    };
    child(path).or_else(|| {
        let (first, rest) = path.split_once('.')?;
        find(child(first)?, rest)
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    fn snapshot(document: &str) -> Snapshot {
        let defaults = Arc::new(json!({"checkout": {"retries": 3, "timeout_ms": 1}}));
        let config = Config {
            release: Default::default(),
            freshness: Default::default(),
            document: document.to_owned().into(),
        };
        Snapshot::of_defaults(defaults).next(Source::Live, config)
    }

    #[test]
    fn paths_lead_to_values() {
        let document = json!({
            "checkout": {"timeout_ms": 800, "name": "x", "nothing": null},
            "hosts": [{"port": 1}, {"port": 2}],
            "a.b": 1, "a": {"b": 2, "c.d": 3}, "": 4,
        });
        for (path, value) in [
            ("checkout.timeout_ms", Some(json!(800))),
            ("checkout.retries", Some(json!(3))),
            ("checkout.nothing", Some(json!(null))),
            ("checkout", Some(document["checkout"].clone())),
            ("hosts.1.port", Some(json!(2))),
            ("hosts.2.port", None),
            ("hosts.x", None),
            ("a.b", Some(json!(1))),
            ("a.c.d", Some(json!(3))),
            ("", Some(json!(4))),
            ("checkout.timeout_ms.more", None),
            ("..", None),
            ("nowhere", None),
        ] {
            let found = snapshot(&document.to_string()).get::<Value>(path);
            let missing = ValueError::Missing { path: path.to_owned() };
            assert_eq!(found, value.ok_or(missing), "{path:?}");
        }
    }

    #[test]
    fn types_are_those_of_the_caller() {
        #[derive(serde::Deserialize, PartialEq, Debug)]
        struct Checkout {
            timeout_ms: u32,
        }
        let snapshot = snapshot(r#"{"checkout": {"timeout_ms": 800}, "on": true, "ratio": 0.5, "s": "t"}"#);
        assert_eq!(snapshot.get("checkout"), Ok(Checkout { timeout_ms: 800 }));
        assert_eq!(snapshot.get_or("checkout.timeout_ms", 5_u64), 800);
        assert!(snapshot.get_or("on", false));
        assert_eq!(snapshot.get_or("ratio", 1.0), 0.5);
        assert_eq!(snapshot.get_or("s", String::new()), "t");
        assert_eq!(snapshot.get_or("nowhere", 7), 7);
        assert_eq!(snapshot.mismatches(), 0, "what is not there is no mistake");
    }

    #[test]
    fn a_value_of_another_type_leaves_the_default_and_is_counted() {
        let snapshot = snapshot(r#"{"n": "800", "big": 3000000000, "negative": -1}"#);
        assert_eq!(snapshot.get_or("n", 5), 5);
        assert_eq!(snapshot.get_or("big", 5_i32), 5);
        assert_eq!(snapshot.get_or("negative", 5_u32), 5);
        assert_eq!(snapshot.mismatches(), 3);
        assert!(matches!(snapshot.get::<u32>("n"), Err(ValueError::Type { .. })));
    }

    #[test]
    fn a_document_that_is_no_json_leaves_the_defaults() {
        let snapshot = snapshot("not json");
        assert_eq!(snapshot.get_or("checkout.retries", 0), 3, "those given at the start");
        assert_eq!(snapshot.get_or("other", 9), 9);
        assert_eq!(snapshot.mismatches(), 1);
        assert!(matches!(snapshot.get::<u32>("other"), Err(ValueError::NotJson { .. })));
    }
}
