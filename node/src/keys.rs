//! A node's keys, read from their files.

use crate::config::{Config, ConfigError, KeySource, Keys};
use std::io::{IsTerminal as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use vermilion_crypto::{LookupKey, SigningKey, VaultSecretKey, decode_secret, encode_secret, random};
use vermilion_identity::pkcs11::Pkcs11Signer;
use vermilion_identity::{Signer, x509};
use zeroize::Zeroizing;

/// The environment variable that may hold the passphrase of key files.
pub const PASSPHRASE_VARIABLE: &str = "VERMILION_PASSPHRASE";
/// The name of the systemd credential that may hold it.
const PASSPHRASE_CREDENTIAL: &str = "vermilion-passphrase";

/// A node's TLS key and certificate.
#[derive(Debug)]
pub struct TlsKeys {
    /// The key.
    pub key: Arc<dyn Signer>,
    /// The certificate, DER.
    pub leaf: Vec<u8>,
    /// The issuing certificate above it, DER, if the file has it; else the one of the genesis is.
    pub above: Option<Vec<u8>>,
}

/// The keys of one node.
pub struct NodeKeys {
    /// Signs blocks.
    pub node: SigningKey,
    /// Cosigns checkpoints.
    pub cosigning: SigningKey,
    /// Sign checkpoints, each in its time; on the city's nodes.
    pub ledger: Vec<SigningKey>,
    /// Makes keyed tags; none of a node that has not received it yet.
    pub lookup: Option<LookupKey>,
    /// Vault keys that this node may open.
    pub vault: Vec<VaultSecretKey>,
    /// What TLS shows, where the configuration has it.
    pub tls: Option<TlsKeys>,
    /// The authority's issuing key.
    pub issuing: Option<SigningKey>,
}

impl NodeKeys {
    /// Reads every key that the configuration names, but those of TLS: a node that joins has none yet.
    pub fn load(config: &Config) -> Result<Self, ConfigError> {
        let passphrase = passphrase(config)?;
        let secret = |key: &'static str, path: &Path| secret(path, passphrase.as_ref()).map_err(|e| e.of(key));
        let Files { lookup, ledger, vault } = Files::of(&config.keys).map_err(|e| e.of("keys.received"))?;
        Ok(Self {
            node: SigningKey::from_seed(&*secret("keys.node", &config.keys.node)?),
            cosigning: SigningKey::from_seed(&*secret("keys.cosigning", &config.keys.cosigning)?),
            ledger: ledger.iter().map(|p| Ok(SigningKey::from_seed(&*secret("keys.ledger", p)?))).collect::<Result<_, ConfigError>>()?,
            lookup: lookup.map(|path| secret("keys.lookup", &path)).transpose()?.map(|s| LookupKey::from_bytes(*s)),
            vault: vault.iter().map(|p| Ok(VaultSecretKey::from_bytes(*secret("keys.vault", p)?))).collect::<Result<_, ConfigError>>()?,
            issuing: match config.tls.as_ref().and_then(|tls| tls.issuing_key.as_deref()) {
                None => None,
                Some(path) => Some(SigningKey::from_seed(&*secret("tls.issuing_key", path).map_err(|e| taken_home(path, e))?)),
            },
            tls: None,
        })
    }
}

impl TlsKeys {
    /// Reads what the configuration names, if it has TLS.
    pub fn load(config: &Config) -> Result<Option<Self>, ConfigError> {
        let Some(tls) = &config.tls else { return Ok(None) };
        let key = Self::open(config, &tls.key)?;
        let unreadable = |why: String| ConfigError::Parse { path: tls.certificate.clone(), why }.of("tls.certificate");
        let text = read(&tls.certificate).map_err(|e| taken_home(&tls.certificate, e.of("tls.certificate")))?;
        let mut chain = x509::chain_from_pem(&text).map_err(|e| unreadable(e.to_string()))?.into_iter();
        let leaf = chain.next().ok_or_else(|| unreadable("it is empty".into()))?;
        Ok(Some(Self { key, leaf, above: chain.next() }))
    }

    fn open(config: &Config, source: &KeySource) -> Result<Arc<dyn Signer>, ConfigError> {
        match source {
            KeySource::File(path) => Ok(Arc::new(SigningKey::from_seed(&*read_own(config, path).map_err(|e| e.of("tls.key"))?))),
            KeySource::Token(uri) => match Pkcs11Signer::open(uri) {
                Ok(signer) => Ok(Arc::new(signer)),
                Err(error) => Err(ConfigError::Value { key: "tls.key", why: error.to_string() }),
            },
        }
    }

    /// The TLS key of a node that joins: a file is made here if it is not there yet, encrypted like the
    /// others. A token's key was made on the token.
    pub fn key_for(config: &Config, source: &KeySource) -> Result<Arc<dyn Signer>, ConfigError> {
        if let KeySource::File(path) = source {
            own_or_new(config, path)?;
        }
        Self::open(config, source)
    }
}

/// The secret in a file of this node's own; a new one is made and written, encrypted like the others, where there is none.
pub(crate) fn own_or_new(config: &Config, path: &Path) -> Result<Zeroizing<[u8; 32]>, ConfigError> {
    if path.exists() {
        return read_own(config, path);
    }
    // Of any use: each of our keys is made of 32 bytes.
    let made = random().map(Zeroizing::new).map_err(|e| ConfigError::Parse { path: path.into(), why: e.to_string() })?;
    write_new(config, path, &made)?;
    Ok(made)
}

/// The secret in a file of this node's own.
pub(crate) fn read_own(config: &Config, path: &Path) -> Result<Zeroizing<[u8; 32]>, ConfigError> {
    secret(path, passphrase(config)?.as_ref())
}

/// Where the keys lie that a node brings or has received.
struct Files {
    lookup: Option<PathBuf>,
    ledger: Vec<PathBuf>,
    vault: Vec<PathBuf>,
}

impl Files {
    /// What the configuration names, and what is in its folder of received keys.
    fn of(keys: &Keys) -> Result<Self, ConfigError> {
        let mut out = Self { lookup: keys.lookup.clone(), ledger: keys.ledger.clone(), vault: keys.vault.clone() };
        let Some(dir) = &keys.received else { return Ok(out) };
        let received = |name: &str| Some(dir.join(name)).filter(|path| path.exists());
        out.lookup = out.lookup.or_else(|| received("lookup.pem"));
        if dir.exists() {
            let unreadable = |source| ConfigError::Read { path: dir.clone(), source };
            for entry in std::fs::read_dir(dir).map_err(unreadable)? {
                let path = entry.map_err(unreadable)?.path();
                let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
                if name.starts_with("vault-") && name.ends_with(".pem") {
                    out.vault.push(path);
                } else if name == "ledger.pem" || name.starts_with("ledger-") && name.ends_with(".pem") {
                    out.ledger.push(path);
                }
            }
        }
        Ok(out)
    }
}

/// Whether keys that are made or received here can be written, so that nobody hands out what is then lost.
pub fn can_write(config: &Config) -> Result<(), ConfigError> {
    for_new(config).map(|_| ())
}

/// The passphrase for a new file, never an empty one; none where keys are kept in the clear.
fn for_new(config: &Config) -> Result<Option<Zeroizing<Vec<u8>>>, ConfigError> {
    match passphrase(config)? {
        Some(told) if told.is_empty() => {
            let which = passphrase_file(config).map_or(PASSPHRASE_VARIABLE.into(), |path| format!("the first line of {}", path.display()));
            let why = format!("{which} is empty: a new key file is not encrypted under an empty passphrase");
            Err(ConfigError::Value { key: "keys.passphrase_file", why })
        }
        None if !config.keys.plain => asked("New passphrase of this node's key files: ", true).map(Some),
        known => Ok(known),
    }
}

/// Writes a new key's file, encrypted like the others, readable by its owner alone, whole or not at all.
pub(crate) fn write_new(config: &Config, path: &Path, secret: &[u8; 32]) -> Result<(), ConfigError> {
    let passphrase = for_new(config)?;
    let text = encode_secret(secret, passphrase.as_ref().map(|p| p.as_slice()))
        .map_err(|e| ConfigError::Parse { path: path.into(), why: e.to_string() })?;
    write_whole(path, text.as_bytes())
}

/// Writes a file that its owner alone reads, whole or not at all.
pub(crate) fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), ConfigError> {
    let new = path.with_extension("new");
    // Of a bare name the folder is the current one.
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let write = || {
        let mut file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&new, path)?;
        std::fs::File::open(folder)?.sync_all()
    };
    write().map_err(|source| ConfigError::Read { path: path.into(), source })
}

