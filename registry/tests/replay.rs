//! The same blocks give the same records, writes and state; whatever commands say, apply answers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod common;

use common::licences::{holder, issue_body, item, personal, with_health};
use common::{CITY, DAY, START, World, checked, node_key, replay};
use proptest::prelude::*;
use vermilion_proto::{
    ChangeStatus, Commitment, Head, LicenceRef, Message, PolicyEntry, Record, SetPolicy, Signer, SignerKind, SupersedeLicence, Use,
    body::Of,
};
use vermilion_registry::kv::Memory;
use vermilion_registry::state_sum::StateSum;
use vermilion_registry::{BlockInput, CommandResult, Fatal, NewRecord, RULES_VERSION, Registry, VoidReason, keys, query};

/// A world with a bit of everything in it.
fn busy() -> World {
    let (mut world, health) = with_health();
    let items: Vec<_> = (0..700).map(|n| item(1, &health, &format!("R{n}"), 1)).collect();
    let head = world.head(&health, &["mia", "carl"]);
    world.must(head, issue_body(&items), items);
    let identifier = item(1, &health, "R3", 1).identifier;
    let mut head = world.head(&health, &["mia", "carl"]);
    (head.legal_basis, head.reason) = (vec!["法".into()], "penalty".into());
    world.must(head, Of::ChangeStatus(ChangeStatus { licence: identifier, to: "frozen".into(), ..Default::default() }), vec![]);
    let mut next = item(1, &health, "R4", 2);
    (next.previous, next.superseded_because) = (item(1, &health, "R4", 1).identifier, "change".into());
    next.holders = vec![holder("公司乙")];
    let head = world.head(&health, &["mia", "carl"]);
    world.must(head, Of::SupersedeLicence(SupersedeLicence { items_root: vec![1; 32], items_count: 1 }), vec![next]);
    let entry = PolicyEntry { key: "use.licences.max".into(), value: "5".into(), citation: "002-14".into(), ..Default::default() };
    let head = world.head(CITY, &["ann", "oli", "vera"]);
    world.must(head, Of::SetPolicy(SetPolicy { entries: vec![entry] }), vec![]);
    commit(&mut world);
    world
}

fn commit(world: &mut World) -> NewRecord {
    let head = leaders(world);
    world.must(head, Of::Commitment(Commitment::default()), vec![])
}

/// The head of a commitment.
fn leaders(world: &mut World) -> Head {
    let mut head = world.head("", &[]);
    head.signers = vec![Signer {
        key_id: node_key(1).public().id().to_vec(),
        post: "leader".into(),
        kind: SignerKind::Node as i32,
        ..Default::default()
    }];
    head
}

/// What a commitment record says of the state.
fn state_digest(record: &NewRecord) -> Vec<u8> {
    let said = Record::decode(record.bytes.as_slice()).unwrap().commitment.unwrap();
    assert_eq!(said.state_digest_seq, record.seq);
    let leaf = vermilion_ledger::Leaf::decode(&record.leaf).unwrap();
    assert_eq!(leaf.commitment.unwrap().state_digest[..], said.state_digest);
    said.state_digest
}

#[test]
fn a_commitment_says_the_digest_of_the_whole_state_before_it() {
    let mut world = busy();
    for _ in 0..2 {
        let record = commit(&mut world);
        let all = StateSum::over(&world.kv).unwrap();
        assert_eq!(state_digest(&record), all.digest_before(&record.id, record.seq));
    }
}

