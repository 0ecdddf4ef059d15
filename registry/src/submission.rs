//! What a client sends: an envelope and what travels beside it. The gate's second half, a pure
//! function of the bytes: does what travels beside match what is signed?

use crate::command::Checked;
use crate::reason::{Reason, Refusal};
use vermilion_crypto::{Digest, hash, sha256};
use vermilion_identity::{EnvelopeError, Opened, Signed};
use vermilion_proto::{
    Beside, Bytes, CanonicalError, Command, Head, LicenceItem, Message as _, Submission, VaultWraps, body::Of, canonical, reading,
    view::walk, whole,
};

/// The largest submission, in bytes: 1,000 licences of 8 KiB each with their content.
pub const MAX_SUBMISSION: usize = 8 << 20;
/// The most items of one command.
pub const MAX_ITEMS: usize = 1000;
/// Version of the format of an item, which every reader of one asks for.
pub const ITEM_FORMAT: u32 = 1;
/// The largest item, in bytes.
pub const MAX_ITEM: usize = 32 << 10;
/// The largest ciphertext of one licence or of a command's texts, in bytes.
pub const MAX_CIPHERTEXT: usize = 256 << 10;
/// The largest `VaultWraps`, in bytes: 16 wraps and a key for each of the most items have less.
const MAX_WRAPS: usize = 64 << 10;

/// Bytes of a wrapped key: 32 and the tag of AES-256-GCM.
const WRAPPED_KEY: usize = 48;

/// The encrypted part of a submission, as it goes into the vault.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sealed {
    /// Ciphertexts in item order.
    pub ciphertexts: Vec<Bytes>,
    /// Encoded `VaultWraps`; empty when there are none.
    pub wraps: Bytes,
    /// Ciphertext of the texts; empty when there are none.
    pub text: Bytes,
}

impl Sealed {
    /// The wrapped keys.
    pub fn wraps(&self) -> Result<VaultWraps, Refusal> {
        Ok(canonical(&self.wraps)?)
    }
}

/// A submission whose parts fit together. Its signatures are not yet verified: `signed` does that.
#[derive(Clone, Debug)]
pub struct Submitted {
    /// The envelope's signatures.
    pub signed: Signed,
    /// The command as the registry takes it.
    pub checked: Checked,
    /// What goes into the vault if the command is accepted.
    pub sealed: Sealed,
}

impl From<CanonicalError> for Refusal {
    fn from(error: CanonicalError) -> Self {
        match error {
            CanonicalError::Malformed(why) => Refusal::new(Reason::Malformed, why),
            CanonicalError::NotCanonical => Reason::NotCanonical.into(),
        }
    }
}

impl From<EnvelopeError> for Refusal {
    fn from(error: EnvelopeError) -> Self {
        let reason = match error {
            EnvelopeError::TooLarge(_) => Reason::TooLarge,
            EnvelopeError::Malformed(_) => Reason::Malformed,
            EnvelopeError::NotCanonical => Reason::NotCanonical,
            EnvelopeError::PayloadType => Reason::PayloadType,
            EnvelopeError::FormatVersion(_) => Reason::FormatVersion,
            EnvelopeError::Suite(_) => Reason::Suite,
            EnvelopeError::Incomplete(_) => Reason::Incomplete,
            EnvelopeError::BadSignature(_) => Reason::BadSignature,
        };
        Refusal::new(reason, error.to_string())
    }
}

fn mismatch(what: &str) -> Refusal {
    Refusal::new(Reason::BesideMismatch, what.to_owned())
}

/// Opens a submission from its encoded bytes; its large parts stay slices of them.
pub fn open_submission(bytes: &Bytes) -> Result<Submitted, Refusal> {
    if bytes.len() > MAX_SUBMISSION {
        return Err(Refusal::new(Reason::TooLarge, "the submission is larger than 8 MiB"));
    }
    count_elements(bytes)?;
    let submission: Submission = whole(bytes)?;
    if submission.beside.as_ref().is_some_and(|beside| beside.wraps.len() > MAX_WRAPS) {
        return Err(Refusal::new(Reason::TooLarge, "the wrapped keys are larger than 64 KiB"));
    }
    let opened = vermilion_identity::open(&submission.envelope)?;
    let beside = submission.beside.unwrap_or_default();
    if beside.text.len() > MAX_CIPHERTEXT {
        return Err(Refusal::new(Reason::TooLarge, "the texts are larger than 256 KiB"));
    }
    let Beside { items: item_bytes, ciphertexts, wraps, text } = beside;
    let items = items(&opened.command, item_bytes)?;
    let sealed = Sealed { ciphertexts, wraps, text };
    check_sealed(head(&opened.command)?, &items, &sealed)?;
    let (signed, checked) = checked(opened, submission.envelope, items, !sealed.wraps.is_empty())?;
    Ok(Submitted { signed, checked, sealed })
}

