//! What no run may contradict.

use std::collections::BTreeMap;

use vermilion_consensus::{Change, ConfState, Entry, EntryType, NodeId};

use crate::machine::{Judged, Machine, admit, ban};
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
    /// How often a driver was told that another node is out of reach.
    pub unreachable: u64,
    pub refusals: u64,
    pub snapshots: u64,
    pub reads: u64,
    pub dropped: u64,
    /// Of these, the ones that honest nodes should hardly ever send: late ones of an earlier term, at most.
    pub impossible: u64,
    pub blocks: u64,
    /// Founding configuration at 0, then each one that took effect, by the index of the change.
    confs: BTreeMap<u64, ConfState>,
    /// What each change came to, learned from whoever applies first.
    changes: BTreeMap<u64, Judged>,
    pub added: u64,
    pub promoted: u64,
    pub removed: u64,
    /// Changes that were proposed without approval and had no effect.
    pub refused_changes: u64,
    /// Bans of the node that led.
    pub banned_leaders: u64,
}

impl Oracle {
    /// A node leads in a term. Returns true if that is news.
    pub fn leads(&mut self, term: u64, node: usize) -> Result<bool, String> {
        match self.leaders.insert(term, node) {
            Some(other) if other != node => Err(format!("two leaders in term {term}: {} and {}", other + 1, node + 1)),
            known => Ok(known.is_none()),
        }
    }

    /// Who founded the group.
    pub fn founded(&mut self, founders: &[NodeId]) {
        self.confs.insert(0, ConfState { voters: founders.to_vec(), ..ConfState::default() });
    }

    /// A node applies an entry. `holds` tells whether another node's disk has it for good.
    pub fn entry(&mut self, entry: &Entry, node: usize, holds: impl Fn(NodeId) -> bool) -> Result<(), String> {
        let print = fnv(fnv(entry.term, &entry.entry_type.to_be_bytes()), &entry.data);
        if !self.entries.contains_key(&entry.index) {
            // A leader counts by the configuration that it applied: all changes before this entry, or all but one.
            let majority = |conf: &ConfState| conf.voters.iter().filter(|id| holds(**id)).count() * 2 > conf.voters.len();
            if !self.confs.range(..entry.index).rev().take(2).any(|(_, conf)| majority(conf)) {
                return Err(format!("node {} applies entry {}, which no majority of voters holds", node + 1, entry.index));
            }
        }
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

    /// A node judged a membership change, with these records before it.
    pub fn change(&mut self, judged: &Judged, records: &[u64], node: usize) -> Result<(), String> {
        let Judged { index, change, conf, .. } = judged;
        if let Some(known) = self.changes.get(index) {
            return if known == judged { Ok(()) } else { Err(format!("node {}: {judged:?}, elsewhere {known:?}", node + 1)) };
        }
        self.changes.insert(*index, judged.clone());
        let Some(conf) = conf else {
            self.refused_changes += 1;
            return Ok(());
        };
        let id = change.node();
        let founder = self.confs.get(&0).is_some_and(|c| c.voters.contains(&id));
        let (admitted, banned) = (founder || records.contains(&admit(id)), records.contains(&ban(id)));
        let (votes, learns) = (conf.voters.contains(&id), conf.learners.contains(&id));
        let sound = match change {
            Change::AddLearner(_) => admitted && !banned && learns && !votes,
            Change::Promote(_) => admitted && !banned && votes && !learns,
            Change::Remove(_) => banned && !votes && !learns,
        };
        let before = self.confs.range(..index).next_back().map(|(_, c)| c.clone()).unwrap_or_default();
        let others = |c: &ConfState| (without(&c.voters, id), without(&c.learners, id));
        if !sound || others(&before) != others(conf) {
            return Err(format!("node {}: a change that nobody approved takes effect: {judged:?} after {before:?}", node + 1));
        }
        self.confs.insert(*index, conf.clone());
        match change {
            Change::AddLearner(_) => self.added += 1,
            Change::Promote(_) => self.promoted += 1,
            Change::Remove(_) => self.removed += 1,
        }
        Ok(())
    }

    /// A snapshot is installed: its state must be a piece of history.
    pub fn snapshot(&mut self, machine: &Machine) -> Result<(), String> {
        self.snapshots += 1;
        let conf = self.confs.range(..=machine.applied.index).next_back().map(|(_, conf)| conf);
        match self.history.starts_with(&machine.records) {
            true if conf == Some(&machine.conf) => Ok(()),
            true => Err(format!("a snapshot at {:?} holds {:?}, not {conf:?}", machine.applied.index, machine.conf)),
            false => Err("a snapshot holds another history".into()),
        }
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

fn without(ids: &[NodeId], id: NodeId) -> Vec<NodeId> {
    ids.iter().copied().filter(|other| *other != id).collect()
}
