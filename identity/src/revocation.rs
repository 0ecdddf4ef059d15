//! Which certificates no longer stand, told in the two forms that others' software reads: the list
//! (CRL, RFC 5280 §5) and the answer about one (OCSP, RFC 6960).
//!
//! Neither is what the ledger's own nodes go by: those ask the state. Both are made from what the
//! caller read there.

use crate::{
    authority_certificate::AuthorityCertificate,
    certificate::{CertificateError, authority_key_extension},
    serial::Serial,
    signer::Signer,
    x509::{ed25519, extension, serial_number, time},
};
use der::{
    Encode,
    asn1::{BitString, Uint},
};
use x509_cert::{
    Version,
    crl::{CertificateList, RevokedCert, TbsCertList},
    ext::pkix::{CrlNumber, CrlReason},
};

/// Why a certificate does not stand (RFC 5280 §5.3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RevocationReason {
    /// Not said.
    Unspecified,
    /// The key was lost, or may be in others' hands.
    KeyCompromise,
    /// The holder's unit, district or posts changed.
    AffiliationChanged,
    /// Another certificate took its place.
    Superseded,
    /// The holder stopped: a node retired, a unit dissolved.
    CessationOfOperation,
    /// Suspended: it may stand again.
    Hold,
    /// A right was taken away: a ban.
    PrivilegeWithdrawn,
}

impl RevocationReason {
    pub(crate) fn code(self) -> CrlReason {
        match self {
            Self::Unspecified => CrlReason::Unspecified,
            Self::KeyCompromise => CrlReason::KeyCompromise,
            Self::AffiliationChanged => CrlReason::AffiliationChanged,
            Self::Superseded => CrlReason::Superseded,
            Self::CessationOfOperation => CrlReason::CessationOfOperation,
            Self::Hold => CrlReason::CertificateHold,
            Self::PrivilegeWithdrawn => CrlReason::PrivilegeWithdrawn,
        }
    }
}

/// A certificate that was revoked or suspended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revoked {
    /// Its serial number.
    pub serial: Serial,
    /// When, in Unix milliseconds; the second in which it lies is told.
    pub at_ms: u64,
    /// Why.
    pub reason: RevocationReason,
}

pub(crate) fn whole_second(ms: u64) -> u64 {
    ms - ms % 1000
}

/// Signs a revocation list; DER. `number` must grow with every list of this authority: take the
/// record number as of which the list is. Times are Unix milliseconds. The entries stand in the
/// order given; each serial at most once.
pub fn revocation_list(
    key: &dyn Signer,
    issuing: &AuthorityCertificate,
    number: u64,
    this_update_ms: u64,
    next_update_ms: u64,
    revoked: &[Revoked],
) -> Result<Vec<u8>, CertificateError> {
    let entries: Result<Vec<RevokedCert>, CertificateError> = revoked
        .iter()
        .map(|entry| {
            // RFC 5280 §5.3.1: an unspecified reason is left out.
            let extensions = match entry.reason {
                RevocationReason::Unspecified => None,
                reason => Some(vec![extension(false, &reason.code())?]),
            };
            Ok(RevokedCert {
                serial_number: serial_number(&entry.serial)?,
                revocation_date: time(whole_second(entry.at_ms))?,
                crl_entry_extensions: extensions,
            })
        })
        .collect();
    let tbs = TbsCertList {
        version: Version::V2,
        signature: ed25519(),
        issuer: issuing.distinguished_name().clone(),
        this_update: time(whole_second(this_update_ms))?,
        next_update: Some(time(whole_second(next_update_ms))?),
        revoked_certificates: Some(entries?).filter(|entries| !entries.is_empty()),
        crl_extensions: Some(vec![
            extension(false, &authority_key_extension(&issuing.key_identifier())?)?,
            extension(false, &CrlNumber(Uint::new(&number.to_be_bytes())?))?,
        ]),
    };
    let signature = BitString::from_bytes(&key.sign(&tbs.to_der()?)?)?;
    Ok(CertificateList { tbs_cert_list: tbs, signature_algorithm: ed25519(), signature }.to_der()?)
}
