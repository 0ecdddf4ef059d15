//! Every way of tampering with records and checkpoints has its finding.

use super::sample::{Memoried, START, Sample, found, key, note};
use crate::audit::{Options, Source, TrustFile, opened, signature_limit};
use vermilion_ledger::{Policy, SignedNote, Trust, TrustSettings, Witness, cosign};
use vermilion_proto::{Envelope, Message as _, StoredRecord};
use vermilion_registry::pinned;

/// Records of `Sample::busy`: 0 genesis, 1 to 4 unit, operators, type, 5 issue, 6 commitment, 7 issue
/// with a refused item, 8 erasure, 9 commitment.
const ISSUE: u64 = 5;
const PARTLY: u64 = 7;

fn codes(source: &Memoried, options: &Options) -> Vec<(&'static str, Option<u64>)> {
    found(&[source as &dyn Source], options).1
}

fn has(found: &[(&'static str, Option<u64>)], code: &'static str, seq: u64) -> bool {
    found.contains(&(code, Some(seq)))
}

#[test]
fn an_honest_ledger_is_clean() {
    let sample = Sample::busy();
    let (report, found) = found(&[&sample.source("a"), &sample.source("b")], &Options::default());
    assert_eq!(found, []);
    assert!(report.clean);
    assert_eq!((report.records, report.licences, report.commitments, report.checkpoints), (10, 3, 2, 4));
    assert_eq!((report.covered, report.not_yet_covered(), report.signatures), (10, 0, 5 * 3 + 2 * 2 + 2));
    assert!(!report.trust_given && report.to_json()["clean"] == true && report.to_text().contains("CLEAN"));
}

#[test]
fn trust_may_be_given() {
    let sample = Sample::busy();
    let file = TrustFile::of(&sample.trust);
    let given = Options { trust: Some(file.trust().unwrap()), genesis: Some(sample.genesis.clone()), ..Options::default() };
    assert_eq!(codes(&sample.source("a"), &given), []);
    let other = TrustFile { ledger_id: "ab".repeat(32), ..file };
    let other = Options { trust: Some(other.trust().unwrap()), ..Options::default() };
    assert!(has(&codes(&sample.source("a"), &other), "genesis-differs", 0));
    let mut genesis = sample.genesis.clone();
    genesis.pop();
    assert!(has(&codes(&sample.source("a"), &Options { genesis: Some(genesis), ..Options::default() }), "genesis-differs", 0));
}

#[test]
fn records_after_the_last_checkpoint_are_counted_not_blamed() {
    let mut sample = Sample::busy();
    sample.issue(&["B1"]);
    let (report, found) = found(&[&sample.source("a")], &Options::default());
    assert_eq!((found, report.covered, report.not_yet_covered()), (vec![], 10, 1));
}

#[test]
fn a_rewritten_command_with_everything_recomputed() {
    let mut source = Sample::busy().source("a");
    source.rewrite(ISSUE, |record| {
        let mut envelope = Envelope::decode(record.envelope.clone()).unwrap();
        // One bit of the nonce: the payload stays canonical.
        let at = envelope.payload.windows(8).position(|w| w == [0; 8]).unwrap();
        envelope.payload[at] ^= 1;
        record.envelope = envelope.encode_to_vec().into();
    });
    let codes = codes(&source, &Options::default());
    assert!(has(&codes, "signature-bad", ISSUE), "{codes:?}");
    assert!(has(&codes, "checkpoint-root", 6) && has(&codes, "checkpoint-root", 9), "the signed roots give it away too");
    assert!(!codes.iter().any(|(code, _)| *code == "chain-broken"));
}

#[test]
fn a_bad_signature() {
    let mut source = Sample::busy().source("a");
    source.rewrite(ISSUE, |record| {
        let mut envelope = Envelope::decode(record.envelope.clone()).unwrap();
        envelope.signatures[1].signature[40] ^= 1;
        record.envelope = envelope.encode_to_vec().into();
    });
    let with = codes(&source, &Options::default());
    assert!(has(&with, "signature-bad", ISSUE));
    assert_eq!(with.iter().filter(|(code, _)| *code == "signature-bad").count(), 1, "only the bad one is named");
    source.checkpoints.clear();
    let without = codes(&source, &Options { signatures: false, ..Options::default() });
    assert_eq!(without, [("quorum-missing", None)]);
}

#[test]
fn a_stripped_signature() {
    let mut source = Sample::busy().source("a");
    source.rewrite(ISSUE, |record| {
        let mut envelope = Envelope::decode(record.envelope.clone()).unwrap();
        envelope.signatures.pop();
        record.envelope = envelope.encode_to_vec().into();
    });
    let codes = codes(&source, &Options::default());
    assert!(has(&codes, "signer-missing", ISSUE) && has(&codes, "replay-stopped", ISSUE), "{codes:?}");
}

#[test]
fn a_wrong_outcome() {
    let mut source = Sample::busy().source("a");
    source.checkpoints.clear();
    source.rewrite(PARTLY, |record| record.outcome.as_mut().unwrap().refused.clear());
    assert_eq!(codes(&source, &Options::default()), [("outcome-wrong", Some(PARTLY)), ("quorum-missing", None)]);
    let mut source = Sample::busy().source("a");
    source.rewrite(ISSUE, |record| record.outcome.as_mut().unwrap().code = 999);
    assert!(has(&codes(&source, &Options::default()), "outcome-wrong", ISSUE));
}

#[test]
fn wrong_effects_and_commitments() {
    let mut source = Sample::busy().source("a");
    source.checkpoints.clear();
    source.rewrite(ISSUE, |record| record.effects_digest[3] ^= 1);
    source.rewrite(6, |record| record.commitment.as_mut().unwrap().status_root[0] ^= 1);
    source.rewrite(8, |record| record.epoch = 1);
    let codes = codes(&source, &Options::default());
    assert_eq!(codes, [("effects-wrong", Some(5)), ("commitment-wrong", Some(6)), ("replay-differs", Some(8)), ("quorum-missing", None)]);
}

#[test]
fn a_missing_record() {
    let mut source = Sample::busy().source("a");
    source.records.remove(&ISSUE);
    let codes = codes(&source, &Options::default());
    assert!(has(&codes, "record-missing", ISSUE) && has(&codes, "replay-stopped", ISSUE), "{codes:?}");
}

#[test]
fn a_missing_record_with_everything_behind_it_moved_up() {
    let sample = Sample::busy();
    let mut source = sample.source("a");
    let moved: Vec<_> = source.records.split_off(&(ISSUE + 1)).into_iter().map(|(seq, record)| (seq - 1, record)).collect();
    source.records.extend(moved);
    source.size -= 1;
    for seq in ISSUE..9 {
        source.rewrite(seq, |record| record.seq = seq);
    }
    let codes = codes(&source, &Options::default());
    assert!(codes.iter().any(|(code, _)| *code == "effects-wrong" || *code == "outcome-wrong"), "{codes:?}");
    assert!(codes.iter().any(|(code, _)| *code == "checkpoint-beyond" || *code == "checkpoint-root"), "{codes:?}");
}

#[test]
fn an_end_that_was_cut_off() {
    let mut source = Sample::busy().source("a");
    source.records.remove(&9);
    assert!(has(&codes(&source, &Options::default()), "records-cut", 9));
    source.size = 9;
    let codes = codes(&source, &Options::default());
    assert_eq!(codes, [("checkpoint-beyond", None)], "the signed checkpoint still says that there was more");
}

#[test]
fn broken_chains_times_numbers_and_bytes() {
    let mut source = Sample::busy().source("a");
    source.records.get_mut(&PARTLY).unwrap().chain[0] ^= 1;
    let found = codes(&source, &Options::default());
    assert_eq!(found, [("chain-broken", Some(PARTLY))], "the tree is that of the chain as it should be");

    let mut source = Sample::busy().source("a");
    let chains: Vec<_> = source.records.values().map(|record| record.chain.clone()).collect();
    source.rewrite(PARTLY, |record| record.effects_digest[0] ^= 1);
    source.records.values_mut().zip(chains).for_each(|(record, chain)| record.chain = chain);
    let found = codes(&source, &Options::default());
    let expected = [("chain-broken", Some(PARTLY)), ("effects-wrong", Some(PARTLY)), ("checkpoint-root", Some(9))];
    assert_eq!(found, expected, "one break is told once");

    let mut source = Sample::busy().source("a");
    source.rewrite(PARTLY, |record| record.time_ms -= 60_000);
    let found = codes(&source, &Options::default());
    assert!(has(&found, "time-back", PARTLY) && has(&found, "replay-stopped", PARTLY), "{found:?}");

    let mut source = Sample::busy().source("a");
    source.rewrite(PARTLY, |record| record.seq = 70);
    assert!(has(&codes(&source, &Options::default()), "record-misplaced", PARTLY));

    let mut source = Sample::busy().source("a");
    let stored = source.records.get_mut(&PARTLY).unwrap();
    stored.record = [&stored.record[..], &[0xfa, 0x01, 0x00]].concat().into();
    assert!(has(&codes(&source, &Options::default()), "record-unreadable", PARTLY));
}

#[test]
fn items_that_were_not_signed_and_commands_that_are_repeated() {
    let mut source = Sample::busy().source("a");
    source.records.get_mut(&ISSUE).unwrap().items.swap(0, 1);
    assert!(has(&codes(&source, &Options::default()), "items-differ", ISSUE));

    let mut source = Sample::busy().source("a");
    let first = source.records[&ISSUE].clone();
    source.records.insert(10, first);
    source.size = 11;
    source.rewrite(10, |record| (record.seq, record.time_ms) = (10, record.time_ms + 3_600_000));
    assert_eq!(codes(&source, &Options::default()), [("record-not-due", Some(10)), ("replay-stopped", Some(10))]);

    let mut source = Sample::busy().source("a");
    source.rewrite(ISSUE, |record| record.beside_digest[0] ^= 1);
    assert!(has(&codes(&source, &Options::default()), "beside-differs", ISSUE));
}

#[test]
fn checkpoints_that_are_not_what_they_should_be() {
    let sample = Sample::busy();
    let mut source = sample.source("a");
    source.checkpoints.insert(10, note(10, [9; 32], &[1, 2, 3]));
    assert!(has(&codes(&source, &Options::default()), "checkpoint-root", 9));

    let mut source = sample.source("a");
    let mut bytes = source.checkpoints[&10].clone();
    let at = bytes.len() - 5;
    bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
    source.checkpoints.insert(10, bytes);
    assert!(has(&codes(&source, &Options::default()), "checkpoint-invalid", 9));

    let mut source = sample.source("a");
    let last = source.checkpoints.remove(&10).unwrap();
    source.checkpoints.insert(9, last);
    assert!(
        has(&codes(&source, &Options::default()), "checkpoint-misplaced", 8)
            || codes(&source, &Options::default()).contains(&("checkpoint-misplaced", None))
    );

    let mut source = sample.source("a");
    source.checkpoints = sample.checkpoints.keys().map(|size| (*size, note(*size, [0; 32], &[1, 2, 3]))).collect();
    assert_eq!(codes(&source, &Options::default()).len(), 3, "two roots, and no quorum that counts");
}

#[test]
fn cosignatures_count_wherever_they_are_kept() {
    let sample = Sample::busy();
    let root = vermilion_ledger::verify(&sample.checkpoints[&10], &sample.trust).unwrap().root;
    let with = |name: &str, nodes: &[u64]| {
        let mut source = sample.source(name);
        source.checkpoints = [(10, note(10, root, nodes))].into();
        source
    };
    let (a, b) = (with("a", &[1, 2]), with("b", &[3]));
    let (alone, codes) = found(&[&a], &Options::default());
    assert_eq!((alone.covered, codes), (0, vec![("quorum-missing", None)]));
    let (together, codes) = found(&[&a, &b], &Options::default());
    assert_eq!((together.covered, codes), (10, vec![]));
}

#[test]
fn what_is_enough_the_policy_of_the_trust_says() {
    let sample = Sample::busy();
    let root = vermilion_ledger::verify(&sample.checkpoints[&10], &sample.trust).unwrap().root;
    let seen = Witness { name: "witness.example/w".into(), key: key("outside").public() };
    let with = |nodes: &[u64], outside: bool| {
        let mut bytes = SignedNote::parse(&note(10, root, nodes)).unwrap();
        if outside {
            let line = cosign(bytes.body(), &seen.name, &key("outside"), START / 1000).unwrap();
            bytes.add(line).unwrap();
        }
        let name = format!("{nodes:?}");
        Memoried { checkpoints: [(10, bytes.to_bytes())].into(), ..sample.source(&name) }
    };
    let covered = |quorum: usize, policy: &Policy, sources: &[&dyn Source]| {
        let settings = TrustSettings { quorum, ..sample.trust.settings().clone() };
        let trust = Trust::new(settings).unwrap().with_policy(policy.clone()).unwrap();
        found(sources, &Options { trust: Some(trust), ..Options::default() }).0.covered
    };
    let city = Policy { city: vec![pinned::witness_name(&sample.trust.settings().origin, "node-1")], ..Policy::default() };
    assert_eq!(covered(2, &city, &[&with(&[2, 3], false)]), 0, "none of the city");
    assert_eq!(covered(2, &city, &[&with(&[2, 3], false), &with(&[1], false)]), 10);
    let outside = Policy { outside: vec![seen.clone()], outside_need: 1, ..Policy::default() };
    assert_eq!(covered(3, &outside, &[&with(&[1, 2, 3], false)]), 0, "nobody outside");
    assert_eq!(covered(3, &outside, &[&with(&[1, 2, 3], true)]), 10);
    assert_eq!(covered(3, &outside, &[&with(&[1, 2, 3], false), &with(&[1], true)]), 10);
}

#[test]
fn cosignatures_of_two_histories_are_not_added_up() {
    let sample = Sample::busy();
    let root = |source: &Memoried| {
        let mut tree = vermilion_ledger::Tree::new();
        for record in source.records.values() {
            tree.append(vermilion_registry::stored::open_record(record).unwrap().leaf.hash());
        }
        tree.root()
    };
    let (mut one, mut other) = (sample.source("a"), sample.source("b"));
    other.rewrite(8, |record| record.effects_digest[0] ^= 1);
    one.checkpoints = [(10, note(10, root(&one), &[1, 2]))].into();
    other.checkpoints = [(10, note(10, root(&other), &[3]))].into();
    let (report, codes) = found(&[&one, &other], &Options::default());
    assert_eq!(report.covered, 0);
    assert!(codes.contains(&("quorum-missing", None)) && has(&codes, "checkpoints-conflict", 9), "{codes:?}");
}

#[test]
fn sources_that_differ() {
    let a = Sample::busy();
    let mut other = a.source("b");
    other.rewrite(8, |record| record.effects_digest[0] ^= 1);
    let (_, found_codes) = found(&[&a.source("a"), &other], &Options::default());
    assert!(has(&found_codes, "sources-differ", 8) && has(&found_codes, "effects-wrong", 8), "{found_codes:?}");

    // A shorter source is no difference, even if the longer one comes second.
    let mut shorter = a.source("b");
    shorter.records.split_off(&8);
    shorter.checkpoints.remove(&10);
    shorter.size = 8;
    let (report, codes) = found(&[&shorter, &a.source("a")], &Options::default());
    assert_eq!((codes, report.records), (vec![], 10));

    // Another signed history: the keys that signed both are named.
    let mut forked = a.source("c");
    forked.checkpoints.insert(10, note(10, [8; 32], &[1, 3]));
    let (report, codes) = found(&[&a.source("a"), &forked], &Options::default());
    assert!(has(&codes, "checkpoints-conflict", 9), "{codes:?}");
    let conflict = report.findings.iter().find(|f| f.code.name() == "checkpoints-conflict").unwrap();
    assert!(conflict.en.contains("node-1") && conflict.en.contains("node-3") && !conflict.en.contains("node-2"), "{}", conflict.en);
}

#[test]
fn a_source_that_is_no_ledger() {
    let mut source = Sample::busy().source("a");
    source.records.clear();
    assert!(has(&codes(&source, &Options::default()), "genesis-differs", 0));
    let mut source = Sample::busy().source("a");
    let second = source.records[&1].clone();
    source.records.insert(0, second);
    assert!(has(&codes(&source, &Options::default()), "genesis-differs", 0));
}

#[test]
fn the_limit_is_of_good_signatures() {
    let sample = Sample::busy();
    let records: Vec<Vec<u8>> = sample.records.iter().map(StoredRecord::encode_to_vec).collect();
    assert!(signature_limit(&opened(&records)).unwrap().rate > 0.0);
    assert_eq!(signature_limit(&opened(&records[..1])), None);
}
