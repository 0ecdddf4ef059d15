//! Days of the city: a licence's dates are days of its calendar, blocks carry UTC milliseconds.

use crate::codes::dates::DAYS_BEFORE_UNIX;

/// China Standard Time, UTC+8, without summer time since 1991.
const OFFSET_MS: u64 = 8 * 3_600_000;
/// Milliseconds of a day.
pub const DAY_MS: u64 = 86_400_000;

/// The city's day at a moment, as items carry days: since 1900-01-01, plus one.
#[must_use]
pub fn of(time_ms: u64) -> u32 {
    u32::try_from(time_ms.saturating_add(OFFSET_MS) / DAY_MS + DAYS_BEFORE_UNIX + 1).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_day_begins_at_midnight_in_the_city() {
        assert_eq!(super::of(0), 25_568);
        assert_eq!(super::of(16 * 3_600_000 - 1), 25_568);
        assert_eq!(super::of(16 * 3_600_000), 25_569);
        assert_eq!(super::of(u64::MAX), u32::MAX);
    }
}
