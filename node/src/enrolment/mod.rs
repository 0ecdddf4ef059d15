//! The authority at work in a node of the city: certificates for who was granted one, and for who has
//! one that is good (001-13).

pub mod applicant;
pub(crate) mod handout;
mod renewal;
mod service;

pub(crate) use renewal::Renewal;
pub use service::EnrolmentService;

use crate::door::From;
use crate::node::Node;
use std::time::Duration;
use vermilion_crypto::{SUITE_1, SigningKey};
use vermilion_identity::authority;
use vermilion_identity::enrolment::EnrolmentToken;
use vermilion_identity::{AuthorityCertificate, Certificate, CertificateRequest, Serial, Validity, seal};
use vermilion_proto::{
    Body, CertificateState, Command, CommandState, EnrolmentState, Head, IssueCertificate, Signer, SignerKind, body::Of,
};
use vermilion_registry::authority::AUTHORITY_POST;
use vermilion_registry::certificates::{applicant_of, holder};
use vermilion_registry::policy::Policy;
use vermilion_registry::reason::{Reason, Refusal};
use vermilion_registry::submission::{Sealed, encode_submission};
use vermilion_registry::{Fatal, query};

/// For how long the record of a certificate is tried, in milliseconds.
const PATIENCE_MS: u64 = 20_000;
/// Pause before it is tried again.
const PAUSE: Duration = Duration::from_millis(100);
/// By how much a renewal may come before its time: clocks differ.
const EARLY_MS: u64 = 60_000;
/// By how much a certificate reaches back: clocks differ.
const BACKDATE_MS: u64 = 60_000;

/// A certificate that was issued and recorded.
#[derive(Debug)]
pub struct Issued {
    /// The leaf, DER.
    pub certificate: Vec<u8>,
    /// The certificate above it, DER.
    pub issuing: Vec<u8>,
    /// The record's sequence number.
    pub seq: u64,
}

impl std::convert::From<CertificateState> for Issued {
    fn from(state: CertificateState) -> Self {
        Self { certificate: state.certificate, issuing: Vec::new(), seq: state.issued_seq }
    }
}

fn internal(error: &dyn std::fmt::Display) -> Refusal {
    tracing::error!(%error, "no certificate can be issued");
    Reason::Internal.into()
}

fn broken(error: &Fatal) -> Refusal {
    internal(error)
}

/// On what a certificate rests.
enum Ground {
    Grant(EnrolmentToken),
    Renews(Serial),
}

impl Node {
    /// The issuing certificate whose key this node holds, if it is the one that issues now.
    pub fn authority_here(&self) -> Result<Option<(AuthorityCertificate, SigningKey)>, String> {
        let Some(key) = &self.issuing_key else { return Ok(None) };
        let Some(newest) = query::authority(&self.store.state()).map_err(|e| e.to_string())?.pop() else { return Ok(None) };
        let newest = AuthorityCertificate::parse(&newest.certificate).map_err(|e| e.to_string())?;
        Ok((newest.key == key.public()).then(|| (newest, key.clone())))
    }

    /// Issues a first certificate on the strength of a token. Asked again by the same key, it answers
    /// with the certificate that it issued: the answer may have been lost.
    pub async fn enrol(&self, token: EnrolmentToken, request: &CertificateRequest) -> Result<Issued, Refusal> {
        self.read_barrier().await?;
        let found = query::enrolment(&self.store.state(), &token.hash()).map_err(|e| broken(&e))?;
        let Some(EnrolmentState { grant: Some(grant), used_seq, .. }) = found else { return Err(Reason::UnknownGrant.into()) };
        if used_seq != 0 {
            let given = self.given_for(&token, request)?;
            return given.ok_or_else(|| Refusal::new(Reason::GrantUsed, format!("by record {used_seq}")));
        }
        if self.time() >= grant.until_ms {
            return Err(Refusal::new(Reason::GrantExpired, "until_ms"));
        }
        if grant.applicant.as_ref() != Some(&applicant_of(&request.subject)) {
            return Err(Refusal::new(Reason::GrantApplicant, "the token was granted to another applicant"));
        }
        match self.issue(Ground::Grant(token.clone()), request).await {
            // The same key has asked at two addresses, or twice, and the other certificate stands.
            Err(refusal) if refusal.reason == Reason::GrantUsed => {
                self.read_barrier().await?;
                self.given_for(&token, request)?.ok_or(refusal)
            }
            issued => issued,
        }
    }

    /// What was issued for a token, if to the key that asks.
    fn given_for(&self, token: &EnrolmentToken, request: &CertificateRequest) -> Result<Option<Issued>, Refusal> {
        let holder = holder(&applicant_of(&request.subject));
        let held = query::certificates_of(&self.store.state(), &holder).map_err(|e| broken(&e))?;
        self.given(held.into_iter().find(|c| c.token_hash == token.hash()), request)
    }

