//! The gate's first half: is this a whole, well-formed envelope, signed by all whom it names?

use crate::{Signer, SignerError};
use vermilion_crypto::{CryptoError, Digest, KeyId, PublicKey, Signature, SigningKey, batch::Batch, dsse, hash};
use vermilion_proto::view::{EnvelopeView, SignatureView};
use vermilion_proto::{COMMAND_TYPE, CanonicalError, Command, Envelope, Message as _, reading};

/// The largest envelope, in bytes. The largest command is a licence type with its schema (64 KiB)
/// or a genesis; items travel beside the envelope and have bounds of their own.
pub const MAX_ENVELOPE: usize = 256 * 1024;
/// The most signers that a command names.
pub const MAX_SIGNERS: usize = 8;

/// Why an envelope is not accepted. All are functions of its bytes alone.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    /// Beyond [`MAX_ENVELOPE`] or [`MAX_SIGNERS`].
    #[error("the envelope is too large: {0}")]
    TooLarge(&'static str),
    /// Envelope or payload does not decode, or lacks its head or body.
    #[error("{0}")]
    Malformed(String),
    /// An unknown field, or not the canonical encoding.
    #[error("the envelope or its payload has an unknown field or is not in canonical encoding")]
    NotCanonical,
    /// A payload type that is not a command's.
    #[error("the payload type is not {COMMAND_TYPE}")]
    PayloadType,
    /// The head's format version is not 1.
    #[error("format version {0} is not read by this version")]
    FormatVersion(u32),
    /// A suite other than 1.
    #[error("suite {0} is not honoured")]
    Suite(u32),
    /// The signatures are not those of the named signers, one each, in order.
    #[error("the envelope is incomplete: signer {0} has not signed")]
    Incomplete(usize),
    /// A signature does not hold.
    #[error("signature {0} does not hold")]
    BadSignature(usize),
}

impl From<CanonicalError> for EnvelopeError {
    fn from(error: CanonicalError) -> Self {
        match error {
            CanonicalError::Malformed(why) => Self::Malformed(why),
            CanonicalError::NotCanonical => Self::NotCanonical,
        }
    }
}

/// An envelope that is well formed and complete. Its signatures are not yet verified: see
/// [`Signed::queue`] and [`Signed::verify`].
#[derive(Debug, Clone, PartialEq)]
pub struct Opened {
    /// The command's id: hash of its payload.
    pub id: Digest,
    /// The command, canonical.
    pub command: Command,
    /// Who signed it.
    pub signed: Signed,
}

/// The signatures of an envelope, with what they are over.
#[derive(Debug, Clone, PartialEq)]
pub struct Signed {
    /// The signers' public keys, in the order of `Head.signers`.
    pub keys: Vec<PublicKey>,
    signatures: Vec<Signature>,
    bytes: Vec<u8>,
}

/// A command's id: BLAKE3 over its payload.
#[must_use]
pub fn command_id(payload: &[u8]) -> Digest {
    hash::derive(&hash::CTX_COMMAND_ID, &[payload])
}

/// Opens an envelope: a pure function of its bytes. Every signer that the head names must have
/// signed, and nobody else; a commitment names its proposing node; a genesis names nobody.
pub fn open(bytes: &[u8]) -> Result<Opened, EnvelopeError> {
    let envelope = parse(bytes)?;
    opened(&envelope, command_id(envelope.payload), &mut KeyIds::default())
}

/// [`open`] of each of `envelopes`: the commands' ids are hashed side by side, and a key's id once.
#[must_use]
pub fn open_each(envelopes: &[&[u8]]) -> Vec<Result<Opened, EnvelopeError>> {
    let parsed: Vec<_> = envelopes.iter().map(|bytes| parse(bytes)).collect();
    let payloads: Vec<&[u8]> = parsed.iter().map(|envelope| envelope.as_ref().map_or(&[][..], |envelope| envelope.payload)).collect();
    let ids = hash::derive_each(&hash::CTX_COMMAND_ID, &payloads);
    let mut keys = KeyIds::default();
    parsed.into_iter().zip(ids).map(|(envelope, id)| opened(&envelope?, id, &mut keys)).collect()
}

/// Ids of the first few keys that were met: a handful of people sign most of a run of commands.
#[derive(Default)]
struct KeyIds(Vec<(PublicKey, KeyId)>);

impl KeyIds {
    /// Few enough that looking through them costs less than a hash.
    const MOST: usize = 8;

    fn id(&mut self, key: PublicKey) -> KeyId {
        if let Some((_, id)) = self.0.iter().find(|(known, _)| *known == key) {
            return *id;
        }
        let id = key.id();
        if self.0.len() < Self::MOST {
            self.0.push((key, id));
        }
        id
    }
}

fn parse(bytes: &[u8]) -> Result<EnvelopeView<'_>, EnvelopeError> {
    if bytes.len() > MAX_ENVELOPE {
        return Err(EnvelopeError::TooLarge("more than 256 KiB"));
    }
    let envelope = EnvelopeView::parse(bytes)?;
    if envelope.payload_type == COMMAND_TYPE { Ok(envelope) } else { Err(EnvelopeError::PayloadType) }
}

