//! The operator's commands, and what they answer.

use std::process::Output;

use serde_json::Value;

use super::process::command;

/// A command that has ended.
#[derive(Debug)]
pub(crate) struct Ran {
    #[expect(dead_code, reason = "shown by Debug when a test fails")]
    line: String,
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Runs `meridian` with these words.
pub(crate) fn meridian(line: &[&str]) -> Ran {
    meridian_with(&[], line)
}

/// Runs `meridian` with these variables and words.
pub(crate) fn meridian_with(variables: &[(&str, &str)], line: &[&str]) -> Ran {
    let Output { status, stdout, stderr } =
        command().args(line).envs(variables.iter().copied()).output().unwrap();
    Ran {
        line: line.join(" "),
        code: status.code().expect("no signal ended it"),
        stdout: String::from_utf8(stdout).unwrap(),
        stderr: String::from_utf8_lossy(&stderr).into_owned(),
    }
}

impl Ran {
    /// Its stdout; it must have succeeded.
    #[track_caller]
    pub(crate) fn ok(self) -> String {
        assert_eq!(self.code, 0, "{self:#?}");
        self.stdout
    }

    /// Its one line of JSON; it must have succeeded.
    #[track_caller]
    pub(crate) fn json(self) -> Value {
        let stdout = self.ok();
        assert_eq!(stdout.lines().count(), 1, "{stdout}");
        serde_json::from_str(&stdout).unwrap()
    }

    /// It must have failed like this, told why on stderr, and printed no result.
    #[track_caller]
    pub(crate) fn fails(self, code: i32, parts: &[&str]) -> String {
        assert_eq!(self.code, code, "{self:#?}");
        assert_eq!(self.stdout, "", "{self:#?}");
        for part in parts {
            assert!(self.stderr.contains(part), "{part:?} is not told: {self:#?}");
        }
        assert!(!self.stderr.contains("panicked"), "{self:#?}");
        self.stderr
    }
}
