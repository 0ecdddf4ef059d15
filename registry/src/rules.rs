//! The rules by version. A record carries the version under which it was decided; replaying it
//! under that version gives the same answer for ever. A change of the rules gets a new version and
//! a new arm here; the old arm stays.

use crate::authority;
use crate::command::{Checked, Kind};
use crate::decision::{Decision, View};
use crate::fatal::{Fatal, Stop, refuse};
use crate::reason::Reason;
use crate::{
    admission, authorisation, catalogue, certificates, change_status, commitment, erase, issue, operators, rotation, set_policy, supersede,
    units, use_licences,
};
use vermilion_proto::{Head, body::Of};

/// The version under which new records are decided.
pub const RULES_VERSION: u32 = 1;

/// Decides a command under a version of the rules.
pub(crate) fn decide(rules: u32, view: &View<'_>, checked: &Checked, head: &Head) -> Result<Decision, Stop> {
    match rules {
        1 => version_1(view, checked, head),
        other => Err(Fatal::Rules(other).into()),
    }
}

fn version_1(view: &View<'_>, checked: &Checked, head: &Head) -> Result<Decision, Stop> {
    let Some(body) = checked.command.body.as_ref().and_then(|b| b.of.as_ref()) else {
        return refuse(Reason::Malformed, "the command has no body");
    };
    let kind = Kind::of(body);
    authority::check_head(view, head, kind)?;
    let carries_items = matches!(kind, Kind::Issue | Kind::Supersede);
    if !carries_items && !checked.items.is_empty() {
        return refuse(Reason::BesideMismatch, "the command carries no items");
    }
    match body {
        Of::Genesis(_) => return refuse(Reason::AlreadyExists, "the ledger has its genesis"),
        Of::Commitment(body) => return commitment::commit(view, checked, head, body),
        Of::IssueCertificate(body) if view.directory.has_authority() => return certificates::issue(view, checked, head, body),
        _ => {}
    }
    if kind.is_of_identity() && !view.directory.has_authority() {
        return refuse(Reason::NoAuthority, Reason::NoAuthority.english());
    }
    let unit = authority::check_signers(view, checked, head, kind)?;
    if kind.is_of_identity() {
        authorisation::require(kind, unit)?;
    }
    match body {
        Of::RegisterUnit(body) => units::register(view, unit, body),
        Of::ChangeUnit(body) => units::change(view, unit, head, body),
        Of::AddOperator(body) => operators::add(view, unit, body),
        Of::RevokeOperator(body) => operators::revoke(view, unit, head, body),
        Of::PublishType(body) => catalogue::publish(view, unit, head, body),
        Of::PublishImplementation(body) => catalogue::implement(view, unit, head, body),
        Of::IssueLicences(body) => issue::issue(view, unit, checked, body),
        Of::ChangeStatus(body) => change_status::change(view, unit, head, body),
        Of::SupersedeLicence(body) => supersede::supersede(view, unit, head, checked, body),
        Of::Use(body) => use_licences::decide(view, unit, head, body),
        Of::EraseContent(body) => erase::erase(view, unit, head, body),
        Of::SetPolicy(body) => set_policy::set(view, unit, head, body),
        Of::ApplyAdmission(body) => admission::apply(view, unit, body),
        Of::ReportTest(body) => admission::report(view, unit, head, body),
        Of::ApproveAdmission(body) => admission::approve(view, head, body),
        Of::ConnectSystem(body) => admission::connect(view, head, body),
        Of::NotifyChange(body) => admission::notify(view, unit, head, body),
        Of::BanSystem(body) => admission::ban(view, head, body),
        Of::RemedySystem(body) => admission::remedy(view, unit, head, body),
        Of::RetireSystem(body) => admission::retire(view, unit, head, body),
        Of::GrantEnrolment(body) => certificates::grant(view, unit, body),
        Of::ReplaceAuthority(body) => certificates::replace(view, body),
        Of::RotateKey(body) => rotation::rotate(view, body),
        Of::RevokeCertificate(body) => certificates::revoke(view, unit, head, body),
        Of::SuspendCertificate(body) => certificates::suspend(view, unit, head, body),
        Of::RestoreCertificate(body) => certificates::restore(view, unit, head, body),
        Of::Genesis(_) | Of::Commitment(_) | Of::IssueCertificate(_) => refuse(Reason::Malformed, "body"),
    }
}
