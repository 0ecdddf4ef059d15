//! Receipts under a later ledger key: record 0 endorses it, record 1 issues, record 2 is the commitment.

use super::*;
use vermilion_proto::RotateKey;

/// The later ledger key's number; the pinned one is 1.
pub(crate) const NEW: u8 = 20;

/// A note over a tree by these ledger keys, and by as many witnesses.
fn signed(size: u64, root: Digest, ledger: &[u8], witnesses: u8) -> Vec<u8> {
    let checkpoint = Checkpoint { origin: "city.example/ledger".into(), size, root };
    let mut lines: Vec<_> = ledger.iter().flat_map(|n| make_checkpoint(&checkpoint, &key(*n)).unwrap().lines().to_vec()).collect();
    for n in 2..2 + witnesses {
        lines.push(cosign(&checkpoint.body(), &format!("city.example/ledger/n{n}"), &key(n), 1_800_000_000 + u64::from(n)).unwrap());
    }
    vermilion_ledger::SignedNote::new(&checkpoint.body(), lines).unwrap().to_bytes()
}

fn rotation() -> Vec<u8> {
    let signer = Signer { key_id: key(10).public().id().to_vec(), kind: SignerKind::Operator.into(), ..Default::default() };
    let head = Head {
        format_version: 1,
        suite: 1,
        ledger_id: LEDGER.to_vec(),
        nonce: vec![1; 16],
        not_after_ms: 1_800_000_600_000,
        signers: vec![signer],
        ..Default::default()
    };
    let public_key = key(NEW).public().0.to_vec();
    let body = Of::RotateKey(RotateKey { r#use: "ledger".into(), area: String::new(), suite: 1, public_key });
    let (_, envelope) = vermilion_identity::seal(&Command { head: Some(head), body: Some(Body { of: Some(body) }) }, &[&key(10)]);
    let outcome = Some(Outcome::default());
    Record { format_version: 1, time_ms: 1_799_999_999_000, rules_version: 1, envelope: envelope.into(), outcome, ..Default::default() }
        .encode_to_vec()
}

/// The receipt of a licence of record 1, whose checkpoint has these ledger keys, with the endorsement of the
/// later key by these ledger keys and as many witnesses.
pub(crate) fn rotated(ledger: &[u8], (endorsers, witnesses): (&[u8], u8)) -> Receipt {
    let items = vec![item(1, 3), item(2, 3)];
    let records = [rotation(), record(&items, taken(), 1, LEDGER)];
    let mut tree = Tree::new();
    let mut chain = chain_start(&LEDGER);
    let mut before = Vec::new();
    for (seq, bytes) in (0u64..).zip(&records) {
        before.push(chain.to_vec());
        let hash = record_hash(bytes);
        chain = chain_next(&chain, &hash);
        let time_ms = if seq == 0 { 1_799_999_999_000 } else { 1_800_000_000_000 };
        tree.append(Leaf { seq, time_ms, record_hash: hash, chain_hash: chain, commitment: None }.hash());
    }
    let commitment = Some(Commitment { status_root: [8; 32], state_digest: [0; 32] });
    tree.append(Leaf { seq: 2, time_ms: 1_800_000_001_000, record_hash: [1; 32], chain_hash: [2; 32], commitment }.hash());
    let of = |seq: u64| Receipt {
        format_version: 1,
        record: records[seq as usize].clone(),
        chain_before: before[seq as usize].clone(),
        tree_size: 3,
        inclusion: tree.inclusion(&NoTiles, 3, seq).unwrap().iter().map(|h| h.to_vec()).collect(),
        ..Default::default()
    };
    let endorsement = Receipt { checkpoint: signed(3, tree.root(), endorsers, witnesses), ..of(0) }.encode_to_vec();
    Receipt {
        checkpoint: signed(3, tree.root(), ledger, 3),
        item: items[1].clone(),
        item_position: 1,
        item_path: items_path(&items, 1).unwrap().iter().map(|h| h.to_vec()).collect(),
        endorsements: vec![endorsement],
        ..of(1)
    }
}

fn forms(receipt: &Receipt, signer: u8) -> Vec<Vec<u8>> {
    let document = Document::new(receipt.clone());
    let mut out: Vec<_> = [Form::Binary, Form::Json, Form::TlogProof].map(|form| document.encode(form).unwrap()).to_vec();
    let root = Checkpoint::parse(vermilion_ledger::SignedNote::parse(&receipt.checkpoint).unwrap().body()).unwrap().root;
    let rest = Receipt { tree_size: 0, inclusion: Vec::new(), ..receipt.clone() };
    let path = digests(&receipt.inclusion).unwrap();
    out.push(CoseReceipt::make(&root, receipt.tree_size, 1, &path, &rest.encode_to_vec(), &key(signer)).unwrap());
    out
}

#[test]
fn a_receipt_under_a_later_key_holds_by_the_endorsement_that_it_carries() {
    let good = rotated(&[NEW], (&[1], 3));
    let updated = vermilion_registry::endorsement::extend(&trust(), &good.endorsements).unwrap();
    for bytes in forms(&good, NEW) {
        let document = Document::parse(&bytes).unwrap();
        assert_eq!(document.receipt, good);
        for trust in [trust(), updated.clone()] {
            let found = document.check(&trust);
            assert!(found.holds(), "{:?} {found:?}", document.form);
            assert_eq!(found.trust, updated);
        }
    }
    // As COSE the key that serves at that size signs, or a witness; the one before it no more.
    for (signer, holds) in [(NEW, true), (3, true), (1, false)] {
        assert_eq!(Document::parse(&forms(&good, signer)[3]).unwrap().check(&trust()).holds(), holds, "{signer}");
    }
    let without = Receipt { endorsements: Vec::new(), ..good };
    assert!(check(&without, &updated).holds(), "whoever knows the key already needs no endorsement");
    assert!(check(&without, &trust()).genuine.unwrap_err().contains("ledger key"));
}

#[test]
fn an_old_receipt_holds_under_an_updated_trust() {
    let endorsed = rotated(&[NEW], (&[1], 3)).endorsements;
    let before = receipt(taken(), LEDGER);
    // Its tree of two records ends before a key of record 2 or later; the trust says which trees are whose.
    let newer = vermilion_ledger::NewerKey { from: 2, key: key(NEW).public() };
    assert!(check(&before, &trust().with_newer_keys(vec![newer]).unwrap()).holds());
    let updated = vermilion_registry::endorsement::extend(&trust(), &endorsed).unwrap();
    assert!(!check(&before, &updated).holds(), "the old key signed a tree that holds the later one's record");
}

#[test]
fn an_endorsement_without_the_quorum_or_the_old_key_is_refused_by_name() {
    for (ledger, endorsers, witnesses, code) in [
        (&[NEW][..], &[1][..], 0, "endorsement.quorum"),
        (&[NEW], &[1], 2, "endorsement.quorum"),
        (&[NEW], &[NEW], 3, "endorsement.old_key"),
        (&[NEW], &[], 3, "endorsement.old_key"),
        // Even where the receipt's own checkpoint is the old key's: what it carries must hold.
        (&[1], &[1], 0, "endorsement.quorum"),
    ] {
        for bytes in forms(&rotated(ledger, (endorsers, witnesses)), 3) {
            let why = Document::parse(&bytes).unwrap().check(&trust()).genuine.unwrap_err();
            assert!(why.contains(code), "{why}");
        }
    }
    // By the endorsement the later key signs this tree: the old one alone is not the ledger any more.
    assert!(check(&rotated(&[1], (&[1], 3)), &trust()).genuine.unwrap_err().contains("ledger key"));
}

#[test]
fn no_byte_of_an_endorsement_may_change_in_any_form() {
    let good = rotated(&[NEW], (&[1], 3));
    let updated = vermilion_registry::endorsement::extend(&trust(), &good.endorsements).unwrap();
    let length = good.endorsements[0].len();
    for at in (0..length).step_by(3).chain(length - 40..length) {
        let mut changed = good.clone();
        changed.endorsements[0][at] ^= 1;
        assert!(!check(&changed, &trust()).holds() && !check(&changed, &updated).holds(), "byte {at}");
    }
    for whole in forms(&good, NEW).into_iter().filter(|form| form[0] != b'{') {
        for at in (0..whole.len()).step_by(7) {
            let mut changed = whole.clone();
            changed[at] ^= 1;
            assert!(!Document::parse(&changed).is_ok_and(|d| d.check(&trust()).holds()), "byte {at}");
        }
    }
}
