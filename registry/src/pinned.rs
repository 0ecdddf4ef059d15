//! What a genesis says of whom to trust: the ledger key and the nodes' cosigning keys.

use vermilion_crypto::{Digest, PublicKey};
use vermilion_ledger::{LedgerError, Trust, TrustSettings, Witness, quorum_for};
use vermilion_proto::{Command, Genesis, GenesisNode, body::Of, canonical};

/// Reads a genesis payload: a canonical command whose body is a genesis.
#[must_use]
pub fn read_genesis(payload: &[u8]) -> Option<Genesis> {
    match canonical::<Command>(payload).ok()?.body?.of? {
        Of::Genesis(genesis) => Some(genesis),
        _ => None,
    }
}

/// The name under which a node cosigns.
#[must_use]
pub fn witness_name(origin: &str, node: &str) -> String {
    format!("{origin}/{node}")
}

/// The trust that a genesis gives rise to: its ledger key, its nodes' cosigning keys, and `quorum`
/// of them, or else as many as keep one stolen node from showing two histories.
pub fn trust_of(genesis: &Genesis, ledger_id: Digest, quorum: Option<usize>, require_ledger_key: bool) -> Result<Trust, LedgerError> {
    trust_in(genesis, genesis.nodes.iter(), ledger_id, quorum, require_ledger_key)
}

/// The same with the nodes that are connected now ([`crate::Directory::active_nodes`]): whose
/// cosignatures count.
pub fn trust_in<'a>(
    genesis: &Genesis,
    nodes: impl Iterator<Item = &'a GenesisNode>,
    ledger_id: Digest,
    quorum: Option<usize>,
    require_ledger_key: bool,
) -> Result<Trust, LedgerError> {
    let key = |bytes: &[u8]| PublicKey::from_slice(bytes).map_err(|_| LedgerError::BadTrust("a key of the genesis does not have 32 bytes"));
    let witnesses = nodes
        .map(|node| Ok(Witness { name: witness_name(&genesis.origin, &node.name), key: key(&node.cosigning_key)? }))
        .collect::<Result<Vec<_>, LedgerError>>()?;
    let count = witnesses.len();
    let quorum = quorum.unwrap_or_else(|| quorum_for(count, 1).min(count).max(1));
    Trust::new(TrustSettings {
        origin: genesis.origin.clone(),
        ledger_id,
        ledger_key: key(&genesis.ledger_key)?,
        witnesses,
        quorum,
        require_ledger_key,
    })
}

/// The names under which the city's nodes cosign.
#[must_use]
pub fn city_witnesses(genesis: &Genesis) -> Vec<String> {
    genesis.nodes.iter().filter(|node| node.city).map(|node| witness_name(&genesis.origin, &node.name)).collect()
}
