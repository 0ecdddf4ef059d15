//! Administrative divisions (行政区划), GB/T 2260, and areas that have none.
//!
//! The table is Shenzhen's. Any other division is checked by form and province alone: codes are
//! retired and assigned every year, and identity numbers and old licences keep the retired ones.
//! Functional areas (功能区), such as 大鹏新区 and 深汕特别合作区, are addressees of regulation 002
//! without an ordinary division; they stand under a code of their own.

/// A division of the table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Division {
    /// GB/T 2260 code.
    pub code: &'static str,
    /// Name in Chinese.
    pub name_zh: &'static str,
    /// Name in English.
    pub name_en: &'static str,
}

/// Shenzhen and its districts.
pub const SHENZHEN: [Division; 10] = [
    Division { code: "440300", name_zh: "深圳市", name_en: "Shenzhen" },
    Division { code: "440303", name_zh: "罗湖区", name_en: "Luohu" },
    Division { code: "440304", name_zh: "福田区", name_en: "Futian" },
    Division { code: "440305", name_zh: "南山区", name_en: "Nanshan" },
    Division { code: "440306", name_zh: "宝安区", name_en: "Bao'an" },
    Division { code: "440307", name_zh: "龙岗区", name_en: "Longgang" },
    Division { code: "440308", name_zh: "盐田区", name_en: "Yantian" },
    Division { code: "440309", name_zh: "龙华区", name_en: "Longhua" },
    Division { code: "440310", name_zh: "坪山区", name_en: "Pingshan" },
    Division { code: "440311", name_zh: "光明区", name_en: "Guangming" },
];

/// The first two digits of every province-level division; 83 stands in residents' numbers from
/// Taiwan.
const PROVINCES: [&str; 35] = [
    "11", "12", "13", "14", "15", "21", "22", "23", "31", "32", "33", "34", "35", "36", "37", "41", "42", "43", "44", "45", "46", "50",
    "51", "52", "53", "54", "61", "62", "63", "64", "65", "71", "81", "82", "83",
];

/// What an area code is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Area {
    /// A division by form and province.
    Division,
    /// A functional area's own code.
    Functional,
}

/// The division of the table with this code.
#[must_use]
pub fn find(code: &str) -> Option<&'static Division> {
    SHENZHEN.iter().find(|d| d.code == code)
}

/// Whether this is, or may once have been, a division: six digits of a province.
#[must_use]
pub fn is_historic(code: &str) -> bool {
    code.len() == 6 && code.bytes().all(|b| b.is_ascii_digit()) && is_province(&code[..2])
}

/// Whether two digits are those of a province.
#[must_use]
pub fn is_province(digits: &str) -> bool {
    PROVINCES.contains(&digits)
}

/// Reads an area code: a division (codes under `4403` must be in the table), or a functional
/// area's own code: an upper-case letter followed by 1 to 11 digits and upper-case letters.
#[must_use]
pub fn area(code: &str) -> Option<Area> {
    if is_historic(code) {
        return (!code.starts_with("4403") || find(code).is_some()).then_some(Area::Division);
    }
    let bytes = code.as_bytes();
    let own = (2..=12).contains(&bytes.len())
        && bytes[0].is_ascii_uppercase()
        && bytes[1..].iter().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit());
    own.then_some(Area::Functional)
}

/// Whether an area lies within a city and is not the city itself: a division under the city's four
/// digits, or a functional area's own code, which names no city.
#[must_use]
pub fn is_district_of(code: &str, city: &str) -> bool {
    match area(code) {
        Some(Area::Division) => code != city && code.get(..4) == city.get(..4),
        Some(Area::Functional) => true,
        None => false,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn divisions_and_functional_areas() {
        for division in SHENZHEN {
            assert_eq!(area(division.code), Some(Area::Division));
        }
        assert_eq!(area("340100"), Some(Area::Division));
        assert_eq!(area("DPXQ"), Some(Area::Functional));
        for code in ["", "440399", "000000", "990000", "44030", "4403050", "d1", "D", "大鹏新区", "44030５"] {
            assert_eq!(area(code), None, "{code}");
        }
        assert!(is_historic("440399"), "an identity number may hold a retired code");
    }

    proptest! {
        #[test]
        fn never_panics(text in "\\PC{0,14}") {
            let _ = (area(&text), is_historic(&text));
        }
    }
}
