//! What `meridian check-config` prints: the configuration in force, where it came from, and what to think twice about.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use super::reader::Setting;
use super::{Invalid, Loaded};

/// The explanation, for people or as one JSON object. It holds no secret: settings that are one are not shown.
pub fn explain(loaded: &Result<Loaded, Invalid>, as_json: bool) -> String {
    match (loaded, as_json) {
        (Ok(loaded), false) => for_people(loaded),
        (Err(invalid), false) => invalid.to_string(),
        (Ok(loaded), true) => json!({
            "valid": true,
            "settings": settings(&loaded.settings),
            "warnings": loaded.warnings,
        })
        .to_string(),
        (Err(invalid), true) => json!({ "valid": false, "problems": invalid.problems }).to_string(),
    }
}

/// By key: value and origin.
fn settings(settings: &[Setting]) -> Map<String, Value> {
    let described = |setting: &Setting| {
        let origin = setting.origin.as_deref().unwrap_or("default");
        (setting.key.clone(), json!({ "value": setting.value, "origin": origin }))
    };
    settings.iter().map(described).collect()
}

fn for_people(loaded: &Loaded) -> String {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let key_width = width(loaded.settings.iter().map(|setting| setting.key.len()));
    let value_width = width(loaded.settings.iter().map(|setting| text(&setting.value).len()));
    let mut out = String::new();
    for Setting { key, value, origin } in &loaded.settings {
        let origin = origin.as_deref().unwrap_or("default");
        writeln!(out, "{key:key_width$}  {:value_width$}  {origin}", text(value))
            .expect("writing to a string does not fail");
    }
    for warning in &loaded.warnings {
        out.extend(["\nwarning: ", warning]);
    }
    if !loaded.warnings.is_empty() {
        out.push('\n');
    }
    out.push_str("\nthe configuration is valid");
    out
}

/// Wide enough for most: one long value must not push every origin out of sight.
fn width(lengths: impl Iterator<Item = usize>) -> usize {
    const WIDEST: usize = 36;
    lengths.filter(|length| *length <= WIDEST).max().unwrap_or(0)
}
