//! Where records come from. No source is trusted: what it says is only ever compared.

use std::path::{Path, PathBuf};
use vermilion_proto::LedgerHead;
use vermilion_registry::query;
use vermilion_storage::{Column, Mode, StorageError, Store, seq_place};

/// Why a source gave no more.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// It cannot be reached or opened: says nothing about the ledger.
    #[error("{0}")]
    Unreachable(String),
    /// What is there is damaged: a finding.
    #[error("{0}")]
    Damaged(String),
    /// Whoever audits broke it off: nothing is the matter with it.
    #[error("{0}")]
    Interrupted(String),
}

impl From<StorageError> for ReadError {
    fn from(error: StorageError) -> Self {
        match error {
            StorageError::Damaged { .. } => Self::Damaged(error.to_string()),
            _ => Self::Unreachable(error.to_string()),
        }
    }
}

/// Records and checkpoints of one node. Calls block; an audit makes them from threads of its own.
pub trait Source: Send + Sync {
    /// Its name in findings.
    fn name(&self) -> &str;

    /// How many records it says it has. Asked once, before anything else.
    fn size(&self) -> Result<u64, ReadError>;

    /// Its records from `from` on, each as an encoded `StoredRecord`, in the order of their places, until
    /// `visit` says stop: all that there are in a directory, those within [`Source::size`] of a running
    /// node.
    fn records(&self, from: u64, visit: &mut dyn FnMut(u64, &[u8]) -> bool) -> Result<(), ReadError>;

    /// Its checkpoint for exactly this size.
    fn checkpoint(&self, size: u64) -> Result<Option<Vec<u8>>, ReadError>;

    /// Its checkpoints with the size that each is kept under, until `visit` says stop. A source that cannot list them is
    /// asked for those of `sizes`.
    fn checkpoints(&self, sizes: &[u64], visit: &mut dyn FnMut(u64, Vec<u8>) -> bool) -> Result<(), ReadError> {
        for size in sizes {
            if let Some(note) = self.checkpoint(*size)?
                && !visit(*size, note)
            {
                break;
            }
        }
        Ok(())
    }

    /// The open data directory, if it is one: then tiles, state, vault and database are checked too.
    fn store(&self) -> Option<&Store> {
        None
    }
}

/// What a data directory has once its node has run.
const DATABASE: &str = "db/CURRENT";

/// What is said of a folder that is no data directory. A node's folder often has it right below.
fn none_in(dir: &Path) -> String {
    let below = std::fs::read_dir(dir).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()));
    let mut below: Vec<PathBuf> = below.filter(|path| path.join(DATABASE).exists()).collect();
    below.sort();
    let meant = below.first().map(|path| format!("; {} is one", path.display())).unwrap_or_default();
    format!("it is no node's data directory (data_dir in node.toml){meant}")
}

/// A stopped node's data directory, opened without writing to it.
pub struct Directory {
    name: String,
    store: Store,
}

impl Directory {
    /// Opens it.
    pub fn open(dir: &Path) -> Result<Self, ReadError> {
        if !dir.is_dir() {
            return Err(ReadError::Unreachable(format!("{} is no directory", dir.display())));
        }
        match Store::open(dir, Mode::ReadOnly) {
            Ok(store) => Ok(Self::of(store)),
            // A database that lost this file after it was in use is damaged; without it none ever was there.
            Err(error) if !matches!(error, StorageError::Damaged { .. }) && matches!(dir.join(DATABASE).try_exists(), Ok(false)) => {
                Err(ReadError::Unreachable(none_in(dir)))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// One that is open already.
    #[must_use]
    pub fn of(store: Store) -> Self {
        Self { name: store.dir().display().to_string(), store }
    }

    /// Its head, if there is one that decodes.
    pub(crate) fn head(store: &Store) -> Result<LedgerHead, ReadError> {
        match query::head(&store.state()) {
            Ok(Some(head)) => Ok(head),
            Ok(None) => Err(ReadError::Damaged("the directory has no ledger head".into())),
            Err(error) => Err(ReadError::Damaged(error.to_string())),
        }
    }
}

impl Source for Directory {
    fn name(&self) -> &str {
        &self.name
    }

    fn size(&self) -> Result<u64, ReadError> {
        Self::head(&self.store).map(|head| head.size)
    }

    fn records(&self, from: u64, visit: &mut dyn FnMut(u64, &[u8]) -> bool) -> Result<(), ReadError> {
        let mut rows = self.store.rows_from(Column::RECORDS, from)?;
        while let Some((key, row)) = rows.current()? {
            let place = seq_place(key).ok_or_else(|| ReadError::Damaged("a record's key does not decode".into()))?;
            if !visit(place, row) {
                break;
            }
            rows.advance();
        }
        Ok(())
    }

    fn checkpoint(&self, size: u64) -> Result<Option<Vec<u8>>, ReadError> {
        Ok(self.store.checkpoint(size)?)
    }

    fn checkpoints(&self, _: &[u64], visit: &mut dyn FnMut(u64, Vec<u8>) -> bool) -> Result<(), ReadError> {
        Ok(self.store.checkpoints(0, &mut |size, note| visit(size, note.to_vec()))?)
    }

    fn store(&self) -> Option<&Store> {
        Some(&self.store)
    }
}

/// A directory that does not even open, kept among the sources so that it is a finding.
pub struct Unopened {
    name: String,
    why: String,
}

impl Unopened {
    /// Of this name, for this reason.
    #[must_use]
    pub fn new(name: String, why: String) -> Self {
        Self { name, why }
    }
}

impl Source for Unopened {
    fn name(&self) -> &str {
        &self.name
    }

    fn size(&self) -> Result<u64, ReadError> {
        Err(ReadError::Damaged(self.why.clone()))
    }

    fn records(&self, _: u64, _: &mut dyn FnMut(u64, &[u8]) -> bool) -> Result<(), ReadError> {
        Err(ReadError::Damaged(self.why.clone()))
    }

    fn checkpoint(&self, _: u64) -> Result<Option<Vec<u8>>, ReadError> {
        Err(ReadError::Damaged(self.why.clone()))
    }
}
