//! Connections to nodes: over TLS where the genesis names the certificates of those who connect.
//!
//! The root of the genesis is pinned, and with it the ledger id pins who may be a node. Which
//! certificate the client shows depends on the unit for which it asks.

use crate::enrol::Given;
use crate::error::ClientError;
use crate::keyring::{Keyring, OperatorKey};
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, time_provider::DefaultTimeProvider};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};
use tonic::transport::{Channel, Endpoint, Uri};
use vermilion_crypto::SigningKey;
use vermilion_identity::AuthorityCertificate;
use vermilion_identity::tls::{Credential, CredentialSlot, Expected, Pinned, client_config, no_name};
use vermilion_identity::x509::chain_from_pem;
use vermilion_proto::Genesis;
use vermilion_proto::ledger_client::LedgerClient;
use vermilion_registry::founding::Founding;

/// ALPN of gRPC.
const H2: &[u8] = b"h2";
/// ALPN of REST.
const HTTP1: &[u8] = b"http/1.1";
/// What a handshake ends with that a node refuses for the certificate's sake: revoked, over, of a key that was revoked.
const REFUSED_CERTIFICATE: [&str; 3] = ["CertificateRevoked", "CertificateExpired", "AccessDenied"];

struct Authority {
    issuing: AuthorityCertificate,
    pins: Arc<Pinned>,
    /// Credentials by unit, once opened.
    opened: Mutex<BTreeMap<String, Option<Shown>>>,
}

/// A credential, whose it is, and where its certificate lies.
pub(crate) type Holder<'a> = (Arc<CredentialSlot>, &'a OperatorKey, &'a Path);

/// A credential of the keyring.
#[derive(Clone)]
struct Shown {
    slot: Arc<CredentialSlot>,
    /// Where its certificate lies.
    path: PathBuf,
}

/// Makes connections to the nodes of one ledger. Cheap to clone.
#[derive(Clone)]
pub struct Dialer {
    authority: Option<Arc<Authority>>,
    keyring: Option<Arc<Keyring>>,
    managing_unit: String,
    /// The founders' Raft ids, by name.
    founders: Arc<BTreeMap<String, u64>>,
    shown: Option<Arc<CredentialSlot>>,
}

fn tls_error(error: &impl std::fmt::Display) -> ClientError {
    ClientError::config("operators.certificate", error.to_string())
}

/// The first operator of a unit, or of all, whose certificate may be shown.
fn shows<'a>(ring: &'a Keyring, unit: Option<&'a str>) -> Option<(&'a OperatorKey, &'a Path)> {
    ring.certified(unit).find(|(operator, _)| operator.may_show())
}

impl Dialer {
    /// For the ledger of a genesis, with the certificates of a keyring; without one it shows none.
    pub fn new(genesis: &Genesis, keyring: Option<Arc<Keyring>>) -> Result<Self, ClientError> {
        let founding = Founding::read(genesis).map_err(|e| ClientError::config("genesis", e.to_string()))?;
        // The ledger id pins this too: nobody on the way can make a ledger plain.
        let authority = founding.filter(|founding| !founding.certificates.is_empty()).map(|founding| {
            Arc::new(Authority {
                issuing: founding.issuing,
                pins: Arc::new(Pinned {
                    root: founding.root,
                    accepts_expired_until_ms: keyring.as_ref().map_or(0, |ring| ring.accepts_expired_until_ms()),
                }),
                opened: Mutex::default(),
            })
        });
        let managing_unit = genesis.managing_unit.as_ref().and_then(|r| r.unit.as_ref()).map(|u| u.uscc.clone());
        let founders = Arc::new(genesis.nodes.iter().map(|node| (node.name.clone(), node.raft_id)).collect());
        Ok(Self { authority, keyring, managing_unit: managing_unit.unwrap_or_default(), founders, shown: None })
    }

    /// The same with the glass broken: until this moment, in Unix milliseconds, nodes' certificates are taken whose time is over.
    #[must_use]
    pub fn accepting_expired_until(self, until_ms: u64) -> Self {
        let authority = self.authority.map(|authority| {
            let pins = Arc::new(Pinned { root: authority.pins.root.clone(), accepts_expired_until_ms: until_ms });
            Arc::new(Authority { issuing: authority.issuing.clone(), pins, opened: Mutex::default() })
        });
        Self { authority, ..self }
    }

    /// For a program that has one credential and shows it always, as a unit's system does.
    pub fn showing(genesis: &Genesis, credential: Arc<CredentialSlot>) -> Result<Self, ClientError> {
        Ok(Self { shown: Some(credential), ..Self::new(genesis, None)? })
    }

