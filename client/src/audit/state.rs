//! A directory's state against the replayed one, entry by entry. Differences are told by the class
//! of their keys, never by key or value: both may lead to a person.

use super::finding::{Code, Findings};
use super::memory::{ReplayState, command_id};
use super::source::ReadError;
use std::collections::BTreeMap;
use vermilion_proto::LedgerHead;
use vermilion_registry::{Kv, keys, value};
use vermilion_storage::Store;

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

/// Compares all of a directory's state with the replayed one at the same number of records.
/// `chain` is the chain after these records.
pub fn compare(store: &Store, replayed: &ReplayState, chain: &[u8; 32], findings: &mut Findings) -> Result<u64, ReadError> {
    let mut differences = Differences::default();
    let mut rows = 0;
    let mut due = replayed.ordered().iter().peekable();
    let mut commands = 0;
    let scan = store.state().scan(b"", &mut |key, found| {
        rows += 1;
        if let Some(id) = command_id(key) {
            match replayed.commands().get(&id) {
                None => differences.add(Code::StateExtra, key),
                Some(seq) => {
                    commands += 1;
                    if seq.as_slice() != found {
                        differences.add(Code::StateDiffers, key);
                    }
                }
            }
            return true;
        }
        while let Some((missing, _)) = due.next_if(|(due, _)| due.as_slice() < key) {
            differences.add(Code::StateMissing, missing);
        }
        match due.next_if(|(due, _)| due.as_slice() == key) {
            None => differences.add(Code::StateExtra, key),
            // Which block was the last is not in the records; the rest of the head is compared below.
            Some(_) if key == keys::HEAD => head(key, found, replayed, chain, findings),
            Some((_, value)) if value.as_slice() != found => differences.add(Code::StateDiffers, key),
            Some(_) => {}
        }
        true
    });
    scan.map_err(|error| ReadError::Damaged(error.to_string()))?;
    for (missing, _) in due {
        differences.add(Code::StateMissing, missing);
    }
    for _ in commands..replayed.commands().len() {
        differences.add(Code::StateMissing, b"d/");
    }
    differences.into_findings(findings);
    Ok(rows)
}

fn head(key: &[u8], found: &[u8], replayed: &ReplayState, chain: &[u8; 32], findings: &mut Findings) {
    let due: Option<LedgerHead> = value::get(replayed, key).ok().flatten();
    let found: Option<LedgerHead> = value::decode(key, found).ok();
    let fits = due.zip(found).is_some_and(|(due, found)| {
        // A block whose commands leave no record still moves the time.
        found.time_ms >= due.time_ms
            && found.chain == chain
            && (found.size, found.epoch, found.licences, found.block.len()) == (due.size, due.epoch, due.licences, 32)
    });
    if !fits {
        findings.add(
            Code::HeadDiffers,
            None,
            "The directory's head (number of records, chain, time, epoch, licences) is not that of its records.",
            "目录中的账本头（记录数、链、时间、纪元、证照数）与其记录不符。",
        );
    }
}
