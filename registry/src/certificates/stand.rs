//! Revoking, suspending and restoring (001-13; 001-23).

use super::figures::{self, Event};
use super::{CERTIFICATE_HOLD, KEY_COMPROMISE, REVOCATION_REASONS, Standing, holder, holders_of, is_person};
use crate::authority::{MANAGING_CITY, check_seen, has_role, may_manage, may_undo};
use crate::custody::SECURITY_ADMIN;
use crate::decision::{Change, Decision, View};
use crate::fatal::{Fatal, Stop, refuse};
use crate::grounds;
use crate::keys;
use crate::operators;
use crate::reason::Reason;
use crate::value;
use vermilion_crypto::PublicKey;
use vermilion_identity::Certificate;
use vermilion_proto::{
    Applicant, CertificateState, Head, OperatorState, RestoreCertificate, RevokeCertificate, SuspendCertificate, Unit, UnitState,
};

/// Revokes a certificate. A lost key is revoked at once, by anyone of the holder's own unit or by
/// security administration of who manages it (001-23); every other reason is for who manages the unit.
/// A person's lost key goes with its certificate: whoever found it signs nothing either.
pub(crate) fn revoke(view: &View<'_>, acting: &Unit, head: &Head, body: &RevokeCertificate) -> Result<Decision, Stop> {
    let (state, unit) = find(view, head, &body.serial)?;
    let own_loss = body.reason == KEY_COMPROMISE && acting.uscc == unit.uscc;
    if !own_loss {
        may_manage(acting, unit)?;
        if body.reason == KEY_COMPROMISE && head.signers.iter().all(|s| s.post != SECURITY_ADMIN) {
            return refuse(Reason::PostMissing, "for another unit's key, security administration signs");
        }
    }
    if !REVOCATION_REASONS.iter().any(|(number, _)| *number == body.reason) {
        return refuse(Reason::RevocationReason, "reason");
    }
    match standing(&state)? {
        Standing::Revoked => refuse(Reason::CertificateRevoked, "serial"),
        Standing::Good | Standing::Suspended => {
            let all = of_same_key(view, &state, &[Standing::Good, Standing::Suspended])?;
            let mut decision = changed(view, all, Standing::Revoked, body.reason, Event::Revoked)?;
            if body.reason == KEY_COMPROMISE
                && let Some(operator) = signing_key(view, &state).filter(|o| !o.revoked)
            {
                let lost = OperatorState { revoked: true, revoked_ms: view.now_ms, ..operator.clone() };
                decision.changes.push(operators::changed(view, lost)?);
            }
            Ok(decision)
        }
    }
}

/// Suspends a certificate that is good. A person's key signs nothing until it is restored: a revocation
/// instead leaves it barred. Suspending and restoring name their legal basis and their reason; a revocation has
/// one of RFC 5280's.
pub(crate) fn suspend(view: &View<'_>, acting: &Unit, head: &Head, body: &SuspendCertificate) -> Result<Decision, Stop> {
    let (state, unit) = find(view, head, &body.serial)?;
    may_manage(acting, unit)?;
    grounds::check(head)?;
    match standing(&state)? {
        Standing::Good => {
            let all = of_same_key(view, &state, &[Standing::Good])?;
            let all = all.into_iter().map(|s| CertificateState { suspended_by: acting.uscc.clone(), ..s }).collect();
            let mut decision = changed(view, all, Standing::Suspended, CERTIFICATE_HOLD, Event::Suspended)?;
            decision.changes.extend(barred(view, &state, true)?);
            Ok(decision)
        }
        // The city takes over what a district suspended: it is then the city's to restore.
        Standing::Suspended if has_role(acting, MANAGING_CITY) && state.suspended_by != acting.uscc => {
            let all = of_same_key(view, &state, &[Standing::Suspended])?;
            let taken = |s| {
                Change::Certificate(Box::new(CertificateState {
                    suspended_by: acting.uscc.clone(),
                    changed_seq: view.seq,
                    changed_ms: view.now_ms,
                    ..s
                }))
            };
            Ok(Decision::of(all.into_iter().map(taken).collect()))
        }
        Standing::Suspended => refuse(Reason::CertificateSuspended, "serial"),
        Standing::Revoked => refuse(Reason::CertificateRevoked, "serial"),
    }
}

/// These holders' certificates whose suspension nobody lifted. To revoke one does not, whoever does it, nor does its time.
pub(crate) fn suspended_of(view: &View<'_>, holders: &[String]) -> Result<Vec<CertificateState>, Fatal> {
    let mut out = Vec::new();
    for holder in holders {
        out.extend(held_by(view, holder)?.into_iter().filter(|state| !state.suspended_by.is_empty()));
    }
    Ok(out)
}

/// Lifts the suspensions of certificates that were revoked meanwhile: no restoring could. Those that are not stay as they are.
pub(crate) fn lifted(suspended: Vec<CertificateState>) -> impl Iterator<Item = Change> {
    let revoked = suspended.into_iter().filter(|state| state.standing == Standing::Revoked.number());
    revoked.map(|state| Change::Certificate(Box::new(CertificateState { suspended_by: String::new(), ..state })))
}

