//! What hangs together from record to record: numbers, time, chain, and the tree with its tiles.

use super::examine::Readable;
use super::finding::{Code, Findings};
use vermilion_crypto::Digest;
use vermilion_ledger::{EntryBundle, FullTile, TILE_WIDTH, TileStore as _, Tree, bundle_entries, chain_next, chain_start, leaf_hash};
use vermilion_storage::Store;

/// What the replay computed of a record that it gave back byte for byte.
#[derive(Clone, Copy, Debug)]
pub struct Confirmed {
    /// The chain after it.
    pub chain: Digest,
    /// Hash of its leaf.
    pub leaf_hash: Digest,
}

/// A point of history: so many records, and the tree over them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Root {
    /// The number of records.
    pub size: u64,
    /// The tree's root.
    pub root: Digest,
    /// Whether the last of them is a commitment record.
    pub committed: bool,
}

/// What [`Links`] are made of, to be kept over a break.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct LinkState {
    /// Time of the last record.
    pub time_ms: u64,
    /// The chain as it should be.
    pub chain: Option<Digest>,
    /// The chain that stands with the last record.
    pub stored: Option<Digest>,
    /// Whether the replay confirmed every record.
    pub confirmed: bool,
    /// The tree's size and its partial tiles, lowest level first.
    pub tree: Option<(u64, Vec<Vec<Digest>>)>,
    /// See [`Links::roots`].
    pub roots: Vec<Root>,
    /// See [`Links::marks`].
    pub marks: Vec<Digest>,
}

/// The links so far.
///
/// In memory it holds 48 bytes for each commitment and 32 for each 256 records; nothing else grows.
///
/// Invariants: `chain` is the chain as it should be after the last record, `stored` the one that
/// stands there; `marks` holds the stored chain after each full tile's records.
pub struct Links<'a> {
    store: Option<&'a Store>,
    time_ms: u64,
    chain: Option<Digest>,
    stored: Option<Digest>,
    tree: Option<Tree>,
    /// The entry bundle of the records after the last full tile, as far as it was made here.
    bundle: EntryBundle,
    /// Whether the replay confirmed every record so far, so that its chain is ours.
    confirmed: bool,
    /// Sizes beside commitments at which the root is wanted, ascending.
    wanted: Vec<u64>,
    /// The roots at commitment records and where they were wanted, ascending.
    pub roots: Vec<Root>,
    /// The stored chain hashes after every 256th record: they name the records before them.
    pub marks: Vec<Digest>,
}

impl<'a> Links<'a> {
    /// None yet; full tiles and entry bundles are compared with those of `store`. The root is wanted at the sizes
    /// `wanted` too, ascending.
    #[must_use]
    pub fn new(store: Option<&'a Store>, wanted: Vec<u64>) -> Self {
        Self {
            store,
            time_ms: 0,
            chain: None,
            stored: None,
            tree: Some(Tree::new()),
            bundle: EntryBundle::default(),
            confirmed: true,
            wanted,
            roots: Vec::new(),
            marks: Vec::new(),
        }
    }

    /// What is to be kept over a break.
    #[must_use]
    pub fn state(&self) -> LinkState {
        let edge = |tree: &Tree| {
            let levels = 0..u8::try_from(tree.size().checked_ilog2().map_or(0, |bit| bit / 8 + 1)).unwrap_or_default();
            let hashes = |level| tree.partial_tile(level).map(|(_, bytes)| bytes.as_chunks::<32>().0.to_vec()).unwrap_or_default();
            (tree.size(), levels.map(hashes).collect())
        };
        LinkState {
            time_ms: self.time_ms,
            chain: self.chain,
            stored: self.stored,
            confirmed: self.confirmed,
            tree: self.tree.as_ref().map(edge),
            roots: self.roots.clone(),
            marks: self.marks.clone(),
        }
    }

    /// Goes on from what was kept. An error if its tree is none.
    pub fn restore(&mut self, state: LinkState) -> Result<(), String> {
        let tree = state.tree.map(|(size, edge)| Tree::from_partial_tiles::<std::convert::Infallible>(size, edge));
        self.tree = tree.transpose().map_err(|error| error.to_string())?;
        (self.time_ms, self.chain, self.stored, self.confirmed) = (state.time_ms, state.chain, state.stored, state.confirmed);
        (self.roots, self.marks) = (state.roots, state.marks);
        Ok(())
    }

    /// Begins the chain of a ledger.
    pub fn begin(&mut self, ledger_id: &Digest) {
        self.chain = Some(chain_start(ledger_id));
    }

    /// The chain as it should be, unless it was lost.
    #[must_use]
    pub fn chain(&self) -> Option<&Digest> {
        self.chain.as_ref()
    }

    /// After a record that is missing neither chain nor tree can be computed.
    pub fn lose(&mut self) {
        (self.chain, self.stored, self.tree, self.confirmed) = (None, None, None, false);
    }

