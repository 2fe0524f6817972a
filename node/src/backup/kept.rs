//! The names under which scheduled backups are kept.

/// `<cluster>-<time>-<revision>.meridian`. Newer ones are greater.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Kept {
    /// When it was taken, Unix milliseconds.
    pub(super) at_ms: u64,
    revision: u64,
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
        let ours = [Kept::new("acme", 1_763_769_600_000, 7), Kept::new("acme", 999, 1_000)];
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
}
