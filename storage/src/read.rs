use crate::{LogHandle, LogStore, StorageError, Store, columns, entry};
use rocksdb::{Direction, IteratorMode};
use std::sync::Arc;
use vermilion_consensus::ConfState;
use vermilion_ledger::Digest;
use vermilion_proto::{Message as _, StoredRecord};
use vermilion_registry::{Kv, KvError};

/// The state as the registry sees it.
#[derive(Clone)]
pub struct StateView(Store);

impl Kv for StateView {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, KvError> {
        let column = self.0.column(columns::STATE).map_err(|e| KvError(e.to_string()))?;
        self.0.db.get_cf(column, key).map_err(|e| KvError(e.to_string()))
    }

    fn get_each(&self, keys: &[&[u8]]) -> Result<Vec<Option<Vec<u8>>>, KvError> {
        let column = self.0.column(columns::STATE).map_err(|e| KvError(e.to_string()))?;
        let found = self.0.db.batched_multi_get_cf(column, keys.iter().copied(), true);
        found.into_iter().map(|value| value.map(|value| value.map(|value| value.to_vec())).map_err(|e| KvError(e.to_string()))).collect()
    }

    fn scan(&self, prefix: &[u8], visit: &mut dyn FnMut(&[u8], &[u8]) -> bool) -> Result<(), KvError> {
        let column = self.0.column(columns::STATE).map_err(|e| KvError(e.to_string()))?;
        for row in self.0.db.iterator_cf(column, IteratorMode::From(prefix, Direction::Forward)) {
            let (key, value) = row.map_err(|e| KvError(e.to_string()))?;
            if !key.starts_with(prefix) || !visit(&key, &value) {
                break;
            }
        }
        Ok(())
    }
}

/// The state as of one moment, for a reader beside the applier.
pub struct StateSnapshot<'a> {
    pub(crate) store: &'a Store,
    pub(crate) snapshot: rocksdb::Snapshot<'a>,
}

impl Kv for StateSnapshot<'_> {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, KvError> {
        let column = self.store.column(columns::STATE).map_err(|e| KvError(e.to_string()))?;
        self.snapshot.get_cf(column, key).map_err(|e| KvError(e.to_string()))
    }

    fn scan(&self, prefix: &[u8], visit: &mut dyn FnMut(&[u8], &[u8]) -> bool) -> Result<(), KvError> {
        let column = self.store.column(columns::STATE).map_err(|e| KvError(e.to_string()))?;
        for row in self.snapshot.iterator_cf(column, IteratorMode::From(prefix, Direction::Forward)) {
            let (key, value) = row.map_err(|e| KvError(e.to_string()))?;
            if !key.starts_with(prefix) || !visit(&key, &value) {
                break;
            }
        }
        Ok(())
    }
}

/// Ciphertexts by item position.
pub type Positioned = Vec<(u32, Vec<u8>)>;

impl vermilion_ledger::TileStore for Store {
    type Error = StorageError;
    fn tile(&self, level: u8, index: u64) -> Result<Option<Vec<u8>>, StorageError> {
        Ok(self.db.get_cf(self.column(columns::TILES)?, columns::tile(level, index))?)
    }
}

