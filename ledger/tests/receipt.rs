//! Receipts: a small ledger, and every way in which a receipt can fail to hold.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use proptest::prelude::*;
use std::{collections::HashMap, convert::Infallible};
use vermilion_crypto::SigningKey;
use vermilion_ledger::*;

const ORIGIN: &str = "city.example/ledger";
const LEDGER_ID: Digest = [0x1d; 32];

#[derive(Default)]
struct Tiles(HashMap<(u8, u64), Vec<u8>>);

impl TileStore for Tiles {
    type Error = Infallible;
    fn tile(&self, level: u8, index: u64) -> Result<Option<Vec<u8>>, Infallible> {
        Ok(self.0.get(&(level, index)).cloned())
    }
}

fn key(n: u8) -> SigningKey {
    SigningKey::from_seed(&[n; 32])
}

fn trust() -> Trust {
    Trust::new(TrustSettings {
        origin: ORIGIN.into(),
        ledger_id: LEDGER_ID,
        ledger_key: key(0).public(),
        witnesses: (1..=3).map(|n| Witness { name: format!("node{n}"), key: key(n).public() }).collect(),
        quorum: 3,
        require_ledger_key: true,
    })
    .unwrap()
}

/// Every record is its number; every tenth is a commitment.
fn record(seq: u64) -> Vec<u8> {
    format!("record {seq}").into_bytes()
}

fn claim(seq: u64) -> LeafClaim {
    let commitment = (seq % 10 == 9).then_some(Commitment { status_root: [3; 32], state_digest: UNKNOWN_STATE });
    LeafClaim { seq, time_ms: 1_790_000_000_000 + seq, commitment }
}

struct Ledger {
    tree: Tree,
    tiles: Tiles,
    /// The chain before each record, and after the last.
    chain: Vec<Digest>,
}

fn ledger(size: u64) -> Ledger {
    let mut ledger = Ledger { tree: Tree::new(), tiles: Tiles::default(), chain: vec![chain_start(&LEDGER_ID)] };
    for seq in 0..size {
        let record_hash = record_hash(&record(seq));
        let chain_hash = chain_next(ledger.chain.last().unwrap(), &record_hash);
        let LeafClaim { seq, time_ms, commitment } = claim(seq);
        ledger.chain.push(chain_hash);
        for tile in ledger.tree.append(Leaf { seq, time_ms, record_hash, chain_hash, commitment }.hash()) {
            ledger.tiles.0.insert((tile.level, tile.index), tile.bytes);
        }
    }
    ledger
}

/// Item, position, count, path, root.
type Item = (Vec<u8>, u64, u64, Vec<Vec<u8>>, Vec<u8>);

/// A receipt as it travels, to be tampered with.
#[derive(Clone)]
struct Receipt {
    record: Vec<u8>,
    chain_before: Vec<u8>,
    tree_size: u64,
    inclusion: Vec<Vec<u8>>,
    checkpoint: Vec<u8>,
    item: Option<Item>,
    claim: LeafClaim,
}

impl Receipt {
    fn check(&self, trust: &Trust) -> Result<Checked, ReceiptError> {
        let item = self.item.as_ref().map(|(item, position, count, path, root)| ItemParts {
            item,
            position: *position,
            count: *count,
            path,
            root,
        });
        let parts = ReceiptParts {
            record: &self.record,
            chain_before: &self.chain_before,
            tree_size: self.tree_size,
            inclusion: &self.inclusion,
            checkpoint: &self.checkpoint,
            item,
        };
        check_receipt(&parts, &self.claim, trust)
    }
}

fn signed(size: u64, root: Digest, nodes: &[u8]) -> Vec<u8> {
    let mut note = make_checkpoint(&Checkpoint { origin: ORIGIN.into(), size, root }, &key(0)).unwrap();
    for n in nodes {
        note.add(cosign(note.body(), &format!("node{n}"), &key(*n), 1_790_000_000).unwrap()).unwrap();
    }
    note.to_bytes()
}

fn wire(hashes: Vec<Digest>) -> Vec<Vec<u8>> {
    hashes.into_iter().map(|hash| hash.to_vec()).collect()
}

