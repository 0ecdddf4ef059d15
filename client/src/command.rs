//! From what is asked to bytes that are signed: heads, items, texts, envelopes.

use crate::error::ClientError;
use crate::signer::Signatory;
use vermilion_crypto::{ContentKey, Digest, SUITE_1, random, sha256};
use vermilion_identity as identity;
use vermilion_proto::{Body, Bytes, Command, Evidence, Head, LicenceItem, Message as _, body::Of};
use vermilion_registry::content::build_texts;
use vermilion_registry::reason::Reason;
use vermilion_registry::submission::{MAX_SUBMISSION, Sealed, encode_submission};
use vermilion_registry::vault::{Plain, Session};
use zeroize::Zeroizing;

/// How long a command made at the keyboard may wait for its block, in milliseconds.
pub const LIFETIME_MS: u64 = 10 * 60 * 1000;

/// A signed command, ready to be sent as often as it takes: these bytes have this id.
#[derive(Clone, Debug, PartialEq)]
pub struct Prepared {
    /// The command's id.
    pub id: Digest,
    /// USCC of the unit for which it acts.
    pub unit: String,
    /// After that no block takes it.
    pub not_after_ms: u64,
    /// What travels: an encoded `Submission`.
    pub submission: Bytes,
}

/// A command before it is signed: everything but the body.
#[derive(Clone, Debug, Default)]
pub struct Draft {
    /// USCC of the acting unit.
    pub unit: String,
    /// Makes two equal requests differ, or one request the same twice.
    pub nonce: [u8; 16],
    /// After that no block may take it.
    pub not_after_ms: u64,
    /// Codes of the legal basis.
    pub legal_basis: Vec<String>,
    /// The reason's code.
    pub reason: String,
    /// Ids of earlier commands.
    pub relates_to: Vec<Digest>,
    /// Documents that it rests on.
    pub evidence: Vec<Evidence>,
    /// Change only what was seen.
    pub expected_seq: Option<u64>,
    /// Digests of the sealed texts.
    pub text_digests: Vec<Digest>,
    /// Encoded items, for issue and supersede.
    pub items: Vec<Bytes>,
    /// What is sealed.
    pub sealed: Sealed,
}

impl Draft {
    /// A draft with a fresh nonce, which may wait [`LIFETIME_MS`] from `now_ms`.
    pub fn new(unit: &str, now_ms: u64) -> Result<Self, ClientError> {
        Ok(Self { unit: unit.to_owned(), nonce: random()?, not_after_ms: now_ms.saturating_add(LIFETIME_MS), ..Self::default() })
    }

    /// Adds texts: sealed under the session, their digests in the head. One call a draft.
    pub fn seal_texts(&mut self, session: &Session, texts: &[(&str, &str)]) -> Result<(), ClientError> {
        let salts: Vec<[u8; 16]> = texts.iter().map(|_| random()).collect::<Result<_, _>>()?;
        let mut salts = salts.into_iter();
        // One salt a text, in order; there are as many.
        let (digests, plaintext) = build_texts(texts, |_| salts.next().unwrap_or_default())?;
        let text = Plain { key: ContentKey(random()?), content: &plaintext };
        self.sealed = session.seal(&self.nonce, &[], Some(text))?;
        self.text_digests = digests;
        Ok(())
    }

    /// Adds licences: seals their contents and writes each ciphertext's digest into its item.
    pub fn seal_items(&mut self, session: &Session, contents: Vec<ItemDraft>) -> Result<(), ClientError> {
        let plains: Vec<Plain<'_>> = contents.iter().map(|c| Plain { key: c.key.clone(), content: &c.plaintext }).collect();
        self.sealed = session.seal(&self.nonce, &plains, None)?;
        drop(plains);
        let items = contents.into_iter().zip(&self.sealed.ciphertexts).map(|(content, ciphertext)| {
            let mut item = content.item;
            item.ciphertext_digest = sha256(ciphertext).to_vec();
            item.encode_to_vec().into()
        });
        self.items = items.collect();
        Ok(())
    }

    /// The root of the items, for the body.
    #[must_use]
    pub fn items_root(&self) -> (Vec<u8>, u32) {
        (vermilion_ledger::items_root(&self.items).to_vec(), u32::try_from(self.items.len()).unwrap_or(u32::MAX))
    }

