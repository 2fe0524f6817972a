//! The two forms of each result: text for people, JSON for programs. Pure: golden tests hold every form.
//!
//! Field names of the JSON are a contract with scripts: they may be added, never changed.

mod access;
mod embed;
#[cfg(test)]
mod golden;
mod journal;
mod members;
mod outcome;
mod placement;
mod release;
mod service;
mod status;
mod table;

use std::borrow::Cow;
use std::io::{self, Write};

use meridian_client::proto::config::Format;
use serde::Serialize;

pub(crate) use access::{CreatedEnvironment, CreatedKey, CreatedProject, Keys, Projects, RevokedKey};
pub(crate) use journal::Journal;
pub(crate) use members::ChangedMembers;
pub(crate) use outcome::Outcome;
pub(crate) use placement::{Leader, Placement};
pub(crate) use release::{Change, ChangeKind, Diff, Document, History, Watched};
pub(crate) use service::{Goal, InService};
pub(crate) use status::{Members, Status};

/// A result. `Serialize` is its JSON form.
pub(crate) trait View: Serialize {
    /// Its text form, with line ends. Ages are relative to `now_ms`.
    fn text(&self, now_ms: u64, to: &mut dyn Write) -> io::Result<()>;
}

/// Text of others, with control characters made visible: a message in the history must not drive the terminal.
pub(crate) fn clean(text: &str) -> Cow<'_, str> {
    if !text.contains(char::is_control) {
        return Cow::Borrowed(text);
    }
    let escaped = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.to_string() };
    Cow::Owned(text.chars().map(escaped).collect())
}

/// How long ago, in one unit; `-` for never. The clocks of two machines differ a little: the future is now.
fn age(now_ms: u64, then_ms: u64) -> String {
    if then_ms == 0 {
        return "-".to_owned();
    }
    let seconds = now_ms.saturating_sub(then_ms) / 1_000;
    match seconds {
        0 => "now".to_owned(),
        1..120 => format!("{seconds}s ago"),
        120..7_200 => format!("{}m ago", seconds / 60),
        7_200..172_800 => format!("{}h ago", seconds / 3_600),
        _ => format!("{}d ago", seconds / 86_400),
    }
}

/// A length of time in one unit, with a decimal where it is short.
pub(crate) fn span(ms: u64) -> String {
    match ms {
        0..10_000 => format!("{}.{}s", ms / 1_000, ms / 100 % 10),
        10_000..120_000 => format!("{}s", ms / 1_000),
        120_000..7_200_000 => format!("{}m", ms / 60_000),
        7_200_000..172_800_000 => format!("{}h", ms / 3_600_000),
        _ => format!("{}d", ms / 86_400_000),
    }
}

/// A size with three digits at most.
fn size(bytes: u64) -> String {
    match bytes {
        0..1_000 => format!("{bytes} B"),
        1_000..1_000_000 => format!("{} KB", bytes / 1_000),
        _ => format!("{}.{} MB", bytes / 1_000_000, bytes / 100_000 % 10),
    }
}

/// The beginning of a digest: enough to tell two apart.
fn short(digest: &str) -> &str {
    digest.get(..12).unwrap_or(digest)
}

fn format_name(format: i32) -> &'static str {
    match Format::try_from(format) {
        Ok(Format::Json) => "json",
        Ok(Format::Statsig) => "statsig",
        Ok(Format::Flagd) => "flagd",
        Ok(Format::Unspecified) | Err(_) => "unknown",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_have_one_unit() {
        let now = 1_000_000_000_000;
        for (ms_ago, shown) in [
            (0, "now"),
            (999, "now"),
            (1_000, "1s ago"),
            (119_999, "119s ago"),
            (120_000, "2m ago"),
            (7_200_000, "2h ago"),
            (172_800_000, "2d ago"),
        ] {
            assert_eq!(age(now, now - ms_ago), shown);
        }
        assert_eq!(age(now, now + 5_000), "now", "a clock that is ahead");
        assert_eq!(age(now, 0), "-");
    }

    #[test]
    fn spans_have_one_unit() {
        for (ms, shown) in [
            (0, "0.0s"),
            (1_249, "1.2s"),
            (10_000, "10s"),
            (120_000, "2m"),
            (7_200_000, "2h"),
            (172_800_000, "2d"),
        ] {
            assert_eq!(span(ms), shown);
        }
    }

    #[test]
    fn sizes_are_short() {
        for (bytes, shown) in [(0, "0 B"), (999, "999 B"), (430_123, "430 KB"), (4_190_000, "4.1 MB")] {
            assert_eq!(size(bytes), shown);
        }
    }

    #[test]
    fn control_characters_are_shown_not_sent() {
        assert_eq!(clean("plain ä"), "plain ä");
        assert_eq!(clean("a\u{1b}[31mb\nc"), "a\\u{1b}[31mb\\nc");
    }
}
