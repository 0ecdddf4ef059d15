//! What can be said of a record by itself: its form, its hash and leaf, its envelope, items and
//! signatures, and the content that a directory keeps for it. Runs on every core, in any order.

use super::content::{self, Content};
use super::finding::{Code, Findings};
use super::pipeline::Chunk;
use vermilion_crypto::Digest;
use vermilion_crypto::batch::Batch;
use vermilion_identity::{EnvelopeError, Opened};
use vermilion_proto::{Record, StoredRecord};
use vermilion_registry::submission::open_recorded;
use vermilion_registry::stored::open_record;
use vermilion_registry::{Checked, Reason};
use vermilion_storage::Store;

/// What to examine.
pub struct Examiner<'a> {
    /// The source's name.
    pub source: &'a str,
    /// Whether to check signatures.
    pub signatures: bool,
    /// The directory whose vault is to be checked.
    pub store: Option<&'a Store>,
}

/// A chunk's records, examined.
pub struct Examined {
    /// In the order of their places.
    pub records: Vec<Place>,
    /// Signatures checked.
    pub signatures: u64,
    /// What was found.
    pub findings: Findings,
}

/// What stands at one place.
pub struct Place {
    /// The place.
    pub seq: u64,
    /// The record, if it can be read.
    pub record: Option<Readable>,
}

/// A record that can be read.
pub struct Readable {
    /// Its exact bytes.
    pub bytes: Vec<u8>,
    /// Decoded; without its envelope.
    pub record: Record,
    /// Its hash.
    pub hash: Digest,
    /// The chain after it, as stored.
    pub chain: Digest,
    /// Hash of the leaf that follows from both.
    pub leaf_hash: Digest,
    /// The command, if envelope and items open.
    pub command: Option<Checked>,
    /// What the vault holds for it.
    pub content: Content,
}

impl Examiner<'_> {
    /// Examines a chunk.
    pub fn chunk(&self, chunk: Chunk) -> Examined {
        let mut out = Examined { records: Vec::with_capacity(chunk.len()), signatures: 0, findings: Findings::of(self.source) };
        let mut batch = Batch::new();
        let mut signed = Vec::with_capacity(chunk.len());
        for (seq, stored) in chunk {
            let (record, opened) = self.record(seq, stored, &mut out.findings);
            if let Some(opened) = opened.filter(|_| self.signatures) {
                opened.queue(&mut batch);
                signed.push((seq, opened));
            }
            out.records.push(Place { seq, record });
        }
        out.signatures = batch.len() as u64;
        // One that does not hold fails the batch: then each is checked by itself, and named.
        if batch.verify().is_err() {
            for (seq, opened) in signed {
                if let Err(error) = opened.verify() {
                    envelope_finding(&mut out.findings, seq, &error);
                }
            }
        }
        out
    }

    fn record(&self, seq: u64, stored: StoredRecord, findings: &mut Findings) -> (Option<Readable>, Option<Opened>) {
        let open = match open_record(&stored) {
            Ok(open) => open,
            Err(error) => {
                findings.add(
                    Code::RecordUnreadable,
                    Some(seq),
                    format!("What stands at place {seq} is not a record of this format: {error}."),
                    format!("第{seq}号位置上的内容不是本格式的记录。"),
                );
                return (None, None);
            }
        };
        let mut record = open.record;
        let envelope = std::mem::take(&mut record.envelope);
        let (opened, command) = match open_recorded(&envelope, &stored.items) {
            Ok((opened, command)) => (Some(opened), Some(command)),
            Err(refusal) => {
                // The command's own envelope may be sound: then the fault lies in what stands beside it.
                match vermilion_identity::open(&envelope) {
                    Err(error) => envelope_finding(findings, seq, &error),
                    Ok(_) => findings.add(
                        Code::ItemsDiffer,
                        Some(seq),
                        format!("The licence items stored with record {seq} are not those that were signed ({}).", refusal.reason.name()),
                        format!("第{seq}号记录所附的证照条目与签名内容不符。"),
                    ),
                }
                (None, None)
            }
        };
        let mut content = Content::default();
        if let Some(command) = &command {
            if seq > 0 && command.signer_keys.is_empty() {
                findings.add(
                    Code::SignerMissing,
                    Some(seq),
                    format!("Record {seq} holds a command that nobody has signed."),
                    format!("第{seq}号记录中的指令没有任何签名。"),
                );
            }
            if record.beside_digest != command.beside_digest {
                findings.add(
                    Code::BesideDiffers,
                    Some(seq),
                    format!("Record {seq} states another digest of what travelled with its command than was signed."),
                    format!("第{seq}号记录所载的随附内容摘要与签名内容不符。"),
                );
            }
            if let Some(store) = self.store {
                content = content::examine(store, seq, &record, command, findings);
            }
        }
        let leaf_hash = open.leaf.hash();
        let readable = Readable { bytes: stored.record, record, hash: open.hash, chain: open.chain, leaf_hash, command, content };
        (Some(readable), opened)
    }
}

fn envelope_finding(findings: &mut Findings, seq: u64, error: &EnvelopeError) {
    match error {
        EnvelopeError::BadSignature(n) => findings.add(
            Code::SignatureBad,
            Some(seq),
            format!("In record {seq} the signature of signer {} does not hold.", n + 1),
            format!("第{seq}号记录中第{}位签署人的签名无效。", n + 1),
        ),
        EnvelopeError::Incomplete(n) => findings.add(
            Code::SignerMissing,
            Some(seq),
            format!("In record {seq} signer {} is named but has not signed.", n + 1),
            format!("第{seq}号记录中列名的第{}位签署人没有签名。", n + 1),
        ),
        other => findings.add(
            Code::EnvelopeBroken,
            Some(seq),
            format!("The envelope in record {seq} does not open: {other}."),
            format!("第{seq}号记录中的信封无法打开。"),
        ),
    }
}

/// What a reason number of an outcome is called.
pub fn reason_name(code: u32) -> &'static str {
    if code == 0 { "accepted" } else { Reason::from_number(code).map_or("unknown", Reason::name) }
}
