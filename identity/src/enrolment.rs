//! Enrolment tokens: what lets one applicant, once, ask for one certificate.
//!
//! Not to be mixed up with request tokens, which a known key signs. Whoever holds an enrolment
//! token can enrol in the applicant's name, so it is handed over out of band, lives shortly, and
//! only its hash is kept.

use crate::authority_certificate::AuthorityCertificate;
use crate::certificate::{Certificate, CertificateError};
use crate::subject::Subject;
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use vermilion_crypto::{CryptoError, Digest, PublicKey, equal_secret, hash, random, sha256};
use zeroize::Zeroizing;

/// The longest time for which a token may be made, in milliseconds: a day.
pub const MAX_ENROLMENT_LIFETIME_MS: u64 = 86_400_000;
const PREFIX: &str = "vermilion-enrol-1.";
const SECRET: usize = 32;
const CHECKSUM: usize = 4;
/// Secret, fingerprint, time, checksum.
const LENGTH: usize = SECRET + 32 + 8 + CHECKSUM;

/// Why an enrolment is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EnrolmentError {
    /// Not a token's text, or mistyped.
    #[error("the enrolment token is mistyped or cut short")]
    Malformed,
    /// No grant under its hash.
    #[error("the enrolment token is unknown here")]
    Unknown,
    /// It has given a certificate already.
    #[error("the enrolment token has been used")]
    Used,
    /// Too late.
    #[error("the enrolment token has expired")]
    Expired,
    /// Made for somebody else.
    #[error("the enrolment token was made for another applicant")]
    OtherApplicant,
}

/// A token as its applicant holds it. Wiped from memory when dropped, and never shown by `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct EnrolmentToken {
    secret: Zeroizing<[u8; SECRET]>,
    /// SHA-256 of the root certificate: the applicant takes no other authority's word.
    pub authority: Digest,
    /// Until when, in Unix milliseconds. For the applicant's information: the grant decides.
    pub not_after_ms: u64,
}

impl EnrolmentToken {
    /// A new token for this authority.
    pub fn new(authority: Digest, not_after_ms: u64) -> Result<Self, CryptoError> {
        Ok(Self { secret: Zeroizing::new(random()?), authority, not_after_ms })
    }

    /// What is kept of it: `H[CTX_ENROLMENT](secret)`.
    #[must_use]
    pub fn hash(&self) -> Digest {
        hash::derive(&hash::CTX_ENROLMENT, &[self.secret.as_slice()])
    }

    /// The text form: a prefix, and base64url of secret, fingerprint, time and a checksum.
    #[must_use]
    pub fn text(&self) -> Zeroizing<String> {
        let mut bytes = Zeroizing::new([self.secret.as_slice(), &self.authority, &self.not_after_ms.to_be_bytes()].concat());
        let sum = sha256(&bytes);
        bytes.extend_from_slice(&sum[..CHECKSUM]);
        Zeroizing::new(format!("{PREFIX}{}", *Zeroizing::new(BASE64_URL_SAFE_NO_PAD.encode(&bytes))))
    }

    /// Reads what [`EnrolmentToken::text`] wrote; white space around it is taken off.
    pub fn parse(text: &str) -> Result<Self, EnrolmentError> {
        let body = text.trim().strip_prefix(PREFIX).ok_or(EnrolmentError::Malformed)?;
        let bytes = Zeroizing::new(BASE64_URL_SAFE_NO_PAD.decode(body).map_err(|_| EnrolmentError::Malformed)?);
        let (said, sum) = bytes.split_at_checked(LENGTH - CHECKSUM).ok_or(EnrolmentError::Malformed)?;
        if sha256(said)[..CHECKSUM] != *sum {
            return Err(EnrolmentError::Malformed);
        }
        let (mut secret, mut authority, mut time) = (Zeroizing::new([0; SECRET]), [0; 32], [0; 8]);
        secret.copy_from_slice(&said[..SECRET]);
        authority.copy_from_slice(&said[SECRET..SECRET + 32]);
        time.copy_from_slice(&said[SECRET + 32..]);
        Ok(Self { secret, authority, not_after_ms: u64::from_be_bytes(time) })
    }
}

impl std::fmt::Debug for EnrolmentToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("EnrolmentToken(…)")
    }
}

/// Checks what an applicant was given, leaf and issuing certificate in DER: it is of the root that the
/// applicant trusts, for the subject and the key that were asked for.
pub fn accept(
    leaf: &[u8],
    issuing: &[u8],
    root: &AuthorityCertificate,
    subject: &Subject,
    key: &PublicKey,
) -> Result<(Certificate, AuthorityCertificate), CertificateError> {
    let issuing = AuthorityCertificate::parse(issuing)?;
    issuing.verify_issued_by(root)?;
    let leaf = Certificate::parse(leaf)?;
    leaf.verify_issued_by(&issuing)?;
    if leaf.key != *key {
        return Err(CertificateError::Key);
    }
    if leaf.subject == *subject { Ok((leaf, issuing)) } else { Err(CertificateError::Subject("name")) }
}

