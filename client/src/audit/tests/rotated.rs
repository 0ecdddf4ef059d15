//! Ledger keys that took each other's places: who may have signed which checkpoint.

use super::sample::{CITY, Sample, found, key, note_by, operator};
use crate::audit::{Options, Source};
use vermilion_ledger::{NewerKey, Trust};
use vermilion_proto::{Authentication, RotateKey, body::Of};
use vermilion_registry::submission::Sealed;

/// The posts that endorse a key.
const ENDORSERS: [(&str, &str); 5] =
    [("ann", "approve"), ("oli", "operate"), ("vera", "verify"), ("sue", "security-admin"), ("sue-second", "second-key")];

/// With a ledger key `second` that a record endorses, and a commitment after it: the record's number, the
/// size of the last tree and its root.
fn rotated() -> (Sample, u64, u64, [u8; 32]) {
    let mut sample = Sample::with_authority();
    sample.issue(&["A1", "A2"]);
    sample.commit();
    sample.managed(Of::AddOperator(operator("sue", CITY, "security-admin")));
    let mut second = operator("sue-second", CITY, "second-key");
    second.operator.as_mut().unwrap().person_tag = operator("sue", CITY, "").operator.unwrap().person_tag;
    sample.managed(Of::AddOperator(second));
    let mut head = sample.head(CITY, &ENDORSERS);
    head.signers[3].authentication = Some(Authentication { factor: 1, second_factor: 2, ..Default::default() });
    let public_key = key("second").public().0.to_vec();
    let body = Of::RotateKey(RotateKey { r#use: "ledger".into(), area: String::new(), suite: 1, public_key });
    sample.submit(head, body, &ENDORSERS.map(|(name, _)| name), Vec::new(), Sealed::default());
    let seq = sample.records.len() as u64 - 1;
    sample.commit();
    let (size, last) = sample.checkpoints.last_key_value().map(|(size, note)| (*size, note.clone())).unwrap();
    let root = vermilion_ledger::verify(&last, &sample.trust).unwrap().root;
    (sample, seq, size, root)
}

/// What is found if these ledger keys signed the last checkpoint, cosigned by all.
fn signed_by(ledger: &[&str], trust: Option<Trust>) -> (u64, Vec<(&'static str, Option<u64>)>) {
    let (sample, _, size, root) = rotated();
    let mut source = sample.source("a");
    source.checkpoints.insert(size, note_by(ledger, size, root, &[1, 2, 3]));
    let (report, found) = found(&[&source as &dyn Source], &Options { trust, ..Options::default() });
    (report.covered, found)
}

#[test]
fn after_its_record_the_later_key_signs_and_the_old_one_only_beside_it() {
    let (sample, seq, size, _) = rotated();
    let given = sample.trust.clone().with_newer_keys(vec![NewerKey { from: seq, key: key("second").public() }]).unwrap();
    // The audit knows the keys from the records, whatever trust it was given: an older one or an updated one.
    for trust in [None, Some(sample.trust), Some(given)] {
        assert_eq!(signed_by(&["second"], trust.clone()), (size, vec![]));
        assert_eq!(signed_by(&["second", "ledger"], trust.clone()), (size, vec![]));
        let (covered, found) = signed_by(&["ledger"], trust);
        assert_eq!((covered < size, found), (true, vec![("checkpoint-out-of-turn", Some(size - 1))]));
    }
}

#[test]
fn a_key_that_signs_before_its_record_is_found_too() {
    let (sample, ..) = rotated();
    let (before, note) = sample.checkpoints.first_key_value().unwrap();
    let root = vermilion_ledger::verify(note, &sample.trust).unwrap().root;
    let mut source = sample.source("a");
    source.checkpoints = [(*before, note_by(&["second"], *before, root, &[1, 2, 3]))].into();
    let (_, found) = found(&[&source as &dyn Source], &Options::default());
    assert_eq!(found, vec![("checkpoint-out-of-turn", Some(before - 1)), ("quorum-missing", None)]);
}

#[test]
fn a_trust_with_a_key_that_no_record_endorses_is_told() {
    let (sample, seq, ..) = rotated();
    for newer in [
        vec![NewerKey { from: seq, key: key("third").public() }],
        vec![NewerKey { from: seq - 1, key: key("second").public() }],
        vec![NewerKey { from: seq, key: key("second").public() }, NewerKey { from: seq + 1, key: key("third").public() }],
    ] {
        let trust = sample.trust.clone().with_newer_keys(newer).unwrap();
        let (_, found) = signed_by(&["second"], Some(trust));
        assert!(found.contains(&("ledger-keys-differ", None)), "{found:?}");
    }
}
