//! Documents to publish: valid JSON, each with a number of its own, of bytes that hardly compress.

use bytes::{Bytes, BytesMut};

const BEGIN: &[u8] = br#"{"number":"#;
const NUMBER_BYTES: usize = 20;
const MIDDLE: &[u8] = br#","fill":""#;
const END: &[u8] = br#""}"#;

/// A document without its number. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Document(Bytes);

impl Document {
    /// Of this size, or a little more where that is too small for its parts.
    pub(super) fn new(size_bytes: usize) -> Result<Self, getrandom::Error> {
        let parts = BEGIN.len() + NUMBER_BYTES + MIDDLE.len() + END.len();
        let mut fill = vec![0; size_bytes.saturating_sub(parts)];
        getrandom::fill(&mut fill)?;
        let mut text = BytesMut::with_capacity(size_bytes.max(parts));
        text.extend(BEGIN);
        text.extend([b' '; NUMBER_BYTES]);
        text.extend(MIDDLE);
        text.extend(fill.into_iter().map(printable));
        text.extend(END);
        Ok(Self(text.freeze()))
    }

    /// With this number.
    pub(super) fn numbered(&self, number: u64) -> Bytes {
        let mut text = BytesMut::from(&*self.0);
        let digits = format!("{number:>NUMBER_BYTES$}");
        text[BEGIN.len()..][..NUMBER_BYTES].copy_from_slice(digits.as_bytes());
        text.freeze()
    }

    /// The number of a document that was made here.
    pub(super) fn number(text: &[u8]) -> Option<u64> {
        let digits = text.get(BEGIN.len()..BEGIN.len() + NUMBER_BYTES)?;
        std::str::from_utf8(digits).ok()?.trim().parse().ok()
    }
}

/// One of the 92 characters of ASCII that stand for themselves inside a JSON string.
fn printable(byte: u8) -> u8 {
    match b'#' + byte % 92 {
        b'\\' => b'!',
        character => character,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn documents_are_json_that_knows_its_number() {
        let document = Document::new(1_024).unwrap();
        for number in [0, 7, u64::MAX] {
            let text = document.numbered(number);
            assert_eq!(text.len(), 1_024);
            let value: serde_json::Value = serde_json::from_slice(&text).unwrap();
            assert_eq!(value["number"].as_u64(), Some(number));
            assert_eq!(Document::number(&text), Some(number));
        }
        assert_eq!(Document::number(b"{}"), None);
        serde_json::from_slice::<serde_json::Value>(&Document::new(0).unwrap().numbered(1)).unwrap();
    }
}
