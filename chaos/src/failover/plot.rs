//! The times of a run as a picture: a line for each profile and fault, a dot for each fault, and the bounds.

use std::fmt::Write as _;

use super::Row;

const WIDTH: f64 = 960.0;
const LEFT: f64 = 150.0;
const RIGHT: f64 = 30.0;
const TOP: f64 = 60.0;
const LANE: f64 = 74.0;
const BOTTOM: f64 = 60.0;

/// Dots of one line are spread over so many levels, so that equal times can be told apart.
const LEVELS: usize = 7;

/// An SVG that stands alone.
pub(super) fn svg(rows: &[Row]) -> String {
    let times = rows.iter().flat_map(|row| row.times_ms.iter().copied());
    let bounds = rows.iter().flat_map(|row| row.targets.iter().map(|target| target.below_ms()));
    let longest = times.chain(bounds).fold(100.0, f64::max);
    let step = step(longest);
    let end = (longest / step).ceil() * step;
    let x = |ms: f64| LEFT + ms / end * (WIDTH - LEFT - RIGHT);
    let height = TOP + LANE * rows.len() as f64 + BOTTOM;
    let floor = height - BOTTOM;

    let mut svg = format!(
        r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" font-size="13">
<rect width="100%" height="100%" fill="#fff"/>
<text x="{LEFT}" y="28" font-size="17">Leader gone: time to the next acknowledged publish</text>
"##
    );
    let mut line = |text: std::fmt::Arguments<'_>| {
        svg.write_fmt(text).and_then(|()| svg.write_str("\n")).expect("writing to a string does not fail");
    };
    let mut tick = 0.0;
    while tick <= end {
        let at = x(tick);
        line(format_args!(r##"<path d="M{at:.1} {TOP}V{floor}" stroke="#ddd"/>"##));
        line(format_args!(r##"<text x="{at:.1}" y="{}" text-anchor="middle">{tick}</text>"##, floor + 20.0));
        tick += step;
    }
    line(format_args!(
        r##"<text x="{}" y="{}" text-anchor="middle">milliseconds</text>"##,
        x(end / 2.0),
        floor + 42.0
    ));

    for (index, row) in rows.iter().enumerate() {
        let top = TOP + LANE * index as f64;
        let middle = top + LANE / 2.0;
        let (name, fault, count) = (row.profile.name(), row.fault.name(), row.times_ms.len());
        line(format_args!(
            r##"<text x="{}" y="{}" text-anchor="end">{name} · {fault}</text>"##,
            LEFT - 12.0,
            middle
        ));
        line(format_args!(
            r##"<text x="{}" y="{}" text-anchor="end" fill="#777" font-size="11">{count} times</text>"##,
            LEFT - 12.0,
            middle + 16.0
        ));
        for (number, ms) in row.times_ms.iter().enumerate() {
            let y = top + 14.0 + (number % LEVELS) as f64 * (LANE - 28.0) / (LEVELS - 1) as f64;
            line(format_args!(
                r##"<circle cx="{:.1}" cy="{y:.1}" r="3.2" fill="#2563eb" fill-opacity=".45"/>"##,
                x(*ms)
            ));
        }
        let median = x(row.figures.p50_ms);
        line(format_args!(
            r##"<path d="M{median:.1} {}v{}" stroke="#111" stroke-width="2"><title>median</title></path>"##,
            top + 8.0,
            LANE - 16.0
        ));
        for target in &row.targets {
            let at = x(target.below_ms());
            line(format_args!(
                r##"<path d="M{at:.1} {}v{}" stroke="#dc2626" stroke-dasharray="5 3"/>"##,
                top + 4.0,
                LANE - 8.0
            ));
            line(format_args!(
                r##"<text x="{:.1}" y="{}" fill="#dc2626" font-size="10" text-anchor="end">{}</text>"##,
                at - 4.0,
                top + 12.0,
                target.to_string().replace('<', "&lt;")
            ));
        }
    }
    svg + "</svg>\n"
}

/// A round distance between ticks, of which there are five to ten.
fn step(longest: f64) -> f64 {
    let magnitude = 10f64.powf((longest / 5.0).log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0].map(|factor| factor * magnitude);
    steps.into_iter().find(|step| longest / step <= 10.0).unwrap_or(10.0 * magnitude)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_few() {
        for (longest, expected) in
            [(100.0, 10.0), (300.0, 50.0), (1_000.0, 100.0), (2_000.0, 200.0), (2_100.0, 500.0)]
        {
            assert_eq!(step(longest), expected, "{longest}");
        }
    }
}
