//! Documents to publish: valid JSON, each different from all others, and of a kind that hardly compresses.

use bytes::Bytes;
use sha2::{Digest as _, Sha256};

use crate::random::Random;

/// SHA-256 of a document; it stands for the document in a history.
pub(crate) type Digest = [u8; 32];

/// Printable ASCII without `"`. The `\` in it does not stand for itself in a JSON string; `!` takes its place.
const ALPHABET: std::ops::RangeInclusive<u8> = b'#'..=b'~';

/// A document of `size_bytes`, or a little more where that is too small for its parts. `id` makes it unique.
pub(crate) fn json(id: &str, size_bytes: usize, random: &mut Random) -> Bytes {
    let mut text = format!(r#"{{"id":"{id}","fill":""#).into_bytes();
    let end = br#""}"#;
    let characters = u64::from(ALPHABET.end() - ALPHABET.start()) + 1;
    while text.len() + end.len() < size_bytes {
        let character = u8::try_from(random.next() % characters).expect("an alphabet fits in a byte");
        let character = ALPHABET.start() + character;
        text.push(if character == b'\\' { b'!' } else { character });
    }
    text.extend(end);
    text.into()
}

pub(crate) fn digest(document: &[u8]) -> Digest {
    Sha256::digest(document).into()
}

/// The digest as the cluster writes it; `None` if it is none.
pub(crate) fn parse_digest(text: &str) -> Option<Digest> {
    let mut digest = Digest::default();
    hex::decode_to_slice(text, &mut digest).ok()?;
    Some(digest)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn documents_are_json_of_the_size_asked_for() {
        let mut random = Random::new(1, 1);
        let document = json("a", 1024, &mut random);
        assert_eq!(document.len(), 1024);
        let value: serde_json::Value = serde_json::from_slice(&document).unwrap();
        assert_eq!(value["id"], "a");
        assert_ne!(json("a", 1024, &mut random), document);
        assert_eq!(parse_digest(&hex::encode(digest(&document))), Some(digest(&document)));
        assert_eq!(parse_digest("xyz"), None);
    }
}
