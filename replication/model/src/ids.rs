//! Names, versions and digests. A value of these types is valid: nothing inside checks again.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use sha2::{Digest as _, Sha256};

/// The name of a project, an environment or a region: 1 to 64 of `a-z 0-9 . _ -`, starting with a letter or digit.
///
/// Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Arc<str>);

/// Longest [`Name`], in bytes.
pub const NAME_BYTES: usize = 64;

/// Why a text is not a [`Name`]. Quotes at most the beginning of what was given.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{shown:?} is not a name: use 1 to {NAME_BYTES} characters of a-z, 0-9, '.', '_' and '-', starting with a letter \
     or digit ({length} bytes were given)"
)]
pub struct NameError {
    shown: String,
    length: usize,
}

impl Name {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Name {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let valid = (1..=NAME_BYTES).contains(&text.len())
            && text.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-'))
            && text.as_bytes()[0].is_ascii_alphanumeric();
        if valid {
            Ok(Self(text.into()))
        } else {
            Err(NameError { shown: beginning_of(text), length: text.len() })
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}

/// At most 60 characters of `text`: input that is quoted in an error must not become its size.
pub(crate) fn beginning_of(text: &str) -> String {
    const SHOWN_CHARACTERS: usize = 60;
    match text.char_indices().nth(SHOWN_CHARACTERS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// One environment of one project, written `project/environment`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EnvironmentRef {
    /// The project.
    pub project: Name,
    /// The environment within it.
    pub environment: Name,
}

impl EnvironmentRef {
    /// Parses both names.
    pub fn parse(project: &str, environment: &str) -> Result<Self, NameError> {
        Ok(Self { project: project.parse()?, environment: environment.parse()? })
    }
}

impl fmt::Display for EnvironmentRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.project, self.environment)
    }
}

/// The number of a release within its environment: 1, 2, 3 … without gaps.
pub type Version = u64;

/// SHA-256 of a document's plain bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// The digest of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// SHA-256 of an SDK key's secret. The secret itself is never kept.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyHash(pub [u8; 32]);

impl KeyHash {
    /// The hash of this secret.
    pub fn of(secret: &str) -> Self {
        Self(Sha256::digest(secret).into())
    }

    /// What operators call the key.
    pub fn id(&self) -> KeyId {
        let [a, b, c, d, e, f, g, h, ..] = self.0;
        KeyId([a, b, c, d, e, f, g, h])
    }
}

impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.id())
    }
}

/// What operators call an SDK key: the first 8 bytes of its hash, as 16 hex digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(pub [u8; 8]);

/// The text is no key id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a key's id: give the 16 hex digits that listing the keys shows")]
pub struct KeyIdError(String);

impl KeyId {
    /// The range of hashes that have this id.
    pub(crate) fn hashes(self) -> std::ops::RangeInclusive<KeyHash> {
        let [mut low, mut high] = [KeyHash([0; 32]), KeyHash([0xff; 32])];
        low.0[..8].copy_from_slice(&self.0);
        high.0[..8].copy_from_slice(&self.0);
        low..=high
    }
}

impl FromStr for KeyId {
    type Err = KeyIdError;

    fn from_str(text: &str) -> Result<Self, KeyIdError> {
        let mut id = [0; 8];
        match hex::decode_to_slice(text, &mut id) {
            Ok(()) => Ok(Self(id)),
            Err(_) => Err(KeyIdError(beginning_of(text))),
        }
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

/// Names one request across its repeats: a UUID chosen by whoever asks.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub [u8; 16]);

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn names_are_parsed_at_the_edge() {
        for good in ["a", "7", "web-checkout", "a.b_c-d", &"x".repeat(64)] {
            assert_eq!(good.parse::<Name>().unwrap().as_str(), good);
        }
        for bad in ["", "-a", ".a", "A", "a b", "a/b", "a\0", "ä", &"x".repeat(65)] {
            assert!(bad.parse::<Name>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn key_ids_are_the_start_of_the_hash() {
        let hash = KeyHash::of("secret-aaaaaaaaaaaa");
        assert_eq!(hash.id().to_string().parse(), Ok(hash.id()));
        assert!(hash.id().hashes().contains(&hash));
        assert!(!KeyId([0; 8]).hashes().contains(&hash));
        for bad in ["", "0123", "0123456789abcdeg", "0123456789abcdef0"] {
            assert!(bad.parse::<KeyId>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_huge_name_is_refused_with_a_short_text() {
        let error = "x".repeat(10 << 20).parse::<Name>().unwrap_err().to_string();
        assert!(error.len() < 400, "{} bytes", error.len());
        assert!(error.contains("10485760 bytes"), "{error}");
    }
}
