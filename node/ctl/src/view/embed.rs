//! A document inside a line of JSON: the same tokens, without the layout around them.

use bytes::Bytes;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

/// Serializes a document as the JSON it is. Numbers keep their spelling and keys their order. What is not JSON becomes
/// a string, so that the line around it stays readable.
pub(super) fn embedded<S: Serializer>(document: &Bytes, serializer: S) -> Result<S::Ok, S::Error> {
    let parsed = serde_json::from_slice::<&RawValue>(document);
    match parsed.and_then(|json| RawValue::from_string(without_layout(json.get()))) {
        Ok(json) => json.serialize(serializer),
        Err(_) => serializer.serialize_str(&String::from_utf8_lossy(document)),
    }
}

/// Drops the white space between the tokens of valid JSON.
fn without_layout(json: &str) -> String {
    let mut in_string = false;
    let mut escaped = false;
    let keep = |c: &char| {
        if in_string {
            in_string = escaped || *c != '"';
            escaped = !escaped && *c == '\\';
            return true;
        }
        in_string = *c == '"';
        !c.is_ascii_whitespace()
    };
    json.chars().filter(keep).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn check(document: &[u8], expected: &str) {
        let mut line = Vec::new();
        embedded(&Bytes::copy_from_slice(document), &mut serde_json::Serializer::new(&mut line)).unwrap();
        assert_eq!(String::from_utf8(line).unwrap(), expected);
    }

    #[test]
    fn a_document_keeps_its_tokens_and_loses_its_layout() {
        check(b"{\n  \"b\" : [ 1.10, 1e400 ],\r\n\t\"a\": null }\n", r#"{"b":[1.10,1e400],"a":null}"#);
        check(br#" { "a \" b" : " \\" , "c" : "  \\\" d" } "#, r#"{"a \" b":" \\","c":"  \\\" d"}"#);
        check(b"123456789012345678901234567890", "123456789012345678901234567890");
    }

    #[test]
    fn what_is_not_json_is_a_string() {
        check(b"a: 1\n", r#""a: 1\n""#);
        check(b"\xff", "\"\u{fffd}\"");
        check(b"", "\"\"");
    }
}
