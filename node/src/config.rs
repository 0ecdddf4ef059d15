//! A node's configuration: TOML, checked whole at start; errors name the key.

use crate::outside::client::WitnessClient;
use serde::Deserialize;
use std::path::{Path, PathBuf};
use std::time::Duration;
pub use vermilion_identity::pkcs11::KeySource;
use vermilion_ledger::{KeyKind, Policy, VerifierKey, Witness};
use vermilion_registry::address;
use vermilion_registry::codes::dates;

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

impl ConfigError {
    /// The same of a file that this key of the configuration names.
    #[must_use]
    pub fn of(self, key: &'static str) -> Self {
        match self {
            Self::Read { .. } | Self::Parse { .. } => Self::Value { key, why: self.to_string() },
            Self::Value { .. } => self,
        }
    }
}

/// `vermiliond`'s configuration. Paths are relative to the file's own folder.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The node's name, as in the genesis, or as it was applied for.
    pub name: String,
    /// Of a node that is not in the genesis, which cannot do without: the Raft id under which it was applied for (`admission
    /// apply --id`). Never that of a node whose disk was lost.
    pub raft_id: Option<u64>,
    /// Where its data lies.
    pub data_dir: PathBuf,
    /// The genesis file: the payload of the first record.
    pub genesis: PathBuf,
    /// Address of the gRPC listener, for clients and nodes.
    pub grpc: String,
    /// Address of the REST listener.
    pub http: String,
    /// Peers by name, where they are reached now; the genesis' or the state's addresses otherwise. A node that joins asks
    /// these and the nodes of the genesis.
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
    /// A node that joins a ledger of at least so many records takes the state that a quorum vouches for, and
    /// fetches the records later; of a smaller one it replays them.
    #[serde(default = "default_state_from_records")]
    pub state_from_records: u64,
    /// Witnesses outside the ledger's own nodes.
    #[serde(default)]
    pub witness: Vec<OutsideWitness>,
    /// What is asked of them. It has no default: whoever names witnesses says what their absence means.
    pub witnesses: Option<OutsideRule>,
    /// The folder, this node's own, into which `vermilion cluster backup` has it copy its data directory; without it no copy is
    /// made. It lies on the data's file system.
    pub backups: Option<PathBuf>,
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
    /// Sign checkpoints, on the city's nodes alone: one file, or a list with those that are to take its place
    /// and those whose place was taken.
    #[serde(default, deserialize_with = "one_or_more")]
    pub ledger: Vec<PathBuf>,
    /// Makes keyed tags; the same on every node. A node that joins may receive it.
    pub lookup: Option<PathBuf>,
    /// Vault keys that this node may open.
    #[serde(default)]
    pub vault: Vec<PathBuf>,
    /// The folder for the keys that a node of the city hands to this one when it joins over TLS: the lookup key, the vault
    /// keys that it may hold, and on the city's nodes the ledger key.
    pub received: Option<PathBuf>,
    /// A file whose first line opens the encrypted key files.
    pub passphrase_file: Option<PathBuf>,
    /// Write keys that this node makes or receives in the clear, where the disk itself is encrypted; else a passphrase is
    /// wanted.
    #[serde(default)]
    pub plain: bool,
}

/// A path, or a list of paths.
fn one_or_more<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Vec<PathBuf>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Paths {
        One(PathBuf),
        More(Vec<PathBuf>),
    }
    Ok(match Paths::deserialize(from)? {
        Paths::One(path) => vec![path],
        Paths::More(paths) => paths,
    })
}

/// A witness outside the ledger's own nodes, as C2SP tlog-witness has it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OutsideWitness {
    /// Its verifier key, `<name>+<key id>+<base64>`, of kind 0x04.
    pub key: String,
    /// Its submission prefix, `http://…` or `https://…`. Without one this node does not ask it, and keeps and
    /// counts what other nodes were answered.
    pub url: Option<String>,
    /// For https: a PEM file of the authorities that may vouch for the host's name. None is built in; the
    /// system's bundle will do.
    pub ca: Option<PathBuf>,
    /// How long one question may take, in milliseconds.
    #[serde(default = "default_witness_timeout_ms")]
    pub timeout_ms: u64,
}

/// What is asked of the outside witnesses.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OutsideRule {
    /// How many of them should have cosigned a checkpoint.
    pub need: usize,
    /// What happens to a checkpoint that fewer have cosigned.
    pub otherwise: Otherwise,
}

