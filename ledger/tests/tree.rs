//! The tree against the definitions of RFC 6962 (recursive, slow) and against `tlog_tiles`, at sizes
//! around the edges of tiles.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use proptest::prelude::*;
use std::{collections::HashMap, convert::Infallible};
use tlog_tiles::tlog;
use vermilion_ledger::*;

#[derive(Default, Clone)]
struct Tiles(HashMap<(u8, u64), Vec<u8>>);

impl TileStore for Tiles {
    type Error = Infallible;
    fn tile(&self, level: u8, index: u64) -> Result<Option<Vec<u8>>, Infallible> {
        Ok(self.0.get(&(level, index)).cloned())
    }
}

fn leaf(n: u64) -> Digest {
    leaf_hash(&n.to_be_bytes())
}

fn join(left: &Digest, right: &Digest) -> Digest {
    vermilion_crypto::hash::sha256_parts(&[&[1], left, right])
}

fn naive_root(leaves: &[Digest]) -> Digest {
    match leaves {
        [] => vermilion_crypto::sha256(b""),
        [leaf] => *leaf,
        _ => {
            let (left, right) = leaves.split_at(leaves.len().next_power_of_two() / 2);
            join(&naive_root(left), &naive_root(right))
        }
    }
}

fn grow(size: u64) -> (Tree, Tiles, Vec<Digest>) {
    let (mut tree, mut tiles, mut leaves) = (Tree::new(), Tiles::default(), Vec::new());
    extend(&mut tree, &mut tiles, &mut leaves, size);
    (tree, tiles, leaves)
}

fn extend(tree: &mut Tree, tiles: &mut Tiles, leaves: &mut Vec<Digest>, size: u64) {
    while tree.size() < size {
        let hash = leaf(tree.size());
        leaves.push(hash);
        for tile in tree.append(hash) {
            assert_eq!(tile.bytes.len(), TILE_LEN);
            assert!(tiles.0.insert((tile.level, tile.index), tile.bytes).is_none(), "a tile fills up once");
        }
    }
}

/// The judge's storage: every hash of the tree in its own order.
struct Judge(Vec<tlog::Hash>);

impl tlog::HashReader for Judge {
    fn read_hashes(&self, indexes: &[u64]) -> Result<Vec<tlog::Hash>, tlog::Error> {
        Ok(indexes.iter().map(|index| self.0[*index as usize]).collect())
    }
}

fn judge(leaves: &[Digest]) -> Judge {
    let mut judge = Judge(Vec::new());
    for (n, leaf) in leaves.iter().enumerate() {
        let hashes = tlog::stored_hashes_for_record_hash(n as u64, tlog::Hash(*leaf), &judge).unwrap();
        judge.0.extend(hashes);
    }
    judge
}

fn plain(hashes: Vec<tlog::Hash>) -> Vec<Digest> {
    hashes.into_iter().map(|hash| hash.0).collect()
}

#[test]
fn tiles_and_roots_are_the_judges() {
    let (tree, tiles, leaves) = grow(70_000);
    let judge = judge(&leaves);
    assert_eq!(tree.root(), tlog::tree_hash(70_000, &judge).unwrap().0);
    assert_eq!(tiles.0.len(), 273 + 1, "70,000 leaves: 273 full tiles at level 0 and one at level 1 (tlog-tiles)");
    let mut seen = 0;
    for tile in tlog_tiles::Tile::new_tiles(8, 0, 70_000) {
        let theirs = tile.read_data(&judge).unwrap();
        if tile.width() == 256 {
            assert_eq!(tiles.0[&(tile.level(), tile.level_index())], theirs);
        } else {
            assert_eq!(tree.partial_tile(tile.level()), Some((tile.level_index(), theirs)));
        }
        seen += 1;
    }
    assert_eq!(seen, 273 + 1 + 1 + 1 + 1, "112 hashes at level 0, 17 at level 1, 1 at level 2 are partial");
    for (level, width) in [(0, 112), (1, 17), (2, 1)] {
        assert_eq!(tree.partial_tile(level).unwrap().1.len(), width * 32);
    }
    assert_eq!(tree.partial_tile(3), None);

    for size in [1, 2, 255, 256, 257, 511, 512, 65_535, 65_536, 65_537, 65_792, 69_999, 70_000] {
        let root = tree.root_at(&tiles, size).unwrap();
        assert_eq!(root, tlog::tree_hash(size, &judge).unwrap().0, "root at {size}");
        for index in [0, 1, 254, 255, 256, 257, 65_535, 65_536, 65_791, 69_887, 69_888, 69_999].into_iter().filter(|n| *n < size) {
            let path = tree.inclusion(&tiles, size, index).unwrap();
            assert_eq!(path, plain(tlog::prove_record(size, index, &judge).unwrap()), "leaf {index} of {size}");
            check_inclusion(&root, size, index, &leaf(index), &path).unwrap();
        }
        for old in [1, 2, 3, 255, 256, 257, 300, 65_535, 65_536, 65_537, 69_999].into_iter().filter(|n| *n <= size) {
            let proof = tree.consistency(&tiles, old, size).unwrap();
            assert_eq!(proof, plain(tlog::prove_tree(size, old, &judge).unwrap()), "{old} to {size}");
            check_consistency(old, &tree.root_at(&tiles, old).unwrap(), size, &root, &proof).unwrap();
        }
    }
}

