#![allow(clippy::unwrap_used)]

use meridian_model::{Format, validate};

use super::*;

const SAMPLE: &str = include_str!("../../dev/sample.statsig.json");

/// Rendering `published` at `time_ms` gives `expected`, in which `CHECKSUM` stands for the checksum.
fn check(published: &str, time_ms: u64, expected: &str) {
    let checksum = checksum(published.as_bytes(), time_ms);
    let rendered = render(published.as_bytes(), time_ms).unwrap();
    assert_eq!(rendered, expected.replace("CHECKSUM", &checksum), "{published}");
}

#[test]
fn our_members_come_first_and_the_rest_is_copied() {
    let ours = r#"{"has_updates":true,"time":7,"checksum":"CHECKSUM""#;
    let rows = [
        ("{}", ""),
        (r#"{"z":1,"a":2}"#, r#","z":1,"a":2"#),
        (
            r#" { "a" : [ 1.50e3, "\u0061\/" ] , "b":{ "x" : {} } } "#,
            r#","a":[ 1.50e3, "\u0061\/" ],"b":{ "x" : {} }"#,
        ),
        (r#"{"a":1,"time":9,"has_updates":false,"b":2,"checksum":{"c":[]}}"#, r#","a":1,"b":2"#),
        (r#"{"tim\u0065":9,"k\u0065y":1}"#, r#","k\u0065y":1"#),
        (r#"{"a":{"time":9}}"#, r#","a":{"time":9}"#),
    ];
    for (published, rest) in rows {
        check(published, 7, &format!("{ours}{rest}}}"));
    }
}

#[test]
fn disabled_specs_lose_their_rules_and_nothing_else() {
    let rows = [
        (r#"{"g":{"enabled":false,"rules":[{"id":"r"}]}}"#, r#"{"g":{"enabled":false,"rules":[]}}"#),
        (
            r#"{ "a":{"rules":[ 1 ] , "enabled" : false,"x":"é"}, "b" : {"enabled":true,"rules":[2]}, "c":{"enabled":false,"rules":[3,[4]],"y":0} }"#,
            r#"{ "a":{"rules":[] , "enabled" : false,"x":"é"}, "b" : {"enabled":true,"rules":[2]}, "c":{"enabled":false,"rules":[],"y":0} }"#,
        ),
        (r#"{"a":{"enabled":false,"rules":[]}}"#, r#"{"a":{"enabled":false,"rules":[]}}"#),
        ("{ }", "{ }"),
    ];
    for map in ["feature_gates", "dynamic_configs", "layer_configs"] {
        for (specs, served) in rows {
            check(
                &format!(r#"{{"{map}":{specs},"other":{specs}}}"#),
                1,
                &format!(
                    r#"{{"has_updates":true,"time":1,"checksum":"CHECKSUM","{map}":{served},"other":{specs}}}"#
                ),
            );
        }
    }
}

#[test]
fn the_whole_text_is_pinned() {
    let published = br#"{"feature_gates":{},"time":1}"#;
    let rendered = render(published, 1_760_000_000_000).unwrap();
    let golden =
        r#"{"has_updates":true,"time":1760000000000,"checksum":"5d122c3d3bf30026","feature_gates":{}}"#;
    assert_eq!(rendered, golden);
}

#[test]
fn the_checksum_changes_with_content_and_with_time() {
    let sums = [checksum(b"{}", 1), checksum(b"{ }", 1), checksum(b"{}", 2)];
    assert_eq!(sums.iter().map(String::len).collect::<Vec<_>>(), [16, 16, 16]);
    assert!(sums[0] != sums[1] && sums[0] != sums[2] && sums[1] != sums[2], "{sums:?}");
}

#[test]
fn a_document_at_the_limit_renders_within_the_limit_of_sdks() {
    let published = SAMPLE.trim_end().strip_suffix('}').unwrap();
    let room = validate::max_document_bytes(Format::Statsig) - published.len() - r#","pad":""}"#.len();
    let published = format!(r#"{published},"pad":"{}"}}"#, "x".repeat(room));
    let report = validate::check(Format::Statsig, published.as_bytes());
    assert_eq!(report.findings(), []);

    let rendered = render(published.as_bytes(), u64::MAX).unwrap();
    assert!(rendered.len() <= meridian_model::limits::DOCUMENT_BYTES);
}

#[test]
fn no_document_grows_by_more_than_the_envelope() {
    let grown = |published: &str| render(published.as_bytes(), u64::MAX).unwrap().len() - published.len();
    assert!(grown("{}") <= STATSIG_ENVELOPE_BYTES);
    assert!(grown(r#"{"":0}"#) <= STATSIG_ENVELOPE_BYTES);
    assert!(grown(r#"{"feature_gates":{"g":{"enabled":false,"rules":[]}}}"#) <= STATSIG_ENVELOPE_BYTES);
}

#[test]
fn what_is_no_project_is_an_error() {
    for published in [
        &b""[..],
        b"[]",
        b"{",
        b"{} {}",
        b"\xff",
        b"{\"a\":}",
        b"{\"feature_gates\":[]}",
        b"{\"feature_gates\":{\"g\":1}}",
        b"{\"feature_gates\":{\"g\":{\"rules\":[]}}}",
    ] {
        assert!(render(published, 1).is_err(), "{}", published.escape_ascii());
    }
}

#[test]
fn the_sample_project_is_without_findings() {
    let report = validate::check(Format::Statsig, SAMPLE.as_bytes());
    assert_eq!(report.findings(), []);
}

#[test]
fn the_empty_project_is_valid_and_older_than_any_release() {
    assert_eq!(validate::check(Format::Statsig, EMPTY.as_bytes()).findings(), []);
    let empty: serde_json::Value = serde_json::from_str(EMPTY).unwrap();
    assert_eq!(empty["time"], EMPTY_TIME_MS);
    assert_eq!(empty["has_updates"], true);
}
