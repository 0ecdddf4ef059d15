//! What only a data directory shows: does it pass the checks of a node's start, does every row of
//! its database read, and did the node keep evidence against others?

use super::finding::{Code, Findings};
use super::{Advance, Stage};
use vermilion_storage::{Column, Store, scan_column};

/// The columns that are read whole neither by a walk through the records nor, as the Raft log is, by
/// opening the directory.
pub fn beside() -> Vec<Column> {
    let read = [Column::LOG, Column::RECORDS, Column::STATE, Column::VAULT, Column::WRAPS];
    Column::all().filter(|column| !read.contains(column)).collect()
}

/// Reads every row of some of the columns, so that damage is found where nothing else looks.
pub fn scan(store: &Store, name: &str, columns: &[Column], advance: &Advance<'_>) -> Findings {
    let mut findings = Findings::of(name);
    let mut rows = 0;
    for column in columns {
        let mut tell = |more| {
            rows += more;
            advance(Stage::Database, name, rows, 0);
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
