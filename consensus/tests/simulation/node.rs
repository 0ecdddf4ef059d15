//! One simulated node: driver, disk, machine, and who waits at it.

use std::collections::{BTreeMap, VecDeque};

use slog::{Discard, Logger, o};
use vermilion_consensus::{Driver, DriverConfig, Entry, NodeId, Write};

use crate::blocks::Blocks;
use crate::disk::Disk;
use crate::machine::{Machine, Saved};

/// Bugs to plant in the runtime, to see that the simulator finds them. They live in the test alone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Bug {
    None,
    /// A write is reported, and acknowledged, when it is handed over: before it is synced.
    EarlyAcknowledge,
    /// Entries are applied when they are appended: before a majority holds them.
    EarlyApply,
}

/// A client's read at this node.
pub struct Read {
    pub client: usize,
    pub token: u64,
    /// The highest index acknowledged to anyone when the read began.
    pub floor: u64,
    /// The index to wait for, once known.
    pub index: Option<u64>,
}

pub struct Node {
    pub id: NodeId,
    /// `None` while it is down.
    pub driver: Option<Driver<Disk, Blocks>>,
    /// Counts starts: what an earlier life left in the queue is void.
    pub life: u64,
    pub disk: Disk,
    pub machine: Machine,
    pub saved: Saved,
    pub writing: VecDeque<Write>,
    pub applying: VecDeque<Vec<Entry>>,
    /// Command id to the clients that wait for it here.
    pub waiters: BTreeMap<u64, usize>,
    pub reads: Vec<Read>,
    /// Milliseconds that a write takes at most, for now.
    pub slowness: u64,
}

impl Node {
    pub fn new(id: NodeId, voters: &[NodeId]) -> Self {
        Self {
            id,
            driver: None,
            life: 0,
            disk: Disk::new(voters),
            machine: Machine::default(),
            saved: Saved::default(),
            writing: VecDeque::new(),
            applying: VecDeque::new(),
            waiters: BTreeMap::new(),
            reads: Vec::new(),
            slowness: 10,
        }
    }

    /// Starts from what is durable.
    pub fn start(&mut self, seed: u64) -> Result<(), String> {
        let mut config = DriverConfig::new(self.id, seed);
        config.max_block_commands = 3;
        config.max_pending_commands = 16;
        config.max_unapplied_entries = 8;
        // Small enough that catching up goes in several portions.
        config.max_apply_bytes = 1024;
        let logger = Logger::root(Discard, o!());
        let driver = Driver::new(config, self.disk.clone(), Blocks, self.saved.applied, &logger);
        self.driver = Some(driver.map_err(|e| format!("node {} does not start: {e}", self.id))?);
        self.life += 1;
        Ok(())
    }

    /// Loses everything that isn't durable. `written` writes that were on their way made it, although nobody was told.
    pub fn crash(&mut self, written: usize) -> Result<(), String> {
        self.driver = None;
        for write in self.writing.drain(..).take(written) {
            self.disk.sync(&write.batch)?;
            if let Some(snapshot) = &write.batch.snapshot {
                self.machine = Machine::of(snapshot)?;
                self.saved = self.machine.save();
            }
        }
        self.disk.crash();
        self.machine.restore(self.saved);
        self.applying.clear();
        self.waiters.clear();
        self.reads.clear();
        Ok(())
    }

    /// Makes the machine's state durable, and cuts the log off some way below it.
    pub fn save(&mut self, compact: bool, tail: u64) {
        self.saved = self.machine.save();
        let index = self.saved.applied.index;
        if compact && index > self.disk.first_index() + 20 {
            self.disk.compact(index, self.machine.snapshot(self.saved), index.saturating_sub(tail));
        }
    }
}
