//! Statsig projects: "download config specs", version 2.
//!
//! SDKs drop the whole document for a malformed condition, a missing map or a wrongly typed top-level member, and
//! drop one gate or config in silence where it is malformed. Both are errors here. `has_updates`, `time` and
//! `checksum` at the top belong to the server, which overwrites them: whatever they say is accepted.

use std::borrow::Cow;
use std::collections::BTreeSet;

use super::Findings;
use super::json::{Kind, Node};
use super::path::{Path, Quoted};
use super::shape::{
    ANY, BOOL, Field, Form, I64, NUMBER, OBJECT, Rules, STRING, STRINGS, Shape, U32, U64, optional, required,
};

const RULES: Rules = Rules {
    missing_key: "statsig/missing-key",
    wrong_type: "statsig/wrong-type",
    out_of_range: "statsig/out-of-range",
    unknown_value: "statsig/unknown-value",
};

static PROJECT: [Field; 22] = [
    required("feature_gates", Shape::Map(&Shape::Record(&GATE))),
    required("dynamic_configs", Shape::Map(&Shape::Record(&CONFIG))),
    required("layer_configs", Shape::Map(&Shape::Record(&CONFIG))),
    required("condition_map", Shape::Map(&Shape::Record(&CONDITION))),
    required("experiment_to_layer", Shape::Map(&STRING)),
    optional("app_id", ANY),
    optional("auto_capture_settings", Shape::Record(&[required("disabled_events", Shape::Map(&BOOL))])),
    optional("cmab_configs", Shape::Map(&Shape::Record(&BANDIT))),
    optional("company_id", STRING),
    optional("default_environment", STRING),
    optional("diagnostics", Shape::Map(&NUMBER)),
    optional("gcir_config", Shape::Record(&[required("remove_default_value_gates", BOOL)])),
    optional("hashed_sdk_keys_to_app_ids", OBJECT),
    optional("id_lists", Shape::Map(&BOOL)),
    optional("override_rules", Shape::Map(&Shape::Record(&OVERRIDE_RULE))),
    optional("overrides", Shape::Map(&Shape::List(&Shape::Record(&OVERRIDE)))),
    optional("param_stores", Shape::Map(&Shape::Record(&PARAM_STORE))),
    optional("response_format", STRING),
    optional("sdk_configs", OBJECT),
    optional("sdk_flags", Shape::Map(&BOOL)),
    optional("sdk_keys_to_app_ids", OBJECT),
    optional("session_replay_info", Shape::Record(&SESSION_REPLAY)),
];

static GATE: [Field; 16] = spec(BOOL, Shape::List(&Shape::Record(&GATE_RULE)));
static CONFIG: [Field; 16] = spec(OBJECT, Shape::List(&Shape::Record(&CONFIG_RULE)));

/// A gate, dynamic config, experiment or layer.
const fn spec(value: Shape, rules: Shape) -> [Field; 16] {
    [
        required("type", STRING),
        required("salt", STRING),
        required("enabled", BOOL),
        required("defaultValue", value),
        required("rules", rules),
        required("idType", STRING),
        required("entity", STRING),
        optional("checksum", STRING),
        optional("explicitParameters", STRINGS),
        optional("fieldsUsed", STRINGS),
        optional("forwardAllExposures", BOOL),
        optional("hasSharedParams", BOOL),
        optional("isActive", BOOL),
        optional("targetAppIDs", STRINGS),
        optional("useNewLayerEval", BOOL),
        optional("version", U32),
    ]
}

static GATE_RULE: [Field; 11] = rule(BOOL);
static CONFIG_RULE: [Field; 11] = rule(OBJECT);
static OVERRIDE_RULE: [Field; 11] = rule(RETURNABLE);

const fn rule(value: Shape) -> [Field; 11] {
    [
        required("name", STRING),
        required("id", STRING),
        required("passPercentage", Shape::Number(0.0, 100.0)),
        required("returnValue", value),
        required("conditions", STRINGS),
        required("idType", STRING),
        optional("configDelegate", STRING),
        optional("groupName", STRING),
        optional("isExperimentGroup", BOOL),
        optional("salt", STRING),
        optional("samplingRate", U64),
    ]
}

/// What a gate or a config may give.
const RETURNABLE: Shape = Shape::Of(&[Kind::Bool, Kind::Object]);

static CONDITION: [Field; 7] = [
    required("type", Shape::Known(&CONDITION_TYPES)),
    required("idType", STRING),
    optional("additionalValues", Shape::Map(&STRING)),
    optional("checksum", STRING),
    optional("field", STRING),
    optional("operator", Shape::Known(&OPERATORS)),
    optional("targetValue", ANY),
];

static CONDITION_TYPES: [&str; 12] = [
    "current_time",
    "environment_field",
    "experiment_group",
    "fail_gate",
    "ip_based",
    "pass_gate",
    "public",
    "target_app",
    "ua_based",
    "unit_id",
    "user_bucket",
    "user_field",
];

static OPERATORS: [&str; 30] = [
    "after",
    "any",
    "any_case_sensitive",
    "array_contains_all",
    "array_contains_any",
    "array_contains_none",
    "before",
    "eq",
    "gt",
    "gte",
    "in_segment_list",
    "lt",
    "lte",
    "neq",
    "none",
    "none_case_sensitive",
    "not_array_contains_all",
    "not_in_segment_list",
    "on",
    "str_contains_any",
    "str_contains_none",
    "str_ends_with_any",
    "str_matches",
    "str_starts_with_any",
    "version_eq",
    "version_gt",
    "version_gte",
    "version_lt",
    "version_lte",
    "version_neq",
];

