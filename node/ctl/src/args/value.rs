//! Values of flags that are no names.

use std::convert::Infallible;
use std::time::Duration;

use meridian_client::Secret;

const HOUR_MS: u64 = 3_600_000;
const DAY_MS: u64 = 24 * HOUR_MS;

#[allow(clippy::unnecessary_wraps)] // the shape of a value parser
pub(super) fn secret(text: &str) -> Result<Secret, Infallible> {
    Ok(text.into())
}

/// A time with its unit, between 1 ms and 1 h.
pub(super) fn up_to_an_hour(text: &str) -> Result<Duration, String> {
    time(text, HOUR_MS)
        .ok_or_else(|| "write a number and ms, s or m, at most one hour: 10s, 500ms, 2m".to_owned())
}

/// A time with its unit, between 1 ms and 24 h.
pub(super) fn up_to_a_day(text: &str) -> Result<Duration, String> {
    time(text, DAY_MS)
        .ok_or_else(|| "write a number and ms, s, m or h, at most one day: 5s, 500ms, 2m, 1h".to_owned())
}

fn time(text: &str, most_ms: u64) -> Option<Duration> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor_ms = match unit {
        "ms" => 1,
        "s" | "" => 1_000,
        "m" => 60_000,
        "h" => HOUR_MS,
        _ => return None,
    };
    let ms = number.parse::<u64>().ok()?.checked_mul(factor_ms)?;
    (1..=most_ms).contains(&ms).then(|| Duration::from_millis(ms))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_units() {
        for (text, ms) in [("10s", 10_000), ("7", 7_000), ("250ms", 250), ("2m", 120_000), ("1h", HOUR_MS)] {
            assert_eq!(up_to_an_hour(text), Ok(Duration::from_millis(ms)), "{text}");
            assert_eq!(up_to_a_day(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        assert_eq!(up_to_a_day("24h"), Ok(Duration::from_millis(DAY_MS)));
    }

    #[test]
    fn no_time_at_all_and_too_much_of_it_are_refused() {
        for text in ["0", "0ms", "61m", "2h", "-1s", "1d", "s", "", "99999999999999999999m"] {
            assert!(up_to_an_hour(text).is_err(), "{text}");
        }
        assert!(up_to_a_day("25h").is_err());
    }
}
