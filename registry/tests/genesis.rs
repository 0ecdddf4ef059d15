//! What a genesis must be: refused ones begin no ledger.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod common;

use common::{START, World, city_unit, genesis, genesis_payload, operator};
use vermilion_proto::{AddOperator, CalendarYear, Command, Genesis, Message, PolicyEntry, RegisterUnit, VaultKey};
use vermilion_registry::kv::Memory;
use vermilion_registry::{Fatal, Registry, ledger_id, query};

fn begin(change: impl FnOnce(&mut Genesis)) -> Result<Memory, String> {
    let mut g = genesis();
    change(&mut g);
    let mut kv = Memory::new();
    match Registry::genesis(&genesis_payload(g), &kv) {
        Ok(effects) => {
            kv.write(effects.writes);
            Registry::open(&kv).unwrap();
            Ok(kv)
        }
        Err(Fatal::Genesis(why)) => Err(why),
        Err(other) => panic!("{other}"),
    }
}

fn entry(key: &str, value: &str, from: u64) -> PolicyEntry {
    PolicyEntry { key: key.into(), value: value.into(), citation: "002".into(), effective_from_ms: from, ..Default::default() }
}

#[test]
fn a_good_one_begins_a_ledger() {
    let world = World::new();
    let head = query::head(&world.kv).unwrap().unwrap();
    assert_eq!((head.size, head.time_ms, head.licences), (1, START, 0));
    assert_eq!(head.block, ledger_id(&world.genesis));
    assert_eq!(query::genesis(&world.kv).unwrap().unwrap(), genesis());
    assert_eq!(query::nodes(&world.kv).unwrap().len(), 3);
    assert_eq!(query::operators(&world.kv).unwrap().len(), 3);
    let posts = query::policy_at(&world.kv, "posts.issue", START).unwrap().unwrap();
    assert_eq!((posts.value.as_str(), posts.citation.is_empty()), ("maker+checker", false));
    // Where its nodes are reached it need not say; what it says is an address.
    begin(|g| g.nodes[1].peer_address = "[fe80::1]:7100".into()).unwrap();
}

#[test]
fn its_policy_goes_over_the_defaults() {
    let kv = begin(|g| g.policy = vec![entry("issue.items.max", "5", 0), entry("issue.items.max", "9", START + 10)]).unwrap();
    let at = |t| query::policy_at(&kv, "issue.items.max", t).unwrap().unwrap().value;
    assert_eq!((at(START), at(START + 10)), ("5".to_owned(), "9".to_owned()));
    begin(|g| {
        let all = "approve auditor checker issuer maker operate registrar user verify";
        g.policy = vec![entry("posts.issue", "maker+registrar", 0), entry("posts.defined", all, 0)];
    })
    .unwrap();
}

#[test]
fn refused_ones() {
    type Change = fn(&mut Genesis);
    let changes: &[(&str, Change)] = &[
        ("format-version", |g| g.format_version = 2),
        ("field-form", |g| g.origin = "with space".into()),
        ("field-form", |g| g.origin = "vermilion.example/\u{3164}".into()),
        ("field-form", |g| g.nodes.clear()),
        ("field-form", |g| g.nodes[1].raft_id = 1),
        ("field-form", |g| g.nodes[0].city = false),
        ("already-exists", |g| g.nodes[1].cosigning_key = g.nodes[1].node_key.clone()),
        ("already-exists", |g| g.ledger_key = g.nodes[1].node_key.clone()),
        ("already-exists", |g| g.operators.push(AddOperator { operator: Some(operator("ledger", "x", common::CITY, &["maker"])) })),
        ("already-exists", |g| g.operators.push(AddOperator { operator: Some(operator("cosigner 2", "x", common::CITY, &["maker"])) })),
        ("bad-key", |g| g.ledger_key = vec![1; 32]),
        ("area", |g| g.nodes[1].district = "000000".into()),
        ("field-form", |g| g.nodes[1].peer_address = "nonsense".into()),
        ("field-form", |g| g.nodes[1].peer_address = "node.example:0".into()),
        ("field-form", |g| g.nodes[1].peer_address = "0.0.0.0:7100".into()),
        ("bad-key", |g| g.vault_keys.clear()),
        ("bad-key", |g| g.vault_keys.push(VaultKey { suite: 1, ..Default::default() })),
        ("field-form", |g| g.managing_unit = None),
        ("unit-role", |g| {
            let mut unit = city_unit();
            unit.roles = vec!["issuing-unit".into()];
            g.managing_unit = Some(RegisterUnit { unit: Some(unit) });
        }),
        ("last-operators", |g| g.operators.truncate(2)),
        ("last-operators", |g| {
            // Two posts of one person are no two people.
            g.operators[1].operator = Some(operator("oli", "ann", common::CITY, &["operate"]));
        }),
        ("last-operators", |g| {
            // Three people, but one of them would have to fill two posts.
            g.operators[0].operator = Some(operator("ann", "ann", common::CITY, &["approve", "operate"]));
            g.operators[1].operator = Some(operator("oli", "oli", common::CITY, &["user"]));
        }),
        ("already-exists", |g| g.operators.push(g.operators[0].clone())),
        ("already-exists", |g| g.operators.push(AddOperator { operator: Some(operator("node 1", "x", common::CITY, &["maker"])) })),
        ("wrong-unit", |g| g.operators.push(AddOperator { operator: Some(operator("x", "x", "11440300MB0X00027E", &["maker"])) })),
        ("unknown-policy", |g| g.policy.push(entry("tea.time", "17", 0))),
        ("policy-value", |g| g.policy.push(entry("retention.years.min", "5", 0))),
        ("policy-value", |g| {
            // The list that is to come lacks a post that must sign.
            let core = "approve auditor checker issuer maker operate user verify";
            g.policy = vec![entry("posts.defined", &format!("{core} registrar"), 0), entry("posts.defined", core, START + 10)];
            g.policy.push(entry("posts.issue", "maker+registrar", 0));
        }),
        ("field-form", |g| g.calendar.push(CalendarYear { year: 2026, holidays: vec!["2027-01-01".into()], worked_weekends: vec![] })),
    ];
    for (n, (reason, change)) in changes.iter().enumerate() {
        let why = begin(change).unwrap_err();
        assert!(why.starts_with(&format!("{reason}:")), "{n}: {why}, not {reason}");
    }
}

#[test]
fn it_is_canonical_and_says_no_more_than_it_must() {
    let payload = genesis_payload(genesis());
    let mut command = Command::decode(payload.as_slice()).unwrap();
    command.head.as_mut().unwrap().unit = common::CITY.into();
    let bad = [command.encode_to_vec(), [payload.as_slice(), &[0x78, 1]].concat(), payload[..payload.len() - 1].to_vec(), Vec::new()];
    for payload in bad {
        assert!(matches!(Registry::genesis(&payload, &Memory::new()), Err(Fatal::Genesis(_))));
    }
}
