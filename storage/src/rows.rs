//! Columns read from one end to the other, for audits: in order of keys and without filling the block
//! cache, each row lent and not copied, the checksum of every block verified. RocksDB itself has the
//! kernel read ahead; a buffer for that here would be one more copy.

use crate::{StorageError, Store, columns};
use rocksdb::{DBRawIterator, ReadOptions};

/// A column.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Column(&'static str);

impl Column {
    /// The Raft log. [`Store::open`] reads every row of it.
    pub const LOG: Self = Self(columns::LOG);
    /// Sequence number → `StoredRecord`: see [`seq_place`].
    pub const RECORDS: Self = Self(columns::RECORDS);
    /// The registry's state.
    pub const STATE: Self = Self(columns::STATE);
    /// Sequence number, position → ciphertext: see [`vault_place`].
    pub const VAULT: Self = Self(columns::VAULT);
    /// Sequence number → `VaultWraps`: see [`seq_place`].
    pub const WRAPS: Self = Self(columns::WRAPS);
    /// Level, index → full tile.
    pub const TILES: Self = Self(columns::TILES);
    /// Index → full entry bundle: see [`seq_place`].
    pub const ENTRIES: Self = Self(columns::ENTRIES);
    /// Size of a tree → proof that it continues the checkpoint before: see [`seq_place`].
    pub const CONSISTENCY: Self = Self(columns::CONSISTENCY);

    /// Every column that a directory has.
    pub fn all() -> impl Iterator<Item = Self> {
        columns::ALL.into_iter().map(Self)
    }
}

/// A row: key and value.
pub type Row<'a> = (&'a [u8], &'a [u8]);

/// Where one reads in a column.
pub struct Rows<'a> {
    rows: DBRawIterator<'a>,
    column: Column,
}

impl Rows<'_> {
    /// The row where one is; `None` behind the last. An error says that a block could not be read or is
    /// damaged.
    pub fn current(&self) -> Result<Option<Row<'_>>, StorageError> {
        match self.rows.item() {
            Some(row) => Ok(Some(row)),
            None => self.rows.status().map(|()| None).map_err(|e| StorageError::damaged(format!("column {}: {e}", self.column.0))),
        }
    }

    /// Goes to the first row of a record or a later one, in a column whose keys begin with a record's
    /// number.
    pub fn seek(&mut self, seq: u64) {
        self.rows.seek(columns::seq(seq));
    }

    /// Goes on to the next row.
    pub fn advance(&mut self) {
        if self.rows.valid() {
            self.rows.next();
        }
    }
}

/// Record and position of a row of [`Column::VAULT`]; the position of a command's texts is
/// [`u32::MAX`]. `None` if it is no key of that column.
#[must_use]
pub fn vault_place(key: &[u8]) -> Option<(u64, u32)> {
    let (seq, position) = key.split_at_checked(8)?;
    Some((columns::number(seq)?, u32::from_be_bytes(position.try_into().ok()?)))
}

/// The record of a row of [`Column::RECORDS`] or [`Column::WRAPS`]. `None` if it is no key of these.
#[must_use]
pub fn seq_place(key: &[u8]) -> Option<u64> {
    columns::number(key).filter(|_| key.len() == 8)
}

impl Store {
    /// A column's rows from a key on; from the empty key, all.
    pub fn rows(&self, column: Column, from: &[u8]) -> Result<Rows<'_>, StorageError> {
        let mut options = ReadOptions::default();
        options.set_verify_checksums(true);
        options.fill_cache(false);
        let mut rows = self.db.raw_iterator_cf_opt(self.column(column.0)?, options);
        rows.seek(from);
        Ok(Rows { rows, column })
    }

    /// The same for columns whose keys begin with a record's number.
    pub fn rows_from(&self, column: Column, seq: u64) -> Result<Rows<'_>, StorageError> {
        self.rows(column, &columns::seq(seq))
    }
}

/// Reads every row of a column, so that a block whose checksum does not hold is found. `progress` is
/// told now and then how many rows there were since it was told last, and answers whether to go on. Answers their number.
pub fn scan_column(store: &Store, column: Column, progress: &mut dyn FnMut(u64) -> bool) -> Result<u64, StorageError> {
    const TELL: u64 = 4096;
    let mut rows = store.rows(column, b"")?;
    let mut count = 0;
    while rows.current()?.is_some() {
        rows.advance();
        count += 1;
        if count % TELL == 0 && !progress(TELL) {
            return Ok(count);
        }
    }
    progress(count % TELL);
    Ok(count)
}
