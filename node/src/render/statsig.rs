//! Statsig projects as their SDKs receive them: "download config specs", version 2, as JSON text.
//!
//! A rendered project is the published one, byte for byte and in its order, but for three things:
//!
//! - `has_updates`, `time` and `checksum` come first and are ours; what the published document says there is
//!   dropped. An SDK applies a document only if its `time` is not older than the one it holds, and only if its
//!   `checksum` is another. `time` is the release's, and the checksum covers it, so a rollback is taken too.
//! - The rules of a disabled spec are `[]`. SDKs evaluate the rules of a disabled gate all the same, and only
//!   report another rule id; without rules it gives its default value, which is what "disabled" says to whoever
//!   publishes it. The check at publish warns about it.
//! - Whitespace between top-level members is not kept.
//!
//! It grows by [`STATSIG_ENVELOPE_BYTES`](meridian_model::validate::STATSIG_ENVELOPE_BYTES) at most.

use std::fmt::{self, Write as _};

use meridian_model::validate::STATSIG_ENVELOPE_BYTES;
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};

/// Tells an SDK that what it holds is the newest. Never the answer to one that holds nothing: it would start
/// without values and call that success.
pub const NO_UPDATES: &str = r#"{"has_updates":false}"#;

/// The project of an environment without a release: an SDK starts at once, and every flag has its default. Its
/// `time` is below that of any release, which therefore replaces it.
pub const EMPTY: &str = r#"{"has_updates":true,"time":1,"feature_gates":{},"dynamic_configs":{},"layer_configs":{},"condition_map":{},"experiment_to_layer":{}}"#;

/// The `time` in [`EMPTY`].
pub const EMPTY_TIME_MS: u64 = 1;

/// The stored document is no Statsig project. It was one when it was published, so it is damaged or was checked
/// by other rules.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The bytes are no text.
    #[error("stored statsig document is not UTF-8: publish it again")]
    NotUtf8(#[from] std::str::Utf8Error),
    /// The text is not JSON, or its specs are not objects with `enabled` and `rules`.
    #[error("stored statsig document is malformed: publish it again")]
    Malformed(#[from] serde_json::Error),
}

/// Renders a published project as the release of this time.
///
/// Takes three passes over the text and builds no tree. A document that `validate::check` accepts always renders.
pub fn render(document: &[u8], time_ms: u64) -> Result<String, Error> {
    let text = std::str::from_utf8(document)?;
    let checksum = checksum(document, time_ms);
    let mut out = String::with_capacity(text.len() + STATSIG_ENVELOPE_BYTES);
    write!(out, r#"{{"has_updates":true,"time":{time_ms},"checksum":"{checksum}""#)
        .expect("writing to a string does not fail");
    for (key, value) in members(text)? {
        let name: String = serde_json::from_str(key)?;
        if matches!(&*name, "has_updates" | "time" | "checksum") {
            continue;
        }
        out.extend([",", key, ":"]);
        match &*name {
            "feature_gates" | "dynamic_configs" | "layer_configs" => push_specs(&mut out, value)?,
            _ => out.push_str(value),
        }
    }
    out.push('}');
    Ok(out)
}

/// 16 hex digits that change with the content and with the release.
fn checksum(document: &[u8], time_ms: u64) -> String {
    let hash = Sha256::new().chain_update(document).chain_update(time_ms.to_be_bytes()).finalize();
    hex::encode(&hash[..8])
}

/// Copies a map of specs, with `[]` in place of the rules of the disabled ones.
fn push_specs(out: &mut String, specs: &str) -> Result<(), serde_json::Error> {
    #[derive(Deserialize)]
    struct Spec<'a> {
        enabled: bool,
        #[serde(borrow)]
        rules: &'a RawValue,
    }

    let mut copied = 0;
    for (_, spec) in members(specs)? {
        let spec: Spec<'_> = serde_json::from_str(spec)?;
        let rules = spec.rules.get();
        if !spec.enabled && rules.starts_with('[') {
            // A raw value is a slice of the text it was read from, so its address tells its place.
            let start = rules.as_ptr().addr() - specs.as_ptr().addr();
            out.extend([&specs[copied..start], "[]"]);
            copied = start + rules.len();
        }
    }
    out.push_str(&specs[copied..]);
    Ok(())
}

/// The members of an object, in its order: each key with its quotes, each value, as written.
fn members(object: &str) -> Result<Vec<(&str, &str)>, serde_json::Error> {
    struct InOrder;

    impl<'de> Visitor<'de> for InOrder {
        type Value = Vec<(&'de str, &'de str)>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Self::Value, A::Error> {
            let mut members = Vec::new();
            while let Some((key, value)) = object.next_entry::<&'de RawValue, &'de RawValue>()? {
                members.push((key.get(), value.get()));
            }
            Ok(members)
        }
    }

    let mut reader = serde_json::Deserializer::from_str(object);
    let members = reader.deserialize_map(InOrder)?;
    reader.end()?;
    Ok(members)
}

#[cfg(test)]
mod tests;