    /// Completes the command with its body and has everybody sign the same bytes.
    pub fn sign(self, ledger_id: &Digest, body: Of, signers: &[Signatory]) -> Result<Prepared, ClientError> {
        let head = Head {
            format_version: 1,
            suite: SUITE_1,
            ledger_id: ledger_id.to_vec(),
            nonce: self.nonce.to_vec(),
            signers: signers.iter().flat_map(Signatory::head_lines).collect(),
            not_after_ms: self.not_after_ms,
            unit: self.unit.clone(),
            relates_to: self.relates_to.iter().map(|d| d.to_vec()).collect(),
            evidence: self.evidence,
            legal_basis: self.legal_basis,
            reason: self.reason,
            text_digests: self.text_digests.iter().map(|d| d.to_vec()).collect(),
            expected_seq: self.expected_seq,
            text_ciphertext_digest: self.sealed.text_digest(),
            wraps_digest: self.sealed.wraps_digest(),
            ..Head::default()
        };
        let command = Command { head: Some(head), body: Some(Body { of: Some(body) }) };
        let keys: Vec<_> = signers.iter().flat_map(Signatory::keys).collect();
        let (id, envelope) = identity::seal_with(&command, &keys).map_err(|e| ClientError::Usage(e.to_string()))?;
        let submission = encode_submission(envelope.into(), self.items, self.sealed);
        if submission.len() > MAX_SUBMISSION {
            return Err(Reason::TooLarge.into());
        }
        Ok(Prepared { id, unit: self.unit, not_after_ms: self.not_after_ms, submission })
    }
}

/// One licence before it is sealed.
pub struct ItemDraft {
    /// The item; its ciphertext's digest is still missing.
    pub item: LicenceItem,
    /// Its content.
    pub plaintext: Zeroizing<Vec<u8>>,
    /// The key of this content alone.
    pub key: ContentKey,
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use vermilion_crypto::SigningKey;
    use vermilion_crypto::{SeededRng, VaultSecretKey};
    use vermilion_proto::{ChangeUnit, SetPolicy};
    use vermilion_registry::submission::open_submission;

    fn signers() -> Vec<Signatory> {
        let one = |n: u8, post: &str| Signatory::new("u", post, SigningKey::from_seed(&[n; 32]));
        vec![one(1, "approve"), one(2, "operate"), one(3, "verify")]
    }

    #[test]
    fn what_is_signed_passes_the_gate() {
        let mut draft = Draft::new("u", 1_000).unwrap();
        draft.legal_basis = vec!["002-6".into()];
        let prepared = draft.sign(&[1; 32], Of::ChangeUnit(ChangeUnit { uscc: "x".into(), action: "suspend".into() }), &signers()).unwrap();
        let submitted = open_submission(&prepared.submission).unwrap();
        assert_eq!(submitted.checked.id, prepared.id);
        assert_eq!(submitted.signed.verify(), Ok(()));
        assert_eq!(prepared.not_after_ms, 1_000 + LIFETIME_MS);
    }

    #[test]
    fn texts_are_sealed_and_their_digests_signed() {
        let vault = VaultSecretKey::from_bytes([1; 32]);
        let session = Session::new(ContentKey([2; 32]), &[vault.public()], &mut SeededRng::new(&[3; 32])).unwrap();
        let mut draft = Draft::new("u", 0).unwrap();
        draft.seal_texts(&session, &[("case", "一号"), ("purpose", "核验")]).unwrap();
        let (nonce, digests) = (draft.nonce, draft.text_digests.clone());
        let prepared = draft.sign(&[1; 32], Of::SetPolicy(SetPolicy::default()), &signers()).unwrap();
        let submitted = open_submission(&prepared.submission).unwrap();
        let wraps = submitted.sealed.wraps().unwrap();
        let key = vermilion_registry::vault::open_command_key(&wraps, &[vault]).unwrap();
        let text = vermilion_registry::vault::open(&key, &nonce, &wraps, vermilion_registry::vault::TEXT_POSITION, &submitted.sealed.text)
            .unwrap();
        let texts = vermilion_registry::content::check_texts(&text, &digests).unwrap();
        assert_eq!(texts.get("case"), Some("一号"));
    }
}
