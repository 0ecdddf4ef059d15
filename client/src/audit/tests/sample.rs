//! A small ledger in memory, with real signatures, contents and checkpoints.

use crate::audit::{Directory, Options, ReadError, Report, Source, audit};
use std::collections::BTreeMap;
use std::path::Path;
use vermilion_crypto::{ContentKey, SeededRng, SigningKey, VaultSecretKey, sha256};
use vermilion_identity::{AuthorityName, Serial, Validity, authority};
use vermilion_ledger::{Checkpoint, SignedNote, Tree, Trust, cosign, make_checkpoint};
use vermilion_proto::body::Of;
use vermilion_proto::{
    AddOperator, Body, Bytes, Command, Commitment, EraseContent, Evidence, Genesis, GenesisNode, Head, HolderTag, IdentifierClass,
    Implementation, IssueLicences, LicenceItem, LicenceType, Message as _, Operator, Origin, Provenance, PublishType, Record, RegisterUnit,
    Sharing, SharingDecision, Signer, SignerKind, StoredRecord, SupersedeLicence, Unit, VaultKey,
};
use vermilion_registry::codes::{identifier::Identifier, uscc};
use vermilion_registry::kv::Memory;
use vermilion_registry::submission::{Sealed, open_recorded};
use vermilion_registry::vault::{Plain, Session};
use vermilion_registry::{BlockEffects, BlockInput, Checked, Registry, days, pinned, stored};
use vermilion_storage::{Commit, Mode, Store, VaultPut};

pub const START: u64 = 1_795_219_200_000;
pub const CITY: &str = "11440300MB0X00019K";
const MANAGERS: [(&str, &str); 3] = [("ann", "approve"), ("oli", "operate"), ("vera", "verify")];

pub fn key(name: &str) -> SigningKey {
    SigningKey::from_seed(&sha256(name.as_bytes()))
}

pub fn operator(name: &str, unit: &str, post: &str) -> AddOperator {
    let public = key(name).public();
    AddOperator {
        operator: Some(Operator {
            key_id: public.id().to_vec(),
            suite: 1,
            public_key: public.0.to_vec(),
            person_tag: sha256(format!("person {name}").as_bytes()).to_vec(),
            unit: unit.into(),
            posts: vec![post.into()],
            ..Default::default()
        }),
    }
}

fn unit(code: &str, area: &str, role: &str) -> Unit {
    let level = if area == "440300" { "city" } else { "district" };
    Unit {
        uscc: code.into(),
        name_zh: "样例单位".into(),
        area: area.into(),
        level: level.into(),
        roles: vec![role.into()],
        ..Default::default()
    }
}

fn genesis() -> Genesis {
    let vault = VaultSecretKey::from_bytes([3; 32]).public();
    Genesis {
        format_version: 1,
        suite: 1,
        origin: "vermilion.example/audit".into(),
        time_ms: START,
        nonce: vec![1; 16],
        nodes: (1..=3u64)
            .map(|n| GenesisNode {
                raft_id: n,
                name: format!("node-{n}"),
                node_key: key(&format!("node {n}")).public().0.to_vec(),
                cosigning_key: key(&format!("cosigner {n}")).public().0.to_vec(),
                district: "440300".into(),
                city: n == 1,
                peer_address: String::new(),
            })
            .collect(),
        ledger_key: key("ledger").public().0.to_vec(),
        vault_keys: vec![VaultKey { key_id: vault.id().to_vec(), suite: 1, public_key: vault.0.to_vec(), area: "440300".into() }],
        managing_unit: Some(RegisterUnit { unit: Some(unit(CITY, "440300", "managing-unit-city")) }),
        operators: MANAGERS.iter().map(|(name, post)| operator(name, CITY, post)).collect(),
        lookup_key_digest: vec![7; 32],
        ..Default::default()
    }
}

/// What a node writes for one block.
struct Written {
    effects: BlockEffects,
    records: Vec<StoredRecord>,
    sealed: Sealed,
    tiles: Vec<(u8, u64, Vec<u8>)>,
}

