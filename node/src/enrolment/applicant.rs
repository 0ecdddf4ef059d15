//! The applicant's side: asking a node of the city how an admission stands, and for a certificate.

use super::handout::keep_all;
use crate::config::{Config, ConfigError};
use crate::keys::{TlsKeys, write_whole};
use crate::peers::MAX_PEER_MESSAGE;
use crate::tls::{CONNECT, dial, towards_authority};
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tonic::Response;
use tonic::transport::{Channel, Endpoint};
use vermilion_crypto::{Digest, VaultSecretKey};
use vermilion_identity::sealed_key::Addressee;
use vermilion_identity::tls::{Credential, CredentialSlot};
use vermilion_identity::{AuthorityCertificate, Certificate, CertificateRequest, Kind, Signer, Subject, enrolment, x509};
use vermilion_proto::enrolment_client::EnrolmentClient;
use vermilion_proto::{AdmissionReply, AdmissionRequest, EnrolReply, EnrolRequest, Genesis, KeysRequest, RenewRequest};
use vermilion_registry::certificates::is_for_now;
use vermilion_registry::founding::Founding;
use vermilion_registry::reason::Reason;

/// How long an answer may take: a certificate is a record, and may wait for a leader.
const ANSWER: Duration = Duration::from_secs(25);

/// Why an applicant has no certificate.
#[derive(Debug, thiserror::Error)]
pub enum EnrolError {
    /// Nobody answered: the last reason.
    #[error("no node that issues certificates answers: {0}")]
    Nobody(String),
    /// The authority said no, for good.
    #[error("{reason}: {detail}", reason = .0.map_or("refused", Reason::name), detail = .1)]
    Refused(Option<Reason>, String),
    /// What was given is not what was asked for.
    #[error("the certificate that was given does not fit: {0}")]
    Unfit(String),
}

/// Where to ask, and whom to believe.
pub struct Applicant {
    ledger_id: Digest,
    addresses: BTreeSet<String>,
    root: Option<AuthorityCertificate>,
    accepts_expired_until_ms: u64,
}

impl Applicant {
    /// As the configuration says: the authority's nodes over TLS, or every node of a ledger without certificates.
    pub fn new(config: &Config, genesis: &Genesis, ledger_id: Digest) -> Result<Self, String> {
        let founding = Founding::read(genesis).map_err(|e| e.to_string())?;
        let (addresses, root) = match (&config.tls, founding) {
            (Some(tls), Some(founding)) => (tls.authority.iter().cloned().collect(), Some(founding.root)),
            (Some(_), None) => return Err("tls: the genesis names no authority".into()),
            (None, _) => {
                let founders = genesis.nodes.iter().filter(|n| !config.peers.contains_key(&n.name)).map(|n| n.peer_address.clone());
                (founders.chain(config.peers.values().cloned()).collect(), None)
            }
        };
        Ok(Self { ledger_id, addresses, root, accepts_expired_until_ms: config.accepts_expired_until_ms() })
    }

    /// The authority's root, where there is one.
    #[must_use]
    pub fn root(&self) -> Option<&AuthorityCertificate> {
        self.root.as_ref()
    }

    /// Where it asks.
    #[must_use]
    pub fn addresses(&self) -> &BTreeSet<String> {
        &self.addresses
    }

    fn client(&self, address: &str, mine: Option<Arc<CredentialSlot>>) -> Result<EnrolmentClient<Channel>, String> {
        let endpoint = Endpoint::from_shared(format!("http://{address}")).map_err(|e| e.to_string())?.connect_timeout(CONNECT);
        let channel = match &self.root {
            None => endpoint.connect_lazy(),
            Some(root) => dial(&endpoint, towards_authority(root, mine, self.accepts_expired_until_ms).map_err(|e| e.to_string())?, None),
        };
        Ok(EnrolmentClient::new(channel).max_decoding_message_size(MAX_PEER_MESSAGE))
    }

    /// How a node's admission stands, as one address says.
    pub async fn admission(&self, address: &str, name: &str) -> Result<AdmissionReply, String> {
        let mut client = self.client(address, None)?;
        let asked = client.admission(AdmissionRequest { ledger_id: self.ledger_id.to_vec(), name: name.into() });
        let reply = tokio::time::timeout(ANSWER, asked).await.map_err(|_| "no answer".to_owned())?;
        Ok(reply.map_err(|status| status.to_string())?.into_inner())
    }

    /// A first certificate for this key, on the strength of a token.
    pub async fn enrol(&self, token: &str, subject: &Subject, key: &dyn Signer) -> Result<Given, EnrolError> {
        let (ledger_id, request) = (self.ledger_id.to_vec(), self.request(subject, key)?);
        let question = Question::Enrol(EnrolRequest { ledger_id, request, token: token.to_owned() });
        self.accept(self.ask(None, &question).await?, subject, key)
    }

    /// The certificate after this one, for the same key.
    pub async fn renew(&self, mine: &Arc<CredentialSlot>, key: &dyn Signer) -> Result<Given, EnrolError> {
        let subject = mine.certificate().subject;
        let (ledger_id, request) = (self.ledger_id.to_vec(), self.request(&subject, key)?);
        let reply = self.ask(Some(mine), &Question::Renew(RenewRequest { ledger_id, request })).await?;
        self.accept(reply, &subject, key)
    }