fn opened(envelope: &EnvelopeView<'_>, id: Digest, ids: &mut KeyIds) -> Result<Opened, EnvelopeError> {
    let command = reading::command(envelope.payload)?;
    let head = command.head.as_ref().ok_or_else(|| EnvelopeError::Malformed("the command has no head".into()))?;
    if command.body.as_ref().is_none_or(|b| b.of.is_none()) {
        return Err(EnvelopeError::Malformed("the command has no body".into()));
    }
    if head.format_version != 1 {
        return Err(EnvelopeError::FormatVersion(head.format_version));
    }
    if head.suite != vermilion_crypto::SUITE_1 {
        return Err(EnvelopeError::Suite(head.suite));
    }
    if head.signers.len() > MAX_SIGNERS {
        return Err(EnvelopeError::TooLarge("more than 8 signers"));
    }
    let mut keys = Vec::with_capacity(head.signers.len());
    let mut signatures = Vec::with_capacity(head.signers.len());
    let mut made = envelope.signatures.iter();
    for (n, signer) in head.signers.iter().enumerate() {
        let signature = SignatureView::parse(made.next().ok_or(EnvelopeError::Incomplete(n))?)?;
        if signature.suite != vermilion_crypto::SUITE_1 {
            return Err(EnvelopeError::Suite(signature.suite));
        }
        let key = PublicKey::from_slice(signature.public_key).map_err(|_| EnvelopeError::BadSignature(n))?;
        if signature.key_id != signer.key_id || ids.id(key).as_slice() != signer.key_id {
            return Err(EnvelopeError::Incomplete(n));
        }
        keys.push(key);
        signatures.push(signature.signature.try_into().map_err(|_| EnvelopeError::BadSignature(n))?);
    }
    let genesis = matches!(command.body.as_ref().and_then(|b| b.of.as_ref()), Some(vermilion_proto::body::Of::Genesis(_)));
    if keys.is_empty() && !genesis {
        return Err(EnvelopeError::Incomplete(0));
    }
    if envelope.signatures.len() != keys.len() {
        return Err(EnvelopeError::Malformed("the envelope has a signature of someone whom the command does not name".into()));
    }
    let signed = Signed { keys, signatures, bytes: dsse::pae(COMMAND_TYPE, envelope.payload) };
    Ok(Opened { id, command, signed })
}

impl Signed {
    /// The signatures, each with its key: over [`Signed::bytes`].
    pub fn signatures(&self) -> impl Iterator<Item = (&PublicKey, &Signature)> {
        self.keys.iter().zip(&self.signatures)
    }

    /// What is signed.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Adds the signatures to a batch.
    pub fn queue(&self, batch: &mut Batch) {
        for (key, signature) in self.keys.iter().zip(&self.signatures) {
            batch.add(*key, *signature, &self.bytes);
        }
    }

    /// Checks the signatures by themselves and names the first that does not hold.
    pub fn verify(&self) -> Result<(), EnvelopeError> {
        for (n, (key, signature)) in self.keys.iter().zip(&self.signatures).enumerate() {
            key.verify(&self.bytes, signature).map_err(|_: CryptoError| EnvelopeError::BadSignature(n))?;
        }
        Ok(())
    }
}

/// Encodes a command and signs it with each key, in the order of `Head.signers`. Returns the
/// command's id and the encoded envelope.
#[must_use]
pub fn seal(command: &Command, keys: &[&SigningKey]) -> (Digest, Vec<u8>) {
    let payload = command.encode_to_vec();
    let signed = dsse::pae(COMMAND_TYPE, &payload);
    let signatures = keys.iter().map(|key| signature(key.public(), key.sign(&signed))).collect();
    sealed(payload, signatures)
}

/// The same with keys that may lie on devices.
pub fn seal_with(command: &Command, keys: &[&dyn Signer]) -> Result<(Digest, Vec<u8>), SignerError> {
    let payload = command.encode_to_vec();
    let signed = dsse::pae(COMMAND_TYPE, &payload);
    let signatures = keys.iter().map(|key| Ok(signature(key.public(), key.sign(&signed)?))).collect::<Result<_, _>>()?;
    Ok(sealed(payload, signatures))
}

fn signature(key: PublicKey, signature: Signature) -> vermilion_proto::Signature {
    vermilion_proto::Signature {
        suite: vermilion_crypto::SUITE_1,
        key_id: key.id().to_vec(),
        public_key: key.0.to_vec(),
        signature: signature.to_vec(),
    }
}

