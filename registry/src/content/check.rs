//! The checks of a row that need no state.

use super::row::{BASE_FIELDS, Holder, Row, RowOrigin};
use super::type_rules::TypeRules;
use crate::codes::holder_code::{self, CITIZEN_ID, HolderAnswer};
use crate::codes::{citizen_id, dates, dates::Expiry, division, identifier::Identifier};
use crate::reason::{Reason, Refusal};
use crate::text::{MAX_NAME, deceives, is_at_most, is_blank, is_unclear};
use serde_json::Value;
use time::Date;

/// The longest licence number, in characters.
const MAX_NUMBER: usize = 100;
/// The most holders of one licence.
const MAX_HOLDERS: usize = 10;
/// The most members that a type may add.
const MAX_DATA_MEMBERS: usize = 64;
/// The longest name of a member of the data, in bytes.
const MAX_MEMBER_NAME: usize = 64;
/// From so many characters on a person's code does not stand in a serial by chance: a passport's has nine.
const TELLING_CODE: usize = 8;

/// What a row's checks made of it, so that nothing is read twice.
#[derive(Clone, PartialEq, Eq)]
pub struct CheckedRow {
    /// With what warnings the row may be taken.
    pub warnings: Vec<Reason>,
    pub(super) identifier: Identifier,
    pub(super) issued_on: u32,
    pub(super) effective_from: u32,
    /// `None`: without term.
    pub(super) expires_on: Option<u32>,
    /// Version of the type by whose rules it was checked.
    pub(super) type_version: Option<u32>,
}

/// The warnings alone: identifiers may be personal, and do not reach logs.
impl std::fmt::Debug for CheckedRow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CheckedRow").field("warnings", &self.warnings).finish_non_exhaustive()
    }
}

/// Checks a row, in this order: bounds, identifier (form, check, agreement with type and
/// authority), name, dates, holders, the serial against the holders' codes, area, and the data against the type's schema. The answer is what
/// was read on the way, with the warnings with which the row may be taken, or the first refusal.
///
/// Without the type's rules name, data, holders' types and term are left unchecked: the
/// registry answers [`Reason::UnknownType`]. What needs the state (duplicates, version order,
/// who may issue) is the registry's too.
///
/// The authority's name is taken as the unit writes it: a unit is registered under one name for good,
/// while stock bears the name of its time and a licence that names a division that of its government.
/// Who issued says the code.
pub fn check_row(row: &Row, rules: Option<&TypeRules>) -> Result<CheckedRow, Refusal> {
    check_bounds(row)?;
    let identifier = check_identifier(row)?;
    if rules.is_some_and(|rules| rules.code() != row.type_code) {
        return Err(Refusal::new(Reason::UnknownType, "these are another type's rules"));
    }
    // Whoever reads a licence takes it for what it is called, and its type is called so on the ledger; what is
    // older bears the name of its time.
    if row.origin == RowOrigin::New && rules.is_some_and(|rules| rules.name() != row.name) {
        return Err(schema("certificateName is not the name of the type"));
    }
    let Dates { issued, issued_on, effective_from, expires_on } = check_dates(row, identifier.version(), rules)?;
    let warnings = check_holders(&row.holders, issued, rules)?;
    if rules.is_some_and(|rules| !rules.personal_identifier()) {
        check_names_nobody("the identifier's serial", identifier.serial(), &row.holders)?;
    }
    if division::area(&row.area).is_none() {
        return Err(schema("certificateAreaCode is neither a division nor a functional area's code"));
    }
    if let Some(rules) = rules {
        rules.check_data(&row.data, issued)?;
    }
    Ok(CheckedRow { type_version: rules.map(TypeRules::version), identifier, issued_on, effective_from, expires_on, warnings })
}