impl Store {
    /// The state as of now, whatever is applied meanwhile.
    #[must_use]
    pub fn state_snapshot(&self) -> StateSnapshot<'_> {
        StateSnapshot { store: self, snapshot: self.db.snapshot() }
    }

    /// The state. For the applier, which alone writes it.
    #[must_use]
    pub fn state(&self) -> StateView {
        StateView(self.clone())
    }

    /// The log's reader, for the driver.
    #[must_use]
    pub fn log_store(&self) -> LogStore {
        LogStore(Arc::clone(&self.log))
    }

    /// The log's writer. There must be one.
    #[must_use]
    pub fn log_handle(&self) -> LogHandle {
        LogHandle(Arc::clone(&self.log))
    }

    /// The node whose directory this is; `None` when it is new.
    pub fn node(&self) -> Result<Option<u64>, StorageError> {
        self.meta_number(columns::META_NODE)
    }

    /// Index and term through which the state machine has applied.
    pub fn applied(&self) -> Result<(u64, u64), StorageError> {
        match self.meta(columns::META_APPLIED)?.map(|b| entry::decode_numbers(&b)).transpose()?.as_deref() {
            None => Ok((0, 0)),
            Some([index, term]) => Ok((*index, *term)),
            Some(_) => Err(StorageError::damaged("the applied index does not decode")),
        }
    }

    /// The Raft group as of what was applied.
    #[must_use]
    pub fn conf_state(&self) -> ConfState {
        self.log.conf_state()
    }

    /// The log's first and last index.
    #[must_use]
    pub fn log_range(&self) -> (u64, u64) {
        self.log.range()
    }

    /// One record as stored.
    pub fn record(&self, seq: u64) -> Result<Option<StoredRecord>, StorageError> {
        let bytes = self.db.get_pinned_cf(self.column(columns::RECORDS)?, columns::seq(seq))?;
        bytes.map(|b| decode_record(seq, &b)).transpose()
    }

    /// Records from `from` on, in order, until `visit` says stop.
    pub fn records(&self, from: u64, visit: &mut dyn FnMut(u64, StoredRecord) -> bool) -> Result<(), StorageError> {
        let mut options = rocksdb::ReadOptions::default();
        options.set_readahead_size(2 << 20);
        let start = columns::seq(from);
        let mode = IteratorMode::From(&start, Direction::Forward);
        for row in self.db.iterator_cf_opt(self.column(columns::RECORDS)?, options, mode) {
            let (key, value) = row?;
            let seq = columns::number(&key).ok_or_else(|| StorageError::damaged("a record's key does not decode"))?;
            if !visit(seq, decode_record(seq, &value)?) {
                break;
            }
        }
        Ok(())
    }

    /// The ciphertext of one item; `None` when it was refused or erased.
    pub fn ciphertext(&self, seq: u64, position: u32) -> Result<Option<Vec<u8>>, StorageError> {
        Ok(self.db.get_cf(self.column(columns::VAULT)?, columns::vault(seq, position))?)
    }

    /// All ciphertexts of a record by position, and of its texts.
    pub fn ciphertexts(&self, seq: u64) -> Result<(Positioned, Vec<u8>), StorageError> {
        let (mut items, mut text) = (Vec::new(), Vec::new());
        let start = columns::vault(seq, 0);
        for row in self.db.iterator_cf(self.column(columns::VAULT)?, IteratorMode::From(&start, Direction::Forward)) {
            let (key, value) = row?;
            if columns::number(&key) != Some(seq) || key.len() != 12 {
                break;
            }
            match u32::from_be_bytes([key[8], key[9], key[10], key[11]]) {
                columns::TEXT => text = value.into_vec(),
                position => items.push((position, value.into_vec())),
            }
        }
        Ok((items, text))
    }

    /// The wrapped keys of a record's content: encoded `VaultWraps`.
    pub fn wraps(&self, seq: u64) -> Result<Option<Vec<u8>>, StorageError> {
        Ok(self.db.get_cf(self.column(columns::WRAPS)?, columns::seq(seq))?)
    }

    /// A full entry bundle; `None` if it is not stored.
    pub fn entries(&self, index: u64) -> Result<Option<Vec<u8>>, StorageError> {
        Ok(self.db.get_cf(self.column(columns::ENTRIES)?, columns::seq(index))?)
    }

    /// How the checkpoint of `size` continues the one before: that one's size, and the proof.
    pub fn consistency(&self, size: u64) -> Result<Option<(u64, Vec<Digest>)>, StorageError> {
        let damaged = || StorageError::damaged(format!("the consistency proof of checkpoint {size} does not decode"));
        let Some(row) = self.db.get_cf(self.column(columns::CONSISTENCY)?, columns::seq(size))? else { return Ok(None) };
        let (previous, hashes) = row.split_first_chunk::<8>().ok_or_else(damaged)?;
        match hashes.as_chunks::<32>() {
            (hashes, []) => Ok(Some((u64::from_be_bytes(*previous), hashes.to_vec()))),
            _ => Err(damaged()),
        }
    }

    /// The size of the newest published checkpoint, if there was one.
    pub fn published(&self) -> Result<Option<u64>, StorageError> {
        self.meta_number(columns::META_PUBLISHED)
    }

    /// The size that an outside witness cosigned last, 0 if none is known; `witness` is its verifier key.
    pub fn outside(&self, witness: &str) -> Result<u64, StorageError> {
        Ok(self.meta_number(&[columns::META_OUTSIDE, witness.as_bytes()].concat())?.unwrap_or(0))
    }

    pub(crate) fn meta_number(&self, key: &[u8]) -> Result<Option<u64>, StorageError> {
        Ok(self.meta(key)?.map(|bytes| entry::decode_numbers(&bytes)).transpose()?.and_then(|numbers| numbers.first().copied()))
    }

    /// The newest checkpoint: size and note.
    pub fn latest_checkpoint(&self) -> Result<Option<(u64, Vec<u8>)>, StorageError> {
        let row = self.db.iterator_cf(self.column(columns::CHECKPOINTS)?, IteratorMode::End).next().transpose()?;
        Ok(row.and_then(|(key, value)| Some((columns::number(&key)?, value.into_vec()))))
    }

    /// The newest checkpoint of fewer than `size` records: size and note.
    pub fn checkpoint_before(&self, size: u64) -> Result<Option<(u64, Vec<u8>)>, StorageError> {
        let Some(start) = size.checked_sub(1).map(columns::seq) else { return Ok(None) };
        let mode = IteratorMode::From(&start, Direction::Reverse);
        let row = self.db.iterator_cf(self.column(columns::CHECKPOINTS)?, mode).next().transpose()?;
        Ok(row.and_then(|(key, value)| Some((columns::number(&key)?, value.into_vec()))))
    }

    /// The checkpoint of exactly this size.
    pub fn checkpoint(&self, size: u64) -> Result<Option<Vec<u8>>, StorageError> {
        Ok(self.db.get_cf(self.column(columns::CHECKPOINTS)?, columns::seq(size))?)
    }

    /// Checkpoints of at least `size`, oldest first, until `visit` says stop.
    pub fn checkpoints(&self, size: u64, visit: &mut dyn FnMut(u64, &[u8]) -> bool) -> Result<(), StorageError> {
        let start = columns::seq(size);
        for row in self.db.iterator_cf(self.column(columns::CHECKPOINTS)?, IteratorMode::From(&start, Direction::Forward)) {
            let (key, value) = row?;
            if !columns::number(&key).is_some_and(|size| visit(size, &value)) {
                break;
            }
        }
        Ok(())
    }
}

