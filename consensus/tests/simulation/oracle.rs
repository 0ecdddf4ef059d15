//! What no run may contradict.

use std::collections::BTreeMap;

use vermilion_consensus::{Entry, EntryType};

use crate::machine::Machine;
use crate::rng::fnv;

/// The one history that all nodes must share, learned from whoever applies first.
#[derive(Default)]
pub struct Oracle {
    /// Each applied entry's fingerprint.
    entries: BTreeMap<u64, u64>,
    /// Each record's command id.
    pub history: Vec<u64>,
    /// Who led in each term.
    leaders: BTreeMap<u64, usize>,
    /// Acknowledged commands and their positions.
    pub acknowledged: BTreeMap<u64, usize>,
    /// The highest index acknowledged so far.
    pub floor: u64,
    pub elections: u64,
    pub crashes: u64,
    pub refusals: u64,
    pub snapshots: u64,
    pub reads: u64,
    pub dropped: u64,
    /// Of these, the ones that honest nodes should hardly ever send: late ones of an earlier term, at most.
    pub impossible: u64,
    pub blocks: u64,
}

impl Oracle {
    /// A node leads in a term. Returns true if that is news.
    pub fn leads(&mut self, term: u64, node: usize) -> Result<bool, String> {
        match self.leaders.insert(term, node) {
            Some(other) if other != node => Err(format!("two leaders in term {term}: {} and {}", other + 1, node + 1)),
            known => Ok(known.is_none()),
        }
    }

    /// A node applies an entry.
    pub fn entry(&mut self, entry: &Entry, node: usize) -> Result<(), String> {
        let print = fnv(entry.term, &entry.data);
        match self.entries.insert(entry.index, print) {
            None => {
                self.blocks += u64::from(entry.entry_type == EntryType::EntryNormal as i32 && !entry.data.is_empty());
                Ok(())
            }
            Some(known) if known == print => Ok(()),
            Some(_) => Err(format!("node {} applies another entry at {} than was applied there", node + 1, entry.index)),
        }
    }

    /// A node's records from `from` on are new to it.
    pub fn records(&mut self, records: &[u64], from: usize, node: usize) -> Result<(), String> {
        for (position, id) in records.iter().enumerate().skip(from) {
            match self.history.get(position) {
                None => self.history.push(*id),
                Some(known) if known == id => {}
                Some(known) => return Err(format!("node {}: record {position} is {id}, elsewhere {known}", node + 1)),
            }
        }
        Ok(())
    }

    /// A snapshot is installed: its state must be a piece of history.
    pub fn snapshot(&mut self, machine: &Machine) -> Result<(), String> {
        self.snapshots += 1;
        if self.history.starts_with(&machine.records) { Ok(()) } else { Err("a snapshot holds another history".into()) }
    }

    /// A client was told that its command stands at a position.
    pub fn acknowledge(&mut self, id: u64, position: usize, index: u64) -> Result<(), String> {
        self.floor = self.floor.max(index);
        match (self.history.get(position), self.acknowledged.insert(id, position)) {
            (Some(known), None) if *known == id => Ok(()),
            (Some(known), Some(before)) if *known == id && before == position => Ok(()),
            (known, before) => Err(format!("command {id} acknowledged at {position}; there is {known:?}, before {before:?}")),
        }
    }

    /// A node has come to rest: it holds all of history, and in it every acknowledged command exactly once.
    pub fn complete(&self, machine: &Machine, node: usize) -> Result<(), String> {
        if machine.records != self.history {
            return Err(format!("node {} holds {} records of {}", node + 1, machine.records.len(), self.history.len()));
        }
        let mut counts: BTreeMap<u64, u32> = BTreeMap::new();
        machine.records.iter().for_each(|id| *counts.entry(*id).or_default() += 1);
        match self.acknowledged.iter().find(|(id, at)| machine.records.get(**at) != Some(*id) || counts.get(id) != Some(&1)) {
            Some((id, at)) => Err(format!("node {}: acknowledged command {id} isn't at {at} exactly once", node + 1)),
            None => Ok(()),
        }
    }
}
