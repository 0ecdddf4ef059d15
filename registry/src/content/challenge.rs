//! What may be asked of somebody who wants to know a licence's status: a type whose public status is
//! `challenge` answers those who already know a field of the licence, as its holder and whoever was
//! shown it do. What anybody can read off the identifier or the catalogue shows no knowledge.

use super::disclosure::Disclosure;
use super::row::{BASE_FIELDS, base};
use crate::codes::identifier::Identifier;
use serde_json::Value;
use vermilion_crypto::equal_secret;
use vermilion_proto::{FieldClass, FieldRule, LicenceType};

/// From how many characters on a part of the identifier is no coincidence in a value, nor a value in it.
const TELLING: usize = 6;

/// Whether a field and its value may be a challenge for a licence of this type: told from the definition, the
/// identifier and what the asker says alone, so that the answer says nothing of the licence.
///
/// Holders and number may, whatever their class: they stand in no catalogue. The dates and the type's own
/// fields may if they are neither public nor shared in government; the other base fields say what identifier and
/// catalogue say. And no value may that stands in the identifier: a serial is often the licence's number, and
/// that of a driving licence its holder's.
#[must_use]
pub fn may_be(of: &LicenceType, identifier: &Identifier, field: &str, value: &str) -> bool {
    let is_kept = |rules: &[FieldRule]| {
        let class = rules.iter().find(|rule| rule.name == field).map(FieldRule::class);
        matches!(class, Some(FieldClass::Commercial | FieldClass::Personal | FieldClass::Sensitive))
    };
    let may = match field {
        base::HOLDER | base::NUMBER => true,
        base::ISSUED | base::EFFECTIVE | base::EXPIRING => is_kept(&of.base_fields),
        _ => !BASE_FIELDS.contains(&field) && is_kept(&of.fields),
    };
    may && !stands_in(identifier, value)
}

/// Whether a value can be read off the identifier: its digits and letters are one of the parts, but for zeros in
/// front, or one is within the other and long enough to be no coincidence.
fn stands_in(identifier: &Identifier, value: &str) -> bool {
    let value: String = value.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_uppercase()).collect();
    let of_part = |part: &str| {
        let same = value.trim_start_matches('0') == part.trim_start_matches('0');
        same || (part.len() >= TELLING && value.contains(part)) || (value.len() >= TELLING && part.contains(&value))
    };
    !value.is_empty() && [identifier.type_code(), identifier.authority(), identifier.serial()].into_iter().any(of_part)
}

/// Whether the content has the field with this value. Of the holders the name or the code of one is enough. All
/// fields are looked at, whichever it is.
#[must_use]
pub fn is_met(content: &[Disclosure], field: &str, value: &str) -> bool {
    content.iter().fold(false, |met, disclosure| met | (disclosure.name() == field && is_value(disclosure.value(), field, value)))
}

