//! The keys that a joining node is to hold, sealed to that node alone: the lookup key to every node, to a
//! district's node the vault keys of its own district, to a city's node every vault key that is here and
//! the ledger key, those among them that took others' places. So a stolen district machine opens its own district's licences and signs no checkpoint.

use crate::config::{Config, ConfigError};
use crate::keys::{NodeKeys, write_new};
use std::path::{Path, PathBuf};
use vermilion_crypto::{CryptoError, Digest, SeededRng, SigningKey, VaultPublicKey, VaultSecretKey};
use vermilion_identity::sealed_key::{Addressee, LEDGER, LOOKUP, Secret, VAULT};
use vermilion_proto::{Genesis, GenesisNode, KeyState, SealedKey};
use vermilion_registry::pinned;
use zeroize::Zeroizing;

/// What a node of the city can hand out.
pub(crate) struct Handout {
    lookup: Secret,
    ledger: Vec<Secret>,
    vault: Vec<Secret>,
}

impl Handout {
    /// Of a node's own keys; none of one that lacks the lookup key.
    pub(crate) fn of(keys: &NodeKeys) -> Option<Self> {
        Some(Self {
            lookup: Zeroizing::new(*keys.lookup.as_ref()?.bytes()),
            ledger: keys.ledger.iter().map(|key| Zeroizing::new(*key.seed())).collect(),
            vault: keys.vault.iter().map(|key| Zeroizing::new(*key.bytes())).collect(),
        })
    }

    /// What a node is to hold, by use, as the genesis and the records since say. A ledger key whose place
    /// another has taken signs nothing more: it stays where it is.
    fn due(&self, node: &GenesisNode, (genesis, rotated): (&Genesis, &[KeyState])) -> Vec<(&'static str, &Secret)> {
        let mut out = Vec::new();
        let newer = pinned::newer_keys(rotated);
        let served = |key: &Secret| {
            let public = SigningKey::from_seed(key).public();
            let earlier = newer.split_last().map_or(&[][..], |(_, earlier)| earlier);
            (!newer.is_empty() && public.0[..] == genesis.ledger_key) || earlier.iter().any(|key| key.key == public)
        };
        out.extend(self.ledger.iter().filter(|key| node.city && !served(key)).map(|key| (LEDGER, key)));
        let may_hold = |key: &Secret| pinned::may_hold(node, genesis, rotated, &VaultSecretKey::from_bytes(**key).public().id());
        out.extend(self.vault.iter().filter(|key| may_hold(key)).map(|key| (VAULT, key)));
        // The last to be kept: whoever has it has all.
        out.push((LOOKUP, &self.lookup));
        out
    }

    /// The same, each sealed to a key that the node made for this answer.
    pub(crate) fn seal(
        &self,
        node: &GenesisNode,
        known: (&Genesis, &[KeyState]),
        ledger_id: &Digest,
        to: &VaultPublicKey,
    ) -> Result<Vec<SealedKey>, CryptoError> {
        let mut rng = SeededRng::from_system()?;
        let addressee = Addressee { ledger_id, raft_id: node.raft_id };
        self.due(node, known).into_iter().map(|(what, secret)| addressee.seal(what, secret, to, &mut rng)).collect()
    }
}

/// Where a received key lies.
pub(crate) fn place(dir: &Path, what: &str, secret: &Secret) -> Option<PathBuf> {
    match what {
        LOOKUP => Some(dir.join(format!("{what}.pem"))),
        LEDGER => Some(dir.join(format!("ledger-{}.pem", hex::encode(SigningKey::from_seed(secret).public().id())))),
        VAULT => Some(dir.join(format!("vault-{}.pem", hex::encode(VaultSecretKey::from_bytes(**secret).public().id())))),
        _ => None,
    }
}

/// Opens what was handed out to this node and keeps it in the folder that the configuration names.
pub(crate) fn keep_all(
    config: &Config,
    dir: &Path,
    own: &VaultSecretKey,
    addressee: Addressee<'_>,
    keys: &[SealedKey],
) -> Result<(), ConfigError> {
    for key in keys {
        let secret = addressee.open(key, own).map_err(|e| ConfigError::Value { key: "keys.received", why: e.to_string() })?;
        keep(config, dir, &key.r#use, &secret)?;
    }
    Ok(())
}

/// Keeps a key in the folder of received keys, encrypted like the node's other keys. What is there already is left alone.
pub(crate) fn keep(config: &Config, dir: &Path, what: &str, secret: &Secret) -> Result<(), ConfigError> {
    std::fs::create_dir_all(dir).map_err(|source| ConfigError::Read { path: dir.into(), source })?;
    // A use that this version does not know is none that it could serve.
    match place(dir, what, secret).filter(|path| !path.exists()) {
        Some(path) => write_new(config, &path, secret),
        None => Ok(()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use vermilion_proto::{RotateKey, VaultKey};

    fn handout() -> Handout {
        let secret = |n: u8| Zeroizing::new([n; 32]);
        Handout { lookup: secret(1), ledger: vec![secret(2), secret(12), secret(22)], vault: (3..=6).map(secret).collect() }
    }

    /// With the ledger key 2 and vault keys of the city and two districts.
    fn genesis() -> Genesis {
        let vault = |n: u8, area: &str| {
            let public = VaultSecretKey::from_bytes([n; 32]).public();
            VaultKey { key_id: public.id().to_vec(), suite: 1, public_key: public.0.to_vec(), area: area.into() }
        };
        Genesis {
            ledger_key: SigningKey::from_seed(&[2; 32]).public().0.to_vec(),
            vault_keys: vec![vault(3, "440300"), vault(4, "440304"), vault(5, "440305")],
            ..Genesis::default()
        }
    }

    fn rotated() -> Vec<KeyState> {
        let state = |of: &str, area: &str, public_key: [u8; 32], from_seq| KeyState {
            key: Some(RotateKey { r#use: of.into(), area: area.into(), suite: 1, public_key: public_key.to_vec() }),
            from_seq,
            from_ms: 0,
        };
        let ledger = SigningKey::from_seed(&[12; 32]).public().0;
        let vault = VaultSecretKey::from_bytes([6; 32]).public().0;
        vec![state("ledger", "", ledger, 9), state("vault", "440304", vault, 10)]
    }

    fn uses(node: &GenesisNode, rotated: &[KeyState]) -> Vec<(&'static str, u8)> {
        handout().due(node, (&genesis(), rotated)).into_iter().map(|(what, secret)| (what, secret[0])).collect()
    }

    #[test]
    fn a_district_gets_its_own_and_the_city_all() {
        let district = GenesisNode { raft_id: 7, district: "440304".into(), ..GenesisNode::default() };
        assert_eq!(uses(&district, &[]), [(VAULT, 4), (LOOKUP, 1)]);
        // Old content is sealed to the old key.
        assert_eq!(uses(&district, &rotated()), [(VAULT, 4), (VAULT, 6), (LOOKUP, 1)]);
        let elsewhere = GenesisNode { district: "440303".into(), ..district.clone() };
        assert_eq!(uses(&elsewhere, &rotated()), [(LOOKUP, 1)]);
        let city = GenesisNode { city: true, district: "440300".into(), ..district };
        let vault = [(VAULT, 3), (VAULT, 4), (VAULT, 5), (VAULT, 6), (LOOKUP, 1)];
        assert_eq!(uses(&city, &[]), [&[(LEDGER, 2), (LEDGER, 12), (LEDGER, 22)][..], &vault].concat());
        assert_eq!(uses(&city, &rotated()), [&[(LEDGER, 12), (LEDGER, 22)][..], &vault].concat());
    }
}
