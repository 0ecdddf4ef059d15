//! A state taken from another node, in place of the one that the genesis left: it is gathered in a file
//! beside the database, and once it is known to be good comes in in one step. The records before it
//! follow later, from the newest back ([`Store::add_history`]).
//!
//! A kill at any point leaves the state of the genesis with a note ([`Store::settle_adoption`] clears
//! what came in beside it), or the new state with all that belongs to it.

use crate::open::column_options;
use crate::{Commit, StateSnapshot, StorageError, Store, columns, entry};
use raft::eraftpb::{ConfState, Snapshot};
use rocksdb::{Cache, IngestExternalFileOptions, Options, SstFileWriter, WriteBatch};
use std::iter::Peekable;
use std::path::PathBuf;
use std::sync::PoisonError;
use vermilion_registry::Kv as _;

/// The file in which a state is gathered.
const INCOMING: &str = "incoming-state";

/// Where a state stands in the Raft log.
#[derive(Debug, Clone, PartialEq)]
pub struct Place {
    /// Index of the last entry applied.
    pub index: u64,
    /// Its term.
    pub term: u64,
    /// The group.
    pub group: ConfState,
}

impl StateSnapshot<'_> {
    /// Where in the log this state stands; none while records are being replayed, which take it ahead of the log.
    pub fn place(&self) -> Result<Option<Place>, StorageError> {
        let meta = |key: &[u8]| Ok::<_, StorageError>(self.snapshot.get_cf(self.store.column(columns::META)?, key)?);
        if meta(columns::META_INSTALLING)?.is_some() {
            return Ok(None);
        }
        let numbers = meta(columns::META_APPLIED)?.map(|bytes| entry::decode_numbers(&bytes)).transpose()?;
        let group = meta(columns::META_CONF_STATE)?.map(|bytes| entry::decode_conf_state(&bytes)).transpose()?;
        match (numbers.as_deref(), group) {
            (Some([index, term]), Some(group)) => Ok(Some(Place { index: *index, term: *term, group })),
            _ => Err(StorageError::damaged("applied index or membership do not decode")),
        }
    }
}

/// The options of the file that a state is gathered in.
pub struct IncomingOptions(Options);

/// A state that is being gathered: rows in order of keys.
pub struct IncomingState<'a> {
    writer: SstFileWriter<'a>,
    /// Keys of the state that it will take the place of, in order.
    own: Peekable<std::vec::IntoIter<Vec<u8>>>,
    last: Option<Vec<u8>>,
}

impl IncomingState<'_> {
    /// Adds a row, if it is behind the one before; says whether it is.
    pub fn put(&mut self, key: &[u8], value: &[u8]) -> Result<bool, StorageError> {
        if self.last.as_deref().is_some_and(|last| last >= key) {
            return Ok(false);
        }
        while let Some(gone) = self.own.next_if(|own| own.as_slice() < key) {
            self.writer.delete(gone)?;
        }
        self.own.next_if(|own| own == key);
        self.writer.put(key, value)?;
        self.last = Some(key.to_vec());
        Ok(true)
    }

    /// Ends the file.
    pub fn finish(mut self) -> Result<(), StorageError> {
        for gone in self.own {
            self.writer.delete(gone)?;
        }
        Ok(self.writer.finish()?)
    }
}

impl Store {
    fn incoming(&self) -> PathBuf {
        self.dir.join(INCOMING)
    }

    /// What [`Store::gather`] writes under.
    #[must_use]
    pub fn incoming_options(&self) -> IncomingOptions {
        IncomingOptions(column_options(columns::STATE, &Cache::new_lru_cache(0)))
    }

