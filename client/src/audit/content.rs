//! The vault beside the records: is each ciphertext the one whose digest was signed, and is what was
//! erased gone?

use super::finding::{Code, Findings};
use std::collections::{BTreeMap, BTreeSet};
use vermilion_crypto::sha256;
use vermilion_proto::{Record, VaultWraps, canonical};
use vermilion_registry::Checked;
use vermilion_registry::vault::TEXT_POSITION;
use vermilion_storage::{StorageError, Store};

/// From so many items on, a record's ciphertexts are read in one go.
const FEW: usize = 3;

/// What the vault lacks of a record's content: rightly so, if it was erased.
#[derive(Default, Debug, Clone, PartialEq, Eq)]
pub struct Content {
    /// Accepted items whose ciphertext is not there.
    pub absent: Vec<u32>,
    /// Items whose wrapped key is struck out.
    pub struck: Vec<u32>,
}

/// Compares what a directory keeps for a record with what its command signs.
pub fn examine(store: &Store, seq: u64, record: &Record, command: &Checked, findings: &mut Findings) -> Content {
    let Some(head) = &command.command.head else { return Content::default() };
    // Without wrapped keys nothing travelled that a vault keeps.
    if head.wraps_digest.is_empty() {
        return Content::default();
    }
    match compare(store, seq, record, command, findings) {
        Ok(content) => content,
        Err(error) => {
            findings.add(
                Code::StorageDamaged,
                Some(seq),
                format!("The vault cannot be read at record {seq}: {error}."),
                format!("读取第{seq}号记录的保管内容时数据库出错。"),
            );
            Content::default()
        }
    }
}

fn compare(store: &Store, seq: u64, record: &Record, command: &Checked, findings: &mut Findings) -> Result<Content, StorageError> {
    let mut content = Content::default();
    let Some(head) = &command.command.head else { return Ok(content) };
    let refused: BTreeSet<u32> = record.outcome.iter().flat_map(|o| &o.refused).map(|r| r.position).collect();
    let count = command.items.len();
    let taken = record.outcome.as_ref().is_none_or(|o| o.code == 0) && (count == 0 || refused.len() < count);

    let mut found = ciphertexts(store, seq, count)?;
    for (position, (_, item)) in (0u32..).zip(&command.items) {
        match (found.remove(&position), taken && !refused.contains(&position)) {
            (Some(bytes), true) if sha256(&bytes)[..] == item.ciphertext_digest => {}
            (Some(_), true) => differs(findings, seq, &format!("the content of item {position}"), &format!("第{position}项的内容")),
            (Some(_), false) => extra(findings, seq),
            (None, true) => content.absent.push(position),
            (None, false) => {}
        }
    }
    if !found.is_empty() {
        extra(findings, seq);
    }
    if !head.text_ciphertext_digest.is_empty() {
        match (store.ciphertext(seq, TEXT_POSITION)?, taken) {
            (Some(bytes), true) if sha256(&bytes)[..] == head.text_ciphertext_digest => {}
            (Some(_), true) => differs(findings, seq, "the texts", "文本内容"),
            (Some(_), false) => extra(findings, seq),
            (None, true) => missing(findings, seq, "The texts", "文本内容"),
            (None, false) => {}
        }
    }
    match (store.wraps(seq)?, taken) {
        (Some(bytes), true) if sha256(&bytes)[..] == head.wraps_digest => {}
        (Some(bytes), true) => match struck_out(&bytes, count) {
            Some(struck) => content.struck = struck,
            None => differs(findings, seq, "the wrapped keys", "封装密钥"),
        },
        (Some(_), false) => extra(findings, seq),
        (None, true) => missing(findings, seq, "The wrapped keys", "封装密钥"),
        (None, false) => {}
    }
    Ok(content)
}

