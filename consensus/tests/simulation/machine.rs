//! A state machine that lists what it applied, and knows who was admitted and who was banned.

use std::collections::BTreeMap;

use vermilion_consensus::{
    Applied, BoxError, Change, ConfState, Entry, MembershipRule, Millis, NodeId, Packer, Snapshot, Standing, StateMachine, Tip,
};

use crate::blocks::{Blocks, parse, proposal};

/// Ids of commands that admit a node, and of those that ban it: the kind above, the node below. Anything else is an
/// ordinary command.
const ADMIT: u64 = 1 << 56;
const BAN: u64 = 2 << 56;

pub fn admit(node: NodeId) -> u64 {
    ADMIT | node
}

pub fn ban(node: NodeId) -> u64 {
    BAN | node
}

/// What a change came to.
#[derive(Clone, PartialEq, Debug)]
pub struct Judged {
    pub index: u64,
    pub change: Change,
    pub proposer: NodeId,
    /// The configuration that it gave, if it was approved of.
    pub conf: Option<ConfState>,
}

/// Invariants: `positions` holds each record's place in `records`; `standings` follows from `founders` and `records`.
#[derive(Clone, Default)]
pub struct Machine {
    pub applied: Applied,
    pub records: Vec<u64>,
    pub conf: ConfState,
    pub standings: BTreeMap<NodeId, Standing>,
    /// Membership changes applied since somebody last took them.
    pub judged: Vec<Judged>,
    /// The planted bug: approves of everything that fits.
    careless: bool,
    founders: Vec<NodeId>,
    positions: BTreeMap<u64, usize>,
}

/// What a machine made durable: everything else is applied again after a crash.
#[derive(Clone, Default)]
pub struct Saved {
    pub applied: Applied,
    pub records: usize,
    pub conf: ConfState,
}

impl Machine {
    pub fn new(founders: &[NodeId], careless: bool) -> Self {
        let conf = ConfState { voters: founders.to_vec(), ..ConfState::default() };
        let standings = founders.iter().map(|id| (*id, Standing::Voter)).collect();
        Self { conf, standings, careless, founders: founders.to_vec(), ..Self::default() }
    }

    pub fn save(&self) -> Saved {
        Saved { applied: self.applied, records: self.records.len(), conf: self.conf.clone() }
    }

    pub fn restore(&mut self, saved: Saved) {
        let records = self.records[..saved.records].to_vec();
        *self = Self { applied: saved.applied, conf: saved.conf, ..self.with(records) };
    }

    /// The same machine with other records.
    fn with(&self, records: Vec<u64>) -> Self {
        let mut machine = Self::new(&self.founders, self.careless);
        records.into_iter().for_each(|id| machine.record(id));
        machine
    }

    /// Where a command stands in the list, if it was applied.
    pub fn position(&self, id: u64) -> Option<usize> {
        self.positions.get(&id).copied()
    }

    /// The state as of `saved`, as a snapshot's content.
    pub fn snapshot(&self, saved: &Saved) -> Vec<u8> {
        let mut bytes = saved.applied.index.to_be_bytes().to_vec();
        bytes.extend(saved.applied.tip.time.0.to_be_bytes());
        bytes.extend(saved.applied.tip.link);
        bytes.extend(self.records[..saved.records].iter().flat_map(|id| id.to_be_bytes()));
        bytes
    }

    /// What this machine is once it has a snapshot's state.
    pub fn of(&self, snapshot: &Snapshot) -> Result<Self, String> {
        let numbers: Vec<u64> = snapshot.data.chunks_exact(8).map(|c| c.iter().fold(0, |n, b| n << 8 | u64::from(*b))).collect();
        let ([index, time, ..], true) = (numbers.as_slice(), numbers.len() >= 6) else {
            return Err("a snapshot ends early".into());
        };
        let mut link = [0; 32];
        link.copy_from_slice(&snapshot.data[16..48]);
        let applied = Applied { index: *index, tip: Tip { link, time: Millis(*time) } };
        let mut conf = snapshot.get_metadata().get_conf_state().clone();
        conf.voters.sort_unstable();
        conf.learners.sort_unstable();
        Ok(Self { applied, conf, ..self.with(numbers[6..].to_vec()) })
    }

    fn record(&mut self, id: u64) {
        let std::collections::btree_map::Entry::Vacant(vacant) = self.positions.entry(id) else { return };
        vacant.insert(self.records.len());
        self.records.push(id);
        let node = id & 0xffff;
        let standing = self.standings.get(&node).copied().unwrap_or_default();
        match (id & !0xffff, standing) {
            (ADMIT, Standing::Unknown) => drop(self.standings.insert(node, Standing::Voter)),
            (BAN, Standing::Voter) => drop(self.standings.insert(node, Standing::Out)),
            _ => {}
        }
    }

    fn apply_one(&mut self, entry: &Entry) -> Result<(), String> {
        if entry.index != self.applied.index + 1 {
            return Err(format!("entry {} handed out after {}", entry.index, self.applied.index));
        }
        self.applied.index = entry.index;
        if let Some((change, proposer)) = proposal(entry)? {
            let mut standing = self.standing(change.node()).map_err(|e| e.to_string())?;
            if self.careless {
                standing = if matches!(change, Change::Remove(_)) { Standing::Out } else { Standing::Voter };
            }
            let conf = change.judge(standing, &self.conf).ok();
            self.conf = conf.clone().unwrap_or(std::mem::take(&mut self.conf));
            self.judged.push(Judged { index: entry.index, change, proposer, conf });
            return Ok(());
        }
        if entry.data.is_empty() {
            return Ok(());
        }
        let block = parse(&entry.data)?;
        if block.prev != self.applied.tip.link {
            return Err(format!("the block at {} doesn't follow the one before", entry.index));
        }
        if block.time < self.applied.tip.time {
            return Err(format!("time goes back at {}", entry.index));
        }
        self.applied.tip = Blocks(0).tip(&entry.data).map_err(|e| e.to_string())?;
        block.ids.into_iter().for_each(|id| self.record(id));
        Ok(())
    }
}

impl MembershipRule for Machine {
    fn standing(&self, node: NodeId) -> Result<Standing, BoxError> {
        Ok(self.standings.get(&node).copied().unwrap_or_default())
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
