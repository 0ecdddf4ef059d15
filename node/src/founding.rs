//! Founding, at a node: what it says of itself before there is a ledger, and what it takes home from the table at which the
//! founders met (`vermilion founding make`). Its keys are made here and never leave; what it is to hold of the ledger's
//! comes sealed to a key that it made for this founding, and is kept under its own passphrase.

use crate::config::{Config, ConfigError, Tls};
use crate::enrolment::{applicant, handout};
use crate::keys::{TlsKeys, own_or_new, read_own, write_whole};
use crate::start;
use std::path::{Path, PathBuf};
use vermilion_crypto::{Digest, LookupKey, PublicKey, SigningKey, VaultSecretKey};
use vermilion_identity::founding::{FOUNDING_VERSION, Founder};
use vermilion_identity::sealed_key::{Addressee, ISSUING, LEDGER, LOOKUP, Secret, VAULT};
use vermilion_identity::{Kind, Signer};
use vermilion_proto::{FoundingNode, FoundingPackage, Genesis, GenesisNode, SealedKey, canonical};
use vermilion_registry::address;
use vermilion_registry::codes::division;
use vermilion_registry::founding::Founding;
use vermilion_registry::{ledger_id, pinned};

/// The file, among the received keys, of the key to which they are sealed. It goes when they are here.
const RECIPIENT: &str = "recipient.pem";

/// Where others reach a node.
#[derive(Debug, Clone)]
pub struct Addresses {
    /// Its gRPC listener.
    pub peer: String,
    /// Its REST listener.
    pub rest: String,
    /// Its listener for applicants; empty of a node that issues no certificates.
    pub enrolment: String,
}

impl Addresses {
    /// Each is one, at which others can reach the node.
    fn check(&self) -> Result<(), ConfigError> {
        let enrolment = Some(&self.enrolment).filter(|address| !address.is_empty());
        let given = [("--address", Some(&self.peer)), ("--rest", Some(&self.rest)), ("--enrolment", enrolment)];
        for (key, text) in given.into_iter().filter_map(|(key, text)| Some((key, text?))) {
            address::check(text).map_err(|unfit| value(key, format!("{text:?} {unfit}")))?;
        }
        Ok(())
    }
}

/// What a node brought home.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// Its Raft id.
    pub raft_id: u64,
    /// The uses of the keys that it holds now.
    pub uses: Vec<String>,
    /// Whether they were here already. The key that opens a package is gone then: whose the package was cannot be told.
    pub before: bool,
}

fn value(key: &'static str, why: impl Into<String>) -> ConfigError {
    ConfigError::Value { key, why: why.into() }
}

fn needs(config: &Config) -> Result<(&Path, &Tls), ConfigError> {
    let received = config.keys.received.as_deref();
    let received = received.ok_or_else(|| value("keys.received", "name the folder for the keys that this node is to hold"))?;
    let tls = config.tls.as_ref().ok_or_else(|| value("tls", "name the files of this node's certificate and its key"))?;
    Ok((received, tls))
}

/// A node's request to stand in the genesis. Makes the keys that are not there yet; asked again, it says the same.
pub fn request(config: &Config, district: &str, addresses: Addresses) -> Result<(Vec<u8>, Founder), ConfigError> {
    let (received, tls) = needs(config)?;
    if config.genesis.exists() {
        return Err(value("genesis", format!("{} is there already: this node has its ledger", config.genesis.display())));
    }
    if tls.issuing_key.is_some() == addresses.enrolment.is_empty() {
        return Err(value("tls.issuing_key", "goes with tls.enrolment, the address at which this node issues certificates"));
    }
    // The genesis keeps them for good.
    if division::area(district).is_none() {
        return Err(value("--district", format!("{district:?} is neither a division's code (GB/T 2260) nor a functional area's")));
    }
    addresses.check()?;
    std::fs::create_dir_all(received).map_err(|source| ConfigError::Read { path: received.into(), source })?;
    let new = |path: &Path| own_or_new(config, path).map(|seed| SigningKey::from_seed(&seed));
    let (node, cosigning) = (new(&config.keys.node)?, new(&config.keys.cosigning)?);
    let tls_key = TlsKeys::key_for(config, &tls.key)?;
    let recipient = VaultSecretKey::from_bytes(*own_or_new(config, &received.join(RECIPIENT))?);
    let said = FoundingNode {
        name: config.name.clone(),
        district: district.into(),
        peer_address: addresses.peer,
        rest_address: addresses.rest,
        enrolment_address: addresses.enrolment,
        recipient: recipient.public().0.to_vec(),
        ..FoundingNode::default()
    };
    let signers: [&dyn Signer; 3] = [&node, &cosigning, tls_key.as_ref()];
    let made = Founder::node(said, signers).and_then(|made| Ok((Founder::read(&made)?, made)));
    made.map(|(founder, made)| (made, founder)).map_err(|e| value("keys", e.to_string()))
}

