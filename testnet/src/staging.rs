//! A new ledger's folder is made in a folder within it, and stands once that is whole: what was broken off on the way leaves
//! nothing that stands in the way of the next try.

use crate::error::TestnetError;
use std::path::{Path, PathBuf};

/// The folder within.
const NAME: &str = ".founding";
/// What is made. The last says that the ledger is there, within the folder as in the end.
const MADE: [&str; 7] = ["authority", "keys", "nodes", "genesis.bin", "client.toml", "trust.json", "testnet.json"];

/// Where a ledger is made.
pub struct Staging {
    dir: PathBuf,
    within: PathBuf,
}

impl Staging {
    /// For a folder that has no ledger yet. What would be overwritten is somebody's.
    pub fn of(dir: &Path) -> Result<Self, TestnetError> {
        let staging = Self { dir: dir.into(), within: dir.join(NAME) };
        // One that is whole was broken off while it was moved: what stands outside is part of it.
        if staging.is_whole() {
            return Ok(staging);
        }
        if let Some(there) = MADE.iter().map(|name| dir.join(name)).find(|path| path.exists()) {
            let why = format!("{} is there without a ledger: take it away, or name another folder", there.display());
            return Err(TestnetError::Usage(why));
        }
        if staging.within.exists() {
            std::fs::remove_dir_all(&staging.within).map_err(|e| TestnetError::File(staging.within.clone(), e))?;
        }
        std::fs::create_dir_all(&staging.within).map_err(|e| TestnetError::File(staging.within.clone(), e))?;
        Ok(staging)
    }

    /// Where the ledger of a folder is described: there, or, if it was broken off while it was moved, in the folder within.
    #[must_use]
    pub fn described(dir: &Path) -> Option<PathBuf> {
        [dir.to_owned(), dir.join(NAME)].into_iter().find(|dir| dir.join(MADE[MADE.len() - 1]).exists())
    }

    /// The folder in which things are made.
    #[must_use]
    pub fn within(&self) -> &Path {
        &self.within
    }

    /// Whether everything is made.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.within.join(MADE[MADE.len() - 1]).exists()
    }

    /// Where something that is made here will be.
    #[must_use]
    pub fn settled(&self, path: &Path) -> PathBuf {
        self.dir.join(path.strip_prefix(&self.within).unwrap_or(path))
    }

    /// Moves everything to where it belongs.
    pub fn settle(self) -> Result<(), TestnetError> {
        for (from, to) in MADE.iter().map(|name| (self.within.join(name), self.dir.join(name))) {
            // What is missing was moved before.
            if from.exists() {
                std::fs::rename(&from, &to).map_err(|e| TestnetError::File(to, e))?;
            }
        }
        std::fs::remove_dir(&self.within).map_err(|e| TestnetError::File(self.within, e))
    }
}
