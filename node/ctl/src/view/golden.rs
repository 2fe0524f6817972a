//! Holds both forms of a view to what they must be.

#![allow(clippy::unwrap_used)]

use super::View;
use crate::args::OutputFormat;
use crate::output::write_view;

/// 20,000 days after 1970.
pub(super) const NOW_MS: u64 = 20_000 * 86_400_000;

/// Both forms, to the byte; `json` without its line end.
pub(super) fn check(view: &impl View, text: &str, json: &str) {
    let written = |format| {
        let mut bytes = Vec::new();
        write_view(view, format, NOW_MS, &mut bytes).unwrap();
        String::from_utf8(bytes).unwrap()
    };
    assert_eq!(written(OutputFormat::Text), text);
    assert_eq!(written(OutputFormat::Json), format!("{json}\n"));
}
