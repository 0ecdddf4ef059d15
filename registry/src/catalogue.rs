//! The catalogue of licence types (证照目录) and who issues them (002-3, 002-5, 002-9, 002-13).
//!
//! A type's definition is checked for what the rules rest on. Its JSON Schema is only required to
//! stand in braces and be of bounded size: whether contents fit it is asked at the door, by whoever may
//! open them.

use crate::authorisation::require;
use crate::authority::{ASSESSOR, ISSUING, MANAGING_CITY, ROLES, check_seen, has_role, may_manage};
use crate::codes::{division, holder_code, identifier, uscc};
use crate::command::Kind;
use crate::content::{BASE_FIELDS, base_classes};
use crate::decision::{Change, Decision, View};
use crate::fatal::{Stop, refuse};
use crate::keys;
use crate::reason::Reason;
use crate::text::{is_blank, is_field_name, is_name, is_other_name, is_unclear};
use std::collections::BTreeSet;
use vermilion_proto::{
    FieldClass, FieldRule, Head, IdentifierClass, Implementation, LicenceType, PublicStatus, PublishImplementation, PublishType, Sharing,
    TypeState, Unit, UnitState,
};

/// The seven kinds of licence (002-3): 证件, 执照, 牌照, 证明, 批文, 鉴定报告, 办事结果.
pub const KINDS: [&str; 7] = ["证件", "执照", "牌照", "证明", "批文", "鉴定报告", "办事结果"];

/// The longest JSON Schema of a type, in bytes.
pub(crate) const MAX_SCHEMA: usize = 64 * 1024;
pub(crate) const MAX_TEXT: usize = 4096;
/// The longest code or entry of a list, in bytes.
pub(crate) const MAX_CODE: usize = 200;
/// The most fields of a type's own.
pub(crate) const MAX_FIELDS: usize = 64;
/// The longest term that a type may have.
pub(crate) const MAX_VALIDITY_YEARS: u32 = 100;
/// The longest retention.
const MAX_RETENTION_YEARS: u32 = 1000;
pub(crate) const MAX_LIST: usize = 256;
const MAX_IMPLEMENTATIONS: usize = 1000;

