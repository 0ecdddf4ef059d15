//! Key files, opened when they are first needed: an encrypted one costs a tenth of a second.

use crate::config::{Config, KeySource, OperatorEntry, UnitEntry};
use crate::error::ClientError;
use std::collections::BTreeMap;
use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use vermilion_crypto::{CryptoError, PublicKey, SigningKey, decode_secret, encode_secret};
use vermilion_identity::Signer;
use vermilion_identity::pkcs11::{PIN_VARIABLE, Pin, Pkcs11Signer};
use zeroize::Zeroizing;

/// The environment variable that may hold the passphrase of key files.
pub const PASSPHRASE_VARIABLE: &str = "VERMILION_PASSPHRASE";

/// Asks at the terminal; nothing where there is none.
pub(crate) type Ask = Box<dyn Fn(&str) -> Option<Result<Zeroizing<Vec<u8>>, ClientError>> + Send + Sync>;

/// How often a passphrase is asked for again that does not open its file.
const TRIES: usize = 3;

/// Where the passphrases of key files come from: a file, else the environment, else a prompt that names the key file. Keys of
/// several people may lie beside each other, each under a passphrase of its own.
pub struct Passphrase {
    file: Option<PathBuf>,
    asked: Arc<Asked>,
}

/// What the environment said, what was typed in this run, and how it is asked for.
struct Asked {
    variable: Option<Zeroizing<Vec<u8>>>,
    ask: Ask,
    known: Mutex<Vec<Zeroizing<Vec<u8>>>>,
}

impl Default for Passphrase {
    fn default() -> Self {
        Self::new(None)
    }
}

impl Passphrase {
    /// From this file, if there is one.
    #[must_use]
    pub fn new(file: Option<PathBuf>) -> Self {
        let variable = std::env::var(PASSPHRASE_VARIABLE).ok().map(|value| Zeroizing::new(value.into_bytes()));
        Self::asking(file, variable, Box::new(at_terminal))
    }

    pub(crate) fn asking(file: Option<PathBuf>, variable: Option<Zeroizing<Vec<u8>>>, ask: Ask) -> Self {
        Self { file, asked: Arc::new(Asked { variable, ask, known: Mutex::default() }) }
    }

    /// The same from a file of its own, if there is one: what was typed is known to both.
    #[must_use]
    pub fn or_file(&self, own: Option<PathBuf>) -> Self {
        Self { file: own.or_else(|| self.file.clone()), asked: Arc::clone(&self.asked) }
    }

    /// A passphrase for a new file, never an empty one: a prompt asks twice. `option` is what a file with it would be named by.
    pub fn get_new(&self, option: &str) -> Result<Zeroizing<Vec<u8>>, ClientError> {
        let mut known = self.known();
        match (self.told()?, &self.file) {
            (Some(told), _) if !told.is_empty() => return Ok(told),
            (Some(_), Some(file)) => {
                let why =
                    format!("the first line of {} is empty: a new key file is not encrypted under an empty passphrase", file.display());
                return Err(ClientError::config(option, why));
            }
            (Some(_), None) => {
                return Err(ClientError::config(
                    PASSPHRASE_VARIABLE,
                    "it is empty: a new key file is not encrypted under an empty passphrase",
                ));
            }
            (None, _) => {}
        }
        let ask = |what: &str| {
            let why = "a new key file is encrypted, and there is no terminal to ask for its passphrase at";
            let absent = || Err(ClientError::config(option, format!("{why}: name a file with it, or set {PASSPHRASE_VARIABLE}")));
            (self.asked.ask)(what).unwrap_or_else(absent)
        };
        let first = ask("New passphrase: ")?;
        if first.is_empty() || *first != *ask("Once more: ")? {
            return Err(ClientError::Usage("the passphrase is empty, or the two differ".into()));
        }
        known.push(first.clone());
        Ok(first)
    }

