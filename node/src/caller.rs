//! What the certificate at the other end of a connection allows at the door. Where the configuration
//! has no TLS, nobody is known and nothing is refused here.

use crate::node::Node;
use crate::tls::Caller;
use std::sync::Arc;
use tonic::{Request, Status};
use vermilion_identity::{Certificate, Kind};
use vermilion_proto::Head;
use vermilion_registry::reason::{Reason, Refusal};

/// The certificate that came with a request's connection.
pub fn certificate<T>(request: &Request<T>) -> Option<Arc<Certificate>> {
    request.extensions().get::<Caller>().and_then(|caller| caller.certificate.clone())
}

/// Whether this certificate's holder may hand in a command with this head: operators and systems may, for
/// their own unit. Who signed it is checked later, by the same door.
pub fn may_submit(certificate: &Certificate, head: &Head) -> Result<(), Refusal> {
    let subject = &certificate.subject;
    if !matches!(subject.kind, Kind::Operator | Kind::UnitSystem) {
        return Err(Refusal::new(
            Reason::NotAuthorised,
            format!("the certificate is of a {}, which hands in no commands", subject.kind.word()),
        ));
    }
    if head.unit != subject.unit {
        let detail = format!("the certificate is of unit {}, the command of unit {}", subject.unit, head.unit);
        return Err(Refusal::new(Reason::WrongUnit, detail));
    }
    Ok(())
}

/// The Raft id of the node that calls, where the configuration has TLS; whoever is no node is refused.
pub fn peer<T>(node: &Node, request: &Request<T>) -> Result<Option<u64>, Status> {
    if node.tls.is_none() {
        return Ok(None);
    }
    match certificate(request).map(|c| c.subject.kind) {
        Some(Kind::Node { raft_id }) => Ok(Some(raft_id)),
        _ => Err(Status::permission_denied("not-authorised: this service is for the ledger's nodes")),
    }
}

/// Whether a message that says it is from a node may come over this connection.
pub fn check_from(peer: Option<u64>, from: u64) -> Result<(), Status> {
    match peer {
        Some(id) if id != from => {
            tracing::error!(certificate = id, from, "a node speaks in another node's name");
            Err(Status::permission_denied(format!("not-authorised: the certificate is node {id}'s, the message says node {from}")))
        }
        _ => Ok(()),
    }
}
