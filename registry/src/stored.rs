//! Records as they are stored and sent: reading their parts, and the leaf that each leaves.

use vermilion_crypto::Digest;
use vermilion_ledger::{Commitment, Leaf, record_hash};
use vermilion_proto::{Record, StoredRecord, canonical};

/// The first bytes of a receipt's file.
pub const RECEIPT_MAGIC: &[u8; 8] = b"VMRCPT1\n";

/// Why stored bytes are not a record of this version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the record is not readable: {0}")]
pub struct BadRecord(pub String);

/// A stored record, decoded, with its hash and its leaf.
#[derive(Debug, Clone)]
pub struct OpenRecord {
    /// The record.
    pub record: Record,
    /// Its hash.
    pub hash: Digest,
    /// The chain after it.
    pub chain: Digest,
    /// The leaf that it leaves in the tree.
    pub leaf: Leaf,
}

fn digest(bytes: &[u8], what: &str) -> Result<Digest, BadRecord> {
    bytes.try_into().map_err(|_| BadRecord(format!("{what} has {} bytes instead of 32", bytes.len())))
}

/// Decodes a stored record; checks form, not truth: nothing here says that the record belongs.
pub fn open_record(stored: &StoredRecord) -> Result<OpenRecord, BadRecord> {
    if stored.format_version != 1 {
        return Err(BadRecord(format!("stored format {}", stored.format_version)));
    }
    open_parts(&stored.record, digest(&stored.chain, "the chain hash")?)
}

/// The same, from a record's exact bytes and the chain hash after it.
pub fn open_parts(bytes: &[u8], chain: Digest) -> Result<OpenRecord, BadRecord> {
    let record: Record = canonical(bytes).map_err(|e| BadRecord(e.to_string()))?;
    if record.format_version != 1 {
        return Err(BadRecord(format!("record format {}", record.format_version)));
    }
    let hash = record_hash(bytes);
    let commitment = match &record.commitment {
        None => None,
        Some(data) => Some(Commitment {
            status_root: digest(&data.status_root, "the status root")?,
            state_digest: if data.state_digest.is_empty() { [0; 32] } else { digest(&data.state_digest, "the state digest")? },
        }),
    };
    let leaf = Leaf { seq: record.seq, time_ms: record.time_ms, record_hash: hash, chain_hash: chain, commitment };
    Ok(OpenRecord { record, hash, chain, leaf })
}
