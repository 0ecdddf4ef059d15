//! Rows that a computation puts aside because they do not fit in memory: a database of its own, read by
//! nobody else. It has no write-ahead log and syncs nothing: what a crash leaves of it is of no use, and whoever
//! began it takes its folder away.

use crate::Row;
use crate::error::is_full;
use rocksdb::{
    BlockBasedIndexType, BlockBasedOptions, Cache, DB, DBCompressionType, DBRawIterator, Options, ReadOptions, WriteBatch, WriteOptions,
};
use std::path::{Path, PathBuf};
use vermilion_registry::{Kv, KvError};

/// Rows on their way to the disk: so many buffers, each of so many bytes, beside the cache.
const WRITE_BUFFER_BYTES: usize = 32 << 20;
const WRITE_BUFFERS: i32 = 2;
/// Bytes of rows that are written together.
const BATCH_BYTES: usize = 1 << 20;
/// Filters and indexes lie in the cache with the rows: with less, each look-up would read them anew.
const LEAST_CACHE_BYTES: usize = 8 << 20;
/// Few and large files, and few of them open: a process may not have more than some hundreds.
const FILE_BYTES: u64 = 256 << 20;
const OPEN_FILES: i32 = 256;
const BLOCK_BYTES: usize = 16 << 10;

/// Rows put aside, in order of keys.
pub struct Scratch {
    db: DB,
    dir: PathBuf,
}

/// The scratch space failed: nothing that was to be computed with it is known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the scratch space in {dir} failed: {why}{}", advice(.why))]
pub struct ScratchError {
    /// The folder.
    pub dir: String,
    /// Why.
    pub why: String,
}

fn advice(why: &str) -> &'static str {
    if is_full(why) { ": free space there, or give it another place" } else { "" }
}

impl From<ScratchError> for KvError {
    fn from(error: ScratchError) -> Self {
        Self(error.to_string())
    }
}

impl Scratch {
    /// Begins one in a folder that has no database yet. Of the rows, their filters and their index
    /// `cache_bytes` stay in memory (8 MiB at least), and 64 MiB of those that were written last.
    pub fn create(dir: &Path, cache_bytes: usize) -> Result<Self, ScratchError> {
        if let Some(why) = crate::processor::lacking() {
            return Err(ScratchError { dir: dir.display().to_string(), why: why.to_owned() });
        }
        let cache = Cache::new_lru_cache(cache_bytes.max(LEAST_CACHE_BYTES));
        let db = DB::open(&options(&cache), dir);
        let db = db.map_err(|error| ScratchError { dir: dir.display().to_string(), why: error.into_string() })?;
        Ok(Self { db, dir: dir.to_owned() })
    }

    fn failed(&self, error: rocksdb::Error) -> ScratchError {
        ScratchError { dir: self.dir.display().to_string(), why: error.into_string() }
    }

    /// The value of a key.
    pub fn value(&self, key: &[u8]) -> Result<Option<Vec<u8>>, ScratchError> {
        self.db.get(key).map_err(|error| self.failed(error))
    }

    /// Writes rows, and reads none meanwhile.
    #[must_use]
    pub fn writer(&self) -> ScratchWriter<'_> {
        ScratchWriter { scratch: self, batch: WriteBatch::default() }
    }

    /// The rows from a key on.
    #[must_use]
    pub fn rows(&self, from: &[u8]) -> ScratchRows<'_> {
        let mut options = ReadOptions::default();
        options.fill_cache(false);
        let mut rows = self.db.raw_iterator_opt(options);
        rows.seek(from);
        ScratchRows { rows, scratch: self }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Nobody waits until files are put in order that are about to go.
        self.db.cancel_all_background_work(true);
    }
}

impl Kv for Scratch {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, KvError> {
        Ok(self.value(key)?)
    }

    fn scan(&self, prefix: &[u8], visit: &mut dyn FnMut(&[u8], &[u8]) -> bool) -> Result<(), KvError> {
        let mut rows = self.rows(prefix);
        while let Some((key, value)) = rows.current()? {
            if !key.starts_with(prefix) || !visit(key, value) {
                break;
            }
            rows.advance();
        }
        Ok(())
    }
}

/// Rows on their way into a [`Scratch`].
pub struct ScratchWriter<'a> {
    scratch: &'a Scratch,
    batch: WriteBatch,
}

