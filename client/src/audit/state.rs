//! A directory's state against the replayed one, entry by entry. Differences are told by the class
//! of their keys, never by key or value: both may lead to a person.

use super::finding::{Code, Findings};
use super::memory::ReplayState;
use rayon::prelude::*;
use std::collections::BTreeMap;
use vermilion_proto::LedgerHead;
use vermilion_registry::{Kv, keys, value};
use vermilion_storage::{Column, ScratchError, StorageError, Store};

/// What an entry is, in English and Chinese, by the letters before the first slash of its key.
fn class(key: &[u8]) -> (&'static str, &'static str) {
    match key.split(|b| *b == b'/').next().unwrap_or_default() {
        b"h" => ("head", "账本头"),
        b"g" => ("genesis", "创世"),
        b"n" => ("node", "节点"),
        b"u" => ("unit", "单位"),
        b"o" => ("operator", "操作人员"),
        b"t" => ("licence type", "证照类型"),
        b"p" => ("policy", "策略"),
        b"c" => ("last change", "最近变更"),
        b"d" => ("command", "指令"),
        b"l" => ("licence", "证照"),
        b"lv" => ("earlier version", "历史版本"),
        b"lh" => ("licence history", "证照状态史"),
        b"i" => ("identifier tag", "标识标签"),
        b"w" => ("holder", "持证者"),
        b"s" => ("status chunk", "状态块"),
        b"y" => ("sum of the state", "状态总和"),
        _ => ("unknown", "未知"),
    }
}

#[derive(Default)]
struct Differences(BTreeMap<(Code, &'static str), (u64, &'static str)>);

impl Differences {
    fn add(&mut self, code: Code, key: &[u8]) {
        let (en, zh) = class(key);
        self.0.entry((code, en)).or_insert((0, zh)).0 += 1;
    }

    fn extend(&mut self, other: Self) {
        for (class, (count, zh)) in other.0 {
            self.0.entry(class).or_insert((0, zh)).0 += count;
        }
    }

    fn into_findings(self, findings: &mut Findings) {
        for ((code, en), (count, zh)) in self.0 {
            let (how_en, how_zh) = match code {
                Code::StateMissing => ("are missing", "缺失"),
                Code::StateExtra => ("are there that no record made", "无记录可据"),
                _ => ("are not what the records make them", "与记录重放的结果不符"),
            };
            findings.add(
                code,
                None,
                format!("In the directory's state, {count} entries of the class \"{en}\" {how_en}."),
                format!("目录状态中有{count}个“{zh}”类条目{how_zh}。"),
            );
        }
    }
}

/// Where the state is cut for several cores: each part from one key to before the next. Ids of
/// commands are spread evenly; licences and what holders hold make up most of the rest.
const PARTS: [&[u8]; 5] = [b"", b"d/\x80", b"e", b"l/", b"m"];

/// What a part of the state showed.
struct Part {
    differences: Differences,
    /// Entries found that are only looked up.
    unordered: usize,
    /// Whether the head is there and another.
    other_head: bool,
}

/// Why a state was not compared.
#[derive(Debug, thiserror::Error)]
pub enum Uncompared {
    /// The directory's cannot be read.
    #[error("{0}")]
    Directory(String),
    /// The replayed one cannot: says nothing about the directory.
    #[error(transparent)]
    Replayed(#[from] ScratchError),
}

impl From<StorageError> for Uncompared {
    fn from(error: StorageError) -> Self {
        Self::Directory(error.to_string())
    }
}

/// Compares all of a directory's state with the replayed one at the same number of records.
/// `chain` is the chain after these records.
pub fn compare(store: &Store, replayed: &mut ReplayState, chain: &[u8; 32], findings: &mut Findings) -> Result<(), Uncompared> {
    replayed.settle()?;
    let replayed = &*replayed;
    let parts = PARTS.par_iter().enumerate().map(|(n, from)| part(store, replayed, chain, from, PARTS.get(n + 1).copied()));
    let mut differences = Differences::default();
    let mut unordered = 0;
    for part in parts.collect::<Vec<_>>() {
        let part = part?;
        differences.extend(part.differences);
        unordered += part.unordered;
        if part.other_head {
            findings.add(
                Code::HeadDiffers,
                None,
                "The directory's head (number of records, chain, time, epoch, licences) is not that of its records.",
                "目录中的账本头（记录数、链、时间、纪元、证照数）与其记录不符。",
            );
        }
    }
    if unordered < replayed.unordered_count() {
        missing_unordered(store, replayed, &mut differences)?;
    }
    differences.into_findings(findings);
    Ok(())
}

fn part(store: &Store, replayed: &ReplayState, chain: &[u8; 32], from: &[u8], to: Option<&[u8]>) -> Result<Part, Uncompared> {
    let mut out = Part { differences: Differences::default(), unordered: 0, other_head: false };
    let within = |key: &[u8]| to.is_none_or(|to| key < to);
    let mut due = replayed.listed(from);
    let mut rows = store.rows(Column::STATE, from)?;
    while let Some((key, found)) = rows.current()?.filter(|(key, _)| within(key)) {
        if replayed.is_listed(key) {
            while let Some((missing, _)) = due.current()?.filter(|(due, _)| *due < key) {
                out.differences.add(Code::StateMissing, missing);
                due.advance()?;
            }
            match due.current()?.filter(|(due, _)| *due == key) {
                None => out.differences.add(Code::StateExtra, key),
                Some((_, value)) => {
                    // Which block was the last is not in the records but in the log ([`super::head`]); the rest of the head
                    // is compared below.
                    if key == keys::HEAD {
                        out.other_head = !is_head(key, found, replayed, chain);
                    } else if value != found {
                        out.differences.add(Code::StateDiffers, key);
                    }
                    due.advance()?;
                }
            }
        } else {
            match replayed.unordered(key) {
                None => out.differences.add(Code::StateExtra, key),
                Some(value) => {
                    out.unordered += 1;
                    if value != found {
                        out.differences.add(Code::StateDiffers, key);
                    }
                }
            }
        }
        rows.advance();
    }
    while let Some((missing, _)) = due.current()?.filter(|(due, _)| within(due)) {
        out.differences.add(Code::StateMissing, missing);
        due.advance()?;
    }
    Ok(out)
}

/// Which of the entries that are only looked up the directory lacks.
fn missing_unordered(store: &Store, replayed: &ReplayState, differences: &mut Differences) -> Result<(), Uncompared> {
    let state = store.state();
    let mut failed = None;
    replayed.for_each(&mut |key, _| {
        if failed.is_none() && !replayed.is_listed(key) {
            match Kv::get(&state, key) {
                Ok(None) => differences.add(Code::StateMissing, key),
                Ok(Some(_)) => {}
                Err(error) => failed = Some(Uncompared::Directory(error.to_string())),
            }
        }
    })?;
    failed.map_or(Ok(()), Err)
}

/// Whether a head is that of the records, as far as they say.
fn is_head(key: &[u8], found: &[u8], replayed: &ReplayState, chain: &[u8; 32]) -> bool {
    let due: Option<LedgerHead> = value::get(replayed, key).ok().flatten();
    let found: Option<LedgerHead> = value::decode(key, found).ok();
    due.zip(found).is_some_and(|(due, found)| {
        // A block whose commands leave no record still moves the time.
        found.time_ms >= due.time_ms
            && found.chain == chain
            && (found.size, found.epoch, found.licences, found.block.len()) == (due.size, due.epoch, due.licences, 32)
    })
}
