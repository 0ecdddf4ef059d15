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
    /// Every membership change that fits takes effect, whether it was approved of or not.
    Unapproved,
    /// Raft is told that a learner is a voter.
    LearnerCounted,
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
    /// Until then its disk completes nothing.
    pub hangs_until: u64,
}

impl Node {
    /// A node with an empty disk. All know the founders; who joins later is not one of them.
    pub fn new(id: NodeId, founders: &[NodeId], bug: Bug) -> Self {
        let machine = Machine::new(founders, bug == Bug::Unapproved);
        Self {
            id,
            driver: None,
            life: 0,
            disk: Disk::new(founders),
            saved: machine.save(),
            machine,
            writing: VecDeque::new(),
            applying: VecDeque::new(),
            waiters: BTreeMap::new(),
            reads: Vec::new(),
            slowness: 10,
            hangs_until: 0,
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
        config.caught_up_entries = 4;
        let logger = Logger::root(Discard, o!());
        let driver = Driver::new(config, self.disk.clone(), Blocks(self.id), self.saved.applied, &logger);
        let mut driver = driver.map_err(|e| format!("node {} does not start: {e}", self.id))?;
        driver.set_standings(self.machine.standings.clone());
        self.driver = Some(driver);
        self.life += 1;
        Ok(())
    }

    /// Loses everything that isn't durable. `written` writes that were on their way made it, although nobody was told.
    pub fn crash(&mut self, written: usize) -> Result<(), String> {
        self.driver = None;
        for write in self.writing.drain(..).take(written) {
            self.disk.sync(&write.batch)?;
            if let Some(snapshot) = &write.batch.snapshot {
                self.machine = self.machine.of(snapshot)?;
                self.saved = self.machine.save();
            }
        }
        self.disk.crash();
        self.machine.restore(self.saved.clone());
        self.applying.clear();
        self.waiters.clear();
        self.reads.clear();
        Ok(())
    }

    /// Makes the machine's state durable, and cuts the log off some way below it. A snapshot is always of the state as it is
    /// durable, as a node's is: one from before a node joined would be refused by that node, and on a quiet ledger no other
    /// would be made.
    pub fn save(&mut self, compact: bool, tail: u64) {
        self.saved = self.machine.save();
        // Configuration and applied index become durable together.
        self.disk.set_conf(&self.saved.conf);
        let index = self.saved.applied.index;
        self.disk.keep(index, self.machine.snapshot(&self.saved));
        if compact && index > self.disk.first_index() + 20 {
            self.disk.compact(index.saturating_sub(tail));
        }
    }
}
