//! A disk that forgets what was not synced.

use std::cell::RefCell;
use std::rc::Rc;

use raft::{Error, GetEntriesContext, RaftState, Storage, StorageError};
use vermilion_consensus::{BoxError, ConfState, Entry, HardState, LogBatch, LogWriter, NodeId, Snapshot};

/// A log: entries from `base` on.
#[derive(Clone, Default)]
struct Log {
    base: u64,
    base_term: u64,
    entries: Vec<Entry>,
    hard_state: HardState,
    conf_state: ConfState,
}

impl Log {
    fn last(&self) -> u64 {
        self.base + self.entries.len() as u64
    }

    fn term(&self, index: u64) -> Option<u64> {
        match index.checked_sub(self.base)? {
            0 => Some(self.base_term),
            n => self.entries.get(n as usize - 1).map(|e| e.term),
        }
    }

    fn write(&mut self, batch: &LogBatch) -> Result<(), String> {
        if let Some(snapshot) = &batch.snapshot {
            let meta = snapshot.metadata.clone().unwrap_or_default();
            (self.base, self.base_term) = (meta.index, meta.term);
            self.conf_state = meta.conf_state.unwrap_or_default();
            self.entries.clear();
        }
        if let Some(first) = batch.entries.first() {
            if first.index <= self.base || first.index > self.last() + 1 {
                return Err(format!("entry {} written to a log of ({}, {}]", first.index, self.base, self.last()));
            }
            self.entries.truncate((first.index - self.base) as usize - 1);
            self.entries.extend(batch.entries.iter().cloned());
        }
        if let Some(hard_state) = &batch.hard_state {
            self.hard_state = hard_state.clone();
        }
        Ok(())
    }

    fn cut(&mut self, index: u64) {
        if let (Some(term), true) = (self.term(index), index > self.base) {
            self.entries.drain(..(index - self.base) as usize);
            (self.base, self.base_term) = (index, term);
        }
    }
}

/// What reads see, and what a crash leaves. They are the same, unless a bug is planted.
#[derive(Default)]
struct Core {
    visible: Log,
    durable: Log,
    snapshot: Option<Snapshot>,
}

#[derive(Clone, Default)]
pub struct Disk(Rc<RefCell<Core>>);

impl Disk {
    pub fn new(voters: &[NodeId]) -> Self {
        let disk = Self::default();
        let conf_state = ConfState { voters: voters.to_vec(), ..ConfState::default() };
        let log = Log { conf_state, ..Log::default() };
        disk.0.borrow_mut().visible = log.clone();
        disk.0.borrow_mut().durable = log;
        disk
    }

    /// Shows a batch to readers although it isn't synced: only for the planted bug.
    pub fn show(&self, batch: &LogBatch) -> Result<(), String> {
        self.0.borrow_mut().visible.write(batch)
    }

    /// Syncs a batch that `show` showed.
    pub fn sync(&self, batch: &LogBatch) -> Result<(), String> {
        let mut core = self.0.borrow_mut();
        core.durable.write(batch)?;
        core.snapshot = batch.snapshot.clone().or(core.snapshot.take());
        Ok(())
    }

    pub fn crash(&self) {
        let mut core = self.0.borrow_mut();
        core.visible = core.durable.clone();
    }

    /// The configuration as of what the state machine made durable.
    pub fn set_conf(&self, conf: &ConfState) {
        let mut core = self.0.borrow_mut();
        core.visible.conf_state = conf.clone();
        core.durable.conf_state = conf.clone();
    }

    /// True if a crash now would leave this entry, or a snapshot in its place.
    pub fn holds(&self, index: u64, term: u64) -> bool {
        let log = &self.0.borrow().durable;
        index <= log.base || log.term(index) == Some(term)
    }

    pub fn first_index(&self) -> u64 {
        self.0.borrow().visible.base + 1
    }

    /// Keeps a snapshot of the state at `index`.
    pub fn keep(&self, index: u64, data: Vec<u8>) {
        let mut core = self.0.borrow_mut();
        let Some(term) = core.durable.term(index).filter(|_| index > 0) else { return };
        let mut snapshot = Snapshot { data, ..Snapshot::default() };
        let conf_state = core.durable.conf_state.clone();
        let meta = snapshot.mut_metadata();
        (meta.index, meta.term) = (index, term);
        meta.conf_state = Some(conf_state);
        core.snapshot = Some(snapshot);
    }

    /// Keeps the log from `keep` on.
    pub fn compact(&self, keep: u64) {
        let mut core = self.0.borrow_mut();
        core.visible.cut(keep);
        core.durable.cut(keep);
    }
}

impl LogWriter for Disk {
    fn write(&mut self, batch: LogBatch) -> Result<(), BoxError> {
        self.show(&batch)?;
        self.sync(&batch)?;
        Ok(())
    }
}

fn unavailable<T>() -> raft::Result<T> {
    Err(Error::Store(StorageError::Unavailable))
}

impl Storage for Disk {
    fn initial_state(&self) -> raft::Result<RaftState> {
        let log = &self.0.borrow().visible;
        Ok(RaftState { hard_state: log.hard_state.clone(), conf_state: log.conf_state.clone() })
    }

    fn entries(&self, low: u64, high: u64, max: impl Into<Option<u64>>, _: GetEntriesContext) -> raft::Result<Vec<Entry>> {
        let log = &self.0.borrow().visible;
        if low <= log.base {
            return Err(Error::Store(StorageError::Compacted));
        }
        if high > log.last() + 1 {
            return unavailable();
        }
        let mut entries = log.entries[(low - log.base) as usize - 1..(high - log.base) as usize - 1].to_vec();
        raft::util::limit_size(&mut entries, max.into());
        Ok(entries)
    }

    fn term(&self, index: u64) -> raft::Result<u64> {
        let log = &self.0.borrow().visible;
        match log.term(index) {
            Some(term) => Ok(term),
            None if index < log.base => Err(Error::Store(StorageError::Compacted)),
            None => unavailable(),
        }
    }

    fn first_index(&self) -> raft::Result<u64> {
        Ok(self.0.borrow().visible.base + 1)
    }

    fn last_index(&self) -> raft::Result<u64> {
        Ok(self.0.borrow().visible.last())
    }

    fn snapshot(&self, index: u64, _: u64) -> raft::Result<Snapshot> {
        match &self.0.borrow().snapshot {
            Some(s) if s.get_metadata().index >= index => Ok(s.clone()),
            _ => Err(Error::Store(StorageError::SnapshotTemporarilyUnavailable)),
        }
    }
}
