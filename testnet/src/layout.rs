//! Makes a new test ledger's folder: keys, genesis, configurations. Everything in it is secret to
//! nobody: key files are written in the clear, for tests and demonstrations alone.
//!
//! ```text
//! D/genesis.bin          the genesis payload
//! D/testnet.json         where the nodes are, for scripts; written when the rest is whole
//! D/client.toml          the client's configuration, with every sample operator's key
//! D/trust.json           what `receipt check` pins
//! D/authority/           the authority's keys and certificates
//! D/keys/                operators' keys and certificates, units' secrets
//! D/nodes/NAME/          node.toml, keys, data, log
//! ```

use crate::authority::{Term, TestAuthority};
use crate::cluster::Up;
use crate::description::{TestNode, Testnet, other_ledger};
use crate::error::TestnetError;
use crate::sample::SampleUnit;
use crate::staging::Staging;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};
use vermilion_client::audit::TrustFile;
use vermilion_client::config::{Config, KeySource, NodeEntry, OperatorEntry, UnitEntry};
use vermilion_client::keyring::{Passphrase, read_secret, write_secret};
use vermilion_crypto::{LookupKey, SUITE_1, SigningKey, VaultSecretKey, random};
use vermilion_proto::{
    AddOperator, Body, CalendarYear, Command, Genesis, GenesisNode, Head, Message as _, Operator, RegisterUnit, Unit, VaultKey, body::Of,
};
use vermilion_registry::custody::{ADMIN_POSTS, SECOND_KEY, is_admin};

/// The ledger's name in checkpoints.
pub const ORIGIN: &str = "vermilion.example/sample-city";
/// The city's code.
const CITY: &str = "440300";
/// Public questions a second from one address: all tests come from one.
const REST_RATE: u32 = 1000;
/// The city node's name, and the districts' in the order in which they are taken.
const DISTRICTS: [(&str, &str); 9] = [
    ("futian", "440304"),
    ("nanshan", "440305"),
    ("luohu", "440303"),
    ("baoan", "440306"),
    ("longgang", "440307"),
    ("yantian", "440308"),
    ("longhua", "440309"),
    ("pingshan", "440310"),
    ("guangming", "440311"),
];
/// Posts of a managing unit's sample operators, one person each.
const MANAGING_POSTS: [&str; 3] = ["approve", "operate", "verify"];
/// Posts of every unit's sample operators, one person each.
const UNIT_POSTS: [&str; 3] = ["maker", "checker", "user"];

/// An operator of the sample city, to be registered once the ledger runs.
pub struct SampleOperator {
    /// The post by which the person is known: he may have a second key.
    pub person: &'static str,
    /// The unit.
    pub unit: String,
    /// The post.
    pub post: &'static str,
    /// The key.
    pub key: SigningKey,
}

/// What a new folder's ledger still has to be told.
pub struct Founding {
    /// The folder's description.
    pub testnet: Testnet,
    /// Operators that the genesis does not name.
    pub operators: Vec<SampleOperator>,
}

fn free_ports(count: usize, base: Option<u16>) -> Result<Vec<u16>, TestnetError> {
    if let Some(base) = base {
        let last = count.checked_sub(1).and_then(|more| u16::try_from(usize::from(base) + more).ok());
        let last = last.filter(|_| base > 0).ok_or_else(|| {
            TestnetError::Usage(format!("{count} ports from {base} on are not all ports: the first is 1 or higher, the last at most 65535"))
        })?;
        // Before anything is founded with them: a ledger keeps its ports.
        let taken = (base..=last).find(|port| TcpListener::bind(("127.0.0.1", *port)).is_err());
        return match taken {
            Some(port) => Err(TestnetError::Usage(format!("port {port} is taken: name another --base-port, or leave it out"))),
            None => Ok((base..=last).collect()),
        };
    }
    // All are held until all are known, so that no two are the same.
    let listeners: Result<Vec<TcpListener>, _> = (0..count).map(|_| TcpListener::bind("127.0.0.1:0")).collect();
    let ports: Result<Vec<u16>, _> = listeners.and_then(|l| l.iter().map(|l| Ok(l.local_addr()?.port())).collect());
    ports.map_err(|e| TestnetError::Setup(format!("no free ports: {e}")))
}

