//! How far the Raft log is known to be on stable storage, in a file of its own.
//!
//! RocksDB recovers its write-ahead log up to the first bad checksum and says nothing of what came
//! after. After each synced write the node notes here the log's last index with its term, and the hard
//! state's term and vote. The note itself is not synced: after a power cut it may be older than the log (then it asks
//! for less than was promised by a few writes), never newer. Only a log that becomes shorter, an old
//! leader's tail cut off, is noted first, and that note is synced. So at start:
//! log at or beyond the note → whatever was torn off had not been promised; log short of it → damage.
//!
//! The file is there before the database is, whole and on stable storage, and says that nothing was promised. So a database
//! beside which it is missing, empty or does not read is damaged too: nobody knows what was promised.

use crate::StorageError;
use std::fs::{File, TryLockError};
use std::{io::ErrorKind, os::unix::fs::FileExt as _, path::Path};
use vermilion_crypto::hash::{self, Context};

const NAME: &str = "synced";
const SLOT: usize = 72;
const FIELDS: usize = 40;
static CONTEXT: Context = Context::new("vermilion 2026-11 watermark v2");

/// What was synced.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Watermark {
    /// How many notes were written before this one: picks the newer of the two slots.
    pub count: u64,
    /// The log's last index.
    pub last_index: u64,
    /// The term of the entry there: a tail that was replaced has a later one. 0: not noted, as before a log becomes shorter.
    pub last_term: u64,
    /// The term of the hard state.
    pub term: u64,
    /// The vote of the hard state.
    pub vote: u64,
}

impl Watermark {
    /// Whether anything was promised at all. Terms begin at 1, and there is no vote and no entry before.
    pub(crate) fn promises(&self) -> bool {
        self.term > 0 || self.last_index > 0
    }

    fn encode(&self) -> [u8; SLOT] {
        let mut slot = [0; SLOT];
        for (n, number) in [self.count, self.last_index, self.last_term, self.term, self.vote].into_iter().enumerate() {
            slot[n * 8..n * 8 + 8].copy_from_slice(&number.to_be_bytes());
        }
        let digest = hash::derive(&CONTEXT, &[&slot[..FIELDS]]);
        slot[FIELDS..].copy_from_slice(&digest);
        slot
    }

    fn decode(slot: &[u8]) -> Option<Self> {
        if slot.len() != SLOT || hash::derive(&CONTEXT, &[&slot[..FIELDS]]) != slot[FIELDS..] {
            return None;
        }
        let number = |n: usize| Some(u64::from_be_bytes(slot[n * 8..n * 8 + 8].try_into().ok()?));
        Some(Self { count: number(0)?, last_index: number(1)?, last_term: number(2)?, term: number(3)?, vote: number(4)? })
    }
}

/// The open file: two slots, written in turn, so that a torn write leaves the other.
#[derive(Debug)]
pub struct WatermarkFile {
    file: File,
    last: Watermark,
}

impl WatermarkFile {
    /// Opens the file in `dir` for the one process that runs on it, and reads the newer whole slot. `is_new` says that there
    /// is no database yet: then a file that is missing is made.
    pub fn open(dir: &Path, is_new: bool) -> Result<(Self, Watermark), StorageError> {
        let path = dir.join(NAME);
        if is_new && !path.try_exists().map_err(io)? {
            Self::make(dir).map_err(io)?;
        }
        let file = match File::options().read(true).write(true).open(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Err(unknown("is missing")),
            opened => opened.map_err(io)?,
        };
        // The database's own lock comes too late: what a node is writing just now would look like damage. Where the file
        // system has no locks, there is that one.
        if let Err(TryLockError::WouldBlock) = file.try_lock() {
            return Err(StorageError::InUse(dir.display().to_string()));
        }
        let found = Self::newest(&file).map_err(io)?.ok_or_else(|| unknown("does not read"))?;
        Ok((Self { file, last: found }, found))
    }

