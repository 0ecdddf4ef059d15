//! The licence identifier (证照标识), GB/T 36904-2018:
//! `1.2.156.3005.2.<type>.<authority>.<serial>.<version>.<check>`.
//!
//! | part | grammar |
//! |---|---|
//! | type | a USCC's shape (the defining authority) and three digits |
//! | authority | the issuing authority's USCC, or a GB/T 2260 division of six digits |
//! | serial | 1 to 40 digits and upper-case letters |
//! | version | `001` to `999` |
//! | check | ISO 7064 MOD 37,36 over the four parts, without dots and root |
//!
//! The check is blind to a dot that moves between two parts; so each part's own grammar is
//! checked too, and the authority's own check characters.

use super::{check, division, uscc};
use crate::reason::{Reason, Refusal};

/// The root of all licence identifiers.
pub const ROOT: &str = "1.2.156.3005.2.";
/// The longest serial that is taken.
pub const MAX_SERIAL: usize = 40;
/// Characters of a type code.
pub const TYPE_LENGTH: usize = 21;

/// A well-formed identifier whose check holds.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Identifier {
    text: String,
    /// Where authority and serial end. The root and the type have fixed lengths, and so have
    /// version and check at the end.
    authority_end: usize,
    serial_end: usize,
}

impl Identifier {
    /// Reads an identifier. What is not of the form is [`Reason::IdentifierFormat`]; a wrong
    /// check, its own or the authority's, is [`Reason::IdentifierCheck`].
    pub fn parse(text: &str) -> Result<Self, Refusal> {
        let rest = text.strip_prefix(ROOT).ok_or_else(|| format("the root is not 1.2.156.3005.2"))?;
        let mut parts = rest.split('.');
        let (Some(type_code), Some(authority), Some(serial), Some(version), Some(last), None) =
            (parts.next(), parts.next(), parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(format("there are not five parts after the root"));
        };
        check_parts(type_code, authority, serial, version)?;
        if last.len() != 1 || check::value36(last.as_bytes()[0]).is_none() {
            return Err(format("the check is not one digit or upper-case letter"));
        }
        check_authority(authority)?;
        if check::mod37_36(&[type_code, authority, serial, version]).is_none_or(|c| !last.starts_with(c)) {
            return Err(Refusal::new(Reason::IdentifierCheck, "the check character does not hold"));
        }
        Ok(Self::placed(text.to_owned(), authority.len(), serial.len()))
    }

    /// The identifier of these parts, its check computed.
    pub fn build(type_code: &str, authority: &str, serial: &str, version: u16) -> Result<Self, Refusal> {
        let version = version_text(version)?;
        check_parts(type_code, authority, serial, &version)?;
        check_authority(authority)?;
        let last = check::mod37_36(&[type_code, authority, serial, &version]).ok_or_else(|| format("a part is empty"))?;
        let text = format!("{ROOT}{type_code}.{authority}.{serial}.{version}.{last}");
        Ok(Self::placed(text, authority.len(), serial.len()))
    }

    fn placed(text: String, authority: usize, serial: usize) -> Self {
        let authority_end = ROOT.len() + TYPE_LENGTH + 1 + authority;
        let serial_end = authority_end + 1 + serial;
        debug_assert_eq!(text.len(), serial_end + ".001.0".len());
        Self { text, authority_end, serial_end }
    }

    /// The whole text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The type's code.
    #[must_use]
    pub fn type_code(&self) -> &str {
        &self.text[ROOT.len()..ROOT.len() + TYPE_LENGTH]
    }

    /// The issuing authority's USCC or division.
    #[must_use]
    pub fn authority(&self) -> &str {
        &self.text[ROOT.len() + TYPE_LENGTH + 1..self.authority_end]
    }

    /// The serial that the issuing unit chose.
    #[must_use]
    pub fn serial(&self) -> &str {
        &self.text[self.authority_end + 1..self.serial_end]
    }

    /// The version, 1 to 999.
    #[must_use]
    pub fn version(&self) -> u16 {
        // Three digits, as checked when the identifier was made.
        self.text.as_bytes()[self.serial_end + 1..self.serial_end + 4].iter().fold(0, |n, d| n * 10 + u16::from(d - b'0'))
    }

    /// The identifier less version and check: what all versions of one licence share.
    #[must_use]
    pub fn series(&self) -> &str {
        &self.text[..self.serial_end]
    }

    /// The same licence's identifier in another version.
    pub fn with_version(&self, version: u16) -> Result<Self, Refusal> {
        Self::build(self.type_code(), self.authority(), self.serial(), version)
    }
}

impl std::fmt::Display for Identifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

/// Whether this is a type code: a USCC's shape and three digits. The USCC's checks are the
/// catalogue's to require; an identifier's type must be a published one anyway.
#[must_use]
pub fn is_type_code(code: &str) -> bool {
    code.len() == TYPE_LENGTH && code.is_ascii() && uscc::is_shaped(&code[..18]) && code[18..].bytes().all(|b| b.is_ascii_digit())
}

fn check_parts(type_code: &str, authority: &str, serial: &str, version: &str) -> Result<(), Refusal> {
    if !is_type_code(type_code) {
        return Err(format("the type is not a USCC and three digits"));
    }
    if !uscc::is_shaped(authority) && !division::is_historic(authority) {
        return Err(format("the authority is neither a USCC nor a division"));
    }
    if !(1..=MAX_SERIAL).contains(&serial.len()) || !serial.bytes().all(|b| check::value36(b).is_some()) {
        return Err(format("the serial is not 1 to 40 digits and upper-case letters"));
    }
    if version.len() != 3 || !version.bytes().all(|b| b.is_ascii_digit()) || version == "000" {
        return Err(format("the version is not 001 to 999"));
    }
    Ok(())
}