/// What a node of a test ledger holds besides its own keys.
struct Secrets<'a> {
    lookup: Option<&'a [u8; 32]>,
    vault: Option<&'a [u8; 32]>,
    ledger: Option<&'a SigningKey>,
}

/// Makes a node's folder: its keys and its configuration. `node`: Raft id, name, district. `addresses`: gRPC and REST. One
/// that `joins` says its id, and has its data apart from those of the id that it had before.
fn write_node(
    dir: &Path,
    node: (u64, &str, &str),
    addresses: (String, String),
    secrets: &Secrets<'_>,
    joins: bool,
) -> Result<(GenesisNode, TestNode), TestnetError> {
    let crypto = |e: vermilion_crypto::CryptoError| TestnetError::Setup(e.to_string());
    let ((raft_id, name, district), (grpc, http)) = (node, addresses);
    let (own, cosigning) = (SigningKey::generate().map_err(crypto)?, SigningKey::generate().map_err(crypto)?);
    let home = Testnet::node_dir(dir, name);
    std::fs::create_dir_all(&home).map_err(|e| TestnetError::File(home.clone(), e))?;
    write_secret(&home.join("node.pem"), &own.seed(), None)?;
    write_secret(&home.join("cosigning.pem"), &cosigning.seed(), None)?;
    // A node that joins over TLS is handed what it is to hold; one that founds brings it.
    let received = joins && secrets.vault.is_none();
    if let Some(lookup) = secrets.lookup {
        write_secret(&home.join("lookup.pem"), lookup, None)?;
    }
    // With one city node, a ledger whose districts cannot open the city's content stands still
    // whenever that node is down. So every node of a test ledger holds the city's vault key.
    if let Some(vault) = secrets.vault {
        write_secret(&home.join("vault-city.pem"), vault, None)?;
    }
    let mut ledger = "";
    if let Some(key) = secrets.ledger {
        write_secret(&home.join("ledger.pem"), &key.seed(), None)?;
        ledger = "ledger = \"ledger.pem\"\n";
    }
    let (id, data) = if joins { (format!("raft_id = {raft_id}\n"), format!("data-{raft_id}")) } else { (String::new(), "data".to_owned()) };
    let ledgers = if received {
        format!("received = \"received-{raft_id}\"\n")
    } else {
        "lookup = \"lookup.pem\"\nvault = [\"vault-city.pem\"]\n".to_owned()
    };
    let toml = format!(
        "name = \"{name}\"\n{id}data_dir = \"{data}\"\ngenesis = \"../../genesis.bin\"\nbackups = \"backups\"\ngrpc = \"{grpc}\"\nhttp = \"{http}\"\n\n[keys]\nplain = true\nnode = \"node.pem\"\ncosigning = \"cosigning.pem\"\n{ledgers}{ledger}"
    );
    let path = home.join("node.toml");
    std::fs::write(&path, toml).map_err(|e| TestnetError::File(path, e))?;
    let entry = GenesisNode {
        raft_id,
        name: name.into(),
        node_key: own.public().0.to_vec(),
        cosigning_key: cosigning.public().0.to_vec(),
        district: district.into(),
        city: secrets.ledger.is_some(),
        peer_address: grpc.clone(),
    };
    Ok((entry, TestNode { name: name.into(), grpc, http, pid: 0, data_dir: home.join(data) }))
}

