//! Tiles: how C2SP tlog-tiles cuts the Merkle tree into files that never change once full.

use crate::{
    TreeError,
    merkle::{fold, sha256_join},
};
use vermilion_crypto::Digest;

/// Tree levels that one tile spans: fixed by tlog-tiles.
pub const TILE_HEIGHT: u8 = 8;
/// Hashes in a full tile.
pub const TILE_WIDTH: usize = 1 << TILE_HEIGHT;
/// Bytes of a full tile.
pub const TILE_LEN: usize = TILE_WIDTH * 32;

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

/// The path of a tile below the log's prefix, as tlog-tiles has it: `tile/0/x001/x234/067`, and for
/// a partial tile of `width` hashes (1 to 255) with `.p/<width>` behind it. A width of 256 means a
/// full tile.
#[must_use]
pub fn tile_path(level: u8, index: u64, width: usize) -> String {
    let mut digits = format!("{:03}", index % 1000);
    let mut rest = index / 1000;
    while rest > 0 {
        digits = format!("x{:03}/{digits}", rest % 1000);
        rest /= 1000;
    }
    if width < TILE_WIDTH { format!("tile/{level}/{digits}.p/{width}") } else { format!("tile/{level}/{digits}") }
}

/// The hashes of a full tile's bytes.
pub(crate) fn tile_hashes<E: std::error::Error + 'static>(level: u8, index: u64, bytes: &[u8]) -> Result<Vec<Digest>, TreeError<E>> {
    let (hashes, rest) = bytes.as_chunks::<32>();
    if hashes.len() != TILE_WIDTH || !rest.is_empty() {
        return Err(TreeError::BadTile { level, index });
    }
    Ok(hashes.to_vec())
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
    }

    proptest! {
        #[test]
        fn paths_agree_with_the_judge(level in 0u8..8, index in 0u64..1 << 40, width in 1u32..=256) {
            // The crate writes the older form, which names the height first.
            let theirs = tlog_tiles::Tile::new(TILE_HEIGHT, level, index, width, false).path();
            prop_assert_eq!(tile_path(level, index, width as usize), theirs.replacen("tile/8/", "tile/", 1));
        }
    }
}
