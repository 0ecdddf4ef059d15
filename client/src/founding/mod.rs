//! Founding a ledger (创立): at one table, on a machine without a network. Every node and every first operator brings a
//! request that its own keys signed; the table makes what belongs to the ledger itself (ledger key, vault keys, lookup key),
//! the genesis, and for each node a package with what that node alone can open. A copy of the ledger's own keys goes into a
//! safe, under a passphrase of its own.

mod plan;

pub use plan::{Plan, PlannedNode, PlannedOperator, PlannedPolicy, PlannedUnit, PlannedYear};

use crate::audit::TrustFile;
use crate::clock::DAY_MS;
use crate::config::{Config, NodeEntry};
use crate::error::ClientError;
use crate::files::first_line;
use crate::files::write_file;
use crate::keyring::{Passphrase, read_secret, write_secret};
use crate::manage::{NewOperator, operator_of};
use crate::person::person_code;
use std::collections::BTreeMap;
use std::path::Path;
use vermilion_crypto::{Digest, LookupKey, PublicKey, SUITE_1, SeededRng, SigningKey, VaultPublicKey, VaultSecretKey, random};
use vermilion_identity::founding::{FOUNDING_VERSION, Founder};
use vermilion_identity::sealed_key::{Addressee, ISSUING, LEDGER, LOOKUP, Secret, VAULT};
use vermilion_identity::{AuthorityCertificate, CertificateError, Kind, Serial, Subject, Validity, authority, x509};
use vermilion_proto::{
    AddOperator, Body, CalendarYear, Command, FoundingNode, FoundingOperator, FoundingPackage, Genesis, GenesisNode, Head, Message as _,
    PolicyEntry, RegisterUnit, Unit, VaultKey, body::Of,
};
use vermilion_registry::address;
use vermilion_registry::authority::MANAGING_CITY;
use vermilion_registry::custody::SECOND_KEY;
use vermilion_registry::kv::Memory;
use vermilion_registry::{Registry, ledger_id, pinned};
use zeroize::Zeroizing;

/// What belongs to the ledger itself. Wiped when dropped.
struct LedgerKeys {
    ledger: SigningKey,
    lookup: LookupKey,
    /// By area.
    vault: BTreeMap<String, VaultSecretKey>,
    issuing: SigningKey,
}

/// The authority at the table.
struct Authority {
    root: AuthorityCertificate,
    issuing: AuthorityCertificate,
    key: SigningKey,
    term: Validity,
    /// Every leaf so far, DER.
    issued: Vec<Vec<u8>>,
}

/// A founded ledger, before anything of it is written.
pub struct Founded {
    /// The ledger id: what everybody at the table writes down.
    pub ledger_id: Digest,
    /// The genesis.
    pub genesis: Genesis,
    /// What everybody pins.
    pub trust: TrustFile,
    /// Who took part, with the fingerprint of each request: nodes by name, operators by the word for them.
    pub founders: Vec<(String, String)>,
    payload: Vec<u8>,
    packages: Vec<(String, Vec<u8>)>,
    certificates: Vec<(String, Vec<u8>)>,
    keys: LedgerKeys,
    client: Config,
}

fn refused(error: CertificateError) -> ClientError {
    ClientError::Usage(error.to_string())
}

/// An authority's certificate from its PEM file.
pub(crate) fn certificate(path: &Path) -> Result<AuthorityCertificate, ClientError> {
    let text = std::fs::read_to_string(path).map_err(|e| ClientError::file(path, e))?;
    let parsed = x509::from_pem(&text).and_then(|der| AuthorityCertificate::parse(&der));
    parsed.map_err(|e| ClientError::config(path.display().to_string(), e.to_string()))
}

/// A request's founder, with the fingerprint.
fn founder(path: &Path) -> Result<(Founder, String), ClientError> {
    let bytes = std::fs::read(path).map_err(|e| ClientError::file(path, e))?;
    let read = Founder::read(&bytes).map_err(|e| ClientError::config(path.display().to_string(), e.to_string()))?;
    let fingerprint = read.fingerprint();
    Ok((read, fingerprint))
}

fn node_request(path: &Path) -> Result<(FoundingNode, String), ClientError> {
    match founder(path)? {
        (Founder::Node(node), fingerprint) => Ok((node, fingerprint)),
        (Founder::Operator(_), _) => Err(ClientError::config(path.display().to_string(), "it is an operator's request, not a node's")),
    }
}

