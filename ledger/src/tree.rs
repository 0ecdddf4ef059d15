//! The ledger's Merkle tree: RFC 6962 over leaf hashes, cut into C2SP tlog-tiles.

use crate::{
    FullTile, TILE_HEIGHT, TILE_LEN, TILE_WIDTH, TileStore, TreeError,
    merkle::{consistency, fold, inclusion, range_root, sha256_join},
    tile::{perfect_root, tile_hashes},
};
use std::collections::BTreeMap;
use vermilion_crypto::Digest;

/// The largest size that a tree is rebuilt at: far beyond any ledger, and small enough that no
/// arithmetic on sizes overflows.
pub const MAX_TREE_SIZE: u64 = 1 << 62;

/// The root of a tree without leaves: SHA-256 over nothing (RFC 6962 section 2.1).
#[must_use]
pub fn empty_root() -> Digest {
    vermilion_crypto::sha256(b"")
}

/// The right edge of the Merkle tree, all that appending needs; full tiles live in a
/// [`TileStore`].
///
/// In memory: under 256 hashes for every tile level and one for every bit of the size, so at most
/// 33 KiB at a thousand million leaves. Appending costs two SHA-256 on average and 62 at most, the
/// root at most 62.
///
/// Invariants, for a size n:
/// - `edge[t]` holds the hashes of the partial tile of level t, `(n >> 8t) mod 256` of them;
/// - `peaks[b]` is meaningful exactly where bit b of n is set, and is then the root of the perfect
///   tree of `2^b` leaves that ends where the lower bits of n begin.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Tree {
    size: u64,
    edge: Vec<Vec<Digest>>,
    peaks: Vec<Digest>,
}

impl Tree {
    /// The empty tree.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Leaves in the tree.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Appends a leaf by its hash ([`crate::leaf_hash`]). Returns the tiles that it fills, lowest
    /// level first: almost always none, one at every 256th leaf, two at every 65,536th. They must be
    /// stored together with the new size, since the tree forgets them.
    pub fn append(&mut self, leaf_hash: Digest) -> Vec<FullTile> {
        let mut full = Vec::new();
        let mut node = leaf_hash;
        let mut level = 0u8;
        loop {
            if level.is_multiple_of(TILE_HEIGHT) {
                full.extend(self.push_edge(level / TILE_HEIGHT, node));
            }
            let slot = usize::from(level);
            if self.size >> level & 1 == 0 {
                // The carry ends: the perfect tree that the leaf completes stands here.
                self.peaks.resize(self.peaks.len().max(slot + 1), Digest::default());
                if let Some(peak) = self.peaks.get_mut(slot) {
                    *peak = node;
                }
                break;
            }
            node = fold(sha256_join, &[self.peaks.get(slot).copied().unwrap_or_default(), node]);
            level += 1;
        }
        self.size += 1;
        full
    }

    /// Adds a hash to the partial tile of a level, and takes the tile out once it is full.
    fn push_edge(&mut self, level: u8, hash: Digest) -> Option<FullTile> {
        let slot = usize::from(level);
        self.edge.resize(self.edge.len().max(slot + 1), Vec::new());
        let tile = self.edge.get_mut(slot)?;
        tile.push(hash);
        if tile.len() < TILE_WIDTH {
            return None;
        }
        let bytes = std::mem::take(tile).concat();
        debug_assert_eq!(bytes.len(), TILE_LEN);
        Some(FullTile { level, index: full_tiles(self.size, level), bytes })
    }

    /// The root over all leaves: RFC 6962's Merkle Tree Hash.
    #[must_use]
    pub fn root(&self) -> Digest {
        let parts: Vec<Digest> =
            self.peaks.iter().enumerate().rev().filter(|(bit, _)| self.size >> bit & 1 == 1).map(|(_, peak)| *peak).collect();
        if parts.is_empty() { empty_root() } else { fold(sha256_join, &parts) }
    }

