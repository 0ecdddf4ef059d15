//! Enrolment: tokens, which let one applicant, once, ask for one certificate, and the check of what is given.
//! To whom a token was granted, and whether it was used, stands in the registry.
//!
//! Not to be mixed up with request tokens, which a known key signs. Whoever holds an enrolment
//! token can enrol in the applicant's name, so it is handed over out of band, lives shortly, and
//! only its hash is kept.

use crate::authority_certificate::AuthorityCertificate;
use crate::certificate::{Certificate, CertificateError};
use crate::subject::Subject;
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use vermilion_crypto::{CryptoError, Digest, PublicKey, hash, random, sha256};
use zeroize::Zeroizing;

const PREFIX: &str = "vermilion-enrol-1.";
const SECRET: usize = 32;
const CHECKSUM: usize = 4;
/// Secret, fingerprint, time, checksum.
const LENGTH: usize = SECRET + 32 + 8 + CHECKSUM;

/// A text that is no token, or was mistyped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the enrolment token is mistyped or cut short")]
pub struct MalformedToken;

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

    /// Reads what [`EnrolmentToken::text`] wrote: the first line that is not empty, with the white space around it taken
    /// off. What people keep beside a token stands below it.
    pub fn parse(text: &str) -> Result<Self, MalformedToken> {
        let line = text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
        let body = line.strip_prefix(PREFIX).ok_or(MalformedToken)?;
        let bytes = Zeroizing::new(BASE64_URL_SAFE_NO_PAD.decode(body).map_err(|_| MalformedToken)?);
        let (said, sum) = bytes.split_at_checked(LENGTH - CHECKSUM).ok_or(MalformedToken)?;
        if sha256(said)[..CHECKSUM] != *sum {
            return Err(MalformedToken);
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::fixtures::{NOW, authority_of, leaf, subject};
    use crate::subject::Kind;
    use proptest::prelude::*;
    use vermilion_crypto::SigningKey;

    #[test]
    fn what_is_given_must_be_what_was_asked_for() {
        let (ours, key) = (authority_of(1), SigningKey::from_seed(&[20; 32]));
        let (der, _) = leaf(&ours, Kind::UnitSystem, &key, 20);
        let wanted = subject(Kind::UnitSystem, &key);
        let accepted = |root: &AuthorityCertificate, subject: &Subject, key: &SigningKey| {
            accept(&der, ours.issuing.der(), root, subject, &key.public()).map(|_| ())
        };
        assert_eq!(accepted(&ours.root, &wanted, &key), Ok(()));
        assert_eq!(accepted(&ours.root, &wanted, &SigningKey::from_seed(&[21; 32])), Err(CertificateError::Key));
        assert!(accepted(&authority_of(10).root, &wanted, &key).is_err());
        let elsewhere = Subject { district: "440304".into(), ..wanted };
        assert!(accepted(&ours.root, &elsewhere, &key).is_err());
    }

    #[test]
    fn text_comes_back_and_is_not_shown() {
        let token = EnrolmentToken::new([7; 32], NOW + 1000).unwrap();
        assert_eq!(EnrolmentToken::parse(&format!(" {}\n", *token.text())), Ok(token.clone()));
        assert_eq!(EnrolmentToken::parse(&format!("\r\n{}\r\n  for node/nanshan\n", *token.text())), Ok(token.clone()));
        assert_eq!(EnrolmentToken::parse(&format!("for node/nanshan\n{}\n", *token.text())), Err(MalformedToken));
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
            prop_assert_eq!(EnrolmentToken::parse(&text), Err(MalformedToken));
        }

        #[test]
        fn any_text_parses_or_fails(text in ".{0,200}") {
            prop_assert!(EnrolmentToken::parse(&text).is_err());
        }
    }
}