fn check_bounds(row: &Row) -> Result<(), Refusal> {
    bounded("certificateName", &row.name, MAX_NAME)?;
    bounded("certificateNumber", &row.number, MAX_NUMBER)?;
    bounded("certificateIssuingAuthorityName", &row.authority_name, MAX_NAME)?;
    if !(1..=MAX_HOLDERS).contains(&row.holders.len()) {
        return Err(schema("certificateHolder does not have 1 to 10 holders"));
    }
    for (n, holder) in row.holders.iter().enumerate() {
        bounded("a holder's name", &holder.name, MAX_NAME)?;
        if row.holders[..n].iter().any(|h| h.code == holder.code && h.code_type == holder.code_type) {
            return Err(schema("certificateHolder names a holder twice"));
        }
    }
    let data = row.data.as_object().ok_or_else(|| schema("data is not an object"))?;
    if data.len() > MAX_DATA_MEMBERS {
        return Err(schema("data has more than 64 members"));
    }
    for name in data.keys() {
        if name.is_empty() || name.len() > MAX_MEMBER_NAME || BASE_FIELDS.contains(&name.as_str()) {
            return Err(schema("data has a member whose name is empty, too long, or a base field's"));
        }
    }
    // Rows from disclosures have passed no bound on depth yet: below data there are eight levels.
    if data.values().any(|value| deeper_than(value, 8)) {
        return Err(schema("data is nested too deep"));
    }
    if has_deceptive_text(&row.data) {
        return Err(schema("data holds a control character, or one that hides or turns the text around it"));
    }
    Ok(())
}

/// Lines may end within data, and have tabs; nothing there may show what it does not say, as controls of a terminal do.
/// Called on what is not deep.
fn has_deceptive_text(value: &Value) -> bool {
    match value {
        Value::String(text) => text.chars().any(|c| deceives(c) || (c.is_control() && !matches!(c, '\n' | '\r' | '\t'))),
        Value::Array(list) => list.iter().any(has_deceptive_text),
        Value::Object(map) => map.iter().any(|(name, value)| is_unclear(name) || has_deceptive_text(value)),
        _ => false,
    }
}

fn deeper_than(value: &Value, levels: usize) -> bool {
    let Some(below) = levels.checked_sub(1) else { return value.is_array() || value.is_object() };
    match value {
        Value::Array(list) => list.iter().any(|v| deeper_than(v, below)),
        Value::Object(map) => map.values().any(|v| deeper_than(v, below)),
        _ => false,
    }
}

fn bounded(what: &str, text: &str, max: usize) -> Result<(), Refusal> {
    if is_blank(text) || !is_at_most(text, max) || is_unclear(text) {
        return Err(schema(format!("{what} is empty or blank, longer than {max} characters, or holds a control or hidden character")));
    }
    Ok(())
}

fn check_identifier(row: &Row) -> Result<Identifier, Refusal> {
    let identifier = Identifier::parse(&row.identifier)?;
    if identifier.type_code() != row.type_code {
        return Err(Refusal::new(Reason::IdentifierMismatch, "the identifier names another type than certificateTypeCode"));
    }
    if identifier.authority() != row.authority_code {
        return Err(Refusal::new(
            Reason::IdentifierMismatch,
            "the identifier names another authority than certificateIssuingAuthorityCode",
        ));
    }
    Ok(identifier)
}

/// A row's dates, as days of an item but the first.
struct Dates {
    issued: Date,
    issued_on: u32,
    effective_from: u32,
    expires_on: Option<u32>,
}