fn operator_request(path: &Path) -> Result<(FoundingOperator, String), ClientError> {
    match founder(path)? {
        (Founder::Operator(operator), fingerprint) => Ok((operator, fingerprint)),
        (Founder::Node(_), _) => Err(ClientError::config(path.display().to_string(), "it is a node's request, not an operator's")),
    }
}

/// Where a node says that it is reached: the genesis and everybody's configuration keep it.
fn check_addresses(node: &FoundingNode) -> Result<(), ClientError> {
    let enrolment = Some(&node.enrolment_address).filter(|address| !address.is_empty());
    for said in [Some(&node.peer_address), Some(&node.rest_address), enrolment].into_iter().flatten() {
        address::check(said).map_err(|unfit| ClientError::config(&node.name, format!("its request says {said:?}, which {unfit}")))?;
    }
    Ok(())
}

impl Authority {
    fn open(plan: &Plan, passphrase: &Passphrase, now_ms: u64) -> Result<Self, ClientError> {
        let (root, issuing) = (certificate(&plan.root)?, certificate(&plan.issuing.join("issuing.pem"))?);
        issuing.verify_issued_by(&root).map_err(refused)?;
        let key = SigningKey::from_seed(&*read_secret(&plan.issuing.join("issuing-key.pem"), passphrase)?);
        if key.public() != issuing.key {
            return Err(ClientError::config("issuing", "the key is not that of the certificate"));
        }
        if issuing.name.unit != plan.managing_unit.uscc {
            return Err(ClientError::config("issuing", "the authority is another unit's than the managing unit"));
        }
        let term = Validity { not_before_ms: now_ms, not_after_ms: now_ms + plan.certificate_days * DAY_MS };
        Ok(Self { root, issuing, key, term, issued: Vec::new() })
    }

    fn issue(&mut self, kind: Kind, district: &str, mut posts: Vec<String>, name: String, key: PublicKey) -> Result<Vec<u8>, ClientError> {
        posts.sort_unstable();
        let (trust_domain, unit) = (self.issuing.name.trust_domain.clone(), self.issuing.name.unit.clone());
        let subject = Subject { kind, trust_domain, unit, district: district.to_owned(), posts, name };
        let (der, _) = authority::issue(&self.key, &self.issuing, &subject, key, &Serial::random()?, self.term).map_err(refused)?;
        self.issued.push(der.clone());
        Ok(der)
    }
}

impl LedgerKeys {
    /// New ones, with a vault key for each area.
    fn make<'a>(areas: impl Iterator<Item = &'a str>, issuing: SigningKey) -> Result<Self, ClientError> {
        let mut vault = BTreeMap::new();
        for area in areas {
            if !vault.contains_key(area) {
                vault.insert(area.to_owned(), VaultSecretKey::generate()?);
            }
        }
        Ok(Self { ledger: SigningKey::generate()?, lookup: LookupKey::generate()?, vault, issuing })
    }

    /// What a node is to hold, by use.
    fn due(&self, node: &GenesisNode, genesis: &Genesis, issues: bool) -> Vec<(&'static str, Secret)> {
        let mut out = vec![(LOOKUP, Zeroizing::new(*self.lookup.bytes()))];
        let vaults = self.vault.values().filter(|key| pinned::may_hold(node, genesis, &[], &key.public().id()));
        out.extend(vaults.map(|key| (VAULT, Zeroizing::new(*key.bytes()))));
        out.extend(node.city.then(|| (LEDGER, self.ledger.seed())));
        out.extend(issues.then(|| (ISSUING, self.issuing.seed())));
        out
    }
}

fn vault_key(area: &str, key: &VaultSecretKey) -> VaultKey {
    let public: VaultPublicKey = key.public();
    VaultKey { key_id: public.id().to_vec(), suite: SUITE_1, public_key: public.0.to_vec(), area: area.to_owned() }
}