/// Restores a suspended certificate (解锁): one that the city suspended, the city alone.
pub(crate) fn restore(view: &View<'_>, acting: &Unit, head: &Head, body: &RestoreCertificate) -> Result<Decision, Stop> {
    let (state, unit) = find(view, head, &body.serial)?;
    may_manage(acting, unit)?;
    grounds::check(head)?;
    match standing(&state)? {
        Standing::Suspended => {
            let all = of_same_key(view, &state, &[Standing::Suspended])?;
            for suspended in &all {
                may_undo(view, acting, &suspended.suspended_by)?;
            }
            let mut decision = changed(view, all, Standing::Good, 0, Event::Restored)?;
            decision.changes.extend(barred(view, &state, false)?);
            Ok(decision)
        }
        Standing::Good => refuse(Reason::NothingToChange, "the certificate is good"),
        Standing::Revoked => refuse(Reason::CertificateRevoked, "serial"),
    }
}

/// The key by which the certificate's holder signs, if the holder is a person.
fn signing_key<'a>(view: &View<'a>, of: &CertificateState) -> Option<&'a OperatorState> {
    let holder = of.holder.as_ref().filter(|h| is_person(h))?;
    view.directory.operator(&hex::decode(&holder.name).ok()?)
}

/// Bars a person's key from signing, or lets it sign again.
fn barred(view: &View<'_>, of: &CertificateState, suspended: bool) -> Result<Option<Change>, Stop> {
    let Some(operator) = signing_key(view, of).filter(|o| o.suspended != suspended) else { return Ok(None) };
    operators::changed(view, OperatorState { suspended, ..operator.clone() }).map(Some)
}

/// A certificate and the holder's others on the same key whose time is not over, or that are suspended: what is said of
/// one is said of all, or whoever has the key would go on with the one before a renewal, or the one after.
fn of_same_key(view: &View<'_>, of: &CertificateState, in_standing: &[Standing]) -> Result<Vec<CertificateState>, Stop> {
    let key = key_of(of)?;
    let mut out = Vec::new();
    for name in of.holder.as_ref().map(names).unwrap_or_default() {
        for other in held_by(view, &name)? {
            let standing = standing(&other)?;
            let counts = other.not_after_ms > view.now_ms || standing == Standing::Suspended;
            let same = other.serial == of.serial || (counts && key_of(&other)? == key);
            if same && in_standing.contains(&standing) {
                out.push(other);
            }
        }
    }
    Ok(out)
}

/// Under which names the holder's certificates are found.
pub(super) fn names(of: &Applicant) -> Vec<String> {
    if is_person(of) { holders_of(&of.unit, &of.name).to_vec() } else { vec![holder(of)] }
}

fn key_of(state: &CertificateState) -> Result<PublicKey, Fatal> {
    let parsed = Certificate::parse(&state.certificate);
    parsed.map(|c| c.key).map_err(|e| Fatal::Broken(format!("a certificate of the register: {e}")))
}

fn held_by(view: &View<'_>, holder: &str) -> Result<Vec<CertificateState>, Fatal> {
    crate::query::certificates_of(view.kv, holder)
}

/// Revokes whatever certificates these holders have whose time is not over.
pub(crate) fn revoke_all(view: &View<'_>, holders: &[String], reason: u32) -> Result<Decision, Stop> {
    let mut found = Vec::new();
    for holder in holders {
        for state in held_by(view, holder)? {
            if standing(&state)? != Standing::Revoked && state.not_after_ms > view.now_ms {
                found.push(state);
            }
        }
    }
    changed(view, found, Standing::Revoked, reason, Event::Revoked)
}

fn find<'a>(view: &View<'a>, head: &Head, serial: &[u8]) -> Result<(CertificateState, &'a Unit), Stop> {
    let key = keys::certificate(serial);
    let found: Option<CertificateState> = value::get(view.kv, &key)?;
    let Some(state) = found else { return refuse(Reason::UnknownCertificate, "serial") };
    let uscc = state.holder.as_ref().map(|h| h.unit.as_str()).unwrap_or_default();
    let Some(UnitState { unit: Some(unit), .. }) = view.directory.unit(uscc) else {
        return refuse(Reason::UnknownUnit, "the holder's unit");
    };
    check_seen(view, head, &key)?;
    Ok((state, unit))
}

fn standing(state: &CertificateState) -> Result<Standing, Fatal> {
    Standing::from_number(state.standing).ok_or_else(|| Fatal::Broken(format!("certificate standing {} is unknown", state.standing)))
}

fn changed(view: &View<'_>, states: Vec<CertificateState>, to: Standing, reason: u32, event: Event) -> Result<Decision, Stop> {
    let mut changes = figures::counted(view, states.iter().map(|state| (event, state)))?;
    let (standing, changed_seq, changed_ms) = (to.number(), view.seq, view.now_ms);
    changes.extend(states.into_iter().map(|s| {
        let suspended_by = if to == Standing::Good { String::new() } else { s.suspended_by };
        Change::Certificate(Box::new(CertificateState { standing, reason, changed_seq, changed_ms, suspended_by, ..s }))
    }));
    Ok(Decision::of(changes))
}
