//! Key files, opened when they are first needed: an encrypted one costs a tenth of a second.

use crate::config::{Config, KeySource};
use crate::error::ClientError;
use std::collections::BTreeMap;
use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use vermilion_crypto::{SigningKey, decode_secret, encode_secret};
use vermilion_identity::Signer;
use vermilion_identity::pkcs11::{PIN_VARIABLE, Pin, Pkcs11Signer};
use zeroize::Zeroizing;

/// The environment variable that may hold the passphrase of key files.
pub const PASSPHRASE_VARIABLE: &str = "VERMILION_PASSPHRASE";

/// Where the passphrase of key files comes from: a file, else the environment, else a prompt.
#[derive(Default)]
pub struct Passphrase {
    file: Option<PathBuf>,
    known: OnceLock<Zeroizing<Vec<u8>>>,
}

impl Passphrase {
    /// From this file, if there is one.
    #[must_use]
    pub fn new(file: Option<PathBuf>) -> Self {
        Self { file, known: OnceLock::new() }
    }

    /// The passphrase, asked for at most once.
    pub fn get(&self) -> Result<&[u8], ClientError> {
        if let Some(known) = self.known.get() {
            return Ok(known);
        }
        let found = self.find("Passphrase of the key files: ")?;
        Ok(self.known.get_or_init(|| found))
    }

    /// A passphrase for a new file: a prompt asks twice. `option` is what a file with it would be named by.
    pub fn get_new(&self, option: &str) -> Result<&[u8], ClientError> {
        if self.known.get().is_none() && self.file.is_none() && std::env::var_os(PASSPHRASE_VARIABLE).is_none() {
            if !std::io::stdin().is_terminal() {
                let why = "a new key file is encrypted, and there is no terminal to ask for its passphrase at";
                return Err(ClientError::config(option, format!("{why}: name a file with it, or set {PASSPHRASE_VARIABLE}")));
            }
            let first = prompt("New passphrase: ")?;
            if first.is_empty() || *first != *prompt("Once more: ")? {
                return Err(ClientError::Usage("the passphrase is empty, or the two differ".into()));
            }
            return Ok(self.known.get_or_init(|| first));
        }
        self.get()
    }

    fn find(&self, ask: &str) -> Result<Zeroizing<Vec<u8>>, ClientError> {
        if let Some(path) = &self.file {
            let text = Zeroizing::new(std::fs::read_to_string(path).map_err(|e| ClientError::file(path, e))?);
            return Ok(Zeroizing::new(text.lines().next().unwrap_or_default().as_bytes().to_vec()));
        }
        if let Ok(value) = std::env::var(PASSPHRASE_VARIABLE) {
            return Ok(Zeroizing::new(value.into_bytes()));
        }
        prompt(ask)
    }
}

fn prompt(ask: &str) -> Result<Zeroizing<Vec<u8>>, ClientError> {
    if !std::io::stdin().is_terminal() {
        return Err(ClientError::config(
            "passphrase_file",
            format!("the key is encrypted and there is no terminal to ask at: name a passphrase_file or set {PASSPHRASE_VARIABLE}"),
        ));
    }
    let text = rpassword::prompt_password(ask).map_err(|e| ClientError::Usage(format!("the passphrase cannot be read: {e}")))?;
    Ok(Zeroizing::new(text.into_bytes()))
}

/// Reads a secret of 32 bytes from a PKCS#8 file, encrypted or not.
pub fn read_secret(path: &Path, passphrase: &Passphrase) -> Result<Zeroizing<[u8; 32]>, ClientError> {
    let text = Zeroizing::new(std::fs::read_to_string(path).map_err(|e| ClientError::file(path, e))?);
    let opened = match decode_secret(&text, None) {
        Ok(secret) => Ok(secret),
        Err(_) if text.contains("ENCRYPTED") => decode_secret(&text, Some(passphrase.get().map_err(|e| of_file(path, e))?)),
        Err(error) => Err(error),
    };
    opened.map_err(|e| ClientError::config(path.display().to_string(), e.to_string()))
}

/// What is amiss with the passphrase, said of the file that it was to open.
fn of_file(path: &Path, error: ClientError) -> ClientError {
    match error {
        ClientError::Config { why, .. } => ClientError::config(path.display().to_string(), why),
        other => other,
    }
}

/// Writes a secret as PKCS#8, readable by its owner alone. A file that is there is never overwritten.
pub fn write_secret(path: &Path, secret: &[u8; 32], passphrase: Option<&[u8]>) -> Result<(), ClientError> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let text = encode_secret(secret, passphrase)?;
    let open = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    let mut file = open.map_err(|e| ClientError::file(path, e))?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(|e| {
        // Half a key would stand in the way of the whole one.
        let _ = std::fs::remove_file(path);
        ClientError::file(path, e)
    })
}

/// An operator's key that is here.
pub struct OperatorKey {
    /// USCC of the unit.
    pub unit: String,
    /// The word by which it is known here.
    pub name: String,
    /// The posts that it holds.
    pub posts: Vec<String>,
    second: Option<KeySource>,
    path: PathBuf,
    certificate: Option<PathBuf>,
    opened: OnceLock<SigningKey>,
    second_opened: OnceLock<HeldKey>,
}

/// A key, wherever it is kept.
#[derive(Clone, Debug)]
pub struct HeldKey {
    /// The key.
    pub signer: Arc<dyn Signer>,
    /// How it is kept, as `Authentication.factor` numbers it.
    pub factor: u32,
}

impl HeldKey {
    /// A key from a file.
    #[must_use]
    pub fn of_file(key: SigningKey) -> Self {
        Self { signer: Arc::new(key), factor: KEY_FILE }
    }

