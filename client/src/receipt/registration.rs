//! Registrations: the records by which the keys that signed a receipt's command came on the ledger, under the
//! receipt's own checkpoint.
//!
//! What they show, with no network and no node's word beyond the quorum's: each key was registered, for this
//! unit and in this post, by a record that is older than the command, whose own signatures hold and which the
//! ledger took. What they do not show: that no record between the two took key or post away again; and that
//! those who signed a registration might admit anybody. Who they are is told, one level up and no further.
//! The genesis ends it by itself: the ledger's id, which is pinned, is its hash.

use crate::clock::show_ms;
use serde_json::{Value, json};
use vermilion_crypto::Digest;
use vermilion_identity::{EnvelopeError, Opened};
use vermilion_ledger::{ReceiptError, RecordParts, Trust, Verified, check_record};
use vermilion_proto::{AddOperator, Message as _, Operator, Record, Registration, Signer, body::Of};
use vermilion_registry::ledger_id;
use vermilion_registry::reason::Reason;
use vermilion_registry::stored::{BadRecord, OpenRecord, open_behind};

/// A record that registered keys with which a receipt's command was signed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Registered {
    /// Its number.
    pub seq: u64,
    /// Its time, Unix milliseconds.
    pub time_ms: u64,
    /// The keys, of those that signed.
    pub keys: Vec<[u8; 32]>,
    /// Who had them registered; nobody, where they stand in the genesis.
    pub by: Option<Registrar>,
}

/// Who signed a registration.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Registrar {
    /// The unit for which it was signed.
    pub unit: String,
    /// The posts and keys that signed.
    pub signers: Vec<(String, [u8; 32])>,
    /// Whether these are keys that are pinned for the unit.
    pub pinned: bool,
}

