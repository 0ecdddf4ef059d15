//! Certificates for who connects: the first on the strength of a token, the next by the one that is
//! good. The key is made where it will live and never leaves; only the request travels.

use crate::client::Client;
use crate::clock::now_ms;
use crate::error::ClientError;
use crate::files::write_file;
use crate::tls::Dialer;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tonic::transport::{Channel, Endpoint};
use vermilion_crypto::Digest;
use vermilion_identity::enrolment::{self, EnrolmentToken};
use vermilion_identity::tls::CredentialSlot;
use vermilion_identity::{AuthorityCertificate, Certificate, CertificateRequest, Signer, Subject, x509};
use vermilion_proto::enrolment_client::EnrolmentClient;
use vermilion_proto::{EnrolReply, EnrolRequest, Genesis, RenewRequest};
use vermilion_registry::certificates::is_for_now;
use vermilion_registry::founding::Founding;
use vermilion_registry::reason::{Reason, Refusal};

/// How long an answer may take: a certificate is a record, and may wait for a leader.
const ANSWER: Duration = Duration::from_secs(25);

/// A certificate that was given, and fits.
#[derive(Clone, Debug)]
pub struct Given {
    /// What it says.
    pub certificate: Certificate,
    /// Leaf and issuing certificate, PEM.
    pub pem: String,
}

impl Given {
    /// Puts it into a file, whole or not at all.
    pub fn keep(&self, path: &Path) -> Result<(), ClientError> {
        write_file(path, self.pem.as_bytes())
    }
}

/// Asks the nodes of the city that issue certificates.
pub struct Enroller<'a> {
    genesis: &'a Genesis,
    ledger_id: &'a Digest,
    root: AuthorityCertificate,
    addresses: &'a [String],
    accepts_expired_until_ms: u64,
}

impl<'a> Enroller<'a> {
    /// At these addresses, for the ledger of a genesis, whose root is believed and no other.
    pub fn new(genesis: &'a Genesis, ledger_id: &'a Digest, addresses: &'a [String]) -> Result<Self, ClientError> {
        let founding = Founding::read(genesis).map_err(|e| ClientError::config("genesis", e.to_string()))?;
        let root = founding.ok_or(Reason::NoAuthority)?.root;
        if addresses.is_empty() {
            return Err(ClientError::config("enrolment", "name the address of a node that issues certificates, as host:port"));
        }
        Ok(Self { genesis, ledger_id, root, addresses, accepts_expired_until_ms: 0 })
    }

    /// The same with the glass broken ([`Config::accept_expired_until_ms`](crate::Config)): when all certificates have expired,
    /// those that issue new ones show an old one.
    #[must_use]
    pub fn accepting_expired_until(self, until_ms: u64) -> Self {
        Self { accepts_expired_until_ms: until_ms, ..self }
    }

    fn dialer(&self, dialer: Dialer) -> Dialer {
        if self.accepts_expired_until_ms == 0 { dialer } else { dialer.accepting_expired_until(self.accepts_expired_until_ms) }
    }

    /// The trust domain of the ledger's authority.
    #[must_use]
    pub fn trust_domain(&self) -> &str {
        &self.root.name.trust_domain
    }

    /// A first certificate for this key.
    pub async fn enrol(&self, token: &EnrolmentToken, subject: &Subject, key: &dyn Signer) -> Result<Given, ClientError> {
        if token.authority != self.root.fingerprint {
            return Err(ClientError::Usage("the token is of another ledger's authority".into()));
        }
        let request = EnrolRequest { ledger_id: self.ledger_id.to_vec(), request: make(key, subject)?, token: token.text().to_string() };
        self.ask(&self.dialer(Dialer::new(self.genesis, None)?), &Question::Enrol(request), subject, key).await
    }

    /// The certificate after this one.
    pub async fn renew(&self, mine: &Arc<CredentialSlot>, key: &dyn Signer) -> Result<Given, ClientError> {
        let subject = mine.certificate().subject;
        let request = RenewRequest { ledger_id: self.ledger_id.to_vec(), request: make(key, &subject)? };
        let dialer = self.dialer(Dialer::showing(self.genesis, Arc::clone(mine))?);
        self.ask(&dialer, &Question::Renew(request), &subject, key).await
    }

