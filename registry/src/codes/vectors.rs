//! The published vectors, `testnet/fixtures/vectors.json`.

use super::{check, citizen_id, food_permit, identifier::Identifier, uscc};
use serde_json::Value;

fn vectors() -> Value {
    serde_json::from_str(include_str!("../../../testnet/fixtures/vectors.json")).unwrap()
}

fn each<'a>(vectors: &'a Value, system: &str, class: &str) -> Vec<&'a str> {
    let list: Vec<&str> = vectors[system][class].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    assert!(!list.is_empty(), "{system} {class}");
    list
}

#[test]
fn every_published_vector() {
    let vectors = vectors();
    for (text, expected) in vectors["mod37_36"].as_object().unwrap() {
        assert_eq!(check::mod37_36(&[text]).map(String::from).as_deref(), expected.as_str());
    }
    for (class, holds) in [("valid", true), ("invalid", false)] {
        for text in each(&vectors, "identifier", class) {
            assert_eq!(Identifier::parse(text).is_ok(), holds, "{text}");
        }
        for text in each(&vectors, "citizen_id", class) {
            assert_eq!(citizen_id::is_valid(text), holds, "{text}");
        }
        for text in each(&vectors, "food_permit", class) {
            assert_eq!(food_permit::is_valid(text), holds, "{text}");
        }
    }
    for (class, expected) in [
        ("valid", uscc::UsccAnswer::Valid),
        ("invalid", uscc::UsccAnswer::Invalid),
        ("lawful_but_failing", uscc::UsccAnswer::LawfulButFailing),
    ] {
        for text in each(&vectors, "uscc", class) {
            assert_eq!(uscc::check(text), expected, "{text}");
        }
    }
}
