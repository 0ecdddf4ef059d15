//! The client's configuration: a TOML file, whose paths are relative to its own folder.
//!
//! ```toml
//! ledger_id = "…64 hex digits…"
//! genesis = "genesis.bin"          # the genesis payload; checked against ledger_id
//! trust = "trust.json"             # what `receipt check` pins
//! state_dir = "state"              # journals of imports; default: beside this file
//! passphrase_file = "passphrase"   # opens encrypted key files; else VERMILION_PASSPHRASE or a prompt for each
//! enrolment = ["127.0.0.1:7102"]   # where certificates are issued and renewed, on a ledger with TLS
//!
//! [[nodes]]
//! name = "city"
//! grpc = "127.0.0.1:7001"
//! http = "127.0.0.1:7101"
//!
//! [[units]]
//! uscc = "11440300MB0X010112"
//! secret = "keys/unit.secret"      # 32 bytes as PKCS#8: salts and keys of imports come from it
//! passphrase_file = "phrases/unit" # of this secret, where it is under a passphrase of its own
//!
//! [[operators]]
//! unit = "11440300MB0X010112"
//! name = "maker"
//! posts = ["maker"]
//! key = "keys/maker.pem"
//! passphrase_file = "phrases/maker"    # of this person's keys, where they are under a passphrase of their own
//! certificate = "keys/maker.cert.pem"  # of that key: shown where the ledger connects over TLS
//! second_key = "pkcs11:token=…;object=…?module-path=/…"   # administrators: the same person's second key, or its file
//! ```

use crate::error::ClientError;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
pub use vermilion_identity::pkcs11::KeySource;

/// One node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeEntry {
    /// Its name, as in the genesis.
    pub name: String,
    /// Address of its gRPC listener.
    pub grpc: String,
    /// Address of its REST listener.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub http: String,
}

/// One operator whose key is here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OperatorEntry {
    /// USCC of the operator's unit.
    pub unit: String,
    /// A word by which people here know the key; never the operator's name.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// The posts that the key holds.
    pub posts: Vec<String>,
    /// The key file.
    pub key: PathBuf,
    /// A file whose first line opens this person's keys, instead of the one for all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub passphrase_file: Option<PathBuf>,
    /// The certificate of that key, PEM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<PathBuf>,
    /// The same person's second key, without which the posts of administration sign nothing: the file of a
    /// key, or the URI of one on a PKCS#11 token (RFC 7512).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub second_key: Option<KeySource>,
}

/// One unit whose secret is here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UnitEntry {
    /// The unit's USCC.
    pub uscc: String,
    /// The file of its secret.
    pub secret: PathBuf,
    /// A file whose first line opens it, instead of the one for all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub passphrase_file: Option<PathBuf>,
}