    /// Takes the record at a place.
    pub fn link(&mut self, seq: u64, record: &Readable, confirmed: Option<&Confirmed>, findings: &mut Findings) {
        self.check_number_and_time(seq, record, findings);
        let confirmed = confirmed.filter(|confirmed| self.confirmed && confirmed.chain == record.chain);
        self.confirmed = confirmed.is_some();
        let leaf = match confirmed {
            Some(confirmed) => {
                self.chain = Some(record.chain);
                confirmed.leaf_hash
            }
            None => self.leaf(seq, record, findings),
        };
        self.stored = Some(record.chain);
        let Some(tree) = &mut self.tree else { return };
        let full = tree.append(leaf);
        let size = tree.size();
        let committed = record.commitment.is_some();
        if committed || self.wanted.binary_search(&size).is_ok() {
            self.roots.push(Root { size, root: tree.root(), committed });
        }
        if size.is_multiple_of(TILE_WIDTH as u64) {
            self.marks.push(record.chain);
        }
        if let Some(store) = self.store {
            // None where some of its leaves were made before the audit went on.
            let made = self.bundle.push(&record.leaf(self.chain.unwrap_or(record.chain)).encode()).ok().flatten();
            for tile in &full {
                compare_tile(store, tile, findings);
                if tile.level == 0 {
                    compare_bundle(store, tile, made.as_deref(), findings);
                    self.bundle = EntryBundle::default();
                }
            }
        }
    }

    fn check_number_and_time(&mut self, seq: u64, record: &Readable, findings: &mut Findings) {
        if record.number != seq {
            findings.add(
                Code::RecordMisplaced,
                Some(seq),
                format!("The record at place {seq} bears the number {}.", record.number),
                format!("第{seq}号位置上的记录自称第{}号。", record.number),
            );
        }
        if record.time_ms < self.time_ms {
            findings.add(
                Code::TimeBack,
                Some(seq),
                format!("The time of record {seq} lies before that of the record before it."),
                format!("第{seq}号记录的时间早于前一记录。"),
            );
        }
        self.time_ms = record.time_ms;
    }

    /// Checks the chain by itself, and gives the hash of the leaf under the chain as it should be.
    fn leaf(&mut self, seq: u64, record: &Readable, findings: &mut Findings) -> Digest {
        // Sound so far, and checked against the same stored chain already.
        if let Some(link) = record.link.filter(|link| link.follows && self.chain == self.stored) {
            self.chain = self.chain.map(|_| record.chain);
            return link.leaf_hash;
        }
        let next = |before: Digest| chain_next(&before, &record.hash);
        self.chain = self.chain.map(next);
        let Some(chain) = self.chain else { return record.leaf_hash(record.chain) };
        // What follows from the broken chain before it is no second break.
        if chain != record.chain && self.stored.map(next) != Some(record.chain) {
            findings.add(
                Code::ChainBroken,
                Some(seq),
                format!("The chain hash of record {seq} does not follow from the one before it and the record."),
                format!("第{seq}号记录的链哈希与前一链哈希及本记录不符。"),
            );
        }
        record.leaf_hash(chain)
    }
}

fn compare_tile(store: &Store, tile: &FullTile, findings: &mut Findings) {
    let (level, index) = (tile.level, tile.index);
    match store.tile(level, index) {
        Ok(Some(stored)) if stored == tile.bytes => {}
        Ok(Some(_)) => findings.add(
            Code::TileDiffers,
            None,
            format!("The stored tile {index} of level {level} of the tree is not the one that the records give."),
            format!("所存默克尔树第{level}层第{index}号瓦片与记录重算的结果不符。"),
        ),
        Ok(None) => findings.add(
            Code::TileMissing,
            None,
            format!("Tile {index} of level {level} of the tree is not stored."),
            format!("默克尔树第{level}层第{index}号瓦片缺失。"),
        ),
        Err(error) => {
            findings.add(Code::StorageDamaged, None, format!("The tiles cannot be read: {error}."), "读取默克尔树瓦片时数据库出错。")
        }
    }
}

/// A bundle holds the leaves of a tile of the lowest level: they are what it serves, so they must be those that were made
/// here, or, where some were made before the audit went on, have the tile's hashes. One that is not stored a node makes from the
/// records when it is asked for it.
fn compare_bundle(store: &Store, tile: &FullTile, made: Option<&[u8]>, findings: &mut Findings) {
    match store.entries(tile.index) {
        Ok(Some(bundle)) if made == Some(&bundle) => {}
        Ok(None) => {}
        Ok(Some(bundle)) => {
            let hashes: Vec<Digest> = bundle_entries(&bundle).unwrap_or_default().into_iter().map(leaf_hash).collect();
            if hashes.as_flattened() != tile.bytes.as_slice() {
                findings.add(
                    Code::EntriesDiffer,
                    None,
                    format!("The stored entry bundle {} does not hold the leaves that the records give.", tile.index),
                    format!("所存第{}号条目包与记录重算的叶子不符。", tile.index),
                );
            }
        }
        Err(error) => {
            findings.add(Code::StorageDamaged, None, format!("The entry bundles cannot be read: {error}."), "读取条目包时数据库出错。")
        }
    }
}
