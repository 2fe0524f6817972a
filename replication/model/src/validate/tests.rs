//! The demands of each format as tables: a valid document, one edit, the findings.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use serde_json::{Map, Value};

use super::*;

/// A project with one of everything that is checked. Valid, without warnings.
const PROJECT: &str = r#"{
  "has_updates": true, "time": 1, "checksum": "c",
  "feature_gates": {"g": {"type": "feature_gate", "entity": "feature_gate", "salt": "s", "enabled": true,
    "defaultValue": false, "idType": "userID", "version": 3, "rules": [{"name": "r", "id": "r", "salt": "",
    "passPercentage": 12.5, "returnValue": true, "conditions": ["c"], "idType": "userID"}]}},
  "dynamic_configs": {"d": {"type": "dynamic_config", "entity": "experiment", "salt": "s", "enabled": true,
    "defaultValue": {}, "idType": "userID", "isActive": true, "explicitParameters": ["p"], "rules": []}},
  "layer_configs": {},
  "condition_map": {"c": {"type": "user_field", "idType": "userID", "field": "email", "operator": "any",
    "targetValue": ["a", 1], "additionalValues": {}}},
  "experiment_to_layer": {"d": "l"},
  "company_id": null, "sdk_flags": {"f": true}, "diagnostics": {"dcs": 1000},
  "param_stores": {"p": {"parameters": {"a": {"ref_type": "static", "param_type": "array", "value": null}}}},
  "override_rules": {"o": {"name": "o", "id": "o", "passPercentage": 0, "returnValue": {}, "conditions": ["c"],
    "idType": "userID"}},
  "a_key_of_tomorrow": [{}]
}"#;

/// A flag set in the same way.
const FLAGS: &str = r#"{
  "flags": {"f": {"state": "ENABLED", "variants": {"on": 1, "off": 0.5}, "defaultVariant": "on",
    "targeting": {"if": [true, "on", "off"]}, "metadata": {"team": "a", "tier": 1, "live": true}}},
  "$evaluators": {"e": {"in": ["x", []]}},
  "metadata": {"team": "a"}
}"#;

/// Findings as "severity rule path".
fn found(format: Format, document: &[u8]) -> Vec<String> {
    let report = super::check(format, document);
    let lines = report.findings().iter().map(|f| format!("{} {} {}", f.severity, f.rule, f.path));
    lines.collect()
}

/// Puts `value` where `pointer` (RFC 6901) points, or removes what is there.
fn edited(document: &str, pointer: &str, value: Option<&str>) -> String {
    let mut root: Value = serde_json::from_str(document).unwrap();
    let (parent, last) = pointer.rsplit_once('/').unwrap();
    let value = value.map(|text| serde_json::from_str::<Value>(text).unwrap());
    match (root.pointer_mut(parent).unwrap(), value) {
        (Value::Object(members), Some(value)) => drop(members.insert(last.to_owned(), value)),
        (Value::Object(members), None) => drop(members.remove(last).unwrap()),
        (Value::Array(items), Some(value)) => items[last.parse::<usize>().unwrap()] = value,
        (other, _) => panic!("{other} has no members"),
    }
    root.to_string()
}

/// Rows of: pointer, new value or `-` for removal, expected findings.
fn check_edits(format: Format, document: &str, rows: &[(&str, &str, &[&str])]) {
    assert_eq!(found(format, document.as_bytes()), Vec::<String>::new(), "the unedited document");
    for (pointer, value, expected) in rows {
        let document = edited(document, pointer, (*value != "-").then_some(*value));
        assert_eq!(found(format, document.as_bytes()), *expected, "{pointer} = {value}");
    }
}

