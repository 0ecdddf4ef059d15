//! What a script makes wrong: heads that are bent, and items with a fault.

use super::script::list;
use super::*;
use std::error::Error;
use vermilion_proto::Evidence;

/// What a line may say of its command's head.
pub const HEAD_KEYS: [&str; 14] = [
    "sign",
    "second",
    "in",
    "basis",
    "reason",
    "head.version",
    "head.suite",
    "head.nonce",
    "head.ledger",
    "head.on-behalf-of",
    "head.expected",
    "head.kind",
    "head.evidence",
    "head.relates",
];

/// Bends a command's head.
pub fn bend(head: &mut Head, key: &str, value: &str) -> Result<(), Box<dyn Error>> {
    match key {
        "second" => {
            let second_factor = match value {
                "key" => return Ok(()),
                "none" => 0,
                "code" => 1,
                "said" => 2,
                other => return Err(format!("no second factor {other}").into()),
            };
            let authentication = vermilion_proto::Authentication { factor: 1, second_factor, ..Default::default() };
            head.signers.iter_mut().for_each(|s| s.authentication = Some(authentication.clone()));
        }
        "basis" => head.legal_basis = list(Some(value)),
        "reason" => head.reason = value.into(),
        "head.version" => head.format_version = value.parse()?,
        "head.suite" => head.suite = value.parse()?,
        "head.nonce" => head.nonce = value.into(),
        "head.ledger" => head.ledger_id = value.into(),
        "head.on-behalf-of" => head.on_behalf_of = value.into(),
        "head.expected" => head.expected_seq = Some(value.parse()?),
        "head.evidence" => {
            let (kind, number) = match value {
                "many" => ("report", 65),
                "unnamed" => ("", 1),
                kind => (kind, 1),
            };
            head.evidence = vec![Evidence { kind: kind.into(), media_type: String::new(), digest: vec![1; 32] }; number];
        }
        "head.relates" => head.relates_to = vec![vec![1; 32]; value.parse()?],
        "head.kind" => {
            let kind = match value {
                "system" => SignerKind::UnitSystem,
                "node" => SignerKind::Node,
                "holder" => SignerKind::Holder,
                _ => SignerKind::Unspecified,
            };
            head.signers.iter_mut().for_each(|s| s.kind = kind as i32);
        }
        _ => {}
    }
    Ok(())
}

/// A signer who is a node, or an operator in a commitment.
pub fn node_signer(name: &str) -> Signer {
    let operator = !name.starts_with("node");
    Signer {
        key_id: key(name).public().id().to_vec(),
        post: if operator { "maker" } else { "leader" }.into(),
        kind: if operator { SignerKind::Operator } else { SignerKind::Node } as i32,
        ..Default::default()
    }
}

/// Makes an item wrong in the way that a line names.
pub fn break_item(item: &mut LicenceItem, fault: &str) -> Result<(), Box<dyn Error>> {
    match fault {
        "" => {}
        "format" => item.identifier = item.identifier.replace("3005", "3006"),
        "check" => {
            let last = if item.identifier.ends_with('0') { "1" } else { "0" };
            let length = item.identifier.len();
            item.identifier.replace_range(length - 1.., last);
        }
        "mismatch" => item.version += 1,
        "area" => item.area = "x".repeat(300),
        "version-2" => item.format_version = 2,
        "fields" => item.field_digests.swap(0, 64),
        "classes" => item.field_classes[0] = 9,
        "no-holder" => item.holders.clear(),
        "holder-tag" => item.holders[0].tag.pop().map(|_| ()).ok_or("tag")?,
        "holder-type" => item.holders[0].code_type = "414".into(),
        "unusual" => item.holder_code_unusual = true,
        "future" => item.issued_on += 30,
        "backwards" => item.expires_on = item.effective_from - 1,
        "no-term" => (item.expires_on, item.no_term) = (0, true),
        "legacy-code" => item.provenance.as_mut().unwrap().legacy_code = "粤440303188001010011".into(),
        "physical-serial" => item.provenance.as_mut().unwrap().physical_serial = "440303188001010011".into(),
        "later" => (item.effective_from, item.expires_on) = (item.issued_on + 30_000, item.issued_on + 30_300),
        "no-end" => item.expires_on = 0,
        "over" => (item.effective_from, item.expires_on) = (item.issued_on - 400, item.issued_on - 1),
        "over-that-day" => (item.effective_from, item.expires_on) = (item.issued_on - 400, item.issued_on),
        "decided-after" => item.decided_on = item.issued_on + 1,
        "no-provenance" => item.provenance = None,
        "previous" => item.previous = item.identifier.clone(),
        "objection" => item.objection = vec![1; 3],
        "no-tag" => item.identifier_tag.clear(),
        "no-digest" => item.identifier_digest.clear(),
        "clear" => item.identifier = "1.2.156.3005.2.11440300MB0X00019K002.11440300MB0X00019K.JY14403030000012.001.S".into(),
        "files" => item.files = vec![vermilion_proto::LicenceFile { role: "scan".into(), digest: vec![1; 32], ..Default::default() }],
        "seals" => item.seals = vec![vermilion_proto::LicenceSeal::default(); 17],
        "other-previous" => item.previous = "x".into(),
        other => return Err(format!("no fault {other}").into()),
    }
    Ok(())
}