fn receipt(ledger: &Ledger, seq: u64, size: u64, with_item: bool) -> Receipt {
    let items: Vec<Vec<u8>> = (0..7u8).map(|n| vec![n; 700]).collect();
    let tree = ItemTree::new(&items);
    let item = (items[4].clone(), 4, 7, wire(tree.path(4).unwrap()), tree.root().to_vec());
    Receipt {
        record: record(seq),
        chain_before: ledger.chain[seq as usize].to_vec(),
        tree_size: size,
        inclusion: wire(ledger.tree.inclusion(&ledger.tiles, size, seq).unwrap()),
        checkpoint: signed(size, ledger.tree.root_at(&ledger.tiles, size).unwrap(), &[1, 2, 3]),
        item: with_item.then_some(item),
        claim: claim(seq),
    }
}

#[test]
fn receipts_hold_at_every_place() {
    let (ledger, trust) = (ledger(600), trust());
    for (seq, size) in [(0, 1), (0, 600), (9, 10), (9, 600), (255, 256), (256, 257), (300, 512), (599, 600)] {
        let checked = receipt(&ledger, seq, size, seq % 2 == 0).check(&trust).unwrap();
        assert_eq!(checked.record_hash, record_hash(&record(seq)));
        assert_eq!((checked.leaf.seq, checked.leaf.chain_hash), (seq, ledger.chain[seq as usize + 1]));
        assert_eq!((checked.checkpoint.size, checked.checkpoint.cosigners.len()), (size, 3));
        assert_eq!(checked.item, (seq % 2 == 0).then_some(4));
    }
}

#[test]
fn each_failure_has_its_own_name() {
    let (ledger, trust) = (ledger(300), trust());
    let good = receipt(&ledger, 100, 290, true);
    good.check(&trust).unwrap();
    let mut codes = Vec::new();
    let mut refused = |what: &str, change: &dyn Fn(&mut Receipt)| {
        let mut receipt = good.clone();
        change(&mut receipt);
        let error = receipt.check(&trust).expect_err(what);
        let sentence = error.to_string();
        assert!(sentence.ends_with('.') && !sentence.contains("Error"), "{sentence}");
        codes.push(error.code());
        error.code()
    };
    let root = ledger.tree.root_at(&ledger.tiles, 290).unwrap();

    assert_eq!(refused("chain", &|r| r.chain_before.truncate(31)), "receipt.bad_hash");
    assert_eq!(refused("inclusion", &|r| r.inclusion[0].push(0)), "receipt.bad_hash");
    assert_eq!(refused("path", &|r| r.item.as_mut().unwrap().3[0].clear()), "receipt.bad_hash");
    assert_eq!(refused("items root", &|r| r.item.as_mut().unwrap().4.clear()), "receipt.bad_hash");
    assert_eq!(refused("note", &|r| r.checkpoint.truncate(50)), "receipt.bad_checkpoint");
    assert_eq!(
        refused("origin", &|r| {
            let other = Checkpoint { origin: "other.example".into(), size: 290, root };
            r.checkpoint = make_checkpoint(&other, &key(0)).unwrap().to_bytes();
        }),
        "receipt.wrong_ledger"
    );
    assert_eq!(
        refused("signature", &|r| {
            let text = String::from_utf8(r.checkpoint.clone()).unwrap();
            r.checkpoint = text.replacen("\n290\n", "\n291\n", 1).into_bytes();
        }),
        "receipt.bad_signature"
    );
    assert_eq!(
        refused("strangers", &|r| {
            let body = Checkpoint { origin: ORIGIN.into(), size: 290, root }.body();
            r.checkpoint = SignedNote::new(&body, vec![cosign(&body, "node9", &key(9), 1).unwrap()]).unwrap().to_bytes();
        }),
        "receipt.unknown_signers"
    );
    assert_eq!(
        refused("no ledger key", &|r| {
            let note = SignedNote::parse(&r.checkpoint).unwrap();
            r.checkpoint = SignedNote::new(note.body(), note.lines()[1..].to_vec()).unwrap().to_bytes();
        }),
        "receipt.no_ledger_signature"
    );
    assert_eq!(refused("quorum", &|r| r.checkpoint = signed(290, root, &[1, 3])), "receipt.quorum");
    assert_eq!(refused("tree size", &|r| r.tree_size = 289), "receipt.tree_size");
    assert_eq!(
        refused("too old a checkpoint", &|r| {
            (r.tree_size, r.checkpoint) = (100, signed(100, ledger.tree.root_at(&ledger.tiles, 100).unwrap(), &[1, 2, 3]));
        }),
        "receipt.not_covered"
    );
    assert_eq!(refused("the last number", &|r| r.claim.seq = u64::MAX), "receipt.not_covered");
    assert_eq!(refused("chain start", &|r| r.claim.seq = 0), "receipt.chain_start");
    for (what, change) in [
        ("record", &(|r: &mut Receipt| r.record[0] ^= 1) as &dyn Fn(&mut Receipt)),
        ("longer record", &|r| r.record.push(0)),
        ("chain before", &|r| r.chain_before[0] ^= 1),
        ("sequence number", &|r| r.claim.seq += 1),
        ("time", &|r| r.claim.time_ms += 1),
        ("kind", &|r| r.claim.commitment = Some(Commitment { status_root: [0; 32], state_digest: [0; 32] })),
        ("inclusion", &|r| r.inclusion[3][7] ^= 1),
        ("short inclusion", &|r| drop(r.inclusion.pop())),
        ("long inclusion", &|r| r.inclusion.push(vec![0; 32])),
        ("another root", &|r| r.checkpoint = signed(290, [7; 32], &[1, 2, 3])),
    ] {
        assert_eq!(refused(what, change), "receipt.not_in_ledger", "{what}");
    }
    for (what, change) in [
        ("item", &(|r: &mut Receipt| r.item.as_mut().unwrap().0[0] ^= 1) as &dyn Fn(&mut Receipt)),
        ("position", &|r| r.item.as_mut().unwrap().1 = 5),
        ("position beyond", &|r| r.item.as_mut().unwrap().1 = 7),
        ("count", &|r| r.item.as_mut().unwrap().2 = 9),
        ("path", &|r| r.item.as_mut().unwrap().3[0][0] ^= 1),
        ("items root", &|r| r.item.as_mut().unwrap().4[0] ^= 1),
    ] {
        assert_eq!(refused(what, change), "receipt.not_in_record", "{what}");
    }
    codes.sort_unstable();
    codes.dedup();
    assert_eq!(codes.len(), 12, "every variant was seen");
}

