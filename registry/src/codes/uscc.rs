//! The unified social credit code (统一社会信用代码), GB 32100-2015: 18 characters.
//!
//! | characters | what |
//! |---|---|
//! | 1 | registering department |
//! | 2 | category |
//! | 3–8 | division (GB/T 2260; `100000` for central bodies) |
//! | 9–17 | organisation code (GB 11714): eight characters and their check |
//! | 18 | check over the first 17 |
//!
//! Department and category are checked against the alphabet alone: the table of departments has
//! grown by notices since 2015, and a code that satisfies both checks is not refused for it.

use super::check::{digit, value36};

/// The alphabet of GB 32100: no I, O, S, V, Z.
const ALPHABET: &[u8; 31] = b"0123456789ABCDEFGHJKLMNPQRTUWXY";

/// The value of a character of the alphabet.
fn value(byte: u8) -> Option<u8> {
    const NONE: u8 = u8::MAX;
    const VALUES: [u8; 256] = {
        let (mut values, mut n) = ([NONE; 256], 0);
        while n < ALPHABET.len() {
            values[ALPHABET[n] as usize] = n as u8;
            n += 1;
        }
        values
    };
    Some(VALUES[usize::from(byte)]).filter(|value| *value != NONE)
}

/// Weights of GB 11714.
const ORGANISATION_WEIGHTS: [u32; 8] = [3, 7, 9, 10, 5, 8, 4, 2];

/// What a code is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum UsccAnswer {
    /// Both checks hold.
    Valid,
    /// Of the early pilot in Fujian: everything holds but the last character. Such codes were
    /// lawfully assigned; they are taken with a warning, on the issuing unit's confirmation.
    LawfulButFailing,
    /// Anything else.
    Invalid,
}

/// Judges a code.
///
/// [`UsccAnswer::LawfulButFailing`] is as narrow as the known facts allow. The lawful codes that
/// fail (`91350100M0001TGQXM`, `91350211M0000XUF46`, `91350203M0001FUE2P`) are enterprises
/// (`91`) in Fujian (division `35….`) whose organisation code is among the first of the series
/// opened for the new codes (`M000…`), and their organisation code's own check holds. Only with
/// all of that true is a wrong last character taken as lawful.
#[must_use]
pub fn check(code: &str) -> UsccAnswer {
    if !is_shaped(code) || organisation_check(&code[8..16]).is_none_or(|c| !code[16..17].contains(c)) {
        return UsccAnswer::Invalid;
    }
    if last_check(&code[..17]).is_some_and(|c| code.ends_with(c)) {
        return UsccAnswer::Valid;
    }
    if code.starts_with("9135") && code[8..].starts_with("M000") {
        return UsccAnswer::LawfulButFailing;
    }
    UsccAnswer::Invalid
}

/// Whether both checks hold.
#[must_use]
pub fn is_valid(code: &str) -> bool {
    check(code) == UsccAnswer::Valid
}

/// Whether the text has the shape of a code: 18 characters of the alphabet, the division in
/// digits, the organisation code's check a digit or `X`. Checks may still fail.
#[must_use]
pub fn is_shaped(code: &str) -> bool {
    let bytes = code.as_bytes();
    bytes.len() == 18
        && bytes.iter().all(|b| value(*b).is_some())
        && bytes[2..8].iter().all(u8::is_ascii_digit)
        && (bytes[16].is_ascii_digit() || bytes[16] == b'X')
}

/// The check character of an organisation code's eight characters (GB 11714): a digit or `X`.
#[must_use]
pub fn organisation_check(body: &str) -> Option<char> {
    if body.len() != ORGANISATION_WEIGHTS.len() {
        return None;
    }
    let mut sum = 0;
    for (byte, weight) in body.bytes().zip(ORGANISATION_WEIGHTS) {
        sum += u32::from(value36(byte)?) * weight;
    }
    char::from_digit((11 - sum % 11) % 11, 11).map(|c| if c == 'a' { 'X' } else { c })
}

/// The code of a body: department and category, division, the organisation code's first eight
/// characters. `None` if they do not have that shape.
#[must_use]
pub fn build(department: &str, division: &str, organisation: &str) -> Option<String> {
    let mut code = format!("{department}{division}{organisation}");
    code.push(organisation_check(organisation)?);
    code.push(last_check(&code)?);
    is_valid(&code).then_some(code)
}

/// The 18th character, over the first 17: weights are the powers of 3 modulo 31.
fn last_check(first: &str) -> Option<char> {
    if first.len() != 17 {
        return None;
    }
    let (mut sum, mut weight) = (0usize, 1usize);
    for byte in first.bytes() {
        sum += usize::from(value(byte)?) * weight;
        weight = weight * 3 % 31;
    }
    Some(char::from(ALPHABET[(31 - sum % 31) % 31]))
}

/// The division within a well-shaped code.
#[must_use]
pub fn division(code: &str) -> Option<&str> {
    code.get(2..8).filter(|d| d.bytes().all(|b| digit(b).is_some()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn real_bodies_of_the_dossier() {
        for code in [
            "11430000006122244L",
            "11110000000021135M",
            "11330105002500287C",
            "11370800MB28559184",
            "113700000045030270",
            "11420503087246977F",
            "11440300MB2D072246",
            "11440300MB2C93125R",
            "11440300MB2C6448XB",
            "11100000MB03271699",
            "11100000000013661B",
            "11100000MB0341032Y",
            "91110108551385082Q",
            "914403001922038216",
            "9144030071526726XG",
            "91440300192448589C",
            "91440300708461136T",
            "91330100799655058B",
            "91330100716105852F",
            "91110000802100433B",
            "91110000600037341L",
            "91110000102016548J",
            "911100001000044477",
            "92440300L83529307M",
            "914600007477761066",
        ] {
            assert_eq!(check(code), UsccAnswer::Valid, "{code}");
        }
        for code in ["11440300007542785T", "11440300MB2D00004W", "11440300MB2C93166R", "", "113000000000000000000", "一一一一一一"] {
            assert_eq!(check(code), UsccAnswer::Invalid, "{code}");
        }
    }

    #[test]
    fn the_early_pilot_is_narrow() {
        assert_eq!(check("91350100M0001TGQXM"), UsccAnswer::LawfulButFailing);
        for (code, why) in [
            ("91350100M0001TGQX0", UsccAnswer::LawfulButFailing), // any wrong last character
            ("91350100M0001TGQ5M", UsccAnswer::Invalid),          // organisation check wrong
            ("91440100M0001TGQXM", UsccAnswer::Invalid),          // another province
            ("11350100M0001TGQXM", UsccAnswer::Invalid),          // not an enterprise
            ("91350100M000100Y4Z", UsccAnswer::Invalid),          // Z is no character of the alphabet
        ] {
            assert_eq!(check(code), why, "{code}");
        }
    }

    proptest! {
        #[test]
        fn every_substitution_is_detected(body in "[0-9A-HJ-NPQRTUWXY]{8}", division in "[1-6][0-9]{5}", at in 0usize..18, by in any::<prop::sample::Index>()) {
            let code = build("91", &division, &body).unwrap_or_default();
            prop_assert_eq!(check(&code), UsccAnswer::Valid);
            let mut altered = code.clone().into_bytes();
            altered[at] = ALPHABET[by.index(31)];
            let altered = String::from_utf8(altered).unwrap_or_default();
            prop_assert_eq!(altered == code, is_valid(&altered));
        }

        #[test]
        fn never_panics(text in "\\PC{0,24}") {
            let _ = (check(&text), is_shaped(&text), organisation_check(&text), division(&text), last_check(&text));
        }
    }
}
