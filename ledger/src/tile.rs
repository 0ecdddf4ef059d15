//! Tiles and entry bundles: how C2SP tlog-tiles cuts the Merkle tree and its leaves into files that
//! never change once full.

use crate::{
    LedgerError, TreeError,
    merkle::{fold, sha256_join},
};
use vermilion_crypto::Digest;

/// Tree levels that one tile spans: fixed by tlog-tiles.
pub const TILE_HEIGHT: u8 = 8;
/// Hashes in a full tile.
pub const TILE_WIDTH: usize = 1 << TILE_HEIGHT;
/// Bytes of a full tile.
pub const TILE_LEN: usize = TILE_WIDTH * 32;
/// The highest tile level that a path may name: tlog-tiles' bound.
const MAX_LEVEL: u8 = 63;

/// A tile that has just filled up, to be stored once and for all.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FullTile {
    /// Tile level: 0 holds leaf hashes, each level above the roots of 256 full tiles below.
    pub level: u8,
    /// Index within the level, from 0.
    pub index: u64,
    /// Its 256 hashes one after the other: 8,192 bytes.
    pub bytes: Vec<u8>,
}

/// Where full tiles are kept.
///
/// To ensure correctness: `tile` returns exactly the bytes of the [`FullTile`] of that level and
/// index that [`crate::Tree::append`] handed out, in the same history as the tree that asks; `None`
/// if there is none. The tree asks for a tile only if its size calls for it, and checks nothing but
/// the tile's length: whoever hands out a proof checks it against a root that was signed.
pub trait TileStore {
    /// How reading may fail.
    type Error: std::error::Error + 'static;

    /// The full tile of this level and index, or `None` if it is not stored.
    fn tile(&self, level: u8, index: u64) -> Result<Option<Vec<u8>>, Self::Error>;
}

/// What a path below `tile/` holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Shelf {
    /// Hashes of this tile level, 0 to 63.
    Hashes(u8),
    /// Leaves.
    Entries,
}

/// The name of a tile or entry bundle, whole or partial: `tile/<L>/<N>[.p/<W>]` or
/// `tile/entries/<N>[.p/<W>]`, below the log's prefix.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TileName {
    /// Hashes of a level, or leaves.
    pub shelf: Shelf,
    /// Index, from 0.
    pub index: u64,
    /// Hashes or leaves in it: 1 to 255, or 256 for a full one, whose path names no width.
    pub width: usize,
}

impl TileName {
    /// Reads a path, from `tile/` on. Strict: one name has one path, the one that
    /// [`std::fmt::Display`] writes, and everything else is `None`.
    #[must_use]
    pub fn parse(path: &str) -> Option<Self> {
        let rest = path.strip_prefix("tile/")?;
        let (shelf, rest) = rest.split_once('/')?;
        let shelf = match shelf {
            "entries" => Shelf::Entries,
            level => Shelf::Hashes(level.parse().ok().filter(|level| *level <= MAX_LEVEL)?),
        };
        let (number, width) = match rest.split_once(".p/") {
            Some((number, width)) => (number, width.parse().ok().filter(|width| (1..TILE_WIDTH).contains(width))?),
            None => (rest, TILE_WIDTH),
        };
        let index = number.split('/').try_fold(0u64, |index, part| {
            let digits: u64 = part.strip_prefix('x').unwrap_or(part).parse().ok().filter(|n| *n < 1000)?;
            index.checked_mul(1000)?.checked_add(digits)
        })?;
        // Signs, missing or superfluous zeroes and a misplaced x end here.
        Some(Self { shelf, index, width }).filter(|name| name.to_string() == path)
    }

    /// The size that a tree must have for this tile, or part of one, to be in it; `None` if no tree
    /// can be that large.
    #[must_use]
    pub fn tree_size(&self) -> Option<u64> {
        let level = match self.shelf {
            Shelf::Hashes(level) => level,
            Shelf::Entries => 0,
        };
        let nodes = self.index.checked_mul(TILE_WIDTH as u64)?.checked_add(self.width as u64)?;
        let leaves = 1u64.checked_shl(u32::from(TILE_HEIGHT).checked_mul(u32::from(level))?)?;
        nodes.checked_mul(leaves)
    }

    /// The full tile that this is a part of, or itself.
    #[must_use]
    pub fn full(&self) -> Self {
        Self { width: TILE_WIDTH, ..*self }
    }
}

impl std::fmt::Display for TileName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.shelf {
            Shelf::Hashes(level) => write!(f, "tile/{level}/")?,
            Shelf::Entries => write!(f, "tile/entries/")?,
        }
        let mut digits = format!("{:03}", self.index % 1000);
        let mut rest = self.index / 1000;
        while rest > 0 {
            digits = format!("x{:03}/{digits}", rest % 1000);
            rest /= 1000;
        }
        f.write_str(&digits)?;
        if self.width < TILE_WIDTH { write!(f, ".p/{}", self.width) } else { Ok(()) }
    }
}

