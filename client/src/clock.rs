//! The clock: the only place of this crate that reads it.

use std::time::{SystemTime, UNIX_EPOCH};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

/// Milliseconds of a day.
pub const DAY_MS: u64 = 24 * 3600 * 1000;

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

/// Reads a moment: RFC 3339 (`2026-03-01T09:00:00+08:00`), or a date, whose first moment in China
/// Standard Time is meant.
#[must_use]
pub fn read_ms(text: &str) -> Option<u64> {
    let moment = match OffsetDateTime::parse(text, &Rfc3339) {
        Ok(moment) => moment,
        Err(_) => OffsetDateTime::parse(&format!("{text}T00:00:00+08:00"), &Rfc3339).ok()?,
    };
    u64::try_from(moment.unix_timestamp_nanos() / 1_000_000).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_come_back() {
        assert_eq!(read_ms("1970-01-02T00:00:00Z"), Some(DAY_MS));
        assert_eq!(read_ms("1970-01-02"), Some(DAY_MS - 8 * 3_600_000));
        assert_eq!(show_ms(DAY_MS), "1970-01-02T00:00:00Z");
        assert_eq!(show_ms(0), "");
        assert_eq!((read_ms("tomorrow"), read_ms("1969-12-31")), (None, None));
    }
}