/// Refuses more items or ciphertexts than a command can have, before room is made for them: an empty one takes two bytes here and
/// sixteen times as many when it is decoded.
fn count_elements(bytes: &[u8]) -> Result<(), Refusal> {
    let (mut items, mut ciphertexts) = (0, 0);
    let mut walked = Ok(());
    walk(bytes, |number, value| {
        // A decoder joins them if there is more than one.
        if let (2, Some(beside), Ok(())) = (number, value, &walked) {
            walked = walk(beside, |number, _| match number {
                1 => items += 1,
                2 => ciphertexts += 1,
                _ => {}
            });
        }
    })?;
    walked?;
    if items > MAX_ITEMS || ciphertexts > MAX_ITEMS {
        return Err(mismatch("the number of items or ciphertexts is more than 1,000"));
    }
    Ok(())
}

/// Opens a recorded command: envelope and items, without what the vault holds.
pub fn open_recorded(envelope: Bytes, item_bytes: Vec<Bytes>) -> Result<(Signed, Checked), Refusal> {
    let opened = vermilion_identity::open(&envelope)?;
    recorded(opened, envelope, item_bytes)
}

/// The second half of [`open_recorded`]: the items of an opened envelope are those that it signs.
pub fn recorded(opened: Opened, envelope: Bytes, item_bytes: Vec<Bytes>) -> Result<(Signed, Checked), Refusal> {
    let items = items(&opened.command, item_bytes)?;
    checked(opened, envelope, items, false)
}

fn head(command: &Command) -> Result<&Head, Refusal> {
    command.head.as_ref().ok_or_else(|| Refusal::new(Reason::Malformed, "the command has no head"))
}

fn checked(opened: Opened, envelope: Bytes, items: Vec<(Bytes, LicenceItem)>, has_vault: bool) -> Result<(Signed, Checked), Refusal> {
    let Opened { id, command, signed } = opened;
    let beside_digest = beside_digest(&command)?;
    // Opening the envelope has compared them with the keys themselves.
    let named = command.head.iter().flat_map(|head| &head.signers);
    let signer_keys = named.filter_map(|signer| signer.key_id.as_slice().try_into().ok()).collect();
    Ok((signed, Checked { id, envelope, command, signer_keys, items, beside_digest, has_vault }))
}

/// The digest of what travelled beside a command, from what its payload signs: the items' root and
/// the digests of wraps and texts. Empty when nothing does.
pub fn beside_digest(command: &Command) -> Result<Vec<u8>, Refusal> {
    let head = head(command)?;
    let root = signed_root(command).map_or(&[][..], |(root, _)| root);
    if root.is_empty() && head.wraps_digest.is_empty() && head.text_ciphertext_digest.is_empty() {
        return Ok(Vec::new());
    }
    let mut hasher = hash::Hasher::new(&hash::CTX_BESIDE);
    hasher.field(root).field(&head.wraps_digest).field(&head.text_ciphertext_digest);
    Ok(hasher.finish().to_vec())
}

fn signed_root(command: &Command) -> Option<(&[u8], u32)> {
    match command.body.as_ref()?.of.as_ref()? {
        Of::IssueLicences(issue) => Some((&issue.items_root, issue.items_count)),
        Of::SupersedeLicence(supersede) => Some((&supersede.items_root, supersede.items_count)),
        _ => None,
    }
}

fn items(command: &Command, bytes: Vec<Bytes>) -> Result<Vec<(Bytes, LicenceItem)>, Refusal> {
    let Some((root, count)) = signed_root(command) else {
        return if bytes.is_empty() { Ok(Vec::new()) } else { Err(mismatch("this command carries no items")) };
    };
    if bytes.is_empty() || bytes.len() > MAX_ITEMS || bytes.len() != count as usize {
        return Err(mismatch("the number of items is not what is signed, or not 1 to 1,000"));
    }
    if vermilion_ledger::items_root(&bytes) != *root {
        return Err(mismatch("the items are not those whose root is signed"));
    }
    let mut items = Vec::with_capacity(bytes.len());
    for (n, item) in bytes.into_iter().enumerate() {
        if item.len() > MAX_ITEM {
            return Err(Refusal::new(Reason::TooLarge, format!("item {n} is larger than 32 KiB")));
        }
        let decoded = reading::item(&item).map_err(|e| {
            let refusal = Refusal::from(e);
            Refusal::new(refusal.reason, format!("item {n}: {}", refusal.detail))
        })?;
        if decoded.format_version != ITEM_FORMAT {
            return Err(Refusal::new(Reason::FormatVersion, format!("item {n} has format version {}", decoded.format_version)));
        }
        items.push((item, decoded));
    }
    Ok(items)
}

fn digest_matches(signed: &[u8], bytes: &[u8]) -> bool {
    if bytes.is_empty() { signed.is_empty() } else { sha256(bytes)[..] == *signed }
}