/// Takes what the table made for this node: genesis, certificate and keys, each checked against the genesis, and that
/// against the ledger id, which is the caller's to know. The genesis comes last, so that a node has all or is asked again.
pub fn receive(config: &Config, package: &[u8], expected: &Digest) -> Result<Received, ConfigError> {
    let (dir, tls) = needs(config)?;
    let unfit = |why: String| value("the package", why);
    let package: FoundingPackage = canonical(package).map_err(|e| unfit(e.to_string()))?;
    if package.format_version != FOUNDING_VERSION {
        return Err(unfit(format!("it is of version {}: this program knows version {FOUNDING_VERSION}", package.format_version)));
    }
    let id = ledger_id(&package.genesis);
    if id != *expected {
        return Err(unfit(format!("it is of ledger {}, not of {}", hex::encode(id), hex::encode(expected))));
    }
    let genesis = pinned::read_genesis(&package.genesis).ok_or_else(|| unfit("it has no genesis".into()))?;
    let founding = Founding::read(&genesis).map_err(|e| unfit(e.to_string()))?;
    let founding = founding.ok_or_else(|| unfit("its genesis names no authority".into()))?;
    let node = own_entry(config, &genesis)?;
    let tls_key = TlsKeys::key_for(config, &tls.key)?.public();
    let kind = Kind::Node { raft_id: node.raft_id };
    let leaf = founding.certificates.iter().position(|leaf| leaf.subject.kind == kind && leaf.key == tls_key);
    let leaf = leaf.ok_or_else(|| value("tls.key", "the genesis has no certificate of this key for this node"))?;

    let recipient = dir.join(RECIPIENT);
    if config.genesis.exists() {
        let there = std::fs::read(&config.genesis).map_err(|source| ConfigError::Read { path: config.genesis.clone(), source })?;
        if there != package.genesis {
            return Err(value("genesis", format!("{} is another ledger's", config.genesis.display())));
        }
        if !recipient.exists() {
            let uses = held(dir, tls)?;
            let count = |of: &str| uses.iter().filter(|what| *what == of).count();
            let more = |key: &SealedKey| package.keys.iter().filter(|other| other.r#use == key.r#use).count() > count(&key.r#use);
            if package.keys.iter().any(more) {
                return Err(unfit("it is another node's: it has keys that this node did not receive".into()));
            }
            return Ok(Received { raft_id: node.raft_id, uses, before: true });
        }
    }
    let own = VaultSecretKey::from_bytes(*read_own(config, &recipient)?);
    let addressee = Addressee { ledger_id: &id, raft_id: node.raft_id };
    let opened = package.keys.iter().map(|key| Ok((key.r#use.as_str(), addressee.open(key, &own)?)));
    let keys = opened.collect::<Result<Vec<_>, vermilion_crypto::CryptoError>>();
    let keys = keys.map_err(|e| unfit(format!("it is another node's, or of another request of this node's: {e}")))?;
    check(&keys, node, &genesis, founding.issuing.key.0, tls).map_err(unfit)?;

    nothing_else(config, dir, &keys)?;
    for (what, secret) in &keys {
        match (*what, &tls.issuing_key) {
            (ISSUING, Some(path)) => crate::keys::write_new(config, path, secret)?,
            _ => handout::keep(config, dir, what, secret)?,
        }
    }
    let der = genesis.certificates.get(leaf).ok_or_else(|| unfit("its certificates are not those of its genesis".into()))?;
    applicant::keep(&tls.certificate, der, founding.issuing.der())?;
    write_whole(&config.genesis, &package.genesis)?;
    remove(&recipient)?;
    Ok(Received { raft_id: node.raft_id, uses: keys.into_iter().map(|(what, _)| what.to_owned()).collect(), before: false })
}

/// The uses of the keys that were received before, by their files.
fn held(dir: &Path, tls: &Tls) -> Result<Vec<String>, ConfigError> {
    let unreadable = |source| ConfigError::Read { path: dir.into(), source };
    let mut uses = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(unreadable)? {
        let name = entry.map_err(unreadable)?.file_name().to_string_lossy().into_owned();
        let stem = name.strip_suffix(".pem").unwrap_or_default();
        let what = stem.split_once('-').map_or(stem, |(what, _)| what);
        uses.extend([LOOKUP, VAULT, LEDGER].into_iter().find(|known| *known == what).map(str::to_owned));
    }
    uses.extend(tls.issuing_key.as_ref().filter(|path| path.exists()).map(|_| ISSUING.to_owned()));
    uses.sort_unstable();
    Ok(uses)
}

/// This node's entry in the genesis, whose keys must be its own. The others are not here yet.
fn own_entry<'a>(config: &Config, genesis: &'a Genesis) -> Result<&'a GenesisNode, ConfigError> {
    let node = start::founder(config, genesis)?.ok_or_else(|| value("raft_id", "the genesis knows no node of this name under it"))?;
    let public = |key: &'static str, path: &Path| -> Result<PublicKey, ConfigError> {
        read_own(config, path).map(|seed| SigningKey::from_seed(&seed).public()).map_err(|e| e.of(key))
    };
    let (own, cosigning) = (public("keys.node", &config.keys.node)?, public("keys.cosigning", &config.keys.cosigning)?);
    start::check_own(&own.0, &cosigning.0, node)?;
    Ok(node)
}

/// Each key is the genesis' and for this node, and none is missing that it is to hold.
fn check(keys: &[(&str, Secret)], node: &GenesisNode, genesis: &Genesis, issuing: [u8; 32], tls: &Tls) -> Result<(), String> {
    let vault_id = |secret: &Secret| VaultSecretKey::from_bytes(**secret).public().id();
    let public = |secret: &Secret| SigningKey::from_seed(secret).public().0;
    for (what, secret) in keys {
        let fits = match *what {
            LOOKUP => LookupKey::from_bytes(**secret).commitment()[..] == genesis.lookup_key_digest,
            LEDGER => node.city && public(secret)[..] == genesis.ledger_key,
            VAULT => {
                pinned::may_hold(node, genesis, &[], &vault_id(secret))
                    && genesis.vault_keys.iter().any(|key| key.key_id == vault_id(secret))
            }
            ISSUING => tls.issuing_key.is_some() && public(secret) == issuing,
            other => return Err(format!("this version knows no key for {other:?}")),
        };
        if !fits {
            return Err(format!("its {what} key is not this node's by the genesis"));
        }
    }
    let has = |what: &str| keys.iter().any(|(of, _)| *of == what);
    let vaults = genesis.vault_keys.iter().filter(|key| pinned::may_hold(node, genesis, &[], &key.key_id));
    let lacks = [(LOOKUP, !has(LOOKUP)), (LEDGER, node.city && !has(LEDGER)), (ISSUING, tls.issuing_key.is_some() && !has(ISSUING))];
    if let Some((what, _)) = lacks.into_iter().find(|(_, lacks)| *lacks) {
        return Err(format!("it lacks the {what} key"));
    }
    for vault in vaults {
        if !keys.iter().any(|(what, secret)| *what == VAULT && vault_id(secret)[..] == vault.key_id) {
            return Err(format!("it lacks the vault key of {}", vault.area));
        }
    }
    Ok(())
}

/// The folder of received keys holds no others: those of another founding would be kept instead, or beside.
fn nothing_else(config: &Config, dir: &Path, keys: &[(&str, Secret)]) -> Result<(), ConfigError> {
    let unreadable = |source| ConfigError::Read { path: dir.into(), source };
    let due: Vec<(PathBuf, &Secret)> =
        keys.iter().filter_map(|(what, secret)| Some((handout::place(dir, what, secret)?, secret))).collect();
    for entry in std::fs::read_dir(dir).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        let fits = match due.iter().find(|(place, _)| *place == path) {
            Some((_, secret)) => read_own(config, &path)? == **secret,
            None => path.file_name().is_some_and(|name| name == RECIPIENT) || path.extension().is_none_or(|end| end != "pem"),
        };
        if !fits {
            let why = format!("{} is of another founding: empty the folder but for {RECIPIENT}", path.display());
            return Err(value("keys.received", why));
        }
    }
    Ok(())
}

