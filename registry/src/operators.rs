//! Operators: keys of named people in posts (002-21, 002-25). A key is registered once and never
//! comes back; a person tag ties the keys of one human together without saying who it is.
//!
//! Not yet honoured: `certificate_digest` (external certificates).

use crate::authority::{check_seen, may_manage, may_undo};
use crate::certificates;
use crate::command::Kind;
use crate::custody;
use crate::decision::{Change, Decision, View};
use crate::directory;
use crate::fatal::{Stop, refuse};
use crate::grounds;
use crate::keys;
use crate::reason::Reason;
use crate::taken;
use std::collections::BTreeSet;
use vermilion_crypto::{SUITE_1, check_registrable};
use vermilion_proto::{AddOperator, Head, Operator, OperatorState, RevokeOperator, Unit, UnitState};

/// RFC 5280: the holder no longer belongs where the certificate says.
const AFFILIATION_CHANGED: u32 = 3;
const MAX_SERIAL: usize = 128;

/// Registers an operator's key (002-21). One for a person with a key that is suspended is for who may undo that, whether
/// its certificate or the key was revoked since.
pub(crate) fn add(view: &View<'_>, acting: &Unit, body: &AddOperator) -> Result<Decision, Stop> {
    let Some(operator) = &body.operator else { return refuse(Reason::FieldForm, "operator") };
    let Some(UnitState { unit: Some(unit), .. }) = view.directory.unit(&operator.unit) else {
        return refuse(Reason::UnknownUnit, "operator.unit");
    };
    may_manage(acting, unit)?;
    check(operator, &view.policy.defined_posts)?;
    if let Some(whose) = taken::whose(view, &operator.public_key)? {
        return refuse(Reason::AlreadyExists, format!("operator.public_key is {whose}"));
    }
    if view.directory.has_authority() {
        custody::check_operator(operator, custody::in_force(view.directory))?;
    }
    let mut changes = vec![Change::Operator(Box::new(added(operator, view.seq)))];
    let barred = view.directory.operators.values().filter(|s| s.suspended).filter_map(|s| s.operator.as_ref());
    for key in barred.filter(|o| o.person_tag == operator.person_tag) {
        let suspended = certificates::suspended_of(view, &certificates::holders_of(&key.unit, &hex::encode(&key.key_id)))?;
        for certificate in &suspended {
            may_undo(view, acting, &certificate.suspended_by)?;
        }
        changes.extend(certificates::lifted(suspended));
    }
    Ok(Decision::of(changes))
}

pub(crate) fn added(operator: &Operator, seq: u64) -> OperatorState {
    OperatorState { operator: Some(operator.clone()), added_seq: seq, ..OperatorState::default() }
}

/// Checks an operator by itself.
pub(crate) fn check(operator: &Operator, defined_posts: &BTreeSet<String>) -> Result<(), Stop> {
    if operator.suite != SUITE_1 {
        return refuse(Reason::Suite, "operator.suite");
    }
    if !operator.certificate_digest.is_empty() {
        return refuse(Reason::NotYetHonoured, "operator.certificate_digest");
    }
    let Ok(key) = check_registrable(&operator.public_key) else { return refuse(Reason::BadKey, "operator.public_key") };
    if key.id() != operator.key_id.as_slice() {
        return refuse(Reason::BadKey, "operator.key_id is not that of the key");
    }
    let posts: BTreeSet<_> = operator.posts.iter().collect();
    if posts.is_empty() || posts.len() != operator.posts.len() || !posts.iter().all(|p| defined_posts.contains(*p)) {
        return refuse(Reason::UnknownPost, "operator.posts");
    }
    if operator.person_tag.len() != 32 || !matches!(operator.name_digest.len(), 0 | 32) || operator.certificate_serial.len() > MAX_SERIAL {
        return refuse(Reason::FieldForm, "operator.person_tag, name_digest or certificate_serial");
    }
    if operator.until_ms != 0 && operator.until_ms <= operator.from_ms {
        return refuse(Reason::Validity, "operator.until_ms");
    }
    Ok(())
}

/// Takes posts back or, naming none, the key itself; without its last post a key is revoked too
/// (002-21), on a legal basis and for a reason.
pub(crate) fn revoke(view: &View<'_>, acting: &Unit, head: &Head, body: &RevokeOperator) -> Result<Decision, Stop> {
    let Some(state @ OperatorState { operator: Some(operator), .. }) = view.directory.operator(&body.key_id) else {
        return refuse(Reason::UnknownOperator, "key_id");
    };
    let Some(UnitState { unit: Some(unit), .. }) = view.directory.unit(&operator.unit) else {
        return refuse(Reason::UnknownUnit, "the operator's unit");
    };
    may_manage(acting, unit)?;
    check_seen(view, head, &keys::operator(&body.key_id))?;
    grounds::check(head)?;
    if state.revoked {
        return refuse(Reason::NothingToChange, "the key is revoked already");
    }
    if !body.posts.iter().all(|p| operator.posts.contains(p)) {
        return refuse(Reason::PostNotHeld, "posts");
    }
    let mut state = state.clone();
    if let Some(operator) = &mut state.operator {
        operator.posts.retain(|p| !body.posts.contains(p));
        state.revoked = body.posts.is_empty() || operator.posts.is_empty();
    }
    let mut decision = Decision::default();
    if state.revoked {
        state.revoked_ms = view.now_ms;
        // Whoever may no longer act is no longer shown as good to those who ask by certificate.
        let holders = certificates::holders_of(&operator.unit, &hex::encode(&operator.key_id));
        decision = certificates::revoke_all(view, &holders, AFFILIATION_CHANGED)?;
    }
    decision.changes.push(changed(view, state)?);
    Ok(decision)
}

/// Changes a key, unless nobody could admit operators after it, now or by a list that is to come: whoever
/// should, the city's managing unit would have to admit, and the ledger would stay without for ever.
pub(crate) fn changed(view: &View<'_>, next: OperatorState) -> Result<Change, Stop> {
    let id = directory::key_id(&next);
    let keys = || view.directory.operators.values();
    let before = view.directory.keepers(keys());
    let after = view.directory.keepers(keys().filter(|s| directory::key_id(s) != id).chain([&next]));
    let mut rules = view.directory.policy().rules(Kind::AddOperator, view.now_ms);
    if rules.any(|(at_ms, rule)| before.can_fill(&rule, at_ms) && !after.can_fill(&rule, at_ms)) {
        return refuse(Reason::LastOperators, "nobody could sign add-operator for the city's managing unit");
    }
    Ok(Change::Operator(Box::new(next)))
}
