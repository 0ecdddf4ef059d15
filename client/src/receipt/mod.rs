//! Receipts (存证凭证) as files, and their check without any network.
//!
//! A file is eight bytes, `VMRCPT1` and a line feed, and then the encoded `Receipt`.

use crate::clock::show_ms;
use crate::error::ClientError;
use crate::use_licence::{Field, check_fields};
use serde_json::{Value, json};
use std::io::Write as _;
use std::path::Path;
use vermilion_crypto::{Digest, sha256};
use vermilion_ledger::{ItemParts, LeafClaim, ReceiptParts, Trust, Verified, chain_next, check_item, check_receipt, digests, record_hash};
use vermilion_proto::{Command, LicenceItem, Message as _, Receipt, Record, body::Of, canonical};
use vermilion_registry::reason::Reason;
use vermilion_registry::stored::open_parts;

/// The first bytes of a receipt's file.
pub const MAGIC: &[u8; 8] = vermilion_registry::stored::RECEIPT_MAGIC;
/// The largest file that is read: a record, an item and proofs.
const MAX_FILE: usize = 4 << 20;

/// Writes a receipt's file whole or not at all.
pub fn write_file(path: &Path, receipt: &Receipt) -> Result<(), ClientError> {
    let new = path.with_extension(format!("{}.new", std::process::id()));
    let write = || {
        let mut file = std::fs::File::create(&new)?;
        file.write_all(MAGIC)?;
        file.write_all(&receipt.encode_to_vec())?;
        file.sync_all()?;
        std::fs::rename(&new, path)
    };
    write().map_err(|e| ClientError::file(path, e))
}

/// Reads a receipt's file. That it reads says nothing of its truth.
pub fn read_file(path: &Path) -> Result<Receipt, ClientError> {
    let bytes = std::fs::read(path).map_err(|e| ClientError::file(path, e))?;
    parse(&bytes).map_err(|why| ClientError::Usage(format!("{}: {why}", path.display())))
}

/// Reads a receipt's bytes.
pub fn parse(bytes: &[u8]) -> Result<Receipt, String> {
    if bytes.len() > MAX_FILE {
        return Err("it is larger than a receipt can be".into());
    }
    let body = bytes.strip_prefix(MAGIC.as_slice()).ok_or("it is no receipt of this version")?;
    let receipt: Receipt = canonical(body).map_err(|e| e.to_string())?;
    if receipt.format_version != 1 {
        return Err(format!("format version {} is not read by this version", receipt.format_version));
    }
    for (field, used) in [("status_proof", !receipt.status_proof.is_empty()), ("endorsements", !receipt.endorsements.is_empty())] {
        if used {
            return Err(format!("{field} is not honoured by this version"));
        }
    }
    Ok(receipt)
}

/// One of the questions that a receipt answers: the answer, or why it is no.
pub type Verdict = Result<(), String>;

/// What a receipt says, each question by itself.
#[derive(Clone, Debug)]
pub struct ReceiptCheck {
    /// Whether the record is in the ledger that the checkpoint signs, with quorum.
    pub genuine: Verdict,
    /// Whether the unit that it names signed it, and the ledger took it.
    pub issued: Verdict,
    /// Whether licence and disclosed fields are as they were signed.
    pub unaltered: Verdict,
    /// The unit that signed.
    pub issuer: String,
    /// The posts that signed.
    pub posts: Vec<String>,
    /// The command's id.
    pub command: Option<Digest>,
    /// The record's number and time.
    pub record: Option<(u64, u64)>,
    /// The licence.
    pub item: Option<LicenceItem>,
    /// Fields that were disclosed with it and hold.
    pub fields: Vec<Field>,
    /// The checkpoint, if it holds.
    pub checkpoint: Option<Verified>,
    /// How many witnesses are wanted.
    pub quorum: usize,
}

