//! The authority at work: making root, issuing certificate and leaves.
//!
//! Whether a certificate should be made is decided elsewhere, by a record that the right posts have
//! signed. Every certificate made here is parsed again before it is given out, so none leaves that
//! the ledger would refuse.

use crate::{
    authority_certificate::{AuthorityCertificate, AuthorityKind, AuthorityName, authority_extensions},
    certificate::{Certificate, CertificateError, check_person_key, leaf_extensions},
    serial::Serial,
    signer::Signer,
    subject::Subject,
    x509::{self, Draft, Validity},
};
use vermilion_crypto::PublicKey;

/// Makes a root certificate: the key signs itself.
pub fn make_root(
    key: &dyn Signer,
    name: &AuthorityName,
    serial: &Serial,
    validity: Validity,
) -> Result<AuthorityCertificate, CertificateError> {
    name.check()?;
    let public = key.public();
    let draft = Draft {
        serial,
        issuer: name.distinguished_name()?,
        subject: name.distinguished_name()?,
        validity,
        key: public,
        extensions: authority_extensions(AuthorityKind::Root, name, &public, &public)?,
    };
    AuthorityCertificate::parse(&x509::sign(draft, key)?)
}

/// Makes an issuing certificate for a key, signed by the root's. It shares the root's trust domain.
pub fn make_issuing(
    root_key: &dyn Signer,
    root: &AuthorityCertificate,
    key: PublicKey,
    name: &AuthorityName,
    serial: &Serial,
    validity: Validity,
) -> Result<AuthorityCertificate, CertificateError> {
    name.check()?;
    let draft = Draft {
        serial,
        issuer: root.distinguished_name().clone(),
        subject: name.distinguished_name()?,
        validity,
        key,
        extensions: authority_extensions(AuthorityKind::Issuing, name, &key, &root_key.public())?,
    };
    let made = AuthorityCertificate::parse(&x509::sign(draft, root_key)?)?;
    made.verify_issued_by(root)?;
    Ok(made)
}

/// Issues a leaf: its DER and the same parsed.
pub fn issue(
    issuing_key: &dyn Signer,
    issuing: &AuthorityCertificate,
    subject: &Subject,
    key: PublicKey,
    serial: &Serial,
    validity: Validity,
) -> Result<(Vec<u8>, Certificate), CertificateError> {
    subject.check()?;
    check_person_key(subject, &key)?;
    let draft = Draft {
        serial,
        issuer: issuing.distinguished_name().clone(),
        subject: subject.distinguished_name()?,
        validity,
        key,
        extensions: leaf_extensions(subject, &key, issuing)?,
    };
    let der = x509::sign(draft, issuing_key)?;
    let made = Certificate::parse(&der)?;
    made.verify_issued_by(issuing)?;
    Ok((der, made))
}