    /// Opens an encrypted key file: with what it was told, with what opened others, at last with what is typed for it. Held
    /// meanwhile, so that nobody is asked twice at once.
    fn open(&self, path: &Path, text: &str) -> Result<Zeroizing<[u8; 32]>, ClientError> {
        let mut known = self.known();
        let told = self.told()?;
        let mut tried = false;
        for phrase in told.iter().chain(known.iter()) {
            tried = true;
            if let Ok(secret) = decode_secret(text, Some(phrase.as_slice())) {
                return Ok(secret);
            }
        }
        let wrong = || ClientError::config(path.display().to_string(), CryptoError::BadKeyFile.to_string());
        for _ in 0..TRIES {
            let typed = match (self.asked.ask)(&format!("Passphrase of {}: ", path.display())) {
                Some(typed) => typed?,
                None if tried => return Err(wrong()),
                None => return Err(of_file(path, no_terminal())),
            };
            if let Ok(secret) = decode_secret(text, Some(typed.as_slice())) {
                known.push(typed);
                return Ok(secret);
            }
        }
        Err(wrong())
    }

    fn known(&self) -> MutexGuard<'_, Vec<Zeroizing<Vec<u8>>>> {
        self.asked.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a file or the environment says.
    fn told(&self) -> Result<Option<Zeroizing<Vec<u8>>>, ClientError> {
        if let Some(path) = &self.file {
            let unreadable = |e| ClientError::config("passphrase_file", ClientError::file(path, e).to_string());
            let text = Zeroizing::new(std::fs::read_to_string(path).map_err(unreadable)?);
            return Ok(Some(Zeroizing::new(text.lines().next().unwrap_or_default().as_bytes().to_vec())));
        }
        Ok(self.asked.variable.clone())
    }

    fn ask(&self, what: &str) -> Result<Zeroizing<Vec<u8>>, ClientError> {
        (self.asked.ask)(what).unwrap_or_else(|| Err(no_terminal()))
    }
}

fn no_terminal() -> ClientError {
    ClientError::config(
        "passphrase_file",
        format!("the key is encrypted and there is no terminal to ask at: name a passphrase_file or set {PASSPHRASE_VARIABLE}"),
    )
}

fn at_terminal(ask: &str) -> Option<Result<Zeroizing<Vec<u8>>, ClientError>> {
    let unreadable = |e: std::io::Error| ClientError::Usage(format!("the passphrase cannot be read: {e}"));
    let typed = || rpassword::prompt_password(ask).map(|text| Zeroizing::new(text.into_bytes())).map_err(unreadable);
    std::io::stdin().is_terminal().then(typed)
}

/// Reads a secret of 32 bytes from a PKCS#8 file, encrypted or not.
pub fn read_secret(path: &Path, passphrase: &Passphrase) -> Result<Zeroizing<[u8; 32]>, ClientError> {
    let text = Zeroizing::new(std::fs::read_to_string(path).map_err(|e| ClientError::file(path, e))?);
    match decode_secret(&text, None) {
        Ok(secret) => Ok(secret),
        Err(_) if text.contains("ENCRYPTED") => passphrase.open(path, &text),
        Err(error) => Err(ClientError::config(path.display().to_string(), error.to_string())),
    }
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
    passphrase: Passphrase,
    certificate: Option<PathBuf>,
    opened: OnceLock<SigningKey>,
    second_opened: OnceLock<HeldKey>,
    passed_over: AtomicBool,
    out_of_force: AtomicBool,
    certificate_refused: AtomicBool,
}

impl OperatorKey {
    /// Its file.
    #[must_use]
    pub fn file(&self) -> &Path {
        &self.path
    }

    /// Notes that nodes answer the key nothing: others of its unit ask first from now on. It may sign all the same, as where only
    /// its certificate's time is over.
    pub fn pass_over(&self) {
        self.passed_over.store(true, Ordering::Relaxed);
    }

    /// Whether others ask first.
    #[must_use]
    pub fn is_passed_over(&self) -> bool {
        self.passed_over.load(Ordering::Relaxed) || !self.is_in_force()
    }

    /// Notes that by the ledger's list of operators the key is revoked, suspended or not in its dates: it signs nothing.
    pub fn put_out_of_force(&self) {
        self.out_of_force.store(true, Ordering::Relaxed);
    }

    /// Whether it may sign, as far as is known.
    #[must_use]
    pub fn is_in_force(&self) -> bool {
        !self.out_of_force.load(Ordering::Relaxed)
    }

    /// Notes that nodes refuse its certificate: others of its unit are shown from now on. The key may sign all the same.
    pub(crate) fn certificate_is_refused(&self) {
        self.certificate_refused.store(true, Ordering::Relaxed);
    }