#[test]
fn a_commitment_in_the_midst_of_a_block_counts_what_stands_before_it_in_the_block() {
    let (mut world, health) = with_health();
    let issue = |world: &mut World, serials: std::ops::Range<u32>| {
        let items: Vec<_> = serials.map(|n| item(1, &health, &format!("M{n}"), 1)).collect();
        checked(world.head(&health, &["mia", "carl"]), issue_body(&items), items)
    };
    let commitment = |world: &mut World| checked(leaders(world), Of::Commitment(Commitment::default()), vec![]);
    let block =
        vec![issue(&mut world, 0..3), commitment(&mut world), commitment(&mut world), issue(&mut world, 2..5), commitment(&mut world)];
    // Each command in a block of its own is the same state after it.
    let mut apart = with_health().0;
    assert_eq!(apart.kv, world.kv);
    apart.now = world.now;
    let effects = world.block(block.clone());
    let together: Vec<Vec<u8>> = effects.records.iter().map(|r| r.bytes.clone()).collect();
    let one_by_one: Vec<Vec<u8>> = block.into_iter().map(|c| apart.block(vec![c]).records[0].bytes.clone()).collect();
    assert_eq!(together, one_by_one);
    let last = effects.records.last().unwrap();
    assert_eq!(state_digest(last), StateSum::over(&world.kv).unwrap().digest_before(&last.id, last.seq));
}

#[test]
fn a_state_from_before_the_sum_was_kept_is_counted_once() {
    let mut world = busy();
    world.kv.write(vec![(keys::SUM.to_vec(), None)]);
    world.registry = Registry::open(&world.kv).unwrap();
    let record = commit(&mut world);
    assert_eq!(state_digest(&record), StateSum::over(&world.kv).unwrap().digest_before(&record.id, record.seq));
    assert!(world.kv.iter().any(|(key, _)| key == keys::SUM));
}

#[test]
fn a_replay_gives_the_same_records_and_state() {
    let world = busy();
    let original: Vec<Vec<u8>> = world.records.iter().map(|r| r.bytes.clone()).collect();
    for reopen in [1, 3, 1_000] {
        let (kv, records) = replay(&world, reopen);
        assert_eq!(records, original);
        assert_eq!(kv, world.kv);
    }
}

#[test]
fn records_are_chained_and_say_what_they_must() {
    let world = busy();
    let mut chain = vermilion_ledger::chain_start(world.registry.ledger_id());
    for (n, new) in world.records.iter().enumerate() {
        let record = Record::decode(new.bytes.as_slice()).unwrap();
        assert_eq!((record.seq, new.seq, record.rules_version), (n as u64, n as u64, RULES_VERSION));
        assert_eq!(new.hash, vermilion_ledger::record_hash(&new.bytes));
        chain = vermilion_ledger::chain_next(&chain, &new.hash);
        assert_eq!(new.chain, chain);
        let leaf = vermilion_ledger::Leaf::decode(&new.leaf).unwrap();
        assert_eq!((leaf.seq, leaf.record_hash, leaf.chain_hash), (new.seq, new.hash, chain));
        assert_eq!(leaf.commitment.is_some(), record.commitment.is_some());
        assert_eq!(query::command(&world.kv, &new.id).unwrap(), Some(new.seq));
    }
    let last = Record::decode(world.records.last().unwrap().bytes.as_slice()).unwrap();
    assert_eq!(last.commitment.unwrap().licence_count, 701);
    assert_eq!(query::head(&world.kv).unwrap().unwrap().chain, chain);
}

#[test]
fn one_id_has_one_record() {
    let (mut world, health) = with_health();
    let items = vec![item(1, &health, "D1", 1)];
    let command = checked(world.head(&health, &["mia", "carl"]), issue_body(&items), items);
    let effects = world.block(vec![command.clone(), command.clone()]);
    let seq = effects.records[0].seq;
    assert_eq!(effects.results, [CommandResult::Recorded { index: 0 }, CommandResult::Existing { seq }]);
    world.now += 30 * DAY;
    let effects = world.block(vec![command]);
    assert_eq!(effects.results, [CommandResult::Existing { seq }], "for ever, past its not-after too");
    assert_eq!(effects.records.len(), 0);
}

