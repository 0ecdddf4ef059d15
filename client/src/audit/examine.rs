//! What can be said of a record by itself: its form, its hash and leaf, its envelope, items and
//! signatures, and the content that a directory keeps for it. Runs on every core, in any order.

use super::command::{self, Unopened};
use super::content::{self, Content};
use super::finding::{Code, Findings};
use super::pipeline::Chunk;
use vermilion_crypto::Digest;
use vermilion_crypto::batch::Batch;
use vermilion_identity::{EnvelopeError, Opened};
use vermilion_proto::{Bytes, Message as _, Record, StoredRecord};
use vermilion_registry::stored::{OpenRecord, open_record};
use vermilion_registry::{Checked, Reason};
use vermilion_storage::Store;

/// What to examine.
pub struct Examiner<'a> {
    /// The source's name.
    pub source: &'a str,
    /// Whether to check signatures.
    pub signatures: bool,
    /// Whether to hash the records; else a replay that gives the same bytes does.
    pub hashes: bool,
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
    pub bytes: Bytes,
    /// The number that it bears.
    pub number: u64,
    /// Its time.
    pub time_ms: u64,
    /// The version of the rules under which it was decided.
    pub rules: u32,
    /// Whether it is a commitment record.
    pub is_commitment: bool,
    /// The chain after it, as stored.
    pub chain: Digest,
    /// What follows from its bytes, if it was to be computed here.
    pub parts: Option<Parts>,
    /// The command, if envelope and items open.
    pub command: Option<Checked>,
    /// What the vault holds for it.
    pub content: Content,
}

/// What follows from a record's bytes.
#[derive(Clone, Copy, Debug)]
pub struct Parts {
    /// Its hash.
    pub hash: Digest,
    /// Hash of the leaf that it leaves, under the chain as stored.
    pub leaf_hash: Digest,
}

impl Parts {
    /// Of an opened record.
    #[must_use]
    pub fn of(open: &OpenRecord) -> Self {
        Self { hash: open.hash, leaf_hash: open.leaf.hash() }
    }
}

impl Examiner<'_> {
    /// Examines a chunk.
    pub fn chunk(&self, chunk: Chunk) -> Examined {
        let mut out = Examined { records: Vec::with_capacity(chunk.len()), signatures: 0, findings: Findings::of(self.source) };
        let mut batch = Batch::new();
        for (seq, stored) in chunk {
            let record = self.record(seq, stored, &mut batch, &mut out.findings);
            out.records.push(Place { seq, record });
        }
        out.signatures = batch.len() as u64;
        // One that does not hold fails the batch: then each is checked by itself, and named.
        if batch.verify().is_err() {
            for Place { seq, record } in &out.records {
                let envelope = record.as_ref().and_then(|r| r.command.as_ref()).map(|command| &command.envelope);
                if let Some(Err(error)) = envelope.map(|bytes| vermilion_identity::open(bytes).and_then(|opened| opened.signed.verify())) {
                    envelope_finding(&mut out.findings, *seq, &error);
                }
            }
        }
        out
    }

    fn record(&self, seq: u64, stored: StoredRecord, batch: &mut Batch, findings: &mut Findings) -> Option<Readable> {
        let (mut record, chain, parts) = match self.decode(&stored) {
            Ok(decoded) => decoded,
            Err(why) => {
                unreadable(findings, seq, &why);
                return None;
            }
        };
        let queue = |opened: &Opened| {
            if self.signatures {
                opened.signed.queue(batch);
            }
        };
        let command = match command::open(std::mem::take(&mut record.envelope), stored.items, queue) {
            Ok(command) => Some(command),
            Err(Unopened::Envelope(error)) => {
                envelope_finding(findings, seq, &error);
                None
            }
            Err(Unopened::Items(why)) => {
                findings.add(
                    Code::ItemsDiffer,
                    Some(seq),
                    format!("The licence items stored with record {seq} are not those that were signed: {why}."),
                    format!("第{seq}号记录所附的证照条目与签名内容不符。"),
                );
                None
            }
        };
        let content = command.as_ref().map(|command| self.beside(seq, &record, command, findings)).unwrap_or_default();
        Some(Readable {
            bytes: stored.record,
            number: record.seq,
            time_ms: record.time_ms,
            rules: record.rules_version,
            is_commitment: record.commitment.is_some(),
            chain,
            parts,
            command,
            content,
        })
    }

    /// Decodes a record. Whether its encoding is canonical is left to the replay, if there is one:
    /// what it gives back is.
    fn decode(&self, stored: &StoredRecord) -> Result<(Record, Digest, Option<Parts>), String> {
        if self.hashes {
            let open = open_record(stored).map_err(|error| error.to_string())?;
            let parts = Parts::of(&open);
            return Ok((open.record, open.chain, Some(parts)));
        }
        let chain = stored.chain.as_slice().try_into().map_err(|_| "the chain hash is not 32 bytes")?;
        let record = Record::decode(&stored.record[..]).map_err(|error| error.to_string())?;
        if (stored.format_version, record.format_version) != (1, 1) {
            return Err("its format version is not 1".into());
        }
        Ok((record, chain, None))
    }

    /// What must hold between a record and its command, without any state.
    fn beside(&self, seq: u64, record: &Record, command: &Checked, findings: &mut Findings) -> Content {
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
        self.store.map(|store| content::examine(store, seq, record, command, findings)).unwrap_or_default()
    }
}

/// Notes a record that cannot be read.
pub fn unreadable(findings: &mut Findings, seq: u64, why: &str) {
    findings.add(
        Code::RecordUnreadable,
        Some(seq),
        format!("What stands at place {seq} is not a record of this format: {why}."),
        format!("第{seq}号位置上的内容不是本格式的记录。"),
    );
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