    /// Takes that back.
    pub(crate) fn certificate_may_be_shown(&self) {
        self.certificate_refused.store(false, Ordering::Relaxed);
    }

    /// Whether its certificate may be shown, as far as is known.
    pub(crate) fn may_show(&self) -> bool {
        !self.is_passed_over() && !self.certificate_refused.load(Ordering::Relaxed)
    }
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
            false => Pin::new(&String::from_utf8_lossy(&passphrase.ask("PIN of the token: ")?))
                .and_then(|pin| Pkcs11Signer::open_with(uri, &pin)),
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
    operators: Vec<OperatorKey>,
    secrets: BTreeMap<String, (PathBuf, Passphrase)>,
    accepts_expired_until_ms: u64,
}

impl Keyring {
    /// The keys that a configuration names. None is opened yet.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        let passphrase = Passphrase::new(config.passphrase_file.clone());
        let operator = |o: &OperatorEntry| OperatorKey {
            unit: o.unit.clone(),
            name: o.name.clone(),
            posts: o.posts.clone(),
            second: o.second_key.clone(),
            path: o.key.clone(),
            passphrase: passphrase.or_file(o.passphrase_file.clone()),
            certificate: o.certificate.clone(),
            opened: OnceLock::new(),
            second_opened: OnceLock::new(),
            passed_over: AtomicBool::new(false),
            out_of_force: AtomicBool::new(false),
            certificate_refused: AtomicBool::new(false),
        };
        let secret = |u: &UnitEntry| (u.uscc.clone(), (u.secret.clone(), passphrase.or_file(u.passphrase_file.clone())));
        Self {
            operators: config.operators.iter().map(operator).collect(),
            secrets: config.units.iter().map(secret).collect(),
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

    /// The operator whose key, opened before, is this one.
    #[must_use]
    pub fn holder(&self, key: &PublicKey) -> Option<&OperatorKey> {
        self.operators.iter().find(|operator| operator.opened.get().is_some_and(|opened| opened.public() == *key))
    }

    /// Opens an operator's key.
    pub fn open(&self, operator: &OperatorKey) -> Result<SigningKey, ClientError> {
        if let Some(key) = operator.opened.get() {
            return Ok(key.clone());
        }
        let key = SigningKey::from_seed(&*read_secret(&operator.path, &operator.passphrase)?);
        Ok(operator.opened.get_or_init(|| key).clone())
    }

    /// Opens the second key of an operator's person, if one is here.
    pub fn open_second(&self, operator: &OperatorKey) -> Result<Option<HeldKey>, ClientError> {
        let Some(source) = &operator.second else { return Ok(None) };
        if let Some(key) = operator.second_opened.get() {
            return Ok(Some(key.clone()));
        }
        let key = HeldKey::open(source, &operator.passphrase)?;
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
        let missing = || {
            let next = "make one, `vermilion operator keygen --out secret.pem`, and name it under [[units]]";
            ClientError::config("units", format!("there is no secret of unit {uscc}: {next}"))
        };
        let (path, passphrase) = self.secrets.get(uscc).ok_or_else(missing)?;
        read_secret(path, passphrase)
    }
}

/// A terminal at which somebody answers with these, in turn, and what was asked.
#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub(crate) fn terminal(answers: &[&str]) -> (Ask, Arc<Mutex<Vec<String>>>) {
    let asked: Arc<Mutex<Vec<String>>> = Arc::default();
    let (seen, answers) = (Arc::clone(&asked), answers.iter().map(|a| a.as_bytes().to_vec()).collect::<Vec<_>>());
    let ask = move |what: &str| {
        let mut seen = seen.lock().unwrap();
        seen.push(what.to_owned());
        answers.get(seen.len() - 1).map(|answer| Ok::<_, ClientError>(Zeroizing::new(answer.clone())))
    };
    (Box::new(ask), asked)
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
        let error = read_secret(&sealed, &Passphrase::asking(Some(wrong), None, Box::new(|_| None))).unwrap_err();
        assert!(error.exit() == crate::Exit::Usage && error.to_string().contains(&sealed.display().to_string()), "{error}");
        std::fs::write(&plain, "no key").unwrap();
        assert!(read_secret(&plain, &passphrase).is_err());
    }

    #[test]
    fn without_a_terminal_a_new_files_passphrase_is_asked_for_by_the_option_that_names_one() {
        let said = Passphrase::asking(None, None, Box::new(|_| None)).get_new("--safe-passphrase-file").unwrap_err().to_string();
        assert!(said.starts_with("--safe-passphrase-file: a new key file is encrypted"), "{said}");
    }

    #[test]
    fn no_new_file_is_encrypted_under_an_empty_passphrase() {
        let folder = tempfile::tempdir().unwrap();
        let empty = folder.path().join("empty");
        let told = |text: &str| Some(Zeroizing::new(text.as_bytes().to_vec()));
        for text in ["", "\n", "\nsecond line\n"] {
            std::fs::write(&empty, text).unwrap();
            // What the file says counts, and what it does not say is not looked for elsewhere.
            let passphrase = Passphrase::asking(Some(empty.clone()), told("word"), Box::new(|_| None));
            let said = passphrase.get_new("--passphrase-file").unwrap_err().to_string();
            assert!(said.starts_with("--passphrase-file: the first line of ") && said.contains("empty"), "{said}");
        }
        let said = Passphrase::asking(None, told(""), Box::new(|_| None)).get_new("--passphrase-file").unwrap_err().to_string();
        assert!(said.starts_with("VERMILION_PASSPHRASE: it is empty"), "{said}");
        assert_eq!(Passphrase::asking(None, told("word"), Box::new(|_| None)).get_new("--passphrase-file").unwrap(), told("word").unwrap());
        for answers in [["", ""], ["one", "other"]] {
            assert!(Passphrase::asking(None, None, terminal(&answers).0).get_new("--passphrase-file").is_err());
        }
        // What was encrypted so before can still be opened.
        let old = folder.path().join("old");
        write_secret(&old, &[5; 32], Some(b"")).unwrap();
        assert_eq!(*read_secret(&old, &Passphrase::asking(Some(empty), None, Box::new(|_| None))).unwrap(), [5; 32]);
    }

    #[test]
    fn keys_of_several_people_each_open_under_their_own_passphrase() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| folder.path().join(name);
        for (name, byte, phrase) in [("approve", 1, "first"), ("operate", 2, "second"), ("verify", 3, "first"), ("admin", 4, "third")] {
            write_secret(&file(name), &[byte; 32], Some(phrase.as_bytes())).unwrap();
        }
        // Each is asked for by its file's name, again where it was mistyped, and not where a known one opens it.
        let (ask, asked) = terminal(&["first", "mistyped", "second"]);
        let passphrase = Passphrase::asking(None, None, ask);
        for (name, byte) in [("approve", 1), ("operate", 2), ("verify", 3)] {
            assert_eq!(*read_secret(&file(name), &passphrase).unwrap(), [byte; 32]);
        }
        let asked = asked.lock().unwrap().clone();
        assert_eq!(asked.iter().map(|a| a.contains("operate: ")).collect::<Vec<_>>(), [false, true, true], "{asked:?}");

        // With no terminal a key's own file opens it, beside the one for all.
        std::fs::write(file("all"), "first\n").unwrap();
        std::fs::write(file("own"), "third\n").unwrap();
        let shared = Passphrase::asking(Some(file("all")), None, Box::new(|_| None));
        assert_eq!(*read_secret(&file("verify"), &shared.or_file(None)).unwrap(), [3; 32]);
        assert!(read_secret(&file("admin"), &shared).is_err());
        assert_eq!(*read_secret(&file("admin"), &shared.or_file(Some(file("own")))).unwrap(), [4; 32]);
        let error = read_secret(&file("admin"), &shared.or_file(Some(file("away")))).unwrap_err().to_string();
        assert!(error.contains("passphrase_file") && error.contains("away"), "{error}");
        // Who mistypes it every time is told which file it was.
        let (ask, asked) = terminal(&["x"; 9]);
        let error = read_secret(&file("admin"), &Passphrase::asking(None, None, ask)).unwrap_err().to_string();
        assert!(error.contains("admin") && asked.lock().unwrap().len() == TRIES, "{error}");
    }
}
