//! What only a data directory shows: does it pass the checks of a node's start, does every row of
//! its database read, and did the node keep evidence against others?

use super::finding::{Code, Findings};
use super::link::Root;
use super::{Advance, Options, Stage};
use rustix::process::{Flock, FlockType, fcntl_getlk};
use std::fs::File;
use std::path::Path;
use vermilion_crypto::Digest;
use vermilion_ledger::{TILE_HEIGHT, check_consistency};
use vermilion_storage::{Column, StorageError, Store, scan_column, seq_place};

/// Levels of tiles that a tree can have.
const LEVELS: u8 = 8;

/// Whether a node runs on a directory: it holds the lock of its database, which RocksDB takes by fcntl. It is asked after and not
/// taken. Not for a process that holds it itself: closing the file would give it up.
pub fn is_in_use(dir: &Path) -> bool {
    let Ok(lock) = File::open(dir.join("db/LOCK")) else { return false };
    matches!(fcntl_getlk(&lock, &Flock::from(FlockType::WriteLock)), Ok(Some(_)))
}

/// The columns that are read whole neither by a walk through the records nor, as the Raft log is, by
/// opening the directory.
pub fn beside() -> Vec<Column> {
    let read = [Column::LOG, Column::RECORDS, Column::STATE, Column::VAULT, Column::WRAPS];
    Column::all().filter(|column| !read.contains(column)).collect()
}

/// Reads every row of some of the columns, so that damage is found where nothing else looks.
pub fn scan(store: &Store, name: &str, columns: &[Column], options: &Options, advance: &Advance<'_>) -> Findings {
    let mut findings = Findings::of(name);
    let mut rows = 0;
    for column in columns {
        let mut tell = |more| {
            rows += more;
            advance(Stage::Database, name, rows, 0);
            !options.is_stopped()
        };
        if let Err(error) = scan_column(store, *column, &mut tell) {
            damaged(&mut findings, &error.to_string());
        }
    }
    findings
}

/// Examines a directory beside its records and its columns.
pub fn examine(store: &Store, name: &str) -> Findings {
    let mut findings = Findings::of(name);
    if let Err(error) = store.check() {
        findings.add(
            Code::StorageCheck,
            None,
            format!("The directory fails the checks of a node's start: {error}."),
            "数据目录未通过节点启动检查。",
        );
    }
    if let Some(size) = unkept(store) {
        findings.add(
            Code::StorageCheck,
            None,
            format!("The checkpoint of {size} records, the newest that the node published, is not there."),
            format!("节点最近公布的检查点（{size}条记录）缺失。"),
        );
    }
    for file in evidence(store) {
        findings.add(
            Code::ConflictEvidence,
            None,
            format!("The node kept evidence of two signed histories in {file}."),
            format!("节点在{file}中留存了两种历史均被签署的证据。"),
        );
    }
    findings
}

/// The size of the newest published checkpoint, if it is not kept. What cannot be read is found elsewhere.
fn unkept(store: &Store) -> Option<u64> {
    let size = store.published().ok()??;
    store.checkpoint(size).is_ok_and(|note| note.is_none()).then_some(size)
}

/// Examines what is kept of the tree over `size` records beside its full tiles and bundles, which a walk
/// compares: rows beyond it, and the proofs that its checkpoints continue each other.
pub fn tree(store: &Store, name: &str, size: u64, roots: &[Root]) -> Findings {
    let mut findings = Findings::of(name);
    let read = extra_tiles(store, size, &mut findings)
        .and_then(|()| extra_bundles(store, size, &mut findings))
        .and_then(|()| continuity(store, roots, &mut findings));
    if let Err(error) = read {
        damaged(&mut findings, &error.to_string());
    }
    findings
}

/// Full tiles of a level in a tree of so many records.
fn full_tiles(size: u64, level: u8) -> u64 {
    size.checked_shr(u32::from(TILE_HEIGHT) * (u32::from(level) + 1)).unwrap_or(0)
}