pub struct Sample {
    pub genesis: Vec<u8>,
    pub trust: Trust,
    pub records: Vec<StoredRecord>,
    pub checkpoints: BTreeMap<u64, Vec<u8>>,
    pub issuer: String,
    kv: Memory,
    registry: Registry,
    tree: Tree,
    blocks: Vec<Written>,
    session: Session,
    now: u64,
    nonce: u64,
    submitted: u64,
    /// How many commands come at one time.
    pub commands_a_second: u64,
}

impl Sample {
    /// Genesis, an issuing unit with maker and checker, a type.
    pub fn new() -> Self {
        Self::with(genesis())
    }

    /// The same in a ledger that has an authority, and so posts of administration.
    pub fn with_authority() -> Self {
        let validity = Validity { not_before_ms: START - 1_000, not_after_ms: START + 86_400_000 };
        let name = |name: &str| AuthorityName { trust_domain: "audit.example".into(), unit: CITY.into(), name: name.into() };
        let serial = |n: u8| Serial::new(&[n; 16]).unwrap();
        let root = authority::make_root(&key("root"), &name("Root"), &serial(1), validity).unwrap();
        let issuing = key("issuing").public();
        let issuing = authority::make_issuing(&key("root"), &root, issuing, &name("Issuing"), &serial(2), validity).unwrap();
        let genesis = Genesis { root_certificate: root.der().to_vec(), issuing_certificate: issuing.der().to_vec(), ..genesis() };
        Self::with(genesis)
    }

