//! The status vector: the state of every licence in four bits, under one root that each commitment
//! record carries.

use crate::{LedgerError, StatusProof, merkle};
use std::{convert::Infallible, sync::Arc};
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
/// The tree is persistent: [`StatusTree::view`] costs a few pointers, and what is changed afterwards
/// is copied where it is shared with a view, a chunk and the nodes above it for each changed chunk.
/// So proofs as of a past commitment need neither a lock nor a second vector.
///
/// In memory: 0.83 bytes for each licence. A change forgets the hashes above its chunk;
/// [`StatusTree::root`] then makes those anew, each once.
///
/// Invariants: the peaks are the perfect trees of an RFC 6962 tree over as many chunks as `count`
/// needs, from left to right; what lies beyond `count` is zero; a node that is shared with a view
/// has its hash.
#[derive(Clone, Debug, Default)]
pub struct StatusTree {
    forest: Forest,
}

/// The status vector as it was at one moment, in memory shared with the tree that goes on. Cheap to
/// clone, and read without a lock.
#[derive(Clone, Debug)]
pub struct StatusView {
    forest: Forest,
    root: Digest,
}

impl PartialEq for StatusView {
    /// By root, which binds the count and every state.
    fn eq(&self, other: &Self) -> bool {
        self.root == other.root
    }
}

#[derive(Clone, Default)]
struct Forest {
    count: u64,
    /// Perfect trees with their levels, from the left: one for each bit of the number of chunks.
    peaks: Vec<(u8, Arc<Node>)>,
}

impl std::fmt::Debug for Forest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} licences", self.count)
    }
}

#[derive(Clone)]
struct Node {
    /// None where something below was changed since.
    hash: Option<Digest>,
    below: Below,
}

#[derive(Clone)]
enum Below {
    Chunk(Box<[u8; CHUNK_LEN]>),
    Pair(Arc<Node>, Arc<Node>),
}

impl Node {
    fn chunk(bytes: [u8; CHUNK_LEN]) -> Arc<Self> {
        Arc::new(Self { hash: None, below: Below::Chunk(Box::new(bytes)) })
    }

    /// The node's hash; makes those that are missing below. A node without its hash is not shared.
    fn refresh(this: &mut Arc<Self>) -> Digest {
        if let Some(hash) = this.hash {
            return hash;
        }
        let node = Arc::make_mut(this);
        let hash = match &mut node.below {
            Below::Chunk(bytes) => chunk_hash(&**bytes),
            Below::Pair(left, right) => join(&Self::refresh(left), &Self::refresh(right)),
        };
        node.hash = Some(hash);
        hash
    }
}

impl Forest {
    fn chunks(&self) -> u64 {
        self.count.div_ceil(LICENCES_A_CHUNK)
    }

    /// The perfect node over the chunks `index << level .. (index + 1) << level`.
    fn node(&self, level: u8, index: u64) -> Option<&Node> {
        let mut at = index.checked_shl(u32::from(level))?;
        for (height, peak) in &self.peaks {
            let width = 1u64.checked_shl(u32::from(*height))?;
            if at >= width {
                at -= width;
                continue;
            }
            let mut node = peak;
            for step in (level..*height).rev() {
                let Below::Pair(left, right) = &node.below else { return None };
                node = if at >> step & 1 == 0 { left } else { right };
            }
            return (level <= *height).then_some(node);
        }
        None
    }

    fn chunk(&self, chunk: u64) -> Option<&[u8; CHUNK_LEN]> {
        match &self.node(0, chunk)?.below {
            Below::Chunk(bytes) => Some(bytes),
            Below::Pair(..) => None,
        }
    }

    fn get(&self, index: u64) -> Option<u8> {
        let chunk = self.chunk(index / LICENCES_A_CHUNK).filter(|_| index < self.count)?;
        chunk.get((index % LICENCES_A_CHUNK / 2) as usize).map(|byte| nibble(*byte, index))
    }

    /// The chunk to be changed: copies what is shared on the way, and forgets the hashes there.
    fn chunk_mut(&mut self, chunk: u64) -> Option<&mut [u8; CHUNK_LEN]> {
        let mut at = chunk;
        for (height, peak) in &mut self.peaks {
            let width = 1u64.checked_shl(u32::from(*height))?;
            if at >= width {
                at -= width;
                continue;
            }
            let mut node = Arc::make_mut(peak);
            for step in (0..*height).rev() {
                node.hash = None;
                let Below::Pair(left, right) = &mut node.below else { return None };
                node = Arc::make_mut(if at >> step & 1 == 0 { left } else { right });
            }
            node.hash = None;
            return match &mut node.below {
                Below::Chunk(bytes) => Some(bytes),
                Below::Pair(..) => None,
            };
        }
        None
    }

    /// Adds a chunk at the right end: perfect trees of one height become one that is higher.
    fn add(&mut self, bytes: [u8; CHUNK_LEN]) {
        let (mut level, mut node) = (0, Node::chunk(bytes));
        while let Some((_, left)) = self.peaks.pop_if(|(height, _)| *height == level) {
            node = Arc::new(Node { hash: None, below: Below::Pair(left, node) });
            level += 1;
        }
        self.peaks.push((level, node));
    }

    /// The root, of a forest whose hashes are all there.
    fn root(&self) -> Digest {
        let tops: Vec<Digest> = self.peaks.iter().map(|(_, peak)| peak.hash.unwrap_or_default()).collect();
        root_over(self.count, &merkle::fold(join, &tops))
    }

    fn refresh(&mut self) {
        for (_, peak) in &mut self.peaks {
            Node::refresh(peak);
        }
    }