impl ReceiptCheck {
    /// Whether every answer is yes.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.genuine.is_ok() && self.issued.is_ok() && self.unaltered.is_ok()
    }

    /// The moment as of which the quorum vouches, in Unix milliseconds.
    #[must_use]
    pub fn as_of_ms(&self) -> Option<u64> {
        self.checkpoint.as_ref()?.witnessed_at(self.quorum).map(|s| s.saturating_mul(1000))
    }

    /// For scripts.
    #[must_use]
    pub fn json(&self) -> Value {
        let verdict = |v: &Verdict| json!({ "ok": v.is_ok(), "why": v.as_ref().err() });
        let cosigned = self.checkpoint.iter().flat_map(|c| &c.cosigners);
        let cosigned: Vec<Value> = cosigned.map(|c| json!({ "name": c.name, "time": show_ms(c.time_s.saturating_mul(1000)) })).collect();
        let fields: serde_json::Map<String, Value> = self.fields.iter().map(|f| (f.name.clone(), f.value.clone())).collect();
        json!({
            "ok": self.holds(),
            "genuine": verdict(&self.genuine),
            "issued_by": { "ok": self.issued.is_ok(), "why": self.issued.as_ref().err(), "unit": self.issuer, "posts": self.posts },
            "unaltered": verdict(&self.unaltered),
            "as_of": {
                "size": self.checkpoint.as_ref().map(|c| c.size),
                "time": self.as_of_ms().map(show_ms),
                "ledger_key": self.checkpoint.as_ref().map(|c| c.signed_by_ledger),
            },
            "cosigned_by": cosigned,
            "command": self.command.map(hex::encode),
            "seq": self.record.map(|(seq, _)| seq),
            "time": self.record.map(|(_, time)| show_ms(time)),
            "licence": self.item.as_ref().map(item_json),
            "fields": fields,
        })
    }
}

fn item_json(item: &LicenceItem) -> Value {
    let tag = (!item.identifier_tag.is_empty()).then(|| hex::encode(&item.identifier_tag));
    json!({
        "identifier": (!item.identifier.is_empty()).then_some(&item.identifier),
        "identifier_tag": tag,
        "type": item.type_code,
        "issuing_authority": item.issuing_authority,
        "version": item.version,
    })
}

/// Checks a receipt against what is trusted. Needs no network and no clock.
#[must_use]
pub fn check(receipt: &Receipt, trust: &Trust) -> ReceiptCheck {
    let mut out = ReceiptCheck {
        genuine: Err("The record cannot be read.".into()),
        issued: Err("The record cannot be read.".into()),
        unaltered: Err("The record cannot be read.".into()),
        issuer: String::new(),
        posts: Vec::new(),
        command: None,
        record: None,
        item: None,
        fields: Vec::new(),
        checkpoint: None,
        quorum: trust.settings().quorum,
    };
    let Ok(chain_before) = Digest::try_from(receipt.chain_before.as_slice()) else { return out };
    let chain = chain_next(&chain_before, &record_hash(&receipt.record));
    let open = match open_parts(&receipt.record, chain) {
        Ok(open) => open,
        Err(why) => {
            out.genuine = Err(why.to_string());
            return out;
        }
    };
    out.record = Some((open.record.seq, open.record.time_ms));
    let claim = LeafClaim { seq: open.record.seq, time_ms: open.record.time_ms, commitment: open.leaf.commitment };
    let opened = vermilion_identity::open(&open.record.envelope);
    let signed = opened.as_ref().ok().and_then(|o| signed_items(&o.command));
    let item = (!receipt.item.is_empty()).then_some(());
    let parts = ReceiptParts {
        record: &receipt.record,
        chain_before: &receipt.chain_before,
        tree_size: receipt.tree_size,
        inclusion: &receipt.inclusion,
        checkpoint: &receipt.checkpoint,
        item: None,
    };
    out.genuine = match check_receipt(&parts, &claim, trust) {
        Ok(checked) => {
            out.checkpoint = Some(checked.checkpoint);
            Ok(())
        }
        Err(error) => {
            // Who did cosign is worth saying, where the quorum alone is missing.
            out.checkpoint = vermilion_ledger::verify(&receipt.checkpoint, trust).ok();
            Err(error.to_string())
        }
    };
    out.unaltered = unaltered(receipt, item.and(signed.as_ref()), &mut out.item, &mut out.fields);
    out.issued = match opened {
        Ok(opened) => {
            let head = opened.command.head.clone().unwrap_or_default();
            out.command = Some(opened.id);
            out.issuer = head.unit.clone();
            out.posts = head.signers.iter().map(|s| s.post.clone()).collect();
            match opened.verify() {
                Err(error) => Err(error.to_string()),
                Ok(()) if head.ledger_id != trust.settings().ledger_id => Err("The command is for another ledger.".into()),
                Ok(()) => taken(&open.record, receipt, out.item.as_ref(), &head.unit),
            }
        }
        Err(error) => Err(error.to_string()),
    };
    out
}