    /// Makes the file, and puts it in place in one step: one that is cut short is never a kill's doing.
    fn make(dir: &Path) -> std::io::Result<()> {
        let new = dir.join(format!("{NAME}.new"));
        let file = File::create(&new)?;
        file.write_all_at(&[Watermark::default().encode(); 2].concat(), 0)?;
        file.sync_all()?;
        std::fs::rename(new, dir.join(NAME))?;
        File::open(dir)?.sync_all()
    }

    /// Reads the newer whole slot of the file in `dir`, if there is one.
    pub fn peek(dir: &Path) -> Option<Watermark> {
        Self::newest(&File::open(dir.join(NAME)).ok()?).ok()?
    }

    fn newest(file: &File) -> std::io::Result<Option<Watermark>> {
        let mut bytes = [0; SLOT * 2];
        let mut read = 0;
        while read < bytes.len() {
            match file.read_at(&mut bytes[read..], read as u64)? {
                0 => break,
                n => read += n,
            }
        }
        Ok(bytes[..read].chunks(SLOT).filter_map(Watermark::decode).max_by_key(|w| w.count))
    }

    /// Notes that the log is synced through `last`, an index and its term, under this hard state.
    pub fn note(&mut self, last: (u64, u64), term: u64, vote: u64) -> Result<(), StorageError> {
        self.last = Watermark { count: self.last.count + 1, last_index: last.0, last_term: last.1, term, vote };
        let at = (self.last.count % 2) * SLOT as u64;
        self.file.write_all_at(&self.last.encode(), at).map_err(io)
    }

    /// Puts the note on stable storage.
    pub fn sync(&self) -> Result<(), StorageError> {
        self.file.sync_data().map_err(io)
    }
}

/// What is said where nobody knows what was promised, and how that is.
pub(crate) fn unknown(how: &str) -> StorageError {
    StorageError::damaged(format!("the file {NAME} {how}: what was promised is not known"))
}

fn io(source: std::io::Error) -> StorageError {
    StorageError::Io { path: NAME.into(), source }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_newer_whole_slot_counts() {
        let dir = tempfile::tempdir().unwrap();
        let (mut file, found) = WatermarkFile::open(dir.path(), true).unwrap();
        assert_eq!(found, Watermark::default());
        for n in 1..=5 {
            file.note((n * 10, 1), 1, 2).unwrap();
        }
        assert_eq!(WatermarkFile::peek(dir.path()).unwrap().last_index, 50);
        file.file.write_all_at(&[0xff], SLOT as u64).unwrap(); // the fifth lies in slot 1: torn
        assert_eq!(WatermarkFile::peek(dir.path()).unwrap().last_index, 40);
    }

    #[test]
    fn a_file_that_is_missing_empty_or_garbled_is_damage_beside_a_database() {
        let dir = tempfile::tempdir().unwrap();
        drop(WatermarkFile::open(dir.path(), true).unwrap());
        let whole = std::fs::read(dir.path().join(NAME)).unwrap();
        assert_eq!(whole.len(), 2 * SLOT);
        for left in [Vec::new(), vec![7; 2 * SLOT], whole[..SLOT - 1].to_vec()] {
            std::fs::write(dir.path().join(NAME), &left).unwrap();
            for is_new in [false, true] {
                assert!(matches!(WatermarkFile::open(dir.path(), is_new), Err(StorageError::Damaged { .. })), "{}", left.len());
            }
        }
        std::fs::remove_file(dir.path().join(NAME)).unwrap();
        let missing = WatermarkFile::open(dir.path(), false).unwrap_err().to_string();
        assert!(missing.contains("synced is missing") && missing.contains("rebuild"), "{missing}");
        assert!(!dir.path().join(NAME).exists());
    }

    #[test]
    fn one_process_has_it_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let first = WatermarkFile::open(dir.path(), true).unwrap();
        assert!(matches!(WatermarkFile::open(dir.path(), false), Err(StorageError::InUse(_))));
        drop(first);
        assert!(WatermarkFile::open(dir.path(), false).is_ok());
    }
}
