//! The status vector: the state of every licence in four bits, under one root that each commitment
//! record carries.

use crate::{LedgerError, StatusProof, merkle};
use std::{collections::BTreeSet, convert::Infallible};
use vermilion_crypto::{
    Digest,
    hash::{CTX_STATUS, derive},
};

/// Bytes of a chunk, the unit that is stored and hashed.
pub const CHUNK_LEN: usize = 256;
/// Licences in a chunk: two a byte.
pub const LICENCES_A_CHUNK: u64 = 2 * CHUNK_LEN as u64;
/// The largest state that four bits hold.
pub const MAX_STATUS: u8 = 15;

/// The status vector and its tree, all in memory.
///
/// Layout: licence i stands in chunk `i / 512`, there in byte `(i mod 512) / 2`, in its low four bits
/// if i is even and in its high four if odd. Bits beyond the last licence are zero.
///
/// Root: with H the BLAKE3 of the status context in derive-key mode,
/// - a chunk's hash is `H(0x00 ‖ chunk)`, over 257 bytes;
/// - an inner node is `H(0x01 ‖ left ‖ right)`, over 65 bytes, in the shape of RFC 6962 (split at the
///   largest power of two below the number of chunks);
/// - the root is `H(0x02 ‖ count ‖ top)`, over 41 bytes: the number of licences, eight bytes
///   big-endian, and the topmost node, or 32 zeros if there is no licence.
///
/// In memory: half a byte of state and an eighth of a byte of hashes for each licence, 63 MB for a
/// hundred million. A change marks its chunk; [`StatusTree::root`] then rehashes what is marked and
/// the nodes above it, each once: some 5 µs for a single change among a million licences.
///
/// Invariants: `bytes` is a whole number of chunks, as many as `count` needs; what lies beyond
/// `count` is zero; `levels` holds every perfect node and is right but for nodes above `dirty`
/// chunks.
#[derive(Clone, Debug, Default)]
pub struct StatusTree {
    count: u64,
    bytes: Vec<u8>,
    levels: Vec<Vec<Digest>>,
    dirty: BTreeSet<usize>,
}

impl StatusTree {
    /// The vector of no licence.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The vector of `count` licences from its stored chunks, in order. Refuses too few or too many
    /// chunks, one that is not 256 bytes long, and anything but zero beyond the last licence. Hashes
    /// all of it at the next root: some 2 ms for each million licences.
    pub fn from_chunks<B: AsRef<[u8]>>(count: u64, chunks: impl IntoIterator<Item = B>) -> Result<Self, LedgerError> {
        let mut tree = Self { count, ..Self::default() };
        for chunk in chunks {
            let chunk = chunk.as_ref();
            if chunk.len() != CHUNK_LEN {
                return Err(LedgerError::BadChunks("a chunk is not 256 bytes long"));
            }
            tree.bytes.extend_from_slice(chunk);
        }
        if tree.chunks() != count.div_ceil(LICENCES_A_CHUNK) {
            return Err(LedgerError::BadChunks("there are too few or too many"));
        }
        let used = usize::try_from(count / 2).unwrap_or(usize::MAX);
        let mut beyond = tree.bytes.iter().skip(used);
        let half = if count % 2 == 1 { beyond.next().map_or(0, |byte| byte >> 4) } else { 0 };
        if half != 0 || beyond.any(|byte| *byte != 0) {
            return Err(LedgerError::BadChunks("something stands beyond the last licence"));
        }
        tree.dirty = (0..tree.bytes.len() / CHUNK_LEN).collect();
        Ok(tree)
    }

    /// Licences in the vector.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Chunks in the vector.
    #[must_use]
    pub fn chunks(&self) -> u64 {
        (self.bytes.len() / CHUNK_LEN) as u64
    }

    /// The state at an index, counted from 0.
    #[must_use]
    pub fn get(&self, index: u64) -> Option<u8> {
        if index >= self.count {
            return None;
        }
        self.bytes.get(usize::try_from(index / 2).ok()?).map(|byte| nibble(*byte, index))
    }

    /// A chunk's 256 bytes, to be stored.
    #[must_use]
    pub fn chunk(&self, chunk: u64) -> Option<&[u8]> {
        let from = usize::try_from(chunk).ok()?.checked_mul(CHUNK_LEN)?;
        self.bytes.get(from..from.checked_add(CHUNK_LEN)?)
    }

    /// Adds a licence at the end and returns its index; its chunk, `index / 512`, has changed.
    pub fn push(&mut self, status: u8) -> Result<u64, LedgerError> {
        if status > MAX_STATUS {
            return Err(LedgerError::StatusValue(status));
        }
        let index = self.count;
        if index.is_multiple_of(LICENCES_A_CHUNK) {
            self.bytes.resize(self.bytes.len() + CHUNK_LEN, 0);
            self.dirty.insert(self.bytes.len() / CHUNK_LEN - 1);
        }
        self.count += 1;
        // A new licence counts in the root even if its state is zero, through `count`.
        self.set(index, status)?;
        Ok(index)
    }

