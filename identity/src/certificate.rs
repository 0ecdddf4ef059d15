//! Leaf certificates: X.509 v3 (RFC 5280) in one narrow profile, the same answer on every machine.
//!
//! Parsing is a pure function of the bytes. It takes only what this program would itself write:
//! DER that encodes back to the same bytes, Ed25519, the subject of [`Subject`], and exactly the
//! extensions of the profile. Whether a certificate still stands is not written in it: that is the
//! ledger's state, asked by serial number.

use crate::{
    authority_certificate::AuthorityCertificate,
    serial::Serial,
    signer::SignerError,
    subject::{Kind, Subject},
    x509::{self, KeyIdentifier, Parsed, Signed, Validity, key_identifier},
};
use const_oid::{
    ObjectIdentifier,
    db::rfc5280::{ID_KP_CLIENT_AUTH, ID_KP_SERVER_AUTH},
};
use der::{Encode, flagset::FlagSet};
use vermilion_crypto::{Digest, PublicKey};
use x509_cert::{
    ext::pkix::{AuthorityKeyIdentifier, BasicConstraints, ExtendedKeyUsage, KeyUsage, KeyUsages, SubjectAltName, SubjectKeyIdentifier},
    name::Name,
};

/// Why a certificate, a request for one, or a list of revoked ones is not accepted. All but
/// `NotYetValid` and `Expired` are functions of the bytes alone.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CertificateError {
    /// Beyond [`x509::MAX_CERTIFICATE`].
    #[error("the certificate has more than {} bytes", x509::MAX_CERTIFICATE)]
    TooLarge,
    /// Not DER of the type that was expected, or text that DER cannot carry.
    #[error("the certificate does not decode: {0}")]
    Malformed(String),
    /// Decodes, but would be written otherwise.
    #[error("the certificate is not in its one encoding")]
    NotCanonical,
    /// Not version 3, or with unique identifiers.
    #[error("the certificate is not X.509 version 3")]
    Version,
    /// A key or signature of another algorithm than Ed25519.
    #[error("the certificate's algorithm is not Ed25519")]
    Algorithm,
    /// A serial number that is not positive or too long.
    #[error("the serial number is not a positive number of at most 20 bytes")]
    Serial,
    /// Dates in the wrong form, not whole seconds, or none between them.
    #[error("the certificate's dates are not in order")]
    Dates,
    /// A key that may not be registered, or not the one that the subject names.
    #[error("the certificate's key is not one that may stand in it")]
    Key,
    /// A part of the subject.
    #[error("the certificate's subject is outside the profile: {0}")]
    Subject(&'static str),
    /// Alternative names that do not say the same as the subject.
    #[error("the certificate's alternative names are outside the profile")]
    AlternativeName,
    /// An extension that is missing, unknown, twice there, or not marked as it must be; its object identifier.
    #[error("the certificate's extension {0} is outside the profile")]
    Extension(String),
    /// A leaf that says it is an authority, or an authority that says it is none.
    #[error("the certificate's CA flag is wrong for its place")]
    CaFlag,
    /// Key usage or extended key usage.
    #[error("the certificate's key usage is wrong for its kind")]
    KeyUsage,
    /// Issued by another authority.
    #[error("the certificate was issued by another authority")]
    OtherAuthority,
    /// The issuing certificate ends first.
    #[error("the certificate's dates are not within its issuer's")]
    OutlivesIssuer,
    /// The signature does not hold.
    #[error("the certificate's signature does not hold")]
    Signature,
    /// Its time has not come.
    #[error("the certificate is not valid yet")]
    NotYetValid,
    /// Its time is over.
    #[error("the certificate has expired")]
    Expired,
    /// The authority's key did not sign.
    #[error(transparent)]
    Signer(#[from] SignerError),
}

impl From<der::Error> for CertificateError {
    fn from(error: der::Error) -> Self {
        Self::Malformed(error.to_string())
    }
}

/// A leaf certificate within the profile. Neither its signature nor its dates are checked by
/// parsing: see [`Certificate::verify_issued_by`] and [`Certificate::check_dates`].
#[derive(Clone, PartialEq, Eq)]
pub struct Certificate {
    /// Serial number, unique within its authority.
    pub serial: Serial,
    /// Whom it names.
    pub subject: Subject,
    /// From when to when.
    pub validity: Validity,
    /// The holder's Ed25519 key. A person's is the key by which that person signs commands; a
    /// node's is its TLS key, and never its node or cosigning key.
    pub key: PublicKey,
    /// The issuing authority's key.
    pub authority_key: KeyIdentifier,
    /// SHA-256 of the DER.
    pub fingerprint: Digest,
    issuer: Name,
    signed: Signed,
}

/// The extended key usages of a kind, in the order in which they are written.
fn usages(kind: Kind) -> Vec<ObjectIdentifier> {
    match kind {
        Kind::Node { .. } => vec![ID_KP_SERVER_AUTH, ID_KP_CLIENT_AUTH],
        Kind::UnitSystem | Kind::Operator | Kind::Auditor => vec![ID_KP_CLIENT_AUTH],
    }
}

impl Certificate {
    /// Parses DER and checks it against the profile.
    pub fn parse(der: &[u8]) -> Result<Self, CertificateError> {
        let Parsed { serial, issuer, subject, validity, key, mut extensions, fingerprint, signed } = x509::parse(der)?;
        if extensions.has::<BasicConstraints>() {
            return Err(CertificateError::CaFlag);
        }
        let authority_key = read_authority_key(&extensions.take(false)?)?;
        check_subject_key(&extensions.take(false)?, &key)?;
        if extensions.take::<KeyUsage>(true)?.0 != FlagSet::from(KeyUsages::DigitalSignature) {
            return Err(CertificateError::KeyUsage);
        }
        let extended: ExtendedKeyUsage = extensions.take(false)?;
        let alternative: SubjectAltName = extensions.take(false)?;
        extensions.finish()?;
        let subject = Subject::read(&subject, &alternative)?;
        if extended.0 != usages(subject.kind) {
            return Err(CertificateError::KeyUsage);
        }
        check_person_key(&subject, &key)?;
        Ok(Self { serial, subject, validity, key, authority_key, fingerprint, issuer, signed })
    }

    /// Whether `issuing` issued it: key, name, trust domain, dates within dates, and the signature.
    pub fn verify_issued_by(&self, issuing: &AuthorityCertificate) -> Result<(), CertificateError> {
        issuing.check_issued(&self.authority_key, &self.issuer, &self.subject.trust_domain, self.validity)?;
        self.signed.verify(&issuing.key)
    }

    /// Whether it is valid at a time, in Unix milliseconds. The last second counts whole.
    pub fn check_dates(&self, now_ms: u64) -> Result<(), CertificateError> {
        self.validity.check(now_ms)
    }
}

impl std::fmt::Debug for Certificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Certificate({} {})", self.serial, self.subject.uri())
    }
}