fn check_authority(authority: &str) -> Result<(), Refusal> {
    if authority.len() == 18 && !uscc::is_valid(authority) {
        return Err(Refusal::new(Reason::IdentifierCheck, "the authority's USCC fails its check"));
    }
    Ok(())
}

fn version_text(version: u16) -> Result<String, Refusal> {
    if (1..=999).contains(&version) { Ok(format!("{version:03}")) } else { Err(format("the version is not 001 to 999")) }
}

fn format(detail: &str) -> Refusal {
    Refusal::new(Reason::IdentifierFormat, detail)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const GOOD: &str = "1.2.156.3005.2.11100000000013338W011.11430000006122244L.20230000403.001.U";

    fn reason(text: &str) -> Option<Reason> {
        Identifier::parse(text).err().map(|r| r.reason)
    }

    #[test]
    fn parts_of_a_real_one() {
        let id = Identifier::parse(GOOD).unwrap();
        assert_eq!(
            (id.type_code(), id.authority(), id.serial(), id.version(), id.series()),
            (
                "11100000000013338W011",
                "11430000006122244L",
                "20230000403",
                1,
                "1.2.156.3005.2.11100000000013338W011.11430000006122244L.20230000403"
            )
        );
        assert_eq!(id.with_version(2).unwrap().as_str(), "1.2.156.3005.2.11100000000013338W011.11430000006122244L.20230000403.002.S");
        assert_eq!(id.with_version(0).unwrap_err().reason, Reason::IdentifierFormat);
        assert_eq!(id.with_version(1000).unwrap_err().reason, Reason::IdentifierFormat);
    }

    #[test]
    fn synthetic_ones_of_the_dossier() {
        for (type_no, serial, version, last) in [
            ("001", "2026000001", 1, "I"),
            ("001", "2026000001", 2, "G"),
            ("002", "JY14403030000012", 1, "S"),
            ("003", "0123456789ABCDEFGHIJKLMNOPQRSTUV", 1, "3"),
        ] {
            let id = Identifier::build(&std::format!("11440300MB0X00019K{type_no}"), "11440300MB0X00019K", serial, version).unwrap();
            assert!(id.as_str().ends_with(last), "{id}");
            assert_eq!(Identifier::parse(id.as_str()).unwrap(), id);
        }
    }

    #[test]
    fn form_and_check_are_told_apart() {
        for text in [
            "",
            "1.2.156.3005.3.11100000000013338W011.11430000006122244L.20230000403.001.U",
            "1.2.156.3005.2.11100000000013338W011.11430000006122244L.20230000403.1.U",
            "1.2.156.3005.2.11100000000013338W011.11430000006122244L.20230000403.000.U",
            "1.2.156.3005.2.11100000000013338W011.11430000006122244L.20230000403.001",
            "1.2.156.3005.2.11100000000013338W011.11430000006122244L.20230000403.001.",
            "1.2.156.3005.2.11100000000013338W011.11430000006122244L.20230000403.001.U.U",
            "1.2.156.3005.2.11100000000013338W011.11430000006122244L2.0230000403.001.U", // a moved dot
            "1.2.156.3005.2.11100000000013338W011.11430000006122244L..001.U",
            "1.2.156.3003.2.11100000000013338W011.11430000006122244L.20230000403.01.U",
            " 1.2.156.3005.2.11100000000013338W011.11430000006122244L.20230000403.001.U",
        ] {
            assert_eq!(reason(text), Some(Reason::IdentifierFormat), "{text}");
        }
        assert_eq!(reason(&GOOD.to_lowercase()), Some(Reason::IdentifierFormat));
        assert_eq!(reason(&GOOD.replace("403.", "404.")), Some(Reason::IdentifierCheck));
        assert_eq!(reason(&GOOD.replace(".U", ".V")), Some(Reason::IdentifierCheck));
        // The authority fails its own check, though the identifier's is right.
        let last = check::mod37_36(&["11100000000013338W011", "11430000006122245L", "1", "001"]).unwrap();
        let text = std::format!("1.2.156.3005.2.11100000000013338W011.11430000006122245L.1.001.{last}");
        assert_eq!(reason(&text), Some(Reason::IdentifierCheck));
    }

    proptest! {
        #[test]
        fn every_substitution_is_detected(serial in "[0-9A-Z]{1,40}", version in 1u16..1000, at in any::<prop::sample::Index>(), by in "[0-9A-Z.]") {
            let id = Identifier::build("11100000000013338W011", "11430000006122244L", &serial, version).unwrap();
            prop_assert_eq!((id.serial(), id.version()), (serial.as_str(), version));
            let at = at.index(id.as_str().len());
            let mut altered = id.as_str().to_owned();
            altered.replace_range(at..=at, &by);
            prop_assert_eq!(altered == id.as_str(), Identifier::parse(&altered).is_ok());
        }

        #[test]
        fn never_panics(text in "(1\\.2\\.156\\.3005\\.2\\.)?\\PC{0,90}") {
            let _ = Identifier::parse(&text);
        }

        #[test]
        fn never_panics_near_the_form(parts in prop::collection::vec("[0-9A-Zé]{0,22}", 0..7)) {
            let _ = Identifier::parse(&std::format!("{ROOT}{}", parts.join(".")));
        }
    }
}
