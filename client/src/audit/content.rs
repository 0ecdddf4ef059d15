//! The vault beside the records: is each ciphertext the one whose digest was signed, and is what was
//! erased gone?

use super::finding::{Code, Findings};
use super::places::Places;
use std::collections::BTreeMap;
use vermilion_crypto::sha256;
use vermilion_proto::view::RecordView;
use vermilion_proto::{VaultWraps, canonical};
use vermilion_registry::Checked;
use vermilion_registry::vault::TEXT_POSITION;
use vermilion_storage::{Column, Rows, StorageError, Store, seq_place, vault_place};

/// Reads a directory's vault and wrapped keys along with the records of a chunk: both columns are in
/// the order of records, so that nothing need be looked up.
pub struct VaultReader<'a> {
    columns: Option<(Rows<'a>, Rows<'a>)>,
    failed: Option<StorageError>,
}

/// What is kept of one record under one column, against what its command signs.
struct Due<'a> {
    seq: u64,
    /// Whether the command was accepted, and any of its items.
    taken: bool,
    /// Positions of refused items, ascending.
    refused: Vec<u32>,
    command: &'a Checked,
}

impl Due<'_> {
    fn keeps(&self, position: u32) -> bool {
        self.taken && self.refused.binary_search(&position).is_err()
    }
}

impl<'a> VaultReader<'a> {
    /// From the vault of a directory.
    pub fn new(store: &'a Store) -> Self {
        let open = || Ok((store.rows(Column::VAULT, b"")?, store.rows(Column::WRAPS, b"")?));
        match open() {
            Ok(columns) => Self { columns: Some(columns), failed: None },
            Err(error) => Self { columns: None, failed: Some(error) },
        }
    }

    /// Goes to the first place of a chunk.
    pub fn begin(&mut self, from: u64, findings: &mut Findings) {
        let Some((vault, wraps)) = &mut self.columns else { return self.tell(findings) };
        vault.seek(from);
        wraps.seek(from);
    }

    /// Compares what is kept for a record with what its command signs. What is kept for places before
    /// it that have no record is too much.
    pub fn compare(&mut self, seq: u64, record: &RecordView<'_>, command: &Checked, lacking: &mut Lacking, findings: &mut Findings) {
        let Some((vault, wraps)) = &mut self.columns else { return self.tell(findings) };
        let outcome = record.outcome.as_ref();
        let refused: Vec<u32> = outcome.iter().flat_map(|o| &o.refused).map(|r| r.position).collect();
        let count = command.items.len();
        let sealed = command.command.head.as_ref().is_some_and(|head| !head.wraps_digest.is_empty());
        // Without wrapped keys nothing travelled that a vault keeps.
        let taken = sealed && outcome.is_none_or(|o| o.code == 0) && (count == 0 || refused.len() < count);
        let due = Due { seq, taken, refused, command };
        let read = due.ciphertexts(vault, lacking, findings).and_then(|()| due.wraps(wraps, lacking, findings));
        self.keep(read, findings);
    }

    /// Reads on to the end: what is kept for places beyond the last record is too much.
    pub fn end(&mut self, findings: &mut Findings) {
        let Some((vault, wraps)) = &mut self.columns else { return self.tell(findings) };
        let read = strays(vault, u64::MAX, findings).and_then(|()| strays(wraps, u64::MAX, findings));
        self.keep(read, findings);
    }

    fn keep(&mut self, read: Result<(), StorageError>, findings: &mut Findings) {
        if let Err(error) = read {
            (self.columns, self.failed) = (None, Some(error));
            self.tell(findings);
        }
    }

    /// Notes once that the columns cannot be read.
    fn tell(&mut self, findings: &mut Findings) {
        if let Some(error) = self.failed.take() {
            findings.add(Code::StorageDamaged, None, format!("The vault cannot be read: {error}."), "读取保管库时数据库出错。");
        }
    }
}

/// Passes over rows before a record's.
fn strays(rows: &mut Rows<'_>, seq: u64, findings: &mut Findings) -> Result<(), StorageError> {
    let mut told = None;
    while let Some((key, _)) = rows.current()? {
        let place = key.get(..8).and_then(seq_place);
        if place.is_some_and(|place| place >= seq) {
            break;
        }
        if told != place || place.is_none() {
            told = place;
            extra(findings, place);
        }
        rows.advance();
    }
    Ok(())
}

