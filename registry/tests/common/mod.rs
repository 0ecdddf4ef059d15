//! A small world to test in: a ledger with its genesis, people and units with names instead of
//! keys and codes, and one block for each command.
#![allow(dead_code, missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

pub mod bent;
pub mod identity;
pub mod licences;
pub mod script;

use std::collections::BTreeMap;
use vermilion_crypto::{KeyId, SigningKey, VaultSecretKey, hash, sha256};
use vermilion_proto::{
    AddOperator, Authentication, Body, Command, Genesis, GenesisNode, Head, LicenceItem, Message, Operator, RegisterUnit, Signer,
    SignerKind, Unit, VaultKey, body::Of,
};
use vermilion_registry::codes::uscc;
use vermilion_registry::kv::Memory;
use vermilion_registry::{BlockEffects, BlockInput, Checked, CommandResult, Erase, NewRecord, Reason, Registry};

/// 2026-11-21 08:00 in the city.
pub const START: u64 = 1_795_219_200_000;
pub const DAY: u64 = 86_400_000;
pub const CITY: &str = "11440300MB0X00019K";

#[derive(Clone)]
pub struct Person {
    pub key_id: KeyId,
    pub public: [u8; 32],
    pub unit: String,
    pub post: String,
}

pub struct World {
    pub kv: Memory,
    pub registry: Registry,
    pub now: u64,
    pub people: BTreeMap<String, Person>,
    pub units: BTreeMap<String, String>,
    pub blocks: Vec<(u64, Vec<Checked>)>,
    pub records: Vec<NewRecord>,
    /// What the last block erased.
    pub erased: Vec<Erase>,
    pub genesis: Vec<u8>,
    nonce: u64,
}

pub fn key(name: &str) -> SigningKey {
    SigningKey::from_seed(&sha256(name.as_bytes()))
}

pub fn node_key(n: u64) -> SigningKey {
    key(&format!("node {n}"))
}

pub fn person(name: &str, unit: &str, post: &str) -> Person {
    let public = key(name).public();
    Person { key_id: public.id(), public: public.0, unit: unit.to_owned(), post: post.to_owned() }
}

pub fn operator(name: &str, who: &str, unit: &str, posts: &[&str]) -> Operator {
    let public = key(name).public();
    Operator {
        key_id: public.id().to_vec(),
        suite: 1,
        public_key: public.0.to_vec(),
        person_tag: sha256(format!("person {who}").as_bytes()).to_vec(),
        unit: unit.to_owned(),
        posts: posts.iter().map(|p| (*p).to_owned()).collect(),
        ..Default::default()
    }
}

pub fn city_unit() -> Unit {
    Unit {
        uscc: CITY.into(),
        name_zh: "样例市电子证照管理单位".into(),
        area: "440300".into(),
        level: "city".into(),
        roles: vec!["managing-unit-city".into()],
        ..Default::default()
    }
}

pub fn genesis() -> Genesis {
    let vault = VaultSecretKey::from_bytes([3; 32]).public();
    Genesis {
        format_version: 1,
        suite: 1,
        origin: "vermilion.example/test".into(),
        time_ms: START,
        nonce: vec![1; 16],
        nodes: (1..=3)
            .map(|n| GenesisNode {
                raft_id: n,
                name: format!("node-{n}"),
                node_key: node_key(n).public().0.to_vec(),
                cosigning_key: key(&format!("cosigner {n}")).public().0.to_vec(),
                district: if n == 1 { "440300".into() } else { format!("44030{}", n + 2) },
                city: n == 1,
                ..Default::default()
            })
            .collect(),
        ledger_key: key("ledger").public().0.to_vec(),
        vault_keys: vec![VaultKey { key_id: vault.id().to_vec(), suite: 1, public_key: vault.0.to_vec(), area: "440300".into() }],
        managing_unit: Some(RegisterUnit { unit: Some(city_unit()) }),
        operators: [("ann", "approve"), ("oli", "operate"), ("vera", "verify")]
            .iter()
            .map(|(name, post)| AddOperator { operator: Some(operator(name, name, CITY, &[post])) })
            .collect(),
        policy: Vec::new(),
        calendar: Vec::new(),
        lookup_key_digest: vec![7; 32],
        ..Default::default()
    }
}

pub fn genesis_payload(genesis: Genesis) -> Vec<u8> {
    let head = Head { format_version: 1, suite: 1, ..Default::default() };
    Command { head: Some(head), body: Some(Body { of: Some(Of::Genesis(genesis)) }) }.encode_to_vec()
}

