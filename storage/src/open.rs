use crate::{
    StorageError,
    backup::is_backup,
    columns, entry, framing,
    log::LogShared,
    processor, promise,
    watermark::{Watermark, WatermarkFile},
};
use rocksdb::{
    BlockBasedOptions, Cache, ColumnFamily, ColumnFamilyDescriptor, DB, DBCompressionType, DBRecoveryMode, Options, WriteBufferManager,
};
use std::{path::Path, path::PathBuf, sync::Arc, sync::Mutex};

/// The format of the directory as a whole.
pub const FORMAT: u32 = 1;

/// Memory bounds of one open store. A node's memory is these, the queues, and the log's tail.
const BLOCK_CACHE_BYTES: usize = 96 << 20;
const WRITE_BUFFERS_BYTES: usize = 192 << 20;
const WRITE_BUFFER_BYTES: usize = 32 << 20;
const WAL_BYTES: u64 = 256 << 20;

/// How to open.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// For a node: takes the directory's lock, makes it if missing, replays the write-ahead log.
    Node,
    /// For an auditor: the directory is not written to.
    ReadOnly,
}

/// One data directory. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    pub(crate) db: Arc<DB>,
    pub(crate) dir: PathBuf,
    pub(crate) log: Arc<LogShared>,
    /// What the watermark said when the store was opened.
    pub(crate) watermark: Option<Watermark>,
    /// A batch reads what it changes: one at a time of those of the applier and of a history that comes.
    pub(crate) writing: Arc<Mutex<()>>,
}

impl Store {
    /// Opens the directory. Checks the format and, for a node, that what was promised is there, before anything is written;
    /// of the content no more: see [`Store::check`].
    pub fn open(dir: &Path, mode: Mode) -> Result<Self, StorageError> {
        if let Some(why) = processor::lacking() {
            return Err(StorageError::Processor(why));
        }
        let db_dir = dir.join("db");
        if mode == Mode::Node && is_backup(dir) {
            return Err(StorageError::Backup(dir.display().to_string()));
        }
        check_named(&db_dir)?;
        // What was promised, before a database that is opened for writing takes away what is left of it.
        let (file, watermark) = match mode {
            Mode::Node => {
                std::fs::create_dir_all(dir).map_err(|source| StorageError::Io { path: dir.display().to_string(), source })?;
                let is_new = matches!(db_dir.join(CURRENT).try_exists(), Ok(false));
                let (file, mark) = WatermarkFile::open(dir, is_new)?;
                if is_new && mark.promises() {
                    return Err(StorageError::damaged(format!(
                        "the database is missing, but the Raft log was synced through {} in term {}",
                        mark.last_index, mark.term
                    )));
                }
                framing::check(&db_dir)?;
                if mark.promises() {
                    promise::look(&db_dir, &mark)?;
                }
                (Some(file), Some(mark))
            }
            Mode::ReadOnly => {
                framing::check(&db_dir)?;
                (None, WatermarkFile::peek(dir))
            }
        };
        let (options, cache) = (options(mode), Cache::new_lru_cache(BLOCK_CACHE_BYTES));
        let described = |names: &mut dyn Iterator<Item = &'static str>| -> Vec<_> {
            names.map(|name| ColumnFamilyDescriptor::new(name, column_options(name, &cache))).collect()
        };
        let db = match mode {
            Mode::Node => {
                DB::open_cf_descriptors(&options, &db_dir, described(&mut columns::ALL.into_iter())).map_err(|e| not_opened(dir, e))?
            }
            Mode::ReadOnly => {
                // A directory from before a column was added does not have it until its node ran again.
                let there = DB::list_cf(&options, &db_dir)?;
                let mut names = columns::ALL.into_iter().filter(|name| there.iter().any(|found| found == name));
                DB::open_cf_descriptors_read_only(&options, &db_dir, described(&mut names), false)?
            }
        };
        let db = Arc::new(db);
        let log = Arc::new(LogShared::open(Arc::clone(&db), file)?);
        let store = Self { db, dir: dir.to_path_buf(), log, watermark, writing: Arc::default() };
        if !reads_format(store.meta(columns::META_FORMAT)?)? {
            if mode == Mode::ReadOnly {
                return Err(StorageError::damaged("the directory's format is not stated"));
            }
            store.db.put_cf(store.column(columns::META)?, columns::META_FORMAT, entry::encode_numbers(&[u64::from(FORMAT)]))?;
        }
        Ok(store)
    }

    /// The data directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    pub(crate) fn column(&self, name: &str) -> Result<&ColumnFamily, StorageError> {
        self.db.cf_handle(name).ok_or_else(|| StorageError::damaged(format!("the column {name} is missing")))
    }

    pub(crate) fn meta(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StorageError> {
        Ok(self.db.get_cf(self.column(columns::META)?, key)?)
    }
}