impl Due<'_> {
    fn ciphertexts(&self, rows: &mut Rows<'_>, lacking: &mut Lacking, findings: &mut Findings) -> Result<(), StorageError> {
        strays(rows, self.seq, findings)?;
        let texts = self.command.command.head.as_ref().map_or(&[][..], |head| &head.text_ciphertext_digest);
        let mut items = (0u32..).zip(&self.command.items).peekable();
        let mut texts_found = false;
        while let Some((key, bytes)) = rows.current()? {
            let position = match vault_place(key) {
                Some((seq, position)) if seq == self.seq => position,
                _ => break,
            };
            while let Some((missing, _)) = items.next_if(|(n, _)| *n < position) {
                self.absent(missing, lacking);
            }
            let item = items.next_if(|(n, _)| *n == position).map(|(_, (_, item))| item);
            match item {
                Some(item) if self.keeps(position) => {
                    if sha256(bytes)[..] != item.ciphertext_digest {
                        differs(findings, self.seq, &format!("the content of item {position}"), &format!("第{position}项的内容"));
                    }
                }
                None if position == TEXT_POSITION && self.taken && !texts.is_empty() => {
                    texts_found = true;
                    if sha256(bytes)[..] != *texts {
                        differs(findings, self.seq, "the texts", "文本内容");
                    }
                }
                _ => extra(findings, Some(self.seq)),
            }
            rows.advance();
        }
        items.for_each(|(missing, _)| self.absent(missing, lacking));
        if self.taken && !texts.is_empty() && !texts_found {
            missing(findings, self.seq, "The texts", "文本内容");
        }
        Ok(())
    }

    fn absent(&self, position: u32, lacking: &mut Lacking) {
        if self.keeps(position) {
            lacking.absent.push((self.seq, position));
        }
    }

    fn wraps(&self, rows: &mut Rows<'_>, lacking: &mut Lacking, findings: &mut Findings) -> Result<(), StorageError> {
        strays(rows, self.seq, findings)?;
        let here = |key: &[u8]| seq_place(key) == Some(self.seq);
        match rows.current()?.filter(|(key, _)| here(key)) {
            None if self.taken => missing(findings, self.seq, "The wrapped keys", "封装密钥"),
            None => return Ok(()),
            Some(_) if !self.taken => extra(findings, Some(self.seq)),
            Some((_, bytes)) => {
                let signed = self.command.command.head.as_ref().map_or(&[][..], |head| &head.wraps_digest);
                if sha256(bytes)[..] != *signed {
                    match struck_out(bytes, self.command.items.len()) {
                        Some(struck) => lacking.struck.extend(struck.into_iter().map(|n| (self.seq, n))),
                        None => differs(findings, self.seq, "the wrapped keys", "封装密钥"),
                    }
                }
            }
        }
        rows.advance();
        Ok(())
    }
}

/// The items whose key an erasure has struck out of the wrapped keys; none if this is no such row.
/// The digest that was signed covers the row as it was before, so what is left cannot be compared with it:
/// [`compare_wraps`] holds directories against each other, and the report says that it was not checked.
fn struck_out(bytes: &[u8], count: usize) -> Option<Vec<u32>> {
    let wraps: VaultWraps = canonical(bytes).ok()?;
    let struck: Vec<u32> = (0u32..).zip(&wraps.licence_keys).filter(|(_, key)| key.is_empty()).map(|(n, _)| n).collect();
    (wraps.licence_keys.len() == count && !struck.is_empty()).then_some(struck)
}

/// Compares what is left of some records' wrapped keys with another directory's of the same history. A row
/// that is not there, or none, is a finding of its own directory's, or of a record that it does not have.
pub fn compare_wraps(
    (name, store): (&str, &Store),
    other: &Store,
    records: impl IntoIterator<Item = u64>,
    findings: &mut Findings,
) -> Result<(), StorageError> {
    let read = |store: &Store, seq: u64| Ok::<_, StorageError>(store.wraps(seq)?.and_then(|bytes| canonical::<VaultWraps>(&bytes).ok()));
    for seq in records {
        let (Some(mut one), Some(mut theirs)) = (read(store, seq)?, read(other, seq)?) else { continue };
        // A shorter directory may not have come to every erasure.
        for (one, theirs) in one.licence_keys.iter_mut().zip(&mut theirs.licence_keys) {
            if one.is_empty() || theirs.is_empty() {
                one.clear();
                theirs.clear();
            }
        }
        if one != theirs {
            findings.add(
                Code::ContentDiffers,
                Some(seq),
                format!("What an erasure left of the wrapped keys of record {seq} is not the same here and in {name}: one was changed."),
                format!("第{seq}号记录在删除后余下的封装密钥与{name}中的不同：其一被改动。"),
            );
        }
    }
    Ok(())
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

/// `seq` is the record beside which it is kept, if it is kept under a record's number at all.
fn extra(findings: &mut Findings, seq: Option<u64>) {
    let (en, zh) = match seq {
        Some(seq) => (
            format!("The vault keeps content of record {seq} that was refused or that its command does not have."),
            format!("保管库中存有第{seq}号记录被拒绝的或本不存在的内容。"),
        ),
        None => ("The vault keeps a row under a key that is not of its form.".to_owned(), "保管库中有键格式不符的条目。".to_owned()),
    };
    findings.add(Code::ContentExtra, seq, en, zh);
}

/// What a directory's vault lacks, gathered over all records, against what was erased.
#[derive(Clone, Default, Debug)]
pub struct Lacking {
    /// Record and position of accepted items whose ciphertext is not there.
    pub absent: Places,
    /// Record and position of items whose wrapped key is struck out.
    pub struck: Places,
}

impl Lacking {
    /// Adds the next chunk's.
    pub fn extend(&mut self, next: &Self) {
        self.absent.extend(next.absent.iter());
        self.struck.extend(next.struck.iter());
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
        for (seq, position) in self.absent.union(&self.struck).filter(|at| !due(at)) {
            findings.add(
                Code::ContentMissing,
                Some(seq),
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
