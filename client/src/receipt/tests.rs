//! Receipts of a small ledger made here: one record with two licences.

use super::*;
use vermilion_crypto::{PublicKey, SigningKey};
use vermilion_ledger::{Checkpoint, Leaf, TrustSettings, Witness, chain_start, cosign, items_path, items_root, leaf_hash, make_checkpoint};
use vermilion_proto::{Body, Head, IssueLicences, ItemRefusal, Outcome, Signer, SignerKind};
use vermilion_registry::content::Disclosure;

const LEDGER: Digest = [5; 32];

fn key(n: u8) -> SigningKey {
    SigningKey::from_seed(&[n; 32])
}

fn trust() -> Trust {
    let public = |n: u8| -> PublicKey { key(n).public() };
    Trust::new(TrustSettings {
        origin: "city.example/ledger".into(),
        ledger_id: LEDGER,
        ledger_key: public(1),
        witnesses: (2..=4).map(|n| Witness { name: format!("city.example/ledger/n{n}"), key: public(n) }).collect(),
        quorum: 3,
        require_ledger_key: true,
    })
    .unwrap()
}

fn field() -> Disclosure {
    Disclosure::new(&[9; 16], "area", serde_json::json!("12")).unwrap()
}

fn receipt(outcome: Outcome, ledger: Digest) -> Receipt {
    let item = |n: u32| LicenceItem {
        format_version: 1,
        identifier: format!("licence {n}"),
        issuing_authority: "u".into(),
        version: 1,
        field_digests: field().digest().to_vec(),
        ..Default::default()
    };
    let items = vec![item(1).encode_to_vec(), item(2).encode_to_vec()];
    let (maker, checker) = (key(10), key(11));
    let signer = |k: &SigningKey, post: &str| Signer {
        key_id: k.public().id().to_vec(),
        unit: "u".into(),
        post: post.into(),
        kind: SignerKind::Operator.into(),
        authentication: None,
    };
    let head = Head {
        format_version: 1,
        suite: 1,
        ledger_id: ledger.to_vec(),
        nonce: vec![1; 16],
        unit: "u".into(),
        signers: vec![signer(&maker, "maker"), signer(&checker, "checker")],
        ..Default::default()
    };
    let body = Of::IssueLicences(IssueLicences { items_root: items_root(&items).to_vec(), items_count: 2 });
    let (_, envelope) = vermilion_identity::seal(&Command { head: Some(head), body: Some(Body { of: Some(body) }) }, &[&maker, &checker]);
    let record =
        Record { format_version: 1, seq: vermilion_ledger::FIRST_SEQ, time_ms: 77, envelope, outcome: Some(outcome), ..Default::default() };
    let bytes = record.encode_to_vec();
    let chain_before = chain_start(&LEDGER);
    let hash = record_hash(&bytes);
    let leaf = Leaf { seq: record.seq, time_ms: 77, record_hash: hash, chain_hash: chain_next(&chain_before, &hash), commitment: None };
    let checkpoint = Checkpoint { origin: "city.example/ledger".into(), size: 1, root: leaf.hash() };
    let mut note = make_checkpoint(&checkpoint, &key(1)).unwrap();
    for n in 2..=4u8 {
        note.add(cosign(&checkpoint.body(), &format!("city.example/ledger/n{n}"), &key(n), 1_000 + u64::from(n)).unwrap()).unwrap();
    }
    assert_eq!(leaf.hash(), leaf_hash(&leaf.encode()));
    Receipt {
        format_version: 1,
        record: bytes,
        chain_before: chain_before.to_vec(),
        tree_size: 1,
        checkpoint: note.to_bytes(),
        item: items[1].clone(),
        item_position: 1,
        item_path: items_path(&items, 1).unwrap().iter().map(|h| h.to_vec()).collect(),
        disclosures: vec![field().encoded().to_owned()],
        ..Default::default()
    }
}

#[test]
fn a_good_receipt_says_everything() {
    let found = check(&receipt(Outcome::default(), LEDGER), &trust());
    assert!(found.holds(), "{found:?}");
    assert_eq!((found.issuer.as_str(), found.posts.len(), found.as_of_ms()), ("u", 2, Some(1_002_000)));
    assert_eq!(found.fields[0].value, "12");
    let json = found.json();
    assert_eq!(json["ok"], true);
    assert_eq!(json["as_of"]["size"], 1);
    assert_eq!(json["cosigned_by"].as_array().unwrap().len(), 3);
    assert_eq!(json["licence"]["identifier"], "licence 2");
}

#[test]
fn each_answer_is_by_itself() {
    let trust = trust();
    let verdicts = |r: &Receipt| {
        let found = check(r, &trust);
        (found.genuine.is_ok(), found.issued.is_ok(), found.unaltered.is_ok())
    };
    let good = receipt(Outcome::default(), LEDGER);
    let mut altered = good.clone();
    altered.item[20] ^= 1;
    assert_eq!(verdicts(&altered), (true, false, false));
    let mut field = good.clone();
    field.disclosures = vec![Disclosure::new(&[9; 16], "area", serde_json::json!("13")).unwrap().encoded().to_owned()];
    assert!(!verdicts(&field).2);
    let mut tree = good.clone();
    tree.tree_size = 2;
    assert_eq!(verdicts(&tree), (false, true, true));
    let mut record = good.clone();
    let last = record.record.len() - 1;
    record.record[last] ^= 1;
    assert!(!verdicts(&record).0);
    assert_eq!(verdicts(&receipt(Outcome { code: 45, ..Default::default() }, LEDGER)), (true, false, true));
    let refused = Outcome { refused: vec![ItemRefusal { position: 1, code: 43 }], ..Default::default() };
    assert_eq!(verdicts(&receipt(refused, LEDGER)), (true, false, true));
    let other = Outcome { refused: vec![ItemRefusal { position: 0, code: 43 }], ..Default::default() };
    assert_eq!(verdicts(&receipt(other, LEDGER)), (true, true, true));
    assert_eq!(verdicts(&receipt(Outcome::default(), [6; 32])), (true, false, true));
    let mut alone = good.clone();
    (alone.item, alone.item_path, alone.disclosures) = Default::default();
    assert_eq!(verdicts(&alone), (true, true, true));
    alone.disclosures = good.disclosures.clone();
    assert_eq!(verdicts(&alone), (true, true, false));
    assert_eq!(verdicts(&Receipt::default()), (false, false, false));
}

#[test]
fn files_come_back_and_others_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("r.vmr");
    let good = receipt(Outcome::default(), LEDGER);
    write_file(&path, &good).unwrap();
    assert_eq!(read_file(&path).unwrap(), good);
    let bytes = std::fs::read(&path).unwrap();
    assert_eq!(digest(&good), sha256(&bytes));
    for bad in [&bytes[8..], &bytes[..bytes.len() - 1], b"VMRCPT1\n", b"", b"VMRCPT1\n\xf8\x07\x01"] {
        assert!(parse(bad).is_err());
    }
    let reserved = Receipt { status_proof: vec![1], ..good };
    assert!(parse(&[MAGIC.as_slice(), &reserved.encode_to_vec()].concat()).unwrap_err().contains("status_proof"));
}

proptest::proptest! {
    #[test]
    fn any_bytes_are_told_or_checked(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200)) {
        let _ = parse(&bytes);
        let file = [MAGIC.as_slice(), &bytes].concat();
        if let Ok(receipt) = parse(&file) {
            assert!(!check(&receipt, &trust()).holds());
        }
    }
}