/// The file with the passphrase of the key files: the one that the configuration names, else systemd's credential.
fn passphrase_file(config: &Config) -> Option<PathBuf> {
    let credential = || Some(PathBuf::from(std::env::var_os("CREDENTIALS_DIRECTORY")?).join(PASSPHRASE_CREDENTIAL));
    config.keys.passphrase_file.clone().or_else(|| credential().filter(|path| path.exists()))
}

/// The passphrase of the key files: from a file, else from the environment.
fn passphrase(config: &Config) -> Result<Option<Zeroizing<Vec<u8>>>, ConfigError> {
    Ok(match passphrase_file(config) {
        Some(path) => {
            let text = Zeroizing::new(read(&path).map_err(|e| e.of("keys.passphrase_file"))?);
            Some(Zeroizing::new(text.lines().next().unwrap_or_default().as_bytes().to_vec()))
        }
        None => said(std::env::var(PASSPHRASE_VARIABLE).ok(), config.keys.plain),
    })
}

/// What the environment's variable says. An empty one says nothing where keys are kept in the clear: so an unset variable comes out
/// of many a service's description.
fn said(variable: Option<String>, plain: bool) -> Option<Zeroizing<Vec<u8>>> {
    variable.filter(|text| !(plain && text.is_empty())).map(|text| Zeroizing::new(text.into_bytes()))
}

