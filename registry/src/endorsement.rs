//! Key endorsements: the receipt of a [`RotateKey`] record, by which whoever pins an older ledger key
//! learns the next one. What counts is the quorum that is pinned: its cosignatures stand under the
//! checkpoint beside the older key's signature, and neither is enough without the other (004-14).

use crate::stored::{BadRecord, OpenRecord, open_behind, read_message, record_parts};
use vermilion_crypto::{Digest, PublicKey, SUITE_1};
use vermilion_identity::EnvelopeError;
use vermilion_ledger::{LedgerError, MAX_NEWER_KEYS, NewerKey, ReceiptError, Trust, check_receipt, merge};
use vermilion_proto::{KeyState, Message as _, Receipt, RotateKey, body::Of};

/// The use of the key that signs checkpoints.
pub const LEDGER: &str = "ledger";
/// The use of a key to which content is sealed.
pub const VAULT: &str = "vault";

/// Why an endorsement does not hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EndorsementError {
    /// It is no canonical receipt.
    #[error("It cannot be read: {}.", .0.0)]
    Unreadable(BadRecord),
    /// Its record is none of this version.
    #[error("Its record cannot be read: {0}.")]
    Record(#[from] BadRecord),
    /// A field that the receipt of a record does not have, or another format version.
    #[error("It is not the receipt of a record alone.")]
    Form,
    /// The receipt does not hold under what is trusted.
    #[error("{0}")]
    Receipt(#[from] ReceiptError),
    /// The envelope of the record does not open, or a signature of it does not hold.
    #[error("The signatures of its record do not hold: {0}.")]
    Signatures(#[from] EnvelopeError),
    /// The command is another ledger's.
    #[error("Its record is of another ledger.")]
    WrongLedger,
    /// The record endorses no key, or was refused.
    #[error("Its record endorses no key of this kind.")]
    NoKey,
    /// Endorsements that do not follow each other.
    #[error("The endorsements are not in the order of their records.")]
    Order,
    /// Another key is known already as endorsed by this record, or a later one is and this one is not.
    #[error("It contradicts the ledger keys that are known already.")]
    Contradicts,
    /// More than are read.
    #[error("There are more than {MAX_NEWER_KEYS} endorsements.")]
    TooMany,
    /// The key does not go together with what is trusted.
    #[error("The key does not fit what is trusted: {0}.")]
    Trust(#[source] LedgerError),
}

impl EndorsementError {
    /// A code for programs and translations; it never changes for a given variant.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Unreadable(_) | Self::Record(_) | Self::Form => "endorsement.form",
            // Signed by the older key, and not by the quorum: what a thief of that key can make.
            Self::Receipt(ReceiptError::Quorum { .. } | ReceiptError::NoCityNode | ReceiptError::OutsideQuorum { .. }) => {
                "endorsement.quorum"
            }
            Self::Receipt(ReceiptError::NoLedgerSignature | ReceiptError::UnknownSigners) => "endorsement.old_key",
            Self::Receipt(_) => "endorsement.receipt",
            Self::Signatures(_) => "endorsement.signatures",
            Self::WrongLedger => "endorsement.wrong_ledger",
            Self::NoKey => "endorsement.no_key",
            Self::Order => "endorsement.order",
            Self::Contradicts => "endorsement.contradicts",
            Self::TooMany => "endorsement.too_many",
            Self::Trust(_) => "endorsement.key",
        }
    }
}

/// An endorsement from the receipt of its record: under the keys of `trust`, which is older than the
/// record, and without the signatures of others, which would say nothing to whoever checks it.
pub fn make(receipt: Receipt, trust: &Trust) -> Result<Vec<u8>, LedgerError> {
    let checkpoint = merge(&receipt.checkpoint, &receipt.checkpoint, trust)?.to_bytes();
    Ok(Receipt { checkpoint, ..receipt }.encode_to_vec())
}

/// Checks an endorsement of any key under what is trusted, with the ledger keys that are older than its
/// record.
pub fn check(endorsement: &[u8], trust: &Trust) -> Result<KeyState, EndorsementError> {
    let (receipt, open) = opened(endorsement)?;
    judge(&receipt, &open, trust)
}

fn judge(receipt: &Receipt, open: &OpenRecord, trust: &Trust) -> Result<KeyState, EndorsementError> {
    let checked = check_receipt(&record_parts(receipt), &open.claim(), trust)?;
    // Whatever a trust asks of other receipts: whose key gives way to another has signed that.
    if !checked.checkpoint.signed_by_ledger {
        return Err(ReceiptError::NoLedgerSignature.into());
    }
    key_of(open, &trust.settings().ledger_id)
}

/// What an endorsement says, without a judgement of its checkpoint: enough for one that was judged before.
pub fn said(endorsement: &[u8], ledger_id: &Digest) -> Result<KeyState, EndorsementError> {
    key_of(&opened(endorsement)?.1, ledger_id)
}

fn opened(endorsement: &[u8]) -> Result<(Receipt, OpenRecord), EndorsementError> {
    let receipt = read_message(endorsement).map_err(EndorsementError::Unreadable)?;
    let alone = Receipt {
        format_version: 1,
        record: receipt.record.clone(),
        chain_before: receipt.chain_before.clone(),
        tree_size: receipt.tree_size,
        inclusion: receipt.inclusion.clone(),
        checkpoint: receipt.checkpoint.clone(),
        ..Receipt::default()
    };
    if receipt != alone {
        return Err(EndorsementError::Form);
    }
    let before = Digest::try_from(receipt.chain_before.as_slice()).map_err(|_| ReceiptError::BadHash)?;
    let open = open_behind(&receipt.record, &before)?;
    Ok((receipt, open))
}

/// The key that a record endorses, its signatures verified.
fn key_of(open: &OpenRecord, ledger_id: &Digest) -> Result<KeyState, EndorsementError> {
    let opened = vermilion_identity::open(&open.record.envelope)?;
    opened.signed.verify()?;
    if opened.command.head.as_ref().is_none_or(|head| head.ledger_id != ledger_id) {
        return Err(EndorsementError::WrongLedger);
    }
    match opened.command.body.and_then(|body| body.of) {
        Some(Of::RotateKey(key)) if open.record.outcome.as_ref().is_none_or(|outcome| outcome.code == 0) && key.suite == SUITE_1 => {
            Ok(KeyState { key: Some(key), from_seq: open.record.seq, from_ms: open.record.time_ms })
        }
        _ => Err(EndorsementError::NoKey),
    }
}

/// The trust with the ledger keys that these endorsements add, the oldest first. One that is known
/// already is checked all the same, as whoever does not know it would.
pub fn extend(trust: &Trust, endorsements: &[Vec<u8>]) -> Result<Trust, EndorsementError> {
    if endorsements.len() > MAX_NEWER_KEYS {
        return Err(EndorsementError::TooMany);
    }
    let mut known = trust.clone();
    let mut last = None;
    for endorsement in endorsements {
        let (receipt, open) = opened(endorsement)?;
        let seq = open.record.seq;
        if last.is_some_and(|last| seq <= last) {
            return Err(EndorsementError::Order);
        }
        last = Some(seq);
        let older = known.before(seq);
        let newer = newer_key(&judge(&receipt, &open, &older)?).ok_or(EndorsementError::NoKey)?;
        if known.newer_keys().contains(&newer) {
            continue;
        }
        if older != known {
            return Err(EndorsementError::Contradicts);
        }
        let keys = [known.newer_keys(), &[newer]].concat();
        known = known.with_newer_keys(keys).map_err(EndorsementError::Trust)?;
    }
    Ok(known)
}

/// A ledger key that took the place of the one before; none if the key has another use.
#[must_use]
pub fn newer_key(state: &KeyState) -> Option<NewerKey> {
    let key: &RotateKey = state.key.as_ref().filter(|key| key.r#use == LEDGER)?;
    Some(NewerKey { from: state.from_seq, key: PublicKey::from_slice(&key.public_key).ok()? })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub(crate) mod tests;
