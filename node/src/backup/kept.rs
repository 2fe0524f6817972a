//! The names under which scheduled backups are kept.

use std::time::Duration;

/// `<cluster>-<time>-<revision>.meridian`. Newer ones are greater, and what is newer is decided by the revision, which
/// only rises; the time is what some node's clock said.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Kept {
    revision: u64,
    /// When it was taken, Unix milliseconds.
    at_ms: u64,
    cluster_id: String,
}

const SUFFIX: &str = ".meridian";

impl Kept {
    pub(super) fn new(cluster_id: &str, at_ms: u64, revision: u64) -> Self {
        Self { at_ms, revision, cluster_id: cluster_id.to_owned() }
    }

    /// The backups of this cluster among these names, oldest first. Names of anything else are passed over: what is not
    /// ours is never removed.
    pub(super) fn among(names: &[String], cluster_id: &str) -> Vec<Self> {
        let mut kept: Vec<Self> = names.iter().filter_map(|name| Self::parse(name, cluster_id)).collect();
        kept.sort();
        kept
    }

    /// Whether none of these is younger than `interval`. One from the future was taken by a clock that was wrong, and
    /// says nothing.
    pub(super) fn is_next_due(kept: &[Self], now_ms: u64, interval: Duration) -> bool {
        let mut ages_ms = kept.iter().filter_map(|kept| now_ms.checked_sub(kept.at_ms));
        ages_ms.all(|age_ms| Duration::from_millis(age_ms) >= interval)
    }

    /// Those to remove so that `keep` are left, oldest first; never the one just `written`, however it compares.
    pub(super) fn surplus(mut kept: Vec<Self>, written: &Self, keep: usize) -> Vec<Self> {
        kept.retain(|kept| kept != written);
        kept.sort();
        kept.truncate((kept.len() + 1).saturating_sub(keep));
        kept
    }

    /// Takes exactly what [`Kept::name`] gives.
    fn parse(name: &str, cluster_id: &str) -> Option<Self> {
        let rest = name.strip_prefix(cluster_id)?.strip_prefix('-')?.strip_suffix(SUFFIX)?;
        let (at_ms, revision) = rest.split_once('-')?;
        let kept = Self::new(cluster_id, at_ms.parse().ok()?, revision.parse().ok()?);
        (kept.name() == name).then_some(kept)
    }

    pub(super) fn name(&self) -> String {
        // Thirteen digits last until the year 2286.
        format!("{}-{:013}-{}{SUFFIX}", self.cluster_id, self.at_ms, self.revision)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_this_cluster_are_ours_oldest_first() {
        let ours = [Kept::new("acme", 1_763_769_600_000, 7), Kept::new("acme", 999, 6)];
        let mut names: Vec<String> = ours.iter().map(Kept::name).collect();
        assert_eq!(names[0], "acme-1763769600000-7.meridian");
        for other in [
            "acme-eu-1763769600000-7.meridian",
            "other-1763769600000-7.meridian",
            "acme-1763769600000-7.meridian.tmp",
            "acme-1763769600000-07.meridian",
            "acme-1763769600000.meridian",
            "notes.txt",
        ] {
            names.push(other.to_owned());
        }
        let [newer, older] = ours;
        assert_eq!(Kept::among(&names, "acme"), [older, newer]);
        assert_eq!(Kept::among(&names, "acme-eu"), [Kept::new("acme-eu", 1_763_769_600_000, 7)]);
    }

    #[test]
    fn the_next_is_due_by_the_newest_that_is_not_from_the_future() {
        const HOUR: Duration = Duration::from_secs(3_600);
        let check = |taken_at_ms: &[u64], now_ms, due| {
            let kept: Vec<Kept> = taken_at_ms.iter().map(|at_ms| Kept::new("acme", *at_ms, 7)).collect();
            assert_eq!(Kept::is_next_due(&kept, now_ms, HOUR), due, "{taken_at_ms:?} at {now_ms}");
        };
        check(&[], 0, true);
        check(&[10_000_000], 13_599_999, false);
        check(&[10_000_000], 13_600_000, true);
        // A leader whose clock was ahead left one behind.
        check(&[10_000_000, 17_200_000], 13_599_999, false);
        check(&[10_000_000, 17_200_000], 13_600_000, true);
        // The clock was set back behind all of them; then one was taken.
        check(&[10_000_000, 13_600_000], 9_000_000, true);
        check(&[10_000_000, 13_600_000, 9_000_000], 9_000_001, false);
    }

    #[test]
    fn the_oldest_by_revision_go_and_what_was_just_written_stays() {
        // Times and revisions.
        let check = |before: &[(u64, u64)], written: (u64, u64), keep, removed: &[(u64, u64)]| {
            let named = |(at_ms, revision): &(u64, u64)| Kept::new("acme", *at_ms, *revision);
            let written = named(&written);
            let kept = before.iter().map(named).chain([written.clone()]).collect();
            let removed: Vec<Kept> = removed.iter().map(named).collect();
            assert_eq!(Kept::surplus(kept, &written, keep), removed, "{before:?}, {written:?}, {keep}");
        };
        check(&[], (100, 1), 1, &[]);
        check(&[(100, 1)], (200, 2), 2, &[]);
        check(&[(100, 1)], (200, 2), 1, &[(100, 1)]);
        // One from the future is as old as its revision.
        check(&[(100, 1), (900, 2), (200, 3)], (300, 4), 3, &[(100, 1)]);
        check(&[(900, 2), (200, 3), (300, 4)], (400, 5), 3, &[(900, 2)]);
        // The clock was set back, in a cluster in which nothing changes, and in one restored from before.
        check(&[(900, 2)], (300, 2), 1, &[(900, 2)]);
        check(&[(800, 8), (900, 9)], (300, 3), 2, &[(800, 8)]);
        // Two leaders at once, and `keep` made smaller.
        check(&[(100, 1), (200, 2), (300, 4)], (300, 3), 2, &[(100, 1), (200, 2)]);
    }
}
