//! A person's identity number, of whichever of two kinds: a citizen's ([`citizen_id`]), or that of a
//! foreigner's permanent residence card (外国人永久居留身份证) in the form that it has had since 1 December
//! 2023.
//!
//! The card's number is built like a citizen's and begins with 9, as no citizen's does: 9, two digits of
//! the province of application, three of the country (ISO 3166-1 numeric), eight of the birth date, three
//! of sequence and a MOD 11-2 check. Which countries there are is not asked: codes are given and
//! retired. The older cards' numbers, three letters and twelve digits, have no check that is published.

use super::{check, citizen_id, dates, division};
use time::Date;

/// Of numbers written in groups those count whose bearer was born before this year: a division, a day and a
/// running number, with dashes between them, are a file's reference, and its day is a late one.
const GROUPED_BEFORE: i32 = 2010;
/// The first digit of a card's number.
const FOREIGNER: char = '9';
/// Both kinds have as many characters.
const LENGTH: usize = 18;

/// Whether a number passes as a citizen's or as a residence card's.
#[must_use]
pub fn is_valid(number: &str) -> bool {
    citizen_id::is_valid(number) || card_birth(number).is_some()
}

/// Whether a number passes and is of somebody who was born by a day.
#[must_use]
pub fn is_born_by(number: &str, day: Date) -> bool {
    birth(number).is_some_and(|birth| birth <= day)
}

/// The birth date of a number that passes.
fn birth(number: &str) -> Option<Date> {
    citizen_id::birth(number).or_else(|| card_birth(number))
}

/// The birth date of a residence card's number that passes.
fn card_birth(number: &str) -> Option<Date> {
    if number.len() != LENGTH || !number.is_ascii() || !number.starts_with(FOREIGNER) {
        return None;
    }
    let (province, country) = (&number[1..3], &number[3..6]);
    if !division::is_province(province) || !country.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let birth = dates::parse_compact(&number[6..14]).filter(|date| citizen_id::YEARS.contains(&date.year()))?;
    number.ends_with(check::mod11_2(&number[..17])?).then_some(birth)
}

/// Whether a number that passes stands in a text, by itself: no letter or digit touches it, so that a code
/// in which such digits happen to follow each other is no person's number. It may be written in groups,
/// with any punctuation of ASCII or blanks between them, in wide forms, and with a small `x`.
///
/// Letters and digits are those of ASCII and their wide forms, whatever a later Unicode calls one: apply asks.
#[must_use]
pub fn stands_in(text: &str) -> bool {
    // Stretches of letters and digits; `None` where something stands that joins no groups.
    let mut groups: Vec<Option<String>> = vec![None];
    let mut open = false;
    for c in text.chars() {
        match plain(c) {
            Some(c) if c.is_ascii_alphanumeric() => {
                match groups.last_mut() {
                    Some(Some(group)) if open => group.push(c),
                    _ => groups.push(Some(String::from(c))),
                }
                open = true;
            }
            Some(_) => open = false,
            None => {
                groups.push(None);
                open = false;
            }
        }
    }
    (0..groups.len()).any(|from| begins_with_number(&groups[from..]))
}

/// Whether the first of the groups, or the first few of them together, are a number that passes.
fn begins_with_number(groups: &[Option<String>]) -> bool {
    let (mut number, mut count) = (String::new(), 0);
    for group in groups.iter().map_while(Option::as_ref) {
        number.push_str(group);
        count += 1;
        if number.len() >= LENGTH {
            break;
        }
    }
    let is_early = || birth(&number).is_some_and(|birth| birth.year() < GROUPED_BEFORE);
    if count == 1 { is_valid(&number) } else { is_early() }
}

/// A character of ASCII as it is, a wide form as what it is the form of; `x` is the check character's other
/// spelling. `None` for any other.
fn plain(c: char) -> Option<char> {
    let plain = match c {
        '\u{3000}' | '\u{a0}' | '\u{1680}' | '\u{2000}'..='\u{200a}' | '\u{202f}' | '\u{205f}' => ' ',
        '\u{2010}'..='\u{2015}' | '\u{2212}' => '-',
        '！'..='～' => char::from_u32(u32::from(c) - 0xfee0)?,
        c if c.is_ascii() => c,
        _ => return None,
    };
    Some(if plain == 'x' { 'X' } else { plain })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Of somebody who applied in Guangdong, from the United States, born in 1885.
    const CARD: &str = "944840188506150010";
    const CITIZEN: &str = "440303188001010011";

    #[test]
    fn a_citizens_number_or_a_residence_cards() {
        for number in [CARD, CITIZEN, "34052419800101001X"] {
            assert!(is_valid(number), "{number}");
        }
        assert!(!citizen_id::is_valid(CARD), "no citizen's");
        for number in [
            "944840188506150011",
            "999840188506150010",
            "944840188502300010",
            "94484A188506150010",
            "94484018850615001",
            "USA440188506150",
            "９４４８４０",
            "",
        ] {
            assert!(!is_valid(number), "{number}");
        }
        let day = |text| dates::parse(text).unwrap();
        assert!(is_born_by(CARD, day("1885-06-15")) && !is_born_by(CARD, day("1885-06-14")));
        assert!(is_born_by(CITIZEN, day("1880-01-01")) && !is_born_by(CITIZEN, day("1879-12-31")));
        assert!(!is_born_by("", day("2026-01-01")));
    }

    #[test]
    fn a_number_is_found_however_it_is_written() {
        for text in [
            CITIZEN,
            CARD,
            "34052419800101001x",
            "440303 18800101 0011",
            "440303-18800101-001-1",
            "4403 0318 8001 0100 11",
            "４４０３０３１８８００１０１００１１",
            "４４０３０３－１８８００１０１－００１１",
            "为张三(440303188001010011)办理",
            "身份证号440303188001010011的申请人",
            "item-01/440303188001010011/2",
            "ITEM 440303 18800101 0011 2026",
            "1.440303.18800101.0011",
            "440303\u{2003}18800101\u{202f}0011",
            "440303\u{2212}18800101\u{2212}0011",
        ] {
            assert!(stands_in(text), "{text}");
        }
    }

    #[test]
    fn codes_that_hold_such_digits_and_other_numbers_pass() {
        for text in [
            "",
            "00044A",
            "440300-kaihu-01",
            // A service item's code: authority, its own number and its kind, one after the other.
            "11440300MB2C94127A4440120001001",
            "11440300MB2C94127A-4440120001001",
            "1144030318800101001100012345678",
            "A440303188001010011",
            "4403031880010100112",
            "a440303188001010012",
            "440303188001010012",
            "440303 18800101 00112",
            "440303张18800101三0011",
            "为个人开立账户",
            "2026-11-22 20261122 0001",
            // References of files: division, day, running number.
            "440300-20180419-0014",
            "440300-20180419-0022",
            "440300-20261122-0007",
            "440300-20261122-0015",
        ] {
            assert!(!stands_in(text), "{text}");
        }
    }

    proptest! {
        #[test]
        fn never_panics(text in "\\PC{0,40}") {
            let _ = (is_valid(&text), stands_in(&text));
        }
    }
}
