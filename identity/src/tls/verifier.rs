//! [`judge`] in the shape that rustls asks for, on either side.

use crate::{
    certificate::{Certificate, CertificateError},
    tls::judge::{Expected, Refusal, Standing, judge},
};
use rustls::{
    CertificateError as RustlsCertificateError, DigitallySignedStruct, DistinguishedName, Error, PeerIncompatible, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    pki_types::{CertificateDer, ServerName, UnixTime},
    server::danger::{ClientCertVerified, ClientCertVerifier},
};
use std::sync::Arc;

/// Verifies the other side, whichever side it is.
#[derive(Debug)]
pub(super) struct Verifier {
    pub(super) standing: Arc<dyn Standing>,
    pub(super) expected: Expected,
    /// Server side: whether a client may come without a certificate.
    pub(super) optional: bool,
}

/// The alert that the peer gets, as exact as TLS can say it. The whole reason is told to `Standing::refused`.
fn alert(refusal: &Refusal) -> RustlsCertificateError {
    match refusal {
        Refusal::Revoked(_) | Refusal::Suspended(_) => RustlsCertificateError::Revoked,
        Refusal::Certificate(CertificateError::Expired) => RustlsCertificateError::Expired,
        Refusal::Certificate(CertificateError::NotYetValid) => RustlsCertificateError::NotValidYet,
        Refusal::Certificate(CertificateError::Signature) => RustlsCertificateError::BadSignature,
        Refusal::ForeignAuthority | Refusal::Certificate(CertificateError::OtherAuthority) => RustlsCertificateError::UnknownIssuer,
        Refusal::Certificate(_) | Refusal::ChainLength(_) => RustlsCertificateError::BadEncoding,
        Refusal::NotANode(_) | Refusal::OtherNode { .. } | Refusal::MayNotConnect(..) => {
            RustlsCertificateError::ApplicationVerificationFailure
        }
        Refusal::UnknownSerial(_) => RustlsCertificateError::Other(rustls::OtherError(Arc::new(refusal.clone()))),
    }
}

impl Verifier {
    fn verify(&self, leaf: &CertificateDer<'_>, above: &[CertificateDer<'_>], now: UnixTime) -> Result<(), Error> {
        let chain: Vec<&[u8]> = std::iter::once(leaf).chain(above).map(AsRef::as_ref).collect();
        let judged = judge(&chain, self.standing.as_ref(), self.expected, now.as_secs().saturating_mul(1000));
        judged.map(|_| ()).map_err(|refusal| Error::InvalidCertificate(alert(&refusal)))
    }

    /// By the same code that checks every other signature of the ledger.
    fn handshake(message: &[u8], leaf: &CertificateDer<'_>, signed: &DigitallySignedStruct) -> Result<HandshakeSignatureValid, Error> {
        let bad = || Error::InvalidCertificate(RustlsCertificateError::BadSignature);
        let leaf = Certificate::parse(leaf).map_err(|_| bad())?;
        if signed.scheme != SignatureScheme::ED25519 {
            return Err(bad());
        }
        leaf.key.verify(message, signed.signature()).map_err(|_| bad())?;
        Ok(HandshakeSignatureValid::assertion())
    }
}

/// What both traits ask of signatures: TLS 1.3 and Ed25519 alone.
macro_rules! tls13_alone {
    () => {
        fn verify_tls12_signature(
            &self,
            _: &[u8],
            _: &CertificateDer<'_>,
            _: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            Err(Error::PeerIncompatible(PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig))
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            leaf: &CertificateDer<'_>,
            signed: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            Verifier::handshake(message, leaf, signed)
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            vec![SignatureScheme::ED25519]
        }
    };
}

impl ClientCertVerifier for Verifier {
    fn client_auth_mandatory(&self) -> bool {
        !self.optional
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        above: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.verify(leaf, above, now).map(|()| ClientCertVerified::assertion())
    }

    tls13_alone!();
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        above: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.verify(leaf, above, now).map(|()| ServerCertVerified::assertion())
    }

    tls13_alone!();
}
