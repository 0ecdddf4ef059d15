//! The gRPC service for applicants.

use super::Issued;
use crate::answers::internal;
use crate::caller;
use crate::grpc::status;
use crate::node::Node;
use crate::rate::RateLimit;
use crate::runtime::now_ms;
use crate::tls::Caller;
use crate::trail::{What, Whom};
use std::sync::Arc;
use tonic::{Request, Response, Status};
use vermilion_crypto::VaultPublicKey;
use vermilion_identity::enrolment::EnrolmentToken;
use vermilion_identity::{CertificateRequest, Kind};
use vermilion_proto::enrolment_server::Enrolment;
use vermilion_proto::{AdmissionReply, AdmissionRequest, EnrolReply, EnrolRequest, KeysReply, KeysRequest, RenewRequest};
use vermilion_registry::admission::{State, node_subject};
use vermilion_registry::reason::{Reason, Refusal};

/// The service.
pub struct EnrolmentService {
    /// The node.
    pub node: Arc<Node>,
    /// How often an address may ask.
    pub limit: RateLimit,
}

fn reply(result: Result<Issued, Refusal>) -> Response<EnrolReply> {
    Response::new(match result {
        Ok(Issued { certificate, issuing, seq }) => EnrolReply { certificate, issuing, seq, ..EnrolReply::default() },
        Err(refusal) => EnrolReply { code: refusal.reason.number(), detail: refusal.detail, ..EnrolReply::default() },
    })
}

fn request_of(der: &[u8]) -> Result<CertificateRequest, Refusal> {
    CertificateRequest::parse(der).map_err(|e| Refusal::new(Reason::BadCertificate, e.to_string()))
}

/// What the trail says of a refusal.
fn told(what: &str, refusal: &Refusal) -> String {
    format!("{what}: {}", refusal.reason.name())
}

impl EnrolmentService {
    fn admit<T>(&self, request: &Request<T>, ledger_id: &[u8]) -> Result<(), Status> {
        if let Some(caller) = request.extensions().get::<Caller>()
            && !self.limit.take(caller.address.ip())
        {
            return Err(Status::resource_exhausted("too many questions from this address"));
        }
        if ledger_id == self.node.ledger_id { Ok(()) } else { Err(Status::failed_precondition("this is a node of another ledger")) }
    }
}

#[tonic::async_trait]
impl Enrolment for EnrolmentService {
    async fn admission(&self, request: Request<AdmissionRequest>) -> Result<Response<AdmissionReply>, Status> {
        self.admit(&request, &request.get_ref().ledger_id)?;
        let name = request.into_inner().name;
        let directory = self.node.directory().map_err(|refusal| status(&refusal))?;
        let found = directory.admission(&node_subject(&name));
        let state = found.as_ref().and_then(|a| State::from_number(a.state));
        let admitted = state == Some(State::Connected) && found.as_ref().is_some_and(|a| a.access);
        let unit = found.as_ref().map(|a| a.unit.clone()).unwrap_or_default();
        let node = found.and_then(|a| a.node);
        let voter = node.as_ref().is_some_and(|n| self.node.status().voters.contains(&n.raft_id));
        Ok(Response::new(AdmissionReply { state: state.map_or("unknown", State::name).into(), admitted, node, voter, unit }))
    }

    async fn enrol(&self, request: Request<EnrolRequest>) -> Result<Response<EnrolReply>, Status> {
        self.admit(&request, &request.get_ref().ledger_id)?;
        let EnrolRequest { request, token, .. } = request.into_inner();
        let token = zeroize::Zeroizing::new(token);
        let request = request_of(&request);
        let result = async {
            let token = EnrolmentToken::parse(&token).map_err(|e| Refusal::new(Reason::UnknownGrant, e.to_string()))?;
            self.node.enrol(token, request.as_ref().map_err(Clone::clone)?).await
        };
        let result = result.await;
        if let Err(refusal) = &result {
            tracing::warn!(%refusal, "an enrolment was refused");
            // Strangers leave no lines: whose key is registered does.
            if let Ok(request) = &request
                && self.node.directory().is_ok_and(|directory| directory.operator(&request.key.id()).is_some())
            {
                self.node.trail.note(now_ms(), What::Denied, &Whom::key(&request.key.id()), &told("enrol", refusal));
            }
        }
        Ok(reply(result))
    }

    async fn keys(&self, request: Request<KeysRequest>) -> Result<Response<KeysReply>, Status> {
        self.admit(&request, &request.get_ref().ledger_id)?;
        let refused = |why: &str| Status::permission_denied(format!("not-authorised: {why}"));
        let certificate = caller::certificate(&request).ok_or_else(|| refused("the keys are for nodes, by their certificates"))?;
        // What is handed out can't be taken back: this node looks at the newest state that there is.
        self.node.read_barrier().await.map_err(|refusal| status(&refusal))?;
        let directory = self.node.directory().map_err(|refusal| status(&refusal))?;
        let node = match certificate.subject.kind {
            // Of one that lost its access the certificate may still be heard.
            Kind::Node { raft_id } if caller::is_recorded(&self.node, &certificate) => directory.node(raft_id),
            _ => None,
        };
        let Some(node) = node else {
            self.node.trail.note(now_ms(), What::Denied, &Whom::certificate(&certificate), "keys: not-authorised");
            return Err(refused("the keys are for connected nodes, by their recorded certificates"));
        };
        let handout = self.node.handout.as_ref().ok_or_else(|| Status::unavailable("no-authority: this node hands out no keys"))?;
        let to = VaultPublicKey::from_slice(&request.get_ref().recipient).map_err(|e| Status::invalid_argument(e.to_string()))?;
        let keys = handout
            .seal(node, (&self.node.genesis, &self.node.rotated.keys()), &self.node.ledger_id, &to)
            .map_err(|e| status(&internal(&e)))?;
        tracing::info!(node = node.name, keys = keys.len(), "keys were handed out");
        Ok(Response::new(KeysReply { keys }))
    }

    async fn renew(&self, request: Request<RenewRequest>) -> Result<Response<EnrolReply>, Status> {
        self.admit(&request, &request.get_ref().ledger_id)?;
        let certificate = caller::certificate(&request);
        let certificate = certificate.ok_or_else(|| Status::unauthenticated("a renewal comes over a connection with the certificate"))?;
        let result = async { self.node.renew(&certificate, &request_of(&request.get_ref().request)?).await }.await;
        if let Err(refusal) = &result {
            self.node.trail.note(now_ms(), What::Denied, &Whom::certificate(&certificate), &told("renew", refusal));
        }
        Ok(reply(result))
    }
}
