//! Calendar dates: text in rows (`2025-06-01`, `长期`), numbers in items.
//!
//! An item carries a date as its day since 1900-01-01 plus one, so that 0 means absent
//! (`command.proto`, `LicenceItem`). 1900, not 1970: stock (存量) goes back before Unix does.

use time::format_description::well_known::Rfc3339;
use time::{Date, Month, OffsetDateTime};

/// What stands in a row for "without term".
pub const LONG_TERM: &str = "长期";
/// Julian day of 1900-01-01.
const EPOCH: i32 = 2_415_021;
/// The last year that a date here has.
const LAST_YEAR: i32 = 9999;
/// Days from 1900-01-01 to 1970-01-01, where Unix time begins.
pub const DAYS_BEFORE_UNIX: u64 = 25_567;

/// The end of a licence's term.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Expiry {
    /// The last day.
    On(Date),
    /// Without term (长期).
    NoTerm,
}

/// The date of exactly `YYYY-MM-DD`, years 1000 to 9999. `None` for anything else, such as the
/// 30th of February.
#[must_use]
pub fn parse(text: &str) -> Option<Date> {
    let bytes = text.as_bytes();
    if bytes.len() != 10 || bytes[4] != b'-' || bytes[7] != b'-' || bytes[0] == b'0' {
        return None;
    }
    from_digits(&bytes[..4], &bytes[5..7], &bytes[8..])
}

/// The date of exactly `YYYYMMDD`, as it stands in identity numbers.
#[must_use]
pub fn parse_compact(text: &str) -> Option<Date> {
    let bytes = text.as_bytes();
    if bytes.len() != 8 {
        return None;
    }
    from_digits(&bytes[..4], &bytes[4..6], &bytes[6..])
}

fn from_digits(year: &[u8], month: &[u8], day: &[u8]) -> Option<Date> {
    let month = Month::try_from(u8::try_from(number(month)?).ok()?).ok()?;
    Date::from_calendar_date(i32::from(number(year)?), month, u8::try_from(number(day)?).ok()?).ok()
}

fn number(digits: &[u8]) -> Option<u16> {
    digits.iter().try_fold(0u16, |n, d| d.is_ascii_digit().then(|| n * 10 + u16::from(d - b'0')))
}

/// Reads a moment: RFC 3339 (`2026-03-01T09:00:00+08:00`), or a date, whose first moment in China Standard Time
/// is meant.
#[must_use]
pub fn moment(text: &str) -> Option<OffsetDateTime> {
    let date = || OffsetDateTime::parse(&format!("{text}T00:00:00+08:00"), &Rfc3339).ok();
    OffsetDateTime::parse(text, &Rfc3339).ok().or_else(date)
}

/// A [`moment`] in Unix milliseconds; `None` before 1970 too.
#[must_use]
pub fn moment_ms(text: &str) -> Option<u64> {
    u64::try_from(moment(text)?.unix_timestamp_nanos() / 1_000_000).ok()
}

/// The end of a term: a date, or 长期.
#[must_use]
pub fn parse_expiry(text: &str) -> Option<Expiry> {
    if text == LONG_TERM { Some(Expiry::NoTerm) } else { parse(text).map(Expiry::On) }
}

/// The text that [`parse`] reads.
#[must_use]
pub fn format(date: Date) -> String {
    format!("{:04}-{:02}-{:02}", date.year(), u8::from(date.month()), date.day())
}

/// A date as an item carries it: day since 1900-01-01, plus one. `None` before 1900.
#[must_use]
pub fn to_day(date: Date) -> Option<u32> {
    u32::try_from(date.to_julian_day() - EPOCH + 1).ok().filter(|day| *day > 0)
}

/// The date that an item carries; `None` for 0 and for what is beyond the year 9999.
#[must_use]
pub fn from_day(day: u32) -> Option<Date> {
    let day = i32::try_from(day).ok().filter(|day| *day > 0)?;
    // The library's own last year is a feature that any crate of the build may switch on.
    Date::from_julian_day(day.checked_add(EPOCH - 1)?).ok().filter(|date| date.year() <= LAST_YEAR)
}

/// The corresponding day `years` later. Where there is none (29 February) it is the month's last
/// day: Civil Code of the PRC, article 202.
#[must_use]
pub fn add_years(date: Date, years: u32) -> Option<Date> {
    let year = date.year().checked_add(i32::try_from(years).ok()?)?;
    if year > LAST_YEAR {
        return None;
    }
    let day = date.day().min(date.month().length(year));
    Date::from_calendar_date(year, date.month(), day).ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn impossible_dates_are_none() {
        for text in [
            "2025-02-30",
            "2025-2-3",
            "1900-02-29",
            "2025-13-01",
            "2025-00-10",
            "2025-01-00",
            "soon",
            "",
            "长期",
            "2025-01-01 ",
            "+025-01-01",
            "0999-01-01",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
        assert!(parse("1896-02-29").is_some());
        assert_eq!(parse_expiry("长期"), Some(Expiry::NoTerm));
        assert_eq!(parse_compact("19000229"), None);
    }

    #[test]
    fn the_epoch_is_day_one() {
        assert_eq!(parse("1900-01-01").and_then(to_day), Some(1));
        assert_eq!(parse("1970-01-01").and_then(to_day).map(u64::from), Some(DAYS_BEFORE_UNIX + 1));
        assert_eq!(parse("1899-12-31").and_then(to_day), None);
        assert_eq!(parse("2026-11-21").and_then(to_day), Some(46_346));
        assert_eq!(from_day(0), None);
        assert_eq!(from_day(u32::MAX), None);
        assert_eq!(from_day(i32::MAX as u32), None);
    }

    #[test]
    fn years_later_on_the_corresponding_day() {
        let later = |text, years| parse(text).and_then(|d| add_years(d, years)).map(format);
        assert_eq!(later("2024-02-29", 4).as_deref(), Some("2028-02-29"));
        assert_eq!(later("2024-02-29", 5).as_deref(), Some("2029-02-28"));
        assert_eq!(later("2023-06-01", 10).as_deref(), Some("2033-06-01"));
        assert_eq!(later("9999-06-01", 1), None);
        assert_eq!(later("2023-06-01", u32::MAX), None);
    }

    proptest! {
        #[test]
        fn days_come_back(day in 1u32..2_932_897) {
            let date = from_day(day);
            prop_assert!(date.is_some());
            prop_assert_eq!(date.and_then(to_day), Some(day));
            prop_assert_eq!(date.map(format).as_deref().and_then(parse), date);
        }

        #[test]
        fn never_panics(text in "\\PC{0,12}", day in any::<u32>()) {
            let _ = (parse(&text), parse_compact(&text), parse_expiry(&text), from_day(day));
        }
    }
}
