//! The clock: the only place of this crate that reads it.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use vermilion_registry::codes::dates;

/// Milliseconds of a day.
pub const DAY_MS: u64 = 24 * 3600 * 1000;

/// The longest time that anybody is asked to wait, in seconds: a year. More is a slip of the keyboard, and an instant that lies
/// too far ahead cannot be told.
pub const LONGEST_WAIT_S: u64 = 365 * 24 * 3600;

/// When patience ends that begins now: none lasts longer than [`LONGEST_WAIT_S`].
#[must_use]
pub fn until(patience: Duration) -> Instant {
    Instant::now() + patience.min(Duration::from_secs(LONGEST_WAIT_S))
}

/// Now, in Unix milliseconds.
#[must_use]
pub fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX))
}

/// A moment for people and scripts: RFC 3339 in UTC, to the second. Empty for 0, which means "none".
#[must_use]
pub fn show_ms(ms: u64) -> String {
    if ms == 0 {
        return String::new();
    }
    let seconds = i64::try_from(ms / 1000).unwrap_or(i64::MAX);
    OffsetDateTime::from_unix_timestamp(seconds).ok().and_then(|t| t.format(&Rfc3339).ok()).unwrap_or_else(|| ms.to_string())
}

/// A day as licences carry them (since 1900-01-01, plus one) for people and scripts: `2026-03-01`. Empty
/// for 0, which means "none".
#[must_use]
pub fn show_day(day: u32) -> String {
    dates::from_day(day).map(dates::format).unwrap_or_default()
}

/// Reads a moment: RFC 3339 (`2026-03-01T09:00:00+08:00`), or a date, whose first moment in China
/// Standard Time is meant.
#[must_use]
pub fn read_ms(text: &str) -> Option<u64> {
    dates::moment_ms(text)
}

/// Whether a text is a moment before 1970, which has no number here.
#[must_use]
pub fn is_before_1970(text: &str) -> bool {
    dates::moment(text).is_some_and(|moment| moment.unix_timestamp_nanos() < 0)
}

/// Reads a length of time: a number and `s`, `m`, `h` or `d`. In milliseconds.
pub fn read_length(text: &str) -> Result<u64, String> {
    let wrong = || format!("{text:?} is no length of time: write 90s, 15m, 24h or 7d");
    let (number, unit) = text.split_at_checked(text.len().saturating_sub(1)).ok_or_else(wrong)?;
    let unit_ms = match unit {
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => DAY_MS,
        _ => return Err(wrong()),
    };
    number.parse::<u32>().map(|n| u64::from(n) * unit_ms).map_err(|_| wrong())
}

/// A length of time for people, in its largest whole unit.
#[must_use]
pub fn show_length(ms: u64) -> String {
    match ms / 1000 {
        s if s < 120 => format!("{s} s"),
        s if s < 7200 => format!("{} min", s / 60),
        s if s < 172_800 => format!("{} h", s / 3600),
        s => format!("{} d", s / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_read_and_shown() {
        let read = |text| read_length(text).ok();
        assert_eq!((read("90s"), read("15m"), read("24h"), read("7d")), (Some(90_000), Some(900_000), Some(DAY_MS), Some(7 * DAY_MS)));
        for text in ["", "h", "24", "1.5h", "-1h", "24 h", "5000000000d", "1日"] {
            assert!(read_length(text).is_err(), "{text}");
        }
        assert_eq!(show_length(119_999), "119 s");
        assert_eq!([show_length(7_100_000), show_length(DAY_MS), show_length(3 * DAY_MS)], ["118 min", "24 h", "3 d"]);
    }

    #[test]
    fn moments_come_back() {
        assert_eq!(read_ms("1970-01-02T00:00:00Z"), Some(DAY_MS));
        assert_eq!(read_ms("1970-01-02"), Some(DAY_MS - 8 * 3_600_000));
        assert_eq!(show_ms(DAY_MS), "1970-01-02T00:00:00Z");
        assert_eq!(show_ms(0), "");
        assert_eq!((show_day(25_568).as_str(), show_day(0).as_str()), ("1970-01-01", ""));
        assert_eq!((read_ms("tomorrow"), read_ms("1969-12-31")), (None, None));
        assert_eq!(["tomorrow", "1900-01-01", "1970-01-02"].map(is_before_1970), [false, true, false]);
    }
}
