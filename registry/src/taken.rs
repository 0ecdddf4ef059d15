//! What each key is for. A key serves one thing alone, for ever: so a signature tells by its key in which part
//! it was given, and whoever stole a file has one part. Keys that were revoked or replaced are taken as well.
//!
//! Not looked at: the TLS keys of certificates, which sign handshakes alone, in a context of their own.

use crate::decision::View;
use crate::fatal::Fatal;
use crate::query;
use vermilion_identity::AuthorityCertificate;
use vermilion_proto::{Genesis, GenesisNode};

/// A public key and whose it is.
type Use = (Vec<u8>, &'static str);

const LEDGER: &str = "the ledger's";
const NODE: &str = "a node's";
const VAULT: &str = "a vault's";
const AUTHORITY: &str = "the authority's";
/// Of a key by which a person signs.
pub(crate) const OPERATOR: &str = "an operator's";

/// Every key that a genesis names.
pub(crate) fn of_genesis(genesis: &Genesis) -> Vec<Use> {
    let mut out = vec![(genesis.ledger_key.clone(), LEDGER)];
    out.extend(genesis.nodes.iter().flat_map(of_node));
    out.extend(genesis.vault_keys.iter().map(|k| (k.public_key.clone(), VAULT)));
    out.extend([&genesis.root_certificate, &genesis.issuing_certificate].into_iter().filter_map(|der| of_authority(der)));
    let operators = genesis.operators.iter().filter_map(|added| added.operator.as_ref());
    out.extend(operators.map(|o| (o.public_key.clone(), OPERATOR)));
    out
}

/// Whose a key is; nobody's if it was never named.
pub(crate) fn whose(view: &View<'_>, key: &[u8]) -> Result<Option<&'static str>, Fatal> {
    let is_operators = |o: &vermilion_proto::Operator| o.public_key == key;
    if view.directory.operators.values().filter_map(|s| s.operator.as_ref()).any(is_operators) {
        return Ok(Some(OPERATOR));
    }
    let mut all = query::genesis(view.kv)?.map(|genesis| of_genesis(&genesis)).unwrap_or_default();
    all.extend(view.directory.nodes.values().flat_map(of_node));
    all.extend(view.directory.admissions.values().filter_map(|a| a.node.as_ref()).flat_map(of_node));
    all.extend(view.directory.issuing.iter().filter_map(|state| of_authority(&state.certificate)));
    let rotated = query::rotated_keys(view.kv)?.into_iter().filter_map(|state| state.key);
    all.extend(rotated.map(|k| (k.public_key, if k.r#use == crate::endorsement::VAULT { VAULT } else { LEDGER })));
    Ok(all.into_iter().find(|(taken, _)| taken == key).map(|(_, whose)| whose))
}

fn of_node(node: &GenesisNode) -> [Use; 2] {
    [(node.node_key.clone(), NODE), (node.cosigning_key.clone(), NODE)]
}

fn of_authority(der: &[u8]) -> Option<Use> {
    AuthorityCertificate::parse(der).ok().map(|certificate| (certificate.key.0.to_vec(), AUTHORITY))
}