/// The file as it stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Hash of the genesis, in hex.
    pub ledger_id: String,
    /// The genesis payload's file.
    pub genesis: PathBuf,
    /// The file of what is trusted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trust: Option<PathBuf>,
    /// Where journals of imports lie.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state_dir: Option<PathBuf>,
    /// A file whose first line opens the encrypted key files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub passphrase_file: Option<PathBuf>,
    /// `host:port` of nodes that issue and renew certificates.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub enrolment: Vec<String>,
    /// Break the glass: until this moment, in Unix milliseconds, nodes' certificates are taken whose time is over.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub accept_expired_until_ms: u64,
    /// The nodes.
    #[serde(default)]
    pub nodes: Vec<NodeEntry>,
    /// The units. Empty ones are not written, so that a table can be added at the file's end.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub units: Vec<UnitEntry>,
    /// The operators.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub operators: Vec<OperatorEntry>,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl Config {
    /// Reads a file, checks it and makes its paths absolute.
    pub fn load(path: &Path) -> Result<Self, ClientError> {
        let text = std::fs::read_to_string(path).map_err(|e| ClientError::file(path, e))?;
        let folder = path.parent().unwrap_or(Path::new("."));
        Self::parse(&text, folder).map_err(|error| match error {
            ClientError::Config { key, why } => ClientError::config(format!("{}: {key}", path.display()), why),
            other => other,
        })
    }

    /// Reads a text whose paths are relative to `folder`.
    pub fn parse(text: &str, folder: &Path) -> Result<Self, ClientError> {
        // The parser's message names the key and the line.
        let mut config: Self = toml::from_str(text).map_err(|e| ClientError::config("the configuration does not read", e.to_string()))?;
        config.check()?;
        config.genesis = folder.join(&config.genesis);
        config.trust = config.trust.map(|p| folder.join(p));
        config.state_dir = Some(folder.join(config.state_dir.as_deref().unwrap_or(Path::new("state"))));
        config.passphrase_file = config.passphrase_file.map(|p| folder.join(p));
        for unit in &mut config.units {
            unit.secret = folder.join(&unit.secret);
            unit.passphrase_file = unit.passphrase_file.take().map(|p| folder.join(p));
        }
        for operator in &mut config.operators {
            operator.passphrase_file = operator.passphrase_file.take().map(|p| folder.join(p));
            operator.key = folder.join(&operator.key);
            operator.certificate = operator.certificate.take().map(|p| folder.join(p));
            if let Some(KeySource::File(path)) = &mut operator.second_key {
                *path = folder.join(&*path);
            }
        }
        Ok(config)
    }

    /// The text of a configuration file.
    pub fn to_toml(&self) -> Result<String, ClientError> {
        toml::to_string_pretty(self).map_err(|e| ClientError::config("the configuration cannot be written", e.to_string()))
    }

    /// The ledger's id.
    pub fn ledger(&self) -> Result<[u8; 32], ClientError> {
        let mut id = [0; 32];
        hex::decode_to_slice(&self.ledger_id, &mut id).map_err(|_| ClientError::config("ledger_id", "it is not 64 hex digits"))?;
        Ok(id)
    }

    /// Where journals of imports lie.
    #[must_use]
    pub fn state_dir(&self) -> &Path {
        self.state_dir.as_deref().unwrap_or(Path::new("state"))
    }

    fn check(&self) -> Result<(), ClientError> {
        self.ledger()?;
        if self.nodes.is_empty() {
            return Err(ClientError::config("nodes", "there is no node"));
        }
        let mut names = BTreeSet::new();
        for (n, node) in self.nodes.iter().enumerate() {
            if node.name.is_empty() || !names.insert(&node.name) {
                return Err(ClientError::config(format!("nodes[{n}].name"), "it is empty or another node's"));
            }
            if !node.grpc.contains(':') {
                return Err(ClientError::config(format!("nodes[{n}].grpc"), "it is not host:port"));
            }
        }
        let mut units = BTreeSet::new();
        for (n, unit) in self.units.iter().enumerate() {
            if !units.insert(&unit.uscc) {
                return Err(ClientError::config(format!("units[{n}].uscc"), "the unit stands there twice"));
            }
        }
        let mut keys = BTreeSet::new();
        for (n, operator) in self.operators.iter().enumerate() {
            if operator.posts.is_empty() || !operator.posts.iter().all(|p| vermilion_registry::posts::is_post_name(p)) {
                return Err(ClientError::config(format!("operators[{n}].posts"), "there is no post, or one that is no post's name"));
            }
            if !keys.insert(&operator.key) {
                return Err(ClientError::config(format!("operators[{n}].key"), "another operator has the same key file"));
            }
            if operator.second_key.as_ref().is_some_and(|second| matches!(second, KeySource::File(path) if *path == operator.key)) {
                return Err(ClientError::config(format!("operators[{n}].second_key"), "it is the first key's file"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn text() -> String {
        format!(
            "ledger_id = \"{}\"\ngenesis = \"genesis.bin\"\n[[nodes]]\nname = \"city\"\ngrpc = \"127.0.0.1:1\"\n\
             [[operators]]\nunit = \"u\"\nposts = [\"maker\"]\nkey = \"/abs/k.pem\"\n\
             passphrase_file = \"k.phrase\"\n",
            "ab".repeat(32)
        )
    }

    #[test]
    fn paths_are_relative_to_the_file() {
        let config = Config::parse(&text(), Path::new("/etc/v")).unwrap();
        assert_eq!(config.genesis, Path::new("/etc/v/genesis.bin"));
        assert_eq!(config.state_dir(), Path::new("/etc/v/state"));
        assert_eq!(config.operators[0].key, Path::new("/abs/k.pem"));
        assert_eq!(config.operators[0].passphrase_file.as_deref(), Some(Path::new("/etc/v/k.phrase")));
        let again = Config::parse(&config.to_toml().unwrap(), Path::new("/elsewhere")).unwrap();
        assert_eq!(again, config);
    }

    #[test]
    fn errors_name_the_key() {
        let says = |text: String, word: &str| {
            let error = Config::parse(&text, Path::new(".")).unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        };
        says(text().replace("ledger_id", "ledger"), "ledger");
        says(text().replace("ab", "zz"), "ledger_id");
        says(text().replace("127.0.0.1:1", "localhost"), "nodes[0].grpc");
        says(text().replace("\"maker\"", ""), "operators[0].posts");
        says(text() + "[[operators]]\nunit = \"v\"\nposts = [\"user\"]\nkey = \"/abs/k.pem\"\n", "operators[1].key");
    }
}
