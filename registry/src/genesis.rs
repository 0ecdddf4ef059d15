//! The first record: the ledger's name, nodes and keys, the city's managing unit with its first
//! operators, and policy. The hash of its payload is the ledger id. Nobody signs it; whoever pins
//! the ledger id has agreed to it.
//!
//! The payload is a canonical `Command` whose head carries format version and suite alone.

use crate::address;
use crate::authority::{MANAGING_CITY, has_role};
use crate::certificates;
use crate::codes::{dates, division};
use crate::custody;
use crate::decision::Change;
use crate::fatal::Stop;
use crate::keepers::Keepers;
use crate::operators;
use crate::policy::{self, Entries, Policy};
use crate::reason::{Reason, Refusal};
use crate::set_policy;
use crate::taken;
use crate::text::is_blank;
use crate::units;
use std::collections::{BTreeMap, BTreeSet};
use vermilion_crypto::{SUITE_1, VaultPublicKey, check_registrable};
use vermilion_proto::{Command, Genesis, Head, Operator, OperatorState, PolicyEntry, Unit, UnitState, body::Of, canonical};

/// Reads and checks a genesis payload.
pub(crate) fn read(payload: &[u8]) -> Result<Genesis, Refusal> {
    let command: Command = canonical(payload).map_err(|e| Refusal::new(Reason::NotCanonical, e.to_string()))?;
    let head = Head { format_version: 1, suite: SUITE_1, ..Head::default() };
    if command.head != Some(head) {
        return Err(ill_formed("the head of a genesis carries format version 1 and suite 1 alone"));
    }
    match command.body.and_then(|b| b.of) {
        Some(Of::Genesis(genesis)) => Ok(genesis),
        _ => Err(ill_formed("the body is no genesis")),
    }
}

/// What the genesis writes.
pub(crate) fn changes(payload: &[u8], genesis: &Genesis) -> Result<Vec<Change>, Stop> {
    check_keys(genesis)?;
    check_uses(genesis)?;
    check_calendar(genesis)?;
    let unit = managing_unit(genesis)?;
    let entries = policy_entries(genesis)?;
    let mut in_force = Entries::default();
    entries.iter().cloned().for_each(|e| in_force.insert(e));
    set_policy::check_defined(&in_force, genesis.time_ms)?;
    let policy = Policy::read(&in_force, genesis.time_ms)?;
    let operators: Vec<OperatorState> = operators_of(genesis, unit, &policy)?.into_iter().map(|o| operators::added(o, 0)).collect();
    Keepers::of(&unit.uscc, operators.iter(), has_authority(genesis)).check(&in_force, genesis.time_ms)?;

    let mut out = vec![Change::Genesis(payload.to_vec())];
    out.extend(certificates::genesis_changes(genesis)?);
    out.extend(genesis.nodes.iter().cloned().map(Change::Node));
    out.push(Change::Unit(Box::new(UnitState { unit: Some(unit.clone()), ..UnitState::default() })));
    out.extend(operators.into_iter().map(|operator| Change::Operator(Box::new(operator))));
    out.extend(entries.into_iter().map(Change::Policy));
    Ok(out)
}

/// Every key is of its form, and canonical.
fn check_keys(genesis: &Genesis) -> Result<(), Refusal> {
    if genesis.format_version != 1 || genesis.suite != SUITE_1 {
        return Err(Refusal::new(Reason::FormatVersion, "genesis.format_version, suite"));
    }
    let origin = &genesis.origin;
    // Of blanks the list that apply keeps: the standard library's follows Unicode. Control characters are settled there.
    let ends_a_name = |c: char| c == '+' || c.is_control() || is_blank(c.encode_utf8(&mut [0; 4]));
    if origin.is_empty() || origin.len() > 256 || origin.chars().any(ends_a_name) {
        return Err(ill_formed("origin"));
    }
    if genesis.nonce.len() != 16 || genesis.lookup_key_digest.len() != 32 || genesis.nodes.is_empty() {
        return Err(ill_formed("nonce, lookup_key_digest or nodes"));
    }
    let is_key = |key: &[u8]| check_registrable(key).is_ok();
    if !is_key(&genesis.ledger_key) {
        return Err(Refusal::new(Reason::BadKey, "ledger_key"));
    }
    let (mut ids, mut names) = (BTreeSet::new(), BTreeSet::new());
    for node in &genesis.nodes {
        if node.raft_id == 0 || !ids.insert(node.raft_id) || node.name.is_empty() || !names.insert(&node.name) {
            return Err(ill_formed("a node's id or name is missing or taken"));
        }
        if !is_key(&node.node_key) || !is_key(&node.cosigning_key) {
            return Err(Refusal::new(Reason::BadKey, format!("keys of node {}", node.raft_id)));
        }
        if division::area(&node.district).is_none() {
            return Err(Refusal::new(Reason::Area, format!("district of node {}", node.raft_id)));
        }
        // None is an address that every configuration says for itself ([peers]).
        if !node.peer_address.is_empty() && address::check(&node.peer_address).is_err() {
            return Err(ill_formed(&format!("peer_address of node {}", node.raft_id)));
        }
    }
    if !genesis.nodes.iter().any(|n| n.city) {
        return Err(ill_formed("no node is the city's"));
    }
    let mut vaults = BTreeSet::new();
    for vault in &genesis.vault_keys {
        let id = VaultPublicKey::from_slice(&vault.public_key).map(|k| k.id());
        let fits = id.is_ok_and(|id| id == vault.key_id.as_slice()) && vault.suite == SUITE_1 && division::area(&vault.area).is_some();
        if !fits || !vaults.insert(&vault.key_id) {
            return Err(Refusal::new(Reason::BadKey, "vault_keys"));
        }
    }
    if genesis.vault_keys.is_empty() { Err(Refusal::new(Reason::BadKey, "there is no vault key")) } else { Ok(()) }
}