/// The path of a tile below the log's prefix, as tlog-tiles has it: `tile/0/x001/x234/067`, and for
/// a partial tile of `width` hashes (1 to 255) with `.p/<width>` behind it. A width of 256 means a
/// full tile.
#[must_use]
pub fn tile_path(level: u8, index: u64, width: usize) -> String {
    TileName { shelf: Shelf::Hashes(level), index, width }.to_string()
}

/// The leaves after the last full tile, as an entry bundle: each leaf's bytes behind their length,
/// two bytes big-endian. Fewer than 256 of them, at most 38 KiB.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct EntryBundle {
    bytes: Vec<u8>,
    count: usize,
}

impl EntryBundle {
    /// Adds a leaf. Hands the bundle out when it is full, to be stored together with the tile of
    /// level 0 that the same leaf fills, and starts the next.
    ///
    /// Refuses a leaf of more than 65,535 bytes, which no leaf of this ledger has.
    pub fn push(&mut self, leaf: &[u8]) -> Result<Option<Vec<u8>>, LedgerError> {
        let length = u16::try_from(leaf.len())
            .map_err(|_| LedgerError::LeafLength { kind: leaf.get(1).copied().unwrap_or_default(), len: leaf.len() })?;
        self.bytes.extend_from_slice(&length.to_be_bytes());
        self.bytes.extend_from_slice(leaf);
        self.count += 1;
        if self.count < TILE_WIDTH {
            return Ok(None);
        }
        self.count = 0;
        Ok(Some(std::mem::take(&mut self.bytes)))
    }

    /// Leaves in it.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count
    }

    /// Its bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// The leaves of an entry bundle, in order; `None` if the bytes are no bundle of 1 to 256 entries.
#[must_use]
pub fn bundle_entries(bundle: &[u8]) -> Option<Vec<&[u8]>> {
    let (mut entries, mut rest) = (Vec::new(), bundle);
    while !rest.is_empty() {
        let (length, behind) = rest.split_first_chunk::<2>()?;
        let (entry, behind) = behind.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
        entries.push(entry);
        rest = behind;
    }
    (1..=TILE_WIDTH).contains(&entries.len()).then_some(entries)
}

/// The first `width` leaves of an entry bundle, as a bundle; `None` if it has fewer or is none.
#[must_use]
pub fn bundle_part(bundle: &[u8], width: usize) -> Option<&[u8]> {
    let entries = bundle_entries(bundle)?;
    let length = entries.get(..width)?.iter().map(|entry| entry.len() + 2).sum();
    bundle.get(..length)
}

/// The hashes of a full tile's bytes.
pub(crate) fn tile_hashes<E: std::error::Error + 'static>(level: u8, index: u64, bytes: &[u8]) -> Result<Vec<Digest>, TreeError<E>> {
    let (hashes, rest) = bytes.as_chunks::<32>();
    if hashes.len() != TILE_WIDTH || !rest.is_empty() {
        return Err(TreeError::BadTile { level, index });
    }
    Ok(hashes.to_vec())
}

/// The hash over a full tile, as it stands in the tile above; `None` if it is not full.
#[must_use]
pub fn tile_root(tile: &[u8]) -> Option<Digest> {
    match tile.as_chunks::<32>() {
        (hashes, []) if hashes.len() == TILE_WIDTH => Some(perfect_root(hashes)),
        _ => None,
    }
}