/// Publishes a type's first or next version, with the units that may issue it (002-9).
pub(crate) fn publish(view: &View<'_>, acting: &Unit, head: &Head, body: &PublishType) -> Result<Decision, Stop> {
    require(Kind::PublishType, acting)?;
    let Some(definition) = &body.r#type else { return refuse(Reason::FieldForm, "type") };
    check_definition(definition)?;
    check_seen(view, head, &keys::licence_type(&definition.code))?;
    let current = view.directory.licence_type(&definition.code).and_then(|t| t.r#type.as_ref());
    if definition.version != current.map_or(0, |t| t.version).saturating_add(1) {
        return refuse(Reason::TypeVersionGap, "type.version");
    }
    // A licence keeps its identifier from version to version: as a number in the clear, or as a tag.
    if current.is_some_and(|t| t.identifier_class != definition.identifier_class) {
        return refuse(Reason::TypeInvalid, "type.identifier_class is not that of the version before");
    }
    check_implementations(view, acting, &body.implementations)?;
    Ok(Decision::of(vec![Change::Type(Box::new(TypeState {
        r#type: Some(definition.clone()),
        implementations: body.implementations.clone(),
        published_seq: view.seq,
    }))]))
}

/// Adds, replaces and removes the units that issue a type (002-9). A district's managing unit does
/// so for units of its district.
pub(crate) fn implement(view: &View<'_>, acting: &Unit, head: &Head, body: &PublishImplementation) -> Result<Decision, Stop> {
    require(Kind::PublishImplementation, acting)?;
    let Some(state) = view.directory.licence_type(&body.type_code) else { return refuse(Reason::UnknownType, "type_code") };
    for uscc in body.add.iter().map(|i| &i.unit).chain(&body.remove_units) {
        let Some(UnitState { unit: Some(unit), .. }) = view.directory.unit(uscc) else {
            return refuse(Reason::UnknownUnit, "a unit of the implementation");
        };
        may_manage(acting, unit)?;
    }
    check_seen(view, head, &keys::licence_type(&body.type_code))?;
    check_implementations(view, acting, &body.add)?;
    let mut implementations = state.implementations.clone();
    for uscc in &body.remove_units {
        let before = implementations.len();
        implementations.retain(|i| i.unit != *uscc);
        if implementations.len() == before || body.add.iter().any(|i| i.unit == *uscc) {
            return refuse(Reason::NothingToChange, "remove_units");
        }
    }
    for added in &body.add {
        match implementations.iter_mut().find(|i| i.unit == added.unit) {
            Some(old) => *old = added.clone(),
            None => implementations.push(added.clone()),
        }
    }
    if implementations == state.implementations {
        return refuse(Reason::NothingToChange, "the implementations are so already");
    }
    if implementations.len() > MAX_IMPLEMENTATIONS {
        return refuse(Reason::TooLarge, "implementations");
    }
    Ok(Decision::of(vec![Change::Type(Box::new(TypeState { implementations, ..state.clone() }))]))
}

fn check_implementations(view: &View<'_>, acting: &Unit, implementations: &[Implementation]) -> Result<(), Stop> {
    if implementations.len() > MAX_IMPLEMENTATIONS {
        return refuse(Reason::TooLarge, "implementations");
    }
    let mut units = BTreeSet::new();
    for implementation in implementations {
        let Some(UnitState { unit: Some(unit), .. }) = view.directory.unit(&implementation.unit) else {
            return refuse(Reason::UnknownUnit, "implementation.unit");
        };
        if !has_role(unit, ISSUING) {
            return refuse(Reason::UnitRole, "implementation.unit is no issuing unit");
        }
        // An area is the acting unit's to give: a district its own, the city any of its areas.
        let area = implementation.area.as_str();
        let of_the_city = has_role(acting, MANAGING_CITY) && division::is_district_of(area, &acting.area);
        if !area.is_empty() && area != acting.area && !of_the_city {
            return refuse(Reason::Area, "implementation.area");
        }
        let long = [&implementation.area, &implementation.own_code, &implementation.seal_id].into_iter().any(|t| t.len() > MAX_CODE);
        let unclear = is_unclear(&implementation.own_code) || is_unclear(&implementation.seal_id);
        if long || unclear || !units.insert(&implementation.unit) {
            return refuse(Reason::TypeInvalid, "implementations");
        }
    }
    Ok(())
}

/// Checks a definition by itself.
pub(crate) fn check_definition(t: &LicenceType) -> Result<(), Stop> {
    let invalid = |field: &str| refuse(Reason::TypeInvalid, format!("type.{field}"));
    if !identifier::is_type_code(&t.code) || !uscc::is_valid(&t.defining_authority) || t.code.get(..18) != Some(&t.defining_authority) {
        return invalid("code, defining_authority");
    }
    if !is_name(&t.name_zh) || !is_other_name(&t.name_en) || !is_other_name(&t.defining_level) {
        return invalid("name_zh, name_en, defining_level: missing, too long, or a control or hidden character");
    }
    if !KINDS.contains(&t.kind.as_str()) {
        return invalid("kind");
    }
    if !is_set(&t.holder_code_types) || t.holder_code_types.iter().any(|c| holder_code::find(c).is_none()) {
        return invalid("holder_code_types");
    }
    if !matches!(IdentifierClass::try_from(t.identifier_class), Ok(IdentifierClass::Public | IdentifierClass::Personal)) {
        return invalid("identifier_class");
    }
    if PublicStatus::try_from(t.public_status).is_err() {
        return invalid("public_status");
    }
    if t.content_schema.len() > MAX_SCHEMA || !looks_like_an_object(&t.content_schema) {
        return invalid("content_schema");
    }
    let is_base = |rule: &FieldRule| BASE_FIELDS.contains(&rule.name.as_str());
    if t.fields.len() > MAX_FIELDS
        || t.fields.iter().any(is_base)
        || !t.base_fields.iter().all(is_base)
        || !are_field_rules(t.fields.iter().chain(&t.base_fields))
    {
        return invalid("fields, base_fields");
    }
    if t.validity_years > MAX_VALIDITY_YEARS || t.retention_years > MAX_RETENTION_YEARS {
        return invalid("validity_years, retention_years");
    }
    let lists = [&t.service_items, &t.holder_categories];
    if t.face_template.len() > MAX_TEXT || t.application_scope.len() > MAX_TEXT || !lists.into_iter().all(|l| is_set(l)) {
        return invalid("face_template, application_scope, service_items, holder_categories");
    }
    check_sharing(t)
}

/// Sharing is unconditional on principle; anything less rests on law, and is for what holds commercial secrets or
/// sensitive information (002-13), as the classes of the fields say. Whom and how are said of conditional sharing alone.
fn check_sharing(t: &LicenceType) -> Result<(), Stop> {
    let Some(decision) = &t.sharing else { return refuse(Reason::TypeInvalid, "type.sharing") };
    let sharing = match Sharing::try_from(decision.sharing) {
        Ok(sharing) if sharing != Sharing::Unspecified => sharing,
        Ok(_) | Err(_) => return refuse(Reason::TypeInvalid, "type.sharing.sharing"),
    };
    if sharing != Sharing::Unconditional && is_blank(&decision.legal_basis) {
        return refuse(Reason::LegalBasisMissing, "type.sharing.legal_basis");
    }
    if sharing != Sharing::Unconditional && !has_restricted_field(t) {
        return refuse(Reason::TypeInvalid, "type.sharing: no field is commercial, personal or sensitive");
    }
    let modes = decision.modes.iter().all(|m| matches!(m.as_str(), "manual" | "interface"));
    // A scope that names nobody would share with nobody, and one beside another decision says nothing.
    let scope = decision.scope.iter().all(|who| is_role(who) || uscc::is_valid(who));
    let is_bounded = !decision.scope.is_empty() || !decision.modes.is_empty();
    if !modes
        || !scope
        || (is_bounded && sharing != Sharing::Conditional)
        || !is_set(&decision.scope)
        || !is_set(&decision.modes)
        || decision.legal_basis.len() > MAX_TEXT
    {
        return refuse(Reason::TypeInvalid, "type.sharing");
    }
    Ok(())
}

/// Whether a field, or a base field by its rule or by default, is commercial, personal or sensitive.
fn has_restricted_field(t: &LicenceType) -> bool {
    let is_restricted = |class: FieldClass| matches!(class, FieldClass::Commercial | FieldClass::Personal | FieldClass::Sensitive);
    t.fields.iter().any(|rule| is_restricted(rule.class())) || base_classes(t).is_ok_and(|classes| classes.into_values().any(is_restricted))
}

fn is_role(word: &str) -> bool {
    ROLES.contains(&word) || word == ASSESSOR
}

fn is_set(list: &[String]) -> bool {
    let set: BTreeSet<_> = list.iter().collect();
    list.len() <= MAX_LIST && set.len() == list.len() && list.iter().all(|e| !e.is_empty() && e.len() <= MAX_CODE)
}

/// Whether it looks like a JSON object. What stands between the braces no library may decide here, whose next
/// version might answer an old record otherwise; the door compiles the schema.
fn looks_like_an_object(text: &str) -> bool {
    let text = text.trim_ascii();
    text.len() > 1 && text.starts_with('{') && text.ends_with('}')
}

fn are_field_rules<'a>(rules: impl Iterator<Item = &'a FieldRule>) -> bool {
    let mut names = BTreeSet::new();
    rules.into_iter().all(|rule| {
        let class = FieldClass::try_from(rule.class).is_ok_and(|c| c != FieldClass::Unspecified);
        class && is_field_name(&rule.name) && rule.mask.len() <= MAX_CODE && names.insert(&rule.name)
    })
}