fn decode_record(seq: u64, bytes: &[u8]) -> Result<StoredRecord, StorageError> {
    let record = StoredRecord::decode(bytes).map_err(|e| StorageError::damaged(format!("record {seq} does not decode: {e}")))?;
    if record.format_version != 1 {
        return Err(StorageError::Format { found: record.format_version, read: 1 });
    }
    Ok(record)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::{Commit, Mode};

    #[test]
    fn each_of_many_keys_is_as_alone() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), Mode::Node).unwrap();
        let write = |state: Vec<(Vec<u8>, Option<Vec<u8>>)>| store.commit(&Commit { state, ..Commit::default() }).unwrap();
        let key = |n: u32| n.to_be_bytes().to_vec();
        // Some on the disk, some in memory, some written over or deleted there; the third of each three never was.
        write((0..200).filter(|n| n % 3 != 2).map(|n| (key(n), Some(vec![7; n as usize]))).collect());
        store.flush().unwrap();
        write((150..300).filter(|n| n % 3 == 0).map(|n| (key(n), (n % 2 == 0).then(|| vec![8; 3]))).collect());
        for view in [&store.state() as &dyn Kv, &store.state_snapshot()] {
            for count in [0, 1, 31, 32, 33, 350] {
                let keys: Vec<Vec<u8>> = (0..count).map(key).collect();
                let alone: Vec<_> = keys.iter().map(|key| view.get(key).unwrap()).collect();
                assert_eq!(view.get_each(&keys.iter().map(Vec::as_slice).collect::<Vec<_>>()).unwrap(), alone);
                assert_eq!(alone.iter().flatten().count() > 0, count > 0);
            }
        }
    }
}