impl ScratchWriter<'_> {
    /// A row's new value or, with `None`, its end.
    pub fn set(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<(), ScratchError> {
        match value {
            Some(value) => self.batch.put(key, value),
            None => self.batch.delete(key),
        }
        if self.batch.size_in_bytes() < BATCH_BYTES { Ok(()) } else { self.write() }
    }

    /// Writes what is left.
    pub fn finish(mut self) -> Result<(), ScratchError> {
        self.write()
    }

    fn write(&mut self) -> Result<(), ScratchError> {
        let mut options = WriteOptions::default();
        options.disable_wal(true);
        let batch = std::mem::take(&mut self.batch);
        self.scratch.db.write_opt(batch, &options).map_err(|error| self.scratch.failed(error))
    }
}

/// Where one reads in a [`Scratch`].
pub struct ScratchRows<'a> {
    rows: DBRawIterator<'a>,
    scratch: &'a Scratch,
}

impl ScratchRows<'_> {
    /// The row where one is; `None` behind the last.
    pub fn current(&self) -> Result<Option<Row<'_>>, ScratchError> {
        match self.rows.item() {
            Some(row) => Ok(Some(row)),
            None => self.rows.status().map(|()| None).map_err(|error| self.scratch.failed(error)),
        }
    }

    /// Goes on to the next row.
    pub fn advance(&mut self) {
        if self.rows.valid() {
            self.rows.next();
        }
    }
}

fn options(cache: &Cache) -> Options {
    let mut options = Options::default();
    options.create_if_missing(true);
    options.set_error_if_exists(true);
    options.set_paranoid_checks(true);
    options.set_max_background_jobs(2);
    options.set_keep_log_file_num(1);
    options.set_write_buffer_size(WRITE_BUFFER_BYTES);
    options.set_max_write_buffer_number(WRITE_BUFFERS);
    options.set_target_file_size_base(FILE_BYTES);
    options.set_max_bytes_for_level_base(4 * FILE_BYTES);
    options.set_max_open_files(OPEN_FILES);
    options.set_compression_type(DBCompressionType::Lz4);
    let mut table = BlockBasedOptions::default();
    table.set_format_version(5);
    table.set_block_cache(cache);
    table.set_block_size(BLOCK_BYTES);
    // Most look-ups ask for what is not there. Filters and indexes come in parts, so that they too stay
    // within the cache, however many rows there are.
    table.set_bloom_filter(10.0, false);
    table.set_partition_filters(true);
    table.set_index_type(BlockBasedIndexType::TwoLevelIndexSearch);
    table.set_cache_index_and_filter_blocks(true);
    table.set_cache_index_and_filter_blocks_with_high_priority(true);
    options.set_block_based_table_factory(&table);
    options
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_read_as_they_were_written_last() {
        let dir = tempfile::tempdir().unwrap();
        let scratch = Scratch::create(dir.path(), 0).unwrap();
        // More than one batch of rows.
        let value = |n: u32| vec![n as u8; 1000];
        let mut writer = scratch.writer();
        for n in 0..3000u32 {
            writer.set(&n.to_be_bytes(), Some(&value(n))).unwrap();
        }
        writer.finish().unwrap();
        let mut writer = scratch.writer();
        writer.set(&7u32.to_be_bytes(), None).unwrap();
        writer.set(&8u32.to_be_bytes(), Some(b"again")).unwrap();
        writer.finish().unwrap();
        assert_eq!(scratch.value(&7u32.to_be_bytes()).unwrap(), None);
        assert_eq!(scratch.value(&8u32.to_be_bytes()).unwrap().unwrap(), b"again");
        let mut rows = scratch.rows(&5u32.to_be_bytes());
        let mut seen = Vec::new();
        while let Some((key, _)) = rows.current().unwrap() {
            seen.push(u32::from_be_bytes(key.try_into().unwrap()));
            rows.advance();
        }
        assert_eq!(seen.len(), 2994);
        assert_eq!(seen[..3], [5, 6, 8]);
        let mut below = 0;
        scratch
            .scan(&[0, 0, 1], &mut |_, _| {
                below += 1;
                true
            })
            .unwrap();
        assert_eq!(below, 256);
    }

    #[test]
    fn it_begins_where_nothing_is_and_says_where_it_cannot() {
        let dir = tempfile::tempdir().unwrap();
        drop(Scratch::create(dir.path(), 0).unwrap());
        let error = Scratch::create(dir.path(), 0).err().unwrap();
        assert!(error.to_string().contains(&dir.path().display().to_string()), "{error}");
        let full = ScratchError { dir: "/x".into(), why: "IO error: No space left on device: While appending".into() };
        assert!(full.to_string().contains("give it another place"), "{full}");
    }
}
