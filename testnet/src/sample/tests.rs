//! The sample's rows against the registry's own checks.

use super::*;
use std::collections::{HashMap, HashSet};
use vermilion_registry::content::{TypeRules, check_row, parse_row};

fn rules(sample: &Sample) -> HashMap<String, TypeRules> {
    sample.catalogue().unwrap().into_iter().map(|e| (e.licence_type.code.clone(), TypeRules::new(&e.licence_type).unwrap())).collect()
}

#[test]
fn rows_are_good_and_all_different() {
    let sample = Sample::load().unwrap();
    let rules = rules(&sample);
    let (mut identifiers, mut types, mut stock) = (HashSet::new(), HashSet::new(), 0);
    for line in sample.licences(7, 20_000) {
        let row = parse_row(&line).unwrap();
        assert_eq!(check_row(&row, rules.get(&row.type_code)).unwrap().warnings, [], "{line}");
        let (series, _) = row.identifier.rsplit_once('.').and_then(|(id, _)| id.rsplit_once('.')).unwrap();
        assert!(identifiers.insert(series.to_owned()), "twice: {line}");
        types.insert(row.type_code.clone());
        stock += usize::from(line.contains("\"origin\":\"stock\""));
    }
    assert_eq!((identifiers.len(), types.len()), (20_000, 10));
    assert!((1_600..2_400).contains(&stock), "{stock}");
}

#[test]
fn a_seed_is_repeatable_and_others_differ() {
    let sample = Sample::load().unwrap();
    let rows = |seed| sample.licences(seed, 50).collect::<Vec<_>>();
    assert_eq!(rows(1), rows(1));
    assert_ne!(rows(1), rows(2));
    assert_eq!(sample.licences(1, 50).size_hint(), (50, Some(50)));
}

#[test]
fn other_serials_make_other_licences() {
    let sample = Sample::load().unwrap();
    let identifiers = |seed, first| {
        let rows = sample.licences_from(seed, first, 2_000).map(|line| parse_row(&line).unwrap());
        rows.map(|row| row.identifier).collect::<HashSet<_>>()
    };
    let (one, same, other) = (identifiers(1, 10_000), identifiers(2, 10_000), identifiers(2, 20_000));
    assert!(!one.is_disjoint(&same) && one.is_disjoint(&other));
}

#[test]
fn bad_rows_answer_as_they_say() {
    let sample = Sample::load().unwrap();
    let rules = rules(&sample);
    for seed in 0..50 {
        let good: Vec<String> = sample.licences(seed, 100).collect();
        let bad = sample.bad_rows(seed, &good);
        assert_eq!(bad.len(), 26);
        for case in bad {
            let answer =
                parse_row(&case.row.to_string()).and_then(|row| check_row(&row, rules.get(&row.type_code))).map(|checked| checked.warnings);
            match answer {
                Err(refusal) => assert_eq!((refusal.reason.name(), "rejected"), (case.reason, case.outcome), "{}", case.line()),
                Ok(warnings) if warnings.is_empty() => assert!(
                    ["duplicate-identifier", "version-gap", "unknown-type", "issuer-not-authorised"].contains(&case.reason),
                    "{}",
                    case.line()
                ),
                Ok(warnings) => assert_eq!((warnings[0].name(), "accepted"), (case.reason, case.outcome)),
            }
        }
    }
}

#[test]
fn every_type_has_its_english_name() {
    let sample = Sample::load().unwrap();
    let entries = sample.catalogue().unwrap();
    assert_eq!(entries.len(), 10);
    assert!(entries.iter().all(|e| !e.licence_type.name_en.is_empty()));
    assert_eq!(sample.units().len(), 19);
}