/// Has a node's configuration name its certificate and key. One of the city issues others' as well.
fn configure_tls(home: &Path, files: (&str, &str), enrolment: &str, city: bool) -> Result<(), TestnetError> {
    use std::io::Write as _;
    let path = home.join("node.toml");
    let (certificate, key) = files;
    let mut toml = format!(
        "\n[tls]\ncertificate = \"{certificate}\"\nkey = \"{key}\"\nauthority = [\"{enrolment}\"]\nrest_rate = {REST_RATE}\nrest_plain = true\nopen_metrics = true\n"
    );
    if city {
        toml.push_str(&format!("issuing_key = \"issuing-key.pem\"\nenrolment = \"{enrolment}\"\n"));
    }
    let written = std::fs::OpenOptions::new().append(true).open(&path).and_then(|mut file| file.write_all(toml.as_bytes()));
    written.map_err(|e| TestnetError::File(path, e))
}

/// Gives a founder's folder a certificate and its key. `node`: Raft id, name, district.
fn give_certificate(dir: &Path, node: (u64, &str, &str), enrolment: &str, authority: &mut TestAuthority) -> Result<(), TestnetError> {
    let home = Testnet::node_dir(dir, node.1);
    let key = SigningKey::generate().map_err(|e| TestnetError::Setup(e.to_string()))?;
    write_secret(&home.join("tls-key.pem"), &key.seed(), None)?;
    authority.issue_node(node.0, node.1, node.2, key.public(), &home.join("tls.pem"))?;
    if node.2 == CITY {
        write_secret(&home.join("issuing-key.pem"), &authority.issuing_key.seed(), None)?;
    }
    configure_tls(&home, ("tls.pem", "tls-key.pem"), enrolment, node.2 == CITY)
}

/// From how many records on a newcomer takes the ledger's state instead of replaying it.
const STATE_FROM: u64 = 64;

/// Makes the folder of a node that is to join a ledger that is there: as its district applies for it. It is given the lookup
/// key and the city's vault key on a ledger without TLS; over TLS it is handed what it is to hold.
pub fn newcomer(dir: &Path, testnet: &mut Testnet, node: (u64, &str, &str), base_port: Option<u16>) -> Result<GenesisNode, TestnetError> {
    let dir = &std::path::absolute(dir).map_err(|e| TestnetError::File(dir.into(), e))?;
    let ports = free_ports(2, base_port)?;
    let Some(founder) = testnet.nodes.first() else { return Err(TestnetError::Setup("there is no ledger to join".into())) };
    let home = Testnet::node_dir(dir, &founder.name);
    let none = Passphrase::new(None);
    let (lookup, vault) = (read_secret(&home.join("lookup.pem"), &none)?, read_secret(&home.join("vault-city.pem"), &none)?);
    let brings = testnet.enrolment.is_none();
    let secrets = Secrets { lookup: brings.then_some(&lookup), vault: brings.then_some(&vault), ledger: None };
    // The keys of the id that it had before are spent.
    for file in ["node.pem", "cosigning.pem", "lookup.pem", "vault-city.pem"] {
        let path = Testnet::node_dir(dir, node.1).join(file);
        if path.exists() {
            std::fs::remove_file(&path).map_err(|e| TestnetError::File(path, e))?;
        }
    }
    let addresses = (format!("127.0.0.1:{}", ports[0]), format!("127.0.0.1:{}", ports[1]));
    let (entry, test_node) = write_node(dir, node, addresses, &secrets, true)?;
    // Few, so that a test ledger is one whose state is taken. Before the tables.
    let toml = Testnet::node_dir(dir, node.1).join("node.toml");
    let read = std::fs::read_to_string(&toml).map_err(|e| TestnetError::File(toml.clone(), e))?;
    std::fs::write(&toml, format!("state_from_records = {STATE_FROM}\n{read}")).map_err(|e| TestnetError::File(toml, e))?;
    if let Some(enrolment) = &testnet.enrolment {
        // Made when it joins, and other ones for another id.
        let files = (&*format!("tls-{}.pem", node.0), &*format!("tls-key-{}.pem", node.0));
        configure_tls(&Testnet::node_dir(dir, node.1), files, enrolment, false)?;
    }
    // One that comes back under another id has a new folder's worth of keys, and its old place in the list.
    testnet.nodes.retain(|n| n.name != entry.name);
    testnet.nodes.push(test_node);
    testnet.save(dir)?;
    Ok(entry)
}