/// Root and count of the items that a command signs.
fn signed_items(command: &Command) -> Option<(Vec<u8>, u32)> {
    match command.body.as_ref()?.of.as_ref()? {
        Of::IssueLicences(of) => Some((of.items_root.clone(), of.items_count)),
        Of::SupersedeLicence(of) => Some((of.items_root.clone(), of.items_count)),
        _ => None,
    }
}

/// Whether the item is in what was signed, and each disclosed field in the item.
fn unaltered(receipt: &Receipt, signed: Option<&(Vec<u8>, u32)>, item: &mut Option<LicenceItem>, fields: &mut Vec<Field>) -> Verdict {
    if receipt.item.is_empty() {
        // A record's receipt: the record's own hash is what "genuine" checks.
        return if receipt.disclosures.is_empty() { Ok(()) } else { Err("There are fields without the licence that they are of.".into()) };
    }
    let (root, count) = signed.ok_or("The record is of no command that issues licences.")?;
    let parts = ItemParts {
        item: &receipt.item,
        position: u64::from(receipt.item_position),
        count: u64::from(*count),
        path: &receipt.item_path,
        root,
    };
    let altered = |_| "The licence is not the one in the record: it was altered, or the proof is not its own.".to_owned();
    let root = Digest::try_from(parts.root).map_err(|_| "The command signs no root of its licences.".to_owned())?;
    let path = digests(parts.path).map_err(altered)?;
    check_item(&root, parts.count, parts.position, parts.item, &path).map_err(altered)?;
    let decoded: LicenceItem = canonical(&receipt.item).map_err(|e| e.to_string())?;
    *fields = check_fields(&decoded, &receipt.disclosures).map_err(|_| "A disclosed field is not the one that was signed.".to_owned())?;
    *item = Some(decoded);
    Ok(())
}

/// Whether the ledger took the command, and of its licences this one.
fn taken(record: &Record, receipt: &Receipt, item: Option<&LicenceItem>, unit: &str) -> Verdict {
    let outcome = record.outcome.clone().unwrap_or_default();
    let refused = |code: u32| {
        let reason = Reason::from_number(code);
        Err(format!("The ledger refused it: {} {}", reason.map_or("?", Reason::name), reason.map_or("", Reason::chinese)))
    };
    if outcome.code != 0 {
        return refused(outcome.code);
    }
    if receipt.item.is_empty() {
        return Ok(());
    }
    if let Some(at) = outcome.refused.iter().find(|r| r.position == receipt.item_position) {
        return refused(at.code);
    }
    match item {
        Some(item) if item.issuing_authority != unit => Err("The licence names another authority than the unit that signed.".into()),
        Some(_) => Ok(()),
        None => Err("The licence is not the one that was signed.".into()),
    }
}

/// The SHA-256 of a receipt's file, by which a document may cite it.
#[must_use]
pub fn digest(receipt: &Receipt) -> Digest {
    sha256(&[MAGIC.as_slice(), &receipt.encode_to_vec()].concat())
}

#[cfg(test)]
#[path = "receipt_tests.rs"]
#[allow(clippy::unwrap_used)]
mod tests;
