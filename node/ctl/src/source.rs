//! What a command reads from a file or from stdin.

use std::fs::File;
use std::io::{self, Read};

use bytes::Bytes;
use meridian_client::Secret;

use crate::problem::Problem;

/// The largest document that SDKs take. The cluster refuses it too; here it is refused before it is sent.
const DOCUMENT_BYTES: u64 = 4_190_000;

/// Well over the longest secret, with its line end.
const SECRET_BYTES: u64 = 1_024;

/// The document in this file, or on stdin for `-`.
pub(crate) fn document(path: &str) -> Result<Bytes, Problem> {
    let document = if path == "-" {
        take(io::stdin().lock(), DOCUMENT_BYTES)
    } else {
        File::open(path).and_then(|file| take(file, DOCUMENT_BYTES))
    };
    match document {
        Ok(Some(document)) => Ok(document.into()),
        Ok(None) => Err(Problem::document_too_large(path, DOCUMENT_BYTES)),
        Err(error) => Err(Problem::local(format!("cannot read {path:?}: {error}"))
            .hint("name a file that exists and that you may read, or - for stdin")),
    }
}

/// A secret given on the command line, or on stdin for `-`.
pub(crate) fn secret(given: &Secret) -> Result<Secret, Problem> {
    if given.expose() != "-" {
        return Ok(given.clone());
    }
    let read = take(io::stdin().lock(), SECRET_BYTES)
        .map_err(|error| Problem::local(format!("cannot read the secret from stdin: {error}")))?;
    let text = read.and_then(|bytes| String::from_utf8(bytes).ok());
    let text =
        text.ok_or_else(|| Problem::local("what stdin holds is not a secret: it is too long, or not text"))?;
    Ok(text.trim_end_matches(['\r', '\n']).into())
}

/// All there is to read, unless it is more than `limit` bytes.
fn take(from: impl Read, limit: u64) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    from.take(limit + 1).read_to_end(&mut bytes)?;
    Ok((bytes.len() as u64 <= limit).then_some(bytes))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::exit;

    #[test]
    fn a_document_is_read_exactly_up_to_the_limit() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("document.json");
        let path = path.to_str().unwrap();
        for (size, fits) in [(0, true), (DOCUMENT_BYTES, true), (DOCUMENT_BYTES + 1, false)] {
            std::fs::write(path, vec![b' '; size as usize]).unwrap();
            match document(path) {
                Ok(document) => assert!(fits && document.len() as u64 == size, "{size}"),
                Err(problem) => assert!(!fits && problem.exit_code() == exit::DOCUMENT_REFUSED, "{size}"),
            }
        }
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let absent = folder.path().join("absent.json");
        for path in [absent.as_path(), folder.path()] {
            let path = path.to_str().unwrap();
            let problem = document(path).unwrap_err();
            assert_eq!(problem.exit_code(), exit::FAILED);
            assert!(problem.message().contains(path), "{}", problem.message());
        }
    }
}