    /// Begins to gather a state. What was gathered before is gone.
    pub fn gather<'a>(&self, options: &'a IncomingOptions) -> Result<IncomingState<'a>, StorageError> {
        let mut own = Vec::new();
        let scanned = self.state().scan(b"", &mut |key, _| {
            own.push(key.to_vec());
            true
        });
        scanned.map_err(|e| StorageError::damaged(e.to_string()))?;
        self.clear_incoming()?;
        let writer = SstFileWriter::create(&options.0);
        writer.open(self.incoming())?;
        Ok(IncomingState { writer, own: own.into_iter().peekable(), last: None })
    }

    /// What was gathered is gone.
    pub fn clear_incoming(&self) -> Result<(), StorageError> {
        match std::fs::remove_file(self.incoming()) {
            Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                Err(StorageError::Io { path: self.incoming().display().to_string(), source })
            }
            _ => Ok(()),
        }
    }

    /// Puts the gathered state in the place of the one that is here, in one step. `beside` is what belongs
    /// to it: the last records from number `low` on, the tiles of the tree's edge. `snapshot` says where in
    /// the log it stands, and is left as one whose installation is to be finished ([`Store::installing`]).
    pub fn adopt(&self, snapshot: &Snapshot, low: u64, beside: &Commit) -> Result<(), StorageError> {
        let meta = self.column(columns::META)?;
        let mut note = WriteBatch::default();
        note.put_cf(meta, columns::META_ADOPTING, entry::encode_numbers(&[low]));
        note.put_cf(meta, columns::META_INSTALLING, entry::encode_snapshot(snapshot));
        self.db.write(note)?;
        self.db.flush_wal(true)?;
        self.commit(beside)?;
        self.flush()?;
        let mut options = IngestExternalFileOptions::default();
        options.set_move_files(true);
        self.db.ingest_external_file_cf_opts(self.column(columns::STATE)?, &options, vec![self.incoming()])?;
        self.adopted(low)
    }

    fn adopted(&self, low: u64) -> Result<(), StorageError> {
        let meta = self.column(columns::META)?;
        let mut done = WriteBatch::default();
        done.delete_cf(meta, columns::META_ADOPTING);
        done.put_cf(meta, columns::META_UNSURE, entry::encode_numbers(&[1]));
        if low > 1 {
            done.put_cf(meta, columns::META_HISTORY, entry::encode_numbers(&[low]));
        }
        self.db.write(done)?;
        self.db.flush_wal(true)?;
        self.clear_incoming()
    }

    /// Settles, at a start, what a kill left of a state that was coming in; `records` is how many the head
    /// counts. The state is one or the other; what belongs to the one that did not come in goes.
    pub fn settle_adoption(&self, records: u64) -> Result<(), StorageError> {
        self.clear_incoming()?;
        let Some(low) = self.meta_number(columns::META_ADOPTING)? else { return Ok(()) };
        if records > 1 {
            return self.adopted(low);
        }
        let beyond = |name: &str, from: &[u8]| Ok::<_, StorageError>(self.db.delete_range_cf(self.column(name)?, from, &[0xff; 16])?);
        beyond(columns::RECORDS, &columns::seq(1))?;
        for name in [columns::TILES, columns::VAULT, columns::WRAPS] {
            beyond(name, &[])?;
        }
        let meta = self.column(columns::META)?;
        let mut dropped = WriteBatch::default();
        dropped.delete_cf(meta, columns::META_INSTALLING);
        dropped.delete_cf(meta, columns::META_ADOPTING);
        self.db.write(dropped)?;
        self.flush()
    }

    /// The number of the first record, behind the genesis, that is here. More than 1 while a node that
    /// took a state from another fetches the records before it.
    pub fn history_from(&self) -> Result<u64, StorageError> {
        Ok(self.meta_number(columns::META_HISTORY)?.unwrap_or(1))
    }

    /// Adds older records with what belongs to them, synced: those from number `from` up to where the
    /// history began. With it from 1 on it is whole. `erased` says, while nobody else writes, which of their
    /// contents are not to come in.
    pub fn add_history<E: From<StorageError>>(
        &self,
        from: u64,
        mut commit: Commit,
        erased: impl FnOnce() -> Result<Vec<(u64, u32)>, E>,
    ) -> Result<(), E> {
        let _one = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        commit.erase = erased()?;
        let write = || {
            let mut writes = self.batch(&commit)?;
            let meta = self.column(columns::META)?;
            match from {
                0 | 1 => writes.delete_cf(meta, columns::META_HISTORY),
                from => writes.put_cf(meta, columns::META_HISTORY, entry::encode_numbers(&[from])),
            }
            self.db.write(writes)?;
            Ok::<_, StorageError>(self.db.flush_wal(true)?)
        };
        Ok(write()?)
    }

    /// Whether nothing has borne out yet where in the log a state stands that was taken.
    pub fn place_is_unsure(&self) -> Result<bool, StorageError> {
        Ok(self.meta_number(columns::META_UNSURE)?.is_some())
    }

    /// The first block behind the state fits.
    pub fn place_is_sure(&self) -> Result<(), StorageError> {
        Ok(self.db.delete_cf(self.column(columns::META)?, columns::META_UNSURE)?)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::Mode;
    use std::collections::BTreeMap;

    type Rows = BTreeMap<Vec<u8>, Vec<u8>>;

    fn rows(store: &Store) -> Rows {
        let mut rows = Rows::new();
        store.state().scan(b"", &mut |key, value| rows.insert(key.to_vec(), value.to_vec()).is_none()).unwrap();
        rows
    }

    fn of(rows: &[(&str, &str)]) -> Rows {
        rows.iter().map(|(key, value)| (key.as_bytes().to_vec(), value.as_bytes().to_vec())).collect()
    }

    fn genesis() -> (tempfile::TempDir, Store) {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), Mode::Node).unwrap();
        let state = of(&[("a", "1"), ("b", "1")]).into_iter().map(|(key, value)| (key, Some(value))).collect();
        store.init(4, &[1, 2, 3], &Commit { applied: Some((0, 0)), state, ..Commit::default() }).unwrap();
        (dir, store)
    }

    fn gather(store: &Store) {
        let options = store.incoming_options();
        let mut into = store.gather(&options).unwrap();
        assert!(into.put(b"b", b"2").unwrap());
        assert!(!into.put(b"b", b"3").unwrap() && !into.put(b"a", b"3").unwrap(), "not in order");
        assert!(into.put(b"c", b"2").unwrap());
        into.finish().unwrap();
    }

    fn snapshot() -> Snapshot {
        let mut snapshot = Snapshot::default();
        snapshot.mut_metadata().index = 9;
        snapshot.mut_metadata().term = 2;
        snapshot.mut_metadata().set_conf_state(ConfState::from((vec![1, 2, 3], vec![4])));
        snapshot
    }

    fn beside() -> Commit {
        let record = vermilion_proto::StoredRecord { format_version: 1, ..Default::default() };
        let bytes = vermilion_proto::Message::encode_to_vec(&record);
        Commit { records: vec![(7, bytes)], tiles: vec![(0, 0, vec![0; 8192])], ..Commit::default() }
    }

    #[test]
    fn a_state_takes_the_place_of_the_other_as_a_whole() {
        let (dir, store) = genesis();
        gather(&store);
        store.adopt(&snapshot(), 7, &beside()).unwrap();
        drop(store);
        let store = Store::open(dir.path(), Mode::Node).unwrap();
        store.settle_adoption(8).unwrap();
        assert_eq!(rows(&store), of(&[("b", "2"), ("c", "2")]));
        assert_eq!((store.history_from().unwrap(), store.installing().unwrap()), (7, Some(snapshot())));
        assert!(store.record(7).unwrap().is_some());
        // Its history comes, and then it is whole.
        store.add_history(3, Commit::default(), || Ok::<_, StorageError>(Vec::new())).unwrap();
        assert_eq!(store.history_from().unwrap(), 3);
        store.add_history(1, Commit::default(), || Ok::<_, StorageError>(Vec::new())).unwrap();
        assert_eq!(store.history_from().unwrap(), 1);
    }

    #[test]
    fn a_state_that_is_ahead_of_the_log_has_no_place_in_it() {
        let (_dir, store) = genesis();
        let before = store.state_snapshot();
        assert_eq!(before.place().unwrap().unwrap().group.voters, [1, 2, 3]);
        store.begin_install(&snapshot()).unwrap();
        assert_eq!(store.state_snapshot().place().unwrap(), None);
        // What was seen before the first record came still has its own.
        assert_eq!(before.place().unwrap().unwrap().index, 0);
        drop(before);
        store.finish_install(&snapshot()).unwrap();
        assert_eq!(store.state_snapshot().place().unwrap().unwrap().index, 9);
    }

    #[test]
    fn a_kill_before_the_state_is_there_leaves_that_of_the_genesis_and_nothing_else() {
        let (dir, store) = genesis();
        gather(&store);
        drop(store);
        let store = Store::open(dir.path(), Mode::Node).unwrap();
        store.settle_adoption(1).unwrap();
        assert!(!store.incoming().exists());
        // As adopting does it, up to the step itself.
        let meta = store.column(columns::META).unwrap();
        store.db.put_cf(meta, columns::META_ADOPTING, entry::encode_numbers(&[7])).unwrap();
        store.db.put_cf(meta, columns::META_INSTALLING, entry::encode_snapshot(&snapshot())).unwrap();
        store.commit(&beside()).unwrap();
        store.flush().unwrap();
        drop(store);
        let store = Store::open(dir.path(), Mode::Node).unwrap();
        store.settle_adoption(1).unwrap();
        assert_eq!(rows(&store), of(&[("a", "1"), ("b", "1")]));
        assert!(store.record(7).unwrap().is_none() && store.installing().unwrap().is_none());
        assert_eq!(store.history_from().unwrap(), 1);
        use vermilion_ledger::TileStore as _;
        assert!(store.tile(0, 0).unwrap().is_none());
    }

    #[test]
    fn a_kill_behind_the_step_is_no_loss() {
        let (dir, store) = genesis();
        gather(&store);
        store.adopt(&snapshot(), 7, &beside()).unwrap();
        // As if the note had not been taken away.
        let meta = store.column(columns::META).unwrap();
        store.db.put_cf(meta, columns::META_ADOPTING, entry::encode_numbers(&[7])).unwrap();
        store.db.delete_cf(meta, columns::META_HISTORY).unwrap();
        store.flush().unwrap();
        drop(store);
        let store = Store::open(dir.path(), Mode::Node).unwrap();
        store.settle_adoption(8).unwrap();
        assert_eq!((store.history_from().unwrap(), rows(&store)), (7, of(&[("b", "2"), ("c", "2")])));
    }
}
