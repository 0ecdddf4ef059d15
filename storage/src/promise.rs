//! Whether what was promised is there still, asked before anything of the directory is written.
//!
//! To open a database for writing is to recover it: RocksDB reads its write-ahead log up to the first bad checksum, puts what
//! it read into tables and deletes the log. If a node found only then that something is missing, what lay behind the bad bytes
//! would be gone for good. So the end of the Raft log, its terms and the vote are first read in a database that is open for
//! reading alone, and a directory that is refused is left as it was found.

use crate::open::{column_options, options, reads_format};
use crate::{Mode, StorageError, columns, entry, watermark::Watermark};
use raft::eraftpb::HardState;
use rocksdb::{Cache, ColumnFamilyDescriptor, DB};
use std::path::Path;

/// Holds what a directory has against what was promised: the log's last index, the term of its entry at the mark, and the
/// hard state.
pub(crate) fn kept(mark: &Watermark, last: u64, term: Option<u64>, hard: &HardState) -> Result<(), StorageError> {
    if last < mark.last_index {
        return Err(StorageError::damaged(format!(
            "the Raft log was synced through {} but ends at {last}: entries that may have been acknowledged are gone",
            mark.last_index
        )));
    }
    if let Some(term) = term.filter(|term| *term < mark.last_term) {
        return Err(StorageError::damaged(format!(
            "entry {} was synced in term {}, but the Raft log holds one of term {term}: entries that may have been acknowledged are gone",
            mark.last_index, mark.last_term
        )));
    }
    if hard.term < mark.term || hard.term == mark.term && mark.vote != 0 && hard.vote != mark.vote {
        return Err(StorageError::damaged(format!(
            "the hard state of term {} was synced, but that of term {} is found: a vote may be forgotten",
            mark.term, hard.term
        )));
    }
    Ok(())
}