/// The options of the database as a whole.
pub(crate) fn options(mode: Mode) -> Options {
    let mut options = Options::default();
    options.create_if_missing(mode == Mode::Node);
    options.create_missing_column_families(mode == Mode::Node);
    options.set_paranoid_checks(true);
    // Recover up to the first bad checksum; whether anything promised lay behind it, the watermark tells.
    options.set_wal_recovery_mode(DBRecoveryMode::PointInTime);
    options.set_track_and_verify_wals_in_manifest(true);
    options.set_max_total_wal_size(WAL_BYTES);
    options.set_max_background_jobs(2);
    options.set_keep_log_file_num(4);
    options.set_write_buffer_manager(&WriteBufferManager::new_write_buffer_manager(WRITE_BUFFERS_BYTES, false));
    // What applying writes is not in the write-ahead log: it is made again from the Raft log, which
    // is. All columns reach the disk together, so that a crash finds them as of one moment.
    options.set_atomic_flush(true);
    options
}

/// Refuses a directory of a format that this version does not read; says whether it states one.
pub(crate) fn reads_format(stated: Option<Vec<u8>>) -> Result<bool, StorageError> {
    match stated.map(|bytes| entry::decode_numbers(&bytes)).transpose()?.as_deref() {
        None => Ok(false),
        Some([format]) if *format == u64::from(FORMAT) => Ok(true),
        Some([format]) => Err(StorageError::Format { found: *format as u32, read: FORMAT }),
        Some(_) => Err(StorageError::damaged("the directory's format is not stated")),
    }
}

/// The file that names the manifest, and how a manifest's name begins.
const CURRENT: &str = "CURRENT";
const MANIFEST: &str = "MANIFEST-";

