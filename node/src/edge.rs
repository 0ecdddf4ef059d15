//! The tree's right edge as of the newest block applied, for whoever asks beside the applier:
//! partial tiles, partial entry bundles, proofs. No disk, no wait for a block.

use crate::apply::ApplyError;
use std::sync::{PoisonError, RwLock};
use vermilion_ledger::{EntryBundle, TILE_WIDTH, Tree, bundle_part};
use vermilion_proto::LedgerHead;
use vermilion_registry::stored;
use vermilion_storage::Store;

/// What is not in full tiles: the tree's edge, and the leaves after the last full bundle.
///
/// Invariant: the bundle holds the last `size mod 256` leaves of the tree, and every full tile and
/// bundle that the size calls for is in the store, since the edge is shown after they are written.
#[derive(Clone, Default)]
pub struct RightEdge {
    /// The tree, at most 33 KiB.
    pub tree: Tree,
    /// Its last leaves, at most 38 KiB.
    pub bundle: EntryBundle,
}

/// The edge that the applier shows. Copying it costs microseconds a block.
#[derive(Default)]
pub struct Edge(RwLock<RightEdge>);

impl Edge {
    /// Shows this edge.
    #[must_use]
    pub fn new(edge: RightEdge) -> Self {
        Self(RwLock::new(edge))
    }

    /// The applier's: what it now is. Everything that is full is in the store already.
    pub fn show(&self, edge: &RightEdge) {
        let mut shown = self.0.write().unwrap_or_else(PoisonError::into_inner);
        shown.tree.clone_from(&edge.tree);
        shown.bundle.clone_from(&edge.bundle);
    }

    /// The tree as of now, for proofs about any size up to its own.
    #[must_use]
    pub fn tree(&self) -> Tree {
        self.0.read().unwrap_or_else(PoisonError::into_inner).tree.clone()
    }

    /// Records in the tree.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.0.read().unwrap_or_else(PoisonError::into_inner).tree.size()
    }

    /// The first `width` hashes of the partial tile at the right end of a level, if it is that of this
    /// index and has so many.
    #[must_use]
    pub fn hashes(&self, level: u8, index: u64, width: usize) -> Option<Vec<u8>> {
        let (at, mut bytes) = self.0.read().unwrap_or_else(PoisonError::into_inner).tree.partial_tile(level)?;
        (at == index && bytes.len() >= width * 32).then(|| {
            bytes.truncate(width * 32);
            bytes
        })
    }

    /// The first `width` leaves after the last full bundle, as a bundle, if they are of this index.
    #[must_use]
    pub fn entries(&self, index: u64, width: usize) -> Option<Vec<u8>> {
        let shown = self.0.read().unwrap_or_else(PoisonError::into_inner);
        if shown.tree.size() / TILE_WIDTH as u64 != index {
            return None;
        }
        bundle_part(shown.bundle.bytes(), width).map(<[u8]>::to_vec)
    }
}

/// Rebuilds the edge from stored tiles and the records after the last full one, and checks head, last
/// record and chain against each other.
pub fn rebuild(store: &Store, head: &LedgerHead) -> Result<RightEdge, ApplyError> {
    let broken = |why: String| ApplyError::Broken(why);
    let tail_from = head.size - head.size % TILE_WIDTH as u64;
    // One record further back, so that the chain is checked across the edge of a tile too.
    let from = tail_from.min(head.size.saturating_sub(1));
    let (mut tail, mut bundle) = (Vec::new(), EntryBundle::default());
    let mut chain: Option<[u8; 32]> = None;
    let mut problem = None;
    let mut next = from;
    store.records(from, &mut |seq, record| {
        let open = match stored::open_record(&record) {
            Ok(open) => open,
            Err(e) => {
                problem = Some(format!("record {seq}: {e}"));
                return false;
            }
        };
        if seq != next || open.record.seq != seq {
            problem = Some(format!("record {next} is missing or in another's place"));
            return false;
        }
        if chain.is_some_and(|before| vermilion_ledger::chain_next(&before, &open.hash) != open.chain) {
            problem = Some(format!("the chain breaks at record {seq}"));
            return false;
        }
        chain = Some(open.chain);
        if seq >= tail_from {
            tail.push(open.leaf.hash());
            if let Err(e) = bundle.push(&open.leaf.encode()) {
                problem = Some(format!("record {seq}: {e}"));
                return false;
            }
        }
        next += 1;
        true
    })?;
    if let Some(problem) = problem {
        return Err(broken(problem));
    }
    if next != head.size {
        return Err(broken(format!("the head counts {} records, {next} are stored", head.size)));
    }
    if chain.is_some_and(|chain| chain[..] != head.chain) {
        return Err(broken("the last record's chain hash is not the head's".into()));
    }
    let tree = Tree::rebuild(head.size, store, &tail).map_err(|e| broken(e.to_string()))?;
    Ok(RightEdge { tree, bundle })
}

/// A full entry bundle made from the records, for a directory from before bundles were kept. Reads
/// 256 records whole.
pub fn bundle_from_records(store: &Store, index: u64) -> Result<Option<Vec<u8>>, ApplyError> {
    let from = index.saturating_mul(TILE_WIDTH as u64);
    let (mut bundle, mut full, mut problem) = (EntryBundle::default(), None, None);
    store.records(from, &mut |seq, record| {
        let leaf = stored::open_record(&record).map(|open| open.leaf.encode()).map_err(|e| e.to_string());
        match leaf.and_then(|leaf| bundle.push(&leaf).map_err(|e| e.to_string())) {
            Ok(out) => full = out,
            Err(why) => problem = Some(format!("record {seq}: {why}")),
        }
        full.is_none() && problem.is_none()
    })?;
    match problem {
        Some(why) => Err(ApplyError::Broken(why)),
        None => Ok(full),
    }
}
