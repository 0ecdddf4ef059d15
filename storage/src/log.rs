//! The Raft log: a RocksDB column with its newest entries also in memory.

use crate::{StorageError, columns, entry, watermark::WatermarkFile};
use raft::eraftpb::{ConfState, Entry, HardState, Snapshot};
use raft::{GetEntriesContext, RaftState, StorageError as RaftStorageError};
use rocksdb::{DB, Direction, FlushOptions, IteratorMode, ReadOptions, WriteBatch, WriteOptions};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use vermilion_consensus::{BoxError, LogBatch, LogWriter};

/// Newest entries kept in memory, by the bytes of their data: what followers are usually sent.
const TAIL_BYTES: usize = 48 << 20;

/// What a row takes in a batch beside its value, generously.
pub(crate) const ROW_ROOM: usize = 32;

/// How much of the log is kept behind the applied index.
#[derive(Clone, Copy, Debug)]
pub struct Truncation {
    /// Entries kept whatever their size, for a follower that is a little behind.
    pub keep_entries: u64,
    /// No more bytes than this behind the applied index.
    pub keep_bytes: u64,
    /// Fewer than this are not worth a truncation, unless a fifth of `keep_bytes` goes with them; at 1 each is.
    pub step: u64,
}

/// What a snapshot message of this node says: the ledger's extent at the applied index.
#[derive(Clone, Debug, Default)]
pub(crate) struct SnapshotBase {
    pub index: u64,
    pub term: u64,
    pub manifest: Vec<u8>,
}

#[derive(Default)]
struct State {
    /// Index and term of the last entry that is no longer there.
    truncated: (u64, u64),
    last_index: u64,
    tail: VecDeque<Entry>,
    tail_bytes: usize,
    hard: HardState,
    conf: ConfState,
    base: SnapshotBase,
    /// Sizes of the entries from `truncated.0 + 1` on, for truncation by bytes.
    sizes: VecDeque<u32>,
    /// Their sum.
    bytes: u64,
}

/// The log's state, shared by the reader in the driver, the writer thread and the applier.
pub struct LogShared {
    db: Arc<DB>,
    state: RwLock<State>,
    file: Mutex<Option<WatermarkFile>>,
    /// Held while the log's beginning moves: the applier cuts it off, and the writer sets it to where a snapshot is.
    beginning: Mutex<()>,
}

/// Reads the log for `raft` and writes nothing.
#[derive(Clone)]
pub struct LogStore(pub(crate) Arc<LogShared>);

/// Writes the log: the only writer of its column.
pub struct LogHandle(pub(crate) Arc<LogShared>);

impl LogShared {
    pub(crate) fn open(db: Arc<DB>, file: Option<WatermarkFile>) -> Result<Self, StorageError> {
        let shared = Self { db, state: RwLock::default(), file: Mutex::new(file), beginning: Mutex::default() };
        let mut state = State::default();
        if let Some(bytes) = shared.meta(columns::META_TRUNCATED)? {
            match entry::decode_numbers(&bytes)?[..] {
                [index, term] => state.truncated = (index, term),
                _ => return Err(StorageError::damaged("the log's first index does not decode")),
            }
        }
        if let Some(bytes) = shared.meta(columns::META_HARD_STATE)? {
            state.hard = entry::decode_hard_state(&bytes)?;
        }
        if let Some(bytes) = shared.meta(columns::META_CONF_STATE)? {
            state.conf = entry::decode_conf_state(&bytes)?;
        }
        state.last_index = state.truncated.0;
        let column = shared.column()?;
        let mut last_term = state.truncated.1;
        // Nobody is sent entries of a directory that is only audited.
        let keeps_tail = shared.file().is_some();
        let mut options = ReadOptions::default();
        options.fill_cache(false);
        let mut rows = shared.db.raw_iterator_cf_opt(column, options);
        // What was dropped may still lie before it, until its file goes.
        rows.seek(columns::seq(state.truncated.0 + 1));
        while let Some((key, value)) = rows.item() {
            let entry = entry::parse(value)?;
            if columns::number(key) != Some(entry.index) || entry.index != state.last_index + 1 {
                return Err(StorageError::damaged(format!(
                    "the Raft log has a gap: entry {} follows entry {}",
                    entry.index, state.last_index
                )));
            }
            if entry.term < last_term {
                return Err(StorageError::damaged(format!("Raft log entry {} has a term before its predecessor's", entry.index)));
            }
            last_term = entry.term;
            if keeps_tail {
                state.push(entry.to_entry());
            } else {
                state.count(entry.index, entry.data.len());
            }
            rows.next();
        }
        rows.status()?;
        drop(rows);
        *shared.write_state() = state;
        Ok(shared)
    }

