//! Start-up checks (design, invariant 6): does what the directory holds fit together?

use crate::{StorageError, Store, columns, is_backup, promise, watermark};
use vermilion_consensus::{Entry, EntryType};
use vermilion_registry::admission::group::{Group, misfit};

/// What a start found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StartReport {
    /// The log's first and last index.
    pub log: (u64, u64),
    /// Through which index the state machine had applied.
    pub applied: u64,
    /// Entries beyond what is known to have been synced: normal after a power cut or kill.
    pub beyond_watermark: u64,
    /// Whether there was a watermark at all (a backup lacks it).
    pub watermark: bool,
}

impl Store {
    /// Checks that log, hard state, applied index, watermark and Raft group fit together and to the state. An error names
    /// what does not: the node must not vote then. Ledger, chain and tree are checked by the node, which knows how they
    /// hang together.
    pub fn check(&self) -> Result<StartReport, StorageError> {
        let (first, last) = self.log.range();
        let (applied, applied_term) = self.applied()?;
        if self.meta(columns::META_APPLIED)?.is_none() && self.installing()?.is_none() && self.has_records_of_entries()? {
            return Err(StorageError::damaged("it is not noted through which entry of the Raft log the records were applied"));
        }
        let hard = self.log.hard_state();
        if applied + 1 < first || applied > last {
            return Err(StorageError::damaged(format!("the state is applied through {applied}, but the Raft log holds {first} to {last}")));
        }
        if let Some(term) = self.log.term(applied)?
            && term != applied_term
        {
            return Err(StorageError::damaged(format!(
                "entry {applied} was applied in term {applied_term}, but the log holds it in term {term}"
            )));
        }
        if hard.commit > last {
            return Err(StorageError::damaged(format!("the hard state commits {}, but the Raft log ends at {last}", hard.commit)));
        }
        self.check_group()?;
        self.check_adoption(first, applied)?;
        let Some(mark) = self.watermark else {
            if !is_backup(&self.dir) {
                return Err(watermark::unknown("is missing or does not read"));
            }
            return Ok(StartReport { log: (first, last), applied, beyond_watermark: 0, watermark: false });
        };
        promise::kept(&mark, last, self.log.term(mark.last_index)?, &hard)?;
        Ok(StartReport { log: (first, last), applied, beyond_watermark: last - mark.last_index, watermark: true })
    }

    /// Whether there are records that entries of the log brought: all but the genesis.
    fn has_records_of_entries(&self) -> Result<bool, StorageError> {
        let mut found = false;
        self.records(1, &mut |_, _| {
            found = true;
            false
        })?;
        Ok(found)
    }

    /// What is noted of a state that was taken stands only while it is so (docs/formats.md §19).
    fn check_adoption(&self, first: u64, applied: u64) -> Result<(), StorageError> {
        if self.meta_number(columns::META_ADOPTING)?.is_some() {
            // Both are written at once, and settled before the one that stays longer.
            return match self.installing()? {
                Some(_) => Ok(()),
                None => Err(StorageError::damaged("a state is noted as coming in, and no snapshot that it would belong to")),
            };
        }
        let from = self.history_from()?;
        if from > 1 && (self.record(from)?.is_none() || self.record(from - 1)?.is_some()) {
            return Err(StorageError::damaged(format!("the records are noted to begin with number {from}, where they do not begin")));
        }
        if !self.place_is_unsure()? || self.installing()?.is_some() {
            return Ok(());
        }
        // It goes with the first block that is applied.
        for index in first..=applied {
            if self.log.entries(index, index + 1, None)?.iter().any(Self::is_block) {
                return Err(StorageError::damaged("the place of a state in the log is noted as unsure, and blocks behind it were applied"));
            }
        }
        Ok(())
    }

    /// Whether an entry holds a block: others are of another type, or empty.
    fn is_block(entry: &Entry) -> bool {
        entry.get_entry_type() == EntryType::EntryNormal && !entry.data.is_empty()
    }

