//! A node's configuration: TOML, checked whole at start; errors name the key.

use serde::Deserialize;
use std::path::{Path, PathBuf};

/// Why a configuration is not usable.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// It is not TOML, or has an unknown or missing key.
    #[error("{path}: {why}")]
    Parse {
        /// The file.
        path: PathBuf,
        /// What the parser says, with the key.
        why: String,
    },
    /// A value that cannot work.
    #[error("{key}: {why}")]
    Value {
        /// The key.
        key: &'static str,
        /// Why not.
        why: String,
    },
}

/// `vermiliond`'s configuration. Paths are relative to the file's own folder.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The node's name, as in the genesis.
    pub name: String,
    /// Where its data lies.
    pub data_dir: PathBuf,
    /// The genesis file: the payload of the first record.
    pub genesis: PathBuf,
    /// Address of the gRPC listener, for clients and nodes.
    pub grpc: String,
    /// Address of the REST listener.
    pub http: String,
    /// Peers by name, where they are reached now; the genesis' addresses otherwise.
    #[serde(default)]
    pub peers: std::collections::BTreeMap<String, String>,
    /// Keys.
    pub keys: Keys,
    /// TLS at every listener and towards every peer. Without it nothing is encrypted and nobody is known.
    pub tls: Option<Tls>,
    /// How often the leader proposes a commitment when there are new records, in milliseconds.
    #[serde(default = "default_checkpoint_ms")]
    pub checkpoint_ms: u64,
    /// Raft's tick, in milliseconds: a heartbeat each, an election after ten to twenty.
    #[serde(default = "default_tick_ms")]
    pub tick_ms: u64,
    /// Bounds of the Raft log kept behind the applied index.
    #[serde(default)]
    pub log_tail: LogTail,
    /// Logging.
    #[serde(default)]
    pub log: Log,
}

/// Key files: PKCS#8, encrypted where `passphrase_file` is given.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Keys {
    /// Signs blocks.
    pub node: PathBuf,
    /// Cosigns checkpoints.
    pub cosigning: PathBuf,
    /// Signs checkpoints; on the city's nodes alone.
    pub ledger: Option<PathBuf>,
    /// Makes keyed tags.
    pub lookup: PathBuf,
    /// Vault keys that this node may open.
    #[serde(default)]
    pub vault: Vec<PathBuf>,
    /// A file whose first line opens the encrypted key files.
    pub passphrase_file: Option<PathBuf>,
}

/// The node's certificate, from the authority that the genesis names.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// The certificate, PEM.
    pub certificate: PathBuf,
    /// Its key: PKCS#8, opened as the other keys.
    pub key: PathBuf,
    /// Public questions a second that one address may ask over REST without a certificate.
    #[serde(default = "default_rest_rate")]
    pub rest_rate: u32,
}

/// How much of the Raft log stays behind the applied index.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogTail {
    /// No more entries than this.
    pub entries: u64,
    /// No more bytes than this.
    pub bytes: u64,
    /// Nothing older than this many seconds, counted from when it was applied here.
    pub seconds: u64,
}

impl Default for LogTail {
    fn default() -> Self {
        // A follower that was away longer catches up from the records, which are never truncated.
        Self { entries: 100_000, bytes: 256 << 20, seconds: 24 * 3600 }
    }
}

/// Logging.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// A filter: `info`, or `info,vermilion_node=debug`.
    pub level: String,
    /// JSON lines instead of text.
    pub json: bool,
}

impl Default for Log {
    fn default() -> Self {
        Self { level: "info".into(), json: false }
    }
}

fn default_rest_rate() -> u32 {
    20
}

fn default_checkpoint_ms() -> u64 {
    1000
}

fn default_tick_ms() -> u64 {
    100
}

impl Config {
    /// Reads and checks the file.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read { path: path.into(), source })?;
        let mut config: Self = toml::from_str(&text).map_err(|e| ConfigError::Parse { path: path.into(), why: e.to_string() })?;
        let base = path.parent().unwrap_or(Path::new("."));
        for file in [&mut config.data_dir, &mut config.genesis, &mut config.keys.node, &mut config.keys.cosigning, &mut config.keys.lookup]
            .into_iter()
            .chain(&mut config.keys.ledger)
            .chain(&mut config.keys.vault)
            .chain(&mut config.keys.passphrase_file)
            .chain(config.tls.as_mut().into_iter().flat_map(|tls| [&mut tls.certificate, &mut tls.key]))
        {
            *file = base.join(&*file);
        }
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> Result<(), ConfigError> {
        let value = |key, why: &str| Err(ConfigError::Value { key, why: why.into() });
        if self.name.is_empty() || !self.name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-') {
            return value("name", "must be letters, digits and hyphens");
        }
        for (key, address) in [("grpc", &self.grpc), ("http", &self.http)] {
            if address.parse::<std::net::SocketAddr>().is_err() {
                return Err(ConfigError::Value { key, why: format!("{address:?} is not an address and port, such as 127.0.0.1:7100") });
            }
        }
        if self.tls.as_ref().is_some_and(|tls| !(1..=100_000).contains(&tls.rest_rate)) {
            return value("tls.rest_rate", "must lie between 1 and 100000");
        }
        if !(10..=10_000).contains(&self.tick_ms) {
            return value("tick_ms", "must lie between 10 and 10000");
        }
        if !(50..=86_400_000).contains(&self.checkpoint_ms) {
            return value("checkpoint_ms", "must lie between 50 and 86400000");
        }
        if self.log_tail.entries < 1000 || self.log_tail.bytes < 16 << 20 {
            return value("log_tail", "must keep at least 1000 entries and 16 MiB");
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
name = "city"
data_dir = "data"
genesis = "genesis.bin"
grpc = "127.0.0.1:7100"
http = "127.0.0.1:7101"
[keys]
node = "node.pem"
cosigning = "cosigning.pem"
lookup = "lookup.pem"
"#;

    fn load(text: &str) -> Result<Config, ConfigError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("node.toml");
        std::fs::write(&path, text).unwrap();
        Config::load(&path)
    }

    #[test]
    fn errors_name_the_key() {
        assert!(load(GOOD).is_ok());
        for (from, to, key) in [
            ("name = \"city\"", "name = \"a b\"", "name"),
            ("127.0.0.1:7100", "nowhere", "grpc"),
            ("genesis = \"genesis.bin\"\n", "", "genesis"),
            ("[keys]", "colour = 1\n[keys]", "colour"),
            ("[keys]", "tick_ms = 1\n[keys]", "tick_ms"),
            ("[keys]", "[tls]\ncertificate = \"c\"\n[keys]", "key"),
            ("[keys]", "[tls]\ncertificate = \"c\"\nkey = \"k\"\nrest_rate = 0\n[keys]", "tls.rest_rate"),
        ] {
            let error = load(&GOOD.replace(from, to)).unwrap_err().to_string();
            assert!(error.contains(key), "{error}");
        }
    }
}
