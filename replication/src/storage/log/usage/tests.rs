use super::*;

const MB: u64 = 1 << 20;

fn extent(first_index: u64, next_index: u64, end_offset: u64) -> Extent {
    Extent { first_index, next_index, end_offset, disk_bytes: 0 }
}

/// A log with one entry of `entry_bytes` after another.
fn uniform(entries: u64, entry_bytes: u64) -> LogUsage {
    let usage = LogUsage::default();
    usage.restore(extent(0, 0, 0), 0, std::iter::empty());
    for next in 1..=entries {
        usage.advance(extent(0, next, next * entry_bytes));
    }
    usage
}

#[test]
fn bytes_are_known_between_the_marks() {
    let usage = uniform(10_000, 1000);
    for index in [0, 1, 999, 5000, 9998, 9999, 20_000] {
        let real = 9999_u64.saturating_sub(index) * 1000;
        assert!(
            usage.bytes_since(index).abs_diff(real) <= 1000,
            "since {index}: {}",
            usage.bytes_since(index)
        );
    }
    assert_eq!(usage.stats().retained_bytes, 10_000_000);
    assert_eq!(usage.tail(9000).0, 1000);
}

#[test]
fn purging_and_truncating_move_the_ends() {
    let usage = uniform(100, MB);
    usage.advance(extent(40, 100, 100 * MB));
    assert_eq!(
        usage.stats(),
        LogStats { first_index: 40, last_index: Some(99), retained_bytes: 60 * MB, disk_bytes: 0 }
    );
    // Twenty entries are truncated; the record that says so is small.
    usage.advance(extent(40, 80, 100 * MB + 50));
    assert_eq!(usage.stats().last_index, Some(79));
    assert_eq!(usage.bytes_since(79), 0);
    assert_eq!(usage.bytes_since(78), 20 * MB + 50 + MB, "what was wasted counts for the last entry");
    // A snapshot replaces everything.
    usage.advance(extent(500, 500, 101 * MB));
    assert_eq!(usage.stats().retained_bytes, 0);
    usage.advance(extent(500, 501, 102 * MB));
    assert_eq!(usage.stats().retained_bytes, MB);
}

#[test]
fn memory_is_bounded() {
    let usage = uniform(5 * MAX_MARKS as u64, MB);
    assert!(usage.lock().marks.len() <= MAX_MARKS);
    let stride = usage.lock().stride_bytes;
    let real = (5 * MAX_MARKS as u64 - 1 - 7777) * MB;
    assert!(usage.bytes_since(7777).abs_diff(real) <= stride);
}

#[test]
fn a_new_log_has_nothing() {
    assert_eq!(LogUsage::default().stats(), LogStats::default());
    assert_eq!(LogUsage::default().bytes_since(0), 0);
}
