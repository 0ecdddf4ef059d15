//! The authority of a genesis: root, issuing certificate, and the certificates that the ledger
//! begins with.

use crate::reason::{Reason, Refusal};
use crate::taken;
use std::collections::BTreeSet;
use vermilion_identity::{AuthorityCertificate, AuthorityKind, Certificate, CertificateError, Kind};
use vermilion_proto::Genesis;

/// What a genesis says of the authority.
#[derive(Debug, Clone)]
pub struct Founding {
    /// The root.
    pub root: AuthorityCertificate,
    /// The first issuing certificate.
    pub issuing: AuthorityCertificate,
    /// The first leaves.
    pub certificates: Vec<Certificate>,
}

fn refused(what: &str, why: impl std::fmt::Display) -> Refusal {
    Refusal::new(Reason::FieldForm, format!("{what}: {why}"))
}

impl Founding {
    /// Reads and checks it: the issuing certificate is the root's, every leaf is the issuing one's and
    /// valid at the genesis' time, no serial number stands twice, and a node's leaf names a node of
    /// the genesis by id, name and district, with a key of its own. `None` of a genesis without a root,
    /// which may have no other certificate either.
    pub fn read(genesis: &Genesis) -> Result<Option<Self>, Refusal> {
        if genesis.root_certificate.is_empty() {
            let none = genesis.issuing_certificate.is_empty() && genesis.certificates.is_empty();
            return if none { Ok(None) } else { Err(refused("root_certificate", "it is missing")) };
        }
        let bad = |what: &'static str| move |error: CertificateError| refused(what, error);
        let root = AuthorityCertificate::parse(&genesis.root_certificate).map_err(bad("root_certificate"))?;
        if root.kind != AuthorityKind::Root {
            return Err(refused("root_certificate", "it is no root"));
        }
        let issuing = AuthorityCertificate::parse(&genesis.issuing_certificate).map_err(bad("issuing_certificate"))?;
        issuing.verify_issued_by(&root).map_err(bad("issuing_certificate"))?;
        for authority in [&root, &issuing] {
            authority.validity.check(genesis.time_ms).map_err(bad("root_certificate or issuing_certificate"))?;
        }
        let mut serials = BTreeSet::new();
        let mut certificates = Vec::with_capacity(genesis.certificates.len());
        for der in &genesis.certificates {
            let leaf = Certificate::parse(der).map_err(bad("certificates"))?;
            leaf.verify_issued_by(&issuing).map_err(bad("certificates"))?;
            leaf.check_dates(genesis.time_ms).map_err(bad("certificates"))?;
            if !serials.insert(leaf.serial.clone()) {
                return Err(refused("certificates", "a serial number stands twice"));
            }
            check_node(genesis, &leaf)?;
            certificates.push(leaf);
        }
        Ok(Some(Self { root, issuing, certificates }))
    }
}

/// A node's leaf names a node of the genesis, and its key is for nothing else.
fn check_node(genesis: &Genesis, leaf: &Certificate) -> Result<(), Refusal> {
    let Kind::Node { raft_id } = leaf.subject.kind else { return Ok(()) };
    let named =
        |n: &&vermilion_proto::GenesisNode| n.raft_id == raft_id && n.name == leaf.subject.name && n.district == leaf.subject.district;
    if !genesis.nodes.iter().any(|n| named(&n)) {
        return Err(refused("certificates", format!("no node of the genesis is {}", leaf.subject.uri())));
    }
    if taken::of_genesis(genesis).iter().any(|(key, _)| *key == leaf.key.0) {
        return Err(refused("certificates", "a node's TLS key is used for something else"));
    }
    Ok(())
}