fn remove(path: &PathBuf) -> Result<(), ConfigError> {
    std::fs::remove_file(path).map_err(|source| ConfigError::Read { path: path.clone(), source })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn where_nobody_is_reached_is_no_address() {
        let told = |peer: &str, rest: &str, enrolment: &str| {
            let addresses = Addresses { peer: peer.into(), rest: rest.into(), enrolment: enrolment.into() };
            addresses.check().map_err(|e| e.to_string())
        };
        assert_eq!(told("node.example:7100", "10.1.0.2:7101", ""), Ok(()));
        assert_eq!(told("[fe80::1]:7100", "node.example:7101", "node.example:7102"), Ok(()));
        for (why, named) in [
            (told("nonsense", "a:1", ""), "--address"),
            (told("0.0.0.0:7100", "a:1", ""), "--address"),
            (told("a:1", "foo bar", ""), "--rest"),
            (told("a:1", "[::]:7101", ""), "--rest"),
            (told("a:1", "a:2", "a:0"), "--enrolment"),
        ] {
            assert!(why.unwrap_err().starts_with(named));
        }
    }

    #[test]
    fn what_is_held_is_told_by_its_files() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["lookup.pem", "vault-0a.pem", "vault-0b.pem", "ledger-0c.pem", "other.pem", "vault-0d.txt"] {
            std::fs::write(dir.path().join(name), "").unwrap();
        }
        let issuing = dir.path().join("issuing-key");
        let tls = |issuing_key| Tls { issuing_key, ..toml::from_str("certificate = 'c'\nkey = 'k'\nauthority = []").unwrap() };
        assert_eq!(held(dir.path(), &tls(Some(issuing.clone()))).unwrap(), ["ledger", "lookup", "vault", "vault"]);
        std::fs::write(&issuing, "").unwrap();
        assert_eq!(held(dir.path(), &tls(Some(issuing))).unwrap(), ["issuing", "ledger", "lookup", "vault", "vault"]);
        assert_eq!(held(dir.path(), &tls(None)).unwrap(), ["ledger", "lookup", "vault", "vault"]);
    }
}