#[test]
fn expired_and_strange_commands_leave_no_record() {
    let (mut world, health) = with_health();
    let items = vec![item(1, &health, "D1", 1)];
    let before = query::head(&world.kv).unwrap().unwrap();
    let mut late = world.head(&health, &["mia", "carl"]);
    late.not_after_ms = world.now - 1;
    let mut strange = world.head(&health, &["mia", "carl"]);
    strange.ledger_id = vec![0; 32];
    let mut headless = checked(Head::default(), issue_body(&items), vec![]);
    headless.command.head = None;
    let effects =
        world.block(vec![checked(late, issue_body(&items), items.clone()), checked(strange, issue_body(&items), items), headless]);
    assert_eq!(effects.results, [CommandResult::Expired, CommandResult::WrongLedger, CommandResult::WrongLedger]);
    let after = query::head(&world.kv).unwrap().unwrap();
    assert_eq!((after.size, after.chain, after.licences), (before.size, before.chain, before.licences));
    assert_ne!(after.block, before.block);
}

#[test]
fn a_signer_who_did_not_sign_is_not_counted() {
    let (mut world, health) = with_health();
    let items = vec![item(1, &health, "D1", 1)];
    let mut command = checked(world.head(&health, &["mia", "carl"]), issue_body(&items), items);
    command.signer_keys.pop();
    let effects = world.block(vec![command]);
    assert_eq!(effects.records[0].outcome.code, vermilion_registry::Reason::Incomplete.number());
}

#[test]
fn a_void_block_leaves_only_its_hash_and_the_next_honest_one_follows() {
    let (mut world, health) = with_health();
    let items = vec![item(1, &health, "D1", 1)];
    let commands = vec![checked(world.head(&health, &["mia", "carl"]), issue_body(&items), items)];
    let mut previous: [u8; 32] = world.registry.head().block.as_slice().try_into().unwrap();
    let good = BlockInput {
        hash: [8; 32],
        previous,
        proposer_key: node_key(2).public().0,
        proposer: 2,
        time_ms: world.now,
        commands: &commands,
        expected: &[],
    };
    for (hash, wrong, reason) in [
        ([1; 32], BlockInput { previous: [9; 32], ..good }, VoidReason::WrongPrevious),
        ([2; 32], BlockInput { time_ms: world.now - 1, ..good }, VoidReason::TimeGoesBack),
        ([3; 32], BlockInput { proposer: 3, ..good }, VoidReason::UnknownProposer),
        ([4; 32], BlockInput { proposer: 9, ..good }, VoidReason::UnknownProposer),
    ] {
        // All but the first chain to the void block before, as an honest leader's log has it.
        let wrong = BlockInput { hash, previous: if wrong.previous == [9; 32] { [9; 32] } else { previous }, ..wrong };
        let mut expected = world.registry.head().clone();
        expected.block = hash.to_vec();
        let effects = world.registry.apply_block(&world.kv, &wrong).unwrap();
        assert_eq!(effects.void, Some(reason));
        assert!(effects.records.is_empty() && effects.results.is_empty());
        assert_eq!(effects.writes.len(), 1, "the head alone");
        world.kv.write(effects.writes);
        assert_eq!(world.registry.head(), &expected);
        previous = hash;
    }
    let next = BlockInput { previous, ..good };
    assert_eq!(world.registry.apply_block(&world.kv, &next).unwrap().void, None);
}

#[test]
fn a_bulk_licence_writes_at_most_three_keys() {
    let (mut world, health) = with_health();
    let mut definition = common::licences::licence_type(2, vermilion_proto::Sharing::Unconditional);
    definition.identifier_class = 2;
    common::licences::publish(&mut world, definition, &[&health]);
    for (number, keys) in [(1, 2), (2, 3)] {
        let items: Vec<_> =
            (0..1000).map(|n| item(number, &health, &format!("K{n}"), 1)).map(|i| if number == 2 { personal(i) } else { i }).collect();
        world.now += 1;
        let command = checked(world.head(&health, &["mia", "carl"]), issue_body(&items), items);
        let effects = world.block(vec![command]);
        assert!(effects.records[0].outcome.refused.is_empty());
        // Besides: the head, the sum, the dedup entry, and a status chunk for every 512.
        assert!(effects.writes.len() <= 1000 * keys + 3 + 3, "{}", effects.writes.len());
    }
}