/// A new licence's first version is issued for a term that is not over by then. Stock and paper were issued
/// before; a later version may be a correction of what is over, which the registry can tell.
fn check_dates(row: &Row, version: u16, rules: Option<&TypeRules>) -> Result<Dates, Refusal> {
    let date = |name: &str, text: &str| {
        let date = dates::parse(text).ok_or_else(|| validity(format!("{name} is not a date")))?;
        let day = dates::to_day(date).ok_or_else(|| validity(format!("{name} lies before 1900")))?;
        Ok::<_, Refusal>((date, day))
    };
    let (issued, issued_on) = date("certificateIssuedDate", &row.issued)?;
    let (effective, effective_from) = date("certificateEffectiveDate", &row.effective)?;
    let years = rules.and_then(TypeRules::validity_years);
    let expires = match dates::parse_expiry(&row.expiring) {
        None => return Err(validity("certificateExpiringDate is neither a date nor 长期")),
        Some(Expiry::NoTerm) if years.is_some() => return Err(validity("this type has a term, and the licence has none")),
        Some(Expiry::NoTerm) => return Ok(Dates { issued, issued_on, effective_from, expires_on: None }),
        Some(Expiry::On(expires)) => expires,
    };
    // The day of expiry is the last of the term: a permit may be for one day.
    if expires < effective {
        return Err(validity("certificateExpiringDate lies before certificateEffectiveDate"));
    }
    if row.origin == RowOrigin::New && version == 1 && expires < issued {
        return Err(validity("certificateExpiringDate lies before certificateIssuedDate"));
    }
    if let Some(years) = years {
        let last = dates::add_years(effective, years).ok_or_else(|| validity("the term ends after the year 9999"))?;
        if expires > last {
            return Err(validity(format!("the term is longer than the type's {years} years")));
        }
    }
    // After 1900, being no earlier than the effective date.
    let day = dates::to_day(expires).ok_or_else(|| validity("certificateExpiringDate lies before 1900"))?;
    Ok(Dates { issued, issued_on, effective_from, expires_on: Some(day) })
}

/// Codes come before types: a code that fails is wrong for any type. A citizen's number says when its
/// holder was born, and nobody is issued a licence before that: no clock is needed to see it.
fn check_holders(holders: &[Holder], issued: Date, rules: Option<&TypeRules>) -> Result<Vec<Reason>, Refusal> {
    let mut warnings = Vec::new();
    for holder in holders {
        match holder_code::check(&holder.code_type, &holder.code) {
            HolderAnswer::Valid if holder.code_type == CITIZEN_ID && !citizen_id::is_born_by(&holder.code, issued) => {
                return Err(Refusal::new(Reason::HolderCode, "a holder was born after certificateIssuedDate"));
            }
            HolderAnswer::Valid => {}
            HolderAnswer::Unusual if warnings.is_empty() => warnings.push(Reason::HolderCodeUnusual),
            HolderAnswer::Unusual => {}
            HolderAnswer::Invalid => return Err(Reason::HolderCode.into()),
            HolderAnswer::UnknownType => return Err(Reason::HolderType.into()),
        }
    }
    if rules.is_some_and(|rules| holders.iter().any(|h| !rules.takes_holder(&h.code_type))) {
        return Err(Reason::HolderType.into());
    }
    Ok(warnings)
}

/// What stands in the clear for ever is no holder's number: a type whose licences bear it has personal identifiers. Of
/// the row's own natural persons, compared exactly, so that no other number is taken for one; short codes may follow
/// each other in a serial by chance, and count where they are all of it.
pub(super) fn check_names_nobody(what: &str, text: &str, holders: &[Holder]) -> Result<(), Refusal> {
    let named = |holder: &&Holder| {
        let is_person = holder_code::find(&holder.code_type).is_some_and(|of| of.natural_person);
        is_person && (text == holder.code || (holder.code.chars().count() >= TELLING_CODE && text.contains(&holder.code)))
    };
    match holders.iter().find(named) {
        Some(_) => {
            Err(Refusal::new(Reason::PersonalIdentifier, format!("{what} is or has a holder's number, and stands in the clear for ever")))
        }
        None => Ok(()),
    }
}

fn schema(detail: impl Into<String>) -> Refusal {
    Refusal::new(Reason::Schema, detail)
}

fn validity(detail: impl Into<String>) -> Refusal {
    Refusal::new(Reason::Validity, detail)
}