    /// Proves the state at an index, from a forest whose hashes are all there.
    fn proof(&self, index: u64) -> Result<StatusProof, LedgerError> {
        let beyond = LedgerError::StatusIndex { index, count: self.count };
        if index >= self.count {
            return Err(beyond);
        }
        let at = index / LICENCES_A_CHUNK;
        let chunk = *self.chunk(at).ok_or(beyond)?;
        // Only perfect nodes within the tree are asked for, all of which are there.
        let mut read = |level, index| Ok::<_, Infallible>(self.node(level, index).and_then(|node| node.hash).unwrap_or_default());
        let Ok(path) = merkle::inclusion(join, self.chunks(), at, &mut read);
        Ok(StatusProof { chunk, path })
    }
}

impl StatusView {
    /// Licences in the vector.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.forest.count
    }

    /// The root over the vector.
    #[must_use]
    pub fn root(&self) -> Digest {
        self.root
    }

    /// The state at an index, counted from 0.
    #[must_use]
    pub fn get(&self, index: u64) -> Option<u8> {
        self.forest.get(index)
    }

    /// Proves the state at an index under [`StatusView::root`], checked by
    /// [`crate::check_status_proof`]. Reads O(log² n) nodes and hashes nothing.
    pub fn proof(&self, index: u64) -> Result<StatusProof, LedgerError> {
        self.forest.proof(index)
    }
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
        let mut forest = Forest { count, ..Forest::default() };
        let (mut added, mut last) = (0u64, [0; CHUNK_LEN]);
        for chunk in chunks {
            last = chunk.as_ref().try_into().map_err(|_| LedgerError::BadChunks("a chunk is not 256 bytes long"))?;
            forest.add(last);
            added += 1;
        }
        if added != forest.chunks() {
            return Err(LedgerError::BadChunks("there are too few or too many"));
        }
        let within = count % LICENCES_A_CHUNK;
        let mut beyond = last.iter().skip((within / 2) as usize).filter(|_| within != 0);
        let half = if within % 2 == 1 { beyond.next().map_or(0, |byte| byte >> 4) } else { 0 };
        if half != 0 || beyond.any(|byte| *byte != 0) {
            return Err(LedgerError::BadChunks("something stands beyond the last licence"));
        }
        Ok(Self { forest })
    }

    /// Licences in the vector.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.forest.count
    }

    /// Chunks in the vector.
    #[must_use]
    pub fn chunks(&self) -> u64 {
        self.forest.chunks()
    }

    /// The state at an index, counted from 0.
    #[must_use]
    pub fn get(&self, index: u64) -> Option<u8> {
        self.forest.get(index)
    }

    /// A chunk's 256 bytes, to be stored.
    #[must_use]
    pub fn chunk(&self, chunk: u64) -> Option<&[u8]> {
        self.forest.chunk(chunk).map(<[u8; CHUNK_LEN]>::as_slice)
    }

    /// Adds a licence at the end and returns its index; its chunk, `index / 512`, has changed.
    pub fn push(&mut self, status: u8) -> Result<u64, LedgerError> {
        if status > MAX_STATUS {
            return Err(LedgerError::StatusValue(status));
        }
        let index = self.forest.count;
        if index.is_multiple_of(LICENCES_A_CHUNK) {
            self.forest.add([0; CHUNK_LEN]);
        }
        self.forest.count += 1;
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
        let beyond = LedgerError::StatusIndex { index, count: self.forest.count };
        if self.forest.get(index).ok_or(beyond.clone())? == status {
            return Ok(None);
        }
        let chunk = index / LICENCES_A_CHUNK;
        let bytes = self.forest.chunk_mut(chunk).ok_or(beyond.clone())?;
        let byte = bytes.get_mut((index % LICENCES_A_CHUNK / 2) as usize).ok_or(beyond)?;
        *byte = if index.is_multiple_of(2) { *byte & 0xf0 | status } else { *byte & 0x0f | status << 4 };
        Ok(Some(chunk))
    }

    /// The root over the vector as it is now.
    pub fn root(&mut self) -> Digest {
        self.forest.refresh();
        self.forest.root()
    }

    /// The vector as it is now, to be proved from whatever happens later.
    pub fn view(&mut self) -> StatusView {
        let root = self.root();
        StatusView { forest: self.forest.clone(), root }
    }

    /// Proves the state at an index under [`StatusTree::root`]: checked by
    /// [`crate::check_status_proof`].
    pub fn proof(&mut self, index: u64) -> Result<StatusProof, LedgerError> {
        self.forest.refresh();
        self.forest.proof(index)
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
        View,
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn any_history_gives_the_root_by_the_definition(acts in prop::collection::vec(
            prop_oneof![
                (1u16..1500, 0u8..16).prop_map(|(n, status)| Act::Push(n, status)),
                (any::<prop::sample::Index>(), 0u8..16).prop_map(|(at, status)| Act::Set(at, status)),
                Just(Act::Root),
                Just(Act::View),
            ], 1..40), probe: prop::sample::Index) {
            let (mut tree, mut states) = (StatusTree::new(), Vec::new());
            let mut views: Vec<(StatusView, Vec<u8>)> = Vec::new();
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
                    Act::View => views.push((tree.view(), states.clone())),
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
            for (view, then) in views {
                prop_assert_eq!((view.count(), view.root()), (then.len() as u64, naive_root(&then)), "a view is as of its moment");
                prop_assert!(view.proof(then.len() as u64).is_err() && view.get(then.len() as u64).is_none());
                if !then.is_empty() {
                    let at = probe.index(then.len());
                    prop_assert_eq!(view.get(at as u64), Some(then[at]));
                    let proof = view.proof(at as u64).unwrap();
                    prop_assert_eq!(check_status_proof(&view.root(), view.count(), at as u64, then[at], &proof), Ok(()));
                }
            }
        }
    }
}
