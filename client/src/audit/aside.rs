//! Entries of a replayed state that were put aside because they do not fit in memory.
//!
//! What was put aside is as of the last time that anything was; entries in memory are newer and hide it, and
//! so do the keys of those that were deleted since.

use super::folder::Folder;
use super::room::Room;
use std::collections::BTreeSet;
use vermilion_storage::{Scratch, ScratchError, ScratchRows, ScratchWriter};

/// A key that was deleted, and what keeps it in its set.
const GONE_BYTES: usize = 96;

/// Entries put aside.
pub struct Aside {
    // Closed before its folder is removed.
    scratch: Scratch,
    gone: BTreeSet<Vec<u8>>,
    _folder: Folder,
}

impl Aside {
    /// Begins with none. Half of the room is the scratch space's cache from here on.
    pub fn begin(room: &Room) -> Result<Self, ScratchError> {
        let folder = Folder::make(room.folder.as_deref())?;
        let scratch = Scratch::create(&folder.rows(), room.bytes / 2)?;
        Ok(Self { scratch, gone: BTreeSet::new(), _folder: folder })
    }

    /// Notes that an entry's newest value is in memory, or that it has none.
    pub fn note(&mut self, key: &[u8], is_gone: bool) {
        if is_gone {
            self.gone.insert(key.to_vec());
        } else if !self.gone.is_empty() {
            self.gone.remove(key);
        }
    }

    /// Bytes in memory.
    pub fn bytes(&self) -> usize {
        self.gone.len() * GONE_BYTES
    }

    /// The value of an entry that is not in memory.
    pub fn value(&self, key: &[u8]) -> Result<Option<Vec<u8>>, ScratchError> {
        if self.gone.contains(key) { Ok(None) } else { self.scratch.value(key) }
    }

    /// Whether an entry was deleted since.
    pub fn is_gone(&self, key: &[u8]) -> bool {
        self.gone.contains(key)
    }

    /// The keys under a prefix that were deleted since.
    pub fn gone<'a>(&'a self, prefix: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
        self.gone
            .range::<[u8], _>((std::ops::Bound::Included(prefix), std::ops::Bound::Unbounded))
            .map(Vec::as_slice)
            .take_while(move |key| key.starts_with(prefix))
    }

    /// Entries as of the last time that any were put aside, in order of keys, from a key on.
    pub fn rows(&self, from: &[u8]) -> ScratchRows<'_> {
        self.scratch.rows(from)
    }

    /// The same, to be looked at under newer entries.
    pub fn below(&self) -> &Scratch {
        &self.scratch
    }

    /// Puts more aside: `put` writes every entry that is in memory.
    pub fn put(&mut self, put: impl FnOnce(&mut ScratchWriter<'_>) -> Result<(), ScratchError>) -> Result<(), ScratchError> {
        let mut writer = self.scratch.writer();
        for key in std::mem::take(&mut self.gone) {
            writer.set(&key, None)?;
        }
        put(&mut writer)?;
        writer.finish()
    }
}
