//! What the certificate at the other end of a connection allows at the door. Where the configuration
//! has no TLS, nobody is known and nothing is refused here.

use crate::node::Node;
use crate::peers::Whereabouts;
use crate::rate::network;
use crate::reading::Reader;
use crate::runtime::now_ms;
use crate::tls::Caller;
use crate::trail::{What, Whom};
use std::sync::Arc;
use tonic::{Request, Status};
use vermilion_crypto::sha256;
use vermilion_identity::{Certificate, Kind};
use vermilion_proto::{CertificateState, Head};
use vermilion_registry::certificates::Standing as Recorded;
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

/// The certificate of the node that calls, where the configuration has TLS; whoever is no node is refused.
pub fn peer<T>(node: &Node, request: &Request<T>) -> Result<Option<Arc<Certificate>>, Status> {
    if node.tls.is_none() {
        return Ok(None);
    }
    let certificate = certificate(request);
    match certificate.as_ref().map(|c| c.subject.kind) {
        Some(Kind::Node { .. }) => Ok(certificate),
        _ => {
            if let Some(certificate) = &certificate {
                node.trail.note(now_ms(), What::Denied, &Whom::certificate(certificate), "peer: not-authorised");
            }
            Err(Status::permission_denied("not-authorised: this service is for the ledger's nodes"))
        }
    }
}

/// The same for what a node reads or hands in: one that has lost its access is heard in Raft's own
/// messages until it is out of the group, and in nothing else.
pub fn reader<T>(node: &Node, request: &Request<T>) -> Result<(), Status> {
    let Some(certificate) = peer(node, request)? else { return Ok(()) };
    match certificate.subject.kind {
        Kind::Node { raft_id } if matches!(node.peers.whereabouts(raft_id), Whereabouts::Leaving | Whereabouts::Left) => {
            node.trail.note(now_ms(), What::Denied, &Whom::certificate(&certificate), "peer: not-admitted");
            Err(Status::permission_denied("not-admitted: the node has lost its access"))
        }
        // A certificate that this node's state does not know is heard in Raft's messages alone, so that the node catches up:
        // whoever stole the issuing key reads nothing with what he made.
        _ if !is_recorded(node, &certificate) => {
            node.trail.note(now_ms(), What::Denied, &Whom::certificate(&certificate), "peer: not recorded here");
            Err(Status::unavailable("not-here-yet: this node's state does not know the certificate: ask another"))
        }
        _ => Ok(()),
    }
}

/// Whether a certificate stands in this node's state, and is good.
pub fn is_recorded(node: &Node, certificate: &Certificate) -> bool {
    let found = vermilion_registry::query::certificate(&node.store.state(), certificate.serial.as_bytes());
    let is_it = |found: &CertificateState| {
        sha256(&found.certificate) == certificate.fingerprint && Recorded::from_number(found.standing) == Some(Recorded::Good)
    };
    found.is_ok_and(|found| found.as_ref().is_some_and(is_it))
}

/// Which node reads, so that none takes all places: by its certificate, or without TLS by its address.
pub(crate) fn which<T>(request: &Request<T>) -> Reader {
    match certificate(request).map(|certificate| certificate.subject.kind) {
        Some(Kind::Node { raft_id }) => Reader::Node(raft_id),
        _ => Reader::At(request.remote_addr().map(|address| network(address.ip()))),
    }
}

/// Whether a message that says it is from a node may come over a connection with this certificate.
pub fn check_from(node: &Node, peer: Option<&Certificate>, from: u64) -> Result<(), Status> {
    let Some(certificate) = peer else { return Ok(()) };
    if certificate.subject.kind == (Kind::Node { raft_id: from }) {
        return Ok(());
    }
    let why = format!("the certificate is {}'s, the message says node {from}", certificate.subject.uri());
    node.trail.note(now_ms(), What::Denied, &Whom::certificate(certificate), &why);
    tracing::error!(why, "a node speaks in another node's name");
    Err(Status::permission_denied(format!("not-authorised: {why}")))
}
