//! What hangs together from record to record: numbers, time, chain, and the tree with its tiles.

use super::examine::{Parts, Readable};
use super::finding::{Code, Findings};
use vermilion_crypto::Digest;
use vermilion_ledger::{FullTile, TileStore as _, Tree, chain_next, chain_start};
use vermilion_registry::stored::{BadRecord, open_parts};
use vermilion_storage::Store;

/// What the replay computed of a record that it gave back byte for byte.
#[derive(Clone, Copy, Debug)]
pub struct Confirmed {
    /// The chain after it.
    pub chain: Digest,
    /// Hash of its leaf.
    pub leaf_hash: Digest,
}

/// The links so far.
///
/// Invariants: `leaves` are those of the tree, as long as there is one; `chain` is the chain as it
/// should be after the last record, `stored` the one that stands there.
pub struct Links<'a> {
    store: Option<&'a Store>,
    time_ms: u64,
    chain: Option<Digest>,
    stored: Option<Digest>,
    tree: Option<Tree>,
    /// Whether the replay confirmed every record so far, so that its chain is ours.
    confirmed: bool,
    /// Leaf hashes of all records, as far as the sequence is whole.
    pub leaves: Vec<Digest>,
    /// Size and root of the tree at each commitment record.
    pub roots: Vec<(u64, Digest)>,
}

impl<'a> Links<'a> {
    /// None yet; full tiles are compared with those of `store`.
    #[must_use]
    pub fn new(store: Option<&'a Store>) -> Self {
        Self {
            store,
            time_ms: 0,
            chain: None,
            stored: None,
            tree: Some(Tree::new()),
            confirmed: true,
            leaves: Vec::new(),
            roots: Vec::new(),
        }
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

    /// Takes the record at a place. An error if it is not a canonical record after all.
    pub fn link(
        &mut self,
        seq: u64,
        record: &Readable,
        confirmed: Option<&Confirmed>,
        findings: &mut Findings,
    ) -> Result<Digest, BadRecord> {
        self.check_number_and_time(seq, record, findings);
        let confirmed = confirmed.filter(|confirmed| self.confirmed && confirmed.chain == record.chain);
        self.confirmed = confirmed.is_some();
        let leaf = match confirmed {
            Some(confirmed) => {
                self.chain = Some(record.chain);
                confirmed.leaf_hash
            }
            None => self.leaf(seq, record, findings)?,
        };
        self.stored = Some(record.chain);
        let Some(tree) = &mut self.tree else { return Ok(leaf) };
        self.leaves.push(leaf);
        let full = tree.append(leaf);
        if record.is_commitment {
            self.roots.push((tree.size(), tree.root()));
        }
        if let Some(store) = self.store {
            full.iter().for_each(|tile| compare_tile(store, tile, findings));
        }
        Ok(leaf)
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

    /// Checks the chain by itself, and gives the leaf under the chain as it should be.
    fn leaf(&mut self, seq: u64, record: &Readable, findings: &mut Findings) -> Result<Digest, BadRecord> {
        let parts = match record.parts {
            Some(parts) => parts,
            None => Parts::of(&open_parts(&record.bytes, record.chain)?),
        };
        let next = |before: Digest| chain_next(&before, &parts.hash);
        self.chain = self.chain.map(next);
        let Some(chain) = self.chain.filter(|chain| *chain != record.chain) else { return Ok(parts.leaf_hash) };
        // What follows from the broken chain before it is no second break.
        if self.stored.map(next) != Some(record.chain) {
            findings.add(
                Code::ChainBroken,
                Some(seq),
                format!("The chain hash of record {seq} does not follow from the one before it and the record."),
                format!("第{seq}号记录的链哈希与前一链哈希及本记录不符。"),
            );
        }
        Ok(Parts::of(&open_parts(&record.bytes, chain)?).leaf_hash)
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