    /// The partial tile at the right end of a level, with its index: 1 to 255 hashes of 32 bytes, as
    /// tlog-tiles serves it under a `.p/<width>` path. `None` if the level ends with a full tile or
    /// does not exist.
    #[must_use]
    pub fn partial_tile(&self, level: u8) -> Option<(u64, Vec<u8>)> {
        let hashes = self.edge.get(usize::from(level)).filter(|hashes| !hashes.is_empty())?;
        Some((full_tiles(self.size, level), hashes.concat()))
    }

    /// The tree of `size` leaves, from its stored full tiles and `tail`: the leaf hashes after the
    /// last full tile of level 0, `size mod 256` of them. Reads at most 255 tiles a level above the
    /// lowest, some milliseconds in all.
    ///
    /// It trusts the tiles' content: compare [`Tree::root`] with a root that was signed or
    /// stored apart.
    pub fn rebuild<S: TileStore>(size: u64, store: &S, tail: &[Digest]) -> Result<Self, TreeError<S::Error>> {
        within(size, MAX_TREE_SIZE)?;
        if tail.len() as u64 != size % TILE_WIDTH as u64 {
            return Err(TreeError::BadEdge(size));
        }
        let mut edge = vec![tail.to_vec()];
        let mut below = size >> TILE_HEIGHT;
        for level in 0.. {
            if below == 0 {
                break;
            }
            let first = below - below % TILE_WIDTH as u64;
            let mut hashes = Vec::with_capacity(TILE_WIDTH);
            for index in first..below {
                hashes.push(perfect_root(&read_full(store, level, index)?));
            }
            edge.push(hashes);
            below >>= TILE_HEIGHT;
        }
        Self::from_partial_tiles(size, edge)
    }

    /// The tree of `size` leaves whose partial tiles were kept too: `edge[t]` are the hashes of the
    /// partial tile of level t, none if it is empty. Needs no full tile, and so no store; `E` is
    /// whatever error the caller's store has. Trusts the hashes as [`Tree::rebuild`] does.
    pub fn from_partial_tiles<E: std::error::Error + 'static>(size: u64, mut edge: Vec<Vec<Digest>>) -> Result<Self, TreeError<E>> {
        within(size, MAX_TREE_SIZE)?;
        while edge.last().is_some_and(Vec::is_empty) {
            edge.pop();
        }
        let levels = size.checked_ilog2().map_or(0, |bit| bit as usize / usize::from(TILE_HEIGHT) + 1);
        let width = |level: usize| (size >> (usize::from(TILE_HEIGHT) * level)) as usize % TILE_WIDTH;
        if edge.len() > levels || (0..levels).any(|level| edge.get(level).map_or(0, Vec::len) != width(level)) {
            return Err(TreeError::BadEdge(size));
        }
        edge.resize(levels, Vec::new());
        // The peak of a set bit of the size ends where the lower bits begin, within the partial tile.
        let peak = |bit: u32| {
            let (level, width) = (bit / u32::from(TILE_HEIGHT), 1 << (bit % u32::from(TILE_HEIGHT)));
            let from = (((size >> bit) - 1) as usize * width) % TILE_WIDTH;
            edge.get(level as usize).and_then(|hashes| hashes.get(from..from + width)).map(perfect_root).ok_or(TreeError::BadEdge(size))
        };
        let bits = 0..size.checked_ilog2().map_or(0, |bit| bit + 1);
        let peaks = bits.map(|bit| if size >> bit & 1 == 1 { peak(bit) } else { Ok(Digest::default()) });
        let peaks = peaks.collect::<Result<_, _>>()?;
        Ok(Self { size, edge, peaks })
    }

    /// The root of the tree as it was at `size` leaves, `size <= self.size()`.
    pub fn root_at<S: TileStore>(&self, store: &S, size: u64) -> Result<Digest, TreeError<S::Error>> {
        within(size, self.size)?;
        if size == self.size {
            return Ok(self.root());
        }
        if size == 0 {
            return Ok(empty_root());
        }
        let mut reader = self.reader(store);
        range_root(sha256_join, 0, size, &mut |level, index| reader.node(level, index))
    }

    /// The audit path (RFC 6962 section 2.1.1) of the leaf at `index`, counted from 0, in the tree of
    /// `size` leaves, `index < size <= self.size()`: from the leaf's sibling to the root's child, at
    /// most 62 hashes, 30 at a thousand million leaves. Reads one tile for each level.
    pub fn inclusion<S: TileStore>(&self, store: &S, size: u64, index: u64) -> Result<Vec<Digest>, TreeError<S::Error>> {
        within(size, self.size)?;
        if index >= size {
            return Err(TreeError::OutOfRange { index, size });
        }
        let mut reader = self.reader(store);
        inclusion(sha256_join, size, index, &mut |level, index| reader.node(level, index))
    }

    /// The consistency proof (RFC 6962 section 2.1.2) that the tree of `new` leaves begins with the
    /// tree of `old`, `old <= new <= self.size()`. Without hashes when `old` is 0 or equals `new`.
    pub fn consistency<S: TileStore>(&self, store: &S, old: u64, new: u64) -> Result<Vec<Digest>, TreeError<S::Error>> {
        within(new, self.size)?;
        within(old, new)?;
        let mut reader = self.reader(store);
        consistency(sha256_join, old, new, &mut |level, index| reader.node(level, index))
    }

    fn reader<'a, S: TileStore>(&'a self, store: &'a S) -> Reader<'a, S> {
        Reader { tree: self, store, tiles: BTreeMap::new() }
    }
}

