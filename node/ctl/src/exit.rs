//! How the process ends, as a number that scripts may rest on.

/// Done.
pub const OK: u8 = 0;
/// Refused, or failed for a reason without a number of its own.
pub const FAILED: u8 = 1;
/// The command line is wrong; nothing was tried.
pub const USAGE: u8 = 2;
/// The project, environment, key or version is not there.
pub const NOT_FOUND: u8 = 3;
/// `--expect-version` is not the newest version.
pub const VERSION_CONFLICT: u8 = 4;
/// The document has errors; they are listed.
pub const DOCUMENT_REFUSED: u8 = 5;
/// The token is missing, unknown, or does not allow this.
pub const NOT_ALLOWED: u8 = 6;
/// No node answered, and nothing was changed.
pub const UNAVAILABLE: u8 = 7;
/// Time ran out, and the change may have been made.
pub const OUTCOME_UNKNOWN: u8 = 8;
/// No node could prove that what it holds is as fresh as was asked for.
pub const STALE: u8 = 9;
/// `status --check` found problems, or nobody leads.
pub const UNHEALTHY: u8 = 10;
/// What was waited for did not come in time. What was asked for before the wait stays in force.
pub const NOT_IN_TIME: u8 = 11;

/// The numbers, for `--help`. A macro, because it is joined to each command's example.
macro_rules! exit_codes {
    () => {
        "Exit codes: 0 done, 1 refused or failed, 2 usage, 3 not found, 4 version conflict, 5 document refused, \
         6 not allowed, 7 no node answered, 8 outcome unknown, 9 not fresh enough, 10 not healthy, 11 not in time"
    };
}
pub(crate) use exit_codes;