#[test]
fn a_torn_state_stops_the_node() {
    let world = busy();
    assert!(matches!(Registry::open(&Memory::new()), Err(Fatal::NoGenesis)));
    assert!(matches!(Registry::genesis(&world.genesis, &world.kv), Err(Fatal::Genesis(_))));
    let keys: Vec<Vec<u8>> = world.kv.iter().map(|(k, _)| k.clone()).filter(|k| k.starts_with(b"s/")).collect();
    assert_eq!(keys.len(), 2);
    for key in keys {
        let mut kv = world.kv.clone();
        kv.write(vec![(key.clone(), None)]);
        assert!(Registry::open(&kv).is_err());
        let mut kv = world.kv.clone();
        kv.write(vec![(key, Some(vec![2; 257]))]);
        assert!(Registry::open(&kv).is_err());
    }
}

/// Small pools, so that what is drawn often means something.
fn head() -> impl Strategy<Value = Head> {
    let signer = (
        prop::sample::select(vec!["ann", "oli", "vera", "mia", "carl", "una", "zoe"]),
        prop::sample::select(vec!["maker", "checker", "approve", "operate", "verify", "user", "leader", ""]),
        0i32..8,
        any::<bool>(),
    );
    (
        prop::collection::vec(signer, 0..4),
        0u32..3,
        0u32..3,
        0u64..900,
        prop::option::of(0u64..40),
        prop::collection::vec(any::<u8>(), 0..20),
        any::<bool>(),
    )
        .prop_map(|(signers, format_version, suite, days, expected_seq, nonce, proper)| Head {
            format_version: if proper { 1 } else { format_version },
            suite: if proper { 1 } else { suite },
            nonce: if proper { vec![nonce.len() as u8; 16] } else { nonce },
            not_after_ms: START + days * DAY,
            expected_seq,
            legal_basis: if proper { vec!["法".into()] } else { vec![] },
            reason: if proper { "court-decision".into() } else { String::new() },
            relates_to: if proper { vec![vec![1; 32]] } else { vec![] },
            signers: signers
                .into_iter()
                .map(|(name, post, kind, own)| Signer {
                    key_id: common::key(name).public().id().to_vec(),
                    post: post.into(),
                    kind: if own { 1 } else { kind },
                    ..Default::default()
                })
                .collect(),
            ..Default::default()
        })
}

/// Any body at all: arbitrary bytes read as one, and bodies over the small pools.
fn body() -> impl Strategy<Value = Option<Of>> {
    let text = prop::sample::select(vec!["", "valid", "frozen", "+under-objection", "-x", "é", "superseded", "erasure", "destruction"]);
    let serial = prop::sample::select(vec!["R3", "R4", "R5", "NONE"]);
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..60).prop_map(|bytes| vermilion_proto::Body::decode(bytes.as_slice()).ok().and_then(|b| b.of)),
        (1u32..15).prop_map(|tag| vermilion_proto::Body::decode([(tag << 3 | 2) as u8, 0].as_slice()).ok().and_then(|b| b.of)),
        (serial.clone(), text.clone(), any::<u64>()).prop_map(|(s, to, t)| {
            Some(Of::ChangeStatus(ChangeStatus {
                licence: item(1, &health(), s, 1).identifier,
                to: to.into(),
                effective_ms: t % (3 * START),
                ..Default::default()
            }))
        }),
        (serial.clone(), text).prop_map(|(s, kind)| {
            Some(Of::EraseContent(vermilion_proto::EraseContent {
                licence: item(1, &health(), s, 1).identifier,
                kind: kind.into(),
                archive_receipt: vec![1; 32],
                ..Default::default()
            }))
        }),
        (
            serial,
            prop::array::uniform4(-1i32..5),
            prop::collection::vec(prop::sample::select(vec!["premises", "phone", "idNumber", "x"]), 0..3)
        )
            .prop_map(|(s, [act, mode, authority, delivery], fields)| {
                Some(Of::Use(Use {
                    act,
                    mode,
                    authority,
                    delivery,
                    licences: vec![LicenceRef { identifier: item(1, &health(), s, 1).identifier, tag: vec![] }],
                    service_item: "s".into(),
                    case_digest: vec![1; 32],
                    purpose_digest: vec![1; 32],
                    consent_id: "c".into(),
                    fields: fields.into_iter().map(str::to_owned).collect(),
                    recipient_key: vec![1; 32],
                    ..Default::default()
                }))
            }),
        (0u32..3).prop_map(|n| Some(Of::IssueLicences(vermilion_proto::IssueLicences { items_root: vec![1; 32], items_count: n }))),
        (0u32..3).prop_map(|n| Some(Of::SupersedeLicence(SupersedeLicence { items_root: vec![1; 32], items_count: n }))),
    ]
}

