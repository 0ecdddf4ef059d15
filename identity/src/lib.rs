//! Envelopes, and the credentials of whoever connects or signs.
//!
//! An envelope is a command's exact bytes with its signatures ([`open`], [`seal`]). A certificate
//! names a node, a unit's system, an operator or an auditor ([`certificate`]); the ledger's own
//! authority issues it ([`authority`]) on a request ([`request`]) that an enrolment token allows
//! ([`enrolment`]), or that a founder signs before there is a ledger ([`founding`]), and says what no longer stands ([`revocation`], [`ocsp`]). [`tls`] lets in and
//! meets nobody else. Whether a signer may act, and whether a certificate still
//! stands, is not known here: that is the registry's, from replicated state.
//!
//! No sockets, no clock, and no files but for [`pkcs11`], which loads a device's library and reads its PIN.

pub mod authority;
pub mod authority_certificate;
pub mod certificate;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod certificate_tests;
pub mod enrolment;
mod envelope;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod fixtures;
pub mod founding;
pub mod ocsp;
pub mod pkcs11;
pub mod request;
pub mod revocation;
pub mod sealed_key;
pub mod serial;
pub mod signer;
pub mod subject;
pub mod tls;
mod token;
pub mod x509;

pub use authority_certificate::{AuthorityCertificate, AuthorityKind, AuthorityName};
pub use certificate::{Certificate, CertificateError};
pub use envelope::{EnvelopeError, MAX_ENVELOPE, MAX_SIGNERS, Opened, Signed, command_id, open, open_each, seal, seal_with};
pub use request::CertificateRequest;
pub use serial::Serial;
pub use signer::{Signer, SignerError};
pub use subject::{Kind, Subject};
pub use token::{RequestToken, TOKEN_LIFETIME_MS, TokenError};
pub use x509::Validity;