    /// Asks one address after the other until one says yes, or no for good.
    async fn ask(&self, dialer: &Dialer, question: &Question, subject: &Subject, key: &dyn Signer) -> Result<Given, ClientError> {
        let mut last = ClientError::Unreachable("there is no address".into());
        for address in self.addresses {
            match answer(address, question.put(connect(dialer, address)?)).await {
                Ok(reply) => match self.accept(reply, subject, key) {
                    Err(ClientError::Refused(refusal)) if is_for_now(refusal.reason) => last = refusal.into(),
                    given => return given,
                },
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    fn accept(&self, reply: EnrolReply, subject: &Subject, key: &dyn Signer) -> Result<Given, ClientError> {
        if let Some(reason) = Reason::from_number(reply.code) {
            return Err(Refusal::new(reason, reply.detail).into());
        }
        let unfit =
            |e: vermilion_identity::CertificateError| ClientError::BadAnswer(format!("the certificate that was given does not fit: {e}"));
        let (certificate, issuing) =
            enrolment::accept(&reply.certificate, &reply.issuing, &self.root, subject, &key.public()).map_err(unfit)?;
        let pem = format!("{}{}", x509::to_pem(&reply.certificate).map_err(unfit)?, x509::to_pem(issuing.der()).map_err(unfit)?);
        Ok(Given { certificate, pem })
    }
}

enum Question {
    Enrol(EnrolRequest),
    Renew(RenewRequest),
}

impl Question {
    async fn put(&self, mut client: EnrolmentClient<Channel>) -> Result<tonic::Response<EnrolReply>, tonic::Status> {
        match self {
            Self::Enrol(request) => client.enrol(request.clone()).await,
            Self::Renew(request) => client.renew(request.clone()).await,
        }
    }
}

fn make(key: &dyn Signer, subject: &Subject) -> Result<Vec<u8>, ClientError> {
    CertificateRequest::make(key, subject).map_err(|e| ClientError::Usage(e.to_string()))
}

fn connect(dialer: &Dialer, address: &str) -> Result<EnrolmentClient<Channel>, ClientError> {
    let endpoint = Endpoint::from_shared(format!("http://{address}")).map_err(|e| ClientError::config("enrolment", e.to_string()))?;
    Ok(EnrolmentClient::new(dialer.channel(&endpoint, None, None)?))
}

async fn answer(
    address: &str,
    asked: impl Future<Output = Result<tonic::Response<EnrolReply>, tonic::Status>>,
) -> Result<EnrolReply, ClientError> {
    match tokio::time::timeout(ANSWER, asked).await {
        Ok(Ok(reply)) => Ok(reply.into_inner()),
        Ok(Err(status)) => Err(ClientError::Unreachable(format!("{address}: {}", crate::connection::whole_message(&status)))),
        Err(_) => Err(ClientError::Unreachable(format!("{address}: no answer"))),
    }
}

impl Client {
    /// Renews what was shown over this client's connections and is due, and whatever else is due if
    /// `all`: new certificates take the old ones' places, in files and in connections to come. Returns
    /// the holders, with until when (Unix milliseconds) or why not.
    pub async fn renew_due(&self, all: bool) -> Result<Vec<(String, Result<u64, ClientError>)>, ClientError> {
        let addresses = &self.config().enrolment;
        if addresses.is_empty() || !self.connection.dialer().is_tls() {
            return Ok(Vec::new());
        }
        let enroller = Enroller::new(self.genesis(), self.ledger_id(), addresses)?;
        let enroller = enroller.accepting_expired_until(self.config().accept_expired_until_ms);
        let mut out = Vec::new();
        for (slot, operator, path) in self.connection.dialer().shown(all)? {
            let certificate = slot.certificate();
            if !certificate.validity.is_due(now_ms()) {
                continue;
            }
            let key = self.keyring().open(operator)?;
            let renewed = match enroller.renew(&slot, &key).await {
                Ok(given) => given.keep(path).and_then(|()| self.connection.dialer().replace(&slot, &given, key)),
                Err(error) => Err(error),
            };
            out.push((certificate.subject.uri(), renewed.map(|()| slot.certificate().validity.not_after_ms)));
        }
        Ok(out)
    }
}
