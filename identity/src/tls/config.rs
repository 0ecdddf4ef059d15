//! Configurations for rustls: TLS 1.3 alone, no resumption, no early data.

use crate::tls::{
    credential::CredentialSlot,
    judge::{Expected, Standing},
    verifier::Verifier,
};
use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    client::Resumption,
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, ServerName, pem::PemObject as _},
    server::{NoServerSessionStorage, WebPkiClientVerifier},
    time_provider::TimeProvider,
    version::TLS13,
};
use std::{net::IpAddr, sync::Arc};

/// Why there is no configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TlsError {
    /// rustls refuses it.
    #[error("TLS cannot be configured: {0}")]
    Refused(String),
    /// What should name authorities is no PEM.
    #[error("it is no PEM: {0}")]
    NoPem(String),
    /// It names none that can be read.
    #[error("there is no authority's certificate in it")]
    NoAuthority,
}

impl From<rustls::Error> for TlsError {
    fn from(error: rustls::Error) -> Self {
        Self::Refused(error.to_string())
    }
}

/// Whether clients must show a certificate.
#[derive(Debug, Clone)]
pub enum ClientAuth {
    /// Always.
    Required(Arc<dyn Standing>),
    /// They may come without; one that is shown must stand.
    Optional(Arc<dyn Standing>),
    /// Never asked: for the enrolment listener, whose clients have none yet.
    None,
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

/// A server's configuration. `protocols` are ALPN names in order of preference.
pub fn server_config(
    credential: Arc<CredentialSlot>,
    clients: ClientAuth,
    protocols: &[&[u8]],
    clock: Arc<dyn TimeProvider>,
) -> Result<ServerConfig, TlsError> {
    let verifier = match clients {
        ClientAuth::None => WebPkiClientVerifier::no_client_auth(),
        ClientAuth::Required(standing) => Arc::new(Verifier { standing, expected: Expected::Anyone, optional: false }),
        ClientAuth::Optional(standing) => Arc::new(Verifier { standing, expected: Expected::Anyone, optional: true }),
    };
    let mut config = ServerConfig::builder_with_details(provider(), clock)
        .with_protocol_versions(&[&TLS13])?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(credential);
    // A resumed session would bring back a client that was judged yesterday.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.max_early_data_size = 0;
    config.alpn_protocols = protocols.iter().map(|p| p.to_vec()).collect();
    Ok(config)
}

/// A client's configuration. The server must be a node of this ledger, `expected` says which.
/// Without a credential the client shows no certificate.
pub fn client_config(
    credential: Option<Arc<CredentialSlot>>,
    standing: Arc<dyn Standing>,
    expected: Expected,
    protocols: &[&[u8]],
    clock: Arc<dyn TimeProvider>,
) -> Result<ClientConfig, TlsError> {
    let expected = if expected == Expected::Anyone { Expected::Node } else { expected };
    let builder = ClientConfig::builder_with_details(provider(), clock)
        .with_protocol_versions(&[&TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Verifier { standing, expected, optional: false }));
    let mut config = match credential {
        Some(credential) => builder.with_client_cert_resolver(credential),
        None => builder.with_no_client_auth(),
    };
    config.resumption = Resumption::disabled();
    config.enable_early_data = false;
    // A node is known by its certificate, not by the name under which it was reached.
    config.enable_sni = false;
    config.alpn_protocols = protocols.iter().map(|p| p.to_vec()).collect();
    Ok(config)
}

/// A client's configuration towards somebody outside the ledger. One of the authorities in this PEM must have vouched for
/// the name under which the server is asked; a system's whole bundle will do. The client shows no certificate.
pub fn outside_config(authorities: &[u8], protocols: &[&[u8]], clock: Arc<dyn TimeProvider>) -> Result<ClientConfig, TlsError> {
    let read = CertificateDer::pem_slice_iter(authorities).collect::<Result<Vec<_>, _>>();
    let mut roots = RootCertStore::empty();
    // A bundle may hold some that are not read here.
    if roots.add_parsable_certificates(read.map_err(|e| TlsError::NoPem(e.to_string()))?).0 == 0 {
        return Err(TlsError::NoAuthority);
    }
    let mut config = ClientConfig::builder_with_details(provider(), clock)
        .with_protocol_versions(&[&TLS13])?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.resumption = Resumption::disabled();
    config.alpn_protocols = protocols.iter().map(|p| p.to_vec()).collect();
    Ok(config)
}

/// What stands for a server's name: it is not sent and not compared, since a node is known by its
/// certificate.
#[must_use]
pub fn no_name() -> ServerName<'static> {
    ServerName::IpAddress(IpAddr::from([0, 0, 0, 0]).into())
}