/// A record's ciphertexts by position, without its texts.
fn ciphertexts(store: &Store, seq: u64, count: usize) -> Result<BTreeMap<u32, Vec<u8>>, StorageError> {
    if count >= FEW {
        return Ok(store.ciphertexts(seq)?.0.into_iter().collect());
    }
    let mut out = BTreeMap::new();
    for position in (0u32..).take(count) {
        if let Some(bytes) = store.ciphertext(seq, position)? {
            out.insert(position, bytes);
        }
    }
    Ok(out)
}

/// The items whose key an erasure has struck out of the wrapped keys; none if this is no such row.
/// The digest that was signed covers the row as it was before, so what is left cannot be compared.
fn struck_out(bytes: &[u8], count: usize) -> Option<Vec<u32>> {
    let wraps: VaultWraps = canonical(bytes).ok()?;
    let struck: Vec<u32> = (0u32..).zip(&wraps.licence_keys).filter(|(_, key)| key.is_empty()).map(|(n, _)| n).collect();
    (wraps.licence_keys.len() == count && !struck.is_empty()).then_some(struck)
}

fn differs(findings: &mut Findings, seq: u64, en: &str, zh: &str) {
    findings.add(
        Code::ContentDiffers,
        Some(seq),
        format!("In the vault, {en} of record {seq} is not what was signed."),
        format!("保管库中第{seq}号记录的{zh}与签名摘要不符。"),
    );
}

fn missing(findings: &mut Findings, seq: u64, en: &str, zh: &str) {
    findings.add(
        Code::ContentMissing,
        Some(seq),
        format!("{en} of record {seq} should lie in the vault, were not erased, and are not there."),
        format!("保管库中第{seq}号记录的{zh}未经删除而缺失。"),
    );
}

fn extra(findings: &mut Findings, seq: u64) {
    findings.add(
        Code::ContentExtra,
        Some(seq),
        format!("The vault keeps content of record {seq} that was refused or that its command does not have."),
        format!("保管库中存有第{seq}号记录被拒绝的或本不存在的内容。"),
    );
}

/// What a directory's vault lacks, gathered over all records, against what was erased.
#[derive(Default, Debug)]
pub struct Lacking {
    absent: BTreeSet<(u64, u32)>,
    struck: BTreeSet<(u64, u32)>,
}

impl Lacking {
    /// Adds a record's.
    pub fn add(&mut self, seq: u64, content: Content) {
        self.absent.extend(content.absent.into_iter().map(|n| (seq, n)));
        self.struck.extend(content.struck.into_iter().map(|n| (seq, n)));
    }

    /// Compares with the erasures that the records before `size` ordered: content by record and
    /// position, with the number of the record that ordered it. Answers how much content is erased.
    pub fn compare(
        &self,
        store: &Store,
        erased: &BTreeMap<(u64, u32), u64>,
        size: u64,
        findings: &mut Findings,
    ) -> Result<u64, StorageError> {
        let due = |at: &(u64, u32)| erased.get(at).is_some_and(|by| *by < size);
        for (seq, position) in self.absent.iter().chain(&self.struck).filter(|at| !due(at)).collect::<BTreeSet<_>>() {
            findings.add(
                Code::ContentMissing,
                Some(*seq),
                format!("The content of item {position} of record {seq}, or its key, is gone though nobody erased it."),
                format!("第{seq}号记录第{position}项的内容或其密钥未经删除而缺失。"),
            );
        }
        let mut count = 0;
        for (seq, position) in erased.keys().filter(|at| due(at)) {
            count += 1;
            let wraps = store.wraps(*seq)?.and_then(|bytes| canonical::<VaultWraps>(&bytes).ok());
            let key_left = wraps.is_some_and(|wraps| wraps.licence_keys.get(*position as usize).is_some_and(|key| !key.is_empty()));
            if key_left || store.ciphertext(*seq, *position)?.is_some() {
                findings.add(
                    Code::ContentNotErased,
                    Some(*seq),
                    format!("Item {position} of record {seq} was erased, but its content or its key is still in the vault."),
                    format!("第{seq}号记录第{position}项已被删除，但其内容或密钥仍在保管库中。"),
                );
            }
        }
        Ok(count)
    }
}
