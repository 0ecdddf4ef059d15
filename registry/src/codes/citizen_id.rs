//! The citizen identity number (公民身份号码), GB 11643-1999: six digits of division, eight of
//! birth date, three of sequence (odd for men) and a MOD 11-2 check.
//!
//! Divisions are checked by province alone: a number keeps the division of its assignment for
//! life, and retired divisions are many. Nor is any sequence refused, 000 neither: we know of
//! no published rule that keeps one back, and nobody's number is called wrong for a custom.
//!
//! There is no clock here. That a birth date has come is asked of a day that the caller has, such as
//! a licence's day of issue ([`is_born_by`]); here it is only kept within bounds that no number leaves.

use super::{check, dates, division};
use time::Date;

/// Birth years that are taken. Numbers are assigned since 1984, to nobody who was born before the 19th
/// century. The end is for whoever has no day to hold a number against.
pub(super) const YEARS: std::ops::RangeInclusive<i32> = 1800..=2199;

/// Why a number is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CitizenIdError {
    /// Not 17 digits and a digit or `X`.
    Format,
    /// The division is of no province.
    Division,
    /// The birth date does not exist, or is out of bounds.
    BirthDate,
    /// The check character is wrong.
    Check,
}

/// Checks a number: format, province, calendar date, check character, in this order.
pub fn check(number: &str) -> Result<(), CitizenIdError> {
    let bytes = number.as_bytes();
    if bytes.len() != 18 || !bytes[..17].iter().all(u8::is_ascii_digit) || !(bytes[17].is_ascii_digit() || bytes[17] == b'X') {
        return Err(CitizenIdError::Format);
    }
    if !division::is_historic(&number[..6]) {
        return Err(CitizenIdError::Division);
    }
    if !dates::parse_compact(&number[6..14]).is_some_and(|date| YEARS.contains(&date.year())) {
        return Err(CitizenIdError::BirthDate);
    }
    match check::mod11_2(&number[..17]) {
        Some(c) if number.ends_with(c) => Ok(()),
        _ => Err(CitizenIdError::Check),
    }
}

/// Whether the number passes.
#[must_use]
pub fn is_valid(number: &str) -> bool {
    check(number).is_ok()
}

/// The birth date of a number that passes.
#[must_use]
pub fn birth(number: &str) -> Option<Date> {
    is_valid(number).then(|| dates::parse_compact(&number[6..14])).flatten()
}

/// Whether a number passes and is of somebody who was born by a day.
#[must_use]
pub fn is_born_by(number: &str, day: Date) -> bool {
    birth(number).is_some_and(|birth| birth <= day)
}

/// The number of a division, a birth date (`YYYYMMDD`) and a sequence. `None` if no such number
/// can be.
#[must_use]
pub fn build(division: &str, birth: &str, sequence: u16) -> Option<String> {
    let mut number = format!("{division}{birth}{sequence:03}");
    number.push(check::mod11_2(&number)?);
    is_valid(&number).then_some(number)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn each_failure_has_its_name() {
        for (number, expected) in [
            ("34052419800101001X", Ok(())),
            ("440307189602290354", Ok(())),
            ("340524198001010013", Err(CitizenIdError::Check)),
            ("440303188001010012", Err(CitizenIdError::Check)),
            ("440303190002290011", Err(CitizenIdError::BirthDate)),
            ("440303179912310015", Err(CitizenIdError::BirthDate)),
            ("990303188001010011", Err(CitizenIdError::Division)),
            ("34052419800101001x", Err(CitizenIdError::Format)),
            ("440303880101001", Err(CitizenIdError::Format)),
            ("", Err(CitizenIdError::Format)),
            ("四四四四四四", Err(CitizenIdError::Format)),
        ] {
            assert_eq!(check(number), expected, "{number}");
        }
    }

    #[test]
    fn nobody_holds_anything_before_being_born() {
        let day = |text| dates::parse(text).unwrap();
        let number = build("440303", "20250601", 1).unwrap();
        assert_eq!(birth(&number), Some(day("2025-06-01")));
        assert!(is_born_by(&number, day("2025-06-01")) && is_born_by(&number, day("2026-01-01")));
        assert!(!is_born_by(&number, day("2025-05-31")));
        assert!(!is_born_by(&build("440303", "21990101", 1).unwrap(), day("2026-11-22")));
        assert_eq!(build("440303", "22000101", 1), None);
        assert_eq!(birth("440303188001010012"), None);
        assert!(!is_born_by("", day("2025-06-01")));
    }

    #[test]
    fn no_sequence_is_kept_back() {
        for sequence in [0, 1, 999] {
            assert!(build("440303", "18800101", sequence).is_some(), "{sequence}");
        }
    }

    proptest! {
        #[test]
        fn every_substitution_is_detected(year in 1880u16..1900, month in 1u8..13, day in 1u8..29, sequence in 1u16..1000, at in 0usize..18, by in 0usize..11) {
            let number = build("440305", &format!("{year}{month:02}{day:02}"), sequence).unwrap_or_default();
            prop_assert!(is_valid(&number));
            let mut altered = number.clone().into_bytes();
            altered[at] = b"0123456789X"[by];
            let altered = String::from_utf8(altered).unwrap_or_default();
            prop_assert_eq!(altered == number, is_valid(&altered));
        }

        #[test]
        fn never_panics(text in "\\PC{0,24}") {
            let _ = (check(&text), birth(&text));
        }
    }
}