#[test]
fn json() {
    let deep = |levels| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    let rows: &[(&[u8], &[&str])] = &[
        (b"{}", &[]),
        (b" [1, \"\\u00e9\", null] ", &[]),
        (b"0", &[]),
        (b"", &["error json/invalid $"]),
        (b"{} x", &["error json/invalid $"]),
        (b"{\"a\":1,}", &["error json/invalid $"]),
        (b"1e999", &["error json/invalid $"]),
        (b"\"\\ud800\"", &["error json/invalid $"]),
        (b"\"\xff\"", &["error json/not-utf8 $"]),
        (b"\xef\xbb\xbf{}", &["error json/invalid $"]),
        (br#"{"a":1,"a":1}"#, &["error json/duplicate-key $.a"]),
        (br#"{"a":1,"\u0061":1}"#, &["error json/duplicate-key $.a"]),
        (br#"[0,{"a b":[{"c":1,"d":2,"c":3}]}]"#, &[r#"error json/duplicate-key $[1]["a b"][0].c"#]),
        (br#"[{"a":1},{"a":1}]"#, &[]),
        (br#"{"":0,"":0}"#, &[r#"error json/duplicate-key $[""]"#]),
    ];
    for (document, expected) in rows {
        assert_eq!(found(Format::Json, document), *expected, "{}", document.escape_ascii());
    }
    assert_eq!(found(Format::Json, deep(127).as_bytes()), Vec::<String>::new());
    assert_eq!(found(Format::Json, deep(128).as_bytes()), ["error json/invalid $"]);
    assert_eq!(found(Format::Json, deep(1_000_000).as_bytes()), ["error json/invalid $"]);
}

#[test]
fn statsig() {
    let disabled = r#"{"type": "t", "entity": "e", "salt": "s", "enabled": false, "defaultValue": false,
        "idType": "i", "rules": []}"#;
    let rule = |conditions| {
        format!(
            r#"{{"name":"n","id":"i","passPercentage":1,"returnValue":true,"idType":"i","conditions":{conditions}}}"#
        )
    };
    let rows: &[(&str, &str, &[&str])] = &[
        // The server's own members.
        ("/time", "\"soon\"", &[]),
        ("/time", "-", &[]),
        ("/has_updates", "false", &[]),
        ("/checksum", "{}", &[]),
        // The top level.
        ("/feature_gates", "-", &["error statsig/missing-key $.feature_gates"]),
        ("/dynamic_configs", "null", &["error statsig/wrong-type $.dynamic_configs"]),
        ("/layer_configs", "[]", &["error statsig/wrong-type $.layer_configs"]),
        ("/experiment_to_layer", "{\"a\": 1}", &["error statsig/wrong-type $.experiment_to_layer.a"]),
        ("/sdk_flags", "[]", &["error statsig/wrong-type $.sdk_flags"]),
        ("/sdk_flags", "{\"a\": 1}", &["error statsig/wrong-type $.sdk_flags.a"]),
        ("/id_lists", "{\"a\": \"b\"}", &["error statsig/wrong-type $.id_lists.a"]),
        ("/diagnostics", "{\"a\": \"1\"}", &["error statsig/wrong-type $.diagnostics.a"]),
        ("/company_id", "1", &["error statsig/wrong-type $.company_id"]),
        (
            "/overrides",
            "{\"a\": [{}]}",
            &[
                "error statsig/missing-key $.overrides.a[0].new_config_name",
                "error statsig/missing-key $.overrides.a[0].rules",
            ],
        ),
        ("/sdk_configs", "null", &[]),
        // Specs.
        ("/feature_gates/g", "true", &["error statsig/wrong-type $.feature_gates.g"]),
        ("/feature_gates/g/salt", "-", &["error statsig/missing-key $.feature_gates.g.salt"]),
        ("/feature_gates/g/entity", "null", &["error statsig/wrong-type $.feature_gates.g.entity"]),
        ("/feature_gates/g/defaultValue", "{}", &["error statsig/wrong-type $.feature_gates.g.defaultValue"]),
        (
            "/dynamic_configs/d/defaultValue",
            "true",
            &["error statsig/wrong-type $.dynamic_configs.d.defaultValue"],
        ),
        ("/dynamic_configs/d/isActive", "1", &["error statsig/wrong-type $.dynamic_configs.d.isActive"]),
        ("/feature_gates/g/version", "-1", &["error statsig/out-of-range $.feature_gates.g.version"]),
        ("/feature_gates/g/version", "1.5", &["error statsig/out-of-range $.feature_gates.g.version"]),
        ("/feature_gates/g/rules", "{}", &["error statsig/wrong-type $.feature_gates.g.rules"]),
        (
            "/feature_gates/g/enabled",
            "false",
            &["warning statsig/disabled-with-rules $.feature_gates.g.rules"],
        ),
        ("/feature_gates/a.b", disabled, &[]),
        // Rules.
        ("/feature_gates/g/rules/0", "[]", &["error statsig/wrong-type $.feature_gates.g.rules[0]"]),
        ("/feature_gates/g/rules/0/id", "-", &["error statsig/missing-key $.feature_gates.g.rules[0].id"]),
        (
            "/feature_gates/g/rules/0/returnValue",
            "1",
            &["error statsig/wrong-type $.feature_gates.g.rules[0].returnValue"],
        ),
        ("/feature_gates/g/rules/0/passPercentage", "100", &[]),
        (
            "/feature_gates/g/rules/0/passPercentage",
            "100.5",
            &["error statsig/out-of-range $.feature_gates.g.rules[0].passPercentage"],
        ),
        (
            "/feature_gates/g/rules/0/passPercentage",
            "-0.1",
            &["error statsig/out-of-range $.feature_gates.g.rules[0].passPercentage"],
        ),
        (
            "/feature_gates/g/rules/0/conditions",
            "[\"c\", \"gone\", 7]",
            &[
                "error statsig/wrong-type $.feature_gates.g.rules[0].conditions[2]",
                "error statsig/unknown-condition $.feature_gates.g.rules[0].conditions[1]",
            ],
        ),
        (
            "/feature_gates/g/rules/0/conditions",
            "[]",
            &["warning statsig/no-conditions $.feature_gates.g.rules[0].conditions"],
        ),
        (
            "/layer_configs/l",
            &disabled.replace("[]", &format!("[{}]", rule("[\"x\"]"))),
            &[
                "error statsig/wrong-type $.layer_configs.l.defaultValue",
                "error statsig/wrong-type $.layer_configs.l.rules[0].returnValue",
                "error statsig/unknown-condition $.layer_configs.l.rules[0].conditions[0]",
                "warning statsig/disabled-with-rules $.layer_configs.l.rules",
            ],
        ),
        (
            "/override_rules/o/conditions/0",
            "\"gone\"",
            &["error statsig/unknown-condition $.override_rules.o.conditions[0]"],
        ),
        // Conditions.
        (
            "/condition_map",
            "{}",
            &[
                "error statsig/unknown-condition $.feature_gates.g.rules[0].conditions[0]",
                "error statsig/unknown-condition $.override_rules.o.conditions[0]",
            ],
        ),
        ("/condition_map/c/type", "-", &["error statsig/missing-key $.condition_map.c.type"]),
        ("/condition_map/c/type", "1", &["error statsig/wrong-type $.condition_map.c.type"]),
        (
            "/condition_map/c/type",
            "\"user_feild\"",
            &["warning statsig/unknown-value $.condition_map.c.type"],
        ),
        (
            "/condition_map/c/operator",
            "\"anny\"",
            &["warning statsig/unknown-value $.condition_map.c.operator"],
        ),
        ("/condition_map/c/field", "[]", &["error statsig/wrong-type $.condition_map.c.field"]),
        (
            "/condition_map/c/additionalValues",
            "{\"a\": 1}",
            &["error statsig/wrong-type $.condition_map.c.additionalValues.a"],
        ),
        ("/condition_map/a\"b", "0", &[r#"error statsig/wrong-type $.condition_map["a\"b"]"#]),
        // Parameter stores.
        ("/param_stores/p", "{}", &["error statsig/missing-key $.param_stores.p.parameters"]),
        (
            "/param_stores/p/parameters/a/value",
            "-",
            &["error statsig/missing-key $.param_stores.p.parameters.a.value"],
        ),
        (
            "/param_stores/p/parameters/a/ref_type",
            "\"gate\"",
            &[
                "error statsig/missing-key $.param_stores.p.parameters.a.gate_name",
                "error statsig/missing-key $.param_stores.p.parameters.a.pass_value",
                "error statsig/missing-key $.param_stores.p.parameters.a.fail_value",
            ],
        ),
        (
            "/param_stores/p/parameters/a/ref_type",
            "\"x\"",
            &["error statsig/unknown-value $.param_stores.p.parameters.a.ref_type"],
        ),
        (
            "/param_stores/p/parameters/a/ref_type",
            "-",
            &["error statsig/unknown-value $.param_stores.p.parameters.a.ref_type"],
        ),
    ];
    check_edits(Format::Statsig, PROJECT, rows);
    assert_eq!(found(Format::Statsig, b"[]"), ["error statsig/wrong-type $"]);
    assert_eq!(found(Format::Statsig, b"{}").len(), 5, "each required map is missed");
}

#[test]
fn flagd() {
    let rows: &[(&str, &str, &[&str])] = &[
        ("/flags", "-", &["error flagd/missing-key $.flags"]),
        ("/flags", "[]", &["error flagd/wrong-type $.flags"]),
        ("/flags", "{}", &["warning flagd/no-flags $.flags"]),
        ("/flags/f", "null", &["error flagd/wrong-type $.flags.f"]),
        ("/flags/f/state", "-", &["error flagd/missing-key $.flags.f.state"]),
        ("/flags/f/state", "\"on\"", &["error flagd/unknown-value $.flags.f.state"]),
        ("/flags/f/state", "true", &["error flagd/wrong-type $.flags.f.state"]),
        ("/flags/f/state", "\"DISABLED\"", &[]),
        ("/flags/f/variants", "-", &["error flagd/missing-key $.flags.f.variants"]),
        ("/flags/f/variants", "[]", &["error flagd/wrong-type $.flags.f.variants"]),
        ("/flags/f/variants", "{}", &["error flagd/no-variants $.flags.f.variants"]),
        ("/flags/f/variants/on", "true", &["error flagd/mixed-variants $.flags.f.variants.on"]),
        ("/flags/f/defaultVariant", "-", &[]),
        ("/flags/f/defaultVariant", "null", &[]),
        ("/flags/f/defaultVariant", "true", &["error flagd/wrong-type $.flags.f.defaultVariant"]),
        ("/flags/f/defaultVariant", "\"On\"", &["error flagd/unknown-variant $.flags.f.defaultVariant"]),
        ("/flags/f/targeting", "\"on\"", &["error flagd/wrong-type $.flags.f.targeting"]),
        ("/flags/f/targeting", "{}", &[]),
        ("/flags/f/metadata/team", "[]", &["error flagd/wrong-type $.flags.f.metadata.team"]),
        ("/flags/f/metadata", "1", &["error flagd/wrong-type $.flags.f.metadata"]),
        ("/$evaluators", "[]", &["error flagd/wrong-type $.$evaluators"]),
        ("/metadata/team", "{}", &["error flagd/wrong-type $.metadata.team"]),
        ("/$schema", "\"https://example.org\"", &[]),
    ];
    check_edits(Format::Flagd, FLAGS, rows);
    assert_eq!(found(Format::Flagd, b"{}"), ["error flagd/missing-key $.flags"]);
}

#[test]
fn the_limit_counts_what_the_server_adds() {
    for format in [Format::Json, Format::Statsig, Format::Flagd] {
        let limit = max_document_bytes(format);
        let padded = |bytes: usize| format!("{}{}", " ".repeat(bytes - 2), "{}");
        let at_limit = found(format, padded(limit).as_bytes());
        assert!(!at_limit.contains(&"error document/too-large $".to_owned()), "{format:?}");
        let garbage_over_limit = vec![b'{'; limit + 1];
        assert_eq!(found(format, &garbage_over_limit), ["error document/too-large $"], "{format:?}");
    }
    assert_eq!(max_document_bytes(Format::Statsig) + STATSIG_ENVELOPE_BYTES, DOCUMENT_BYTES);
}

#[test]
fn many_findings_are_counted_not_kept() {
    let (open, close) = PROJECT.split_once(r#""layer_configs": {}"#).unwrap();
    let gates: Vec<_> = (0..200).map(|gate| format!("\"{gate}\": 0")).collect();
    let document = format!("{open}\"layer_configs\": {{{}}}{close}", gates.join(","));
    let document = document.replace(r#""conditions": ["c"]"#, r#""conditions": []"#);

    let report = super::check(Format::Statsig, document.as_bytes());
    assert_eq!(report.errors().count(), 51);
    assert_eq!(
        report.errors().last().unwrap().to_string(),
        "error at $: 150 more of this severity (document/more)"
    );
    assert_eq!(report.warnings().count(), 2, "errors do not push warnings out");
    assert!(!report.is_accepted());
}

#[test]
fn findings_quote_little() {
    let long = "é\\n".repeat(1_000);
    let document = format!(r#"{{"{long}": 1, "{long}": 2, "flags": {{"f": {{"state": "{long}"}}}}}}"#);
    let report = super::check(Format::Flagd, document.as_bytes());
    assert_eq!(report.findings().len(), 3);
    for finding in report.findings() {
        assert!(finding.to_string().chars().count() < 300, "{finding}");
        assert!(!finding.to_string().contains('\n'), "{finding}");
    }
}

#[test]
fn a_finding_reads_as_a_sentence() {
    let document = edited(PROJECT, "/feature_gates/g/rules/0/conditions", Some("[\"gone\"]"));
    let report = super::check(Format::Statsig, document.as_bytes());
    assert_eq!(
        report.findings()[0].to_string(),
        "error at $.feature_gates.g.rules[0].conditions[0]: \"gone\" is not in condition_map: SDKs give up on the \
         whole spec (statsig/unknown-condition)"
    );
    let report = super::check(Format::Flagd, b"{\"flags\": 1}");
    assert_eq!(report.findings()[0].message, "must be an object, is a number");
    let report = super::check(Format::Json, b"{\n  \"a\" 1}");
    assert_eq!(report.findings()[0].message, "expected `:` at line 2 column 7");
}

/// Any JSON, with keys that lead into the tables as often as not.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,8}".prop_map(Value::from),
        Just(Value::from("c")),
    ];
    const KEYS: &[&str] = &[
        "feature_gates",
        "condition_map",
        "param_stores",
        "override_rules",
        "rules",
        "conditions",
        "enabled",
        "c",
        "parameters",
        "ref_type",
        "flags",
        "f",
        "variants",
        "defaultVariant",
        "state",
        "",
    ];
    let key = prop_oneof![3 => proptest::sample::select(KEYS).prop_map(str::to_owned), 1 => ".{0,4}"];
    leaf.prop_recursive(6, 60, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::vec((key.clone(), inner), 0..6)
                .prop_map(|members| Map::from_iter(members).into()),
        ]
    })
}

/// Every format takes these bytes without a panic, and within its bounds.
fn survives(document: &[u8]) -> Result<(), TestCaseError> {
    for format in [Format::Json, Format::Statsig, Format::Flagd] {
        let report = super::check(format, document);
        prop_assert!(report.errors().count() <= KEPT_PER_SEVERITY + 1);
        prop_assert!(report.warnings().count() <= KEPT_PER_SEVERITY + 1);
    }
    Ok(())
}

proptest! {
    #[test]
    fn any_bytes_survive(document in prop::collection::vec(any::<u8>(), 0..200)) {
        survives(&document)?;
    }

    #[test]
    fn any_json_survives_and_is_json(document in any_json()) {
        let document = document.to_string();
        prop_assert!(super::check(Format::Json, document.as_bytes()).is_accepted());
        survives(document.as_bytes())?;
    }

    #[test]
    fn a_broken_document_survives(
        project in any::<bool>(), at in any::<prop::sample::Index>(), cut in 0..20_usize,
        put in prop::collection::vec(prop_oneof![any::<u8>(), Just(b'"'), Just(b'{'), Just(b'0')], 0..4),
    ) {
        let mut document = if project { PROJECT } else { FLAGS }.as_bytes().to_vec();
        let at = at.index(document.len());
        let end = document.len().min(at + cut);
        document.splice(at..end, put);
        survives(&document)?;
    }
}