/// Why a receipt's registrations do not hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RegistrationError {
    /// More records than keys.
    #[error("There are more of them than keys that signed.")]
    TooMany,
    /// The record is none of this version.
    #[error("It cannot be read: {0}.")]
    Unreadable(#[from] BadRecord),
    /// The record is not under the receipt's checkpoint.
    #[error("{0}")]
    NotInLedger(#[from] ReceiptError),
    /// A record twice, or a later one before an earlier one.
    #[error("They are not in the order of their records.")]
    Order,
    /// The record came after the command, or is the command's own.
    #[error("Record {0} is not older than the command.")]
    Later(u64),
    /// The ledger refused the registration.
    #[error("The ledger refused record {0}: {1}.")]
    Refused(u64, &'static str),
    /// The envelope of the record does not open, or a signature of it does not hold.
    #[error("The signatures of its record do not hold: {0}.")]
    Signatures(#[from] EnvelopeError),
    /// The command is another ledger's.
    #[error("Record {0} is of another ledger.")]
    WrongLedger(u64),
    /// The record is of another command.
    #[error("Record {0} registers no operator.")]
    NoOperator(u64),
    /// The record is signed for a unit whose keys are pinned, and by another key.
    #[error("Record {0} is signed by the key {1}, which is none that is pinned for its unit.")]
    ForeignKey(u64, String),
    /// None of the keys that signed, or one that an earlier record registered.
    #[error("Record {0} registers none of the keys that signed, or one that is registered already.")]
    OtherKey(u64),
    /// Another unit than the one that the key signed for.
    #[error("Record {0} registers the key for another unit.")]
    OtherUnit(u64),
    /// Without the post in which the key signed.
    #[error("Record {0} registers the key without the post in which it signed.")]
    Post(u64),
    /// For another time than that of the command.
    #[error("By record {0} the key is not in force at the time of the command.")]
    Term(u64),
    /// Of a key that signed there is none.
    #[error("There is none of the key {0}, which signed.")]
    Missing(String),
}

impl RegistrationError {
    /// A code for programs and translations; it never changes for a given variant.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::TooMany => "registration.too_many",
            Self::Unreadable(_) | Self::NotInLedger(ReceiptError::BadHash) => "registration.form",
            Self::NotInLedger(_) => "registration.not_in_ledger",
            Self::Order => "registration.order",
            Self::Later(_) => "registration.later",
            Self::Refused(..) => "registration.refused",
            Self::Signatures(_) => "registration.signatures",
            Self::WrongLedger(_) => "registration.wrong_ledger",
            Self::NoOperator(_) => "registration.no_operator",
            Self::ForeignKey(..) => "registration.foreign_key",
            Self::OtherKey(_) => "registration.other_key",
            Self::OtherUnit(_) => "registration.other_unit",
            Self::Post(_) => "registration.post",
            Self::Term(_) => "registration.term",
            Self::Missing(_) => "registration.missing",
        }
    }
}

impl Registered {
    /// Whether no node's word is needed for who registered the keys: it is the genesis, whose hash is the ledger's
    /// id, or was signed by keys that are pinned.
    #[must_use]
    pub fn is_pinned(&self) -> bool {
        self.by.as_ref().is_none_or(|by| by.pinned)
    }

    /// For scripts.
    #[must_use]
    pub fn json(&self) -> Value {
        let signers = self.by.iter().flat_map(|by| &by.signers);
        json!({
            "seq": self.seq,
            "time": show_ms(self.time_ms),
            "keys": self.keys.iter().map(hex::encode).collect::<Vec<_>>(),
            "genesis": self.by.is_none(),
            "unit": self.by.as_ref().map(|by| &by.unit),
            "signed_by": signers.map(|(post, key)| json!({ "post": post, "key": hex::encode(key) })).collect::<Vec<_>>(),
            "pinned": self.is_pinned(),
        })
    }
}

/// Checks the registrations of a receipt whose record is proved under this checkpoint: every key that signed its
/// command is registered by one of them, and none of them is there for nothing.
pub fn check(
    registrations: &[Registration],
    record: &Record,
    opened: &Opened,
    checkpoint: &Verified,
    trust: &Trust,
) -> Result<Vec<Registered>, RegistrationError> {
    let head = opened.command.head.clone().unwrap_or_default();
    let keys = &opened.signed.keys;
    if registrations.len() > keys.len() {
        return Err(RegistrationError::TooMany);
    }
    let mut out: Vec<Registered> = Vec::new();
    for registration in registrations {
        let open = in_ledger(registration, checkpoint, trust)?;
        let seq = open.record.seq;
        if out.last().is_some_and(|last| seq <= last.seq) {
            return Err(RegistrationError::Order);
        }
        if seq >= record.seq {
            return Err(RegistrationError::Later(seq));
        }
        let (operators, by) = read(&open, trust)?;
        let mut found = Vec::new();
        for (signer, key) in head.signers.iter().zip(keys) {
            let Some(operator) = operators.iter().find(|operator| operator.public_key == key.0) else { continue };
            fits(seq, operator, signer, &head.unit, record.time_ms)?;
            if !found.contains(&key.0) {
                found.push(key.0);
            }
        }
        let again = found.iter().any(|key| out.iter().any(|of| of.keys.contains(key)));
        if found.is_empty() || again {
            return Err(RegistrationError::OtherKey(seq));
        }
        out.push(Registered { seq, time_ms: open.record.time_ms, keys: found, by });
    }
    match keys.iter().find(|key| !out.iter().any(|of| of.keys.contains(&key.0))) {
        Some(missing) => Err(RegistrationError::Missing(hex::encode(missing.0))),
        None => Ok(out),
    }
}

/// The record of a registration, which is under the checkpoint.
fn in_ledger(registration: &Registration, checkpoint: &Verified, trust: &Trust) -> Result<OpenRecord, RegistrationError> {
    let Registration { record, chain_before, inclusion } = registration;
    let before = Digest::try_from(chain_before.as_slice()).map_err(|_| ReceiptError::BadHash)?;
    let open = open_behind(record, &before)?;
    check_record(&RecordParts { record, chain_before, inclusion }, &open.claim(), checkpoint, &trust.settings().ledger_id)?;
    Ok(open)
}

/// The operators that a record registers, and who signed it.
fn read(open: &OpenRecord, trust: &Trust) -> Result<(Vec<Operator>, Option<Registrar>), RegistrationError> {
    let seq = open.record.seq;
    let code = open.record.outcome.as_ref().map_or(0, |outcome| outcome.code);
    if code != 0 {
        return Err(RegistrationError::Refused(seq, Reason::from_number(code).map_or("?", Reason::name)));
    }
    let Opened { command, signed, .. } = vermilion_identity::open(&open.record.envelope)?;
    signed.verify()?;
    let ledger = trust.settings().ledger_id;
    if let Some(Of::Genesis(genesis)) = command.body.as_ref().and_then(|body| body.of.as_ref()) {
        // Nobody signs it: whoever pins the ledger's id has agreed to it. What is canonical has these bytes alone.
        if ledger_id(&command.encode_to_vec()) != ledger {
            return Err(RegistrationError::WrongLedger(seq));
        }
        return Ok((genesis.operators.iter().filter_map(|added| added.operator.clone()).collect(), None));
    }
    let head = command.head.unwrap_or_default();
    if head.ledger_id != ledger {
        return Err(RegistrationError::WrongLedger(seq));
    }
    let Some(Of::AddOperator(AddOperator { operator: Some(operator) })) = command.body.and_then(|body| body.of) else {
        return Err(RegistrationError::NoOperator(seq));
    };
    let pinned = trust.policy().units.get(&head.unit);
    if let Some(foreign) = pinned.and_then(|pinned| signed.keys.iter().find(|key| !pinned.contains(key))) {
        return Err(RegistrationError::ForeignKey(seq, hex::encode(foreign.0)));
    }
    let signers = head.signers.into_iter().zip(&signed.keys).map(|(signer, key)| (signer.post, key.0)).collect();
    Ok((vec![operator], Some(Registrar { unit: head.unit, signers, pinned: pinned.is_some() })))
}

/// Whether an operator, as registered, could sign so: for this unit, in this post, at this time.
fn fits(seq: u64, operator: &Operator, signer: &Signer, unit: &str, time_ms: u64) -> Result<(), RegistrationError> {
    if operator.unit != signer.unit || signer.unit != unit {
        return Err(RegistrationError::OtherUnit(seq));
    }
    if !operator.posts.contains(&signer.post) {
        return Err(RegistrationError::Post(seq));
    }
    if time_ms < operator.from_ms || (operator.until_ms != 0 && time_ms >= operator.until_ms) {
        return Err(RegistrationError::Term(seq));
    }
    Ok(())
}
