//! Requests for certificates: PKCS#10 (RFC 2986), signed by the key that is to be certified.
//!
//! The key is made where it will live; only the request travels. It says whom the applicant takes
//! itself to be, and its signature proves that the applicant holds the key. Whether that subject is
//! this applicant's is the authority's question.

use crate::{
    certificate::{CertificateError, check_person_key},
    signer::Signer,
    subject::Subject,
    x509::{self, MAX_CERTIFICATE, Signed, Taken, check_algorithm, ed25519, extension, key_info, read_key},
};
use const_oid::AssociatedOid;
use der::{
    Encode,
    asn1::{Any, BitString, SetOfVec},
};
use vermilion_crypto::PublicKey;
use x509_cert::{
    attr::Attribute,
    ext::{Extension, pkix::SubjectAltName},
    request::{CertReq, CertReqInfo, ExtensionReq, Version},
};

/// A request within the profile, by whoever holds its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateRequest {
    /// Whom the applicant says it is.
    pub subject: Subject,
    /// The key to be certified; the request's signature under it holds.
    pub key: PublicKey,
}

impl CertificateRequest {
    /// Makes a request; DER.
    pub fn make(signer: &dyn Signer, subject: &Subject) -> Result<Vec<u8>, CertificateError> {
        subject.check()?;
        let key = signer.public();
        check_person_key(subject, &key)?;
        let extensions = vec![extension(false, &subject.alternative_names()?)?];
        let attribute = Attribute { oid: ExtensionReq::OID, values: SetOfVec::try_from(vec![Any::encode_from(&extensions)?])? };
        let info = CertReqInfo {
            version: Version::V1,
            subject: subject.distinguished_name()?,
            public_key: key_info(&key)?,
            attributes: SetOfVec::try_from(vec![attribute])?,
        };
        let signature = BitString::from_bytes(&signer.sign(&info.to_der()?)?)?;
        Ok(CertReq { info, algorithm: ed25519(), signature }.to_der()?)
    }

    /// Parses DER, checks it against the profile and the signature against the request's own key.
    pub fn parse(der: &[u8]) -> Result<Self, CertificateError> {
        if der.len() > MAX_CERTIFICATE {
            return Err(CertificateError::TooLarge);
        }
        let CertReq { info, algorithm, signature } = x509::decode(der)?;
        check_algorithm(&algorithm)?;
        let key = read_key(&info.public_key)?;
        Signed::new(info.to_der()?, &algorithm, &signature)?.verify(&key)?;
        let mut extensions = Taken::from(requested(&info)?);
        let alternative: SubjectAltName = extensions.take(false)?;
        extensions.finish()?;
        let subject = Subject::read(&info.subject, &alternative)?;
        check_person_key(&subject, &key)?;
        Ok(Self { subject, key })
    }
}

/// The extensions that a request asks for: its one attribute.
fn requested(info: &CertReqInfo) -> Result<Vec<Extension>, CertificateError> {
    match info.attributes.as_slice() {
        [only] if only.oid == ExtensionReq::OID => match only.values.as_slice() {
            [value] => Ok(value.decode_as::<Vec<Extension>>()?),
            _ => Err(CertificateError::Extension(ExtensionReq::OID.to_string())),
        },
        _ => Err(CertificateError::Extension(ExtensionReq::OID.to_string())),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::fixtures::{KINDS, subject};
    use proptest::prelude::*;
    use vermilion_crypto::SigningKey;

    #[test]
    fn says_who_asks_and_proves_the_key() {
        let key = SigningKey::from_seed(&[5; 32]);
        for kind in KINDS {
            let der = CertificateRequest::make(&key, &subject(kind, &key)).unwrap();
            assert_eq!(CertificateRequest::parse(&der), Ok(CertificateRequest { subject: subject(kind, &key), key: key.public() }));
        }
    }

    #[test]
    fn a_key_that_the_applicant_does_not_hold_is_noticed() {
        #[derive(Debug)]
        struct Thief(SigningKey, PublicKey);
        impl Signer for Thief {
            fn public(&self) -> PublicKey {
                self.1
            }
            fn sign(&self, message: &[u8]) -> Result<vermilion_crypto::Signature, crate::SignerError> {
                Ok(self.0.sign(message))
            }
        }
        let theirs = SigningKey::from_seed(&[6; 32]);
        let thief = Thief(SigningKey::from_seed(&[5; 32]), theirs.public());
        let der = CertificateRequest::make(&thief, &subject(KINDS[0], &theirs)).unwrap();
        assert_eq!(CertificateRequest::parse(&der), Err(CertificateError::Signature));
    }

    proptest! {
        #[test]
        fn every_changed_bit_is_noticed(at in any::<prop::sample::Index>(), bit in 0u8..8) {
            let key = SigningKey::from_seed(&[5; 32]);
            let mut der = CertificateRequest::make(&key, &subject(KINDS[1], &key)).unwrap();
            let at = at.index(der.len());
            der[at] ^= 1 << bit;
            prop_assert!(CertificateRequest::parse(&der).is_err());
        }

        #[test]
        fn any_bytes_parse_or_fail_clearly(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(CertificateRequest::parse(&bytes).is_err());
        }
    }
}
