//! Every pair of states, through blocks: allowed exactly where the table of defaults says so.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod common;

use common::World;
use common::licences::{issue_body, item, of_identifier, with_health};
use vermilion_proto::{ChangeStatus, LicenceItem, SupersedeLicence, body::Of};
use vermilion_registry::status::{Flag, State};
use vermilion_registry::{Reason, query, transition};

fn issue(world: &mut World, health: &str, serial: &str) -> LicenceItem {
    let item = item(1, health, serial, 1);
    let head = world.head(health, &["mia", "carl"]);
    world.must(head, issue_body(std::slice::from_ref(&item)), vec![item.clone()]);
    item
}

fn change(world: &mut World, health: &str, identifier: &str, to: &str, reason: &str) -> Option<Reason> {
    let mut head = world.head(health, &["mia", "carl"]);
    head.legal_basis = vec!["法".into()];
    head.reason = reason.into();
    // A court's decision is shown.
    head.relates_to = vec![vec![1; 32]];
    world.reason(head, Of::ChangeStatus(ChangeStatus { licence: identifier.into(), to: to.into(), ..Default::default() }), vec![])
}

fn supersede(world: &mut World, health: &str, serial: &str, version: u16) -> Option<Reason> {
    let mut next = item(1, health, serial, version);
    next.previous = item(1, health, serial, version - 1).identifier;
    next.superseded_because = "change".into();
    let head = world.head(health, &["mia", "carl"]);
    world.reason(head, Of::SupersedeLicence(SupersedeLicence { items_root: vec![1; 32], items_count: 1 }), vec![next])
}

/// One step, or none, from valid to each state that a change of status reaches.
fn bring_to(world: &mut World, health: &str, identifier: &str, state: State) {
    if state != State::Valid {
        assert_eq!(change(world, health, identifier, state.name(), "penalty"), None, "to {state}");
    }
}

#[test]
fn the_table_is_obeyed_exactly() {
    let (mut world, health) = with_health();
    let mut serial = 0;
    let mut allowed_pairs = 0;
    for from in State::ALL.into_iter().filter(|s| *s != State::Superseded) {
        for to in State::ALL {
            serial += 1;
            let serial = format!("T{serial}");
            let licence = issue(&mut world, &health, &serial);
            bring_to(&mut world, &health, &licence.identifier, from);
            let rule = transition::DEFAULTS.iter().find(|(f, t, ..)| (*f, *t) == (from, to));
            let rule = rule.map(|(.., value, _)| transition::Transition::parse(value).unwrap());
            let plain = change(&mut world, &health, &licence.identifier, to.name(), "penalty");
            let named = of_identifier(&licence.identifier).unwrap();
            let stored = |world: &World| State::from_number(query::licence(&world.kv, &named).unwrap().unwrap().state).unwrap();
            match rule {
                _ if from == to => assert_eq!(plain, Some(Reason::NothingToChange), "{from}"),
                Some(_) if to == State::Superseded => {
                    allowed_pairs += 1;
                    assert_eq!(plain, Some(Reason::TransitionNotAllowed), "superseding has its own command");
                    assert_eq!(supersede(&mut world, &health, &serial, 2), None, "{from} superseded");
                    assert_eq!(stored(&world), State::Superseded);
                    let next = query::current(&world.kv, &named.series).unwrap().unwrap();
                    let expected = if matches!(from, State::Frozen | State::Withheld) { from } else { State::Valid };
                    assert_eq!((next.version, next.state), (2, u32::from(expected.number())), "{from}");
                    continue;
                }
                Some(rule) if rule.reasons.is_empty() => {
                    allowed_pairs += 1;
                    assert_eq!(plain, None, "{from} to {to}");
                    assert_eq!(stored(&world), to);
                }
                Some(rule) => {
                    allowed_pairs += 1;
                    assert_eq!(plain, Some(Reason::TransitionNotAllowed), "{from} to {to} without its reason");
                    assert_eq!(stored(&world), from);
                    assert_eq!(change(&mut world, &health, &licence.identifier, to.name(), &rule.reasons[0]), None);
                    assert_eq!(stored(&world), to);
                }
                None => {
                    assert_eq!(plain, Some(Reason::TransitionNotAllowed), "{from} to {to}");
                    assert_eq!(stored(&world), from);
                    for reason in ["court-decision", "administrative-review", "transfer-cancelled"] {
                        assert_eq!(change(&mut world, &health, &licence.identifier, to.name(), reason), Some(Reason::TransitionNotAllowed));
                    }
                    if to == State::Superseded {
                        assert_eq!(supersede(&mut world, &health, &serial, 2), Some(Reason::TransitionNotAllowed));
                    }
                }
            }
            // The status vector says the same as the state.
            let index = query::licence(&world.kv, &named).unwrap().unwrap().status_index;
            assert_eq!(world.registry.statuses().get(index), Some(stored(&world).number()));
        }
    }
    assert_eq!(allowed_pairs, transition::DEFAULTS.len(), "every row of the table was walked");
}

#[test]
fn a_superseded_version_never_changes() {
    let (mut world, health) = with_health();
    let first = issue(&mut world, &health, "S1");
    assert_eq!(supersede(&mut world, &health, "S1", 2), None);
    for to in State::ALL.map(State::name).into_iter().chain(["+under-objection"]) {
        assert_eq!(change(&mut world, &health, &first.identifier, to, "court-decision"), Some(Reason::TransitionNotAllowed), "{to}");
    }
    assert_eq!(supersede(&mut world, &health, "S1", 2), Some(Reason::DuplicateIdentifier));
    assert_eq!(supersede(&mut world, &health, "S1", 4), Some(Reason::VersionGap));
    assert_eq!(supersede(&mut world, &health, "S1", 3), None);
}

#[test]
fn every_flag_goes_up_and_down_beside_every_state() {
    let (mut world, health) = with_health();
    for (n, state) in State::ALL.into_iter().filter(|s| *s != State::Superseded).enumerate() {
        let licence = issue(&mut world, &health, &format!("F{n}"));
        bring_to(&mut world, &health, &licence.identifier, state);
        for flag in Flag::ALL {
            let (up, down) = (format!("+{}", flag.name()), format!("-{}", flag.name()));
            assert_eq!(change(&mut world, &health, &licence.identifier, &down, "r"), Some(Reason::NothingToChange));
            assert_eq!(change(&mut world, &health, &licence.identifier, &up, "r"), None);
            assert_eq!(change(&mut world, &health, &licence.identifier, &up, "r"), Some(Reason::NothingToChange));
        }
        let named = of_identifier(&licence.identifier).unwrap();
        let stored = query::licence(&world.kv, &named).unwrap().unwrap();
        assert_eq!((stored.state, stored.flags), (u32::from(state.number()), 15));
    }
}