/// Gives a command the grounds that what is done to units and credentials needs.
pub fn ground(head: &mut Head) {
    head.legal_basis = vec!["002-6".into()];
    head.reason = "inspection".into();
}

impl World {
    pub fn new() -> Self {
        Self::with(genesis())
    }

    /// A world that begins with this genesis.
    pub fn with(genesis: Genesis) -> Self {
        let payload = genesis_payload(genesis);
        let mut kv = Memory::new();
        let effects = Registry::genesis(&payload, &kv).unwrap();
        kv.write(effects.writes);
        let registry = Registry::open(&kv).unwrap();
        let mut people = BTreeMap::new();
        for (name, post) in [("ann", "approve"), ("oli", "operate"), ("vera", "verify")] {
            people.insert(name.to_owned(), person(name, CITY, post));
        }
        let units = BTreeMap::from([("city".to_owned(), CITY.to_owned())]);
        Self {
            kv,
            registry,
            now: START,
            people,
            units,
            blocks: Vec::new(),
            records: effects.records,
            erased: vec![],
            genesis: payload,
            nonce: 0,
        }
    }

    /// The code of a unit's name: made on first sight, in the area.
    pub fn uscc(&mut self, name: &str, area: &str) -> String {
        let next = self.units.len();
        let division = if area.len() == 6 { area } else { "440300" };
        self.units.entry(name.to_owned()).or_insert_with(|| uscc::build("11", division, &format!("MB0X{next:04}")).unwrap()).clone()
    }

    /// A head signed by `sign`: names, each with its first post or, behind a colon, another.
    pub fn head(&mut self, unit: &str, sign: &[&str]) -> Head {
        self.nonce += 1;
        let signers = sign
            .iter()
            .map(|s| {
                let (name, post) = s.split_once(':').map_or((*s, None), |(n, p)| (n, Some(p)));
                let person = self.people.get(name).cloned().unwrap_or_else(|| person(name, unit, "maker"));
                Signer {
                    key_id: person.key_id.to_vec(),
                    unit: person.unit,
                    post: post.map_or(person.post, str::to_owned),
                    kind: SignerKind::Operator as i32,
                    authentication: None,
                }
            })
            .collect();
        Head {
            format_version: 1,
            suite: 1,
            ledger_id: self.registry.ledger_id().to_vec(),
            nonce: [[0; 8], self.nonce.to_be_bytes()].concat(),
            signers,
            not_after_ms: self.now + DAY,
            unit: unit.to_owned(),
            ..Default::default()
        }
    }

    /// Has each of these people who signs in a post of administration sign with the second key as well, which
    /// [`World::add_second_key`] gave him.
    pub fn second_keys(&self, head: &mut Head, names: &[&str]) {
        let admins = head.signers.iter_mut().zip(names).filter(|(line, _)| line.post.ends_with("-admin"));
        let lines: Vec<Signer> = admins
            .map(|(line, name)| {
                line.authentication = Some(Authentication { factor: 1, second_factor: 2, ..Default::default() });
                let name = second_key_of(name);
                Signer { key_id: key(&name).public().id().to_vec(), post: "second-key".into(), authentication: None, ..line.clone() }
            })
            .collect();
        head.signers.extend(lines);
    }

    /// Registers a second key of a person who has one key already.
    pub fn add_second_key(&mut self, name: &str, unit: &str) {
        let head = self.head(CITY, &["ann", "oli", "vera"]);
        let second = operator(&second_key_of(name), name, unit, &["second-key"]);
        self.must(head, Of::AddOperator(AddOperator { operator: Some(second) }), vec![]);
    }

    pub fn block(&mut self, commands: Vec<Checked>) -> BlockEffects {
        let previous: [u8; 32] = self.registry.head().block.as_slice().try_into().unwrap();
        let hash = hash::derive(&hash::CTX_BLOCK, &[&previous, &self.now.to_be_bytes(), &(self.blocks.len() as u64).to_be_bytes()]);
        let input = BlockInput {
            hash,
            previous,
            proposer_key: node_key(1).public().0,
            proposer: 1,
            time_ms: self.now,
            commands: &commands,
            expected: &[],
        };
        let effects = self.registry.apply_block(&self.kv, &input).unwrap();
        assert_eq!(effects.void, None);
        self.kv.write(effects.writes.clone());
        self.records.extend(effects.records.iter().cloned());
        self.erased.clone_from(&effects.erase);
        self.blocks.push((self.now, commands));
        effects
    }

