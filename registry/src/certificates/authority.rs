//! The authority: one root for the life of the ledger, and issuing certificates under it.

use super::{Standing, applicant_of};
use crate::decision::{Change, Decision, View};
use crate::directory::Directory;
use crate::fatal::{Fatal, Stop, refuse};
use crate::founding::Founding;
use crate::reason::{Reason, Refusal};
use crate::taken;
use vermilion_identity::{AuthorityCertificate, AuthorityKind, Certificate};
use vermilion_proto::{AuthorityState, CertificateState, Genesis, ReplaceAuthority};

/// What the genesis says of the authority: nothing, or a root, an issuing certificate of it, and the
/// certificates with which the ledger begins.
pub(crate) fn genesis_changes(genesis: &Genesis) -> Result<Vec<Change>, Stop> {
    let (root, issuing) = (&genesis.root_certificate, &genesis.issuing_certificate);
    if root.is_empty() && issuing.is_empty() && genesis.certificates.is_empty() {
        return Ok(Vec::new());
    }
    let parsed = parse(root, AuthorityKind::Root, "root_certificate")?;
    check_issuing(&parsed, issuing, genesis.time_ms)?;
    let state = |certificate: &Vec<u8>| AuthorityState { certificate: certificate.clone(), from_seq: 0, from_ms: genesis.time_ms };
    let mut out = vec![Change::Root(state(root)), Change::Issuing(state(issuing))];
    if let Some(founding) = Founding::read(genesis)? {
        let leaves = founding.certificates.iter().zip(&genesis.certificates);
        out.extend(leaves.map(|(leaf, der)| Change::Certificate(Box::new(founded(leaf, der, &founding.issuing, genesis.time_ms)))));
    }
    Ok(out)
}

/// A certificate with which the ledger begins: good, on the word of the genesis. No month counts it.
fn founded(leaf: &Certificate, der: &[u8], issuing: &AuthorityCertificate, time_ms: u64) -> CertificateState {
    CertificateState {
        certificate: der.to_vec(),
        serial: leaf.serial.as_bytes().to_vec(),
        holder: Some(applicant_of(&leaf.subject)),
        not_before_ms: leaf.validity.not_before_ms,
        not_after_ms: leaf.validity.not_after_ms,
        issuer: issuing.fingerprint.to_vec(),
        issued_ms: time_ms,
        standing: Standing::Good.number(),
        changed_ms: time_ms,
        ..CertificateState::default()
    }
}

/// Replaces the issuing certificate: what is issued from now on is of the new one. Leaves of the old
/// ones stand until they end or are revoked.
pub(crate) fn replace(view: &View<'_>, body: &ReplaceAuthority) -> Result<Decision, Stop> {
    if view.directory.issuing.iter().any(|s| s.certificate == body.certificate) {
        return refuse(Reason::AlreadyExists, "certificate");
    }
    let issuing = check_issuing(&root(view.directory)?, &body.certificate, view.now_ms)?;
    for state in &view.directory.issuing {
        if stored(&state.certificate)?.serial == issuing.serial {
            return refuse(Reason::AlreadyExists, "the issuing certificate's serial number was used before");
        }
    }
    if let Some(whose) = taken::whose(view, &issuing.key.0)? {
        return refuse(Reason::AlreadyExists, format!("the issuing certificate's key is {whose}"));
    }
    let state = AuthorityState { certificate: body.certificate.clone(), from_seq: view.seq, from_ms: view.now_ms };
    Ok(Decision::of(vec![Change::Issuing(state)]))
}

/// The root.
pub(super) fn root(directory: &Directory) -> Result<AuthorityCertificate, Stop> {
    match &directory.root {
        Some(state) => Ok(stored(&state.certificate)?),
        None => refuse(Reason::NoAuthority, Reason::NoAuthority.english()),
    }
}

/// The issuing certificate that issues now.
pub(super) fn issuing(directory: &Directory) -> Result<AuthorityCertificate, Stop> {
    match directory.issuing.last() {
        Some(state) => Ok(stored(&state.certificate)?),
        None => refuse(Reason::NoAuthority, Reason::NoAuthority.english()),
    }
}

fn stored(der: &[u8]) -> Result<AuthorityCertificate, Fatal> {
    AuthorityCertificate::parse(der).map_err(|e| Fatal::Broken(format!("a certificate of the authority: {e}")))
}

fn parse(der: &[u8], kind: AuthorityKind, field: &str) -> Result<AuthorityCertificate, Refusal> {
    let bad = |why: String| Refusal::new(Reason::BadCertificate, format!("{field}: {why}"));
    let parsed = AuthorityCertificate::parse(der).map_err(|e| bad(e.to_string()))?;
    if parsed.kind == kind { Ok(parsed) } else { Err(bad("it is of the other kind".into())) }
}

fn check_issuing(root: &AuthorityCertificate, der: &[u8], now_ms: u64) -> Result<AuthorityCertificate, Refusal> {
    let issuing = parse(der, AuthorityKind::Issuing, "issuing certificate")?;
    issuing.verify_issued_by(root).map_err(|e| Refusal::new(Reason::WrongIssuer, e.to_string()))?;
    issuing.validity.check(now_ms).map_err(|e| Refusal::new(Reason::CertificateTerm, e.to_string()))?;
    Ok(issuing)
}
