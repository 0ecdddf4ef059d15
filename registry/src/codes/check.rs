//! The three check systems of ISO 7064 that Chinese codes use.
//!
//! MOD 37,36 and MOD 11,10 are hybrid systems: they detect every single substitution and almost
//! every adjacent transposition. MOD 11-2 is a pure system: it detects every one of both.

/// The alphabet of MOD 37,36.
const ALPHABET_36: &[u8; 36] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ";

/// The value of a digit or upper-case letter in base 36.
#[must_use]
pub fn value36(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'A'..=b'Z' => Some(byte - b'A' + 10),
        _ => None,
    }
}

/// The value of a decimal digit.
#[must_use]
pub fn digit(byte: u8) -> Option<u8> {
    byte.is_ascii_digit().then(|| byte - b'0')
}

/// The MOD 37,36 check character of the concatenated parts (GB/T 36904 computes it over type,
/// authority, serial and version, without the dots and without the root). `None` if a character
/// is not a digit or an upper-case letter, or if there is none at all.
#[must_use]
pub fn mod37_36(parts: &[&str]) -> Option<char> {
    // Each step waits for the one before it: a table answers sooner than two divisions.
    const NEXT: [u8; 72] = {
        let (mut next, mut of) = ([0; 72], 0);
        while of < 72 {
            let sum = of % 36;
            next[of as usize] = (if sum == 0 { 36 } else { sum } * 2) % 37;
            of += 1;
        }
        next
    };
    let mut product = 36u8;
    let mut any = false;
    for byte in parts.iter().flat_map(|part| part.bytes()) {
        product = NEXT[usize::from(product + value36(byte)?)];
        any = true;
    }
    // The product is never 0: 37 is prime and neither factor is a multiple of it.
    any.then(|| char::from(ALPHABET_36[usize::from((37 - product) % 36)]))
}

/// The MOD 11,10 check digit (food permits, the older business registration numbers). `None` if a
/// character is not a digit, or if there is none.
#[must_use]
pub fn mod11_10(digits: &str) -> Option<char> {
    let mut product = 10u8;
    for byte in digits.bytes() {
        let sum = (product + digit(byte)?) % 10;
        product = (if sum == 0 { 10 } else { sum } * 2) % 11;
    }
    (!digits.is_empty()).then(|| char::from(b'0' + (11 - product) % 10))
}

/// The MOD 11-2 check character, a digit or `X` (citizen identity numbers). `None` if a character
/// is not a digit, or if there is none.
#[must_use]
pub fn mod11_2(digits: &str) -> Option<char> {
    let mut product = 0u8;
    for byte in digits.bytes() {
        product = (product + digit(byte)?) * 2 % 11;
    }
    (!digits.is_empty()).then(|| char::from(b"0123456789X"[usize::from((12 - product) % 11)]))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn published_examples() {
        assert_eq!(mod37_36(&["A12425GABC1234002"]), Some('M'));
        assert_eq!(mod37_36(&["B159D8FA", "01240000"]), Some('K'));
        assert_eq!(mod11_10("0794"), Some('5'));
        assert_eq!(mod11_2("0794"), Some('0'));
        assert_eq!(mod11_2("11010519491231002"), Some('X'));
    }

    #[test]
    fn what_is_outside_the_alphabet_has_no_check() {
        for text in ["", "a", "é", "1 2", "1.2"] {
            assert_eq!(mod37_36(&[text]), None, "{text}");
        }
        assert_eq!(mod11_10("12A"), None);
        assert_eq!(mod11_2(""), None);
    }

    proptest! {
        #[test]
        fn every_substitution_changes_the_check(text in "[0-9A-Z]{1,60}", at in any::<prop::sample::Index>(), by in 0usize..36) {
            let at = at.index(text.len());
            let mut altered = text.clone().into_bytes();
            altered[at] = ALPHABET_36[by];
            let altered = String::from_utf8(altered).unwrap_or_default();
            prop_assert_eq!(altered == text, mod37_36(&[&altered]) == mod37_36(&[&text]));
        }

        #[test]
        fn every_substituted_digit_changes_the_check(text in "[0-9]{1,30}", at in any::<prop::sample::Index>(), by in b'0'..=b'9') {
            let at = at.index(text.len());
            let mut altered = text.clone().into_bytes();
            altered[at] = by;
            let altered = String::from_utf8(altered).unwrap_or_default();
            prop_assert_eq!(altered == text, mod11_10(&altered) == mod11_10(&text));
            prop_assert_eq!(altered == text, mod11_2(&altered) == mod11_2(&text));
        }
    }
}
