//! The food operation permit number (食品经营许可证编号): `JY`, one digit of kind (1 sale,
//! 2 catering, 3 unit canteen), six of division, six of serial and a MOD 11,10 check.

use super::{check, division};

/// Whether a number has the form, and its check holds.
#[must_use]
pub fn is_valid(number: &str) -> bool {
    let Some(digits) = number.strip_prefix("JY") else { return false };
    digits.len() == 14
        && digits.bytes().all(|b| b.is_ascii_digit())
        && matches!(digits.as_bytes()[0], b'1'..=b'3')
        && division::is_historic(&digits[1..7])
        && check::mod11_10(&digits[..13]).is_some_and(|c| digits.ends_with(c))
}

/// The number of a kind (1 to 3), a division and a serial below a million. `None` if no such
/// number can be.
#[must_use]
pub fn build(kind: u8, division: &str, serial: u32) -> Option<String> {
    let body = format!("{kind}{division}{serial:06}");
    let number = format!("JY{body}{}", check::mod11_10(&body)?);
    is_valid(&number).then_some(number)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn synthetic_numbers_of_the_dossier() {
        assert_eq!(build(1, "440303", 1).as_deref(), Some("JY14403030000012"));
        assert_eq!(build(2, "440304", 2).as_deref(), Some("JY24403040000027"));
        assert_eq!(build(3, "440305", 3).as_deref(), Some("JY34403050000031"));
        assert_eq!(build(4, "440305", 3), None);
        assert_eq!(build(1, "440305", 1_000_000), None);
    }

    proptest! {
        #[test]
        fn every_substitution_is_detected(kind in 1u8..4, serial in 0u32..1_000_000, at in 0usize..16, by in b'0'..=b'9') {
            let number = build(kind, "440306", serial).unwrap_or_default();
            prop_assert!(is_valid(&number));
            let mut altered = number.clone().into_bytes();
            altered[at] = by;
            let altered = String::from_utf8(altered).unwrap_or_default();
            prop_assert_eq!(altered == number, is_valid(&altered));
        }

        #[test]
        fn never_panics(text in "(JY)?\\PC{0,16}") {
            let _ = is_valid(&text);
        }
    }
}