/// Founds a ledger by a plan. Nothing is written: what the registry would refuse of the genesis is refused here.
pub fn found(plan: &Plan, passphrase: &Passphrase, now_ms: u64) -> Result<Founded, ClientError> {
    let now_ms = now_ms / 1000 * 1000;
    let unit = &plan.managing_unit;
    let mut authority = Authority::open(plan, passphrase, now_ms)?;
    let requests = plan.nodes.iter().map(|node| node_request(&node.request)).collect::<Result<Vec<_>, _>>()?;
    let is_label = |name: &str| !name.is_empty() && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    if let Some((request, _)) = requests.iter().find(|(request, _)| !is_label(&request.name)) {
        return Err(ClientError::Usage(format!("{:?} is no node's name: lower case letters, digits and hyphens", request.name)));
    }
    let areas = std::iter::once(unit.area.as_str()).chain(requests.iter().map(|(node, _)| node.district.as_str()));
    let keys = LedgerKeys::make(areas, SigningKey::from_seed(&authority.key.seed()))?;
    let mut founders = Vec::new();
    let mut nodes = Vec::new();
    for (raft_id, (request, fingerprint)) in (1..).zip(&requests) {
        let city = request.district == unit.area;
        if !city && !request.enrolment_address.is_empty() {
            return Err(ClientError::config(&request.name, "a district's node issues no certificates: tls.enrolment is for the city's"));
        }
        check_addresses(request)?;
        let tls_key = PublicKey::from_slice(&request.tls_key)?;
        authority.issue(Kind::Node { raft_id }, &request.district, Vec::new(), request.name.clone(), tls_key)?;
        founders.push((request.name.clone(), fingerprint.clone()));
        nodes.push(GenesisNode {
            raft_id,
            name: request.name.clone(),
            node_key: request.node_key.clone(),
            cosigning_key: request.cosigning_key.clone(),
            district: request.district.clone(),
            city,
            peer_address: request.peer_address.clone(),
        });
    }
    let mut operators = Vec::new();
    let mut certificates = Vec::new();
    for planned in &plan.operators {
        let (request, fingerprint) = operator_request(&planned.request)?;
        let key = PublicKey::from_slice(&request.key)?;
        let code = person_code(&planned.person_code_type, &first_line(&planned.person)?);
        let code = code.map_err(|e| ClientError::config(planned.person.display().to_string(), e.to_string()))?;
        let person = keys.lookup.tag("person", &planned.person_code_type, &code);
        // A second key signs beside another; nobody connects with it.
        if !request.posts.iter().any(|post| post == SECOND_KEY) {
            let der = authority.issue(Kind::Operator, &unit.area, request.posts.clone(), hex::encode(key.id()), key)?;
            certificates.push((planned.name.clone(), der));
        }
        let new = NewOperator { unit: request.unit, key, posts: request.posts, person, name: None, from_ms: 0, until_ms: 0 };
        operators.push(AddOperator { operator: Some(operator_of(&new)) });
        founders.push((planned.name.clone(), fingerprint));
    }
    let genesis = Genesis {
        format_version: 1,
        suite: SUITE_1,
        origin: plan.origin.clone(),
        time_ms: now_ms,
        nonce: random::<16>()?.to_vec(),
        nodes,
        ledger_key: keys.ledger.public().0.to_vec(),
        vault_keys: keys.vault.iter().map(|(area, key)| vault_key(area, key)).collect(),
        managing_unit: Some(RegisterUnit { unit: Some(managing_unit(unit)) }),
        operators,
        policy: plan.policy.iter().map(policy_entry).collect(),
        calendar: plan.calendar.iter().map(calendar_year).collect(),
        lookup_key_digest: keys.lookup.commitment().to_vec(),
        root_certificate: authority.root.der().to_vec(),
        issuing_certificate: authority.issuing.der().to_vec(),
        certificates: authority.issued,
    };
    let head = Head { format_version: 1, suite: SUITE_1, ..Head::default() };
    let payload = Command { head: Some(head), body: Some(Body { of: Some(Of::Genesis(genesis.clone())) }) }.encode_to_vec();
    // The same that every node will do with it.
    Registry::genesis(&payload, &Memory::new()).map_err(|e| ClientError::Usage(format!("the ledger would refuse this genesis: {e}")))?;
    let id = ledger_id(&payload);
    let packages = packages(&keys, &genesis, &payload, &id, &requests)?;
    let client = client_config(&id, &requests);
    let trust = pinned::trust_of(&genesis, id, None, true).map_err(|e| ClientError::Usage(e.to_string()))?;
    Ok(Founded { ledger_id: id, trust: TrustFile::of(&trust), genesis, founders, payload, packages, certificates, keys, client })
}