    /// Sets the state of a licence that is in the vector. Returns the chunk that changed, to be
    /// stored anew, or `None` if the licence had that state before.
    pub fn set(&mut self, index: u64, status: u8) -> Result<Option<u64>, LedgerError> {
        if status > MAX_STATUS {
            return Err(LedgerError::StatusValue(status));
        }
        let beyond = LedgerError::StatusIndex { index, count: self.count };
        let slot = usize::try_from(index / 2).ok().filter(|_| index < self.count);
        let byte = slot.and_then(|slot| self.bytes.get_mut(slot)).ok_or(beyond)?;
        if nibble(*byte, index) == status {
            return Ok(None);
        }
        *byte = if index.is_multiple_of(2) { *byte & 0xf0 | status } else { *byte & 0x0f | status << 4 };
        let chunk = index / LICENCES_A_CHUNK;
        self.dirty.insert(chunk as usize);
        Ok(Some(chunk))
    }

    /// The root over the vector as it is now.
    pub fn root(&mut self) -> Digest {
        self.refresh();
        let top = if self.bytes.is_empty() {
            Digest::default()
        } else {
            let Ok(top) = merkle::range_root(join, 0, self.chunks(), &mut |level, index| self.node(level, index));
            top
        };
        root_over(self.count, &top)
    }

    /// Proves the state at an index under [`StatusTree::root`]: checked by
    /// [`crate::check_status_proof`].
    pub fn proof(&mut self, index: u64) -> Result<StatusProof, LedgerError> {
        self.refresh();
        let beyond = LedgerError::StatusIndex { index, count: self.count };
        if index >= self.count {
            return Err(beyond);
        }
        let at = index / LICENCES_A_CHUNK;
        let chunk = self.chunk(at).and_then(|chunk| chunk.try_into().ok()).ok_or(beyond)?;
        let Ok(path) = merkle::inclusion(join, self.chunks(), at, &mut |level, index| self.node(level, index));
        Ok(StatusProof { chunk, path })
    }

    /// A perfect node. Only asked for nodes within the tree, all of which are there.
    fn node(&self, level: u8, index: u64) -> Result<Digest, Infallible> {
        Ok(self.levels.get(usize::from(level)).and_then(|row| row.get(index as usize)).copied().unwrap_or_default())
    }

    /// Rehashes what lies above changed chunks, level by level, each node once.
    fn refresh(&mut self) {
        let mut changed: Vec<usize> = std::mem::take(&mut self.dirty).into_iter().collect();
        let mut level = 0;
        while !changed.is_empty() {
            if self.levels.len() == level {
                self.levels.push(Vec::new());
            }
            let (below, here) = self.levels.split_at_mut(level);
            let (below, Some(row)) = (below.last(), here.first_mut()) else { return };
            // Ascending, so that new nodes come one after the other at the end of the row.
            changed.retain(|&at| {
                let hash = match below {
                    None => self.bytes.get(at * CHUNK_LEN..(at + 1) * CHUNK_LEN).map(chunk_hash),
                    Some(below) => below.get(2 * at..2 * at + 2).map(|pair| merkle::fold(join, pair)),
                };
                // A node without two children is not perfect, and nor is any above it.
                let Some(hash) = hash else { return false };
                match row.get_mut(at) {
                    Some(node) => *node = hash,
                    None => row.push(hash),
                }
                true
            });
            changed.iter_mut().for_each(|at| *at /= 2);
            changed.dedup();
            level += 1;
        }
    }
}

/// The half of a byte that belongs to the licence at this index.
pub(crate) fn nibble(byte: u8, index: u64) -> u8 {
    if index.is_multiple_of(2) { byte & 0x0f } else { byte >> 4 }
}

pub(crate) fn chunk_hash(chunk: &[u8]) -> Digest {
    derive(&CTX_STATUS, &[&[0], chunk])
}

pub(crate) fn join(left: &Digest, right: &Digest) -> Digest {
    derive(&CTX_STATUS, &[&[1], left, right])
}

