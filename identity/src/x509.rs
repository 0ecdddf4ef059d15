//! What all our certificates have in common, leaf or authority: DER, one algorithm, dates, and
//! extensions that are all known.

use crate::{certificate::CertificateError, serial::Serial, signer::Signer};
use const_oid::{AssociatedOid, ObjectIdentifier};
use der::{
    DateTime, Decode, Encode,
    asn1::{BitString, GeneralizedTime, OctetString, UtcTime},
};
use std::time::Duration;
use vermilion_crypto::{Digest, PublicKey, check_registrable, hash};
use x509_cert::{
    Certificate as X509, TbsCertificate, Version,
    ext::{Extension, Extensions},
    name::Name,
    serial_number::SerialNumber,
    spki::{AlgorithmIdentifierOwned, SubjectPublicKeyInfoOwned},
    time::{Time, Validity as X509Validity},
};

/// RFC 8410: Ed25519, for keys and signatures alike, without parameters.
const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");
/// The largest certificate, in bytes of DER. A leaf with 16 posts has about 1,000.
pub const MAX_CERTIFICATE: usize = 4096;
const PEM_LABEL: &str = "CERTIFICATE";
/// RFC 5280 §4.1.2.5: years up to this one are UTCTime, later ones GeneralizedTime.
const LAST_UTC_YEAR: u16 = 2049;

/// Identifies an authority's key: the first 20 bytes of the SHA-256 of its public key (RFC 7093 method 1).
pub type KeyIdentifier = [u8; 20];

/// A public key's identifier in certificates.
#[must_use]
pub fn key_identifier(key: &PublicKey) -> KeyIdentifier {
    let mut id = [0; 20];
    id.copy_from_slice(&hash::sha256(&key.0)[..20]);
    id
}

/// From when to when, in Unix milliseconds; whole seconds, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    /// The first moment.
    pub not_before_ms: u64,
    /// The last second begins here.
    pub not_after_ms: u64,
}

pub(crate) fn ed25519() -> AlgorithmIdentifierOwned {
    AlgorithmIdentifierOwned { oid: ED25519, parameters: None }
}

/// Ed25519 with exactly no parameters.
pub(crate) fn check_algorithm(algorithm: &AlgorithmIdentifierOwned) -> Result<(), CertificateError> {
    if *algorithm == ed25519() { Ok(()) } else { Err(CertificateError::Algorithm) }
}

pub(crate) fn key_info(key: &PublicKey) -> Result<SubjectPublicKeyInfoOwned, CertificateError> {
    Ok(SubjectPublicKeyInfoOwned { algorithm: ed25519(), subject_public_key: BitString::from_bytes(&key.0)? })
}

/// An Ed25519 key that may be registered: canonical and torsion-free.
pub(crate) fn read_key(info: &SubjectPublicKeyInfoOwned) -> Result<PublicKey, CertificateError> {
    check_algorithm(&info.algorithm)?;
    let bytes = info.subject_public_key.as_bytes().ok_or(CertificateError::Key)?;
    check_registrable(bytes).map_err(|_| CertificateError::Key)
}

pub(crate) fn serial_number(serial: &Serial) -> Result<SerialNumber, CertificateError> {
    SerialNumber::new(serial.as_bytes()).map_err(|_| CertificateError::Serial)
}

/// The number of a serial that was read: negative ones are refused, the sign byte taken off.
pub(crate) fn read_serial(number: &SerialNumber) -> Result<Serial, CertificateError> {
    match number.as_bytes() {
        [0, rest @ ..] => Serial::new(rest),
        [first, ..] if *first >= 0x80 => Err(CertificateError::Serial),
        bytes => Serial::new(bytes),
    }
}

fn date_time(ms: u64) -> Result<DateTime, CertificateError> {
    if !ms.is_multiple_of(1000) {
        return Err(CertificateError::Dates);
    }
    DateTime::from_unix_duration(Duration::from_millis(ms)).map_err(|_| CertificateError::Dates)
}

/// A moment in Unix milliseconds, whole seconds, as RFC 5280 writes it.
pub(crate) fn time(ms: u64) -> Result<Time, CertificateError> {
    let when = date_time(ms)?;
    if when.year() <= LAST_UTC_YEAR {
        return Ok(Time::UtcTime(UtcTime::from_date_time(when)?));
    }
    Ok(Time::GeneralTime(GeneralizedTime::from_date_time(when)))
}

fn read_time(read: Time) -> Result<u64, CertificateError> {
    let ms = u64::try_from(read.to_unix_duration().as_millis()).map_err(|_| CertificateError::Dates)?;
    if time(ms)? == read { Ok(ms) } else { Err(CertificateError::Dates) }
}

/// Extensions as they are taken off one by one; what is left over is refused.
pub(crate) struct Taken(Vec<Extension>);

impl Taken {
    /// An extension that must stand, once, so marked, in its one encoding.
    pub(crate) fn take<T>(&mut self, critical: bool) -> Result<T, CertificateError>
    where
        T: AssociatedOid + Encode + for<'a> Decode<'a>,
    {
        let at = self.0.iter().position(|e| e.extn_id == T::OID).ok_or_else(|| CertificateError::Extension(T::OID.to_string()))?;
        let extension = self.0.remove(at);
        let value = T::from_der(extension.extn_value.as_bytes())?;
        if extension.critical != critical || value.to_der()? != extension.extn_value.as_bytes() {
            return Err(CertificateError::Extension(T::OID.to_string()));
        }
        Ok(value)
    }

    /// Whether an extension is there.
    pub(crate) fn has<T: AssociatedOid>(&self) -> bool {
        self.0.iter().any(|e| e.extn_id == T::OID)
    }

