//! What the operating system says of this process. Linux tells in `/proc`; elsewhere nothing is known.

use std::fs;

/// This process, at one instant.
pub(super) struct Process {
    pub(super) resident_bytes: u64,
    pub(super) open_descriptors: u64,
}

impl Process {
    /// `None` where the system does not tell.
    pub(super) fn read() -> Option<Self> {
        let status = fs::read_to_string("/proc/self/status").ok()?;
        let descriptors = fs::read_dir("/proc/self/fd").ok()?.count() as u64;
        Some(Self { resident_bytes: resident_bytes(&status)?, open_descriptors: descriptors })
    }
}

/// From a line such as `VmRSS:      1234 kB`.
fn resident_bytes(status: &str) -> Option<u64> {
    let rest = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = rest.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1_024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_memory_is_found_among_other_lines() {
        for (status, expected) in [
            ("Name:\tmeridian\nVmRSS:\t   1234 kB\nThreads:\t9\n", Some(1_263_616)),
            ("Name:\tmeridian\n", None),
            ("VmRSS:\t-1 kB\n", None),
            ("VmRSS:\t99999999999999999999 kB\n", None),
            ("VmRSS:\t18446744073709551615 kB\n", None),
        ] {
            assert_eq!(resident_bytes(status), expected, "{status:?}");
        }
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn linux_tells() {
        assert!(Process::read().is_some_and(|it| it.resident_bytes > 0 && it.open_descriptors > 2));
    }
}
