//! Operator tokens: made here, kept by the operator, known to the nodes by their hash only.

use std::io;

use sha2::{Digest as _, Sha256};

/// A new token of 256 random bits. Its start lets people and secret scanners tell what it is.
pub fn generate() -> io::Result<String> {
    let mut secret = [0; 32];
    getrandom::fill(&mut secret).map_err(io::Error::other)?;
    Ok(format!("operator-{}", hex::encode(secret)))
}

/// What `auth.operator_token_sha256` holds of it.
pub fn hash(token: &str) -> String {
    hex::encode(Sha256::digest(token))
}