    /// The keys that this node is to hold, by its certificate; kept in `dir`.
    pub(crate) async fn receive_keys(&self, config: &Config, dir: &Path, raft_id: u64) -> Result<(), String> {
        let root = self.root.as_ref().ok_or("the genesis names no authority")?;
        let keys = TlsKeys::load(config).map_err(|e| e.to_string())?.ok_or("there is no [tls]")?;
        let above = keys.above.as_deref().ok_or("tls.certificate: the issuing certificate is missing behind it")?;
        let issuing = AuthorityCertificate::parse(above).map_err(|e| e.to_string())?;
        issuing.verify_issued_by(root).map_err(|e| e.to_string())?;
        let mine = Credential::new(&keys.leaf, &issuing, keys.key).map(CredentialSlot::new).map_err(|e| e.to_string())?;
        let own = VaultSecretKey::generate().map_err(|e| e.to_string())?;
        let mut why = "the configuration names no address (tls.authority)".to_owned();
        for address in &self.addresses {
            let request = KeysRequest { ledger_id: self.ledger_id.to_vec(), recipient: own.public().0.to_vec() };
            let mut client = self.client(address, Some(Arc::clone(&mine)))?;
            match tokio::time::timeout(ANSWER, client.keys(request)).await {
                Ok(Ok(reply)) => {
                    let addressee = Addressee { ledger_id: &self.ledger_id, raft_id };
                    return keep_all(config, dir, &own, addressee, &reply.into_inner().keys).map_err(|e| e.to_string());
                }
                Ok(Err(status)) => why = format!("{address}: {status}"),
                Err(_) => why = format!("{address}: no answer"),
            }
        }
        Err(why)
    }

    fn request(&self, subject: &Subject, key: &dyn Signer) -> Result<Vec<u8>, EnrolError> {
        CertificateRequest::make(key, subject).map_err(|e| EnrolError::Unfit(e.to_string()))
    }

    /// Asks one address after the other until one says yes or no.
    async fn ask(&self, mine: Option<&Arc<CredentialSlot>>, question: &Question) -> Result<EnrolReply, EnrolError> {
        let mut why = "the configuration names none (tls.authority)".to_owned();
        for address in &self.addresses {
            let asked = match self.client(address, mine.cloned()) {
                Ok(client) => tokio::time::timeout(ANSWER, question.put(client)).await,
                Err(error) => {
                    why = format!("{address}: {error}");
                    continue;
                }
            };
            match asked {
                Ok(Ok(reply)) => {
                    let reply = reply.into_inner();
                    match Reason::from_number(reply.code) {
                        Some(reason) if is_for_now(reason) => why = format!("{address}: {}: {}", reason.name(), reply.detail),
                        _ => return Ok(reply),
                    }
                }
                Ok(Err(status)) => why = format!("{address}: {status}"),
                Err(_) => why = format!("{address}: no answer"),
            }
        }
        Err(EnrolError::Nobody(why))
    }

    fn accept(&self, reply: EnrolReply, subject: &Subject, key: &dyn Signer) -> Result<Given, EnrolError> {
        if reply.code != 0 {
            return Err(EnrolError::Refused(Reason::from_number(reply.code), reply.detail));
        }
        let root = self.root.as_ref().ok_or_else(|| EnrolError::Unfit("the genesis names no authority".into()))?;
        let (certificate, issuing) = enrolment::accept(&reply.certificate, &reply.issuing, root, subject, &key.public())
            .map_err(|e| EnrolError::Unfit(e.to_string()))?;
        Ok(Given { der: reply.certificate, certificate, issuing })
    }
}

enum Question {
    Enrol(EnrolRequest),
    Renew(RenewRequest),
}

impl Question {
    async fn put(&self, mut client: EnrolmentClient<Channel>) -> Result<Response<EnrolReply>, tonic::Status> {
        match self {
            Self::Enrol(request) => client.enrol(request.clone()).await,
            Self::Renew(request) => client.renew(request.clone()).await,
        }
    }
}

/// A certificate that was given, and fits.
pub struct Given {
    /// DER.
    pub der: Vec<u8>,
    /// What it says.
    pub certificate: Certificate,
    /// The certificate above it.
    pub issuing: AuthorityCertificate,
}

/// The subject of a node's certificate: as it was admitted, in the trust domain of the ledger's authority.
#[must_use]
pub fn subject(root: &AuthorityCertificate, admission: &AdmissionReply) -> Option<Subject> {
    let node = admission.node.as_ref()?;
    Some(Subject {
        kind: Kind::Node { raft_id: node.raft_id },
        trust_domain: root.name.trust_domain.clone(),
        unit: admission.unit.clone(),
        district: node.district.clone(),
        posts: Vec::new(),
        name: node.name.clone(),
    })
}

/// Puts a certificate where the configuration wants it: leaf, then issuing certificate. Whole or not at all.
pub fn keep(path: &Path, leaf: &[u8], issuing: &[u8]) -> Result<(), ConfigError> {
    let pem = |der: &[u8]| x509::to_pem(der).map_err(|e| ConfigError::Parse { path: path.into(), why: e.to_string() });
    write_whole(path, format!("{}{}", pem(leaf)?, pem(issuing)?).as_bytes())
}