fn sealed(payload: Vec<u8>, signatures: Vec<vermilion_proto::Signature>) -> (Digest, Vec<u8>) {
    let id = command_id(&payload);
    (id, Envelope { payload_type: COMMAND_TYPE.into(), payload, signatures }.encode_to_vec())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use vermilion_proto::{Body, Head, SetPolicy, SignerKind, body};

    fn command(keys: &[&SigningKey]) -> Command {
        let signers = keys
            .iter()
            .map(|k| vermilion_proto::Signer {
                key_id: k.public().id().to_vec(),
                unit: "11440300MB0X00019K".into(),
                post: "maker".into(),
                kind: SignerKind::Operator.into(),
                authentication: None,
            })
            .collect();
        let head = Head {
            format_version: 1,
            suite: 1,
            ledger_id: vec![1; 32],
            nonce: vec![2; 16],
            signers,
            not_after_ms: 9,
            ..Default::default()
        };
        Command { head: Some(head), body: Some(Body { of: Some(body::Of::SetPolicy(SetPolicy::default())) }) }
    }

    fn keys() -> (SigningKey, SigningKey) {
        (SigningKey::from_seed(&[1; 32]), SigningKey::from_seed(&[2; 32]))
    }

    #[test]
    fn sealed_opens_and_verifies() {
        let (a, b) = keys();
        let (id, bytes) = seal(&command(&[&a, &b]), &[&a, &b]);
        let opened = open(&bytes).unwrap();
        assert_eq!(opened.id, id);
        assert_eq!(opened.signed.verify(), Ok(()));
    }

    /// More keys than are remembered, each used again.
    #[test]
    fn opened_together_or_alone_it_is_the_same() {
        let keys: Vec<SigningKey> = (1..=12).map(|n| SigningKey::from_seed(&[n; 32])).collect();
        let mut envelopes: Vec<Vec<u8>> =
            (0..40).map(|n| [&keys[n % 12], &keys[n * 7 % 12]]).map(|two| seal(&command(&two), &two).1).collect();
        envelopes.push(seal(&command(&[&keys[0]]), &[&keys[1]]).1);
        envelopes.push(vec![7]);
        let views: Vec<&[u8]> = envelopes.iter().map(Vec::as_slice).collect();
        let together = open_each(&views);
        assert_eq!(together.iter().filter(|opened| opened.is_ok()).count(), 40);
        for (view, opened) in views.iter().zip(together) {
            assert_eq!(open(view), opened);
        }
    }

    #[test]
    fn a_stripped_signature_makes_it_incomplete() {
        let (a, b) = keys();
        let (_, bytes) = seal(&command(&[&a, &b]), &[&a]);
        assert_eq!(open(&bytes), Err(EnvelopeError::Incomplete(1)));
        let (_, bytes) = seal(&command(&[&a, &b]), &[&b, &a]);
        assert_eq!(open(&bytes), Err(EnvelopeError::Incomplete(0)));
    }

    #[test]
    fn a_foreign_signature_is_malformed() {
        let (a, b) = keys();
        let (_, bytes) = seal(&command(&[&a]), &[&a, &b]);
        assert!(matches!(open(&bytes), Err(EnvelopeError::Malformed(_))));
    }

    #[test]
    fn unknown_fields_are_refused_wherever_they_stand() {
        let (a, _) = keys();
        let command = command(&[&a]);
        let mut payload = command.encode_to_vec();
        payload.extend_from_slice(&[0xfa, 0x01, 0x01, 0x00]); // field 31, one byte
        let envelope = |payload: Vec<u8>, extra: &[u8]| {
            let signed = dsse::pae(COMMAND_TYPE, &payload);
            let signature = vermilion_proto::Signature {
                suite: 1,
                key_id: a.public().id().to_vec(),
                public_key: a.public().0.to_vec(),
                signature: a.sign(&signed).to_vec(),
            };
            let mut bytes = Envelope { payload_type: COMMAND_TYPE.into(), payload, signatures: vec![signature] }.encode_to_vec();
            bytes.extend_from_slice(extra);
            bytes
        };
        assert_eq!(open(&envelope(payload, &[])), Err(EnvelopeError::NotCanonical));
        assert_eq!(open(&envelope(command.encode_to_vec(), &[0x2a, 0x00])), Err(EnvelopeError::NotCanonical));
        assert!(open(&envelope(command.encode_to_vec(), &[])).is_ok());
    }

    #[test]
    fn versions_and_suites_that_are_not_ours() {
        let (a, _) = keys();
        let mut other = command(&[&a]);
        other.head.as_mut().unwrap().format_version = 2;
        assert_eq!(open(&seal(&other, &[&a]).1), Err(EnvelopeError::FormatVersion(2)));
        other.head.as_mut().unwrap().format_version = 1;
        other.head.as_mut().unwrap().suite = 2;
        assert_eq!(open(&seal(&other, &[&a]).1), Err(EnvelopeError::Suite(2)));
        assert_eq!(open(&vec![0; MAX_ENVELOPE + 1]), Err(EnvelopeError::TooLarge("more than 256 KiB")));
    }

    proptest! {
        #[test]
        fn any_bytes_open_or_fail_clearly(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = open(&bytes);
        }

        #[test]
        fn every_changed_byte_is_noticed(at in 0usize..10_000, bit in 0u8..8) {
            let (a, b) = keys();
            let (id, mut bytes) = seal(&command(&[&a, &b]), &[&a, &b]);
            let at = at % bytes.len();
            bytes[at] ^= 1 << bit;
            if let Ok(opened) = open(&bytes) {
                prop_assert!(opened.signed.verify().is_err() || opened.id != id);
                prop_assert!(opened.signed.verify().is_err());
            }
        }
    }
}
