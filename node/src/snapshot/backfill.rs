//! The history before a state that was taken: fetched in the background from the newest record back, and
//! checked along the chain, whose end the quorum cosigned. A kill loses nothing: what is here is noted with
//! the records themselves.

use crate::apply::ApplyError;
use crate::catchup::{Received, open_received};
use crate::metrics::Metrics;
use crate::pace::Pace;
use crate::peers::Peers;
use crate::runtime::FatalStop;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc::UnboundedSender;
use vermilion_ledger::{Digest, EntryBundle, TILE_WIDTH, TileStore as _, chain_next, tile_root};
use vermilion_proto::{CatchUpRecord, CatchUpRequest, LicenceItem};
use vermilion_registry::{Kv, query, stored};
use vermilion_storage::{Commit, Store};

const WIDTH: u64 = TILE_WIDTH as u64;
/// Between two attempts while no peer gives anything.
const AGAIN: Duration = Duration::from_secs(1);
/// How long a peer may take for a stretch of records.
const STRETCH: Duration = Duration::from_secs(120);
/// Between two stretches of records: what the node is there for goes first.
const BREATH: Duration = Duration::from_millis(5);
/// Records of the first stretch. Of large ones fewer are fetched at once, of small ones up to a tile's.
const FIRST: u64 = 16;
/// Bytes beyond which a stretch is made smaller.
const LARGE: usize = 16 << 20;
/// Records between two lines of the log that say how far it is.
const TELL: u64 = 64 * WIDTH;

/// Fetches the history.
pub struct Backfill {
    /// Where to.
    pub store: Store,
    /// Where from.
    pub peers: Peers,
    /// Shows how much is missing.
    pub metrics: Arc<Metrics>,
    /// The store failed: the node stops.
    pub fatal: UnboundedSender<FatalStop>,
}

fn refuse(why: impl Into<String>) -> ApplyError {
    ApplyError::Peer(why.into())
}

impl Backfill {
    /// Runs until the history is whole, or the node stops.
    pub async fn run(self) {
        if let Err(error) = self.fetch_all().await {
            let _ = self.fatal.send(FatalStop(format!("the ledger's history could not be completed: {error}")));
        }
    }

    async fn fetch_all(&self) -> Result<(), ApplyError> {
        let begun = self.store.history_from()?;
        let (mut step, mut pace) = (FIRST, Pace::default());
        loop {
            let low = self.store.history_from()?;
            self.metrics.history_missing.set(i64::try_from(low.saturating_sub(1)).unwrap_or(i64::MAX));
            if low <= 1 {
                if begun > 1 {
                    tracing::info!(records = begun - 1, "the ledger's history is whole");
                }
                return Ok(());
            }
            // Not beyond where the tile of the last missing record begins: there the tile is made.
            let from = ((low - 1) / WIDTH * WIDTH).max(low.saturating_sub(step));
            match self.stretch(&mut pace, from, low).await? {
                Some(bytes) => {
                    step = if bytes > LARGE { (step / 4).max(1) } else { (step * 2).min(WIDTH) };
                    if from / TELL != low / TELL {
                        tracing::info!(missing = from, "fetching the ledger's history");
                    }
                    tokio::time::sleep(BREATH).await;
                }
                None => {
                    // Fewer come within the time that a peer has, over whatever line.
                    step = (step / 4).max(1);
                    tokio::time::sleep(AGAIN).await;
                }
            }
        }
    }