static PARAM_STORE: [Field; 3] = [
    required("parameters", Shape::Map(&Shape::Tagged("ref_type", &PARAMETERS))),
    optional("targetAppIDs", STRINGS),
    optional("version", U32),
];

static PARAMETERS: [Form; 5] = [
    Form("static", &[required("param_type", STRING), required("value", ANY)]),
    Form(
        "gate",
        &[
            required("param_type", STRING),
            required("gate_name", STRING),
            required("pass_value", ANY),
            required("fail_value", ANY),
        ],
    ),
    Form(
        "dynamic_config",
        &[required("param_type", STRING), required("config_name", STRING), required("param_name", STRING)],
    ),
    Form(
        "experiment",
        &[
            required("param_type", STRING),
            required("experiment_name", STRING),
            required("param_name", STRING),
        ],
    ),
    Form(
        "layer",
        &[required("param_type", STRING), required("layer_name", STRING), required("param_name", STRING)],
    ),
];

static OVERRIDE: [Field; 2] = [
    required("new_config_name", STRING),
    required(
        "rules",
        Shape::List(&Shape::Record(&[required("rule_name", STRING), optional("start_time", I64)])),
    ),
];

static BANDIT: [Field; 11] = [
    required("salt", STRING),
    required("defaultValue", RETURNABLE),
    required("idType", STRING),
    required("enabled", BOOL),
    required("version", U32),
    required("sampleRate", NUMBER),
    required("higherIsBetter", BOOL),
    required(
        "groups",
        Shape::List(&Shape::Record(&[
            required("name", STRING),
            required("parameterValues", RETURNABLE),
            required("id", STRING),
        ])),
    ),
    optional(
        "config",
        Shape::Map(&Shape::Record(&[
            required("alpha", NUMBER),
            required("intercept", NUMBER),
            required("records", U64),
            required("weightsNumerical", Shape::Map(&NUMBER)),
            required("weightsCategorical", Shape::Map(&Shape::Map(&NUMBER))),
        ])),
    ),
    optional("targetAppIDs", STRINGS),
    optional("targetingGateName", STRING),
];

static SESSION_REPLAY: [Field; 6] = [
    optional("recording_blocked", BOOL),
    optional("sampling_rate", NUMBER),
    optional("session_recording_event_triggers", Shape::Map(&Shape::Record(&REPLAY_TRIGGER))),
    optional("session_recording_exposure_triggers", Shape::Map(&Shape::Record(&REPLAY_TRIGGER))),
    optional(
        "session_recording_privacy_settings",
        Shape::Record(&[
            required("privacy_mode", STRING),
            optional("blocked_elements", STRINGS),
            optional("masked_elements", STRINGS),
            optional("unmasked_elements", STRINGS),
        ]),
    ),
    optional("targeting_gate", STRING),
];

static REPLAY_TRIGGER: [Field; 3] =
    [optional("passes_sampling", BOOL), optional("sampling_rate", NUMBER), optional("values", STRINGS)];

pub(super) fn check(root: Node<'_>, findings: &mut Findings) {
    RULES.check(&Shape::Record(&PROJECT), root, &Path::Root, findings);

    let members = root.members();
    let known = members
        .iter()
        .filter(|(key, _)| key == "condition_map")
        .flat_map(|(_, conditions)| conditions.members())
        .map(|(name, _)| name)
        .collect();
    for (key, part) in &members {
        let path = Path::Root.key(key);
        match &**key {
            "feature_gates" | "dynamic_configs" | "layer_configs" => {
                for (name, spec) in part.members() {
                    check_spec(spec, &known, &path.key(&name), findings);
                }
            }
            "override_rules" => {
                for (name, rule) in part.members() {
                    check_conditions(rule, &known, &path.key(&name), findings);
                }
            }
            _ => {}
        }
    }
}

fn check_spec(spec: Node<'_>, known: &BTreeSet<Cow<'_, str>>, path: &Path<'_>, findings: &mut Findings) {
    let path = &path.key("rules");
    let rules = spec.member("rules").map_or_else(Vec::new, Node::items);
    if !rules.is_empty() && spec.member("enabled").is_some_and(Node::is_false) {
        let text =
            format_args!("disabled: served without its {} rules, so all get the default value", rules.len());
        findings.warning("statsig/disabled-with-rules", path, text);
    }
    for (index, rule) in rules.into_iter().enumerate() {
        check_conditions(rule, known, &path.index(index), findings);
    }
}

fn check_conditions(
    rule: Node<'_>,
    known: &BTreeSet<Cow<'_, str>>,
    path: &Path<'_>,
    findings: &mut Findings,
) {
    let Some(conditions) = rule.member("conditions").filter(|node| node.kind() == Kind::Array) else {
        return;
    };
    let path = &path.key("conditions");
    let conditions = conditions.items();
    if conditions.is_empty() {
        findings.warning(
            "statsig/no-conditions",
            path,
            format_args!("a rule without conditions passes everyone"),
        );
    }
    for (index, name) in conditions.into_iter().enumerate() {
        if let Some(name) = name.string().filter(|name| !known.contains(name)) {
            let text =
                format_args!("{} is not in condition_map: SDKs give up on the whole spec", Quoted(&name));
            findings.error("statsig/unknown-condition", &path.index(index), text);
        }
    }
}