/// Asks it of a database that is not open yet, and writes nothing. Only what the log's column and the small one hold is read,
/// and of the log its end.
pub(crate) fn look(db_dir: &Path, mark: &Watermark) -> Result<(), StorageError> {
    let (options, cache) = (options(Mode::ReadOnly), Cache::new_lru_cache(0));
    let there = DB::list_cf(&options, db_dir)?;
    let needed = [columns::LOG, columns::META];
    if !needed.iter().all(|name| there.iter().any(|found| found == name)) {
        return kept(mark, 0, None, &HardState::default());
    }
    let described = needed.map(|name| ColumnFamilyDescriptor::new(name, column_options(name, &cache)));
    let db = DB::open_cf_descriptors_read_only(&options, db_dir, described, false)?;
    let column = |name: &str| db.cf_handle(name).ok_or_else(|| StorageError::damaged(format!("the column {name} is missing")));
    let (log, meta) = (column(columns::LOG)?, column(columns::META)?);
    reads_format(db.get_cf(meta, columns::META_FORMAT)?)?;
    let (cut, cut_term) = match db.get_cf(meta, columns::META_TRUNCATED)?.map(|bytes| entry::decode_numbers(&bytes)).transpose()?.as_deref()
    {
        None => (0, 0),
        Some([index, term]) => (*index, *term),
        Some(_) => return Err(StorageError::damaged("the log's first index does not decode")),
    };
    let hard = db.get_cf(meta, columns::META_HARD_STATE)?.map(|bytes| entry::decode_hard_state(&bytes)).transpose()?.unwrap_or_default();
    let mut rows = db.raw_iterator_cf(log);
    rows.seek_to_last();
    // What was dropped may still lie before the cut, until its file goes.
    let last = rows.key().and_then(columns::number).unwrap_or(0).max(cut);
    rows.status()?;
    let term = match mark.last_index {
        index if index == cut => Some(cut_term),
        index if index < cut => None,
        index => db.get_cf(log, columns::seq(index))?.map(|bytes| Ok::<_, StorageError>(entry::parse(&bytes)?.term)).transpose()?,
    };
    kept(mark, last, term, &hard)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::{Commit, Store};
    use std::collections::BTreeMap;
    use std::path::PathBuf;
    use vermilion_consensus::{Entry, LogBatch};

    /// A directory whose log has entries 1 to 20, of which the write-ahead log alone holds the ones from 11 on.
    fn killed() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let open = || Store::open(dir.path(), Mode::Node).unwrap();
        let write = |store: &Store, index: u64| {
            let entry = Entry { index, term: 1, data: vec![7; 1000], ..Entry::default() };
            let hard_state = Some(HardState { term: 1, vote: 2, commit: index - 1 });
            store.log.write_batch(LogBatch { entries: vec![entry], hard_state, snapshot: None }).unwrap();
        };
        {
            let store = open();
            store.init(0, &[1, 2, 3], &Commit { applied: Some((0, 0)), ..Commit::default() }).unwrap();
            (1..=10).for_each(|index| write(&store, index));
            store.flush().unwrap();
        }
        // Nothing of what this one writes needs a flush when it ends, as after a kill.
        let store = open();
        (11..=20).for_each(|index| write(&store, index));
        drop(store);
        dir
    }

    fn files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
        let Ok(found) = std::fs::read_dir(dir.join("db")) else { return BTreeMap::new() };
        found.map(|file| file.unwrap().path()).map(|path| (path.clone(), std::fs::read(path).unwrap())).collect()
    }

    fn write_ahead_log(dir: &Path) -> PathBuf {
        let logs = files(dir).into_iter().filter(|(path, _)| path.extension().is_some_and(|end| end == "log"));
        logs.max_by_key(|(_, bytes)| bytes.len()).unwrap().0
    }

    /// What a start says that is refused. It changes nothing in the database.
    fn refused(dir: &Path) -> String {
        let before = files(dir);
        let error = Store::open(dir, Mode::Node).err().unwrap();
        assert!(matches!(error, StorageError::Damaged { .. }), "{error}");
        assert!(files(dir) == before, "evidence was written over");
        error.to_string()
    }

    #[test]
    fn a_write_ahead_log_with_bad_bytes_in_its_midst_is_left_as_it_is() {
        let dir = killed();
        let log = write_ahead_log(dir.path());
        let whole = std::fs::read(&log).unwrap();
        assert!(whole.len() > 10_000, "{}", whole.len());
        let mut flipped = whole.clone();
        flipped[whole.len() / 2..][..4].iter_mut().for_each(|byte| *byte = !*byte);
        for bytes in [flipped, whole[..whole.len() / 2].to_vec(), Vec::new()] {
            std::fs::write(&log, bytes).unwrap();
            for _ in 0..2 {
                assert!(refused(dir.path()).contains("the Raft log was synced through 20 but ends at 1"));
            }
        }
        // What a later repair of the file brings back is all there.
        std::fs::write(&log, whole).unwrap();
        let store = Store::open(dir.path(), Mode::Node).unwrap();
        assert_eq!((store.check().unwrap().log, store.log_range()), ((1, 20), (1, 20)));
    }

    #[test]
    fn a_lost_database_is_not_begun_anew() {
        let dir = killed();
        std::fs::remove_file(write_ahead_log(dir.path())).unwrap();
        refused(dir.path());
        std::fs::remove_dir_all(dir.path().join("db")).unwrap();
        assert!(refused(dir.path()).contains("the database is missing"));
        assert!(!dir.path().join("db").exists());
    }

    #[test]
    fn a_vote_is_a_promise_without_any_entry() {
        let (mark, hard) = (Watermark { term: 3, vote: 2, ..Watermark::default() }, |term, vote| HardState { term, vote, commit: 0 });
        assert!(kept(&mark, 0, None, &hard(3, 2)).is_ok() && kept(&mark, 0, None, &hard(4, 0)).is_ok());
        for (term, vote) in [(2, 2), (3, 0), (3, 1)] {
            assert!(kept(&mark, 0, None, &hard(term, vote)).is_err());
        }
    }
}
