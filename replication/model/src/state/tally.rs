//! A digest of the stored rows that is kept up to date row by row.

use std::fmt;

use sha2::{Digest as _, Sha256};

/// Digest and number of the stored rows. Equal sets of rows have equal tallies, whatever the order of the changes.
///
/// The digest is the exclusive or of the SHA-256 of each row. A key occurs once, so nothing cancels out. It finds
/// accidents and divergence; it is no defence against somebody who chooses rows to collide.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Exclusive or of the rows' digests.
    pub digest: [u8; 32],
    /// How many rows there are.
    pub rows: u64,
}

impl Tally {
    /// Counts a row in.
    pub fn add(&mut self, key: &[u8], value: &[u8]) {
        self.toggle(key, value);
        self.rows = self.rows.wrapping_add(1);
    }

    /// Counts a row out.
    pub fn remove(&mut self, key: &[u8], value: &[u8]) {
        self.toggle(key, value);
        self.rows = self.rows.wrapping_sub(1);
    }

    fn toggle(&mut self, key: &[u8], value: &[u8]) {
        let mut hash = Sha256::new();
        // The length keeps `ab` + `c` apart from `a` + `bc`.
        hash.update((key.len() as u64).to_be_bytes());
        hash.update(key);
        hash.update(value);
        for (mine, row) in self.digest.iter_mut().zip(hash.finalize()) {
            *mine ^= row;
        }
    }
}

impl fmt::Debug for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} over {} rows", hex::encode(&self.digest[..8]), self.rows)
    }
}
