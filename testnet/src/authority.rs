//! The authority of a test ledger: root, issuing certificate, and a certificate for each node and
//! each operator of the sample units. Its keys lie in the clear, like every key of a test ledger.

use crate::error::TestnetError;
use crate::sample::SampleUnit;
use std::path::{Path, PathBuf};
use std::time::Duration;
use vermilion_client::keyring::write_secret;
use vermilion_crypto::{PublicKey, SigningKey};
use vermilion_identity::{AuthorityCertificate, AuthorityName, Kind, Serial, Subject, Validity, authority, x509};

/// The trust domain of the sample city.
pub const TRUST_DOMAIN: &str = "vermilion.example";
const DAY_MS: u64 = 86_400_000;
/// Lifetimes in days: root, issuing certificate.
const LIFETIMES: (u64, u64) = (7300, 3650);

/// The time of the founders' certificates, around the founding.
#[derive(Clone, Copy, Debug)]
pub struct Term {
    /// Since when.
    pub before: Duration,
    /// Until when.
    pub after: Duration,
}

impl Term {
    /// A year, and a minute back: clocks of one machine hardly differ.
    pub const USUAL: Self = Self { before: Duration::from_secs(60), after: Duration::from_secs(365 * 86_400) };
}

/// The authority, while a folder is made.
pub struct TestAuthority {
    dir: PathBuf,
    leaves: Validity,
    /// The issuing certificate's key.
    pub issuing_key: SigningKey,
    /// The root.
    pub root: AuthorityCertificate,
    /// The issuing certificate.
    pub issuing: AuthorityCertificate,
    /// Every leaf issued so far, DER.
    pub issued: Vec<Vec<u8>>,
}

fn setup(error: impl std::fmt::Display) -> TestnetError {
    TestnetError::Setup(error.to_string())
}

impl TestAuthority {
    /// A new authority of a unit, from a moment on; its files go to `authority/` in the folder.
    pub fn found(dir: &Path, unit: &str, now_ms: u64, leaves: Term) -> Result<Self, TestnetError> {
        let home = dir.join("authority");
        std::fs::create_dir_all(&home).map_err(|e| TestnetError::File(home.clone(), e))?;
        let second = now_ms / 1000;
        let from_ms = (second - leaves.before.as_secs()) * 1000;
        let (root_key, issuing_key) = (SigningKey::generate().map_err(setup)?, SigningKey::generate().map_err(setup)?);
        write_secret(&home.join("root-key.pem"), &root_key.seed(), None)?;
        write_secret(&home.join("issuing-key.pem"), &issuing_key.seed(), None)?;
        let name = |name: &str| AuthorityName { trust_domain: TRUST_DOMAIN.into(), unit: unit.into(), name: name.into() };
        let serial = || Serial::random().map_err(setup);
        let term = |days: u64| Validity { not_before_ms: from_ms, not_after_ms: from_ms + days * DAY_MS };
        let root = authority::make_root(&root_key, &name("Sample City Root"), &serial()?, term(LIFETIMES.0)).map_err(setup)?;
        let of = name("Sample City Issuing");
        let issuing = authority::make_issuing(&root_key, &root, issuing_key.public(), &of, &serial()?, term(LIFETIMES.1)).map_err(setup)?;
        let leaves = Validity { not_before_ms: from_ms, not_after_ms: (second + leaves.after.as_secs()) * 1000 };
        let made = Self { dir: home, leaves, issuing_key, root, issuing, issued: Vec::new() };
        made.write(&made.dir.join("root.pem"), made.root.der())?;
        made.write(&made.dir.join("issuing.pem"), made.issuing.der())?;
        Ok(made)
    }

    fn write(&self, path: &Path, der: &[u8]) -> Result<(), TestnetError> {
        let pem = x509::to_pem(der).map_err(setup)?;
        std::fs::write(path, pem).map_err(|e| TestnetError::File(path.into(), e))
    }

    /// Issues a node's leaf into a file, for the usual time.
    pub fn issue_node(&mut self, raft_id: u64, name: &str, district: &str, key: PublicKey, path: &Path) -> Result<(), TestnetError> {
        let unit = self.issuing.name.unit.clone();
        let kind = Kind::Node { raft_id };
        let (trust_domain, district, name) = (TRUST_DOMAIN.into(), district.into(), name.into());
        self.issue(&Subject { kind, trust_domain, unit, district, posts: Vec::new(), name }, key, path)
    }

    /// Issues a leaf for an operator in a post into a file.
    pub fn issue_operator(&mut self, unit: &SampleUnit, post: &str, key: PublicKey, path: &Path) -> Result<(), TestnetError> {
        let subject = Subject {
            kind: Kind::Operator,
            trust_domain: TRUST_DOMAIN.into(),
            unit: unit.uscc.clone(),
            district: unit.district.clone(),
            posts: vec![post.into()],
            name: hex::encode(key.id()),
        };
        self.issue(&subject, key, path)
    }

    fn issue(&mut self, subject: &Subject, key: PublicKey, path: &Path) -> Result<(), TestnetError> {
        let serial = Serial::random().map_err(setup)?;
        let (der, _) = authority::issue(&self.issuing_key, &self.issuing, subject, key, &serial, self.leaves).map_err(setup)?;
        self.write(path, &der)?;
        self.issued.push(der);
        Ok(())
    }
}
