//! A copy of a directory whose node goes on: for auditors, and for the day when all nodes' disks are lost.
//!
//! RocksDB links its files into the copy, so that it costs time and room only as the ledger goes on. A copy is never run as
//! the node that it was taken of: what that node promised since, it does not know.

use crate::{StorageError, Store};
use rocksdb::checkpoint::Checkpoint;
use std::fs::File;
use std::path::Path;
use std::sync::PoisonError;

/// The file that says that a directory is a copy.
const MARK: &str = "backup";

/// How the name of a copy ends that is not whole yet.
pub const UNFINISHED: &str = "new";

/// Whether a directory is a copy that [`Store::backup`] made.
#[must_use]
pub fn is_backup(dir: &Path) -> bool {
    dir.join(MARK).exists()
}

impl Store {
    /// Copies the database as of now into the new folder `to`, whole or not at all, on the database's own file system: on
    /// another it would be copied, and applying would wait. The watermark and the node's trail stay behind.
    ///
    /// Applying waits for the last part of it: records, state and tree are as of one block.
    pub fn backup(&self, to: &Path) -> Result<(), StorageError> {
        let io = |path: &Path| {
            let path = path.display().to_string();
            move |source| StorageError::Io { path, source }
        };
        let unfinished = to.with_extension(UNFINISHED);
        if unfinished.exists() {
            std::fs::remove_dir_all(&unfinished).map_err(io(&unfinished))?;
        }
        std::fs::create_dir_all(&unfinished).map_err(io(&unfinished))?;
        // What is in memory goes to the disk before anybody waits.
        self.log.flush_all()?;
        {
            let _one = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
            Checkpoint::new(&*self.db)?.create_checkpoint(unfinished.join("db"))?;
        }
        let mark = unfinished.join(MARK);
        std::fs::write(&mark, "A copy for auditors. vermiliond does not run on it.\n").map_err(io(&mark))?;
        for path in [&mark, &unfinished] {
            File::open(path).and_then(|file| file.sync_all()).map_err(io(path))?;
        }
        if to.exists() {
            return Err(io(to)(std::io::ErrorKind::AlreadyExists.into()));
        }
        std::fs::rename(&unfinished, to).map_err(io(to))?;
        let above = to.parent().unwrap_or(Path::new("."));
        File::open(above).and_then(|folder| folder.sync_all()).map_err(io(above))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::{Commit, Mode};
    use std::collections::BTreeMap;
    use vermilion_registry::Kv as _;

    fn rows(store: &Store) -> BTreeMap<Vec<u8>, Vec<u8>> {
        let mut rows = BTreeMap::new();
        store.state().scan(b"", &mut |key, value| rows.insert(key.to_vec(), value.to_vec()).is_none()).unwrap();
        rows
    }

    #[test]
    fn a_copy_is_as_of_one_moment_and_no_node_runs_on_it() {
        let (dir, copies) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let store = Store::open(dir.path(), Mode::Node).unwrap();
        let commit = |value: &[u8]| Commit {
            applied: Some((0, 0)),
            state: vec![(b"a".to_vec(), Some(value.to_vec()))].into_iter().collect(),
            ..Commit::default()
        };
        store.init(0, &[1], &commit(b"1")).unwrap();
        let (first, second) = (copies.path().join("1"), copies.path().join("2"));
        store.backup(&first).unwrap();
        store.commit(&commit(b"2")).unwrap();
        store.backup(&second).unwrap();
        assert!(store.backup(&second).is_err(), "nothing is written over");
        for (copy, value) in [(&first, b"1"), (&second, b"2")] {
            assert_eq!(rows(&Store::open(copy, Mode::ReadOnly).unwrap()).get(&b"a"[..]).unwrap(), value);
            assert!(is_backup(copy) && matches!(Store::open(copy, Mode::Node), Err(StorageError::Backup(_))));
        }
        assert!(!is_backup(dir.path()));
    }
}