    /// Issues the certificate that follows a good one of the same holder, who is at the other end of a
    /// connection with it. Asked again by the same key, it answers with what it issued.
    pub async fn renew(&self, old: &Certificate, request: &CertificateRequest) -> Result<Issued, Refusal> {
        if request.subject != old.subject {
            return Err(Refusal::new(Reason::CertificateSubject, "the certificate renewed is another holder's"));
        }
        self.read_barrier().await?;
        let found = query::certificate(&self.store.state(), old.serial.as_bytes()).map_err(|e| broken(&e))?;
        let found = found.ok_or(Reason::UnknownCertificate)?;
        if !found.renewed_by.is_empty() {
            return self.given_after(old, request)?.ok_or_else(|| Reason::RenewedAlready.into());
        }
        // It would be refused for good, and tried again for ever.
        if self.time() >= old.validity.not_after_ms {
            return Err(Refusal::new(Reason::CertificateExpired, "its time is over: a new one wants a token"));
        }
        // Or whoever has a key could fill the ledger with renewals of renewals.
        if !old.validity.is_due(self.time().saturating_add(EARLY_MS)) {
            return Err(Refusal::new(Reason::CertificateTerm, "two thirds of its time are not over yet"));
        }
        match self.issue(Ground::Renews(old.serial.clone()), request).await {
            Err(refusal) if refusal.reason == Reason::RenewedAlready => {
                self.read_barrier().await?;
                self.given_after(old, request)?.ok_or(refusal)
            }
            issued => issued,
        }
    }

    /// The certificate that renewed one, if it is of the key that asks.
    fn given_after(&self, old: &Certificate, request: &CertificateRequest) -> Result<Option<Issued>, Refusal> {
        let state = self.store.state();
        let found = query::certificate(&state, old.serial.as_bytes()).map_err(|e| broken(&e))?;
        let Some(found) = found.filter(|found| !found.renewed_by.is_empty()) else { return Ok(None) };
        let next = query::certificate(&state, &found.renewed_by).map_err(|e| broken(&e))?;
        self.given(next, request)
    }

    /// A certificate that was issued before, if it is of the key that asks.
    fn given(&self, found: Option<CertificateState>, request: &CertificateRequest) -> Result<Option<Issued>, Refusal> {
        let state = self.store.state();
        let Some(found) = found else { return Ok(None) };
        if Certificate::parse(&found.certificate).map_err(|e| internal(&e))?.key != request.key {
            return Ok(None);
        }
        let authority = query::authority(&state).map_err(|e| broken(&e))?;
        let issuing = authority.into_iter().find(|a| vermilion_crypto::sha256(&a.certificate).as_slice() == found.issuer);
        let issuing = issuing.ok_or_else(|| internal(&"the issuer of a certificate is missing"))?;
        Ok(Some(Issued { issuing: issuing.certificate, ..found.into() }))
    }

    async fn issue(&self, ground: Ground, request: &CertificateRequest) -> Result<Issued, Refusal> {
        let Some((issuing, key)) = self.authority_here().map_err(|e| internal(&e))? else {
            return Err(Refusal::new(Reason::NoAuthority, "this node does not hold the issuing key"));
        };
        let now = self.time();
        let policy = query::policy(&self.store.state()).and_then(|entries| Policy::read(&entries, now)).map_err(|e| broken(&e))?;
        // X.509 counts whole seconds.
        let from = (now.saturating_sub(BACKDATE_MS) / 1000) * 1000;
        let until = (from + policy.certificate_max_ms(request.subject.kind.word())).min(issuing.validity.not_after_ms);
        let validity = Validity { not_before_ms: from.max(issuing.validity.not_before_ms), not_after_ms: until };
        let serial = Serial::random().map_err(|e| internal(&e))?;
        let made = authority::issue(&key, &issuing, &request.subject, request.key, &serial, validity);
        let (certificate, _) = made.map_err(|e| Refusal::new(Reason::BadCertificate, e.to_string()))?;
        let (token_hash, renews) = match ground {
            Ground::Grant(token) => (token.hash().to_vec(), Vec::new()),
            Ground::Renews(serial) => (Vec::new(), serial.as_bytes().to_vec()),
        };
        let body = Of::IssueCertificate(IssueCertificate { certificate: certificate.clone(), token_hash, renews });
        let seq = self.record_as_authority(body).await?;
        Ok(Issued { certificate, issuing: issuing.der().to_vec(), seq })
    }

    /// Signs a command as this node, in the post of authority, and sees it recorded.
    async fn record_as_authority(&self, body: Of) -> Result<u64, Refusal> {
        let nonce: [u8; 16] = vermilion_crypto::random().map_err(|e| internal(&e))?;
        let not_after_ms = self.ledger_time() + PATIENCE_MS;
        let signer = Signer {
            key_id: self.node_key.public().id().to_vec(),
            post: AUTHORITY_POST.into(),
            kind: SignerKind::Node.into(),
            ..Default::default()
        };
        let head = Head {
            format_version: 1,
            suite: SUITE_1,
            ledger_id: self.ledger_id.to_vec(),
            nonce: nonce.to_vec(),
            not_after_ms,
            signers: vec![signer],
            ..Default::default()
        };
        let (_, envelope) = seal(&Command { head: Some(head), body: Some(Body { of: Some(body) }) }, &[&self.node_key]);
        let submission = encode_submission(envelope.into(), Vec::new(), Sealed::default());
        loop {
            let reply = self.submit(submission.clone(), From::Own).await;
            let refused = |code| Err(Refusal::new(Reason::from_number(code).unwrap_or(Reason::Internal), reply.detail.clone()));
            match (reply.state(), &reply.outcome) {
                (CommandState::Committed, Some(outcome)) if outcome.code == 0 => {
                    self.read_barrier().await?;
                    return Ok(reply.seq);
                }
                (CommandState::Committed, Some(outcome)) => return refused(outcome.code),
                (CommandState::RefusedAtDoor | CommandState::Invalid, _) => return refused(reply.code),
                // Without a majority nobody ever says that it is too late.
                _ if self.time() > not_after_ms.saturating_add(PATIENCE_MS) => return Err(Reason::Unknown.into()),
                // Busy, or not known: the same command once more, until it is recorded or too late.
                _ => tokio::time::sleep(PAUSE).await,
            }
        }
    }
}
