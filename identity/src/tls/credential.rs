//! One's own certificate and key, to be replaced while connections go on.

use crate::{
    authority_certificate::AuthorityCertificate,
    certificate::{Certificate, CertificateError},
    signer::Signer,
};
use rustls::{
    Error, SignatureAlgorithm, SignatureScheme,
    client::ResolvesClientCert,
    pki_types::CertificateDer,
    server::{ClientHello, ResolvesServerCert},
    sign::{CertifiedKey, Signer as RustlsSigner, SigningKey as RustlsSigningKey},
};
use std::sync::{Arc, PoisonError, RwLock};

/// A certificate, the issuing certificate above it, and the key.
#[derive(Debug, Clone)]
pub struct Credential {
    certificate: Certificate,
    certified: Arc<CertifiedKey>,
}

impl Credential {
    /// Puts certificate (DER), issuing certificate and key together; they must fit.
    pub fn new(leaf: &[u8], issuing: &AuthorityCertificate, key: Arc<dyn Signer>) -> Result<Self, CertificateError> {
        let certificate = Certificate::parse(leaf)?;
        certificate.verify_issued_by(issuing)?;
        if certificate.key != key.public() {
            return Err(CertificateError::Key);
        }
        let chain = vec![CertificateDer::from(leaf.to_vec()), CertificateDer::from(issuing.der().to_vec())];
        Ok(Self { certificate, certified: Arc::new(CertifiedKey::new(chain, Arc::new(TlsKey(key)))) })
    }

    /// The certificate.
    #[must_use]
    pub fn certificate(&self) -> &Certificate {
        &self.certificate
    }
}

/// Where the credential in use lies. Replacing it touches no connection that stands; new ones show
/// the new certificate.
#[derive(Debug)]
pub struct CredentialSlot(RwLock<Credential>);

impl CredentialSlot {
    /// A slot with a credential in it.
    #[must_use]
    pub fn new(credential: Credential) -> Arc<Self> {
        Arc::new(Self(RwLock::new(credential)))
    }

    /// Replaces the credential.
    pub fn replace(&self, credential: Credential) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = credential;
    }

    /// The certificate in use.
    #[must_use]
    pub fn certificate(&self) -> Certificate {
        self.0.read().unwrap_or_else(PoisonError::into_inner).certificate.clone()
    }

    fn certified(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner).certified)
    }
}

impl ResolvesServerCert for CredentialSlot {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.certified())
    }
}

impl ResolvesClientCert for CredentialSlot {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.certified())
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// A [`Signer`] as rustls wants it.
#[derive(Debug, Clone)]
struct TlsKey(Arc<dyn Signer>);

impl RustlsSigningKey for TlsKey {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn RustlsSigner>> {
        offered.contains(&SignatureScheme::ED25519).then(|| Box::new(self.clone()) as Box<dyn RustlsSigner>)
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        SignatureAlgorithm::ED25519
    }
}

impl RustlsSigner for TlsKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        self.0.sign(message).map(|signature| signature.to_vec()).map_err(|e| Error::General(e.to_string()))
    }

    fn scheme(&self) -> SignatureScheme {
        SignatureScheme::ED25519
    }
}
