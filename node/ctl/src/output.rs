//! The only way out: results to stdout, notes and problems to stderr.
//!
//! A reader that closes the pipe has had enough: that is [`Closed`], which ends a command and is no failure.

use std::io::{self, ErrorKind, Write};
use std::time::SystemTime;

use crate::args::OutputFormat;
use crate::exit;
use crate::problem::Problem;
use crate::view::View;

/// Where results go.
#[derive(Clone, Copy)]
pub(crate) struct Output {
    format: OutputFormat,
}

/// Why nothing more can be written.
pub(crate) enum Closed {
    /// The reader went away.
    ByReader,
    /// The disk is full, or the like.
    ByError(io::Error),
}

impl Output {
    pub(crate) fn new(format: OutputFormat) -> Self {
        Self { format }
    }

    /// One result, in the form that was asked for.
    pub(crate) fn show(self, view: &impl View) -> Result<(), Closed> {
        let mut stdout = io::stdout().lock();
        write_view(view, self.format, now_ms(), &mut stdout)
            .and_then(|()| stdout.flush())
            .map_err(Closed::from)
    }

    /// Something for people that is no result.
    pub(crate) fn note(self, text: &str) {
        if self.format == OutputFormat::Text {
            // Nobody is left to be told when stderr is closed.
            let _ = writeln!(io::stderr().lock(), "{text}");
        }
    }

    /// Tells what went wrong. The answer is the exit code.
    pub(crate) fn problem(self, problem: &Problem) -> u8 {
        let text = match self.format {
            OutputFormat::Text => problem.text(),
            OutputFormat::Json => problem.json(),
        };
        let _ = writeln!(io::stderr().lock(), "{text}");
        problem.exit_code()
    }

    /// The exit code when results can no longer be written.
    pub(crate) fn closed(self, closed: Closed) -> u8 {
        match closed {
            Closed::ByReader => exit::OK,
            Closed::ByError(error) => {
                self.problem(&Problem::local(format!("cannot write the result: {error}")))
            }
        }
    }
}

impl From<io::Error> for Closed {
    fn from(error: io::Error) -> Self {
        if error.kind() == ErrorKind::BrokenPipe { Self::ByReader } else { Self::ByError(error) }
    }
}

/// Writes a view in one of its forms.
pub(crate) fn write_view(
    view: &impl View,
    format: OutputFormat,
    now_ms: u64,
    to: &mut impl Write,
) -> io::Result<()> {
    match format {
        OutputFormat::Text => view.text(now_ms, to),
        OutputFormat::Json => {
            serde_json::to_writer(&mut *to, view)?;
            to.write_all(b"\n")
        }
    }
}

fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}
