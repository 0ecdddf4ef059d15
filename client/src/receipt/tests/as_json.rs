//! The JSON form, written in other ways.

use super::*;
use serde_json::{Value, json};

/// What JSON may stand for in more than one way stands for nothing.
#[test]
fn of_one_receipt_there_is_one_json_but_for_white_space_and_order() {
    let good: serde_json::Value = serde_json::from_slice(&Document::new(registered::licence()).encode(Form::Json).unwrap()).unwrap();
    let parse = |json: &Value| Document::parse(&serde_json::to_vec(json).unwrap()).map(|read| read.receipt);
    assert_eq!(parse(&good).unwrap(), registered::licence());
    // An object's members as a list, in the order in which they are written.
    let list = |of: &Value, order: &[&str]| Value::Array(order.iter().map(|name| of[*name].clone()).collect());
    let (licence, status, registration) = (
        list(&good["licence"], &["item", "position", "path", "disclosures", "status"]),
        list(&good["licence"]["status"], &["version", "leaf", "inclusion", "licences", "proof"]),
        list(&good["registrations"][0], &["record", "chain_before", "inclusion"]),
    );
    let changes: [(&str, Value); 11] = [
        ("/licence", licence),
        ("/licence", Value::Null),
        ("/licence/status", status),
        ("/licence/status", Value::Null),
        ("/licence/status", json!({ "version": 0, "leaf": "", "inclusion": "", "licences": 0, "proof": "" })),
        ("/licence/status/version", json!(2)),
        ("/licence/item", json!("")),
        ("/licence/more", json!(1)),
        ("/registrations", Value::Null),
        ("/registrations/0", registration),
        ("/registrations/0", Value::Null),
    ];
    for (place, value) in changes {
        let mut changed = good.clone();
        let (parent, member) = place.rsplit_once('/').unwrap();
        match changed.pointer_mut(parent).unwrap() {
            Value::Array(all) => all[0] = value,
            object => object[member] = value,
        }
        assert!(parse(&changed).is_err(), "{place}: {:?}", changed.pointer(place));
    }
    // A licence that is none, and a member that stands twice.
    let of_record = Receipt { registrations: Vec::new(), ..registered::licence() };
    let bare = Receipt {
        item: Vec::new(),
        item_position: 0,
        item_path: Vec::new(),
        disclosures: Vec::new(),
        status_proof: Vec::new(),
        ..of_record
    };
    let mut json: Value = serde_json::from_slice(&Document::new(bare.clone()).encode(Form::Json).unwrap()).unwrap();
    assert_eq!(parse(&json).unwrap(), bare);
    json["licence"] = json!({ "item": "", "position": 0, "path": [], "disclosures": [] });
    assert!(parse(&json).is_err());
    let text = serde_json::to_string(&good).unwrap();
    let twice = text.replacen("\"position\":", "\"position\":0,\"position\":", 1);
    assert!(twice != text && Document::parse(twice.as_bytes()).is_err());
}
