//! Whether a peer's chain of certificates is accepted.

use crate::{
    authority_certificate::{AuthorityCertificate, AuthorityKind},
    certificate::{Certificate, CertificateError},
    subject::Kind,
    x509::Validity,
};

/// The most certificates that a peer may show: its own and one issuing certificate.
pub const MAX_CHAIN: usize = 2;

/// Why a peer is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It showed none, or more than [`MAX_CHAIN`].
    #[error("the peer showed {0} certificates instead of one or two")]
    ChainLength(usize),
    /// Outside the profile, out of its dates, or not signed by whom it names.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// Its issuer is no authority of this ledger.
    #[error("the certificate is not from this ledger's authority")]
    ForeignAuthority,
    /// The ledger has no record that it was issued.
    #[error("this ledger knows no certificate {0}")]
    UnknownSerial(String),
    /// Revoked by a record.
    #[error("certificate {0} has been revoked")]
    Revoked(String),
    /// Suspended by a record.
    #[error("certificate {0} is suspended")]
    Suspended(String),
    /// Its holder may not connect: a unit suspended, a node not connected or banned. The words say which.
    #[error("the holder of certificate {0} may not connect: {1}")]
    MayNotConnect(String, String),
    /// A server that is no node, or a client where only nodes belong.
    #[error("the certificate is a {0}'s, and a node's is needed")]
    NotANode(&'static str),
    /// Another node than the one that was meant.
    #[error("the certificate is node {found}'s, and node {expected}'s is needed")]
    OtherNode {
        /// The Raft id that was meant.
        expected: u64,
        /// The one in the certificate.
        found: u64,
    },
}

/// Who the other side must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// Whoever holds a certificate that stands.
    Anyone,
    /// A node.
    Node,
    /// The node with this Raft id.
    ThisNode(u64),
}

/// What is known of authorities and serial numbers: a node's replicated state, or a client's pins.
///
/// To ensure that a revocation bites, `check` must answer from the newest state that this process
/// has applied, and must not remember answers.
pub trait Standing: Send + Sync + std::fmt::Debug {
    /// The issuing certificate of this leaf, if it is this ledger's and stands. `presented` is what
    /// the peer sent along and is to be distrusted. The leaf's signature is checked afterwards.
    fn issuing(&self, leaf: &Certificate, presented: Option<&AuthorityCertificate>) -> Option<AuthorityCertificate>;

    /// Whether the ledger says that this certificate, whose signature holds, may connect.
    fn check(&self, leaf: &Certificate) -> Result<(), Refusal>;

    /// Until when (Unix milliseconds) a certificate is taken whose time is over: the glass that is broken
    /// when all have expired and nobody could issue new ones. 0 is never.
    fn accepts_expired_until(&self) -> u64 {
        0
    }

    /// Told of each refusal, for logs and audit records. `leaf` is known when its authority's
    /// signature holds: only then is it worth a record.
    fn refused(&self, leaf: Option<&Certificate>, refusal: &Refusal);
}

/// A client's pins: the root. It knows no serial numbers; whether the node's certificate still
/// stands is what the other nodes see to.
#[derive(Debug, Clone)]
pub struct Pinned {
    /// The root certificate.
    pub root: AuthorityCertificate,
    /// See [`Standing::accepts_expired_until`].
    pub accepts_expired_until_ms: u64,
}

impl Standing for Pinned {
    fn issuing(&self, _: &Certificate, presented: Option<&AuthorityCertificate>) -> Option<AuthorityCertificate> {
        presented.filter(|issuing| issuing.verify_issued_by(&self.root).is_ok()).cloned()
    }

    fn check(&self, _: &Certificate) -> Result<(), Refusal> {
        Ok(())
    }

    fn accepts_expired_until(&self) -> u64 {
        self.accepts_expired_until_ms
    }

    fn refused(&self, _: Option<&Certificate>, _: &Refusal) {}
}

/// Judges a chain, in DER, leaf first, at a time in Unix milliseconds. Tells `standing` of a refusal.
pub fn judge(chain: &[&[u8]], standing: &dyn Standing, expected: Expected, now_ms: u64) -> Result<Certificate, Refusal> {
    let refuse = |leaf: Option<&Certificate>, refusal: Refusal| {
        standing.refused(leaf, &refusal);
        refusal
    };
    let leaf = genuine(chain, standing, now_ms).map_err(|refusal| refuse(None, refusal))?;
    may_connect(&leaf, standing, expected, now_ms).map_err(|refusal| refuse(Some(&leaf), refusal))?;
    Ok(leaf)
}

/// The leaf, if this ledger's authority signed it.
fn genuine(chain: &[&[u8]], standing: &dyn Standing, now_ms: u64) -> Result<Certificate, Refusal> {
    let (leaf, above) = chain.split_first().filter(|_| chain.len() <= MAX_CHAIN).ok_or(Refusal::ChainLength(chain.len()))?;
    let leaf = Certificate::parse(leaf)?;
    let presented = above.first().map(|der| AuthorityCertificate::parse(der)).transpose()?;
    let issuing = standing.issuing(&leaf, presented.as_ref()).filter(|found| found.kind == AuthorityKind::Issuing);
    let issuing = issuing.ok_or(Refusal::ForeignAuthority)?;
    leaf.verify_issued_by(&issuing)?;
    issuing.validity.check(in_time(standing, issuing.validity, now_ms))?;
    Ok(leaf)
}

/// The moment by which a certificate's time is judged: now, or where the glass is broken and its time is
/// over, its last.
pub fn in_time(standing: &dyn Standing, validity: Validity, now_ms: u64) -> u64 {
    if now_ms < standing.accepts_expired_until() { now_ms.min(validity.not_after_ms) } else { now_ms }
}

fn may_connect(leaf: &Certificate, standing: &dyn Standing, expected: Expected, now_ms: u64) -> Result<(), Refusal> {
    leaf.check_dates(in_time(standing, leaf.validity, now_ms))?;
    match (expected, leaf.subject.kind) {
        (Expected::Anyone, _) | (Expected::Node, Kind::Node { .. }) => {}
        (Expected::ThisNode(expected), Kind::Node { raft_id }) if expected == raft_id => {}
        (Expected::ThisNode(expected), Kind::Node { raft_id: found }) => return Err(Refusal::OtherNode { expected, found }),
        (_, other) => return Err(Refusal::NotANode(other.word())),
    }
    standing.check(leaf)
}