    /// Applies one command in a block of its own, a second later.
    pub fn apply(&mut self, head: Head, of: Of, items: Vec<LicenceItem>) -> (CommandResult, Option<NewRecord>) {
        self.now += 1_000;
        let effects = self.block(vec![checked(head, of, items)]);
        (effects.results[0], effects.records.into_iter().next())
    }

    /// The reason for which a command is refused, or none.
    pub fn reason(&mut self, head: Head, of: Of, items: Vec<LicenceItem>) -> Option<Reason> {
        let (result, record) = self.apply(head, of, items);
        Reason::from_number(record.unwrap_or_else(|| panic!("no record: {result:?}")).outcome.code)
    }

    /// Applies a command that must be taken.
    pub fn must(&mut self, head: Head, of: Of, items: Vec<LicenceItem>) -> NewRecord {
        let (result, record) = self.apply(head, of, items);
        let record = record.unwrap_or_else(|| panic!("no record: {result:?}"));
        assert!(record.outcome.code == 0 && record.outcome.refused.is_empty(), "{:?} {:?}", record.refusal, record.outcome);
        record
    }

    pub fn add_unit(&mut self, name: &str, area: &str, roles: &[&str]) -> String {
        let uscc = self.uscc(name, area);
        let unit = Unit {
            uscc: uscc.clone(),
            name_zh: name.into(),
            area: area.into(),
            level: if area == "440300" { "city" } else { "district" }.into(),
            roles: roles.iter().map(|r| (*r).to_owned()).collect(),
            ..Default::default()
        };
        let head = self.head(CITY, &["ann", "oli", "vera"]);
        self.must(head, Of::RegisterUnit(RegisterUnit { unit: Some(unit) }), vec![]);
        uscc
    }

    pub fn add_operator(&mut self, name: &str, unit: &str, posts: &[&str]) {
        let head = self.head(CITY, &["ann", "oli", "vera"]);
        self.must(head, Of::AddOperator(AddOperator { operator: Some(operator(name, name, unit, posts)) }), vec![]);
        self.people.insert(name.to_owned(), person(name, unit, posts[0]));
    }
}

/// Replays a world's blocks over its genesis, reopening the registry before every `reopen`th block.
pub fn replay(world: &World, reopen: usize) -> (Memory, Vec<Vec<u8>>) {
    let mut kv = Memory::new();
    let first = Registry::genesis(&world.genesis, &kv).unwrap();
    kv.write(first.writes);
    let mut records: Vec<Vec<u8>> = first.records.into_iter().map(|r| r.bytes).collect();
    let mut registry = Registry::open(&kv).unwrap();
    for (n, (time_ms, commands)) in world.blocks.iter().enumerate() {
        if n % reopen == 0 {
            registry = Registry::open(&kv).unwrap().with_rules(vermilion_registry::RULES_VERSION).unwrap();
        }
        let previous: [u8; 32] = registry.head().block.as_slice().try_into().unwrap();
        let hash = hash::derive(&hash::CTX_BLOCK, &[&previous, &time_ms.to_be_bytes(), &(n as u64).to_be_bytes()]);
        // Whether the vault's contents are at hand decides nothing.
        let commands: Vec<_> = commands
            .iter()
            .cloned()
            .map(|mut c| {
                c.has_vault = false;
                c
            })
            .collect();
        let input = BlockInput {
            hash,
            previous,
            proposer_key: node_key(1).public().0,
            proposer: 1,
            time_ms: *time_ms,
            commands: &commands,
            expected: &[],
        };
        let effects = registry.apply_block(&kv, &input).unwrap();
        assert!(effects.writes.is_sorted_by(|a, b| a.0 < b.0));
        kv.write(effects.writes);
        records.extend(effects.records.into_iter().map(|r| r.bytes));
    }
    (kv, records)
}

/// A command as the gate hands it over.
pub fn checked(head: Head, of: Of, items: Vec<LicenceItem>) -> Checked {
    let signer_keys = head.signers.iter().filter_map(|s| KeyId::try_from(s.key_id.as_slice()).ok()).collect();
    let command = Command { head: Some(head), body: Some(Body { of: Some(of) }) };
    let payload = command.encode_to_vec();
    let items: Vec<_> = items.into_iter().map(|i| (i.encode_to_vec().into(), i)).collect();
    Checked {
        id: hash::derive(&hash::CTX_COMMAND_ID, &[&payload]),
        envelope: payload.into(),
        command,
        signer_keys,
        has_vault: !items.is_empty(),
        items,
        beside_digest: Vec::new(),
    }
}

/// The name of a person's second key.
fn second_key_of(name: &str) -> String {
    format!("{}-second", name.split(':').next().unwrap_or_default())
}