/// What the authority keeps of a token: for whom, until when, and whether it was used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnrolmentGrant {
    /// The token's hash.
    pub token_hash: Digest,
    /// For whom. The name of a person, which is the id of a key that does not exist yet, is empty.
    pub applicant: Subject,
    /// Until when, in Unix milliseconds.
    pub not_after_ms: u64,
    /// Whether it has given a certificate.
    pub used: bool,
}

impl EnrolmentGrant {
    /// Whether this token, presented with this request's subject at this time (Unix milliseconds),
    /// gets a certificate. The caller marks the grant used in the same step in which it issues.
    pub fn check(&self, token: &EnrolmentToken, requested: &Subject, now_ms: u64) -> Result<(), EnrolmentError> {
        if !equal_secret(&self.token_hash, &token.hash()) {
            return Err(EnrolmentError::Unknown);
        }
        if self.used {
            return Err(EnrolmentError::Used);
        }
        if now_ms >= self.not_after_ms {
            return Err(EnrolmentError::Expired);
        }
        let mut applicant = self.applicant.clone();
        if applicant.kind.is_person() {
            applicant.name.clone_from(&requested.name);
        }
        if applicant == *requested { Ok(()) } else { Err(EnrolmentError::OtherApplicant) }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::{
        fixtures::{KINDS, NOW, subject},
        subject::Kind,
    };
    use proptest::prelude::*;
    use vermilion_crypto::SigningKey;

    fn granted(kind: Kind) -> (EnrolmentToken, EnrolmentGrant, Subject) {
        let token = EnrolmentToken::new([7; 32], NOW + 1000).unwrap();
        let wanted = subject(kind, &SigningKey::from_seed(&[1; 32]));
        let mut applicant = wanted.clone();
        if kind.is_person() {
            applicant.name.clear();
        }
        let grant = EnrolmentGrant { token_hash: token.hash(), applicant, not_after_ms: NOW + 1000, used: false };
        (token, grant, wanted)
    }

    #[test]
    fn once_in_time_and_for_one_applicant() {
        for kind in KINDS {
            let (token, grant, wanted) = granted(kind);
            assert_eq!(grant.check(&token, &wanted, NOW), Ok(()));
            assert_eq!(grant.check(&token, &wanted, NOW + 1000), Err(EnrolmentError::Expired));
            let elsewhere = Subject { district: "440304".into(), ..wanted.clone() };
            assert_eq!(grant.check(&token, &elsewhere, NOW), Err(EnrolmentError::OtherApplicant));
            let used = EnrolmentGrant { used: true, ..grant.clone() };
            assert_eq!(used.check(&token, &wanted, NOW), Err(EnrolmentError::Used));
            let (other, _, _) = granted(kind);
            assert_eq!(grant.check(&other, &wanted, NOW), Err(EnrolmentError::Unknown));
        }
        let (token, grant, wanted) = granted(Kind::Node { raft_id: 3 });
        let another = Subject { kind: Kind::Node { raft_id: 4 }, ..wanted };
        assert_eq!(grant.check(&token, &another, NOW), Err(EnrolmentError::OtherApplicant));
    }

    #[test]
    fn text_comes_back_and_is_not_shown() {
        let (token, _, _) = granted(Kind::UnitSystem);
        assert_eq!(EnrolmentToken::parse(&format!(" {}\n", *token.text())), Ok(token.clone()));
        assert_eq!(format!("{token:?}"), "EnrolmentToken(…)");
        assert_ne!(token.hash(), EnrolmentToken::new([7; 32], NOW).unwrap().hash());
    }

    proptest! {
        #[test]
        fn a_mistyped_token_is_noticed(at in any::<prop::sample::Index>(), by in "[A-Za-z0-9_-]") {
            let token = EnrolmentToken { secret: Zeroizing::new([9; 32]), authority: [7; 32], not_after_ms: NOW };
            let mut text = token.text().to_string();
            let at = PREFIX.len() + at.index(text.len() - PREFIX.len());
            prop_assume!(text[at..=at] != by);
            text.replace_range(at..=at, &by);
            prop_assert_eq!(EnrolmentToken::parse(&text), Err(EnrolmentError::Malformed));
        }

        #[test]
        fn any_text_parses_or_fails(text in ".{0,200}") {
            prop_assert!(EnrolmentToken::parse(&text).is_err());
        }
    }
}