/// Makes the folder of a new ledger: one node of the city, the others of districts. With TLS its nodes and operators have
/// certificates, and connect over that alone. It is there whole or not at all ([`Staging`]).
pub fn found(dir: &Path, up: &Up, units: &[SampleUnit]) -> Result<Founding, TestnetError> {
    let most = DISTRICTS.len() + 1;
    if !(1..=most).contains(&up.nodes) {
        return Err(TestnetError::Usage(format!("there can be 1 to {most} nodes, not {}", up.nodes)));
    }
    // Two for each node, and one for enrolment at the city's.
    let ports = free_ports(up.nodes * 2 + 1, up.base_port)?;
    let dir = &std::path::absolute(dir).map_err(|e| TestnetError::File(dir.into(), e))?;
    let staging = Staging::of(dir)?;
    if !staging.is_whole() {
        make(&staging, up, &ports, units)?;
    }
    staging.settle()?;
    let testnet = Testnet::load(dir)?;
    if testnet.nodes.len() != up.nodes {
        return Err(other_ledger(dir, &testnet));
    }
    Ok(Founding { operators: operators(dir, units)?, testnet })
}

/// The managing unit of the sample city.
fn city_of(units: &[SampleUnit]) -> Result<&SampleUnit, TestnetError> {
    let city = units.iter().find(|u| u.roles.iter().any(|r| r == "managing-unit-city"));
    city.ok_or_else(|| TestnetError::Setup("the sample data has no managing unit of the city".into()))
}

/// The posts of a unit's sample operators, one person each. The managing posts first: whoever asks a node something asks with
/// the first key of its unit, and those of the city's stand in the genesis. Of administration there are three people, each with
/// a second key.
fn posts_of(unit: &SampleUnit, city: &SampleUnit) -> Vec<&'static str> {
    let manages = unit.roles.iter().any(|r| r.starts_with("managing-unit"));
    let managing = if manages { &MANAGING_POSTS[..] } else { &[] };
    let admins = if unit.uscc == city.uscc { &ADMIN_POSTS[..] } else { &[] };
    [managing, &UNIT_POSTS[..], admins].concat()
}

/// Whether the genesis names an operator.
fn is_founder(unit: &SampleUnit, city: &SampleUnit, post: &str) -> bool {
    unit.uscc == city.uscc && MANAGING_POSTS.contains(&post)
}

/// Where an operator's key lies in a ledger's folder.
fn key_file(unit: &SampleUnit, post: &str) -> String {
    format!("keys/{}-{post}.pem", unit.uscc)
}

/// Where the second key of an operator lies.
fn second_key_file(unit: &SampleUnit, post: &str) -> String {
    format!("keys/{}-{post}-second.pem", unit.uscc)
}

/// The sample operators that the genesis does not name, with the keys that lie in a ledger's folder.
pub fn operators(dir: &Path, units: &[SampleUnit]) -> Result<Vec<SampleOperator>, TestnetError> {
    let (city, none) = (city_of(units)?, Passphrase::new(None));
    let key = |file: String| -> Result<SigningKey, TestnetError> { Ok(SigningKey::from_seed(&*read_secret(&dir.join(file), &none)?)) };
    let mut out = Vec::new();
    for unit in units {
        for post in posts_of(unit, city) {
            if is_admin(post) {
                let key = key(second_key_file(unit, post))?;
                out.push(SampleOperator { unit: unit.uscc.clone(), person: post, post: SECOND_KEY, key });
            }
            if !is_founder(unit, city, post) {
                out.push(SampleOperator { unit: unit.uscc.clone(), person: post, post, key: key(key_file(unit, post))? });
            }
        }
    }
    Ok(out)
}

