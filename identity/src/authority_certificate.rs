//! The authority's own certificates: a root, kept offline, and issuing ones under it.

use crate::{
    certificate::{CertificateError, authority_key_extension, check_subject_key, read_authority_key, subject_key_extension},
    serial::Serial,
    subject::{authority_name, first_uri, is_trust_domain, is_unit, unit_of, uri_name, values},
    x509::{self, KeyIdentifier, Parsed, Signed, Validity, key_identifier},
};
use const_oid::db::rfc4519::COMMON_NAME;
use der::flagset::FlagSet;
use vermilion_crypto::{Digest, PublicKey};
use x509_cert::{
    ext::{
        Extensions,
        pkix::{BasicConstraints, KeyUsage, KeyUsages, SubjectAltName},
    },
    name::Name,
};

/// The longest name of an authority, in bytes of UTF-8 (X.520 allows 64 characters).
const MAX_NAME: usize = 64;

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthorityKind {
    /// Self-signed; issues issuing certificates. Its fingerprint is what an applicant pins.
    Root,
    /// Issued by the root; issues leaves, signs revocation lists and OCSP answers.
    Issuing,
}

impl AuthorityKind {
    /// How many authorities may stand below.
    fn path_length(self) -> u8 {
        match self {
            Self::Root => 1,
            Self::Issuing => 0,
        }
    }

    fn usage(self) -> FlagSet<KeyUsages> {
        match self {
            Self::Root => KeyUsages::KeyCertSign | KeyUsages::CRLSign,
            // digitalSignature is what RFC 6960 asks of whoever signs OCSP answers.
            Self::Issuing => KeyUsages::DigitalSignature | KeyUsages::KeyCertSign | KeyUsages::CRLSign,
        }
    }
}

/// Who an authority is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthorityName {
    /// The ledger's domain of trust: a DNS name in lower case. It binds every leaf to this ledger.
    pub trust_domain: String,
    /// USCC of the unit that runs the authority.
    pub unit: String,
    /// The authority's name, 1 to 64 bytes of UTF-8.
    pub name: String,
}

impl AuthorityName {
    pub(crate) fn check(&self) -> Result<(), CertificateError> {
        if !is_trust_domain(&self.trust_domain) {
            return Err(CertificateError::Subject("trust domain"));
        }
        if !is_unit(&self.unit) {
            return Err(CertificateError::Subject("unit"));
        }
        if self.name.is_empty() || self.name.len() > MAX_NAME {
            return Err(CertificateError::Subject("name"));
        }
        Ok(())
    }

    pub(crate) fn distinguished_name(&self) -> Result<Name, CertificateError> {
        authority_name(&self.unit, &self.name)
    }

    /// The trust domain's own SPIFFE id.
    fn alternative_names(&self) -> Result<SubjectAltName, CertificateError> {
        Ok(SubjectAltName(vec![uri_name(&format!("spiffe://{}", self.trust_domain))?]))
    }

    fn read(subject: &Name, alternative: &SubjectAltName) -> Result<Self, CertificateError> {
        let trust_domain = first_uri(alternative)?.strip_prefix("spiffe://").ok_or(CertificateError::AlternativeName)?;
        let name = Self {
            trust_domain: trust_domain.to_owned(),
            unit: unit_of(subject)?,
            name: values(subject, COMMON_NAME).next().unwrap_or_default(),
        };
        name.check()?;
        if name.distinguished_name()? != *subject {
            return Err(CertificateError::Subject("shape"));
        }
        if name.alternative_names()? != *alternative {
            return Err(CertificateError::AlternativeName);
        }
        Ok(name)
    }
}

/// A root or issuing certificate within the profile. A root's own signature is checked by parsing,
/// an issuing one's by [`AuthorityCertificate::verify_issued_by`].
#[derive(Clone, PartialEq, Eq)]
pub struct AuthorityCertificate {
    /// Root or issuing.
    pub kind: AuthorityKind,
    /// Serial number.
    pub serial: Serial,
    /// Who it is.
    pub name: AuthorityName,
    /// From when to when.
    pub validity: Validity,
    /// The authority's Ed25519 key.
    pub key: PublicKey,
    /// The key that signed it: a root's own.
    pub authority_key: KeyIdentifier,
    /// SHA-256 of the DER.
    pub fingerprint: Digest,
    der: Vec<u8>,
    subject: Name,
    issuer: Name,
    signed: Signed,
}