/// What happens to a checkpoint that too few outside witnesses have cosigned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Otherwise {
    /// It is published all the same; metrics and log say that cosignatures are missing.
    Open,
    /// It is not published: no checkpoint, tile, proof or receipt of it is served until enough have
    /// cosigned. Commands are taken and applied meanwhile.
    Closed,
}

/// The node's certificate, from the authority that the genesis names.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// The certificate, PEM. Renewals are written here.
    pub certificate: PathBuf,
    /// Its key: a PKCS#8 file, opened as the other keys, or the URI of a key on a PKCS#11 token.
    pub key: KeySource,
    /// The issuing certificate's key, on the city's nodes that issue certificates.
    pub issuing_key: Option<PathBuf>,
    /// `host:port` to listen on for enrolment and renewal, where the issuing key is.
    pub enrolment: Option<String>,
    /// `host:port` of the enrolment listeners where this node asks for its own certificate.
    #[serde(default)]
    pub authority: Vec<String>,
    /// Public questions a second that one address may ask over REST without a certificate.
    #[serde(default = "default_rest_rate")]
    pub rest_rate: u32,
    /// Answer the public's questions over REST in the clear as well, as behind a proxy that has a public certificate.
    #[serde(default)]
    pub rest_plain: bool,
    /// Break the glass: through this day (`2026-12-01`, in UTC) take certificates whose time is over, so that a ledger whose
    /// certificates have all expired can issue new ones. Take it out again afterwards.
    pub accept_expired_until: Option<String>,
    /// Show `/metrics` to whoever asks, where only monitoring reaches the listener; else to certificates that may.
    #[serde(default)]
    pub open_metrics: bool,
}

impl Tls {
    /// The first moment after `accept_expired_until`, in Unix milliseconds; 0 if it is not set, none if it is no day.
    fn accepts_expired_until_ms(&self) -> Option<u64> {
        let Some(day) = &self.accept_expired_until else { return Some(0) };
        let end = dates::parse(day)?.next_day()?.midnight().assume_utc();
        u64::try_from(end.unix_timestamp()).ok().map(|seconds| seconds * 1000)
    }

    fn files(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        let key = match &mut self.key {
            KeySource::File(path) => Some(path),
            KeySource::Token(_) => None,
        };
        [Some(&mut self.certificate), key, self.issuing_key.as_mut()].into_iter().flatten()
    }
}

/// Questions a second that one address may ask without a certificate, if the configuration does not say.
pub const DEFAULT_REST_RATE: u32 = 20;

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
    DEFAULT_REST_RATE
}

fn default_state_from_records() -> u64 {
    10_000
}

fn default_checkpoint_ms() -> u64 {
    1000
}

fn default_witness_timeout_ms() -> u64 {
    5000
}

fn default_tick_ms() -> u64 {
    100
}

impl Config {
    /// Until when expired certificates are taken, in Unix milliseconds; 0: never.
    #[must_use]
    pub fn accepts_expired_until_ms(&self) -> u64 {
        self.tls.as_ref().and_then(Tls::accepts_expired_until_ms).unwrap_or(0)
    }