/// Reads perfect nodes of the tree out of its edge and the store, each tile once.
struct Reader<'a, S> {
    tree: &'a Tree,
    store: &'a S,
    tiles: BTreeMap<(u8, u64), Vec<Digest>>,
}

impl<S: TileStore> Reader<'_, S> {
    /// The perfect node over the leaves `index << level .. (index + 1) << level`, all of them in the
    /// tree.
    fn node(&mut self, level: u8, index: u64) -> Result<Digest, TreeError<S::Error>> {
        let (tile_level, within) = (level / TILE_HEIGHT, level % TILE_HEIGHT);
        let first = index << within;
        let tile = first >> TILE_HEIGHT;
        let from = first as usize % TILE_WIDTH;
        let hashes = if tile == full_tiles(self.tree.size, tile_level) {
            self.tree.edge.get(usize::from(tile_level))
        } else {
            if !self.tiles.contains_key(&(tile_level, tile)) {
                self.tiles.insert((tile_level, tile), read_full(self.store, tile_level, tile)?);
            }
            self.tiles.get(&(tile_level, tile))
        };
        let part = hashes.and_then(|hashes| hashes.get(from..from + (1 << within))).ok_or(TreeError::BadEdge(self.tree.size))?;
        Ok(perfect_root(part))
    }
}

/// Full tiles of a level in a tree of `size` leaves, which is also the index of its partial tile.
fn full_tiles(size: u64, level: u8) -> u64 {
    size.checked_shr(u32::from(TILE_HEIGHT) * (u32::from(level) + 1)).unwrap_or(0)
}

fn within<E: std::error::Error + 'static>(size: u64, bound: u64) -> Result<(), TreeError<E>> {
    if size > bound { Err(TreeError::OutOfRange { index: size, size: bound }) } else { Ok(()) }
}

fn read_full<S: TileStore>(store: &S, level: u8, index: u64) -> Result<Vec<Digest>, TreeError<S::Error>> {
    let bytes = store.tile(level, index).map_err(TreeError::Store)?.ok_or(TreeError::MissingTile { level, index })?;
    tile_hashes(level, index, &bytes)
}
