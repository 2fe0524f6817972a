//! SDK keys: what an SDK shows to read one environment.

use crate::ids::{EnvironmentRef, KeyHash};

/// A key as the cluster keeps it: without the secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SdkKey {
    /// SHA-256 of the secret.
    pub hash: KeyHash,
    /// The one environment it reads.
    pub environment: EnvironmentRef,
    /// Visible start of the secret, for recognition.
    pub prefix: String,
    /// What the operator calls it.
    pub label: String,
    /// Unix milliseconds.
    pub created_at_ms: u64,
}

/// Why a text cannot be a secret. Never quotes it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a key's secret has 16 to 256 visible ASCII characters; the one given has {length} bytes{}",
    if *.visible { "" } else { ", some of them not visible" })]
pub struct SecretError {
    length: usize,
    visible: bool,
}

/// Shortest and longest secret, in characters. 16 random ones cannot be guessed over a network.
const SECRET_CHARACTERS: std::ops::RangeInclusive<usize> = 16..=256;

/// Characters of the secret that are kept in the clear.
const PREFIX_CHARACTERS: usize = 8;

/// Checks a secret and gives what may be kept of it: its hash and its visible start.
pub fn admit_secret(secret: &str) -> Result<(KeyHash, String), SecretError> {
    let visible = secret.bytes().all(|b| b.is_ascii_graphic());
    if !visible || !SECRET_CHARACTERS.contains(&secret.len()) {
        return Err(SecretError { length: secret.len(), visible });
    }
    Ok((KeyHash::of(secret), secret[..PREFIX_CHARACTERS].to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_checked_and_never_quoted() {
        assert!(admit_secret("secret-abcdefghijklmnop").is_ok());
        for bad in [
            "",
            "short",
            "has spaces in the middle",
            "nul\0nul\0nul\0nul\0nul",
            &"x".repeat(257),
            &"ä".repeat(20),
        ] {
            let error = admit_secret(bad).map(|_| ()).map_err(|e| e.to_string());
            assert!(error.as_ref().is_err_and(|e| bad.is_empty() || !e.contains(bad)), "{bad:?}: {error:?}");
        }
    }
}