fn is_value(found: &Value, field: &str, value: &str) -> bool {
    let equal = |text: &str| equal_secret(text.as_bytes(), value.as_bytes());
    match found {
        Value::Array(holders) if field == base::HOLDER => {
            let texts = holders.iter().flat_map(|holder| [&holder["name"], &holder["code"]]).filter_map(Value::as_str);
            texts.fold(false, |met, text| met | equal(text))
        }
        Value::String(text) => equal(text),
        other => equal(&other.to_string()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::content::fixtures;
    use crate::content::{Row, parse_row};

    fn row(no: &str) -> Row {
        fixtures::lines().map(|line| parse_row(line).unwrap()).find(|row| row.type_code.ends_with(no)).unwrap()
    }

    fn type_of(row: &Row) -> LicenceType {
        fixtures::types().into_iter().find(|of| of.code == row.type_code).unwrap()
    }

    fn disclosures(row: &Row) -> Vec<Disclosure> {
        let base = BASE_FIELDS.into_iter().map(|name| (name.to_owned(), serde_json::to_value(row.base_value(name).unwrap()).unwrap()));
        let data = row.data_members().map(|(name, value)| (name.clone(), value.clone()));
        base.chain(data).map(|(name, value)| Disclosure::new(&[1; 16], &name, value).unwrap()).collect()
    }

    /// Whether this very value of the row's would open the status.
    fn opens(row: &Row, field: &str, value: &str) -> bool {
        let identifier = Identifier::parse(&row.identifier).unwrap();
        let met = is_met(&disclosures(row), field, value);
        assert!(met, "{field} is {value}");
        met && may_be(&type_of(row), &identifier, field, value)
    }

    #[test]
    fn what_identifier_and_catalogue_say_is_no_challenge() {
        for no in ["K001", "K003", "K010"] {
            let row = row(no);
            for (field, value) in [
                (base::IDENTIFIER, row.identifier.as_str()),
                (base::TYPE_CODE, &row.type_code),
                (base::NAME, &row.name),
                (base::AUTHORITY_NAME, &row.authority_name),
                (base::AUTHORITY_CODE, &row.authority_code),
                (base::AREA, &row.area),
                (base::ORIGIN, "new"),
                (base::ISSUED, &row.issued),
                (base::EFFECTIVE, &row.effective),
                (base::EXPIRING, &row.expiring),
                // Of the sample rows the serial is the number.
                (base::NUMBER, &row.number),
            ] {
                assert!(!opens(&row, field, value), "{no} {field}");
            }
        }
        let site = row("K010");
        assert!(!opens(&site, "site", site.data["site"].as_str().unwrap()), "public");
        assert!(!opens(&site, "areaSquareMetres", &site.data["areaSquareMetres"].to_string()), "shared in government");
    }

    #[test]
    fn what_only_who_knows_the_licence_knows_is_one() {
        let site = row("K010");
        assert!(opens(&site, "lessor", site.data["lessor"].as_str().unwrap()));
        assert!(opens(&site, base::HOLDER, &site.holders[0].name) && opens(&site, base::HOLDER, &site.holders[0].code));
        let works = row("K007");
        assert!(opens(&works, "contractPrice", &works.data["contractPrice"].to_string()), "a commercial secret");
        // Of two holders each.
        let marriage = row("K008");
        assert!(marriage.holders.iter().all(|holder| opens(&marriage, base::HOLDER, &holder.name)));
        let fields = disclosures(&marriage);
        assert!(!is_met(&fields, base::HOLDER, "111") && !is_met(&fields, base::HOLDER, "") && !is_met(&fields, "nothing", "x"));
    }

    #[test]
    fn dates_go_by_their_class_and_a_field_without_a_rule_is_none() {
        let row = row("K010");
        let identifier = Identifier::parse(&row.identifier).unwrap();
        let mut of = type_of(&row);
        of.base_fields.push(FieldRule { name: base::ISSUED.into(), class: FieldClass::Personal.into(), ..FieldRule::default() });
        assert!(may_be(&of, &identifier, base::ISSUED, &row.issued));
        assert!(!may_be(&of, &identifier, base::EXPIRING, &row.expiring));
        // No class makes a challenge of what the catalogue says.
        of.base_fields.push(FieldRule { name: base::AREA.into(), class: FieldClass::Sensitive.into(), ..FieldRule::default() });
        assert!(!may_be(&of, &identifier, base::AREA, &row.area));
        of.fields.clear();
        assert!(!may_be(&of, &identifier, "lessor", "x"));
    }

    #[test]
    fn a_value_that_stands_in_the_identifier_is_none() {
        let of = type_of(&row("K010"));
        let may = |serial: &str, value: &str| {
            let identifier = Identifier::build(&of.code, "11440300MB0X010112", serial, 1).unwrap();
            may_be(&of, &identifier, base::NUMBER, value)
        };
        assert!(!may("20260017", "20260017") && !may("20260017", "深证字(2026)第0017号") && !may("00000017", "17"));
        assert!(!may("JY14403030000012", "jy1440303 0000012") && !may("JY14403030000012", "14403030000012"));
        assert!(!may("1", "11440300MB0X010112"), "the authority stands there too");
        assert!(may("20260017", "粤(2026)深圳市不动产权第0009421号") && may("1", "2026-113"), "one digit is a coincidence");
        // The holder of a driving licence has the licence's number.
        let driver = row("K009");
        assert!(!opens(&driver, base::HOLDER, &driver.holders[0].code) && opens(&driver, base::HOLDER, &driver.holders[0].name));
    }
}