/// For each node what it alone can open.
fn packages(
    keys: &LedgerKeys,
    genesis: &Genesis,
    payload: &[u8],
    id: &Digest,
    requests: &[(FoundingNode, String)],
) -> Result<Vec<(String, Vec<u8>)>, ClientError> {
    let mut rng = SeededRng::from_system()?;
    let mut out = Vec::new();
    for (node, (request, _)) in genesis.nodes.iter().zip(requests) {
        let to = VaultPublicKey::from_slice(&request.recipient)?;
        let addressee = Addressee { ledger_id: id, raft_id: node.raft_id };
        let due = keys.due(node, genesis, !request.enrolment_address.is_empty());
        let sealed = due.iter().map(|(what, secret)| addressee.seal(what, secret, &to, &mut rng)).collect::<Result<_, _>>()?;
        let package = FoundingPackage { format_version: FOUNDING_VERSION, genesis: payload.to_vec(), keys: sealed };
        out.push((node.name.clone(), package.encode_to_vec()));
    }
    Ok(out)
}

fn managing_unit(unit: &PlannedUnit) -> Unit {
    let mut roles = vec![MANAGING_CITY.to_owned()];
    roles.extend(unit.roles.iter().filter(|role| *role != MANAGING_CITY).cloned());
    Unit {
        uscc: unit.uscc.clone(),
        name_zh: unit.name.clone(),
        name_en: unit.name_en.clone(),
        area: unit.area.clone(),
        level: "city".into(),
        roles,
        ..Unit::default()
    }
}

fn policy_entry(of: &PlannedPolicy) -> PolicyEntry {
    PolicyEntry { key: of.key.clone(), value: of.value.clone(), citation: of.citation.clone(), ..PolicyEntry::default() }
}

fn calendar_year(of: &PlannedYear) -> CalendarYear {
    CalendarYear { year: of.year, holidays: of.holidays.clone(), worked_weekends: of.worked_weekends.clone() }
}

fn client_config(id: &Digest, requests: &[(FoundingNode, String)]) -> Config {
    let entry =
        |node: &FoundingNode| NodeEntry { name: node.name.clone(), grpc: node.peer_address.clone(), http: node.rest_address.clone() };
    Config {
        ledger_id: hex::encode(id),
        genesis: "genesis.bin".into(),
        trust: Some("trust.json".into()),
        state_dir: None,
        passphrase_file: None,
        enrolment: requests.iter().map(|(node, _)| node.enrolment_address.clone()).filter(|address| !address.is_empty()).collect(),
        accept_expired_until_ms: 0,
        nodes: requests.iter().map(|(node, _)| entry(node)).collect(),
        units: Vec::new(),
        operators: Vec::new(),
    }
}

impl Founded {
    /// Writes everything into a new folder, the ledger's own keys last and encrypted.
    ///
    /// ```text
    /// genesis.bin  trust.json  client.toml    for everybody
    /// nodes/NAME.package                      for that node: `vermiliond receive`
    /// operators/NAME.cert.pem                 for that operator
    /// safe/                                   the ledger's own keys, under the safe's passphrase
    /// ```
    pub fn write(&self, out: &Path, safe: &Passphrase) -> Result<(), ClientError> {
        let make = |folder: &Path| std::fs::create_dir(folder).map_err(|e| ClientError::file(folder, e));
        if out.exists() {
            return Err(ClientError::Usage(format!("--out: {} is there already: a ledger goes into a folder of its own", out.display())));
        }
        // Asked for before anything is there: without it there would be no copy.
        let phrase = safe.get_new("--safe-passphrase-file")?;
        make(out)?;
        for folder in ["nodes", "operators", "safe"] {
            make(&out.join(folder))?;
        }
        for (area, key) in &self.keys.vault {
            write_secret(&out.join(format!("safe/vault-{area}.pem")), key.bytes(), Some(phrase.as_slice()))?;
        }
        write_secret(&out.join("safe/ledger.pem"), &self.keys.ledger.seed(), Some(phrase.as_slice()))?;
        write_secret(&out.join("safe/lookup.pem"), self.keys.lookup.bytes(), Some(phrase.as_slice()))?;
        for (name, package) in &self.packages {
            write_file(&out.join(format!("nodes/{name}.package")), package)?;
        }
        for (name, der) in &self.certificates {
            write_file(&out.join(format!("operators/{name}.cert.pem")), x509::to_pem(der).map_err(refused)?.as_bytes())?;
        }
        let trust = serde_json::to_string_pretty(&self.trust).map_err(|e| ClientError::Usage(e.to_string()))?;
        write_file(&out.join("trust.json"), (trust + "\n").as_bytes())?;
        write_file(&out.join("client.toml"), self.client.to_toml()?.as_bytes())?;
        write_file(&out.join("genesis.bin"), &self.payload)
    }
}