/// The code that `with_health` gives its issuing unit.
fn health() -> String {
    vermilion_registry::codes::uscc::build("11", "440305", "MB0X0001").unwrap()
}

fn items() -> impl Strategy<Value = Vec<vermilion_proto::LicenceItem>> {
    let one = (
        prop::sample::select(vec!["R3", "R4", "N1", "N2"]),
        1u16..4,
        prop::array::uniform5(any::<u32>()),
        0u8..8,
        prop::collection::vec(any::<u8>(), 0..70),
    )
        .prop_map(|(serial, version, [a, b, c, d, e], what, bytes)| {
            let mut item = item(1, &health(), serial, version);
            match what {
                0 => (item.decided_on, item.issued_on, item.effective_from, item.expires_on, item.version) = (a, b, c, d, e),
                1 => item.field_digests = bytes,
                2 => item.identifier = String::from_utf8_lossy(&bytes).into_owned(),
                3 => item.previous = super_previous(serial, version),
                4 => item = personal(item),
                5 => item.no_term = a % 2 == 0,
                6 => item.holders.clear(),
                _ => {}
            }
            item
        });
    prop::collection::vec(one, 0..3)
}

fn super_previous(serial: &str, version: u16) -> String {
    item(1, &health(), serial, version.max(2) - 1).identifier
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn apply_always_answers(commands in prop::collection::vec((head(), body(), items(), prop::sample::select(vec!["", "city", "health", "bank"]), any::<bool>()), 1..6)) {
        thread_local!(static WORLD: World = {
            let world = busy();
            assert_eq!(world.units["health"], health());
            world
        });
        WORLD.with(|world| {
            let mut registry = Registry::open(&world.kv).unwrap();
            let commands: Vec<_> = commands.into_iter().map(|(mut head, of, items, unit, authorised)| {
                head.ledger_id = registry.ledger_id().to_vec();
                head.unit = world.units.get(unit).cloned().unwrap_or_default();
                if authorised {
                    let post = |(name, post): (&str, &str)| Signer { key_id: common::key(name).public().id().to_vec(), post: post.into(), kind: 1, ..Default::default() };
                    head.signers = match unit {
                        "health" => [("mia", "maker"), ("carl", "checker")].map(post).to_vec(),
                        "bank" => vec![post(("una", "user"))],
                        _ => [("ann", "approve"), ("oli", "operate"), ("vera", "verify")].map(post).to_vec(),
                    };
                }
                head.signers.iter_mut().for_each(|s| s.unit.clone_from(&head.unit));
                let mut command = checked(head, of.clone().unwrap_or(Of::Commitment(Commitment::default())), items);
                if of.is_none() { command.command.body = None; }
                command
            }).collect();
            let previous: [u8; 32] = registry.head().block.as_slice().try_into().unwrap();
            let input = BlockInput { hash: [1; 32], previous, proposer_key: node_key(1).public().0, proposer: 1, time_ms: world.now, commands: &commands, expected: &[] };
            let effects = registry.apply_block(&world.kv, &input);
            let effects = effects.unwrap();
            prop_assert_eq!(effects.results.len(), commands.len());
            let mut kv = world.kv.clone();
            kv.write(effects.writes);
            // What was written can be read again, whole.
            let reopened = Registry::open(&kv).unwrap();
            prop_assert_eq!(reopened.head(), registry.head());
            for record in &effects.records {
                if record.outcome.code != 0 {
                    prop_assert!(record.refusal.is_some() && record.kept_positions.is_empty() && !record.accepted);
                }
            }
            Ok(())
        })?;
    }
}