/// Every key is for one thing alone.
fn check_uses(genesis: &Genesis) -> Result<(), Refusal> {
    let mut uses: BTreeMap<Vec<u8>, &str> = BTreeMap::new();
    for (key, whose) in taken::of_genesis(genesis) {
        if let Some(other) = uses.insert(key, whose) {
            return Err(Refusal::new(Reason::AlreadyExists, format!("a key is {whose}, and {other} already")));
        }
    }
    Ok(())
}

fn check_calendar(genesis: &Genesis) -> Result<(), Refusal> {
    let mut years = BTreeSet::new();
    for year in &genesis.calendar {
        let in_year = |d: &String| dates::parse(d).is_some_and(|d| i64::from(d.year()) == i64::from(year.year));
        if !years.insert(year.year) || !year.holidays.iter().chain(&year.worked_weekends).all(in_year) {
            return Err(ill_formed("calendar"));
        }
    }
    Ok(())
}

fn managing_unit(genesis: &Genesis) -> Result<&Unit, Stop> {
    let Some(unit) = genesis.managing_unit.as_ref().and_then(|r| r.unit.as_ref()) else {
        return Err(ill_formed("managing_unit").into());
    };
    if division::area(&unit.area) != Some(division::Area::Division) {
        return Err(Refusal::new(Reason::Area, "managing_unit.area").into());
    }
    units::check(unit, &unit.area, has_authority(genesis))?;
    if has_role(unit, MANAGING_CITY) { Ok(unit) } else { Err(Refusal::new(Reason::UnitRole, "managing_unit").into()) }
}

/// The defaults, and over them what the genesis says otherwise.
fn policy_entries(genesis: &Genesis) -> Result<Vec<PolicyEntry>, Stop> {
    let has_authority = has_authority(genesis);
    let defaults = policy::defaults(has_authority);
    let mut by_key: BTreeMap<(String, u64), PolicyEntry> = defaults.into_iter().map(|e| ((e.key.clone(), 0), e)).collect();
    let defined = |of: &BTreeMap<(String, u64), PolicyEntry>| {
        of.get(&("posts.defined".to_owned(), 0)).and_then(|e| crate::posts::parse_list(&e.value)).unwrap_or_default()
    };
    let mut known = defined(&by_key);
    // Posts first: the other entries may name them.
    let (posts, others): (Vec<_>, Vec<_>) = genesis.policy.iter().partition(|e| e.key == "posts.defined");
    for entry in posts.into_iter().chain(others) {
        set_policy::check(entry, &known, has_authority)?;
        by_key.insert((entry.key.clone(), entry.effective_from_ms), entry.clone());
        known = defined(&by_key);
    }
    Ok(by_key.into_values().collect())
}

/// The first operators: of the managing unit.
fn operators_of<'a>(genesis: &'a Genesis, unit: &Unit, policy: &Policy) -> Result<Vec<&'a Operator>, Stop> {
    let mut out = Vec::new();
    for added in &genesis.operators {
        let Some(operator) = &added.operator else { return Err(ill_formed("operators").into()) };
        operators::check(operator, &policy.defined_posts)?;
        if operator.unit != unit.uscc {
            return Err(Refusal::new(Reason::WrongUnit, "an operator of the genesis is of another unit").into());
        }
        if has_authority(genesis) {
            custody::check_operator(operator, out.iter().copied())?;
        }
        out.push(operator);
    }
    Ok(out)
}

fn has_authority(genesis: &Genesis) -> bool {
    !genesis.root_certificate.is_empty()
}

fn ill_formed(what: &str) -> Refusal {
    Refusal::new(Reason::FieldForm, what)
}