#[test]
fn a_ledger_of_another_genesis_does_not_start_here() {
    let ledger = ledger(1);
    let other = Trust::new(TrustSettings { ledger_id: [2; 32], ..trust().settings().clone() }).unwrap();
    assert_eq!(receipt(&ledger, 0, 1, false).check(&other), Err(ReceiptError::ChainStart));
}

#[test]
fn another_record_holds_under_the_same_checkpoint_and_no_other() {
    let (ledger, trust) = (ledger(300), trust());
    let checkpoint = receipt(&ledger, 100, 290, false).check(&trust).unwrap().checkpoint;
    let check = |of: &Receipt| {
        let parts = RecordParts { record: &of.record, chain_before: &of.chain_before, inclusion: &of.inclusion };
        check_record(&parts, &of.claim, &checkpoint, &trust.settings().ledger_id).map(|leaf| leaf.seq)
    };
    assert_eq!(check(&receipt(&ledger, 7, 290, false)), Ok(7));
    assert_eq!(check(&receipt(&ledger, 0, 290, false)), Ok(0));
    assert_eq!(check(&receipt(&ledger, 7, 289, false)), Err(ReceiptError::NotInLedger), "proved in a smaller tree");
    assert_eq!(check(&receipt(&ledger, 295, 300, false)), Err(ReceiptError::NotCovered(295)));
    let mut short = receipt(&ledger, 7, 290, false);
    short.inclusion[0].pop();
    assert_eq!(check(&short), Err(ReceiptError::BadHash));
}

proptest! {
    #[test]
    fn arbitrary_parts_never_panic(
        record: Vec<u8>, chain_before in prop::collection::vec(any::<u8>(), 32), tree_size: u64, seq: u64, position: u64, count: u64,
        inclusion in prop::collection::vec(prop::collection::vec(any::<u8>(), 32), 0..70), size: u64, root: [u8; 32],
    ) {
        // Even under a checkpoint that is well signed.
        let receipt = Receipt {
            record: record.clone(), chain_before, tree_size: if seq.is_multiple_of(2) { size } else { tree_size }, inclusion: inclusion.clone(),
            checkpoint: signed(size, root, &[1, 2, 3]), item: Some((record, position, count, inclusion, root.to_vec())),
            claim: LeafClaim { seq: if size > 0 { seq % size } else { seq }, time_ms: seq, commitment: None },
        };
        prop_assert!(receipt.check(&trust()).is_err());
    }
}
