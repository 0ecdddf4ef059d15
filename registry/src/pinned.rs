//! What a genesis says of whom to trust: the ledger key and the nodes' cosigning keys; and which keys
//! serve after those that records endorsed since.

use crate::endorsement::{VAULT, newer_key};
use vermilion_crypto::{Digest, PublicKey, VaultPublicKey};
use vermilion_ledger::{LedgerError, NewerKey, Trust, TrustSettings, Witness, quorum_for};
use vermilion_proto::{Command, Genesis, GenesisNode, KeyState, VaultKey, body::Of, canonical};

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

/// The ledger keys after the genesis's, the oldest first, of all keys that took another's place.
#[must_use]
pub fn newer_keys(rotated: &[KeyState]) -> Vec<NewerKey> {
    let mut newer: Vec<NewerKey> = rotated.iter().filter_map(newer_key).collect();
    newer.sort_by_key(|newer| newer.from);
    newer
}

/// The vault keys to which content is sealed: of an area where records endorsed some, the last of those;
/// elsewhere the genesis's.
#[must_use]
pub fn vault_keys(genesis: &Genesis, rotated: &[KeyState]) -> Vec<VaultKey> {
    let mut newest: Vec<(&str, u64, VaultKey)> = Vec::new();
    for state in rotated {
        let Some(key) = state.key.as_ref().filter(|key| key.r#use == VAULT) else { continue };
        let Ok(public) = VaultPublicKey::from_slice(&key.public_key) else { continue };
        if newest.iter().any(|(area, from, _)| *area == key.area && *from > state.from_seq) {
            continue;
        }
        newest.retain(|(area, ..)| *area != key.area);
        let of = VaultKey { key_id: public.id().to_vec(), suite: key.suite, public_key: key.public_key.clone(), area: key.area.clone() };
        newest.push((&key.area, state.from_seq, of));
    }
    let stays = |key: &&VaultKey| newest.iter().all(|(area, ..)| *area != key.area);
    let first: Vec<VaultKey> = genesis.vault_keys.iter().filter(stays).cloned().collect();
    first.into_iter().chain(newest.into_iter().map(|(_, _, key)| key)).collect()
}

/// The area of a vault key that serves or served, by its id.
#[must_use]
pub fn vault_area<'a>(genesis: &'a Genesis, rotated: &'a [KeyState], key_id: &[u8]) -> Option<&'a str> {
    let id = |key: &[u8]| VaultPublicKey::from_slice(key).ok().map(|key| key.id());
    let later = rotated.iter().filter_map(|state| state.key.as_ref()).filter(|key| key.r#use == VAULT);
    let later = later.filter(|key| id(&key.public_key).is_some_and(|id| id[..] == *key_id)).map(|key| key.area.as_str());
    let first = genesis.vault_keys.iter().filter(|key| key.key_id == key_id).map(|key| key.area.as_str());
    first.chain(later).next()
}

/// Whether a node is to hold a vault key: the city's nodes every one, a district's its own district's, so that a stolen
/// district machine opens its own district's licences alone.
#[must_use]
pub fn may_hold(node: &GenesisNode, genesis: &Genesis, rotated: &[KeyState], key_id: &[u8]) -> bool {
    node.city || vault_area(genesis, rotated, key_id) == Some(node.district.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use vermilion_proto::RotateKey;

    #[test]
    fn the_last_key_of_an_area_serves_and_every_one_keeps_its_area() {
        let vault = |n: u8, area: &str| VaultKey { key_id: vec![n; 16], suite: 1, public_key: vec![n; 32], area: area.into() };
        let state = |of: &str, n: u8, area: &str, from_seq| KeyState {
            key: Some(RotateKey { r#use: of.into(), area: area.into(), suite: 1, public_key: vec![n; 32] }),
            from_seq,
            from_ms: 0,
        };
        let genesis = Genesis { vault_keys: vec![vault(1, "440300"), vault(2, "440304"), vault(3, "440300")], ..Default::default() };
        assert_eq!(vault_keys(&genesis, &[]), genesis.vault_keys);
        let rotated =
            [state("ledger", 9, "", 50), state("ledger", 8, "", 40), state("vault", 5, "440300", 12), state("vault", 4, "440300", 10)];
        let serve: Vec<(u8, String)> = vault_keys(&genesis, &rotated).into_iter().map(|k| (k.public_key[0], k.area)).collect();
        assert_eq!(serve, [(2, "440304".to_owned()), (5, "440300".to_owned())]);
        assert_eq!(newer_keys(&rotated).iter().map(|k| (k.from, k.key.0[0])).collect::<Vec<_>>(), [(40, 8), (50, 9)]);
        let id = |n: u8| VaultPublicKey([n; 32]).id();
        assert_eq!(vault_area(&genesis, &rotated, &id(4)), Some("440300"));
        assert_eq!(vault_area(&genesis, &rotated, &[2; 16]), Some("440304"));
        assert_eq!(vault_area(&genesis, &rotated, &id(9)), None);
    }
}