    /// Group and state are written together, so that they are of one moment; but for a catch-up that is under way.
    fn check_group(&self) -> Result<(), StorageError> {
        if self.installing()?.is_some() {
            return Ok(());
        }
        let conf = self.conf_state();
        if !conf.voters_outgoing.is_empty() || !conf.learners_next.is_empty() || conf.auto_leave {
            return Err(StorageError::damaged("the Raft group is between two others, where single changes never lead"));
        }
        let group = Group { voters: &conf.voters, learners: &conf.learners };
        match misfit(&self.state(), group).map_err(|e| StorageError::damaged(e.to_string()))? {
            Some(why) => Err(StorageError::damaged(why)),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use crate::{Commit, Mode, Store, columns, entry};
    use vermilion_consensus::{Entry, HardState, LogBatch};
    use vermilion_proto::{Message as _, StoredRecord};

    fn entry_at(index: u64) -> Entry {
        Entry { index, term: 1, ..Entry::default() }
    }

    /// Entries of these indexes and this term, and its hard state.
    fn batch(indexes: std::ops::RangeInclusive<u64>, term: u64) -> LogBatch {
        let entries = indexes.map(|index| Entry { index, term, ..Entry::default() }).collect();
        LogBatch { entries, hard_state: Some(HardState { term, ..HardState::default() }), snapshot: None }
    }

    #[test]
    fn what_is_noted_of_a_state_that_was_taken_stands_only_while_it_is_so() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), Mode::Node).unwrap();
        let record = |seq| (seq, StoredRecord { format_version: 1, ..StoredRecord::default() }.encode_to_vec());
        let commit = Commit { applied: Some((0, 0)), records: (0..9).map(record).collect(), ..Commit::default() };
        store.init(0, &[1, 2, 3], &commit).unwrap();
        store.log.write_batch(batch(1..=3, 1)).unwrap();
        store.commit(&Commit { applied: Some((3, 1)), ..Commit::default() }).unwrap();
        store.check().unwrap();
        let plant = |key: &[u8], number| {
            store.db.put_cf(store.column(columns::META).unwrap(), key, entry::encode_numbers(&[number])).unwrap();
            let found = store.check().err().map(|error| error.to_string());
            store.db.delete_cf(store.column(columns::META).unwrap(), key).unwrap();
            found
        };
        assert!(plant(columns::META_ADOPTING, 7).is_some_and(|why| why.contains("coming in")));
        for from in [2, 8, 9, 40] {
            assert!(plant(columns::META_HISTORY, from).is_some_and(|why| why.contains("begin")), "{from}");
        }
        // Entries of elections alone: a state may have been taken below them.
        assert_eq!(plant(columns::META_UNSURE, 1), None);
        store.log.write_batch(LogBatch { entries: vec![Entry { data: b"block".to_vec(), ..entry_at(4) }], ..LogBatch::default() }).unwrap();
        assert_eq!(plant(columns::META_UNSURE, 1), None);
        store.commit(&Commit { applied: Some((4, 1)), ..Commit::default() }).unwrap();
        assert!(plant(columns::META_UNSURE, 1).is_some_and(|why| why.contains("unsure")));
    }

    #[test]
    fn what_says_how_far_it_came_is_asked_for() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), Mode::Node).unwrap();
        let record = |seq| (seq, StoredRecord { format_version: 1, ..StoredRecord::default() }.encode_to_vec());
        store.init(0, &[1, 2, 3], &Commit { applied: Some((0, 0)), records: vec![record(0)], ..Commit::default() }).unwrap();
        store.log.write_batch(batch(1..=3, 1)).unwrap();
        store.commit(&Commit { applied: Some((3, 1)), records: vec![record(1)], ..Commit::default() }).unwrap();
        store.check().unwrap();
        store.db.delete_cf(store.column(columns::META).unwrap(), columns::META_APPLIED).unwrap();
        assert!(store.check().unwrap_err().to_string().contains("not noted through which entry"));
        store.commit(&Commit { applied: Some((3, 1)), ..Commit::default() }).unwrap();
        store.flush().unwrap();
        drop(store);
        let looked_at = || Store::open(dir.path(), Mode::ReadOnly).unwrap().check();
        assert!(looked_at().unwrap().watermark);
        for left in [Some(vec![0; 144]), Some(Vec::new()), None] {
            match left {
                Some(bytes) => std::fs::write(dir.path().join("synced"), bytes).unwrap(),
                None => std::fs::remove_file(dir.path().join("synced")).unwrap(),
            }
            assert!(looked_at().unwrap_err().to_string().contains("what was promised is not known"));
        }
    }

    #[test]
    #[allow(clippy::disallowed_methods, reason = "a write-ahead log is put back as a damaged one would be")]
    fn a_tail_that_was_replaced_and_is_the_old_one_again_is_damage() {
        let dir = tempfile::tempdir().unwrap();
        let open = || Store::open(dir.path(), Mode::Node).unwrap();
        {
            let store = open();
            store.init(0, &[1, 2, 3], &Commit { applied: Some((0, 0)), ..Commit::default() }).unwrap();
            store.log.write_batch(batch(1..=10, 1)).unwrap();
            store
                .log
                .write_batch(LogBatch { hard_state: Some(HardState { term: 2, ..HardState::default() }), ..LogBatch::default() })
                .unwrap();
        }
        assert!(open().check().is_ok());
        let logs = |dir: &std::path::Path| -> Vec<(std::path::PathBuf, Vec<u8>)> {
            let paths = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().path());
            paths.filter(|p| p.is_file()).map(|p| (p.clone(), std::fs::read(&p).unwrap())).collect()
        };
        let db = dir.path().join("db");
        let before = logs(&db);
        {
            let store = open();
            // The new leader's entries, as many as were there.
            store.log.write_batch(batch(9..=10, 2)).unwrap();
        }
        assert!(open().check().is_ok());
        // The database as it was before that write, but the note of it.
        for (path, _) in logs(&db) {
            std::fs::remove_file(path).unwrap();
        }
        for (path, bytes) in before {
            std::fs::write(path, bytes).unwrap();
        }
        let found = Store::open(dir.path(), Mode::Node).err().unwrap().to_string();
        assert!(found.contains("entry 10 was synced in term 2, but the Raft log holds one of term 1"), "{found}");
    }
}