#[test]
fn small_trees_prove_everything() {
    let (mut tree, mut tiles, mut leaves) = grow(0);
    assert_eq!(tree.root(), empty_root());
    assert_eq!(tree.root_at(&tiles, 0), Ok(empty_root()));
    let mut roots = vec![empty_root()];
    for size in 1..=70u64 {
        extend(&mut tree, &mut tiles, &mut leaves, size);
        roots.push(tree.root());
        assert_eq!(tree.root(), naive_root(&leaves));
        for older in 0..=size {
            assert_eq!(tree.root_at(&tiles, older), Ok(roots[older as usize]));
            let proof = tree.consistency(&tiles, older, size).unwrap();
            check_consistency(older, &roots[older as usize], size, &roots[size as usize], &proof).unwrap();
            for index in 0..older {
                let path = tree.inclusion(&tiles, older, index).unwrap();
                check_inclusion(&roots[older as usize], older, index, &leaf(index), &path).unwrap();
            }
        }
    }
}

#[test]
fn what_lies_beyond_the_tree_is_refused() {
    let (tree, tiles, _) = grow(10);
    assert_eq!(tree.root_at(&tiles, 11), Err(TreeError::OutOfRange { index: 11, size: 10 }));
    assert_eq!(tree.inclusion(&tiles, 11, 0), Err(TreeError::OutOfRange { index: 11, size: 10 }));
    assert_eq!(tree.inclusion(&tiles, 9, 9), Err(TreeError::OutOfRange { index: 9, size: 9 }));
    assert_eq!(tree.inclusion(&tiles, 0, 0), Err(TreeError::OutOfRange { index: 0, size: 0 }));
    assert_eq!(tree.consistency(&tiles, 8, 7), Err(TreeError::OutOfRange { index: 8, size: 7 }));
    assert_eq!(tree.consistency(&tiles, 8, u64::MAX), Err(TreeError::OutOfRange { index: u64::MAX, size: 10 }));
}

#[test]
fn damage_is_named() {
    let (tree, tiles, leaves) = grow(1000);
    let tail = &leaves[768..];
    let without = |key: (u8, u64)| {
        let mut less = tiles.clone();
        less.0.remove(&key);
        less
    };
    assert_eq!(Tree::rebuild(1000, &without((0, 2)), tail), Err(TreeError::MissingTile { level: 0, index: 2 }));
    assert_eq!(tree.inclusion(&without((0, 1)), 1000, 300), Err(TreeError::MissingTile { level: 0, index: 1 }));
    let mut short = tiles.clone();
    short.0.get_mut(&(0, 1)).unwrap().pop();
    assert_eq!(Tree::rebuild(1000, &short, tail), Err(TreeError::BadTile { level: 0, index: 1 }));
    assert_eq!(Tree::rebuild(1000, &tiles, &tail[1..]), Err(TreeError::BadEdge(1000)));
    assert_eq!(Tree::from_partial_tiles::<Infallible>(1000, vec![tail.to_vec()]), Err(TreeError::BadEdge(1000)));
    assert_eq!(Tree::rebuild(u64::MAX, &tiles, &leaves[..255]), Err(TreeError::OutOfRange { index: u64::MAX, size: MAX_TREE_SIZE }));
    assert!(matches!(Tree::rebuild(MAX_TREE_SIZE, &tiles, &[]), Err(TreeError::MissingTile { .. })));
}

#[test]
fn rebuilding_gives_the_same_tree() {
    let (mut tree, mut tiles, mut leaves) = grow(0);
    for size in [0, 1, 255, 256, 257, 512, 1000, 65_280, 65_535, 65_536, 65_537, 66_000] {
        extend(&mut tree, &mut tiles, &mut leaves, size);
        let tail = &leaves[(size - size % 256) as usize..];
        let mut rebuilt = Tree::rebuild(size, &tiles, tail).unwrap();
        assert_eq!(rebuilt.root(), tree.root(), "{size}");
        let edge = (0..8)
            .map(|level| tree.partial_tile(level).map_or(Vec::new(), |(_, bytes)| digests(bytes.as_chunks::<32>().0).unwrap()))
            .collect();
        assert_eq!(Tree::from_partial_tiles::<Infallible>(size, edge).unwrap().root(), tree.root());
        // It goes on as the first one does.
        let mut first = tree.clone();
        for n in size..size + 600 {
            assert_eq!(rebuilt.append(leaf(n)), first.append(leaf(n)));
            assert_eq!(rebuilt.root(), first.root());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn any_size_and_leaf(size in 1u64..3000, older: prop::sample::Index, index: prop::sample::Index) {
        let (tree, tiles, leaves) = grow(size);
        prop_assert_eq!(tree.root(), naive_root(&leaves));
        let older = 1 + older.index(size as usize) as u64;
        let index = index.index(older as usize) as u64;
        let root = tree.root_at(&tiles, older).unwrap();
        prop_assert_eq!(root, naive_root(&leaves[..older as usize]));
        let path = tree.inclusion(&tiles, older, index).unwrap();
        prop_assert!(check_inclusion(&root, older, index, &leaf(index), &path).is_ok());
        let proof = tree.consistency(&tiles, older, size).unwrap();
        prop_assert!(check_consistency(older, &root, size, &tree.root(), &proof).is_ok());
    }
}
