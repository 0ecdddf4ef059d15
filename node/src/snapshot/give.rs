//! Giving a state: the rows of the registry as of a commitment record, read from one moment of the
//! database, while blocks go on being applied.

use super::{PART_BYTES, tail_from};
use crate::answers::internal;
use crate::grpc::status;
use crate::node::Node;
use crate::peer_service::with_content;
use std::cell::RefCell;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::runtime::Handle;
use tokio::sync::mpsc::Sender;
use tonic::Status;
use vermilion_ledger::{TileStore, Tree};
use vermilion_proto::{LedgerHead, Message as _, StateBasis, StatePart, StateRow, StateRows, StateTile, state_part::Of};
use vermilion_registry::{Kv as _, query, stored};
use vermilion_storage::{Place, StateSnapshot, StorageError, Store};

/// How long to wait for a moment at which the newest record is a commitment.
const MOMENT: Duration = Duration::from_secs(20);
/// How long to wait for the quorum of a commitment's checkpoint.
const QUORUM: Duration = Duration::from_secs(10);
/// How long the taker may take for one part: a slow one keeps old rows on the disk.
const PART: Duration = Duration::from_secs(30);
const LOOK: Duration = Duration::from_millis(2);

/// Sends the state as of a commitment record, once there is one: checkpoint, last records, tiles of the
/// edge, rows. Blocks its thread.
pub fn give(node: &Arc<Node>, at_least: u64, to: &Sender<Result<StatePart, Status>>) {
    let send = |of: Of| {
        let sending = tokio::time::timeout(PART, to.send(Ok(StatePart { of: Some(of) })));
        Handle::current().block_on(sending).is_ok_and(|sent| sent.is_ok())
    };
    if let Err(refused) = try_give(node, at_least, &send) {
        let _ = Handle::current().block_on(tokio::time::timeout(PART, to.send(Err(refused))));
    }
}

fn try_give(node: &Node, at_least: u64, send: &dyn Fn(Of) -> bool) -> Result<(), Status> {
    let store = &node.store;
    let (snapshot, head, place) = moment(store, at_least)?;
    let checkpoint = quorate(node, head.size)?;
    let inclusion = node.edge.tree().inclusion(store, head.size, head.size - 1).map_err(|e| failed(&e))?;
    let basis = StateBasis {
        checkpoint,
        head: head.encode_to_vec(),
        inclusion: inclusion.iter().map(|hash| hash.to_vec()).collect(),
        index: place.index,
        term: place.term,
        voters: place.group.voters,
        learners: place.group.learners,
        endorsements: node.witness.endorsements(head.size),
    };
    if !send(Of::Basis(basis)) {
        return Ok(());
    }
    let mut leaves = Vec::new();
    for seq in tail_from(head.size)..head.size {
        let record = store.record(seq).map_err(|e| failed(&e))?.ok_or_else(|| failed(&format!("record {seq} is missing")))?;
        if seq >= head.size - head.size % vermilion_ledger::TILE_WIDTH as u64 {
            leaves.push(stored::open_record(&record).map_err(|e| failed(&e))?.leaf.hash());
        }
        if !send(Of::Record(with_content(store, seq, record).map_err(|e| failed(&e))?)) {
            return Ok(());
        }
    }
    // What rebuilding the tree's edge reads is what the taker needs of the tiles.
    let read = Read { store, tiles: RefCell::default() };
    Tree::rebuild(head.size, &read, &leaves).map_err(|e| failed(&e))?;
    for tile in read.tiles.into_inner() {
        if !send(Of::Tile(tile)) {
            return Ok(());
        }
    }
    send_rows(&snapshot, send)
}

fn failed(error: &dyn std::fmt::Display) -> Status {
    status(&internal(error))
}

/// A moment at which the newest record is a commitment that says the state's digest.
fn moment(store: &Store, at_least: u64) -> Result<(StateSnapshot<'_>, LedgerHead, Place), Status> {
    let until = Instant::now() + MOMENT;
    loop {
        let snapshot = store.state_snapshot();
        let head = query::head(&snapshot).map_err(|e| failed(&e))?.ok_or_else(|| failed(&"the state has no head"))?;
        if head.size < at_least {
            return Err(Status::failed_precondition(format!("the ledger has {} records: so few are sooner replayed", head.size)));
        }
        let last = store.record(head.size - 1).map_err(|e| failed(&e))?;
        let leaf = last.map(|record| stored::open_record(&record)).transpose().map_err(|e| failed(&e))?.map(|open| open.leaf);
        // A block without a record may have moved the ledger's time on.
        let commitment = leaf.filter(|leaf| leaf.time_ms == head.time_ms).and_then(|leaf| leaf.commitment);
        if commitment.is_some_and(|commitment| commitment.state_digest != vermilion_ledger::UNKNOWN_STATE) {
            let place = snapshot.place().map_err(|e| failed(&e))?;
            let place = place.ok_or_else(|| Status::unavailable("this node is catching up itself: ask another"))?;
            return Ok((snapshot, head, place));
        }
        if Instant::now() > until {
            return Err(Status::unavailable("no commitment record came that a state could be given as of: ask again"));
        }
        std::thread::sleep(LOOK);
    }
}

/// The checkpoint of this size, once the quorum has cosigned it.
fn quorate(node: &Node, size: u64) -> Result<Vec<u8>, Status> {
    let until = tokio::time::Instant::now() + QUORUM;
    let mut watch = node.witness.watch();
    loop {
        let _ = watch.borrow_and_update();
        if let Some(note) = node.store.checkpoint(size).map_err(|e| failed(&e))?.filter(|note| node.witness.has_quorum(note)) {
            return Ok(note);
        }
        // Told whenever a checkpoint is made or gains a cosignature.
        let changed = Handle::current().block_on(tokio::time::timeout_at(until, watch.changed()));
        if !changed.is_ok_and(|told| told.is_ok()) {
            return Err(Status::unavailable(format!("the checkpoint of {size} records has not the quorum's cosignatures: ask again")));
        }
    }
}

/// Tiles as they are read.
struct Read<'a> {
    store: &'a Store,
    tiles: RefCell<Vec<StateTile>>,
}

impl TileStore for Read<'_> {
    type Error = StorageError;
    fn tile(&self, level: u8, index: u64) -> Result<Option<Vec<u8>>, StorageError> {
        let found = self.store.tile(level, index)?;
        if let Some(hashes) = &found {
            self.tiles.borrow_mut().push(StateTile { level: level.into(), index, hashes: hashes.clone() });
        }
        Ok(found)
    }
}

fn send_rows(snapshot: &StateSnapshot<'_>, send: &dyn Fn(Of) -> bool) -> Result<(), Status> {
    let (mut rows, mut bytes, mut there) = (Vec::new(), 0, true);
    let scanned = snapshot.scan(b"", &mut |key, value| {
        bytes += key.len() + value.len();
        rows.push(StateRow { key: key.to_vec(), value: value.to_vec() });
        if bytes >= PART_BYTES {
            there = send(Of::Rows(StateRows { rows: std::mem::take(&mut rows) }));
            bytes = 0;
        }
        there
    });
    scanned.map_err(|e| failed(&e))?;
    if there {
        send(Of::Rows(StateRows { rows }));
    }
    Ok(())
}