    /// Opens a key: a file with the passphrase, a token with its PIN, which comes from where the URI or the
    /// environment says, else from a prompt.
    pub fn open(source: &KeySource, passphrase: &Passphrase) -> Result<Self, ClientError> {
        let uri = match source {
            KeySource::File(path) => return Ok(Self::of_file(SigningKey::from_seed(&*read_secret(path, passphrase)?))),
            KeySource::Token(uri) => uri,
        };
        let told = uri.pin_source().is_some() || std::env::var_os(PIN_VARIABLE).is_some() || !std::io::stdin().is_terminal();
        let opened = match told {
            true => Pkcs11Signer::open(uri),
            false => Pin::new(&String::from_utf8_lossy(&prompt("PIN of the token: ")?)).and_then(|pin| Pkcs11Signer::open_with(uri, &pin)),
        };
        let signer = opened.map_err(|e| ClientError::config(uri.to_string(), e.to_string()))?;
        Ok(Self { signer: Arc::new(signer), factor: TOKEN })
    }
}

/// `Authentication.factor` of a key file.
pub const KEY_FILE: u32 = 1;
/// `Authentication.factor` of a key on a token.
const TOKEN: u32 = 3;

/// Every key and secret that the configuration names.
pub struct Keyring {
    passphrase: Passphrase,
    operators: Vec<OperatorKey>,
    secrets: BTreeMap<String, PathBuf>,
    accepts_expired_until_ms: u64,
}

impl Keyring {
    /// The keys that a configuration names. None is opened yet.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        let operator = |o: &crate::config::OperatorEntry| OperatorKey {
            unit: o.unit.clone(),
            name: o.name.clone(),
            posts: o.posts.clone(),
            second: o.second_key.clone(),
            path: o.key.clone(),
            certificate: o.certificate.clone(),
            opened: OnceLock::new(),
            second_opened: OnceLock::new(),
        };
        Self {
            passphrase: Passphrase::new(config.passphrase_file.clone()),
            operators: config.operators.iter().map(operator).collect(),
            secrets: config.units.iter().map(|u| (u.uscc.clone(), u.secret.clone())).collect(),
            accepts_expired_until_ms: config.accept_expired_until_ms,
        }
    }

    /// Until when nodes' expired certificates are taken, in Unix milliseconds; 0: never.
    #[must_use]
    pub fn accepts_expired_until_ms(&self) -> u64 {
        self.accepts_expired_until_ms
    }

    /// The operators, in the configuration's order.
    #[must_use]
    pub fn operators(&self) -> &[OperatorKey] {
        &self.operators
    }

    /// Opens an operator's key.
    pub fn open(&self, operator: &OperatorKey) -> Result<SigningKey, ClientError> {
        if let Some(key) = operator.opened.get() {
            return Ok(key.clone());
        }
        let key = SigningKey::from_seed(&*read_secret(&operator.path, &self.passphrase)?);
        Ok(operator.opened.get_or_init(|| key).clone())
    }

    /// Opens the second key of an operator's person, if one is here.
    pub fn open_second(&self, operator: &OperatorKey) -> Result<Option<HeldKey>, ClientError> {
        let Some(source) = &operator.second else { return Ok(None) };
        if let Some(key) = operator.second_opened.get() {
            return Ok(Some(key.clone()));
        }
        let key = HeldKey::open(source, &self.passphrase)?;
        Ok(Some(operator.second_opened.get_or_init(|| key).clone()))
    }

    /// The certificates of a unit's operators that are here, with their keys; of every unit if none is
    /// named. None is read yet.
    pub fn certified<'a>(&'a self, unit: Option<&'a str>) -> impl Iterator<Item = (&'a OperatorKey, &'a Path)> {
        let of_unit = self.operators.iter().filter(move |o| unit.is_none_or(|unit| o.unit == unit));
        of_unit.filter_map(|o| Some((o, o.certificate.as_deref()?)))
    }

    /// Opens a unit's secret.
    pub fn unit_secret(&self, uscc: &str) -> Result<Zeroizing<[u8; 32]>, ClientError> {
        let path = self.secrets.get(uscc).ok_or_else(|| ClientError::config("units", format!("there is no secret of unit {uscc}")))?;
        read_secret(path, &self.passphrase)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn secrets_come_back_and_are_not_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let (plain, sealed, phrase) = (folder.path().join("a"), folder.path().join("b"), folder.path().join("p"));
        std::fs::write(&phrase, "open sesame\nsecond line\n").unwrap();
        write_secret(&plain, &[7; 32], None).unwrap();
        write_secret(&sealed, &[8; 32], Some(b"open sesame")).unwrap();
        let passphrase = Passphrase::new(Some(phrase));
        assert_eq!(*read_secret(&plain, &passphrase).unwrap(), [7; 32]);
        assert_eq!(*read_secret(&sealed, &passphrase).unwrap(), [8; 32]);
        assert!(write_secret(&plain, &[9; 32], None).is_err());
        let wrong = folder.path().join("w");
        std::fs::write(&wrong, "close\n").unwrap();
        let error = read_secret(&sealed, &Passphrase::new(Some(wrong))).unwrap_err();
        assert!(error.exit() == crate::Exit::Usage && error.to_string().contains(&sealed.display().to_string()), "{error}");
        std::fs::write(&plain, "no key").unwrap();
        assert!(read_secret(&plain, &passphrase).is_err());
    }

    #[test]
    fn without_a_terminal_a_new_files_passphrase_is_asked_for_by_the_option_that_names_one() {
        if std::io::stdin().is_terminal() || std::env::var_os(PASSPHRASE_VARIABLE).is_some() {
            return;
        }
        let said = Passphrase::default().get_new("--safe-passphrase-file").unwrap_err().to_string();
        assert!(said.starts_with("--safe-passphrase-file: a new key file is encrypted"), "{said}");
    }
}
