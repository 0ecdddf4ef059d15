//! How long things take. Run by hand: `cargo test --release -p vermilion-ledger --test speed -- --ignored --nocapture`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]
#![allow(clippy::disallowed_methods, reason = "it measures, or waits for processes")]

use std::{collections::HashMap, convert::Infallible, hint::black_box, time::Instant};
use vermilion_crypto::SigningKey;
use vermilion_ledger::*;

struct Tiles(HashMap<(u8, u64), Vec<u8>>);

impl TileStore for Tiles {
    type Error = Infallible;
    fn tile(&self, level: u8, index: u64) -> Result<Option<Vec<u8>>, Infallible> {
        Ok(self.0.get(&(level, index)).cloned())
    }
}

fn time<T>(what: &str, rounds: u32, mut work: impl FnMut() -> T) {
    let start = Instant::now();
    for _ in 0..rounds {
        black_box(work());
    }
    println!("{what}: {:?}", start.elapsed() / rounds);
}

#[test]
#[ignore = "prints timings"]
fn timings() {
    let key = |n: u8| SigningKey::from_seed(&[n; 32]);
    let (mut tree, mut tiles) = (Tree::new(), Tiles(HashMap::new()));
    let start = Instant::now();
    for n in 0..1_000_000u64 {
        for tile in tree.append(leaf_hash(&n.to_be_bytes())) {
            tiles.0.insert((tile.level, tile.index), tile.bytes);
        }
    }
    println!("append (with leaf hash): {:?}", start.elapsed() / 1_000_000);
    let size = tree.size();
    time("root", 1000, || tree.root());
    time("inclusion proof in 1,000,000", 100, || tree.inclusion(&tiles, size, 123_456).unwrap());
    time("consistency proof in 1,000,000", 100, || tree.consistency(&tiles, 123_457, size).unwrap());
    let tail: Vec<Digest> = (size - size % 256..size).map(|n| leaf_hash(&n.to_be_bytes())).collect();
    time("rebuild at 1,000,000", 10, || Tree::rebuild(size, &tiles, &tail).unwrap());

    let items: Vec<Vec<u8>> = (0..1000u32).map(|n| [n.to_be_bytes().to_vec(), vec![7; 700]].concat()).collect();
    time("items root of 1,000 × 704 bytes", 100, || items_root(&items));
    let items_tree = ItemTree::new(&items);
    time("item path in a built tree", 1000, || items_tree.path(123).unwrap());

    let mut status = StatusTree::new();
    for n in 0..1_000_000u64 {
        status.push((n % 3) as u8).unwrap();
    }
    let start = Instant::now();
    status.root();
    println!("status root of 1,000,000 from nothing: {:?}", start.elapsed());
    let mut n = 0;
    time("status change and root", 1000, || {
        n += 997;
        status.set(n, (n % 16) as u8).unwrap();
        status.root()
    });

    let (id, record) = ([1; 32], vec![9u8; 1500]);
    let chain = chain_start(&id);
    let hash = record_hash(&record);
    let leaf = Leaf { seq: size, time_ms: 1, record_hash: hash, chain_hash: chain_next(&chain, &hash), commitment: None };
    tree.append(leaf.hash());
    let mut note = make_checkpoint(&Checkpoint { origin: "o".into(), size: size + 1, root: tree.root() }, &key(0)).unwrap();
    for n in 1..=3u8 {
        note.add(cosign(note.body(), &n.to_string(), &key(n), 1).unwrap()).unwrap();
    }
    let trust = Trust::new(TrustSettings {
        origin: "o".into(),
        ledger_id: id,
        ledger_key: key(0).public(),
        witnesses: (1..=3u8).map(|n| Witness { name: n.to_string(), key: key(n).public() }).collect(),
        quorum: 3,
        require_ledger_key: true,
    })
    .unwrap();
    let wire = |hashes: Vec<Digest>| -> Vec<Vec<u8>> { hashes.iter().map(|hash| hash.to_vec()).collect() };
    let (inclusion, path) = (wire(tree.inclusion(&tiles, size + 1, size).unwrap()), wire(items_tree.path(5).unwrap()));
    let root = items_tree.root();
    let (checkpoint, claim) = (note.to_bytes(), LeafClaim { seq: size, time_ms: 1, commitment: None });
    let parts = ReceiptParts {
        record: &record,
        chain_before: &chain,
        tree_size: size + 1,
        inclusion: &inclusion,
        checkpoint: &checkpoint,
        item: Some(ItemParts { item: &items[5], position: 5, count: 1000, path: &path, root: &root }),
    };
    time("check a receipt, 4 signatures", 200, || check_receipt(&parts, &claim, &trust).unwrap());
}
