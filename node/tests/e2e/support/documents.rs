//! Documents to publish.

use std::io::Write as _;

use serde_json::{Value, json};
use tempfile::NamedTempFile;

/// What `meridian dev` publishes.
pub(crate) const SAMPLE: &str = include_str!("../../../src/dev/sample.statsig.json");

/// A document as a file, for as long as it is held.
pub(crate) fn file(document: impl AsRef<[u8]>) -> NamedTempFile {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(document.as_ref()).unwrap();
    file
}

/// A Statsig project of gates that are on or off for everybody.
pub(crate) fn gates(gates: &[(&str, bool)]) -> String {
    let gate = |(name, on): &(&str, bool)| {
        let rule = json!({
            "name": "all", "id": "all", "salt": "all", "passPercentage": 100, "returnValue": on,
            "conditions": ["everyone"], "idType": "userID",
        });
        let gate = json!({
            "type": "feature_gate", "entity": "feature_gate", "salt": name, "enabled": true,
            "defaultValue": false, "idType": "userID", "rules": [rule],
        });
        ((*name).to_owned(), gate)
    };
    let gates: serde_json::Map<String, Value> = gates.iter().map(gate).collect();
    let project = json!({
        "feature_gates": gates, "dynamic_configs": {}, "layer_configs": {}, "experiment_to_layer": {},
        "condition_map": {"everyone": {"type": "public", "idType": "userID"}},
    });
    project.to_string()
}

/// A rendered Statsig document without what the cluster adds to it.
pub(crate) fn without_time(spec: &str) -> Value {
    let mut document: Value = serde_json::from_str(spec).unwrap();
    for added in ["time", "has_updates", "checksum"] {
        document
            .as_object_mut()
            .unwrap()
            .remove(added)
            .unwrap_or_else(|| panic!("{added} is missing: {spec}"));
    }
    document
}