/// A passphrase that nothing names, asked for at the terminal, once a run.
fn asked(prompt: &str, new: bool) -> Result<Zeroizing<Vec<u8>>, ConfigError> {
    static KNOWN: OnceLock<Zeroizing<Vec<u8>>> = OnceLock::new();
    let wrong = |why: String| ConfigError::Value { key: "keys.passphrase_file", why };
    if let Some(known) = KNOWN.get() {
        return Ok(known.clone());
    }
    if !std::io::stdin().is_terminal() {
        return Err(wrong(format!(
            "there is no passphrase for the key files, and no terminal to ask at: name a file, set {PASSPHRASE_VARIABLE}, or say plain = true \
             to keep new keys in the clear"
        )));
    }
    let ask = |prompt: &str| rpassword::prompt_password(prompt).map(Zeroizing::new).map_err(|e| wrong(e.to_string()));
    let first = ask(prompt)?;
    if first.is_empty() || (new && *first != *ask("Once more: ")?) {
        return Err(wrong("the passphrase is empty, or the two differ".into()));
    }
    Ok(KNOWN.get_or_init(|| Zeroizing::new(first.as_bytes().to_vec())).clone())
}

/// What is amiss with a file that a founder does not make and a node that joins does not have yet.
fn taken_home(path: &Path, error: ConfigError) -> ConfigError {
    match error {
        ConfigError::Value { key, why } if !path.exists() => {
            let how = "a founder takes it home with `vermiliond receive`, a node that joins later gets it by `vermiliond join`";
            ConfigError::Value { key, why: format!("{why}; {how}") }
        }
        other => other,
    }
}

fn secret(path: &Path, passphrase: Option<&Zeroizing<Vec<u8>>>) -> Result<Zeroizing<[u8; 32]>, ConfigError> {
    let text = Zeroizing::new(read(path)?);
    let prompted = match passphrase {
        None if text.contains("ENCRYPTED") => Some(asked("Passphrase of this node's key files: ", false)?),
        _ => None,
    };
    let passphrase = passphrase.or(prompted.as_ref());
    decode_secret(&text, passphrase.map(|p| p.as_slice())).map_err(|e| ConfigError::Parse { path: path.into(), why: e.to_string() })
}

fn read(path: &Path) -> Result<String, ConfigError> {
    std::fs::read_to_string(path).map_err(|source| ConfigError::Read { path: path.into(), source })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_variable_says_nothing_where_keys_are_kept_in_the_clear() {
        let said = |text: &str, plain| said(Some(text.into()), plain).map(|told| told.to_vec());
        assert_eq!((said("", true), said("", false)), (None, Some(Vec::new())));
        assert_eq!((said("word", true), said("word", false)), (Some(b"word".to_vec()), Some(b"word".to_vec())));
    }

    #[test]
    fn no_new_file_is_encrypted_under_an_empty_passphrase() {
        let folder = tempfile::tempdir().unwrap();
        let (path, phrase, made) = (folder.path().join("node.toml"), folder.path().join("phrase"), folder.path().join("made.pem"));
        for plain in ["", "plain = true\n"] {
            let text = format!(
                "name = \"city\"\ndata_dir = \"data\"\ngenesis = \"genesis.bin\"\ngrpc = \"127.0.0.1:7100\"\nhttp = \"127.0.0.1:7101\"\n\
                 [keys]\nnode = \"node.pem\"\ncosigning = \"cosigning.pem\"\nreceived = \"received\"\npassphrase_file = \"phrase\"\n{plain}"
            );
            std::fs::write(&path, text).unwrap();
            let config = Config::load(&path).unwrap();
            for text in ["", "\nsecond line\n"] {
                std::fs::write(&phrase, text).unwrap();
                assert!(write_new(&config, &made, &[7; 32]).is_err() && !made.exists());
                let said = can_write(&config).unwrap_err().to_string();
                assert!(said.contains("keys.passphrase_file") && said.contains("phrase is empty"), "{said}");
            }
            std::fs::write(&phrase, "word\n").unwrap();
            write_new(&config, &made, &[7; 32]).unwrap();
            assert_eq!(*read_own(&config, &made).unwrap(), [7; 32]);
            std::fs::remove_file(&made).unwrap();
        }
    }
}