impl AuthorityCertificate {
    /// Parses DER and checks it against the profile.
    pub fn parse(der: &[u8]) -> Result<Self, CertificateError> {
        let Parsed { serial, issuer, subject, validity, key, mut extensions, fingerprint, signed } = x509::parse(der)?;
        if !extensions.has::<BasicConstraints>() {
            return Err(CertificateError::CaFlag);
        }
        let authority_key = read_authority_key(&extensions.take(false)?)?;
        check_subject_key(&extensions.take(false)?, &key)?;
        let kind = if authority_key == key_identifier(&key) { AuthorityKind::Root } else { AuthorityKind::Issuing };
        let constraints: BasicConstraints = extensions.take(true)?;
        if !constraints.ca || constraints.path_len_constraint != Some(kind.path_length()) {
            return Err(CertificateError::CaFlag);
        }
        if extensions.take::<KeyUsage>(true)?.0 != kind.usage() {
            return Err(CertificateError::KeyUsage);
        }
        let alternative: SubjectAltName = extensions.take(false)?;
        extensions.finish()?;
        let name = AuthorityName::read(&subject, &alternative)?;
        if kind == AuthorityKind::Root {
            if issuer != subject {
                return Err(CertificateError::OtherAuthority);
            }
            signed.verify(&key)?;
        }
        Ok(Self { kind, serial, name, validity, key, authority_key, fingerprint, der: der.to_vec(), subject, issuer, signed })
    }

    /// The certificate's DER.
    #[must_use]
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// The key's identifier, as leaves name it.
    #[must_use]
    pub fn key_identifier(&self) -> KeyIdentifier {
        key_identifier(&self.key)
    }

    /// Whether this issuing certificate is the root's.
    pub fn verify_issued_by(&self, root: &Self) -> Result<(), CertificateError> {
        if root.kind != AuthorityKind::Root || self.kind != AuthorityKind::Issuing {
            return Err(CertificateError::CaFlag);
        }
        root.check_names(&self.authority_key, &self.issuer, &self.name.trust_domain, self.validity)?;
        self.signed.verify(&root.key)
    }

    /// What a leaf must say to be this issuing certificate's, its signature apart.
    pub(crate) fn check_issued(
        &self,
        authority_key: &KeyIdentifier,
        issuer: &Name,
        trust_domain: &str,
        validity: Validity,
    ) -> Result<(), CertificateError> {
        if self.kind != AuthorityKind::Issuing {
            return Err(CertificateError::CaFlag);
        }
        self.check_names(authority_key, issuer, trust_domain, validity)
    }

    fn check_names(&self, key: &KeyIdentifier, issuer: &Name, trust_domain: &str, validity: Validity) -> Result<(), CertificateError> {
        if *key != self.key_identifier() || *issuer != self.subject || trust_domain != self.name.trust_domain {
            return Err(CertificateError::OtherAuthority);
        }
        if self.validity.covers(&validity) { Ok(()) } else { Err(CertificateError::OutlivesIssuer) }
    }

    /// The subject as it stands in the certificate.
    pub(crate) fn distinguished_name(&self) -> &Name {
        &self.subject
    }
}

impl std::fmt::Debug for AuthorityCertificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "AuthorityCertificate({:?} {} {})", self.kind, self.serial, self.name.name)
    }
}

/// The extensions of an authority's certificate, in the order in which they are written.
pub(crate) fn authority_extensions(
    kind: AuthorityKind,
    name: &AuthorityName,
    key: &PublicKey,
    signer: &PublicKey,
) -> Result<Extensions, CertificateError> {
    let constraints = BasicConstraints { ca: true, path_len_constraint: Some(kind.path_length()) };
    Ok(vec![
        x509::extension(false, &authority_key_extension(&key_identifier(signer))?)?,
        x509::extension(false, &subject_key_extension(key)?)?,
        x509::extension(true, &constraints)?,
        x509::extension(true, &KeyUsage(kind.usage()))?,
        x509::extension(false, &name.alternative_names()?)?,
    ])
}
