//! Receipts (存证凭证): what proves one record, or one licence in it, offline.

use crate::{
    Commitment, Leaf, LedgerError, Trust, Verified, chain_next, chain_start, check_inclusion, check_item, digests, leaf_index, record_hash,
    verify,
};
use vermilion_crypto::Digest;

/// A receipt's parts as they travel, not yet believed.
#[derive(Clone, Copy, Debug)]
pub struct ReceiptParts<'a> {
    /// The record's exact bytes.
    pub record: &'a [u8],
    /// The chain before the record, 32 bytes.
    pub chain_before: &'a [u8],
    /// The size of the tree that the inclusion proof is for: that of the checkpoint.
    pub tree_size: u64,
    /// The inclusion proof: hashes of 32 bytes from the leaf's sibling to the root's child.
    pub inclusion: &'a [Vec<u8>],
    /// The checkpoint: a signed note with cosignatures.
    pub checkpoint: &'a [u8],
    /// The item, if the receipt is for one licence.
    pub item: Option<ItemParts<'a>>,
}

/// A record as it travels, not yet believed, to be held against a checkpoint that holds.
#[derive(Clone, Copy, Debug)]
pub struct RecordParts<'a> {
    /// The record's exact bytes.
    pub record: &'a [u8],
    /// The chain before the record, 32 bytes.
    pub chain_before: &'a [u8],
    /// The inclusion proof, for the checkpoint's tree: hashes of 32 bytes from the leaf's sibling to the root's child.
    pub inclusion: &'a [Vec<u8>],
}

/// One item of a record's command.
#[derive(Clone, Copy, Debug)]
pub struct ItemParts<'a> {
    /// The item's exact bytes.
    pub item: &'a [u8],
    /// Its position in the command, from 0.
    pub position: u64,
    /// How many items the command has: from the *signed* command within the record.
    pub count: u64,
    /// Its path: hashes of 32 bytes.
    pub path: &'a [Vec<u8>],
    /// The root over the items: from the *signed* command within the record.
    pub root: &'a [u8],
}

/// What the record's leaf says beyond hashes. The caller reads it out of [`ReceiptParts::record`],
/// which this crate does not decode; a wrong value makes another leaf, which is not in the tree.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LeafClaim {
    /// The record's sequence number.
    pub seq: u64,
    /// The record's time in milliseconds since 1970-01-01 UTC.
    pub time_ms: u64,
    /// Present exactly if the record is a commitment.
    pub commitment: Option<Commitment>,
}

/// What holds, once a receipt is checked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Checked {
    /// The record's hash.
    pub record_hash: Digest,
    /// The record's leaf, whole.
    pub leaf: Leaf,
    /// The checkpoint, and who cosigned it when.
    pub checkpoint: Verified,
    /// The position of the item that was proved to be in the record, if the receipt has one.
    pub item: Option<u64>,
}

/// Why a receipt does not hold. One plain sentence each, and a code that does not change.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReceiptError {
    /// A hash within the receipt is not 32 bytes long.
    #[error("A hash in the receipt has the wrong length.")]
    BadHash,
    /// The checkpoint does not parse as a note and checkpoint.
    #[error("The receipt's checkpoint cannot be read.")]
    BadCheckpoint(#[source] LedgerError),
    /// The checkpoint is another ledger's.
    #[error("The receipt's checkpoint belongs to another ledger.")]
    WrongLedger,
    /// A trusted key's signature under the checkpoint does not hold.
    #[error("The signature of {0} under the checkpoint does not hold.")]
    BadSignature(String),
    /// No trusted key has signed the checkpoint.
    #[error("No key that you trust has signed the checkpoint.")]
    UnknownSigners,
    /// The ledger key has not signed the checkpoint.
    #[error("The ledger key has not signed the checkpoint.")]
    NoLedgerSignature,
    /// Too few witnesses have cosigned.
    #[error("Only {have} of the {need} witnesses needed have cosigned the checkpoint.")]
    Quorum {
        /// Distinct witnesses that cosigned.
        have: usize,
        /// The quorum.
        need: usize,
    },
    /// None of the city's nodes has cosigned the checkpoint.
    #[error("No node of the city has cosigned the checkpoint.")]
    NoCityNode,
    /// Too few outside witnesses have cosigned.
    #[error("Only {have} of the {need} outside witnesses needed have cosigned the checkpoint.")]
    OutsideQuorum {
        /// Distinct outside witnesses that cosigned.
        have: usize,
        /// How many are needed.
        need: usize,
    },
    /// The receipt's tree size is not the checkpoint's.
    #[error("The receipt's proof is for a tree of {claimed} records, the checkpoint for {signed}.")]
    TreeSize {
        /// The receipt's.
        claimed: u64,
        /// The checkpoint's.
        signed: u64,
    },
    /// The checkpoint is older than the record.
    #[error("The checkpoint was made before record {0}.")]
    NotCovered(u64),
    /// The first record's chain does not start at this ledger's id.
    #[error("The first record does not start this ledger's chain.")]
    ChainStart,
    /// The record, as it is here, is not in the tree that the checkpoint signs.
    #[error("The record is not the one in the ledger: it was altered, or the proof is not its own.")]
    NotInLedger,
    /// The item, as it is here, is not in the record.
    #[error("The licence is not the one in the record: it was altered, or the proof is not its own.")]
    NotInRecord,
    /// The commitment that the status rests on is not the one at which the checkpoint was made.
    #[error("The status is not that of the checkpoint: it was altered, or the proof is not its own.")]
    NotTheCommitment,
    /// The status is not in the vector that the commitment carries.
    #[error("The status is not the one in the ledger: it was altered, or the proof is not its own.")]
    NotTheStatus,
}

