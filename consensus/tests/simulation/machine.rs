//! A state machine that lists what it applied.

use std::collections::BTreeMap;

use vermilion_consensus::{Applied, BoxError, Entry, EntryType, Millis, Packer, Snapshot, StateMachine, Tip};

use crate::blocks::{Blocks, parse};

/// Invariant: `positions` holds each record's place in `records`.
#[derive(Clone, Default)]
pub struct Machine {
    pub applied: Applied,
    pub records: Vec<u64>,
    positions: BTreeMap<u64, usize>,
}

/// What a machine made durable: everything else is applied again after a crash.
#[derive(Clone, Copy, Default)]
pub struct Saved {
    pub applied: Applied,
    pub records: usize,
}

impl Machine {
    pub fn save(&self) -> Saved {
        Saved { applied: self.applied, records: self.records.len() }
    }

    pub fn restore(&mut self, saved: Saved) {
        for id in self.records.drain(saved.records..) {
            self.positions.remove(&id);
        }
        self.applied = saved.applied;
    }

    /// Where a command stands in the list, if it was applied.
    pub fn position(&self, id: u64) -> Option<usize> {
        self.positions.get(&id).copied()
    }

    /// The state as of `saved`, as a snapshot's content.
    pub fn snapshot(&self, saved: Saved) -> Vec<u8> {
        let mut bytes = saved.applied.index.to_be_bytes().to_vec();
        bytes.extend(saved.applied.tip.time.0.to_be_bytes());
        bytes.extend(saved.applied.tip.link);
        bytes.extend(self.records[..saved.records].iter().flat_map(|id| id.to_be_bytes()));
        bytes
    }

    /// The machine that a snapshot holds.
    pub fn of(snapshot: &Snapshot) -> Result<Self, String> {
        let numbers: Vec<u64> = snapshot.data.chunks_exact(8).map(|c| c.iter().fold(0, |n, b| n << 8 | u64::from(*b))).collect();
        let ([index, time, ..], true) = (numbers.as_slice(), numbers.len() >= 6) else {
            return Err("a snapshot ends early".into());
        };
        let mut link = [0; 32];
        link.copy_from_slice(&snapshot.data[16..48]);
        let records = numbers[6..].to_vec();
        let positions = records.iter().enumerate().map(|(position, id)| (*id, position)).collect();
        Ok(Self { applied: Applied { index: *index, tip: Tip { link, time: Millis(*time) } }, records, positions })
    }

    fn apply_one(&mut self, entry: &Entry) -> Result<(), String> {
        if entry.index != self.applied.index + 1 {
            return Err(format!("entry {} handed out after {}", entry.index, self.applied.index));
        }
        self.applied.index = entry.index;
        if entry.entry_type != EntryType::EntryNormal as i32 || entry.data.is_empty() {
            return Ok(());
        }
        let block = parse(&entry.data)?;
        if block.prev != self.applied.tip.link {
            return Err(format!("the block at {} doesn't follow the one before", entry.index));
        }
        if block.time < self.applied.tip.time {
            return Err(format!("time goes back at {}", entry.index));
        }
        self.applied.tip = Blocks.tip(&entry.data).map_err(|e| e.to_string())?;
        for id in block.ids {
            if let std::collections::btree_map::Entry::Vacant(vacant) = self.positions.entry(id) {
                vacant.insert(self.records.len());
                self.records.push(id);
            }
        }
        Ok(())
    }
}

impl StateMachine for Machine {
    fn apply(&mut self, entries: Vec<Entry>) -> Result<u64, BoxError> {
        entries.iter().try_for_each(|entry| self.apply_one(entry))?;
        Ok(self.applied.index)
    }

    fn applied(&self) -> u64 {
        self.applied.index
    }
}