/// Makes everything, the description last.
fn make(staging: &Staging, up: &Up, ports: &[u16], units: &[SampleUnit]) -> Result<(), TestnetError> {
    let Up { nodes, tls, empty, .. } = *up;
    let dir = staging.within();
    let crypto = |e: vermilion_crypto::CryptoError| TestnetError::Setup(e.to_string());
    let mkdir = |path: &Path| std::fs::create_dir_all(path).map_err(|e| TestnetError::File(path.into(), e));
    mkdir(&dir.join("keys"))?;
    let enrolment = format!("127.0.0.1:{}", ports[nodes * 2]);
    let names: Vec<(&str, &str)> = std::iter::once(("city", CITY)).chain(DISTRICTS).take(nodes).collect();
    let (ledger, lookup, vault) =
        (SigningKey::generate().map_err(crypto)?, LookupKey::generate().map_err(crypto)?, VaultSecretKey::generate().map_err(crypto)?);
    let city_unit = city_of(units)?;
    let time_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as u64);
    let mut authority = TestAuthority::found(dir, &city_unit.uscc, time_ms, tls.unwrap_or(Term::USUAL))?;
    let tls = tls.is_some();
    let mut genesis_nodes = Vec::new();
    let mut test_nodes = Vec::new();
    for (n, (name, district)) in names.iter().enumerate() {
        let address = |port: u16| format!("127.0.0.1:{port}");
        let (grpc, http) = (address(ports[n * 2]), address(ports[n * 2 + 1]));
        let secrets = Secrets { lookup: Some(lookup.bytes()), vault: Some(vault.bytes()), ledger: (*district == CITY).then_some(&ledger) };
        let node = (n as u64 + 1, *name, *district);
        let (entry, test_node) = write_node(dir, node, (grpc, http), &secrets, false)?;
        if tls {
            give_certificate(dir, node, &enrolment, &mut authority)?;
        }
        genesis_nodes.push(entry);
        test_nodes.push(TestNode { data_dir: staging.settled(&test_node.data_dir), ..test_node });
    }
    let mut config = Config {
        ledger_id: String::new(),
        genesis: "genesis.bin".into(),
        trust: Some("trust.json".into()),
        state_dir: None,
        passphrase_file: None,
        enrolment: if tls { vec![enrolment.clone()] } else { Vec::new() },
        accept_expired_until_ms: 0,
        nodes: test_nodes.iter().map(|n| NodeEntry { name: n.name.clone(), grpc: n.grpc.clone(), http: n.http.clone() }).collect(),
        units: Vec::new(),
        operators: Vec::new(),
    };
    let mut founding = Vec::new();
    for unit in units {
        let secret = format!("keys/{}-secret.pem", unit.uscc);
        write_secret(&dir.join(&secret), &random().map_err(crypto)?, None)?;
        config.units.push(UnitEntry { uscc: unit.uscc.clone(), secret: secret.into(), passphrase_file: None });
        for post in posts_of(unit, city_unit) {
            let key = SigningKey::generate().map_err(crypto)?;
            let file = key_file(unit, post);
            write_secret(&dir.join(&file), &key.seed(), None)?;
            let certificate = tls.then(|| PathBuf::from(format!("keys/{}-{post}.cert.pem", unit.uscc)));
            if let Some(certificate) = &certificate {
                authority.issue_operator(unit, post, key.public(), &dir.join(certificate))?;
            }
            let mut second_key = None;
            if is_admin(post) {
                let second = SigningKey::generate().map_err(crypto)?;
                let file = second_key_file(unit, post);
                write_secret(&dir.join(&file), &second.seed(), None)?;
                second_key = Some(KeySource::File(file.into()));
            }
            config.operators.push(OperatorEntry {
                second_key,
                unit: unit.uscc.clone(),
                name: String::new(),
                posts: vec![post.into()],
                key: file.into(),
                passphrase_file: None,
                certificate,
            });
            if is_founder(unit, city_unit, post) {
                founding.push(AddOperator { operator: Some(operator(&unit.uscc, post, &key, &lookup)) });
            }
        }
    }
    let genesis = Genesis {
        format_version: 1,
        suite: SUITE_1,
        origin: ORIGIN.into(),
        time_ms,
        nonce: random::<16>().map_err(crypto)?.to_vec(),
        nodes: genesis_nodes,
        ledger_key: ledger.public().0.to_vec(),
        vault_keys: vec![VaultKey {
            key_id: vault.public().id().to_vec(),
            suite: SUITE_1,
            public_key: vault.public().0.to_vec(),
            area: CITY.into(),
        }],
        managing_unit: Some(RegisterUnit { unit: Some(unit_message(city_unit)) }),
        operators: founding,
        policy: Vec::new(),
        calendar: vec![calendar()],
        lookup_key_digest: lookup.commitment().to_vec(),
        root_certificate: authority.root.der().to_vec(),
        issuing_certificate: authority.issuing.der().to_vec(),
        // Those who connect over TLS: without any the ledger is plain.
        certificates: if tls { authority.issued } else { Vec::new() },
    };
    let head = Head { format_version: 1, suite: SUITE_1, ..Default::default() };
    let payload = Command { head: Some(head), body: Some(Body { of: Some(Of::Genesis(genesis.clone())) }) }.encode_to_vec();
    let write = |name: &str, bytes: &[u8]| std::fs::write(dir.join(name), bytes).map_err(|e| TestnetError::File(dir.join(name), e));
    write("genesis.bin", &payload)?;
    let id = vermilion_registry::ledger_id(&payload);
    config.ledger_id = hex::encode(id);
    write("client.toml", config.to_toml()?.as_bytes())?;
    let trust = vermilion_registry::pinned::trust_of(&genesis, id, None, true).map_err(|e| TestnetError::Setup(e.to_string()))?;
    let text = serde_json::to_string_pretty(&TrustFile::of(&trust)).map_err(|e| TestnetError::Setup(e.to_string()))?;
    write("trust.json", text.as_bytes())?;
    let client = staging.settled(&dir.join("client.toml"));
    Testnet { nodes: test_nodes, client, enrolment: tls.then_some(enrolment), populated: false, empty }.save(dir)
}