    fn column(&self) -> Result<&rocksdb::ColumnFamily, StorageError> {
        self.cf(columns::LOG)
    }

    fn cf(&self, name: &str) -> Result<&rocksdb::ColumnFamily, StorageError> {
        self.db.cf_handle(name).ok_or_else(|| StorageError::damaged(format!("the column {name} is missing")))
    }

    fn meta(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StorageError> {
        Ok(self.db.get_cf(self.cf(columns::META)?, key)?)
    }

    fn state(&self) -> RwLockReadGuard<'_, State> {
        // A panic while holding the lock has already stopped the node.
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_state(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn file(&self) -> MutexGuard<'_, Option<WatermarkFile>> {
        self.file.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn beginning(&self) -> MutexGuard<'_, ()> {
        self.beginning.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The log's first and last index; first = last + 1 when it is empty.
    pub(crate) fn range(&self) -> (u64, u64) {
        let state = self.state();
        (state.truncated.0 + 1, state.last_index)
    }

    pub(crate) fn hard_state(&self) -> HardState {
        self.state().hard.clone()
    }

    pub(crate) fn conf_state(&self) -> ConfState {
        self.state().conf.clone()
    }

    pub(crate) fn set_conf_state(&self, conf: ConfState) {
        self.write_state().conf = conf;
    }

    /// What a commit changed, at once: a snapshot must never say a configuration of another index.
    pub(crate) fn set_applied(&self, base: Option<SnapshotBase>, conf: Option<ConfState>) {
        let mut state = self.write_state();
        state.base = base.unwrap_or(std::mem::take(&mut state.base));
        state.conf = conf.unwrap_or(std::mem::take(&mut state.conf));
    }

    pub(crate) fn term(&self, index: u64) -> Result<Option<u64>, StorageError> {
        {
            let state = self.state();
            if index == state.truncated.0 {
                return Ok(Some(state.truncated.1));
            }
            if index < state.truncated.0 || index > state.last_index {
                return Ok(None);
            }
            if let Some(entry) = state.in_tail(index) {
                return Ok(Some(entry.term));
            }
        }
        Ok(self.read(index)?.map(|e| e.term))
    }

    fn read(&self, index: u64) -> Result<Option<Entry>, StorageError> {
        self.db.get_pinned_cf(self.column()?, columns::seq(index))?.map(|bytes| entry::decode(&bytes)).transpose()
    }

    /// Entries `[low, high)` as far as `max_bytes` allows, but at least one.
    pub(crate) fn entries(&self, low: u64, high: u64, max_bytes: Option<u64>) -> Result<Vec<Entry>, StorageError> {
        let max_bytes = max_bytes.unwrap_or(u64::MAX);
        let mut out = Vec::new();
        let mut bytes = 0u64;
        let mut take = |entry: Entry, out: &mut Vec<Entry>| {
            bytes += entry.data.len() as u64 + 32;
            if !out.is_empty() && bytes > max_bytes {
                return false;
            }
            out.push(entry);
            true
        };
        let tail_first = {
            let state = self.state();
            let first = state.tail.front().map_or(u64::MAX, |e| e.index);
            if low >= first {
                for index in low..high {
                    match state.in_tail(index) {
                        Some(entry) if take(entry.clone(), &mut out) => {}
                        _ => break,
                    }
                }
                return Ok(out);
            }
            first
        };
        for row in self.db.iterator_cf(self.column()?, IteratorMode::From(&columns::seq(low), Direction::Forward)) {
            let (_, value) = row?;
            let entry = entry::decode(&value)?;
            if entry.index >= high || entry.index >= tail_first && entry.index != low + out.len() as u64 || !take(entry, &mut out) {
                break;
            }
        }
        Ok(out)
    }

    /// Entries and hard state in one synced batch; a snapshot also clears the log.
    pub(crate) fn write_batch(&self, batch: LogBatch) -> Result<(), StorageError> {
        let log = self.column()?;
        let meta = self.cf(columns::META)?;
        // Room for all at once: megabytes that grow are copied each time.
        let room = batch.entries.iter().map(|entry| entry.data.len() + ROW_ROOM).sum::<usize>();
        let mut writes = WriteBatch::with_capacity_bytes(room + ROW_ROOM);
        let old_last = self.state().last_index;
        let _alone = batch.snapshot.is_some().then(|| self.beginning());
        if batch.snapshot.is_some() {
            // The state that the snapshot stands for must be on the disk before the log is gone.
            self.flush_all()?;
        }
        if let Some(snapshot) = &batch.snapshot {
            let data = snapshot.get_metadata();
            let (index, term) = (data.index, data.term);
            writes.delete_range_cf(log, columns::seq(0), columns::seq(u64::MAX));
            writes.put_cf(meta, columns::META_TRUNCATED, entry::encode_numbers(&[index, term]));
            writes.put_cf(meta, columns::META_APPLIED, entry::encode_numbers(&[index, term]));
            writes.put_cf(meta, columns::META_CONF_STATE, entry::encode_conf_state(data.get_conf_state()));
            // State and log agree again.
            writes.delete_cf(meta, columns::META_INSTALLING);
        }
        if let (Some(first), Some(last)) = (batch.entries.first(), batch.entries.last()) {
            // The tail of an old leader is cut off, not merely overwritten in part.
            if last.index < old_last && batch.snapshot.is_none() {
                writes.delete_range_cf(log, columns::seq(last.index + 1), columns::seq(old_last + 1));
            }
            debug_assert!(first.index <= old_last + 1 || batch.snapshot.is_some());
            for entry in &batch.entries {
                writes.put_cf(log, columns::seq(entry.index), entry::encode(entry));
            }
        }
        if let Some(hard) = &batch.hard_state {
            writes.put_cf(meta, columns::META_HARD_STATE, entry::encode_hard_state(hard));
        }
        // A log whose tail is replaced is noted before it is: it may become shorter, or an older leader's entries may take the
        // place of a later one's that nobody acknowledged, and a kill in between would look like damage.
        let base = batch.snapshot.as_ref().map(|s| s.get_metadata().index);
        let new_last = batch.entries.last().map(|e| e.index).or(base).unwrap_or(old_last);
        let replaces = base.is_some_and(|base| base <= old_last) || batch.entries.first().is_some_and(|e| e.index <= old_last);
        if replaces && let Some(file) = self.file().as_mut() {
            let hard = self.hard_state();
            // Whose the entry there is, the write decides.
            file.note((new_last.min(old_last), 0), hard.term, hard.vote)?;
            file.sync()?;
        }
        let mut sync = WriteOptions::default();
        sync.set_sync(true);
        self.db.write_opt(writes, &sync)?;
        let (last, hard) = {
            let mut state = self.write_state();
            if let Some(snapshot) = &batch.snapshot {
                let data = snapshot.get_metadata();
                let (base, hard) = (std::mem::take(&mut state.base), state.hard.clone());
                *state = State { truncated: (data.index, data.term), last_index: data.index, hard, ..State::default() };
                state.conf = data.get_conf_state().clone();
                state.base = base;
            }
            for entry in batch.entries {
                state.cut(entry.index);
                state.push(entry);
            }
            state.hard = batch.hard_state.unwrap_or(std::mem::take(&mut state.hard));
            (state.last_index, state.hard.clone())
        };
        let term = self.term(last)?.unwrap_or_default();
        if let Some(file) = self.file().as_mut() {
            file.note((last, term), hard.term, hard.vote)?;
        }
        Ok(())
    }

    /// Writes everything that is in memory to the disk, all columns as of one moment.
    pub(crate) fn flush_all(&self) -> Result<(), StorageError> {
        let columns: Result<Vec<_>, _> = columns::ALL.iter().map(|name| self.cf(name)).collect();
        Ok(self.db.flush_cfs_opt(&columns?, &FlushOptions::default())?)
    }

    /// Drops entries behind `applied`, as far as `policy` allows, from the disk too.
    pub(crate) fn truncate(&self, applied: u64, policy: Truncation) -> Result<Option<u64>, StorageError> {
        let _alone = self.beginning();
        let (cut, behind, excess, excess_bytes) = {
            let state = self.state();
            let behind = applied.min(state.last_index).saturating_sub(state.truncated.0);
            if behind <= policy.keep_entries && state.bytes <= policy.keep_bytes {
                return Ok(None);
            }
            let mut kept_bytes = 0u64;
            let mut keep = 0u64;
            for size in state.sizes.iter().take(behind as usize).rev() {
                kept_bytes += u64::from(*size);
                if keep >= policy.keep_entries || kept_bytes > policy.keep_bytes {
                    break;
                }
                keep += 1;
            }
            let excess = behind - keep;
            let excess_bytes: u64 = state.sizes.iter().take(excess as usize).map(|size| u64::from(*size)).sum();
            (state.truncated.0 + excess, behind, excess, excess_bytes)
        };
        // In steps: a truncation is a flush and a tombstone, and one each block would be a waste.
        let is_small = excess < policy.step.max(behind / 5) && excess_bytes < policy.keep_bytes / 5;
        if excess == 0 || policy.step > 1 && is_small {
            return Ok(None);
        }
        self.flush_all()?;
        let term = self.term(cut)?.ok_or_else(|| StorageError::damaged(format!("Raft log entry {cut} is missing")))?;
        {
            // First for those who read beside: what is gone must not look like damage.
            let mut state = self.write_state();
            let dropped = (cut - state.truncated.0) as usize;
            state.bytes -= state.sizes.drain(..dropped).map(u64::from).sum::<u64>();
            state.truncated = (cut, term);
            while state.tail.front().is_some_and(|e| e.index <= cut) {
                state.pop_oldest();
            }
        }
        self.db.put_cf(self.cf(columns::META)?, columns::META_TRUNCATED, entry::encode_numbers(&[cut, term]))?;
        // Files go at once, the note of it only with the log: after a power cut they must not lack a reason.
        self.db.flush_wal(true)?;
        // Whole files. A tombstone for the rest would overlap with all of the column, and have it copied.
        self.db.delete_file_in_range_cf(self.column()?, columns::seq(0), columns::seq(cut))?;
        Ok(Some(cut))
    }
}

impl State {
    fn in_tail(&self, index: u64) -> Option<&Entry> {
        let first = self.tail.front()?.index;
        self.tail.get(usize::try_from(index.checked_sub(first)?).ok()?)
    }

    /// Counts an entry that follows the last one.
    fn count(&mut self, index: u64, len: usize) {
        self.last_index = index;
        let size = u32::try_from(len + 32).unwrap_or(u32::MAX);
        self.sizes.push_back(size);
        self.bytes += u64::from(size);
    }

    fn push(&mut self, entry: Entry) {
        self.count(entry.index, entry.data.len());
        self.tail_bytes += entry.data.len();
        self.tail.push_back(entry);
        while self.tail_bytes > TAIL_BYTES && self.tail.len() > 1 {
            self.pop_oldest();
        }
    }

    fn pop_oldest(&mut self) {
        if let Some(entry) = self.tail.pop_front() {
            self.tail_bytes -= entry.data.len();
        }
    }

    /// Drops everything from `index` on.
    fn cut(&mut self, index: u64) {
        while self.last_index >= index {
            self.last_index -= 1;
            self.bytes -= u64::from(self.sizes.pop_back().unwrap_or_default());
            if let Some(entry) = self.tail.pop_back() {
                self.tail_bytes -= entry.data.len();
            }
        }
    }
}

impl LogWriter for LogHandle {
    fn write(&mut self, batch: LogBatch) -> Result<(), BoxError> {
        Ok(self.0.write_batch(batch)?)
    }
}

fn other(error: StorageError) -> raft::Error {
    raft::Error::Store(RaftStorageError::Other(Box::new(error)))
}

impl raft::Storage for LogStore {
    fn initial_state(&self) -> raft::Result<RaftState> {
        Ok(RaftState { hard_state: self.0.hard_state(), conf_state: self.0.conf_state() })
    }

    fn entries(&self, low: u64, high: u64, max_size: impl Into<Option<u64>>, _: GetEntriesContext) -> raft::Result<Vec<Entry>> {
        let (first, last) = self.0.range();
        if low < first {
            return Err(raft::Error::Store(RaftStorageError::Compacted));
        }
        if high > last + 1 {
            return Err(raft::Error::Store(RaftStorageError::Unavailable));
        }
        let found = self.0.entries(low, high, max_size.into()).map_err(other)?;
        match found.first() {
            Some(entry) if entry.index == low => Ok(found),
            _ if low == high => Ok(found),
            // Dropped while it was read.
            _ if low < self.0.range().0 => Err(raft::Error::Store(RaftStorageError::Compacted)),
            _ => Err(other(StorageError::damaged(format!("Raft log entry {low} is missing")))),
        }
    }

    fn term(&self, index: u64) -> raft::Result<u64> {
        match self.0.term(index).map_err(other)? {
            Some(term) => Ok(term),
            None if index < self.0.range().0 => Err(raft::Error::Store(RaftStorageError::Compacted)),
            None => Err(raft::Error::Store(RaftStorageError::Unavailable)),
        }
    }

    fn first_index(&self) -> raft::Result<u64> {
        Ok(self.0.range().0)
    }

    fn last_index(&self) -> raft::Result<u64> {
        Ok(self.0.range().1)
    }

    /// The extent of the ledger at the applied index: the receiver fetches the records themselves
    /// beside Raft and replays them, so that a snapshot needs no trust.
    fn snapshot(&self, request_index: u64, _to: u64) -> raft::Result<Snapshot> {
        let state = self.0.state();
        if state.base.index < request_index || state.base.index == 0 {
            return Err(raft::Error::Store(RaftStorageError::SnapshotTemporarilyUnavailable));
        }
        let mut snapshot = Snapshot { data: state.base.manifest.clone(), ..Snapshot::default() };
        let data = snapshot.mut_metadata();
        data.index = state.base.index;
        data.term = state.base.term;
        data.set_conf_state(state.conf.clone());
        Ok(snapshot)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::{Mode, Store};
    use std::time::{Duration, Instant};

    /// Entries of a batch, and bytes of each.
    const ENTRIES: u64 = 64;
    const BYTES: usize = 64 << 10;

    fn batch(from: u64) -> LogBatch {
        let entry = |index| Entry { index, term: 1, data: vec![index as u8; BYTES], ..Entry::default() };
        LogBatch { entries: (from..from + ENTRIES).map(entry).collect(), ..LogBatch::default() }
    }

    #[test]
    fn large_entries_are_cut_by_their_bytes() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), Mode::Node).unwrap();
        let log = &store.log;
        // Half of a batch may stay, and a fifth of that is six entries and a bit: far fewer than a step.
        let policy = Truncation { keep_entries: u64::MAX, keep_bytes: ENTRIES / 2 * (BYTES as u64 + 32), step: 256 };
        log.write_batch(batch(1)).unwrap();
        assert_eq!(log.truncate(ENTRIES / 2 + 6, policy).unwrap(), None);
        assert_eq!(log.truncate(ENTRIES / 2 + 7, policy).unwrap(), Some(7));
        assert_eq!(log.range(), (8, ENTRIES));
    }

