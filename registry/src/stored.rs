//! Records as they are stored and sent: reading their parts, and the leaf that each leaves.

pub use crate::receipt_file::{read_message, read_receipt, receipt_file};
use vermilion_crypto::Digest;
use vermilion_ledger::{Commitment, Leaf, LeafClaim, ReceiptParts, chain_next, leaf_index, record_hash};
use vermilion_proto::{Outcome, Receipt, Record, StoredRecord, canonical};

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
    let chain = digest(&stored.chain, "the chain hash")?;
    open_parts(&stored.record, |_| chain)
}

/// The same, of a receipt's record, from the chain hash before it.
pub fn open_behind(bytes: &[u8], before: &Digest) -> Result<OpenRecord, BadRecord> {
    open_parts(bytes, |hash| chain_next(before, hash))
}

fn open_parts(bytes: &[u8], chain: impl FnOnce(&Digest) -> Digest) -> Result<OpenRecord, BadRecord> {
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
    let chain = chain(&hash);
    let leaf = Leaf { seq: record.seq, time_ms: record.time_ms, record_hash: hash, chain_hash: chain, commitment };
    Ok(OpenRecord { record, hash, chain, leaf })
}

impl OpenRecord {
    /// What the leaf says beside the hashes: a receipt is held against it.
    #[must_use]
    pub fn claim(&self) -> LeafClaim {
        LeafClaim { seq: self.record.seq, time_ms: self.record.time_ms, commitment: self.leaf.commitment }
    }
}

/// The parts of a receipt that prove its record, without an item.
#[must_use]
pub fn record_parts(receipt: &Receipt) -> ReceiptParts<'_> {
    ReceiptParts {
        record: &receipt.record,
        chain_before: &receipt.chain_before,
        tree_size: receipt.tree_size,
        inclusion: &receipt.inclusion,
        checkpoint: &receipt.checkpoint,
        item: None,
    }
}

/// The index in the tree of the record that a receipt is of, as the record itself says.
#[must_use]
pub fn receipt_index(receipt: &Receipt) -> Option<u64> {
    leaf_index(canonical::<Record>(&receipt.record).ok()?.seq)
}

/// The status index of the licence at a position of a record's items: the accepted ones take
/// consecutive indices in order of position. None if it was refused, or the record created none.
#[must_use]
pub fn status_index(outcome: &Outcome, position: u32) -> Option<u64> {
    if outcome.code != 0 || outcome.refused.iter().any(|r| r.position == position) {
        return None;
    }
    let refused_before = outcome.refused.iter().filter(|r| r.position < position).count() as u64;
    outcome.first_status_index?.checked_add(u64::from(position).checked_sub(refused_before)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use vermilion_proto::ItemRefusal;

    #[test]
    fn accepted_items_take_the_indices_in_order() {
        let refused = |position| ItemRefusal { position, code: 43 };
        let outcome = Outcome { refused: vec![refused(0), refused(3)], first_status_index: Some(70), ..Outcome::default() };
        let indices: Vec<_> = (0..6).map(|position| status_index(&outcome, position)).collect();
        assert_eq!(indices, [None, Some(70), Some(71), None, Some(72), Some(73)]);
        assert_eq!(status_index(&Outcome { code: 45, ..outcome.clone() }, 1), None);
        assert_eq!(status_index(&Outcome::default(), 0), None);
        let last = Outcome { first_status_index: Some(u64::MAX), ..Outcome::default() };
        assert_eq!((status_index(&last, 0), status_index(&last, 1)), (Some(u64::MAX), None));
    }
}