/// The person in a sample post: the word stands for a person's code.
#[must_use]
pub fn sample_person(unit: &str, post: &str) -> String {
    format!("sample-person-{unit}-{post}").to_ascii_uppercase()
}

fn operator(unit: &str, post: &str, key: &SigningKey, lookup: &LookupKey) -> Operator {
    Operator {
        key_id: key.public().id().to_vec(),
        suite: SUITE_1,
        public_key: key.public().0.to_vec(),
        person_tag: lookup.tag("person", "999", &sample_person(unit, post)).to_vec(),
        unit: unit.into(),
        posts: vec![post.into()],
        ..Default::default()
    }
}

/// A sample unit as it is registered.
#[must_use]
pub fn unit_message(unit: &SampleUnit) -> Unit {
    let level = if unit.district == CITY { "city" } else { "district" };
    Unit {
        uscc: unit.uscc.clone(),
        name_zh: unit.name.clone(),
        area: unit.district.clone(),
        level: level.into(),
        roles: unit.roles.clone(),
        ..Default::default()
    }
}

/// The working-day calendar of a made-up year plan: only fixed-date holidays that need no decree.
fn calendar() -> CalendarYear {
    CalendarYear { year: 2026, holidays: vec!["2026-01-01".into(), "2026-05-01".into(), "2026-10-01".into()], worked_weekends: Vec::new() }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::sample::Sample;

    const UP: Up = Up { nodes: 3, base_port: None, tls: None, empty: false };

    #[test]
    fn listeners_have_ports_of_their_own_or_none() {
        assert_eq!(free_ports(7, Some(65_529)).unwrap(), (65_529..=65_535).collect::<Vec<_>>());
        for base in [0, 65_530, 65_533, 65_535] {
            let error = free_ports(7, Some(base)).unwrap_err();
            assert!(error.exit() == 2 && error.to_string().contains("65535"), "{error}");
        }
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = taken.local_addr().unwrap().port();
        // The one before it may be taken as well.
        assert!(free_ports(2, Some(port - 1)).unwrap_err().to_string().contains("is taken"));
        let error = free_ports(1, Some(port)).unwrap_err();
        assert!(error.exit() == 2 && error.to_string().contains(&format!("port {port} is taken")), "{error}");
        let free = free_ports(7, None).unwrap();
        assert_eq!(free.iter().collect::<std::collections::BTreeSet<_>>().len(), 7);
    }

    #[test]
    fn what_cannot_be_leaves_nothing() {
        let (folder, sample) = (tempfile::tempdir().unwrap(), Sample::load().unwrap());
        let dir = folder.path().join("t");
        for up in [Up { nodes: 0, ..UP }, Up { nodes: 11, ..UP }, Up { base_port: Some(65_533), ..UP }] {
            assert_eq!(found(&dir, &up, sample.units()).err().map(|e| e.exit()), Some(2), "{up:?}");
        }
        assert!(!dir.exists());
        // What stands there without a ledger is somebody's.
        std::fs::create_dir_all(dir.join("keys")).unwrap();
        let error = found(&dir, &UP, sample.units()).err().unwrap();
        assert!(error.exit() == 2 && error.to_string().contains("keys is there without a ledger"), "{error}");
    }

    #[test]
    fn a_founding_that_was_broken_off_is_begun_anew_or_finished() {
        let (folder, sample) = (tempfile::tempdir().unwrap(), Sample::load().unwrap());
        let dir = folder.path();
        // In the middle of making it.
        std::fs::create_dir_all(dir.join(".founding/authority")).unwrap();
        std::fs::write(dir.join(".founding/authority/root-key.pem"), "half").unwrap();
        assert_eq!(Testnet::made(dir).unwrap(), None);
        let first = found(dir, &Up { tls: Some(Term::USUAL), empty: true, ..UP }, sample.units()).unwrap();
        assert!(!dir.join(".founding").exists());
        let Testnet { client, nodes, populated, empty, .. } = &first.testnet;
        assert_eq!((client, *populated, *empty), (&dir.join("client.toml"), false, true));
        assert!(
            nodes.iter().all(|n| n.data_dir.starts_with(dir.join("nodes")) && Testnet::node_dir(dir, &n.name).join("tls.pem").exists())
        );
        assert!(first.operators.len() > sample.units().len());

        // While it was moved: what is made stays what it is.
        let genesis = std::fs::read(dir.join("genesis.bin")).unwrap();
        std::fs::create_dir(dir.join(".founding")).unwrap();
        for name in ["trust.json", "client.toml", "testnet.json"] {
            std::fs::rename(dir.join(name), dir.join(".founding").join(name)).unwrap();
        }
        assert!(!Testnet::is_there(dir));
        // Whoever does not say how many nodes is told how many there are.
        assert_eq!(Testnet::made(dir).unwrap(), Some(first.testnet.clone()));
        let error = found(dir, &Up { nodes: 2, ..UP }, sample.units()).err().unwrap();
        assert!(error.exit() == 2 && error.to_string().contains("a ledger of 3 nodes"), "{error}");
        assert_eq!(Testnet::load(dir).unwrap(), first.testnet);
        assert_eq!((std::fs::read(dir.join("genesis.bin")).unwrap(), dir.join("client.toml").exists()), (genesis, true));
        let keys = |of: &[SampleOperator]| of.iter().map(|o| o.key.public().0).collect::<Vec<_>>();
        assert_eq!(keys(&operators(dir, sample.units()).unwrap()), keys(&first.operators));
    }
}