    /// The same, with a certificate's file and its key.
    pub fn showing_file(genesis: &Genesis, path: &Path, key: SigningKey) -> Result<Self, ClientError> {
        let plain = Self::new(genesis, None)?;
        let Some(authority) = &plain.authority else { return Ok(plain) };
        let shown = Some(Self::open(authority, key, path)?.slot);
        Ok(Self { shown, ..plain })
    }

    /// Whether connections are over TLS.
    #[must_use]
    pub fn is_tls(&self) -> bool {
        self.authority.is_some()
    }

    /// Opens what is shown for questions, so that what is amiss with it is told as such and not as a node's silence.
    pub fn ready(&self) -> Result<(), ClientError> {
        self.authority.as_ref().map_or(Ok(()), |authority| self.credential(authority, None).map(|_| ()))
    }

    /// The first certificate of the unit's operators that is here. If no unit is named, one of the
    /// city's managing unit, which a ledger knows from its beginning; else any.
    fn credential(&self, authority: &Authority, unit: Option<&str>) -> Result<Option<Arc<CredentialSlot>>, ClientError> {
        if self.shown.is_some() {
            return Ok(self.shown.clone());
        }
        let name = unit.unwrap_or_default().to_owned();
        let mut opened = authority.opened.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = opened.get(&name) {
            return Ok(known.as_ref().map(|shown| Arc::clone(&shown.slot)));
        }
        let managing = unit.is_none().then_some(self.managing_unit.as_str());
        let first = |ring: &'_ Arc<Keyring>| -> Result<Option<Shown>, ClientError> {
            let found = shows(ring, unit.or(managing)).or_else(|| shows(ring, unit)).or_else(|| ring.certified(unit).next());
            found.map(|(operator, path)| Self::open(authority, ring.open(operator)?, path)).transpose()
        };
        let found = self.keyring.as_ref().map(first).transpose()?.flatten();
        if found.is_none() && self.keyring.is_some() {
            // Every node would end the handshake, and say it in TLS' own words.
            let of = unit.map(|unit| format!(" of unit {unit}")).unwrap_or_default();
            let why = format!(
                "this configuration names no operator{of} with a certificate, which the nodes ask for: add [[operators]]; what is public is told without one over REST, as /v1/licences/ID/status"
            );
            return Err(ClientError::config("operators", why));
        }
        let slot = found.as_ref().map(|shown| Arc::clone(&shown.slot));
        opened.insert(name, found);
        Ok(slot)
    }

    /// Whether a node says, in the words of a failed call, that it refuses the certificate that was shown.
    pub(crate) fn is_refused(&self, why: &str) -> bool {
        self.is_tls() && REFUSED_CERTIFICATE.iter().any(|alert| why.contains(alert))
    }

    /// Shows another certificate in the place of the one that was shown for this unit and that nodes refuse, if there is one.
    pub(crate) fn pass_over(&self, unit: Option<&str>) -> bool {
        let (Some(authority), Some(ring)) = (&self.authority, &self.keyring) else { return false };
        let mut opened = authority.opened.lock().unwrap_or_else(PoisonError::into_inner);
        let name = unit.unwrap_or_default();
        let Some(path) = opened.get(name).and_then(|shown| shown.as_ref().map(|shown| shown.path.clone())) else { return false };
        ring.certified(None).filter(|(_, of)| *of == path).for_each(|(operator, _)| operator.certificate_is_refused());
        let another = ring.certified(unit).any(|(operator, _)| operator.may_show());
        if !another {
            // One node may refuse what others take, its clock being wrong or its state behind: all are shown again, from the
            // first on.
            ring.certified(unit).for_each(|(operator, _)| operator.certificate_may_be_shown());
        }
        opened.remove(name);
        another
    }

    /// The credentials that were shown so far, with whose they are and where their certificates lie; of
    /// the whole keyring if `all`.
    pub(crate) fn shown(&self, all: bool) -> Result<Vec<Holder<'_>>, ClientError> {
        let (Some(authority), Some(ring)) = (&self.authority, &self.keyring) else { return Ok(Vec::new()) };
        let opened = authority.opened.lock().unwrap_or_else(PoisonError::into_inner);
        let mut out = Vec::new();
        for (operator, path) in ring.certified(None) {
            match opened.values().flatten().find(|shown| shown.path == path) {
                Some(shown) => out.push((Arc::clone(&shown.slot), operator, path)),
                None if all => out.push((Self::open(authority, ring.open(operator)?, path)?.slot, operator, path)),
                None => {}
            }
        }
        Ok(out)
    }

    /// Puts a renewed certificate in a credential's place: connections to come show it.
    pub(crate) fn replace(&self, slot: &CredentialSlot, given: &Given, key: SigningKey) -> Result<(), ClientError> {
        let Some(authority) = &self.authority else { return Ok(()) };
        slot.replace(Self::read(authority, &given.pem, key)?);
        Ok(())
    }

    fn open(authority: &Authority, key: SigningKey, path: &Path) -> Result<Shown, ClientError> {
        let text = std::fs::read_to_string(path).map_err(|e| ClientError::file(path, e))?;
        Ok(Shown { slot: CredentialSlot::new(Self::read(authority, &text, key)?), path: path.to_owned() })
    }

    /// A certificate from its PEM, which may have the issuing one behind it: else that of the genesis is.
    fn read(authority: &Authority, pem: &str, key: SigningKey) -> Result<Credential, ClientError> {
        let mut chain = chain_from_pem(pem).map_err(|e| tls_error(&e))?.into_iter();
        let leaf = chain.next().ok_or_else(|| tls_error(&"the file is empty"))?;
        let newer = chain.next().map(|der| AuthorityCertificate::parse(&der)).transpose().map_err(|e| tls_error(&e))?;
        Credential::new(&leaf, newer.as_ref().unwrap_or(&authority.issuing), Arc::new(key)).map_err(|e| tls_error(&e))
    }

    /// `expected` is the node's Raft id, if it is known.
    fn config(
        &self,
        authority: &Authority,
        unit: Option<&str>,
        expected: Option<u64>,
        protocol: &[u8],
    ) -> Result<ClientConfig, ClientError> {
        let credential = self.credential(authority, unit)?;
        let expected = expected.map_or(Expected::Node, Expected::ThisNode);
        client_config(credential, authority.pins.clone(), expected, &[protocol], Arc::new(DefaultTimeProvider)).map_err(|e| tls_error(&e))
    }

    /// A channel for gRPC that connects when it is used, for questions and commands of this unit.
    pub fn channel(&self, endpoint: &Endpoint, unit: Option<&str>, expected: Option<u64>) -> Result<Channel, ClientError> {
        let Some(authority) = &self.authority else { return Ok(endpoint.connect_lazy()) };
        let connector = TlsConnector::from(Arc::new(self.config(authority, unit, expected, H2)?));
        Ok(endpoint.connect_with_connector_lazy(tower::service_fn(move |uri: Uri| {
            let connector = connector.clone();
            async move {
                let address = uri.authority().ok_or_else(|| io::Error::other("the address has no host"))?.as_str().to_owned();
                // A server judges the client's certificate after the client's handshake is done. It speaks
                // first once it is content: waiting for that, a refusal is told as such.
                let mut stream = BufReader::new(shake(&connector, &address).await?);
                stream.fill_buf().await?;
                Ok::<_, io::Error>(TokioIo::new(stream))
            }
        })))
    }

    /// A client of whichever node of the ledger listens at `host:port`.
    pub fn client_at(&self, address: &str) -> Result<LedgerClient<Channel>, ClientError> {
        let endpoint = Endpoint::from_shared(format!("http://{address}"));
        let endpoint = endpoint.map_err(|e| ClientError::Usage(format!("{address} is no address: {e}")))?;
        Ok(LedgerClient::new(self.channel(&endpoint, None, None)?))
    }

    /// How a node's REST side is reached without a certificate, as the public comes; `None` where that is
    /// without TLS. A founder that is named must be the one that answers; of another any node may.
    pub(crate) fn public_config(&self, name: Option<&str>) -> Result<Option<Arc<ClientConfig>>, ClientError> {
        let Some(authority) = &self.authority else { return Ok(None) };
        let expected = name.and_then(|name| self.founders.get(name)).map_or(Expected::Node, |id| Expected::ThisNode(*id));
        let config = client_config(None, authority.pins.clone(), expected, &[HTTP1], Arc::new(DefaultTimeProvider));
        Ok(Some(Arc::new(config.map_err(|e| tls_error(&e))?)))
    }

    /// One connection to a node's REST side, without a certificate.
    pub async fn public(&self, address: &str) -> Result<Stream, ClientError> {
        let unreachable = |e: io::Error| ClientError::Unreachable(format!("{address}: {e}"));
        let Some(config) = self.public_config(None)? else {
            return Ok(Box::new(TcpStream::connect(address).await.map_err(unreachable)?));
        };
        Ok(Box::new(shake(&TlsConnector::from(config), address).await.map_err(unreachable)?))
    }
}

/// A connection, encrypted or not.
pub type Stream = Box<dyn ReadWrite>;

/// Bytes both ways.
pub trait ReadWrite: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin {}

impl<T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin> ReadWrite for T {}

async fn shake(connector: &TlsConnector, address: &str) -> io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    connector.connect(no_name(), stream).await
}
