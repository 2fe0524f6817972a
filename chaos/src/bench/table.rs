//! The result for people.

use std::fmt::Write as _;

use serde_json::Value;

use super::{Point, Report, Row, median};

/// All figures are medians over the rounds.
pub(super) fn text(report: &Report) -> String {
    let mut text = format!(
        "publishing {} bytes, three processes on loopback, durable; medians of {} rounds of {} s\n\n",
        report.size_bytes,
        report.rows.first().map_or(0, |row| row.meridian.len()),
        report.seconds
    );
    let _ = writeln!(
        text,
        "{:<10}{:>10}{:>12}{:>10}{:>10}{:>9}",
        "in flight", "", "rate /s", "p50 ms", "p99 ms", "errors"
    );
    for Row { in_flight, meridian, etcd, ratio } in &report.rows {
        line(&mut text, &in_flight.to_string(), "meridian", meridian);
        if !etcd.is_empty() {
            line(&mut text, "", "etcd", etcd);
        }
        if let Some(ratio) = ratio {
            let _ = writeln!(text, "{:<10}{:>10}{ratio:>12.2}", "", "ratio");
        }
    }
    if let Some(why) = &report.skipped {
        let _ = writeln!(text, "SKIPPED: comparison with etcd: {why}");
    }
    let number = |value: &Value| value.as_f64().unwrap_or(f64::NAN);
    let _ = writeln!(text, "\npublish to pushed, one in flight:");
    for (region, pushed) in report.pushed["pushed"].as_object().into_iter().flatten() {
        let _ = writeln!(
            text,
            "  {region}: p50 {:.1} ms, p99 {:.1} ms ({} times)",
            number(&pushed["p50_ms"]),
            number(&pushed["p99_ms"]),
            pushed["count"]
        );
    }
    let (mix, large) = (&report.mix, &report.mix["large"]);
    let _ = writeln!(text, "\nbeside one stream of {} bytes, which hardly compress:", large["size_bytes"]);
    let _ = writeln!(
        text,
        "  {} small in flight: {:.0}/s, p50 {:.1} ms, p99 {:.1} ms, max {:.1} ms",
        mix["clients"],
        number(&mix["rate_per_s"]),
        number(&mix["p50_ms"]),
        number(&mix["p99_ms"]),
        number(&mix["max_ms"])
    );
    let _ = writeln!(
        text,
        "  large: {:.1}/s, p50 {:.0} ms, p99 {:.0} ms",
        number(&large["rate_per_s"]),
        number(&large["p50_ms"]),
        number(&large["p99_ms"])
    );
    let _ = write!(text, "  elections meanwhile: {}", mix["terms_begun"]);
    text
}

fn line(text: &mut String, in_flight: &str, who: &str, points: &[Point]) {
    let of = |field: fn(&Point) -> f64| median(points.iter().map(field)).unwrap_or(f64::NAN);
    let _ = writeln!(
        text,
        "{in_flight:<10}{who:>10}{:>12.0}{:>10.2}{:>10.2}{:>9}",
        of(|point| point.rate_per_s),
        of(|point| point.p50_ms),
        of(|point| point.p99_ms),
        points.iter().map(|point| point.errors).sum::<u64>()
    );
}