/// The hash of a perfect node over these hashes, a power of two of them.
pub(crate) fn perfect_root(hashes: &[Digest]) -> Digest {
    let mut row = hashes.to_vec();
    while row.len() > 1 {
        row = row.chunks(2).map(|pair| fold(sha256_join, pair)).collect();
    }
    row.first().copied().unwrap_or_default()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn paths_of_the_specification() {
        assert_eq!(tile_path(0, 1_234_067, 256), "tile/0/x001/x234/067");
        assert_eq!(tile_path(1, 0, 17), "tile/1/000.p/17");
        assert_eq!(tile_path(0, 273, 112), "tile/0/273.p/112");
        assert_eq!(tile_path(2, 1000, 256), "tile/2/x001/000");
        let entries = TileName { shelf: Shelf::Entries, index: 1_234_067, width: 8 };
        assert_eq!(entries.to_string(), "tile/entries/x001/x234/067.p/8");
        assert_eq!(TileName::parse("tile/entries/x001/x234/067.p/8"), Some(entries));
    }

    /// The specification's example: what a tree of 70,000 is represented by, and of 256.
    #[test]
    fn the_tiles_of_the_specifications_trees() {
        let needs = |path: &str| TileName::parse(path).unwrap().tree_size().unwrap();
        for (path, size) in [
            ("tile/0/272", 273 * 256),
            ("tile/0/273.p/112", 70_000),
            ("tile/1/000", 65_536),
            ("tile/1/001.p/17", (256 + 17) * 256),
            ("tile/2/000.p/1", 65_536),
            ("tile/entries/273.p/112", 70_000),
        ] {
            assert_eq!(needs(path), size, "{path}");
            assert!(size <= 70_000);
        }
        assert!(needs("tile/0/273.p/113") > 70_000 && needs("tile/1/001.p/18") > 70_000 && needs("tile/2/000.p/2") > 70_000);
        assert_eq!((needs("tile/0/000"), needs("tile/1/000.p/1")), (256, 256));
        assert_eq!(TileName::parse("tile/63/000").unwrap().tree_size(), None);
    }

    #[test]
    fn a_name_has_one_path() {
        for bad in [
            "",
            "tile",
            "tile/0",
            "tile/0/",
            "tile/00/000",
            "tile/+0/000",
            "tile/64/000",
            "tile/256/000",
            "tile/-1/000",
            "tile/0/0",
            "tile/0/00",
            "tile/0/0000",
            "tile/0/1000",
            "tile/0/x000/001",
            "tile/0/001/000",
            "tile/0/x001",
            "tile/0/x001/x000",
            "tile/0/x1/000",
            "tile/0/000/",
            "tile/0//000",
            "tile/0/000.p",
            "tile/0/000.p/",
            "tile/0/000.p/0",
            "tile/0/000.p/256",
            "tile/0/000.p/01",
            "tile/0/000.p/+1",
            "tile/0/000.p/1/",
            "tile/0/000.p/1.p/1",
            "tile/data/000",
            "tile/Entries/000",
            "tile/8/0/000.p/1/x",
            "tile/0/x018/x446/x744/x073/x709/x551/616",
            "entries/000",
        ] {
            assert_eq!(TileName::parse(bad), None, "{bad}");
        }
        let last = TileName { shelf: Shelf::Hashes(0), index: u64::MAX, width: 256 };
        assert_eq!(TileName::parse(&last.to_string()), Some(last));
        assert_eq!(last.tree_size(), None);
    }

    #[test]
    fn a_bundle_fills_up_and_starts_again() {
        let leaf = |n: usize| vec![n as u8; if n.is_multiple_of(7) { 148 } else { 84 }];
        let mut bundle = EntryBundle::default();
        for n in 0..255 {
            assert_eq!(bundle.push(&leaf(n)).unwrap(), None);
            assert_eq!(bundle.count(), n + 1);
        }
        let partial = bundle.bytes().to_vec();
        let full = bundle.push(&leaf(255)).unwrap().unwrap();
        assert_eq!((bundle.count(), bundle.bytes()), (0, [].as_slice()));
        let entries = bundle_entries(&full).unwrap();
        assert_eq!(entries.len(), 256);
        assert!(entries.iter().enumerate().all(|(n, entry)| *entry == leaf(n)));
        assert_eq!(bundle_part(&full, 255), Some(partial.as_slice()));
        assert_eq!(bundle_part(&full, 256), Some(full.as_slice()));
        assert_eq!((bundle_part(&full, 257), bundle_part(&partial, 256), bundle_part(&full[..9], 1)), (None, None, None));
        assert_eq!(bundle_entries(&[]), None);
        assert!(bundle.push(&vec![0; 65_536]).is_err());
        assert_eq!(bundle.count(), 0);
    }

    proptest! {
        #[test]
        fn paths_agree_with_the_judge(level in 0u8..8, index in 0u64..1 << 40, width in 1u32..=256) {
            // The crate writes the older form, which names the height first.
            let theirs = tlog_tiles::Tile::new(TILE_HEIGHT, level, index, width, false).path();
            prop_assert_eq!(tile_path(level, index, width as usize), theirs.replacen("tile/8/", "tile/", 1));
        }

        #[test]
        fn names_come_back(level in prop::option::of(0u8..=63), index: u64, width in 1usize..=256) {
            let name = TileName { shelf: level.map_or(Shelf::Entries, Shelf::Hashes), index, width };
            prop_assert_eq!(TileName::parse(&name.to_string()), Some(name));
        }

        #[test]
        fn any_path_reads_as_one_name_or_none(path in "(tile/)?(entries|[0-9+]{1,3})/[x0-9/]{0,16}(\\.p/[0-9+]{0,4})?") {
            if let Some(name) = TileName::parse(&path) {
                prop_assert_eq!(name.to_string(), path);
                prop_assert!((1..=256).contains(&name.width));
                prop_assert!(name.full().tree_size() >= name.tree_size() || name.full().tree_size().is_none());
            }
        }

        #[test]
        fn any_bytes_are_a_bundle_or_none(bytes in prop::collection::vec(any::<u8>(), 0..600), width in 0usize..300) {
            if let Some(entries) = bundle_entries(&bytes) {
                let mut again = EntryBundle::default();
                let mut out = None;
                for entry in &entries {
                    out = again.push(entry).unwrap();
                }
                prop_assert_eq!(out.unwrap_or_else(|| again.bytes().to_vec()), bytes.clone());
            }
            if let Some(part) = bundle_part(&bytes, width) {
                prop_assert!(bytes.starts_with(part));
            }
        }
    }
}