    #[test]
    fn a_snapshot_that_is_written_beside_a_truncation_sets_the_log() {
        for _ in 0..10 {
            let dir = tempfile::tempdir().unwrap();
            let store = Store::open(dir.path(), Mode::Node).unwrap();
            store.log.write_batch(batch(1)).unwrap();
            let mut snapshot = Snapshot::default();
            (snapshot.mut_metadata().index, snapshot.mut_metadata().term) = (1_000, 2);
            let both = std::sync::Barrier::new(2);
            std::thread::scope(|threads| {
                let cut = threads.spawn(|| {
                    both.wait();
                    store.log.truncate(ENTRIES, Truncation { keep_entries: 1, keep_bytes: u64::MAX, step: 1 })
                });
                both.wait();
                store.log.write_batch(LogBatch { snapshot: Some(snapshot), ..LogBatch::default() }).unwrap();
                cut.join().unwrap().unwrap();
            });
            assert_eq!(store.log.range(), (1_001, 1_000));
            drop(store);
            assert_eq!(Store::open(dir.path(), Mode::Node).unwrap().log_range(), (1_001, 1_000));
        }
    }

    #[test]
    #[allow(clippy::disallowed_methods, reason = "the database moves its files beside us")]
    fn what_is_dropped_goes_from_the_disk() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), Mode::Node).unwrap();
        let policy = Truncation { keep_entries: ENTRIES, keep_bytes: u64::MAX, step: 1 };
        let log = &store.log;
        let rounds = 16;
        for round in 0..rounds {
            log.write_batch(batch(round * ENTRIES + 1)).unwrap();
            log.truncate((round + 1) * ENTRIES, policy).unwrap();
        }
        let written = rounds * ENTRIES * BYTES as u64;
        let on_disk = || log.db.property_int_value_cf(log.column().unwrap(), "rocksdb.total-sst-files-size").unwrap().unwrap();
        // Files are moved down beside the writes, and go with the next truncation.
        let end = Instant::now() + Duration::from_secs(120);
        let mut at = rounds * ENTRIES;
        while on_disk() > written / 2 {
            assert!(Instant::now() < end, "{} of {written} bytes are still on the disk", on_disk());
            std::thread::sleep(Duration::from_millis(50));
            log.write_batch(LogBatch { entries: batch(at + 1).entries[..1].to_vec(), ..LogBatch::default() }).unwrap();
            at += 1;
            log.truncate(at, policy).unwrap();
        }
        let range = log.range();
        assert_eq!(range, (at - ENTRIES + 1, at));
        // Opened again it begins where it was cut.
        drop(store);
        let store = Store::open(dir.path(), Mode::Node).unwrap();
        assert_eq!(store.log.range(), range);
        assert_eq!(store.log.entries(range.0, range.1 + 1, None).unwrap().len() as u64, ENTRIES);
    }
}
