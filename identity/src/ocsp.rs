//! OCSP answers (RFC 6960), signed by the issuing key itself.

use crate::{
    authority_certificate::AuthorityCertificate,
    certificate::CertificateError,
    revocation::{RevocationReason, whole_second},
    serial::Serial,
    signer::Signer,
    x509::{ed25519, read_serial},
};
use const_oid::AssociatedOid;
use der::{
    DateTime, Decode, Encode,
    asn1::{BitString, OctetString},
};
use std::time::Duration;
use vermilion_crypto::hash::{sha1, sha256};
use x509_cert::ext::Extension;
use x509_ocsp::{
    BasicOcspResponse, CertId, CertStatus, OcspGeneralizedTime, OcspRequest, OcspResponse, ResponderId, ResponseData, RevokedInfo,
    SingleResponse, Version, ext::Nonce,
};

/// The most certificates that one request may ask about.
pub const MAX_ASKED: usize = 16;
/// The largest request, in bytes.
pub const MAX_REQUEST: usize = 8192;
/// The longest nonce that is given back, in bytes (RFC 8954).
const MAX_NONCE: usize = 32;

/// What the state says about a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CertificateStatus {
    /// Issued, and stands.
    Good,
    /// Revoked, or suspended with the reason [`RevocationReason::Hold`].
    Revoked {
        /// Since when, in Unix milliseconds.
        at_ms: u64,
        /// Why.
        reason: RevocationReason,
    },
    /// Never issued.
    Unknown,
}

/// As of when an answer is, and until when it may be used, in Unix milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AnswerTimes {
    /// When it was made; also as of when the state was read.
    pub produced_ms: u64,
    /// When a newer one can be had.
    pub next_update_ms: u64,
}

fn when(ms: u64) -> Result<OcspGeneralizedTime, CertificateError> {
    Ok(DateTime::from_unix_duration(Duration::from_millis(whole_second(ms)))?.into())
}

/// Answers a request (DER) about this authority's certificates; DER. A request that cannot be read,
/// or asks about more than [`MAX_ASKED`], gets the answer "malformed", which nobody signs. A
/// certificate of another authority is unknown. The nonce comes back.
pub fn answer(
    request: &[u8],
    key: &dyn Signer,
    issuing: &AuthorityCertificate,
    times: AnswerTimes,
    status: &dyn Fn(&Serial) -> CertificateStatus,
) -> Result<Vec<u8>, CertificateError> {
    let readable = (request.len() <= MAX_REQUEST).then(|| OcspRequest::from_der(request).ok()).flatten();
    let asked = readable.filter(|request| (1..=MAX_ASKED).contains(&request.tbs_request.request_list.len()));
    let Some(request) = asked else {
        return Ok(OcspResponse::malformed_request().to_der()?);
    };
    let nonce = request.nonce().filter(|nonce| (1..=MAX_NONCE).contains(&nonce.0.as_bytes().len()));
    let responses: Result<Vec<SingleResponse>, CertificateError> = request
        .tbs_request
        .request_list
        .into_iter()
        .map(|one| {
            let found = match read_serial(&one.req_cert.serial_number) {
                Ok(serial) if is_ours(&one.req_cert, issuing)? => status(&serial),
                _ => CertificateStatus::Unknown,
            };
            Ok(SingleResponse {
                cert_id: one.req_cert,
                cert_status: written(found)?,
                this_update: when(times.produced_ms)?,
                next_update: Some(when(times.next_update_ms)?),
                single_extensions: None,
            })
        })
        .collect();
    let extensions = match nonce {
        None => None,
        Some(nonce) => Some(vec![Extension { extn_id: Nonce::OID, critical: false, extn_value: OctetString::new(nonce.0.to_der()?)? }]),
    };
    let data = ResponseData {
        version: Version::V1,
        responder_id: ResponderId::ByKey(OctetString::new(sha1(&issuing.key.0).as_slice())?),
        produced_at: when(times.produced_ms)?,
        responses: responses?,
        response_extensions: extensions,
    };
    let signature = BitString::from_bytes(&key.sign(&data.to_der()?)?)?;
    let basic = BasicOcspResponse { tbs_response_data: data, signature_algorithm: ed25519(), signature, certs: None };
    Ok(OcspResponse::successful(basic)?.to_der()?)
}

/// Whether a request names this authority, by SHA-1 (what most programs send) or SHA-256.
fn is_ours(id: &CertId, issuing: &AuthorityCertificate) -> Result<bool, CertificateError> {
    let name = issuing.distinguished_name().to_der()?;
    let named = |name: &[u8], key: &[u8]| id.issuer_name_hash.as_bytes() == name && id.issuer_key_hash.as_bytes() == key;
    Ok(named(&sha1(&name), &sha1(&issuing.key.0)) || named(&sha256(&name), &sha256(&issuing.key.0)))
}

fn written(status: CertificateStatus) -> Result<CertStatus, CertificateError> {
    Ok(match status {
        CertificateStatus::Good => CertStatus::good(),
        CertificateStatus::Unknown => CertStatus::unknown(),
        CertificateStatus::Revoked { at_ms, reason } => {
            CertStatus::revoked(RevokedInfo { revocation_time: when(at_ms)?, revocation_reason: Some(reason.code()) })
        }
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::fixtures::{NOW, authority_of};
    use proptest::prelude::*;
    use x509_ocsp::OcspResponseStatus;

    fn ask(request: &[u8]) -> OcspResponse {
        let at = authority_of(1);
        let times = AnswerTimes { produced_ms: NOW, next_update_ms: NOW + 1000 };
        let answer = answer(request, &at.issuing_key, &at.issuing, times, &|_| CertificateStatus::Good).unwrap();
        OcspResponse::from_der(&answer).unwrap()
    }

    #[test]
    fn what_cannot_be_read_is_malformed() {
        for request in [&[][..], &[0x30, 0], &[0; MAX_REQUEST + 1]] {
            assert_eq!(ask(request).response_status, OcspResponseStatus::MalformedRequest);
        }
    }

    proptest! {
        #[test]
        fn any_bytes_get_an_answer(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert_eq!(ask(&bytes).response_bytes.is_none(), true);
        }
    }
}