    /// Refuses what nobody took: the unknown, and the second of a kind.
    pub(crate) fn finish(self) -> Result<(), CertificateError> {
        self.0.first().map_or(Ok(()), |e| Err(CertificateError::Extension(e.extn_id.to_string())))
    }
}

impl From<Extensions> for Taken {
    fn from(extensions: Extensions) -> Self {
        Self(extensions)
    }
}

/// An extension to be written.
pub(crate) fn extension<T: AssociatedOid + Encode>(critical: bool, value: &T) -> Result<Extension, CertificateError> {
    Ok(Extension { extn_id: T::OID, critical, extn_value: OctetString::new(value.to_der()?)? })
}

/// A certificate whose common parts hold.
pub(crate) struct Parsed {
    pub(crate) serial: Serial,
    pub(crate) issuer: Name,
    pub(crate) subject: Name,
    pub(crate) validity: Validity,
    pub(crate) key: PublicKey,
    pub(crate) extensions: Taken,
    pub(crate) fingerprint: Digest,
    pub(crate) signed: Signed,
}

/// Signed bytes and their signature.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Signed {
    message: Vec<u8>,
    signature: Vec<u8>,
}

impl Signed {
    pub(crate) fn new(message: Vec<u8>, algorithm: &AlgorithmIdentifierOwned, signature: &BitString) -> Result<Self, CertificateError> {
        check_algorithm(algorithm)?;
        let signature = signature.as_bytes().filter(|s| s.len() == vermilion_crypto::SIGNATURE_LEN).ok_or(CertificateError::Signature)?;
        Ok(Self { message, signature: signature.to_vec() })
    }

    pub(crate) fn verify(&self, key: &PublicKey) -> Result<(), CertificateError> {
        key.verify(&self.message, &self.signature).map_err(|_| CertificateError::Signature)
    }
}

pub(crate) fn parse(der: &[u8]) -> Result<Parsed, CertificateError> {
    if der.len() > MAX_CERTIFICATE {
        return Err(CertificateError::TooLarge);
    }
    let X509 { tbs_certificate: tbs, signature_algorithm, signature } = decode(der)?;
    if tbs.version != Version::V3 || tbs.issuer_unique_id.is_some() || tbs.subject_unique_id.is_some() {
        return Err(CertificateError::Version);
    }
    check_algorithm(&tbs.signature)?;
    let validity = Validity { not_before_ms: read_time(tbs.validity.not_before)?, not_after_ms: read_time(tbs.validity.not_after)? };
    if validity.not_before_ms >= validity.not_after_ms {
        return Err(CertificateError::Dates);
    }
    Ok(Parsed {
        serial: read_serial(&tbs.serial_number)?,
        validity,
        key: read_key(&tbs.subject_public_key_info)?,
        fingerprint: hash::sha256(der),
        signed: Signed::new(tbs.to_der()?, &signature_algorithm, &signature)?,
        extensions: tbs.extensions.unwrap_or_default().into(),
        issuer: tbs.issuer,
        subject: tbs.subject,
    })
}

/// Decodes, and refuses whatever would not be encoded to the same bytes again.
pub(crate) fn decode<T: Encode + for<'a> Decode<'a>>(der: &[u8]) -> Result<T, CertificateError> {
    let value = T::from_der(der)?;
    if value.to_der()? == der { Ok(value) } else { Err(CertificateError::NotCanonical) }
}

/// The DER of a certificate in PEM: one, and nothing else.
pub fn from_pem(text: &str) -> Result<Vec<u8>, CertificateError> {
    let (label, der) = der::Document::from_pem(text)?;
    if label == PEM_LABEL { Ok(der.as_bytes().to_vec()) } else { Err(CertificateError::Malformed("it is no certificate".into())) }
}

/// Every certificate of a PEM file, DER, in its order.
pub fn chain_from_pem(text: &str) -> Result<Vec<Vec<u8>>, CertificateError> {
    let end = format!("-----END {PEM_LABEL}-----");
    text.split_inclusive(&end).map(str::trim).filter(|part| !part.is_empty()).map(|part| from_pem(&format!("{part}\n"))).collect()
}

/// A certificate's PEM.
pub fn to_pem(der: &[u8]) -> Result<String, CertificateError> {
    Ok(der::Document::try_from(der)?.to_pem(PEM_LABEL, der::pem::LineEnding::LF)?)
}

/// What a certificate is made of.
pub(crate) struct Draft<'a> {
    pub(crate) serial: &'a Serial,
    pub(crate) issuer: Name,
    pub(crate) subject: Name,
    pub(crate) validity: Validity,
    pub(crate) key: PublicKey,
    pub(crate) extensions: Extensions,
}

/// Signs a certificate; DER.
pub(crate) fn sign(draft: Draft<'_>, signer: &dyn Signer) -> Result<Vec<u8>, CertificateError> {
    let tbs = TbsCertificate {
        version: Version::V3,
        serial_number: serial_number(draft.serial)?,
        signature: ed25519(),
        issuer: draft.issuer,
        validity: X509Validity { not_before: time(draft.validity.not_before_ms)?, not_after: time(draft.validity.not_after_ms)? },
        subject: draft.subject,
        subject_public_key_info: key_info(&draft.key)?,
        issuer_unique_id: None,
        subject_unique_id: None,
        extensions: Some(draft.extensions),
    };
    let signature = BitString::from_bytes(&signer.sign(&tbs.to_der()?)?)?;
    Ok(X509 { tbs_certificate: tbs, signature_algorithm: ed25519(), signature }.to_der()?)
}
