//! The log as raft sees it: what is stored, under what is on its way to storage.
//!
//! Raft 0.7's asynchronous ready wants every entry that it handed out to be readable at once, while the write is still
//! running on another thread. The window answers for it: entries, and a snapshot's place, from the moment they are handed
//! out until their write is reported durable.
//!
//! Invariants:
//! - entries in flight are consecutive, and the numbers of their writes never fall with the index;
//! - where the window has an entry, it is the truth, and the store's from there on is not;
//! - after a snapshot in flight the store isn't asked at all.

use std::cell::Cell;
use std::collections::VecDeque;
use std::sync::OnceLock;

use raft::eraftpb::{Entry, HardState, Snapshot};
use raft::{Error, GetEntriesContext, RaftState, Storage, StorageError};

struct Flying {
    write: u64,
    entry: Entry,
}

/// A snapshot's place, until its write is durable.
#[derive(Clone, Copy)]
struct Base {
    write: u64,
    index: u64,
    term: u64,
}

/// A `raft::Storage` over another one.
///
/// Raft panics when a read fails, or keeps going with half an answer. The window instead keeps the first failure for the
/// driver, which looks at it before it lets anything out, and gives raft an answer that does no harm until then.
pub(crate) struct Window<L> {
    log: L,
    state: RaftState,
    flying: VecDeque<Flying>,
    base: Option<Base>,
    // The last answers of the store, for when it fails.
    first: Cell<u64>,
    last: Cell<u64>,
    fault: OnceLock<String>,
}

fn fault_of(error: &Error) -> bool {
    let Error::Store(error) = error else { return true };
    !matches!(error, StorageError::Compacted | StorageError::LogTemporarilyUnavailable | StorageError::SnapshotTemporarilyUnavailable)
}

impl<L: Storage> Window<L> {
    /// A window over a log, which tells raft this initial state.
    pub fn new(log: L, state: RaftState) -> Result<Self, Error> {
        let (first, last) = (Cell::new(log.first_index()?), Cell::new(log.last_index()?));
        Ok(Self { log, state, flying: VecDeque::new(), base: None, first, last, fault: OnceLock::new() })
    }

    /// The first failed read, if any.
    pub fn fault(&self) -> Option<&str> {
        self.fault.get().map(String::as_str)
    }

    /// The store below.
    pub fn log(&self) -> &L {
        &self.log
    }

    /// Takes in what write `number` carries.
    pub fn fly(&mut self, number: u64, snapshot: Option<&Snapshot>, entries: &[Entry]) {
        if let Some(metadata) = snapshot.and_then(|s| s.metadata.as_ref()) {
            self.flying.clear();
            self.base = Some(Base { write: number, index: metadata.index, term: metadata.term });
        }
        let Some(first) = entries.first() else { return };
        // A new leader's entries cut off the tail of the old one's.
        while self.flying.back().is_some_and(|f| f.entry.index >= first.index) {
            self.flying.pop_back();
        }
        debug_assert!(self.flying.back().is_none_or(|f| f.entry.index + 1 == first.index && f.write <= number));
        self.flying.extend(entries.iter().map(|entry| Flying { write: number, entry: entry.clone() }));
    }

    /// Drops what writes through `number` carried: the store answers for it now.
    pub fn land(&mut self, number: u64) {
        while self.flying.front().is_some_and(|f| f.write <= number) {
            self.flying.pop_front();
        }
        if self.base.is_some_and(|b| b.write <= number) {
            self.base = None;
        }
    }

    /// True if a later write replaces what stands, or stood, at `index`.
    pub fn replaces(&self, index: u64) -> bool {
        self.flying.front().is_some_and(|f| f.entry.index <= index) || self.base.is_some_and(|b| b.index >= index)
    }

    fn in_flight(&self, index: u64) -> Option<&Entry> {
        let first = self.flying.front()?.entry.index;
        let offset = usize::try_from(index.checked_sub(first)?).ok()?;
        self.flying.get(offset).map(|f| &f.entry)
    }

    fn failed<T>(&self, error: Error, harmless: T) -> T {
        let _ = self.fault.set(error.to_string());
        harmless
    }
}

impl<L: Storage> Storage for Window<L> {
    fn initial_state(&self) -> raft::Result<RaftState> {
        Ok(self.state.clone())
    }