pub(crate) fn root_over(count: u64, top: &Digest) -> Digest {
    derive(&CTX_STATUS, &[&[2], &count.to_be_bytes(), top])
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::{check_status_proof, merkle::naive};
    use proptest::prelude::*;

    /// The root by the definition, from the states alone.
    fn naive_root(states: &[u8]) -> Digest {
        let mut bytes = vec![0u8; states.len().div_ceil(512) * 256];
        for (n, state) in states.iter().enumerate() {
            bytes[n / 2] |= if n % 2 == 0 { *state } else { state << 4 };
        }
        let leaves: Vec<Digest> = bytes.chunks(256).map(|chunk| derive(&CTX_STATUS, &[&[0], chunk])).collect();
        let top = if leaves.is_empty() { [0; 32] } else { naive::root(join, &leaves) };
        derive(&CTX_STATUS, &[&[2], &(states.len() as u64).to_be_bytes(), &top])
    }

    #[test]
    fn states_stand_where_the_layout_says() {
        let mut tree = StatusTree::new();
        assert_eq!(tree.root(), naive_root(&[]));
        for n in 0..513u64 {
            assert_eq!(tree.push((n % 16) as u8), Ok(n));
        }
        assert_eq!((tree.count(), tree.chunks()), (513, 2));
        assert_eq!(&tree.chunk(0).unwrap()[..4], &[0x10, 0x32, 0x54, 0x76]);
        assert_eq!(tree.set(512, 9), Ok(Some(1)));
        assert_eq!(tree.set(512, 9), Ok(None));
        assert_eq!(&tree.chunk(1).unwrap()[..2], &[9, 0]);
        assert_eq!(tree.set(1, 0xf), Ok(Some(0)));
        assert_eq!(tree.chunk(0).unwrap()[0], 0xf0);
        assert_eq!((tree.get(1), tree.get(512), tree.get(513)), (Some(15), Some(9), None));
        assert_eq!(tree.set(513, 1), Err(LedgerError::StatusIndex { index: 513, count: 513 }));
        assert_eq!(tree.set(u64::MAX, 1), Err(LedgerError::StatusIndex { index: u64::MAX, count: 513 }));
        assert_eq!(tree.set(0, 16), Err(LedgerError::StatusValue(16)));
        assert_eq!(tree.push(16), Err(LedgerError::StatusValue(16)));
        assert_eq!((tree.chunk(2), tree.chunk(u64::MAX)), (None, None));
    }

    #[test]
    fn the_count_is_in_the_root() {
        let mut tree = StatusTree::new();
        let mut roots = vec![tree.root()];
        for _ in 0..600 {
            tree.push(0).unwrap();
            roots.push(tree.root());
        }
        roots.sort_unstable();
        roots.dedup();
        assert_eq!(roots.len(), 601);
    }

    #[test]
    fn chunks_that_do_not_fit_are_refused() {
        let chunk = [0u8; 256];
        assert!(StatusTree::from_chunks(512, [chunk]).is_ok());
        for (count, chunks) in [(513, 1), (0, 1), (512, 2), (u64::MAX, 1), (1, 0)] {
            assert!(StatusTree::from_chunks(count, vec![chunk; chunks]).is_err(), "{count} in {chunks}");
        }
        assert!(StatusTree::from_chunks(1, [&[0u8; 255][..]]).is_err());
        let mut beyond = chunk;
        beyond[1] = 0x10;
        assert!(StatusTree::from_chunks(3, [beyond]).is_err());
        assert!(StatusTree::from_chunks(4, [beyond]).is_ok());
        assert!(StatusTree::from_chunks(2, [beyond]).is_err());
    }

    /// What a test does to a vector.
    #[derive(Debug, Clone)]
    enum Act {
        Push(u16, u8),
        Set(prop::sample::Index, u8),
        Root,
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn any_history_gives_the_root_by_the_definition(acts in prop::collection::vec(
            prop_oneof![
                (1u16..1500, 0u8..16).prop_map(|(n, status)| Act::Push(n, status)),
                (any::<prop::sample::Index>(), 0u8..16).prop_map(|(at, status)| Act::Set(at, status)),
                Just(Act::Root),
            ], 1..40), probe: prop::sample::Index) {
            let (mut tree, mut states) = (StatusTree::new(), Vec::new());
            for act in acts {
                match act {
                    Act::Push(n, status) => for k in 0..n {
                        let status = ((u16::from(status) + k) % 16) as u8;
                        prop_assert_eq!(tree.push(status), Ok(states.len() as u64));
                        states.push(status);
                    },
                    Act::Set(at, status) => if !states.is_empty() {
                        let at = at.index(states.len());
                        prop_assert_eq!(tree.set(at as u64, status).unwrap().is_some(), states[at] != status);
                        states[at] = status;
                    },
                    Act::Root => prop_assert_eq!(tree.root(), naive_root(&states)),
                }
            }
            let root = tree.root();
            prop_assert_eq!(root, naive_root(&states));
            let chunks: Vec<_> = (0..tree.chunks()).map(|n| tree.chunk(n).unwrap().to_vec()).collect();
            let mut again = StatusTree::from_chunks(tree.count(), chunks).unwrap();
            prop_assert_eq!(again.root(), root);
            if !states.is_empty() {
                let at = probe.index(states.len());
                let proof = tree.proof(at as u64).unwrap();
                prop_assert_eq!(check_status_proof(&root, tree.count(), at as u64, states[at], &proof), Ok(()));
                prop_assert_eq!(again.proof(at as u64), Ok(proof));
            }
        }
    }
}