impl Validity {
    /// Whether two thirds of the time are over: then a certificate is renewed.
    #[must_use]
    pub fn is_due(&self, now_ms: u64) -> bool {
        let life = self.not_after_ms.saturating_sub(self.not_before_ms);
        now_ms >= self.not_before_ms.saturating_add(life / 3 * 2)
    }

    /// Whether a time, in Unix milliseconds, lies within.
    pub fn check(&self, now_ms: u64) -> Result<(), CertificateError> {
        if now_ms < self.not_before_ms {
            return Err(CertificateError::NotYetValid);
        }
        if now_ms >= self.not_after_ms.saturating_add(1000) {
            return Err(CertificateError::Expired);
        }
        Ok(())
    }

    /// Whether `inner` lies within.
    #[must_use]
    pub fn covers(&self, inner: &Self) -> bool {
        self.not_before_ms <= inner.not_before_ms && inner.not_after_ms <= self.not_after_ms
    }
}

/// A person is named by the id of the very key that is certified.
pub(crate) fn check_person_key(subject: &Subject, key: &PublicKey) -> Result<(), CertificateError> {
    if subject.kind.is_person() && subject.name != hex::encode(key.id()) {
        return Err(CertificateError::Key);
    }
    Ok(())
}

/// The extensions of a leaf, in the order in which they are written.
pub(crate) fn leaf_extensions(
    subject: &Subject,
    key: &PublicKey,
    issuing: &AuthorityCertificate,
) -> Result<x509_cert::ext::Extensions, CertificateError> {
    Ok(vec![
        x509::extension(false, &authority_key_extension(&key_identifier(&issuing.key))?)?,
        x509::extension(false, &subject_key_extension(key)?)?,
        x509::extension(true, &KeyUsage(KeyUsages::DigitalSignature.into()))?,
        x509::extension(false, &ExtendedKeyUsage(usages(subject.kind)))?,
        x509::extension(false, &subject.alternative_names()?)?,
    ])
}

pub(crate) fn authority_key_extension(id: &KeyIdentifier) -> Result<AuthorityKeyIdentifier, CertificateError> {
    let key_identifier = Some(der::asn1::OctetString::new(id.as_slice())?);
    Ok(AuthorityKeyIdentifier { key_identifier, authority_cert_issuer: None, authority_cert_serial_number: None })
}

pub(crate) fn subject_key_extension(key: &PublicKey) -> Result<SubjectKeyIdentifier, CertificateError> {
    Ok(SubjectKeyIdentifier(der::asn1::OctetString::new(key_identifier(key).as_slice())?))
}

pub(crate) fn read_authority_key(read: &AuthorityKeyIdentifier) -> Result<KeyIdentifier, CertificateError> {
    let refused = || CertificateError::Extension("2.5.29.35".into());
    let id: KeyIdentifier = read.key_identifier.as_ref().and_then(|id| id.as_bytes().try_into().ok()).ok_or_else(refused)?;
    if *read == authority_key_extension(&id)? { Ok(id) } else { Err(refused()) }
}

pub(crate) fn check_subject_key(read: &SubjectKeyIdentifier, key: &PublicKey) -> Result<(), CertificateError> {
    if read.to_der()? == subject_key_extension(key)?.to_der()? { Ok(()) } else { Err(CertificateError::Extension("2.5.29.14".into())) }
}
