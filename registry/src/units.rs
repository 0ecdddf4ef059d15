//! Admission of units (002-6, 002-8): registering, suspending, restoring.
//!
//! Not yet honoured: `merged_into`, `succeeds`, `entrusted_by`, `admission`.

use crate::authority::{ASSESSOR, MANAGING_CITY, MANAGING_DISTRICT, ROLES, check_seen, has_role, may_manage, may_undo};
use crate::codes::{division, uscc};
use crate::decision::{Change, Decision, View};
use crate::fatal::{Stop, refuse};
use crate::grounds;
use crate::keys;
use crate::reason::Reason;
use crate::text::{is_name, is_other_name};
use std::collections::BTreeSet;
use vermilion_proto::{ChangeUnit, Head, RegisterUnit, Unit, UnitState};

/// Registers a unit (002-6).
pub(crate) fn register(view: &View<'_>, acting: &Unit, body: &RegisterUnit) -> Result<Decision, Stop> {
    let Some(unit) = &body.unit else { return refuse(Reason::FieldForm, "unit") };
    check(unit, view.directory.city().map_or("", |u| u.area.as_str()), view.directory.has_authority())?;
    may_manage(acting, unit)?;
    if has_role(unit, MANAGING_CITY) {
        return refuse(Reason::UnitRole, "the city has one managing unit, that of the genesis");
    }
    if view.directory.unit(&unit.uscc).is_some() {
        return refuse(Reason::AlreadyExists, "unit.uscc");
    }
    Ok(Decision::of(vec![Change::Unit(Box::new(UnitState { unit: Some(unit.clone()), registered_seq: view.seq, ..UnitState::default() }))]))
}

fn is_role(role: &str, has_authority: bool) -> bool {
    ROLES.contains(&role) || (has_authority && role == ASSESSOR)
}

/// Checks a unit by itself: its code, names, roles, and that area and level fit. `city_area` is the
/// city's own area.
pub(crate) fn check(unit: &Unit, city_area: &str, has_authority: bool) -> Result<(), Stop> {
    // A lawful code that fails the check needs a manual confirmation, which this command cannot carry.
    if !uscc::is_valid(&unit.uscc) {
        return refuse(Reason::UnitCode, "unit.uscc");
    }
    if !is_name(&unit.name_zh) || !is_other_name(&unit.name_en) || !is_other_name(&unit.responsible_department) {
        return refuse(Reason::FieldForm, "a name of the unit is missing, too long, or holds a control or hidden character");
    }
    let distinct: BTreeSet<_> = unit.roles.iter().collect();
    if distinct.is_empty() || distinct.len() != unit.roles.len() || !unit.roles.iter().all(|r| is_role(r, has_authority)) {
        return refuse(Reason::UnknownRole, "unit.roles");
    }
    if !matches!(unit.responsible_leader_digest.len(), 0 | 32) {
        return refuse(Reason::FieldForm, "unit.responsible_leader_digest");
    }
    for (field, value) in [
        ("unit.merged_into", &unit.merged_into),
        ("unit.succeeds", &unit.succeeds),
        ("unit.entrusted_by", &unit.entrusted_by),
        ("unit.admission", &unit.admission),
    ] {
        if !value.is_empty() {
            return refuse(Reason::NotYetHonoured, field);
        }
    }
    let level_fits = match unit.level.as_str() {
        "city" => unit.area == city_area && !has_role(unit, MANAGING_DISTRICT),
        "district" => division::is_district_of(&unit.area, city_area) && !has_role(unit, MANAGING_CITY),
        _ => false,
    };
    if level_fits { Ok(()) } else { refuse(Reason::Area, "unit.area, unit.level") }
}

/// Suspends or restores a unit (002-6). The city's managing unit cannot be suspended, and no unit suspends
/// itself: it could not come back. What the city suspended no district restores; what a district did the city may
/// suspend as well. Either names its legal basis and its reason, as a change of a licence does: licences of a
/// suspended unit are the city's to look after.
pub(crate) fn change(view: &View<'_>, acting: &Unit, head: &Head, body: &ChangeUnit) -> Result<Decision, Stop> {
    let Some(state) = view.directory.unit(&body.uscc) else { return refuse(Reason::UnknownUnit, "uscc") };
    let Some(unit) = &state.unit else { return refuse(Reason::UnknownUnit, "uscc") };
    may_manage(acting, unit)?;
    check_seen(view, head, &keys::unit(&body.uscc))?;
    let suspend = match body.action.as_str() {
        "suspend" => true,
        "restore" => false,
        _ => return refuse(Reason::FieldForm, "action"),
    };
    if has_role(unit, MANAGING_CITY) {
        return refuse(Reason::UnitRole, "the city's managing unit cannot be suspended");
    }
    if suspend && acting.uscc == unit.uscc {
        return refuse(Reason::UnitRole, "no unit suspends itself");
    }
    let takes_over = suspend && has_role(acting, MANAGING_CITY) && state.suspended_by != acting.uscc;
    grounds::check(head)?;
    if suspend == state.suspended && !takes_over {
        return refuse(Reason::NothingToChange, "the unit is so already");
    }
    if !suspend {
        may_undo(view, acting, &state.suspended_by)?;
    }
    let suspended_by = if suspend { acting.uscc.clone() } else { String::new() };
    Ok(Decision::of(vec![Change::Unit(Box::new(UnitState { suspended: suspend, suspended_by, ..state.clone() }))]))
}