    /// Reads and checks the file.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read { path: path.into(), source })?;
        let mut config: Self = toml::from_str(&text).map_err(|e| ConfigError::Parse { path: path.into(), why: e.to_string() })?;
        let base = path.parent().unwrap_or(Path::new("."));
        for file in [&mut config.data_dir, &mut config.genesis, &mut config.keys.node, &mut config.keys.cosigning]
            .into_iter()
            .chain(&mut config.backups)
            .chain(&mut config.keys.lookup)
            .chain(&mut config.keys.received)
            .chain(&mut config.keys.ledger)
            .chain(&mut config.keys.vault)
            .chain(&mut config.keys.passphrase_file)
            .chain(config.witness.iter_mut().filter_map(|witness| witness.ca.as_mut()))
            .chain(config.tls.as_mut().into_iter().flat_map(Tls::files))
        {
            *file = base.join(&*file);
        }
        config.check()?;
        Ok(config)
    }

    fn outside(witness: &OutsideWitness) -> Witness {
        // `check` has read the key; an empty one would be refused by the trust.
        let none = || Witness { name: String::new(), key: vermilion_crypto::PublicKey([0; 32]) };
        VerifierKey::parse(&witness.key).map_or_else(|_| none(), |key| Witness { name: key.name, key: key.key })
    }

    /// The outside witnesses, and how many of them a checkpoint needs to be published.
    #[must_use]
    pub fn outside_policy(&self) -> Policy {
        let closed = self.witnesses.filter(|rule| rule.otherwise == Otherwise::Closed);
        Policy {
            city: Vec::new(),
            outside: self.witness.iter().map(Self::outside).collect(),
            outside_need: closed.map_or(0, |rule| rule.need),
            ..Policy::default()
        }
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
        for (name, address) in &self.peers {
            if let Err(unfit) = address::check(address) {
                return Err(ConfigError::Value { key: "peers", why: format!("of {name}: {address:?} {unfit}") });
            }
        }
        if self.raft_id == Some(0) {
            return value("raft_id", "is never 0");
        }
        if self.tls.as_ref().is_some_and(|tls| !(1..=100_000).contains(&tls.rest_rate)) {
            return value("tls.rest_rate", "must lie between 1 and 100000");
        }
        if self.keys.lookup.is_none() && self.keys.received.is_none() {
            return value("keys.lookup", "is needed, or keys.received for a node that joins");
        }
        if self.tls.as_ref().is_some_and(|tls| tls.accepts_expired_until_ms().is_none()) {
            return value("tls.accept_expired_until", "must be a day such as 2026-12-01");
        }
        if self.tls.as_ref().is_some_and(|tls| tls.enrolment.is_some() && tls.issuing_key.is_none()) {
            return value("tls.enrolment", "is for nodes that have tls.issuing_key");
        }
        if !(10..=10_000).contains(&self.tick_ms) {
            return value("tick_ms", "must lie between 10 and 10000");
        }
        if !(50..=86_400_000).contains(&self.checkpoint_ms) {
            return value("checkpoint_ms", "must lie between 50 and 86400000");
        }
        for witness in &self.witness {
            match VerifierKey::parse(&witness.key) {
                Ok(key) if key.kind == KeyKind::Cosignature => {}
                Ok(_) => return value("witness.key", "is not a cosigning key (kind 0x04)"),
                Err(e) => return Err(ConfigError::Value { key: "witness.key", why: e.to_string() }),
            }
            match (&witness.url, &witness.ca) {
                (Some(url), ca) => {
                    WitnessClient::new(url, ca.as_deref(), Self::outside(witness), Duration::from_millis(witness.timeout_ms))?;
                }
                (None, Some(_)) => return value("witness.ca", "is for a url with https, and there is none"),
                (None, None) => {}
            }
            if !(100..=60_000).contains(&witness.timeout_ms) {
                return value("witness.timeout_ms", "must lie between 100 and 60000");
            }
        }
        match (self.witness.len(), &self.witnesses) {
            (0, None) => {}
            (0, Some(_)) => return value("witnesses", "there is no [[witness]] to ask"),
            (_, None) => {
                return value("witnesses", "say what the outside witnesses are for: need = 1, otherwise = \"open\" or \"closed\"");
            }
            (count, Some(rule)) if !(1..=count).contains(&rule.need) => {
                return value("witnesses.need", "must lie between 1 and the number of [[witness]] tables");
            }
            _ => {}
        }
        if self.log_tail.entries < 1000 || self.log_tail.bytes < 16 << 20 || self.log_tail.seconds < 60 {
            return value("log_tail", "must keep at least 1000 entries, 16 MiB and 60 seconds");
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use vermilion_crypto::SigningKey;
    use vermilion_identity::{AuthorityName, Serial, Validity, authority::make_root, x509};

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
            ("[keys]", "raft_id = 0\n[keys]", "raft_id"),
            ("[keys]", "[peers]\nfutian = \"node futian:7100\"\n[keys]", "peers"),
            ("[keys]", "tick_ms = 1\n[keys]", "tick_ms"),
            ("[keys]", "[log_tail]\nseconds = 59\n[keys]", "log_tail"),
            ("[keys]", "[tls]\ncertificate = \"c\"\n[keys]", "key"),
            ("[keys]", "[tls]\ncertificate = \"c\"\nkey = \"k\"\nrest_rate = 0\n[keys]", "tls.rest_rate"),
            ("[keys]", "[tls]\ncertificate = \"c\"\nkey = \"k\"\naccept_expired_until = \"soon\"\n[keys]", "tls.accept_expired_until"),
            ("[keys]", "[tls]\ncertificate = \"c\"\nkey = \"k\"\nenrolment = \"127.0.0.1:0\"\n[keys]", "tls.enrolment"),
        ] {
            let error = load(&GOOD.replace(from, to)).unwrap_err().to_string();
            assert!(error.contains(key), "{error}");
        }
    }

    /// A cosigning key, and the example of C2SP signed-note, which is none.
    const COSIGNING: &str = "witness.example+";
    const LEDGER_KEY: &str = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k";

    #[test]
    fn outside_witnesses_are_named_whole_or_not_at_all() {
        let public = SigningKey::from_seed(&[7; 32]).public();
        let key = VerifierKey { name: "witness.example".into(), kind: KeyKind::Cosignature, key: public }.to_string();
        assert!(key.starts_with(COSIGNING));
        let good =
            format!("{GOOD}[[witness]]\nkey = \"{key}\"\nurl = \"http://127.0.0.1:9/w/\"\n[witnesses]\nneed = 1\notherwise = \"closed\"\n");
        let config = load(&good).unwrap();
        assert_eq!((config.outside_policy().outside_need, config.witness[0].timeout_ms), (1, 5000));
        assert_eq!(load(&good.replace("closed", "open")).unwrap().outside_policy().outside_need, 0);
        assert!(load(&good.replace("url = \"http://127.0.0.1:9/w/\"\n", "")).is_ok());
        for (from, to, names) in [
            ("otherwise = \"closed\"", "", "otherwise"),
            ("need = 1\n", "", "need"),
            ("need = 1", "need = 2", "witnesses.need"),
            ("need = 1", "need = 0", "witnesses.need"),
            ("\"closed\"", "\"maybe\"", "maybe"),
            ("[witnesses]\nneed = 1\notherwise = \"closed\"\n", "", "witnesses"),
            ("http://", "ftp://", "witness.url"),
            ("http://", "https://", "witness.ca"),
            ("http://127.0.0.1:9/w/", "http://", "witness.url"),
            (key.as_str(), LEDGER_KEY, "witness.key"),
            (key.as_str(), "x", "witness.key"),
            ("url =", "timeout_ms = 5\nurl =", "witness.timeout_ms"),
        ] {
            assert_ne!(good.replace(from, to), good);
            let error = load(&good.replace(from, to)).unwrap_err().to_string();
            assert!(error.contains(names), "{error}");
        }
        assert!(load(&format!("{GOOD}[witnesses]\nneed = 1\notherwise = \"open\"\n")).unwrap_err().to_string().contains("witnesses"));
    }

    /// The PEM of some authority.
    fn authority() -> String {
        let name = AuthorityName { trust_domain: "witness.example".into(), unit: "11440300MB0X00019K".into(), name: "Root".into() };
        let validity = Validity { not_before_ms: 0, not_after_ms: 86_400_000 };
        let root = make_root(&SigningKey::from_seed(&[8; 32]), &name, &Serial::new(&[1]).unwrap(), validity).unwrap();
        x509::to_pem(root.der()).unwrap()
    }

    #[test]
    fn a_witness_over_https_is_believed_under_authorities_that_are_named() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("ca.pem"), authority()).unwrap();
        std::fs::write(dir.path().join("empty.pem"), "").unwrap();
        let key = VerifierKey { name: "witness.example".into(), kind: KeyKind::Cosignature, key: SigningKey::from_seed(&[7; 32]).public() };
        let asked = |lines: &str| {
            let path = dir.path().join("node.toml");
            let rule = "[witnesses]\nneed = 1\notherwise = \"open\"\n";
            std::fs::write(&path, format!("{GOOD}[[witness]]\nkey = \"{key}\"\n{lines}\n{rule}")).unwrap();
            Config::load(&path).map_err(|e| e.to_string())
        };
        // Paths are relative to the configuration.
        let config = asked("url = \"https://witness.example/w1\"\nca = \"ca.pem\"").unwrap();
        assert_eq!(config.witness[0].ca, Some(dir.path().join("ca.pem")));
        assert!(asked("url = \"https://[::1]:8443/\"\nca = \"ca.pem\"").is_ok());
        for (lines, names) in [
            ("url = \"https://witness.example/\"", "witness.ca: must name"),
            ("url = \"https://witness.example/\"\nca = \"away.pem\"", "away.pem"),
            ("url = \"https://witness.example/\"\nca = \"empty.pem\"", "empty.pem: there is no authority's certificate"),
            ("url = \"http://witness.example/\"\nca = \"ca.pem\"", "witness.ca: is for a url with https"),
            ("ca = \"ca.pem\"", "witness.ca: is for a url with https"),
            ("url = \"https://a..b/\"\nca = \"ca.pem\"", "witness.url: a..b is no name"),
        ] {
            let error = asked(lines).unwrap_err();
            assert!(error.starts_with("witness.") && error.contains(names), "{error}");
        }
    }
}
