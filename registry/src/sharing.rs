//! What a use may see of a licence: the sharing decision of its type (002-13), then the class of
//! each field (002-24), under the authority that the use invokes (002-14).
//!
//! | sharing | who |
//! |---|---|
//! | unconditional | every using, issuing or managing unit |
//! | conditional | the issuing unit and the city's managing unit; units and roles in the decision's scope; where the decision has no scope, whoever has the holder's consent; all of them only in the decision's modes |
//! | none | the issuing unit alone |
//!
//! | class | granted |
//! |---|---|
//! | public, government | always |
//! | commercial secret, personal | if the type discloses the field by default, or with the holder's consent |
//! | sensitive personal | with the holder's consent, and only if asked for by name |
//!
//! The holder's consent is a use in the holder's presence or on his mandate, with its consent or
//! use code.

use crate::authority::{MANAGING_CITY, has_role};
use crate::reason::Reason;
use std::collections::BTreeMap;
use vermilion_proto::{Authority, FieldClass, FieldRefusal, FieldRule, LicenceType, Mode, Sharing, Unit, Use};

/// One licence of a use: its type's current definition and its issuing unit.
pub(crate) struct Asked<'a> {
    pub definition: &'a LicenceType,
    pub issuer: &'a str,
}

/// Whether a use stands on the holder's consent.
#[must_use]
pub fn has_consent(body: &Use) -> bool {
    matches!(Authority::try_from(body.authority), Ok(Authority::HolderPresent | Authority::Entrusted)) && !body.consent_id.is_empty()
}

/// Why a type's licences issued by `issuer` are closed to this use by `unit`, if they are.
#[must_use]
pub fn closed(unit: &Unit, body: &Use, definition: &LicenceType, issuer: &str) -> Option<Reason> {
    let Some(decision) = &definition.sharing else { return Some(Reason::NotShared) };
    match Sharing::try_from(decision.sharing) {
        Ok(Sharing::Unconditional) => None,
        Ok(Sharing::Conditional) => {
            let mode = match Mode::try_from(body.mode) {
                Ok(Mode::Manual) => "manual",
                Ok(Mode::Interface) => "interface",
                _ => "",
            };
            let in_mode = decision.modes.is_empty() || decision.modes.iter().any(|m| m == mode);
            let own = issuer == unit.uscc || has_role(unit, MANAGING_CITY);
            let in_scope = decision.scope.iter().any(|s| *s == unit.uscc || has_role(unit, s));
            let by_consent = decision.scope.is_empty() && has_consent(body);
            (!in_mode || !(own || in_scope || by_consent)).then_some(Reason::OutsideScope)
        }
        Ok(Sharing::None) => (issuer != unit.uscc).then_some(Reason::NotShared),
        Ok(Sharing::Unspecified) | Err(_) => Some(Reason::NotShared),
    }
}

/// Why a use is closed as a whole: of the licences it names, the first that is closed to it says so.
pub(crate) fn first_closed(unit: &Unit, body: &Use, asked: &[Asked<'_>]) -> Option<Reason> {
    asked.iter().find_map(|a| closed(unit, body, a.definition, a.issuer))
}

/// Whether a type's definition has a rule for the field. Of each licence in a use, no more is disclosed
/// than what its own type's current definition knows.
#[must_use]
pub fn has_rule(definition: &LicenceType, field: &str) -> bool {
    rules(definition).any(|rule| rule.name == field)
}

/// What is granted and what withheld, in the order of names.
#[derive(Default)]
pub(crate) struct Grants {
    pub granted: Vec<String>,
    pub withheld: Vec<FieldRefusal>,
}

impl Grants {
    /// Whether there is no field at all.
    pub fn is_empty(&self) -> bool {
        self.granted.is_empty() && self.withheld.is_empty()
    }
}

/// Decides each field by its name, over all licences of a use. A field is granted if every licence
/// whose type has it grants it; so what one licence withholds is withheld of all. A name that no
/// type has is unknown. Asked for none, the types' default disclosures are meant. Where one licence is
/// closed to the use ([`first_closed`]), none of its fields is granted, whichever licence has it.
pub(crate) fn grants(body: &Use, asked: &[Asked<'_>], closed: Option<Reason>) -> Grants {
    let consent = has_consent(body);
    let by_name = !body.fields.is_empty();
    let mut fields: BTreeMap<&str, Option<Reason>> = body.fields.iter().map(|f| (f.as_str(), Some(Reason::UnknownField))).collect();
    if !by_name {
        let all = asked.iter().flat_map(|a| rules(a.definition)).filter(|r| r.disclosed_by_default);
        fields.extend(all.map(|r| (r.name.as_str(), Some(Reason::UnknownField))));
    }
    for licence in asked {
        for rule in rules(licence.definition) {
            let Some(answer) = fields.get_mut(rule.name.as_str()) else { continue };
            let refused = closed.or_else(|| withheld(rule, consent, by_name));
            // The first refusal stands; the first type that has the field ends its being unknown.
            if matches!(answer, Some(Reason::UnknownField) | None) {
                *answer = refused;
            }
        }
    }
    let mut out = Grants::default();
    for (field, refused) in fields {
        match refused {
            None => out.granted.push(field.to_owned()),
            Some(reason) => out.withheld.push(FieldRefusal { field: field.to_owned(), code: reason.number() }),
        }
    }
    out
}

fn rules(definition: &LicenceType) -> impl Iterator<Item = &FieldRule> {
    definition.fields.iter().chain(&definition.base_fields)
}

fn withheld(rule: &FieldRule, consent: bool, by_name: bool) -> Option<Reason> {
    let granted = match FieldClass::try_from(rule.class) {
        Ok(FieldClass::Public | FieldClass::Government) => true,
        Ok(FieldClass::Commercial | FieldClass::Personal) => rule.disclosed_by_default || consent,
        Ok(FieldClass::Sensitive) => consent && by_name,
        Ok(FieldClass::Unspecified) | Err(_) => false,
    };
    (!granted).then_some(Reason::FieldNotGranted)
}
