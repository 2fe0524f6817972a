//! What a run comes to: each promise with its answer, and the numbers beside it.

use std::fmt::{self, Write as _};

use serde::Serialize;

/// Breaches of one promise that are told in full; all are counted.
const TOLD: usize = 20;

/// One promise, and whether it was kept.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Check {
    pub(crate) promise: &'static str,
    pub(crate) kept: bool,
    /// How often it was broken.
    pub(crate) breaches: usize,
    /// The first of them.
    pub(crate) told: Vec<String>,
}

/// The answer of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Every promise was kept, under everything the run was to do.
    Pass,
    /// A promise was broken.
    Fail,
    /// No promise was seen broken, but the run did not do what it was to do. Never a pass.
    Inconclusive,
}

impl Check {
    /// Kept if there is no breach.
    pub(crate) fn new(promise: &'static str, breaches: impl IntoIterator<Item = impl fmt::Display>) -> Self {
        let mut told = Vec::new();
        let mut count = 0;
        for breach in breaches {
            count += 1;
            if told.len() < TOLD {
                told.push(breach.to_string());
            }
        }
        Self { promise, kept: count == 0, breaches: count, told }
    }

    /// The same, where breaches were counted and only the first of them written down.
    pub(crate) fn counted(promise: &'static str, breaches: u64, first: &[String]) -> Self {
        let told = first.iter().take(TOLD).cloned().collect();
        Self { promise, kept: breaches == 0, breaches: usize::try_from(breaches).unwrap_or(usize::MAX), told }
    }
}

impl Verdict {
    /// `shortfalls`: what the run did not do.
    pub(crate) fn of(checks: &[Check], shortfalls: &[String]) -> Self {
        match (checks.iter().all(|check| check.kept), shortfalls.is_empty()) {
            (false, _) => Self::Fail,
            (true, false) => Self::Inconclusive,
            (true, true) => Self::Pass,
        }
    }

    /// 0 pass, 1 fail, 2 inconclusive.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Pass => 0,
            Self::Fail => 1,
            Self::Inconclusive => 2,
        }
    }
}

/// The lines a person reads.
pub(crate) fn text(verdict: Verdict, checks: &[Check], shortfalls: &[String]) -> String {
    let mut text = String::new();
    for check in checks {
        let answer = if check.kept { "kept  " } else { "BROKEN" };
        let _ = writeln!(text, "  {answer}  {}", check.promise);
        for breach in &check.told {
            let _ = writeln!(text, "            {}", breach.replace('\n', "\n            "));
        }
        if check.breaches > check.told.len() {
            let _ = writeln!(text, "            and {} more", check.breaches - check.told.len());
        }
    }
    for shortfall in shortfalls {
        let _ = writeln!(text, "  SHORT   {shortfall}");
    }
    let answer = match verdict {
        Verdict::Pass => "PASS",
        Verdict::Fail => "FAIL",
        Verdict::Inconclusive => "INCONCLUSIVE",
    };
    let _ = write!(text, "{answer}");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_that_did_too_little_never_passes() {
        let kept = Check::new("kept", [""; 0]);
        let broken = Check::new("broken", ["because"]);
        let short = ["1 of 2 kills".to_owned()];
        for (checks, shortfalls, verdict) in [
            (vec![kept.clone()], &short[..0], Verdict::Pass),
            (vec![kept.clone()], &short[..], Verdict::Inconclusive),
            (vec![kept.clone(), broken.clone()], &short[..0], Verdict::Fail),
            (vec![kept, broken], &short[..], Verdict::Fail),
        ] {
            assert_eq!(Verdict::of(&checks, shortfalls), verdict);
            assert!(text(verdict, &checks, shortfalls).contains(match verdict {
                Verdict::Pass => "PASS",
                Verdict::Fail => "because",
                Verdict::Inconclusive => "1 of 2 kills",
            }));
        }
    }
}
