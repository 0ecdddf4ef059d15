//! TLS at a node's listeners and towards its peers: who is let in is asked of the replicated state,
//! at each handshake and again whenever the state has changed. Who is outside the ledger is known to the
//! configuration alone ([`Outward`]).

mod connections;
mod dial;
mod io;
mod listener;
mod outward;
mod standing;

pub use connections::{Connections, MAX_CONNECTIONS, Side};
pub use dial::dial;
pub use io::{Caller, Io};
pub use listener::{TlsIo, TlsListener};
pub use outward::{Outward, OutwardIo};
pub use standing::StateStanding;

use crate::keys::TlsKeys;
use crate::trail::Trail;
use std::{sync::Arc, time::Duration};
use vermilion_identity::{
    AuthorityCertificate, Certificate, Kind,
    tls::{Credential, CredentialSlot, Expected, Pinned, Refusal, Standing, TlsError},
};
use vermilion_proto::GenesisNode;

/// How long a connection to a node may take to come about.
pub(crate) const CONNECT: Duration = Duration::from_secs(3);
/// ALPN of gRPC.
const H2: &[u8] = b"h2";
/// ALPN of REST.
const HTTP1: &[u8] = b"http/1.1";

/// What a node's TLS is made of.
#[derive(Debug)]
pub struct NodeTls {
    /// The node's certificate and key.
    pub credential: Arc<CredentialSlot>,
    /// What the state says of others'.
    pub standing: Arc<StateStanding>,
    /// The connections that are open.
    pub connections: Arc<Connections>,
}

impl NodeTls {
    /// Puts the node's certificate, its key and the state together. The certificate must be this node's,
    /// and stand; it may be newer than what the state knows. `issuing` is the one of the genesis.
    pub fn new(
        keys: &TlsKeys,
        issuing: &AuthorityCertificate,
        standing: StateStanding,
        trail: Arc<Trail>,
        me: &GenesisNode,
    ) -> Result<Self, String> {
        let newer = keys.above.as_deref().map(AuthorityCertificate::parse).transpose().map_err(|e| format!("tls.certificate: {e}"))?;
        let issuing = newer.as_ref().unwrap_or(issuing);
        let credential = Credential::new(&keys.leaf, issuing, Arc::clone(&keys.key)).map_err(|e| format!("tls.certificate: {e}"))?;
        let mine = credential.certificate();
        if mine.subject.kind != (Kind::Node { raft_id: me.raft_id }) {
            return Err(format!("tls.certificate: it is of {}, not of this node", mine.subject.uri()));
        }
        match standing.check(mine) {
            Ok(()) => {}
            Err(refusal @ Refusal::Revoked(_)) => return Err(format!("tls.certificate: {refusal}")),
            // By its own state, which may be old: the others decide.
            Err(refusal) => tracing::warn!(%refusal, "this node's own certificate may not be accepted"),
        }
        Ok(Self { credential: CredentialSlot::new(credential), standing: Arc::new(standing), connections: Connections::new(trail) })
    }

    /// The certificate that is shown.
    #[must_use]
    pub fn certificate(&self) -> Certificate {
        self.credential.certificate()
    }

    fn clock() -> Arc<dyn rustls::time_provider::TimeProvider> {
        Arc::new(rustls::time_provider::DefaultTimeProvider)
    }

    /// The listener's side of gRPC: nobody without a certificate.
    pub fn grpc(&self) -> Result<rustls::ServerConfig, TlsError> {
        let standing = vermilion_identity::tls::ClientAuth::Required(self.standing.clone());
        vermilion_identity::tls::server_config(Arc::clone(&self.credential), standing, &[H2], Self::clock())
    }

    /// The listener's side of enrolment: who renews shows a certificate, who enrols has none.
    pub fn enrolment(&self) -> Result<rustls::ServerConfig, TlsError> {
        let standing = vermilion_identity::tls::ClientAuth::Optional(self.standing.clone());
        vermilion_identity::tls::server_config(Arc::clone(&self.credential), standing, &[H2], Self::clock())
    }

    /// The listener's side of REST: a certificate is asked for, and not needed.
    pub fn rest(&self) -> Result<rustls::ServerConfig, TlsError> {
        let standing = vermilion_identity::tls::ClientAuth::Optional(self.standing.clone());
        vermilion_identity::tls::server_config(Arc::clone(&self.credential), standing, &[HTTP1], Self::clock())
    }

    /// Towards a peer, who must be this node and no other.
    pub fn towards(&self, raft_id: u64) -> Result<rustls::ClientConfig, TlsError> {
        let standing: Arc<dyn Standing> = self.standing.clone();
        let (mine, expected) = (Some(Arc::clone(&self.credential)), Expected::ThisNode(raft_id));
        vermilion_identity::tls::client_config(mine, standing, expected, &[H2], Self::clock())
    }
}

/// Towards a node of the authority, as an applicant: any node under this root will do.
pub fn towards_authority(
    root: &AuthorityCertificate,
    mine: Option<Arc<CredentialSlot>>,
    accepts_expired_until_ms: u64,
) -> Result<rustls::ClientConfig, TlsError> {
    let pinned: Arc<dyn Standing> = Arc::new(Pinned { root: root.clone(), accepts_expired_until_ms });
    vermilion_identity::tls::client_config(mine, pinned, Expected::Node, &[H2], NodeTls::clock())
}