    fn entries(&self, low: u64, high: u64, max_size: impl Into<Option<u64>>, _: GetEntriesContext) -> raft::Result<Vec<Entry>> {
        let max_size = max_size.into();
        let from = self.flying.front().map_or(high, |f| f.entry.index).min(high);
        let mut entries = Vec::new();
        if low < from {
            if self.base.is_some() {
                return Err(Error::Store(StorageError::Compacted));
            }
            // Never asynchronous: a store that answers "later" would wait for a call that nobody makes.
            match self.log.entries(low, from, max_size, GetEntriesContext::empty(false)) {
                Ok(stored) if stored.first().is_some_and(|e| e.index == low) => entries = stored,
                Ok(_) => return Ok(self.failed(Error::Store(StorageError::Unavailable), Vec::new())),
                Err(e) if !fault_of(&e) => return Err(e),
                Err(e) => return Ok(self.failed(e, Vec::new())),
            }
            if (entries.len() as u64) < from - low {
                return Ok(entries);
            }
        }
        let mut index = low.max(from);
        while index < high {
            match self.in_flight(index) {
                Some(entry) => entries.push(entry.clone()),
                None => return Ok(self.failed(Error::Store(StorageError::Unavailable), entries)),
            }
            index += 1;
        }
        raft::util::limit_size(&mut entries, max_size);
        Ok(entries)
    }

    fn term(&self, index: u64) -> raft::Result<u64> {
        if let Some(entry) = self.in_flight(index) {
            return Ok(entry.term);
        }
        if let Some(base) = self.base {
            // Below a snapshot nothing is known; raft takes 0 for that.
            return Ok(if index == base.index { base.term } else { 0 });
        }
        match self.log.term(index) {
            Ok(term) => Ok(term),
            // Compacted between two calls: the same as below the log's beginning.
            Err(Error::Store(StorageError::Compacted)) => Ok(0),
            Err(e) => Ok(self.failed(e, 0)),
        }
    }

    fn first_index(&self) -> raft::Result<u64> {
        if let Some(base) = self.base {
            return Ok(base.index + 1);
        }
        match self.log.first_index() {
            Ok(first) => self.first.set(first),
            Err(e) => self.failed(e, ()),
        }
        Ok(self.first.get())
    }

    fn last_index(&self) -> raft::Result<u64> {
        if let Some(flying) = self.flying.back() {
            return Ok(flying.entry.index);
        }
        if let Some(base) = self.base {
            return Ok(base.index);
        }
        match self.log.last_index() {
            Ok(last) => self.last.set(last),
            Err(e) => self.failed(e, ()),
        }
        Ok(self.last.get())
    }

    fn snapshot(&self, request_index: u64, to: u64) -> raft::Result<Snapshot> {
        let later = Err(Error::Store(StorageError::SnapshotTemporarilyUnavailable));
        if self.base.is_some() {
            return later;
        }
        match self.log.snapshot(request_index, to) {
            // Raft panics on an empty one, and a follower refuses one without a configuration.
            Ok(snapshot) if snapshot.metadata.as_ref().is_some_and(|m| m.index > 0) => Ok(snapshot),
            Ok(_) => later,
            Err(e) if fault_of(&e) && e != Error::Store(StorageError::SnapshotOutOfDate) => self.failed(e, later),
            Err(_) => later,
        }
    }
}

/// The state raft starts from: what is stored, with the commit index raised to what was applied.
///
/// The stored commit index is a lower bound, for it is written along with the next entries only; what was applied was
/// committed. Everything that raft would panic on is refused here with a reason.
pub(crate) fn initial_state<L: Storage>(log: &L, applied: u64) -> Result<RaftState, String> {
    let read = |e: Error| format!("it cannot be read: {e}");
    let mut state = log.initial_state().map_err(read)?;
    let (first, last) = (log.first_index().map_err(read)?, log.last_index().map_err(read)?);
    if first == 0 || last + 1 < first {
        return Err(format!("entries {first} to {last}"));
    }
    let anchor = log.term(first - 1).map_err(|e| format!("the term at {}, where it was cut off, is unknown: {e}", first - 1))?;
    let last_term = log.term(last).map_err(|e| format!("the term at its end, {last}, is unknown: {e}"))?;
    let HardState { term, commit, .. } = state.hard_state;
    if anchor > last_term || last_term > term {
        return Err(format!("terms {anchor} at {}, {last_term} at {last}, but the vote is of term {term}", first - 1));
    }
    if commit > last {
        return Err(format!("committed through {commit}, but the log ends at {last}"));
    }
    if applied > last {
        return Err(format!("applied through {applied}, but the log ends at {last}"));
    }
    if applied + 1 < first {
        return Err(format!("applied through {applied}, but the log begins at {first}"));
    }
    // A node that nobody added yet has no configuration; raft learns it from the first snapshot or change.
    if state.initialized() && !crate::check::restorable(&state.conf_state) {
        return Err("its configuration contradicts itself".to_owned());
    }
    state.hard_state.commit = commit.max(applied);
    Ok(state)
}