/// Ciphertexts, wraps and texts against the digests that are signed.
fn check_sealed(head: &Head, items: &[(Bytes, LicenceItem)], beside: &Sealed) -> Result<(), Refusal> {
    if beside.ciphertexts.len() != items.len() {
        return Err(mismatch("there is not one ciphertext for each item"));
    }
    for (n, ((_, item), ciphertext)) in items.iter().zip(&beside.ciphertexts).enumerate() {
        if ciphertext.len() > MAX_CIPHERTEXT {
            return Err(Refusal::new(Reason::TooLarge, format!("the content of item {n} is larger than 256 KiB")));
        }
        if ciphertext.is_empty() || !digest_matches(&item.ciphertext_digest, ciphertext) {
            return Err(mismatch(&format!("the ciphertext of item {n} is not the one whose digest is signed")));
        }
    }
    if !digest_matches(&head.wraps_digest, &beside.wraps) {
        return Err(mismatch("the wrapped keys are not those whose digest is signed"));
    }
    if !digest_matches(&head.text_ciphertext_digest, &beside.text) {
        return Err(mismatch("the texts are not those whose digest is signed"));
    }
    if beside.wraps.is_empty() {
        return if items.is_empty() && beside.text.is_empty() { Ok(()) } else { Err(mismatch("content travels without its wrapped keys")) };
    }
    let wraps: VaultWraps = canonical(&beside.wraps)?;
    check_form(&wraps, items.len(), !beside.text.is_empty())?;
    if wraps.licence_keys.iter().any(Vec::is_empty) {
        return Err(mismatch("a wrapped key has the wrong size"));
    }
    Ok(())
}

/// Checks the form of the keys that are wrapped for a command of so many items, with a text or without one. A licence's key may
/// be empty: an erasure leaves nothing else of it.
pub fn check_form(wraps: &VaultWraps, items: usize, has_text: bool) -> Result<(), Refusal> {
    if wraps.suite != vermilion_crypto::SUITE_1 {
        return Err(Reason::Suite.into());
    }
    let wrapped = |w: &vermilion_proto::Wrap| w.vault_key_id.len() == 16 && w.encapsulated.len() == 32 && w.ciphertext.len() == WRAPPED_KEY;
    let emptied_or_whole = |key: &Vec<u8>| key.is_empty() || key.len() == WRAPPED_KEY;
    if !wraps.wraps.iter().all(wrapped) || !wraps.licence_keys.iter().all(emptied_or_whole) || wraps.text_key.len() > WRAPPED_KEY {
        return Err(mismatch("a wrapped key has the wrong size"));
    }
    if wraps.licence_keys.len() != items || wraps.text_key.is_empty() == has_text || wraps.wraps.len() > 16 {
        return Err(mismatch("there is not one wrapped key for each piece of content"));
    }
    Ok(())
}

/// Encodes a submission.
#[must_use]
pub fn encode_submission(envelope: Bytes, items: Vec<Bytes>, sealed: Sealed) -> Bytes {
    let beside = Beside { items, ciphertexts: sealed.ciphertexts, wraps: sealed.wraps, text: sealed.text };
    let beside = (beside != Beside::default()).then_some(beside);
    Submission { envelope, beside }.encode_to_vec().into()
}

/// Names a submission's exact bytes, for a node's cache of what it has verified.
#[must_use]
pub fn submission_digest(bytes: &[u8]) -> Digest {
    hash::derive(&hash::CTX_ENVELOPE, &[bytes])
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn refused(submission: &[u8]) -> Refusal {
        open_submission(&Bytes::copy_from_slice(submission)).unwrap_err()
    }

    #[test]
    fn what_no_command_can_have_is_refused_before_there_is_room_for_it() {
        let of = |items, ciphertexts| Beside {
            items: vec![Bytes::new(); items],
            ciphertexts: vec![Bytes::new(); ciphertexts],
            ..Default::default()
        };
        let submission = |beside| Submission { envelope: Bytes::new(), beside: Some(beside) }.encode_to_vec();
        for beside in [of(MAX_ITEMS + 1, 0), of(0, MAX_ITEMS + 1), of(2 << 20, 0)] {
            let refusal = refused(&submission(beside));
            assert!(refusal.reason == Reason::BesideMismatch && refusal.detail.contains("more than 1,000"), "{refusal:?}");
        }
        // Not by the sum of both, and not in several parts that a decoder joins.
        assert_ne!(refused(&submission(of(MAX_ITEMS, MAX_ITEMS))).reason, Reason::BesideMismatch);
        let halves = [submission(of(600, 0)), submission(of(600, 0))].concat();
        assert!(refused(&halves).detail.contains("more than 1,000"));
        let wraps = Beside { wraps: vec![0; MAX_WRAPS + 1].into(), ..Default::default() };
        assert_eq!(refused(&submission(wraps)).reason, Reason::TooLarge);
    }
}
