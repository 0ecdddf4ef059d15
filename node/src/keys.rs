//! A node's keys, read from their files.

use crate::config::{Config, ConfigError};
use std::path::Path;
use vermilion_crypto::{LookupKey, SigningKey, VaultSecretKey, decode_secret};
use zeroize::Zeroizing;

/// The keys of one node.
pub struct NodeKeys {
    /// Signs blocks.
    pub node: SigningKey,
    /// Cosigns checkpoints.
    pub cosigning: SigningKey,
    /// Signs checkpoints; on the city's nodes.
    pub ledger: Option<SigningKey>,
    /// Makes keyed tags.
    pub lookup: LookupKey,
    /// Vault keys that this node may open.
    pub vault: Vec<VaultSecretKey>,
    /// The TLS key and the certificate's DER, where the configuration has TLS.
    pub tls: Option<(SigningKey, Vec<u8>)>,
}

impl NodeKeys {
    /// Reads every key that the configuration names.
    pub fn load(config: &Config) -> Result<Self, ConfigError> {
        let passphrase = match &config.keys.passphrase_file {
            None => None,
            Some(path) => {
                let text = Zeroizing::new(read(path)?);
                Some(Zeroizing::new(text.lines().next().unwrap_or_default().as_bytes().to_vec()))
            }
        };
        let secret = |path: &Path| -> Result<Zeroizing<[u8; 32]>, ConfigError> {
            let text = Zeroizing::new(read(path)?);
            decode_secret(&text, passphrase.as_ref().map(|p| p.as_slice()))
                .map_err(|e| ConfigError::Parse { path: path.into(), why: e.to_string() })
        };
        Ok(Self {
            node: SigningKey::from_seed(&*secret(&config.keys.node)?),
            cosigning: SigningKey::from_seed(&*secret(&config.keys.cosigning)?),
            ledger: config.keys.ledger.as_deref().map(&secret).transpose()?.map(|s| SigningKey::from_seed(&s)),
            lookup: LookupKey::from_bytes(*secret(&config.keys.lookup)?),
            vault: config.keys.vault.iter().map(|p| Ok(VaultSecretKey::from_bytes(*secret(p)?))).collect::<Result<_, ConfigError>>()?,
            tls: match &config.tls {
                None => None,
                Some(tls) => Some((SigningKey::from_seed(&*secret(&tls.key)?), crate::tls::read_certificate(&tls.certificate)?)),
            },
        })
    }
}

fn read(path: &Path) -> Result<String, ConfigError> {
    std::fs::read_to_string(path).map_err(|source| ConfigError::Read { path: path.into(), source })
}
