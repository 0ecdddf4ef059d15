//! How RocksDB frames what it appends to its write-ahead logs and its manifest.
//!
//! RocksDB 11 never ends when it meets a record of a *recycled* file in one that was not recycled: it refuses the record, stays
//! in front of it and reads it again. One flipped byte of a record's type does that, and a start or an audit would hang without a
//! word. Nothing that this program writes is recycled, so such a record is damage, and is looked for before RocksDB reads.

use crate::StorageError;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read};
use std::path::Path;

/// Bytes of a block: no record goes beyond one.
const BLOCK: usize = 32 << 10;
/// Bytes of a record's head: checksum (4), length (2), both little-endian, and type.
const HEAD: usize = 7;
/// Where in a head the type stands, from which on the checksum is made.
const TYPE: usize = 6;
/// Types of records of recycled files: full, first, middle, last; sizes of timestamps; the log before.
const RECYCLED: [u8; 6] = [5, 6, 7, 8, 11, 131];
/// What RocksDB adds to a checksum after turning it, so that a sum of sums is none.
const MASK: u32 = 0xa282_ead8;

/// Refuses a database in whose logs and manifests RocksDB would not get further. Files that are not there are not asked for.
pub(crate) fn check(db_dir: &Path) -> Result<(), StorageError> {
    let failed = |source| StorageError::Io { path: db_dir.display().to_string(), source };
    let files = match fs::read_dir(db_dir) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        read => read.map_err(failed)?,
    };
    for file in files {
        let path = file.map_err(failed)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if !name.starts_with("MANIFEST-") && path.extension().is_none_or(|end| end != "log") {
            continue;
        }
        let found = match File::open(&path) {
            // The node that runs on the directory is done with it.
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            opened => opened.and_then(recycled).map_err(|source| StorageError::Io { path: path.display().to_string(), source })?,
        };
        if let Some(at) = found {
            return Err(StorageError::damaged(format!("db/{name} has a record at byte {at} of a type that is never written")));
        }
    }
    Ok(())
}

/// Where in a file the first record stands that is of a recycled one, on the way that RocksDB takes through it.
fn recycled(mut file: impl Read) -> io::Result<Option<u64>> {
    let mut block = Vec::with_capacity(BLOCK);
    let mut before = 0;
    loop {
        block.clear();
        file.by_ref().take(BLOCK as u64).read_to_end(&mut block)?;
        if let Some(at) = recycled_in(&block) {
            return Ok(Some(before + at as u64));
        }
        if block.len() < BLOCK {
            return Ok(None);
        }
        before += BLOCK as u64;
    }
}

fn recycled_in(block: &[u8]) -> Option<usize> {
    let mut rest = block;
    while let Some((head, behind)) = rest.split_first_chunk::<HEAD>() {
        if RECYCLED.contains(&head[TYPE]) {
            return Some(block.len() - rest.len());
        }
        let [c0, c1, c2, c3, l0, l1, _] = *head;
        let length = usize::from(u16::from_le_bytes([l0, l1]));
        // What does not fit or hold is RocksDB's to judge: it goes on with the next block.
        let sum = crc32c::crc32c(rest.get(TYPE..HEAD + length)?);
        if sum.rotate_right(15).wrapping_add(MASK) != u32::from_le_bytes([c0, c1, c2, c3]) {
            return None;
        }
        rest = behind.get(length..)?;
    }
    None
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::{Commit, Mode, Store};
    use proptest::prelude::*;
    use vermilion_consensus::{Entry, HardState, LogBatch};

    /// A directory whose write-ahead log has records of some blocks.
    fn directory() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let open = || Store::open(dir.path(), Mode::Node).unwrap();
        {
            let store = open();
            store.init(0, &[1, 2, 3], &Commit { applied: Some((0, 0)), ..Commit::default() }).unwrap();
            store.flush().unwrap();
        }
        // Nothing of what this one writes needs a flush when it ends, so that the log stays.
        let store = open();
        for index in 1..=60 {
            let entry = Entry { index, term: 1, data: vec![7; 2000], ..Entry::default() };
            let hard_state = Some(HardState { term: 1, vote: 2, commit: index - 1 });
            store.log.write_batch(LogBatch { entries: vec![entry], hard_state, snapshot: None }).unwrap();
        }
        drop(store);
        dir
    }

    /// Where the records of a file stand.
    fn records(bytes: &[u8]) -> Vec<usize> {
        let mut at = Vec::new();
        for (n, block) in bytes.chunks(BLOCK).enumerate() {
            let mut rest = block;
            while let Some((head, behind)) = rest.split_first_chunk::<HEAD>().filter(|(head, _)| head[TYPE] != 0) {
                at.push(n * BLOCK + block.len() - rest.len());
                rest = &behind[usize::from(u16::from_le_bytes([head[4], head[5]]))..];
            }
        }
        at
    }

    #[test]
    fn a_record_that_rocksdb_would_read_for_ever_is_damage() {
        let dir = directory();
        let db = dir.path().join("db");
        check(&db).unwrap();
        let mut tried = 0;
        for file in fs::read_dir(&db).unwrap().map(|file| file.unwrap().path()) {
            let name = file.file_name().unwrap().to_string_lossy().into_owned();
            let whole = fs::read(&file).unwrap();
            if !(name.starts_with("MANIFEST-") || name.ends_with(".log")) || whole.is_empty() {
                continue;
            }
            for at in records(&whole) {
                let mut flipped = whole.clone();
                flipped[at + TYPE] = 5;
                fs::write(&file, &flipped).unwrap();
                let told = check(&db).unwrap_err().to_string();
                assert!(told.contains(&format!("{name} has a record at byte {at} ")), "{told}");
                for mode in [Mode::Node, Mode::ReadOnly] {
                    assert!(matches!(Store::open(dir.path(), mode), Err(StorageError::Damaged { .. })));
                }
                tried += 1;
            }
            fs::write(&file, &whole).unwrap();
        }
        assert!(tried > 60, "{tried}");
        drop(Store::open(dir.path(), Mode::Node).unwrap());
    }

    #[test]
    fn what_follows_bad_bytes_in_a_block_is_not_looked_at() {
        let dir = directory();
        let file = fs::read_dir(dir.path().join("db")).unwrap().map(|file| file.unwrap().path());
        let file =
            file.filter(|path| path.extension().is_some_and(|end| end == "log")).max_by_key(|path| fs::metadata(path).unwrap().len());
        let whole = fs::read(file.unwrap()).unwrap();
        let at = records(&whole);
        let mut bytes = whole;
        bytes[at[3] + HEAD] ^= 1;
        bytes[at[4] + TYPE] = 5;
        assert_eq!(recycled(bytes.as_slice()).unwrap(), None, "RocksDB leaves the block where the sum does not hold");
        bytes[at[2] + TYPE] = 5;
        assert_eq!(recycled(bytes.as_slice()).unwrap(), Some(at[2] as u64));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_to_their_end(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(recycled(bytes.as_slice()).unwrap().is_none_or(|at| at < bytes.len() as u64));
        }
    }
}
