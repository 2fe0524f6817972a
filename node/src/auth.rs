//! Who is asking: an operator with a token of the configuration, or an SDK with a key of the catalog.
//!
//! Secrets are only ever compared by their SHA-256, so neither the configuration nor the catalog holds one, and the
//! time a look-up takes tells nothing about a secret. What somebody may do is decided by whoever serves them.

use std::fmt;
use std::sync::Arc;

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use meridian_model::{EnvironmentRef, KeyHash};
use meridian_replication::Catalog;
use sha2::{Digest as _, Sha256};

/// Knows every credential that this node accepts.
#[derive(Debug)]
pub struct Auth {
    operators: Vec<Operator>,
    catalog: Arc<Catalog>,
}

impl Auth {
    /// Operators are known by the SHA-256 of their tokens; SDK keys are looked up in the catalog, as it is then.
    pub fn new(operator_token_sha256: impl IntoIterator<Item = [u8; 32]>, catalog: Arc<Catalog>) -> Self {
        Self { operators: operator_token_sha256.into_iter().map(Operator).collect(), catalog }
    }

    /// The environment that an SDK key reads. `None` for a key that is not known here: it may have been revoked, or
    /// this node may not have heard of it yet, so ask [`meridian_replication::Handle::readiness`] first.
    pub fn sdk_key(&self, secret: &str) -> Option<EnvironmentRef> {
        Some(self.catalog.view().directory.key(&KeyHash::of(secret))?.environment.clone())
    }

    /// Whether this is an operator's token.
    pub fn operator(&self, token: &str) -> bool {
        self.identify(token).is_some()
    }

    /// The operator whose token this is.
    pub fn identify(&self, token: &str) -> Option<Operator> {
        identify(&self.operators, token)
    }

    /// Whether there is any token that would be accepted.
    pub fn has_operators(&self) -> bool {
        !self.operators.is_empty()
    }
}

/// Looks at all of them, whichever it is.
fn identify(operators: &[Operator], token: &str) -> Option<Operator> {
    let shown = Operator(Sha256::digest(token).into());
    operators.iter().fold(None, |found, known| if known.is(&shown) { Some(*known) } else { found })
}

/// An operator, as far as this node can tell them apart: tokens have no names.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Operator([u8; 32]);

impl Operator {
    /// Takes the same time wherever the difference is.
    fn is(&self, other: &Self) -> bool {
        let difference = self.0.iter().zip(&other.0).fold(0, |difference, (a, b)| difference | (a ^ b));
        std::hint::black_box(difference) == 0
    }
}

/// What the record says of who acted: `operator-` and the first 8 hex digits of the token's hash.
impl fmt::Display for Operator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "operator-{}", hex::encode(&self.0[..4]))
    }
}

impl fmt::Debug for Operator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// The credential in `authorization: Bearer …`.
pub fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, credential) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    let credential = credential.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !credential.is_empty()).then_some(credential)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_bearer_credential_is_found() {
        for (header, expected) in [
            ("Bearer abc", Some("abc")),
            ("bearer  abc ", Some("abc")),
            ("Bearer ", None),
            ("Bearer", None),
            ("Basic abc", None),
            ("abc", None),
            ("", None),
        ] {
            let headers = HeaderMap::from_iter([(AUTHORIZATION, header.parse().unwrap())]);
            assert_eq!(bearer(&headers), expected, "{header:?}");
        }
        assert_eq!(bearer(&HeaderMap::new()), None);
    }

    #[test]
    fn an_operator_is_known_by_the_hash_of_the_token() {
        let operators = ["first", "second"].map(|token| Operator(Sha256::digest(token).into()));
        for (token, expected) in
            [("first", Some(0)), ("second", Some(1)), ("third", None), ("", None), ("First", None)]
        {
            assert_eq!(identify(&operators, token), expected.map(|place| operators[place]), "{token:?}");
        }
        assert_eq!(identify(&[], "first"), None);
        let hash = hex::encode(Sha256::digest("first"));
        assert_eq!(operators[0].to_string(), format!("operator-{}", &hash[..8]));
    }
}