/// Whether a database that was in use still names what it consists of. RocksDB takes a lost manifest for a
/// file that cannot be read, and a lost `CURRENT` for a database that is yet to be made: it begins an
/// empty one in its place, and what is left of the old one is gone. So it is asked before RocksDB looks.
fn check_named(db_dir: &Path) -> Result<(), StorageError> {
    match std::fs::read_to_string(db_dir.join(CURRENT)) {
        Ok(named) => {
            let manifest = named.trim_end();
            // What else may be wrong with it RocksDB says.
            let gone = || matches!(db_dir.join(manifest).try_exists(), Ok(false));
            // A node that begins beside a reader names a newer one and takes the old one away.
            let again = || std::fs::read_to_string(db_dir.join(CURRENT)).is_ok_and(|again| again == named);
            if manifest.starts_with(MANIFEST) && gone() && again() {
                return Err(StorageError::damaged(format!("the database's file {manifest} is missing")));
            }
            Ok(())
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && was_in_use(db_dir) => {
            Err(StorageError::damaged(format!("the database's file {CURRENT} is missing")))
        }
        Err(_) => Ok(()),
    }
}

/// Whether files are there that RocksDB makes once a database is open: tables, write-ahead logs, options. One
/// whose making was cut short has none, and is made again.
fn was_in_use(db_dir: &Path) -> bool {
    let Ok(files) = std::fs::read_dir(db_dir) else { return false };
    files.filter_map(|file| file.ok()?.file_name().into_string().ok()).any(|name| {
        let numbered = |end: &str| name.strip_suffix(end).is_some_and(|number: &str| number.bytes().all(|b| b.is_ascii_digit()));
        numbered(".sst") || numbered(".log") || name.starts_with("OPTIONS-")
    })
}

/// Why the database does not open. That its lock is held RocksDB says in words alone.
fn not_opened(dir: &Path, error: rocksdb::Error) -> StorageError {
    let held = ["While lock file", "lock hold by current process"].iter().any(|words| error.as_ref().contains(words));
    if held { StorageError::InUse(dir.display().to_string()) } else { error.into() }
}

pub(crate) fn column_options(name: &str, cache: &Cache) -> Options {
    let mut options = Options::default();
    options.set_write_buffer_size(WRITE_BUFFER_BYTES);
    options.set_max_write_buffer_number(3);
    // Ciphertexts and hashes do not shrink; records and state do. The log's entries are ciphertexts for the most part.
    options.set_compression_type(match name {
        columns::VAULT | columns::WRAPS | columns::TILES | columns::ENTRIES | columns::CONSISTENCY | columns::LOG => {
            DBCompressionType::None
        }
        _ => DBCompressionType::Lz4,
    });
    let mut table = BlockBasedOptions::default();
    table.set_block_cache(cache);
    table.set_block_size(16 << 10);
    table.set_format_version(5);
    if name == columns::LOG {
        // Written in order and dropped by whole files, but never from level 0: compaction moves files down, and copies none
        // that follow each other.
        options.set_level_zero_slowdown_writes_trigger(1 << 20);
        options.set_level_zero_stop_writes_trigger(1 << 20);
    }
    if name == columns::STATE {
        // Most look-ups of an issue ask for what is not there yet.
        table.set_bloom_filter(10.0, false);
        options.set_memtable_prefix_bloom_ratio(0.05);
        options.set_memtable_whole_key_filtering(true);
    }
    options.set_block_based_table_factory(&table);
    options
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_second_node_on_a_directory_is_told_of_the_first() {
        let dir = tempfile::tempdir().unwrap();
        let _first = Store::open(dir.path(), Mode::Node).unwrap();
        assert!(matches!(Store::open(dir.path(), Mode::Node), Err(StorageError::InUse(_))));
    }

    /// The names of the files in a directory's database.
    fn names(dir: &Path) -> Vec<String> {
        let files = std::fs::read_dir(dir.join("db")).unwrap();
        let mut names: Vec<String> = files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_database_without_its_manifest_or_its_name_is_damaged_and_stays_as_it_is() {
        for is_manifest in [false, true] {
            let dir = tempfile::tempdir().unwrap();
            drop(Store::open(dir.path(), Mode::Node).unwrap());
            let current = dir.path().join("db").join(CURRENT);
            let file = if is_manifest { std::fs::read_to_string(&current).unwrap().trim_end().to_owned() } else { CURRENT.to_owned() };
            std::fs::remove_file(dir.path().join("db").join(&file)).unwrap();
            let left = names(dir.path());
            for mode in [Mode::Node, Mode::ReadOnly] {
                let error = Store::open(dir.path(), mode).err().unwrap();
                let told = error.to_string();
                assert!(matches!(error, StorageError::Damaged { .. }), "{told}");
                assert!(told.contains(&file) && told.contains("rebuild"), "{told}");
            }
            assert_eq!(names(dir.path()), left, "evidence was written over");
        }
    }

    #[test]
    fn what_never_was_a_database_is_not_damaged() {
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(Store::open(dir.path(), Mode::ReadOnly), Err(StorageError::Database(_))));
        // A first start that ended before there was a database.
        std::fs::create_dir_all(dir.path().join("db")).unwrap();
        for name in ["LOCK", "LOG", "MANIFEST-000001"] {
            std::fs::write(dir.path().join("db").join(name), "").unwrap();
        }
        assert!(matches!(Store::open(dir.path(), Mode::ReadOnly), Err(StorageError::Database(_))));
        assert!(Store::open(dir.path(), Mode::Node).is_ok());
    }
}