/// Each level's rows behind its last full tile, and whatever stands behind the last level.
fn extra_tiles(store: &Store, size: u64, findings: &mut Findings) -> Result<(), StorageError> {
    for level in 0..=LEVELS {
        let from = [&[level][..], &full_tiles(size, level).to_be_bytes()].concat();
        let mut rows = store.rows(Column::TILES, &from)?;
        while let Some((key, _)) = rows.current()? {
            if level < LEVELS && key.first() != Some(&level) {
                break;
            }
            match key.split_first_chunk::<1>().and_then(|([level], index)| Some((level, seq_place(index)?))) {
                Some((level, index)) => extra(
                    findings,
                    &format!("Tile {index} of level {level} is stored"),
                    &format!("所存默克尔树第{level}层第{index}号瓦片"),
                    size,
                ),
                None => extra(findings, "A tile is stored under a key that is not of its form", "所存默克尔树瓦片（键格式不符）", size),
            }
            rows.advance();
        }
    }
    Ok(())
}

fn extra_bundles(store: &Store, size: u64, findings: &mut Findings) -> Result<(), StorageError> {
    let mut rows = store.rows_from(Column::ENTRIES, full_tiles(size, 0))?;
    while let Some((key, _)) = rows.current()? {
        match seq_place(key) {
            Some(index) => extra(findings, &format!("Entry bundle {index} is stored"), &format!("所存第{index}号条目包"), size),
            None => extra(findings, "An entry bundle is stored under a key that is not of its form", "所存条目包（键格式不符）", size),
        }
        rows.advance();
    }
    Ok(())
}

fn extra(findings: &mut Findings, en: &str, zh: &str, size: u64) {
    findings.add(
        Code::TileExtra,
        None,
        format!("{en}, and the tree over the {size} records has none there."),
        format!("{zh}不属于{size}条记录的树。"),
    );
}

/// Stored proofs between sizes whose roots were recomputed; of others there is nothing to hold them against.
fn continuity(store: &Store, roots: &[Root], findings: &mut Findings) -> Result<(), StorageError> {
    let root = |size: u64| roots.binary_search_by_key(&size, |root| root.size).ok().and_then(|at| roots.get(at)).map(|root| root.root);
    let mut rows = store.rows(Column::CONSISTENCY, b"")?;
    while let Some((key, row)) = rows.current()? {
        let size = seq_place(key);
        let proof = size.zip(proof_of(row));
        let holds = proof.is_some_and(|(size, (before, hashes))| match root(before).zip(root(size)) {
            Some((old, new)) => check_consistency(before, &old, size, &new, hashes).is_ok(),
            None => true,
        });
        if !holds {
            let size = size.unwrap_or_default();
            findings.add(
                Code::ConsistencyDiffers,
                size.checked_sub(1),
                format!("The proof kept for {size} records does not show that their tree continues the one of the checkpoint before."),
                format!("保存在{size}条记录处的一致性证明不能证明该树延续前一检查点的树。"),
            );
        }
        rows.advance();
    }
    Ok(())
}

/// The size of the checkpoint before, and the proof's hashes.
fn proof_of(row: &[u8]) -> Option<(u64, &[Digest])> {
    let (before, hashes) = row.split_first_chunk::<8>()?;
    let (hashes, rest) = hashes.as_chunks::<32>();
    rest.is_empty().then_some((u64::from_be_bytes(*before), hashes))
}

fn damaged(findings: &mut Findings, why: &str) {
    findings.add(Code::StorageDamaged, None, format!("The database is damaged: {why}."), "数据库已损坏。");
}

/// Names of the evidence files that a node leaves when it meets a conflict, in order.
fn evidence(store: &Store) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(store.dir()) else { return Vec::new() };
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let mut names: Vec<String> = names.filter(|name| name.starts_with("conflict-") && name.ends_with(".txt")).collect();
    names.sort();
    names
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_file_that_nobody_holds_is_no_running_node() {
        let dir = tempfile::tempdir().unwrap();
        assert!(!is_in_use(dir.path()));
        std::fs::create_dir(dir.path().join("db")).unwrap();
        std::fs::write(dir.path().join("db/LOCK"), "").unwrap();
        assert!(!is_in_use(dir.path()));
    }
}