    /// Fetches records of one tile from whichever peer has them as they were signed. Answers their bytes.
    async fn stretch(&self, pace: &mut Pace, from: u64, low: u64) -> Result<Option<usize>, ApplyError> {
        for peer in pace.order(self.peers.ids()) {
            let asked = Instant::now();
            // With the record before them: it says what the first of them continues.
            let reading = tokio::time::timeout(STRETCH, self.records(peer, from.saturating_sub(1).max(1), low)).await;
            let took = asked.elapsed();
            // Until its records are in, it has given none.
            pace.took(peer, took, 0);
            let received = match reading.unwrap_or_else(|_| Err(tonic::Status::deadline_exceeded("a peer is slow"))) {
                Ok(received) => received,
                Err(status) => {
                    tracing::debug!(peer, %status, "history could not be fetched");
                    continue;
                }
            };
            let bytes = received.iter().map(vermilion_proto::Message::encoded_len).sum();
            match tokio::task::block_in_place(|| self.take(from, low, received)) {
                Ok(()) => {
                    pace.took(peer, took, low - from);
                    return Ok(Some(bytes));
                }
                Err(ApplyError::Peer(why)) => tracing::error!(peer, why, "a peer's history was refused"),
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    /// An answer ends before it becomes too large: as many as it takes.
    async fn records(&self, peer: u64, from: u64, to: u64) -> Result<Vec<CatchUpRecord>, tonic::Status> {
        let mut out: Vec<CatchUpRecord> = Vec::new();
        loop {
            let next = from + out.len() as u64;
            if next >= to {
                return Ok(out);
            }
            let more = self.peers.catch_up(peer, CatchUpRequest { from: next, to }).await?;
            if more.is_empty() || more.len() as u64 > to - next {
                return Err(tonic::Status::unavailable("the peer does not have these records"));
            }
            out.extend(more);
        }
    }

    fn take(&self, from: u64, low: u64, records: Vec<CatchUpRecord>) -> Result<(), ApplyError> {
        let first = from.max(1);
        let mut received = open_received(records)?;
        let read = |seq: u64| -> Result<_, ApplyError> {
            let record = self.store.record(seq)?.ok_or_else(|| ApplyError::Broken(format!("record {seq} is missing")))?;
            stored::open_record(&record).map_err(|e| ApplyError::Broken(e.to_string()))
        };
        let before = match first {
            1 => read(0)?.chain,
            _ if received.is_empty() => return Err(refuse("no record")),
            _ => received.remove(0).leaf.chain_hash,
        };
        let behind = read(low)?;
        check_backwards(before, first, &received, (behind.chain, behind.hash))?;
        self.check_emptied(&received)?;
        let mut commit = Commit {
            records: received.iter().map(Received::row).collect(),
            vault: received.iter().filter_map(Received::content).collect(),
            ..Commit::default()
        };
        if from.is_multiple_of(WIDTH) {
            let mut leaves = Vec::with_capacity(TILE_WIDTH);
            if first != from {
                leaves.push(read(from)?.leaf);
            }
            leaves.extend(received.iter().map(|record| record.leaf.clone()));
            for seq in low..from + WIDTH {
                leaves.push(read(seq)?.leaf);
            }
            self.add_tiles(from / WIDTH, &leaves, &mut commit)?;
        }
        // Content that was erased while it was on its way does not come in. What is erased from here on
        // finds it in its place.
        self.store.add_history(first, commit, || self.erased(&received))
    }

    /// The full tile and bundle of these leaves, and the tiles above that are full with it.
    fn add_tiles(&self, index: u64, leaves: &[vermilion_ledger::Leaf], commit: &mut Commit) -> Result<(), ApplyError> {
        let broken = |e: &dyn std::fmt::Display| ApplyError::Broken(e.to_string());
        let mut bundle = EntryBundle::default();
        for leaf in leaves {
            if let Some(full) = bundle.push(&leaf.encode()).map_err(|e| broken(&e))? {
                commit.entries.push((index, full));
            }
        }
        let (mut level, mut index) = (0u8, index);
        let mut hashes: Vec<u8> = leaves.iter().flat_map(|leaf| leaf.hash()).collect();
        loop {
            let mut made: BTreeMap<u64, Digest> = BTreeMap::new();
            made.insert(index, tile_root(&hashes).ok_or_else(|| broken(&"a tile is not full"))?);
            commit.tiles.push((level, index, hashes));
            // The lowest of its group comes last: then the tile above it can be made, if the group is full.
            if !index.is_multiple_of(WIDTH) {
                return Ok(());
            }
            hashes = Vec::with_capacity(TILE_WIDTH * 32);
            for below in index..index + WIDTH {
                let root = match made.get(&below) {
                    Some(root) => *root,
                    None => match self.store.tile(level, below)? {
                        Some(hashes) => tile_root(&hashes).ok_or_else(|| broken(&"a stored tile is not full"))?,
                        // Beyond the edge that came with the state: the tile above is made as the tree grows.
                        None => return Ok(()),
                    },
                };
                hashes.extend_from_slice(&root);
            }
            (level, index) = (level + 1, index / WIDTH);
        }
    }

    /// What of this content is erased by now.
    fn erased(&self, received: &[Received]) -> Result<Vec<(u64, u32)>, ApplyError> {
        let kv = self.store.state_snapshot();
        let mut erased = Vec::new();
        for record in received {
            let Some(content) = record.content() else { continue };
            for (position, _) in &content.ciphertexts {
                if is_erased(&kv, record, *position)? {
                    erased.push((content.seq, *position));
                }
            }
        }
        Ok(erased)
    }

    /// Refuses what a peer calls erased and this node's state does not, which is of a later record. (An erasure that is not
    /// applied here yet is refused with it, and the record is asked for again.)
    fn check_emptied(&self, received: &[Received]) -> Result<(), ApplyError> {
        let kv = self.store.state_snapshot();
        for record in received {
            for position in record.emptied() {
                if !is_erased(&kv, record, position)? {
                    return Err(refuse(format!("item {position} of record {} is not erased, and came without its key", record.leaf.seq)));
                }
            }
        }
        Ok(())
    }
}

/// Whether the licence that came of a record's item is erased.
fn is_erased(kv: &dyn Kv, record: &Received, position: u32) -> Result<bool, ApplyError> {
    let item: Option<&LicenceItem> = record.checked.items.get(position as usize).map(|(_, item)| item);
    let state = item.map(|item| query::of_item(kv, item)).transpose()?.flatten();
    Ok(state.is_some_and(|state| state.erased && state.seq == record.leaf.seq && state.position == position))
}

/// Whether these records, the first of number `first`, lead from the chain before them to the record
/// behind them, of which chain and hash are known to be good. Only the record that was signed over does:
/// each chain hash is known from the one behind it, and names one record and one chain before.
fn check_backwards(before: Digest, first: u64, received: &[Received], (chain, hash): (Digest, Digest)) -> Result<(), ApplyError> {
    let (mut chain, mut hash) = (chain, hash);
    for (at, record) in received.iter().enumerate().rev() {
        let seq = first + at as u64;
        if record.leaf.seq != seq || chain_next(&record.leaf.chain_hash, &hash) != chain {
            return Err(refuse(format!("the chain does not go back to record {seq} as it was sent")));
        }
        (chain, hash) = (record.leaf.chain_hash, record.hash);
    }
    match chain_next(&before, &hash) == chain {
        true => Ok(()),
        false => Err(refuse(format!("record {first} is not the one that the chain goes back to"))),
    }
}
