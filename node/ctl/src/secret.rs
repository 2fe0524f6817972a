//! Makes the secret of an SDK key.

use meridian_client::Secret;

/// 32 characters of 62 hold 190 random bits.
const CHARACTERS: usize = 32;

const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// Bytes from here on are thrown away: with them the first letters would come more often.
const UNBIASED: u8 = 248;

/// A new secret, `sdk-` and 32 random characters. Fails where the system has no randomness to give.
pub(crate) fn generate() -> Result<Secret, getrandom::Error> {
    let mut secret = String::from("sdk-");
    let mut random = [0; 2 * CHARACTERS];
    while secret.len() < "sdk-".len() + CHARACTERS {
        getrandom::fill(&mut random)?;
        let letters =
            random.iter().filter(|byte| **byte < UNBIASED).map(|byte| ALPHABET[usize::from(*byte) % 62]);
        let missing = "sdk-".len() + CHARACTERS - secret.len();
        secret.extend(letters.take(missing).map(char::from));
    }
    Ok(secret.into())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn secrets_have_their_shape_and_differ() {
        let secrets: Vec<_> = (0..100).map(|_| generate().unwrap()).collect();
        for secret in &secrets {
            let random = secret.expose().strip_prefix("sdk-").unwrap();
            assert_eq!(random.len(), CHARACTERS);
            assert!(random.bytes().all(|b| b.is_ascii_alphanumeric()), "{random}");
        }
        let distinct: std::collections::HashSet<_> = secrets.iter().map(Secret::expose).collect();
        assert_eq!(distinct.len(), secrets.len());
        let letters: std::collections::HashSet<_> =
            secrets.iter().flat_map(|s| s.expose()[4..].bytes()).collect();
        assert_eq!(letters.len(), ALPHABET.len(), "all letters occur in 3,200");
    }
}
