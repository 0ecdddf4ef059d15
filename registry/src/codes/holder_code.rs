//! Codes of holders (持证主体代码) by code type, GB/T 36903-2018 Annex A.

use super::{citizen_id, uscc};

/// A code type of the annex.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HolderCodeType {
    /// Three digits.
    pub code: &'static str,
    /// Name in Chinese.
    pub name_zh: &'static str,
    /// Name in English.
    pub name_en: &'static str,
    /// Whether holders of this type are natural persons.
    pub natural_person: bool,
}

/// The type of unified social credit codes.
pub const USCC: &str = "001";
/// The type of citizen identity numbers.
pub const CITIZEN_ID: &str = "111";
/// The longest code that is taken, in characters.
pub const MAX_LENGTH: usize = 64;

const fn row(code: &'static str, name_zh: &'static str, name_en: &'static str, natural_person: bool) -> HolderCodeType {
    HolderCodeType { code, name_zh, name_en, natural_person }
}

/// The annex.
pub const TABLE: [HolderCodeType; 16] = [
    row("001", "统一社会信用代码", "unified social credit code", false),
    row("099", "其他法人或其他组织有效证件代码", "other valid document of an organisation", false),
    row("111", "公民身份号码", "citizen identity number", true),
    row("114", "军官证", "military officer's card", true),
    row("115", "武警警官证", "armed police officer's card", true),
    row("118", "士兵证", "soldier's card", true),
    row("119", "武警士兵证", "armed police soldier's card", true),
    row("120", "文职人员证", "military civilian's card", true),
    row("122", "武警文职人员证", "armed police civilian's card", true),
    row("411", "外交护照", "diplomatic passport", true),
    row("412", "公务护照", "service passport", true),
    row("413", "公务普通护照", "public affairs passport", true),
    row("414", "普通护照", "ordinary passport", true),
    row("511", "台湾居民来往大陆通行证", "mainland travel permit for Taiwan residents", true),
    row("516", "港澳居民来往内地通行证", "mainland travel permit for Hong Kong and Macao residents", true),
    row("999", "其他自然人有效证件代码", "other valid document of a natural person", true),
];

/// What a holder's code is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HolderAnswer {
    /// It passes the check of its type.
    Valid,
    /// It fails the published check but is lawful: taken with a warning.
    Unusual,
    /// It fails.
    Invalid,
    /// The annex has no such type.
    UnknownType,
}

/// The type of the annex with this code.
#[must_use]
pub fn find(code_type: &str) -> Option<&'static HolderCodeType> {
    TABLE.iter().find(|t| t.code == code_type)
}

/// The types whose codes machines print: passports and the permits of Taiwan, Hong Kong and Macao.
const PRINTED: [&str; 6] = ["411", "412", "413", "414", "511", "516"];

/// Checks a code by its type. Types 001 and 111 have published checks; a code of another type is
/// 1 to 64 printable characters without blanks and wide forms, and of what machines print (passports, permits)
/// upper-case letters, digits, brackets and dashes: a code is tagged as it is written, and written in two ways one
/// person would be two.
#[must_use]
pub fn check(code_type: &str, code: &str) -> HolderAnswer {
    let passes = match code_type {
        USCC => match uscc::check(code) {
            uscc::UsccAnswer::Valid => true,
            uscc::UsccAnswer::LawfulButFailing => return HolderAnswer::Unusual,
            uscc::UsccAnswer::Invalid => false,
        },
        CITIZEN_ID => citizen_id::is_valid(code),
        _ if find(code_type).is_none() => return HolderAnswer::UnknownType,
        _ if PRINTED.contains(&code_type) => is_bounded(code) && is_printed(code),
        _ => is_bounded(code),
    };
    if passes { HolderAnswer::Valid } else { HolderAnswer::Invalid }
}

fn is_printed(code: &str) -> bool {
    code.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || matches!(b, b'(' | b')' | b'-'))
}

/// The wide forms of ASCII: what is written with them can be written without.
fn is_wide(c: char) -> bool {
    matches!(c, '\u{ff01}'..='\u{ff5e}')
}

/// Cheap on purpose: the length in bytes bounds the walk over the characters.
fn is_bounded(code: &str) -> bool {
    !code.is_empty()
        && code.len() <= 4 * MAX_LENGTH
        && code.chars().count() <= MAX_LENGTH
        && code.chars().all(|c| if c.is_ascii() { c.is_ascii_graphic() } else { c.is_alphanumeric() && !is_wide(c) })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn by_type() {
        for (code_type, code, expected) in [
            ("001", "91350100M000100Y43", HolderAnswer::Valid),
            ("001", "91350100M0001TGQXM", HolderAnswer::Unusual),
            ("001", "11010519491231002X", HolderAnswer::Invalid),
            ("111", "11010519491231002X", HolderAnswer::Valid),
            ("111", "440303188001010012", HolderAnswer::Invalid),
            ("111", "944840188506150010", HolderAnswer::Invalid),
            ("999", "944840188506150010", HolderAnswer::Valid),
            ("414", "E12345678", HolderAnswer::Valid),
            ("114", "军字第0000001号", HolderAnswer::Valid),
            ("414", "e12345678", HolderAnswer::Invalid),
            ("414", "\u{ff25}12345678", HolderAnswer::Invalid),
            ("414", "护照", HolderAnswer::Invalid),
            ("414", "PASSPORT", HolderAnswer::Valid),
            ("411", "DE1234567", HolderAnswer::Valid),
            ("412", "se1234567", HolderAnswer::Invalid),
            ("413", "PE1234567", HolderAnswer::Valid),
            ("511", "00012345(A)", HolderAnswer::Valid),
            ("511", "00012345(a)", HolderAnswer::Invalid),
            ("516", "H12345678-01", HolderAnswer::Valid),
            ("516", "H12345678/01", HolderAnswer::Invalid),
            ("114", "军字第\u{ff11}号", HolderAnswer::Invalid),
            ("999", "\u{ff25}1", HolderAnswer::Invalid),
            ("099", "\u{ff25}1", HolderAnswer::Invalid),
            ("999", "e1", HolderAnswer::Valid),
            ("414", "", HolderAnswer::Invalid),
            ("414", "E1234 5678", HolderAnswer::Invalid),
            ("414", "E1234\u{202e}5678", HolderAnswer::Invalid),
            ("999", "\n", HolderAnswer::Invalid),
            ("000", "E12345678", HolderAnswer::UnknownType),
            ("", "E12345678", HolderAnswer::UnknownType),
        ] {
            assert_eq!(check(code_type, code), expected, "{code_type} {code}");
        }
        assert_eq!(check("999", &"x".repeat(64)), HolderAnswer::Valid);
        assert_eq!(check("999", &"名".repeat(65)), HolderAnswer::Invalid);
    }

    #[test]
    fn the_annex_names_each_type_once() {
        for (n, entry) in TABLE.iter().enumerate() {
            assert_eq!(TABLE.iter().position(|t| t.code == entry.code), Some(n));
        }
    }

    proptest! {
        #[test]
        fn never_panics(code_type in "\\PC{0,4}|001|111|414", code in "\\PC{0,80}") {
            let _ = check(&code_type, &code);
        }
    }
}