impl ReceiptError {
    /// A code for programs and translations; it never changes for a given variant.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::BadHash => "receipt.bad_hash",
            Self::BadCheckpoint(_) => "receipt.bad_checkpoint",
            Self::WrongLedger => "receipt.wrong_ledger",
            Self::BadSignature(_) => "receipt.bad_signature",
            Self::UnknownSigners => "receipt.unknown_signers",
            Self::NoLedgerSignature => "receipt.no_ledger_signature",
            Self::Quorum { .. } => "receipt.quorum",
            Self::NoCityNode => "receipt.no_city_node",
            Self::OutsideQuorum { .. } => "receipt.outside_quorum",
            Self::TreeSize { .. } => "receipt.tree_size",
            Self::NotCovered(_) => "receipt.not_covered",
            Self::ChainStart => "receipt.chain_start",
            Self::NotInLedger => "receipt.not_in_ledger",
            Self::NotInRecord => "receipt.not_in_record",
            Self::NotTheCommitment => "receipt.not_the_commitment",
            Self::NotTheStatus => "receipt.not_the_status",
        }
    }

    fn of_checkpoint(error: LedgerError) -> Self {
        match error {
            LedgerError::WrongOrigin => Self::WrongLedger,
            LedgerError::BadSignature(name) => Self::BadSignature(name),
            LedgerError::UnknownSigners => Self::UnknownSigners,
            LedgerError::NoLedgerSignature => Self::NoLedgerSignature,
            LedgerError::Quorum { have, need } => Self::Quorum { have, need },
            LedgerError::NoCityNode => Self::NoCityNode,
            LedgerError::OutsideQuorum { have, need } => Self::OutsideQuorum { have, need },
            other => Self::BadCheckpoint(other),
        }
    }
}

/// Checks a receipt, with nothing but the bytes given and what the verifier pins: the checkpoint's
/// signatures and quorum; the record's hash, its place in the chain, its leaf, and the leaf's place
/// in the tree; the item's place in the record. Some 0.15 ms with four signatures, nearly all of it
/// theirs.
///
/// What it leaves to the caller, who can decode the record: that `claim` and the item's root and
/// count are read out of `parts.record`; that the record's outcome accepted the item; the signatures
/// in the envelope; that the command names this ledger; the licence's status ([`check_receipt_status`]);
/// and how old the checkpoint may be ([`Verified::as_of`]).
///
/// [`check_receipt_status`]: crate::check_receipt_status
pub fn check_receipt(parts: &ReceiptParts<'_>, claim: &LeafClaim, trust: &Trust) -> Result<Checked, ReceiptError> {
    let checkpoint = verify(parts.checkpoint, trust).map_err(ReceiptError::of_checkpoint)?;
    checkpoint.check_quorum(trust).map_err(ReceiptError::of_checkpoint)?;
    if parts.tree_size != checkpoint.size {
        return Err(ReceiptError::TreeSize { claimed: parts.tree_size, signed: checkpoint.size });
    }

    let record = RecordParts { record: parts.record, chain_before: parts.chain_before, inclusion: parts.inclusion };
    let leaf = check_record(&record, claim, &checkpoint, &trust.settings().ledger_id)?;

    if let Some(item) = &parts.item {
        let root = digest(item.root)?;
        let path = digests(item.path).map_err(|_| ReceiptError::BadHash)?;
        check_item(&root, item.count, item.position, item.item, &path).map_err(|_| ReceiptError::NotInRecord)?;
    }
    Ok(Checked { record_hash: leaf.record_hash, leaf, checkpoint, item: parts.item.map(|item| item.position) })
}

/// Checks a record under a checkpoint that holds already: its hash, its place in the chain, its leaf, and the
/// leaf's place in the tree. What it leaves to the caller: the checkpoint's signatures and quorum, and of the
/// record what [`check_receipt`] leaves.
pub fn check_record(parts: &RecordParts<'_>, claim: &LeafClaim, checkpoint: &Verified, ledger_id: &Digest) -> Result<Leaf, ReceiptError> {
    let chain_before = digest(parts.chain_before)?;
    let inclusion = digests(parts.inclusion).map_err(|_| ReceiptError::BadHash)?;
    let index = leaf_index(claim.seq).filter(|index| *index < checkpoint.size).ok_or(ReceiptError::NotCovered(claim.seq))?;
    if index == 0 && chain_before != chain_start(ledger_id) {
        return Err(ReceiptError::ChainStart);
    }
    let record_hash = record_hash(parts.record);
    let leaf = Leaf {
        seq: claim.seq,
        time_ms: claim.time_ms,
        record_hash,
        chain_hash: chain_next(&chain_before, &record_hash),
        commitment: claim.commitment,
    };
    check_inclusion(&checkpoint.root, checkpoint.size, index, &leaf.hash(), &inclusion).map_err(|_| ReceiptError::NotInLedger)?;
    Ok(leaf)
}

fn digest(bytes: &[u8]) -> Result<Digest, ReceiptError> {
    Digest::try_from(bytes).map_err(|_| ReceiptError::BadHash)
}