    fn with(genesis: Genesis) -> Self {
        let head = Head { format_version: 1, suite: 1, ..Default::default() };
        let payload = Command { head: Some(head), body: Some(Body { of: Some(Of::Genesis(genesis.clone())) }) }.encode_to_vec();
        let trust = pinned::trust_of(&genesis, vermilion_registry::ledger_id(&payload), None, true).unwrap();
        let mut kv = Memory::new();
        let effects = Registry::genesis(&payload, &kv).unwrap();
        kv.write(effects.writes.clone());
        let registry = Registry::open(&kv).unwrap();
        let vault = VaultSecretKey::from_bytes([3; 32]).public();
        let mut sample = Self {
            genesis: payload,
            trust,
            records: Vec::new(),
            checkpoints: BTreeMap::new(),
            issuer: uscc::build("11", "440305", "MB0X0001").unwrap(),
            kv,
            registry,
            tree: Tree::new(),
            blocks: Vec::new(),
            session: Session::new(ContentKey([2; 32]), &[vault], &mut SeededRng::new(&[3; 32])).unwrap(),
            now: START,
            nonce: 0,
            submitted: 0,
            commands_a_second: 1,
        };
        sample.keep(effects, Vec::new(), Sealed::default());
        let issuer = sample.issuer.clone();
        sample.managed(Of::RegisterUnit(RegisterUnit { unit: Some(unit(&issuer, "440305", "issuing-unit")) }));
        sample.managed(Of::AddOperator(operator("mia", &issuer, "maker")));
        sample.managed(Of::AddOperator(operator("carl", &issuer, "checker")));
        let implementations = vec![Implementation { unit: issuer, ..Default::default() }];
        sample.managed(Of::PublishType(PublishType { r#type: Some(licence_type()), implementations }));
        sample
    }

    /// With three licences, one of them twice (so refused), an erasure and two checkpoints.
    pub fn busy() -> Self {
        let mut sample = Self::new();
        sample.issue(&["A1", "A2"]);
        sample.commit();
        sample.issue(&["A1", "A3"]);
        sample.erase("A2");
        sample.commit();
        sample
    }

    fn keep(&mut self, effects: BlockEffects, items: Vec<Bytes>, sealed: Sealed) {
        let (mut records, mut tiles) = (Vec::new(), Vec::new());
        for new in &effects.records {
            let record =
                StoredRecord { format_version: 1, record: new.bytes.clone().into(), items: items.clone(), chain: new.chain.to_vec() };
            tiles.extend(self.tree.append(vermilion_ledger::leaf_hash(&new.leaf)).into_iter().map(|t| (t.level, t.index, t.bytes)));
            records.push(record);
        }
        self.records.extend(records.iter().cloned());
        self.blocks.push(Written { effects, records, sealed, tiles });
    }

    pub fn head(&mut self, unit: &str, signers: &[(&str, &str)]) -> Head {
        self.nonce += 1;
        let kind = if unit.is_empty() { SignerKind::Node } else { SignerKind::Operator };
        let signers = signers.iter().map(|(name, post)| Signer {
            key_id: key(name).public().id().to_vec(),
            unit: unit.into(),
            post: (*post).into(),
            kind: kind as i32,
            authentication: None,
        });
        Head {
            format_version: 1,
            suite: 1,
            ledger_id: self.registry.ledger_id().to_vec(),
            nonce: [[0; 8], self.nonce.to_be_bytes()].concat(),
            signers: signers.collect(),
            not_after_ms: self.now + 86_400_000,
            unit: unit.into(),
            ..Default::default()
        }
    }

    /// Applies a signed command in a block of its own.
    pub fn submit(&mut self, head: Head, of: Of, signers: &[&str], items: Vec<LicenceItem>, sealed: Sealed) {
        self.submitted += 1;
        if self.submitted.is_multiple_of(self.commands_a_second) {
            self.now += 1_000;
        }
        let keys: Vec<SigningKey> = signers.iter().map(|name| key(name)).collect();
        let command = Command { head: Some(head), body: Some(Body { of: Some(of) }) };
        let (_, envelope) = vermilion_identity::seal(&command, &keys.iter().collect::<Vec<_>>());
        let items: Vec<Bytes> = items.iter().map(|item| item.encode_to_vec().into()).collect();
        let (_, checked) = open_recorded(envelope.into(), items.clone()).unwrap();
        let checked = Checked { has_vault: !sealed.wraps.is_empty(), ..checked };
        let previous = self.registry.head().block.as_slice().try_into().unwrap();
        let input = BlockInput {
            hash: sha256(&self.submitted.to_be_bytes()),
            previous,
            proposer_key: key("node 2").public().0,
            proposer: 2,
            time_ms: self.now,
            commands: &[checked],
            expected: &[],
        };
        let effects = self.registry.apply_block(&self.kv, &input).unwrap();
        assert_eq!((effects.void, effects.records.len()), (None, 1));
        assert_eq!(effects.records[0].refusal, None);
        self.kv.write(effects.writes.clone());
        self.keep(effects, items, sealed);
    }

    pub fn managed(&mut self, of: Of) {
        let head = self.head(CITY, &MANAGERS);
        self.submit(head, of, &MANAGERS.map(|(name, _)| name), Vec::new(), Sealed::default());
    }

    pub fn issue(&mut self, serials: &[&str]) {
        let issuer = self.issuer.clone();
        let mut head = self.head(&issuer, &[("mia", "maker"), ("carl", "checker")]);
        let contents: Vec<Vec<u8>> = serials.iter().map(|s| format!("{s:<500}").into_bytes()).collect();
        let plain: Vec<Plain<'_>> = contents.iter().map(|content| Plain { key: ContentKey(sha256(content)), content }).collect();
        let sealed = self.session.seal(&head.nonce, &plain, None).unwrap();
        head.wraps_digest = sealed.wraps_digest();
        let items: Vec<LicenceItem> =
            serials.iter().zip(&sealed.ciphertexts).map(|(serial, c)| item(&issuer, serial, &sha256(c))).collect();
        let encoded: Vec<Vec<u8>> = items.iter().map(LicenceItem::encode_to_vec).collect();
        let body = IssueLicences { items_root: vermilion_ledger::items_root(&encoded).to_vec(), items_count: items.len() as u32 };
        self.submit(head, Of::IssueLicences(body), &["mia", "carl"], items, sealed);
    }

    /// Issues the second version of a licence.
    pub fn supersede(&mut self, serial: &str) {
        let issuer = self.issuer.clone();
        let mut head = self.head(&issuer, &[("mia", "maker"), ("carl", "checker")]);
        let content = format!("{serial:<500}, renewed").into_bytes();
        let plain = [Plain { key: ContentKey(sha256(&content)), content: &content }];
        let sealed = self.session.seal(&head.nonce, &plain, None).unwrap();
        head.wraps_digest = sealed.wraps_digest();
        let item = LicenceItem {
            identifier: identifier(&issuer, serial, 2),
            version: 2,
            previous: identifier(&issuer, serial, 1),
            superseded_because: "renewal".into(),
            ..item(&issuer, serial, &sha256(&sealed.ciphertexts[0]))
        };
        let body = SupersedeLicence { items_root: vermilion_ledger::items_root(&[item.encode_to_vec()]).to_vec(), items_count: 1 };
        self.submit(head, Of::SupersedeLicence(body), &["mia", "carl"], vec![item], sealed);
    }

    pub fn erase(&mut self, serial: &str) {
        let issuer = self.issuer.clone();
        let mut head = self.head(CITY, &MANAGERS);
        (head.legal_basis, head.reason) = (vec!["个人信息保护法第四十七条".into()], "court-decision".into());
        head.evidence = vec![Evidence { kind: "judgment".into(), digest: vec![6; 32], ..Default::default() }];
        let body = EraseContent { licence: identifier(&issuer, serial, 1), kind: "erasure".into(), ..Default::default() };
        self.submit(head, Of::EraseContent(body), &MANAGERS.map(|(name, _)| name), Vec::new(), Sealed::default());
    }

    /// A commitment record and its checkpoint, with all cosignatures.
    pub fn commit(&mut self) {
        let head = self.head("", &[("node 1", "leader")]);
        self.submit(head, Of::Commitment(Commitment::default()), &["node 1"], Vec::new(), Sealed::default());
        let (size, root) = (self.tree.size(), self.tree.root());
        self.checkpoints.insert(size, note(size, root, &[1, 2, 3]));
    }

    pub fn source(&self, name: &str) -> Memoried {
        let records = (0..).zip(self.records.iter().cloned()).collect();
        Memoried { name: name.into(), records, checkpoints: self.checkpoints.clone(), size: self.records.len() as u64 }
    }

    /// Writes a node's data directory.
    pub fn write(&self, dir: &Path) {
        let store = Store::open(dir, Mode::Node).unwrap();
        for (n, block) in self.blocks.iter().enumerate() {
            // There is no Raft log.
            let applied = Some((0, 0));
            let mut commit = Commit { applied, state: block.effects.writes.clone(), tiles: block.tiles.clone(), ..Default::default() };
            for (new, record) in block.effects.records.iter().zip(&block.records) {
                commit.records.push((new.seq, record.encode_to_vec()));
                if new.accepted {
                    let kept = |n: &u32| new.kept_positions.contains(n);
                    commit.vault.push(VaultPut {
                        seq: new.seq,
                        ciphertexts: (0u32..).zip(block.sealed.ciphertexts.clone()).filter(|(n, _)| kept(n)).collect(),
                        wraps: block.sealed.wraps.clone(),
                        text: block.sealed.text.clone(),
                    });
                }
            }
            commit.erase = block.effects.erase.iter().map(|e| (e.seq, e.position)).collect();
            if n == 0 { store.init(1, &[1, 2, 3], &commit).unwrap() } else { store.commit(&commit).unwrap() }
        }
        for (size, note) in &self.checkpoints {
            store.put_checkpoint(*size, note).unwrap();
        }
        store.flush().unwrap();
    }
}

/// A checkpoint under the ledger key and by these nodes.
pub fn note(size: u64, root: [u8; 32], nodes: &[u64]) -> Vec<u8> {
    note_by(&["ledger"], size, root, nodes)
}

/// The same under these ledger keys.
pub fn note_by(ledger: &[&str], size: u64, root: [u8; 32], nodes: &[u64]) -> Vec<u8> {
    let checkpoint = Checkpoint { origin: "vermilion.example/audit".into(), size, root };
    let signed = ledger.iter().flat_map(|name| make_checkpoint(&checkpoint, &key(name)).unwrap().lines().to_vec());
    let cosigned = nodes.iter().map(|n| {
        let name = pinned::witness_name(&checkpoint.origin, &format!("node-{n}"));
        cosign(&checkpoint.body(), &name, &key(&format!("cosigner {n}")), START / 1000).unwrap()
    });
    SignedNote::new(&checkpoint.body(), signed.chain(cosigned).collect()).unwrap().to_bytes()
}

fn licence_type() -> LicenceType {
    LicenceType {
        code: format!("{CITY}001"),
        version: 1,
        name_zh: "公共场所卫生许可证".into(),
        kind: "证件".into(),
        defining_authority: CITY.into(),
        holder_code_types: vec!["001".into()],
        identifier_class: IdentifierClass::Public as i32,
        content_schema: r#"{"type":"object"}"#.into(),
        retention_years: 20,
        sharing: Some(SharingDecision { sharing: Sharing::Unconditional as i32, ..Default::default() }),
        ..Default::default()
    }
}

fn identifier(issuer: &str, serial: &str, version: u16) -> String {
    Identifier::build(&format!("{CITY}001"), issuer, serial, version).unwrap().as_str().to_owned()
}

fn item(issuer: &str, serial: &str, ciphertext_digest: &[u8; 32]) -> LicenceItem {
    let issued = days::of(START) - 10;
    LicenceItem {
        format_version: 1,
        identifier: identifier(issuer, serial, 1),
        type_code: format!("{CITY}001"),
        type_version: 1,
        issuing_authority: issuer.into(),
        area: "440305".into(),
        version: 1,
        decided_on: issued,
        issued_on: issued,
        expires_on: issued + 5 * 365,
        holders: vec![HolderTag { tag: sha256(serial.as_bytes()).to_vec(), code_type: "001".into() }],
        schema_version: 1,
        field_digests: (0..10u8).flat_map(|n| [n; 32]).collect(),
        field_classes: vec![1; 10],
        provenance: Some(Provenance { origin: Origin::New as i32, source_row_digest: vec![5; 32], ..Default::default() }),
        ciphertext_digest: ciphertext_digest.to_vec(),
        ..Default::default()
    }
}

/// A source in memory.
#[derive(Clone, Default)]
pub struct Memoried {
    pub name: String,
    pub records: BTreeMap<u64, StoredRecord>,
    pub checkpoints: BTreeMap<u64, Vec<u8>>,
    pub size: u64,
}

impl Source for Memoried {
    fn name(&self) -> &str {
        &self.name
    }
    fn size(&self) -> Result<u64, ReadError> {
        Ok(self.size)
    }
    fn records(&self, from: u64, visit: &mut dyn FnMut(u64, &[u8]) -> bool) -> Result<(), ReadError> {
        for (seq, record) in self.records.range(from..) {
            if !visit(*seq, &record.encode_to_vec()) {
                break;
            }
        }
        Ok(())
    }
    fn checkpoint(&self, size: u64) -> Result<Option<Vec<u8>>, ReadError> {
        Ok(self.checkpoints.get(&size).cloned())
    }
    fn checkpoints(&self, _: &[u64], visit: &mut dyn FnMut(u64, Vec<u8>) -> bool) -> Result<(), ReadError> {
        let _ = self.checkpoints.iter().all(|(size, note)| visit(*size, note.clone()));
        Ok(())
    }
}

impl Memoried {
    /// Rewrites a record, then every chain hash from there on.
    pub fn rewrite(&mut self, seq: u64, change: impl FnOnce(&mut Record)) {
        let mut record = stored::open_record(&self.records[&seq]).unwrap().record;
        change(&mut record);
        self.records.get_mut(&seq).unwrap().record = record.encode_to_vec().into();
        let mut chain: [u8; 32] = self.records[&(seq - 1)].chain.as_slice().try_into().unwrap();
        for (_, record) in self.records.range_mut(seq..) {
            chain = vermilion_ledger::chain_next(&chain, &vermilion_ledger::record_hash(&record.record));
            record.chain = chain.to_vec();
        }
    }
}

/// Audits and says which codes were found where. An audit without memory for its state finds the same.
pub fn found(sources: &[&dyn Source], options: &Options) -> (Report, Vec<(&'static str, Option<u64>)>) {
    let report = audit(sources, options, &|_, _, _, _| {}).unwrap();
    if options.replay {
        let crowded = audit(sources, &Options { memory: 0, ..options.clone() }, &|_, _, _, _| {}).unwrap();
        assert_eq!(Report { seconds: 0.0, ..crowded }.to_json(), Report { seconds: 0.0, ..report.clone() }.to_json());
    }
    let found = report.findings.iter().map(|f| (f.code.name(), f.seq)).collect();
    (report, found)
}

pub fn open(dir: &Path) -> Directory {
    Directory::open(dir).unwrap()
}
