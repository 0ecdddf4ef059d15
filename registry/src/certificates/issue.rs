//! Issuing and renewing (001-13): a node of the city that holds the issuing key shows what it issued.

use super::figures::{self, Event};
use super::{Standing, applicant_of, authority, grant, holder, is_person};
use crate::authority::AUTHORITY_POST;
use crate::command::Checked;
use crate::decision::{Change, Decision, View};
use crate::fatal::{Fatal, Stop, refuse};
use crate::keys;
use crate::reason::{Reason, Refusal};
use crate::taken;
use crate::value;
use vermilion_identity::{Certificate, CertificateError};
use vermilion_proto::{Applicant, CertificateState, Head, IssueCertificate, SignerKind, Unit};

/// How far a certificate may reach back before its record, in milliseconds: clocks differ, and a
/// record waits for its block.
const BACKDATE_MS: u64 = 24 * 3_600_000;
/// How far it may begin after it: the bound within which followers hold the leader's clock, and more.
const AHEAD_MS: u64 = 5 * 60_000;

/// Records a certificate. From then on it is good.
pub(crate) fn issue(view: &View<'_>, checked: &Checked, head: &Head, body: &IssueCertificate) -> Result<Decision, Stop> {
    check_signer(view, checked, head)?;
    let refused = |reason| move |e: CertificateError| Refusal::new(reason, e.to_string());
    let certificate = Certificate::parse(&body.certificate).map_err(refused(Reason::BadCertificate))?;
    let issuing = authority::issuing(view.directory)?;
    certificate.verify_issued_by(&issuing).map_err(refused(Reason::WrongIssuer))?;
    let serial = certificate.serial.as_bytes();
    if value::get::<CertificateState>(view.kv, &keys::certificate(serial))?.is_some() {
        return refuse(Reason::SerialUsed, "serial");
    }
    check_dates(view, &certificate)?;
    let applicant = applicant_of(&certificate.subject);
    let unit = grant::check_applicant(view, &applicant)?;
    check_place_and_key(view, &certificate, &applicant, unit)?;
    let mut changes = Vec::with_capacity(3);
    match (body.token_hash.is_empty(), body.renews.is_empty()) {
        (false, true) => changes.extend(grant::spend(view, &body.token_hash, &certificate)?),
        (true, false) => changes.push(renewed(view, &body.renews, &applicant, serial)?),
        _ => return refuse(Reason::FieldForm, "a certificate rests on a grant or on the certificate that it renews"),
    }
    let state = CertificateState {
        certificate: body.certificate.clone(),
        serial: serial.to_vec(),
        holder: Some(applicant),
        not_before_ms: certificate.validity.not_before_ms,
        not_after_ms: certificate.validity.not_after_ms,
        issuer: issuing.fingerprint.to_vec(),
        issued_seq: view.seq,
        issued_ms: view.now_ms,
        token_hash: body.token_hash.clone(),
        renews: body.renews.clone(),
        standing: Standing::Good.number(),
        changed_seq: view.seq,
        changed_ms: view.now_ms,
        ..CertificateState::default()
    };
    let event = if state.renews.is_empty() { Event::Issued } else { Event::Renewed };
    changes.extend(figures::counted(view, [(event, &state)].into_iter())?);
    changes.push(Change::Certificate(Box::new(state)));
    Ok(Decision::of(changes))
}

/// One signer: a node of the city that is connected, in the post of authority, for no unit.
fn check_signer(view: &View<'_>, checked: &Checked, head: &Head) -> Result<(), Stop> {
    let [signer] = head.signers.as_slice() else { return refuse(Reason::SignerKind, "a certificate has one signer, a node") };
    if signer.kind != SignerKind::Node as i32 || signer.post != AUTHORITY_POST || !signer.unit.is_empty() || !head.unit.is_empty() {
        return refuse(Reason::SignerKind, "a certificate is recorded by a node, in the post of authority, for no unit");
    }
    if checked.signer_keys.iter().all(|id| id != signer.key_id.as_slice()) {
        return refuse(Reason::Incomplete, "a signer named has not signed");
    }
    match view.directory.node_of_key(&signer.key_id) {
        Some(node) if node.city => Ok(()),
        Some(_) => refuse(Reason::NotAuthorised, "a district's node does not hold the issuing key"),
        None => refuse(Reason::UnknownSigner, "signer.key_id is no node that is connected"),
    }
}

fn check_dates(view: &View<'_>, certificate: &Certificate) -> Result<(), Stop> {
    let (from, until) = (certificate.validity.not_before_ms, certificate.validity.not_after_ms);
    let longest = view.policy.certificate_max_ms(certificate.subject.kind.word());
    let fits = from <= view.now_ms.saturating_add(AHEAD_MS)
        && from >= view.now_ms.saturating_sub(BACKDATE_MS)
        && until > view.now_ms
        && until.saturating_sub(from) <= longest;
    if fits { Ok(()) } else { refuse(Reason::CertificateTerm, "not_before, not_after") }
}

/// District and key: those of the register. A node's TLS key signs nothing else.
fn check_place_and_key(view: &View<'_>, certificate: &Certificate, applicant: &Applicant, unit: &Unit) -> Result<(), Stop> {
    let district = match applicant.kind.as_str() {
        "node" => view.directory.admission_of_node(applicant.raft_id).and_then(|a| a.node).map(|n| n.district),
        _ => Some(unit.area.clone()),
    };
    if district.as_deref() != Some(certificate.subject.district.as_str()) {
        return refuse(Reason::CertificateSubject, "district");
    }
    match taken::whose(view, &certificate.key.0)? {
        // Whose, the certificate's name says: it is the key's id.
        Some(taken::OPERATOR) if is_person(applicant) => Ok(()),
        Some(whose) => refuse(Reason::BadKey, format!("the key is {whose}")),
        None => Ok(()),
    }
}

/// The certificate renewed, with its successor's number: it stands, it is the same holder's, and it
/// is renewed once. So a stolen key that was renewed already gains nothing.
fn renewed(view: &View<'_>, serial: &[u8], applicant: &Applicant, by: &[u8]) -> Result<Change, Stop> {
    let found: Option<CertificateState> = value::get(view.kv, &keys::certificate(serial))?;
    let Some(old) = found else { return refuse(Reason::UnknownCertificate, "renews") };
    match Standing::from_number(old.standing) {
        Some(Standing::Good) => {}
        Some(Standing::Suspended) => return refuse(Reason::CertificateSuspended, "renews"),
        Some(Standing::Revoked) => return refuse(Reason::CertificateRevoked, "renews"),
        None => return Err(Fatal::Broken(format!("certificate standing {} is unknown", old.standing)).into()),
    }
    if view.now_ms >= old.not_after_ms {
        return refuse(Reason::CertificateExpired, "renews");
    }
    if old.holder.as_ref().map(holder) != Some(holder(applicant)) {
        return refuse(Reason::CertificateSubject, "the certificate renewed is another holder's");
    }
    if !old.renewed_by.is_empty() {
        return refuse(Reason::RenewedAlready, "renews");
    }
    Ok(Change::Certificate(Box::new(CertificateState { renewed_by: by.to_vec(), ..old })))
}
