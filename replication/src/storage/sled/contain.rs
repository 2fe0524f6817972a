//! Keeps sled's panics, hangs and vague errors within this module.
//!
//! On damaged files sled panics more often than it reports. A panic that is caught tells no less than an error does,
//! so both end in one judgement: is the data bad ([`Error::Damaged`]), or the machine ([`Error::Machine`])? Judging a
//! machine as data would wipe a good catalog; judging data as machine would stop a node that could have healed. A
//! known code of the operating system decides; without one it is damage.

use std::any::Any;
use std::io;
use std::ops::Deref;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use ::sled::Db;

use crate::storage::Error;

/// How long closing may take. sled waits for its flusher thread, and waits for ever if that one has panicked.
const CLOSE_LIMIT: Duration = Duration::from_secs(10);

/// Runs one call into sled.
pub(super) fn contain<T>(dir: &Path, call: impl FnOnce() -> ::sled::Result<T>) -> Result<T, Error> {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(judge(dir, error)),
        Err(panic) => Err(judge_text(dir, &format!("the engine panicked: {}", text_of(&*panic)))),
    }
}

/// Runs `work` on a thread of its own and gives up waiting after `limit`. The thread cannot be ended; whatever it
/// still produces is dropped.
pub(super) fn within<T: Send + 'static>(
    limit: Duration,
    dir: &Path,
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    let (sender, receiver) = mpsc::sync_channel(1);
    let thread = thread::Builder::new().name("catalog-open".to_owned()).spawn(move || {
        let result = work();
        // Nobody waits any more: the store closes here.
        let _ = sender.send(result);
    });
    thread.map_err(Error::machine("start a thread for", dir))?;
    match receiver.recv_timeout(limit) {
        Ok(result) => result,
        Err(mpsc::RecvTimeoutError::Timeout) => {
            Err(Error::Stuck { path: dir.to_owned(), limit_s: limit.as_secs() })
        }
        // The thread died outside `contain`: our own reading of what sled returned.
        Err(mpsc::RecvTimeoutError::Disconnected) => Err(Error::damaged(dir, "reading it panicked")),
    }
}

/// An open database that closes without panicking and within a limit.
pub(super) struct Contained {
    db: Option<Db>,
    dir: PathBuf,
}

impl Contained {
    pub(super) fn new(db: Db, dir: &Path) -> Contained {
        Contained { db: Some(db), dir: dir.to_owned() }
    }
}

impl Deref for Contained {
    type Target = Db;

    fn deref(&self) -> &Db {
        self.db.as_ref().expect("taken only by drop")
    }
}

impl Drop for Contained {
    fn drop(&mut self) {
        let Some(db) = self.db.take() else { return };
        let (sender, receiver) = mpsc::sync_channel(1);
        let close = move || {
            let outcome = catch_unwind(AssertUnwindSafe(|| drop(db)));
            // Nobody may be waiting any more.
            let _ = sender.send(outcome.is_ok());
        };
        let started = thread::Builder::new().name("catalog-close".to_owned()).spawn(close);
        let closed = started.is_ok_and(|_| receiver.recv_timeout(CLOSE_LIMIT) == Ok(true));
        if !closed {
            tracing::warn!(dir = %self.dir.display(), "the catalog did not close cleanly; its last checkpoint holds");
        }
    }
}

fn judge(dir: &Path, error: ::sled::Error) -> Error {
    match error {
        ::sled::Error::Io(error) => match error.raw_os_error() {
            Some(code) => judge_code(dir, code, error),
            None => judge_text(dir, &error.to_string()),
        },
        // Corruption, another format or segment size, its own "reportable bug".
        other => judge_text(dir, &other.to_string()),
    }
}

/// sled passes errors between its threads as text, where the code is still to be found.
fn judge_text(dir: &Path, text: &str) -> Error {
    if text.contains("could not acquire lock") {
        return Error::Locked { path: dir.to_owned() };
    }
    let code = text.split_once("Os { code: ").and_then(|(_, rest)| {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).map_or(rest, |end| &rest[..end]);
        digits.parse().ok()
    });
    match code {
        Some(code) => judge_code(dir, code, io::Error::new(io::Error::from_raw_os_error(code).kind(), text)),
        None => Error::damaged(dir, text),
    }
}

fn judge_code(dir: &Path, code: i32, error: io::Error) -> Error {
    match io::Error::from_raw_os_error(code).kind() {
        // A file that should be there is not, or an offset that was read from the file makes no sense.
        io::ErrorKind::NotFound | io::ErrorKind::InvalidInput => Error::damaged(dir, error.to_string()),
        _ => Error::Machine { doing: "use the catalog in", path: dir.to_owned(), source: error },
    }
}

fn text_of(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("without a message")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq)]
    enum Verdict {
        Damaged,
        Machine,
        Locked,
    }

    #[test]
    fn what_counts_as_damage() {
        use ::sled::Error as E;
        let os = |code| E::Io(io::Error::from_raw_os_error(code));
        let text = |text: &str| E::Io(io::Error::other(text));
        let (enoent, eio, eacces, einval, emfile, enospc, erofs) = (2, 5, 13, 22, 24, 28, 30);
        check(os(eio), Verdict::Machine);
        check(os(eacces), Verdict::Machine);
        check(os(emfile), Verdict::Machine);
        check(os(enospc), Verdict::Machine);
        check(os(erofs), Verdict::Machine);
        check(os(enoent), Verdict::Damaged);
        check(os(einval), Verdict::Damaged);
        check(E::Corruption { at: None, bt: () }, Verdict::Damaged);
        check(E::Unsupported("cannot change the io buffer size".to_owned()), Verdict::Damaged);
        check(E::Io(io::ErrorKind::UnexpectedEof.into()), Verdict::Damaged);
        // As sled clones what its flusher thread met.
        check(text(&format!("{:?}", io::Error::from_raw_os_error(enospc))), Verdict::Machine);
        check(E::ReportableBug(format!("flush: {:?}", io::Error::from_raw_os_error(eio))), Verdict::Machine);
        check(text("could not acquire lock on \"x\": Os { code: 11, kind: WouldBlock }"), Verdict::Locked);
    }

    #[track_caller]
    fn check(error: ::sled::Error, expected: Verdict) {
        let shown = error.to_string();
        let verdict = match judge(Path::new("catalog"), error) {
            Error::Damaged { .. } => Verdict::Damaged,
            Error::Machine { .. } => Verdict::Machine,
            Error::Locked { .. } => Verdict::Locked,
            other => panic!("{other:?}"),
        };
        assert_eq!(verdict, expected, "{shown}");
    }

    #[test]
    fn a_panic_is_damage_unless_the_machine_caused_it() {
        let panicking =
            |text: &'static str| contain(Path::new("catalog"), || -> ::sled::Result<()> { panic!("{text}") });
        assert!(matches!(panicking("tried to serialize Uninitialized"), Err(Error::Damaged { .. })));
        assert!(matches!(panicking("spawn: Os { code: 11, kind: WouldBlock }"), Err(Error::Machine { .. })));
    }

    #[test]
    fn what_does_not_open_in_time_is_stuck() {
        let (hold, held) = mpsc::channel::<()>();
        let work = move || {
            let _ = held.recv();
            Ok(())
        };
        let result = within(Duration::from_millis(10), Path::new("catalog"), work);
        assert!(matches!(result, Err(Error::Stuck { .. })));
        drop(hold);
    }
}
