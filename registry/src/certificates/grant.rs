//! Grants of enrolment: three people say whom the next certificate may be issued to. The token that
//! the applicant shows is known here only by its hash; it serves once, for this applicant, until
//! its end (001-18: the applicant's materials are checked before, by who signs).

use super::stand::{lifted, names, suspended_of};
use super::{applicant_of, is_person};
use crate::admission::{State, is_dns_label};
use crate::authority::{may_manage, may_undo};
use crate::decision::{Change, Decision, View};
use crate::fatal::{Stop, refuse};
use crate::keys;
use crate::reason::Reason;
use crate::value;
use std::collections::BTreeSet;
use vermilion_crypto::KeyId;
use vermilion_identity::Certificate;
use vermilion_proto::{Applicant, CertificateState, EnrolmentState, GrantEnrolment, OperatorState, Unit, UnitState};

/// Grants an enrolment: by who manages the applicant's unit.
pub(crate) fn grant(view: &View<'_>, acting: &Unit, body: &GrantEnrolment) -> Result<Decision, Stop> {
    let Some(applicant) = &body.applicant else { return refuse(Reason::FieldForm, "applicant") };
    if body.token_hash.len() != 32 {
        return refuse(Reason::FieldForm, "token_hash is not 32 bytes");
    }
    let unit = check_applicant(view, applicant)?;
    may_manage(acting, unit)?;
    // A new certificate would undo the suspension of the one before.
    for suspended in suspended_of(view, &names(applicant))? {
        may_undo(view, acting, &suspended.suspended_by)?;
    }
    if body.until_ms <= view.now_ms || body.until_ms - view.now_ms > view.policy.enrolment_max_ms {
        return refuse(Reason::GrantTerm, "until_ms");
    }
    if value::get::<EnrolmentState>(view.kv, &keys::enrolment(&body.token_hash))?.is_some() {
        return refuse(Reason::AlreadyExists, "token_hash");
    }
    Ok(Decision::of(vec![Change::Enrolment(EnrolmentState { grant: Some(body.clone()), granted_seq: view.seq, used_seq: 0 })]))
}

/// Uses a grant up, if it is for this certificate. Whoever granted it may undo what was suspended before, and so does.
pub(super) fn spend(view: &View<'_>, token_hash: &[u8], certificate: &Certificate) -> Result<Vec<Change>, Stop> {
    let found: Option<EnrolmentState> = value::get(view.kv, &keys::enrolment(token_hash))?;
    let Some(state @ EnrolmentState { grant: Some(grant), .. }) = &found else { return refuse(Reason::UnknownGrant, "token_hash") };
    if state.used_seq != 0 {
        return refuse(Reason::GrantUsed, format!("by record {}", state.used_seq));
    }
    if view.now_ms >= grant.until_ms {
        return refuse(Reason::GrantExpired, "until_ms");
    }
    if grant.applicant.as_ref() != Some(&applicant_of(&certificate.subject)) {
        return refuse(Reason::GrantApplicant, "applicant");
    }
    let suspended = suspended_of(view, &names(&applicant_of(&certificate.subject)))?;
    let after = |of: &CertificateState| of.changed_seq > state.granted_seq;
    if suspended.iter().any(after) {
        let why = "after the grant a certificate of the applicant was suspended, or revoked while it was";
        return refuse(Reason::CertificateSuspended, why);
    }
    let used = Change::Enrolment(EnrolmentState { used_seq: view.seq, ..state.clone() });
    Ok([used].into_iter().chain(lifted(suspended)).collect())
}

/// Whether the register knows such an applicant, and its unit may act or runs a node with it. Returns the unit.
pub(super) fn check_applicant<'a>(view: &View<'a>, of: &Applicant) -> Result<&'a Unit, Stop> {
    let Some(UnitState { unit: Some(unit), suspended, .. }) = view.directory.unit(&of.unit) else {
        return refuse(Reason::UnknownUnit, "applicant.unit");
    };
    // A node that is connected has a vote whatever becomes of its unit: nobody is served by one that cannot be reached.
    let runs = of.kind == "node" && view.directory.node(of.raft_id).is_some();
    if *suspended && !runs {
        return refuse(Reason::UnitSuspended, "applicant.unit");
    }
    let differs = |field: &str| refuse(Reason::CertificateSubject, format!("applicant.{field}"));
    if (of.raft_id != 0) != (of.kind == "node") || (!is_person(of) && (!of.posts.is_empty() || !is_dns_label(&of.name))) {
        return refuse(Reason::FieldForm, "applicant");
    }
    match of.kind.as_str() {
        "node" => {
            let Some(admission) = view.directory.admission_of_node(of.raft_id) else {
                return refuse(Reason::UnknownSystem, "applicant.raft_id");
            };
            if admission.node.as_ref().is_none_or(|n| n.name != of.name) || admission.unit != of.unit {
                return differs("name or unit");
            }
            admitted(admission.state)?;
        }
        "unit-system" => {
            let Some(admission) = view.directory.admission(&super::holder(of)) else {
                return refuse(Reason::UnknownSystem, "applicant.name");
            };
            admitted(admission.state)?;
        }
        "operator" | "auditor" => check_person(view, of, unit)?,
        _ => return refuse(Reason::FieldForm, "applicant.kind"),
    }
    Ok(unit)
}

fn admitted(state: u32) -> Result<(), Stop> {
    let state = State::from_number(state);
    if state.is_some_and(State::may_be_certified) {
        return Ok(());
    }
    refuse(Reason::NotAdmitted, format!("it is {}", state.map_or("unknown", State::name)))
}

/// A person is an operator whose key is registered; the posts named are among those held.
fn check_person(view: &View<'_>, of: &Applicant, unit: &Unit) -> Result<(), Stop> {
    let key_id = hex::decode(&of.name).ok().and_then(|id| KeyId::try_from(id).ok()).filter(|id| hex::encode(id) == of.name);
    let Some(key_id) = key_id else { return refuse(Reason::FieldForm, "applicant.name is no key id") };
    let Some(OperatorState { operator: Some(operator), revoked, suspended, .. }) = view.directory.operator(&key_id) else {
        return refuse(Reason::UnknownOperator, "applicant.name");
    };
    if *revoked {
        return refuse(Reason::SignerRevoked, "applicant.name");
    }
    // What bars the key bars it under a new certificate too.
    if *suspended {
        return refuse(Reason::CertificateSuspended, "applicant.name");
    }
    if operator.unit != of.unit {
        return refuse(Reason::WrongUnit, "applicant.unit");
    }
    if of.kind == "auditor" && !crate::authority::has_role(unit, crate::authority::AUDITOR) {
        return refuse(Reason::UnitRole, "an auditor is of an auditing unit");
    }
    let held: BTreeSet<&String> = operator.posts.iter().collect();
    let ascending = of.posts.is_sorted_by(|a, b| a < b);
    if !ascending || !of.posts.iter().all(|p| held.contains(p)) || (of.posts.is_empty() && of.kind == "operator") {
        return refuse(Reason::PostNotHeld, "applicant.posts");
    }
    Ok(())
}
