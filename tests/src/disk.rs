//! What lies in a stopped node's data directory, read and changed with RocksDB itself: by another way
//! than the node's own, as somebody with access to the disk would.

use rocksdb::{ColumnFamily, DB, IteratorMode, Options, ReadOptions};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Every column.
pub const COLUMNS: [&str; 10] = ["log", "meta", "records", "tiles", "entries", "state", "vault", "wraps", "checkpoints", "consistency"];

/// Every row of every column.
pub type Dump = BTreeMap<&'static str, Vec<(Vec<u8>, Vec<u8>)>>;

/// Reads everything without writing anything. What RocksDB cannot read is its error.
pub fn dump(data_dir: &Path) -> Result<Dump, String> {
    let db = DB::open_cf_for_read_only(&tracking(), data_dir.join("db"), COLUMNS, false).map_err(|e| e.to_string())?;
    rows(&db)
}

/// As a node opens it: the manifest lists the write-ahead logs. Without, RocksDB means to strike the
/// list, and when it only reads it has nowhere to note that and follows a null pointer.
fn tracking() -> Options {
    let mut options = Options::default();
    options.set_track_and_verify_wals_in_manifest(true);
    options
}

fn rows(db: &DB) -> Result<Dump, String> {
    let column = |name: &'static str| {
        let mut options = ReadOptions::default();
        options.set_verify_checksums(true);
        let handle = db.cf_handle(name).ok_or_else(|| format!("there is no column {name}"))?;
        let rows: Result<Vec<_>, _> = db.iterator_cf_opt(handle, options, IteratorMode::Start).collect();
        Ok((name, rows.map_err(|e| e.to_string())?.into_iter().map(|(k, v)| (k.into_vec(), v.into_vec())).collect()))
    };
    COLUMNS.into_iter().map(column).collect()
}

/// A database that is open for changes.
pub struct Raw(DB);

impl Raw {
    /// Opens a stopped node's.
    #[must_use]
    pub fn open(data_dir: &Path) -> Self {
        Self(DB::open_cf(&tracking(), data_dir.join("db"), COLUMNS).unwrap())
    }

    fn column(&self, name: &str) -> &ColumnFamily {
        self.0.cf_handle(name).unwrap()
    }

    /// Every row.
    #[must_use]
    pub fn dump(&self) -> Dump {
        rows(&self.0).unwrap()
    }

    /// Writes a row.
    pub fn put(&self, column: &str, key: &[u8], value: &[u8]) {
        self.0.put_cf(self.column(column), key, value).unwrap();
    }

    /// Deletes a row.
    pub fn delete(&self, column: &str, key: &[u8]) {
        self.0.delete_cf(self.column(column), key).unwrap();
    }
}

/// Copies a folder with everything in it.
pub fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// Every file under a folder, in order.
#[must_use]
pub fn files(folder: &Path) -> Vec<PathBuf> {
    let mut out = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            out.extend(files(&entry.path()));
        } else {
            out.push(entry.path());
        }
    }
    out.sort();
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_whose_manifest_lists_a_write_ahead_log_is_read() {
        let dir = tempfile::tempdir().unwrap();
        {
            let mut options = tracking();
            options.create_if_missing(true);
            options.create_missing_column_families(true);
            let db = DB::open_cf(&options, dir.path().join("db"), COLUMNS).unwrap();
            db.put_cf(db.cf_handle("log").unwrap(), b"key", b"value").unwrap();
            // What one column has goes to a table: the write-ahead log that it was in is closed, and
            // listed, for another column's sake.
            db.put_cf(db.cf_handle("meta").unwrap(), b"key", b"value").unwrap();
            db.flush_cf(db.cf_handle("meta").unwrap()).unwrap();
        }
        assert_eq!(dump(dir.path()).unwrap()["log"], [(b"key".to_vec(), b"value".to_vec())]);
    }
}
