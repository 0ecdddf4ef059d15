//! COSE receipts (RFC 9942) over the ledger's tree, which is the verifiable data structure
//! `RFC9162_SHA256`.

use crate::{LedgerError, leaf_hash, merkle::path_root, merkle::sha256_join};
use coset::{
    CborSerializable as _, CoseSign1, CoseSign1Builder, Header, HeaderBuilder, Label, RegisteredLabelWithPrivate,
    TaggedCborSerializable as _, cbor::Value, iana,
};
use vermilion_crypto::{Digest, KeyId, PublicKey, SigningKey};

/// Header `vds`, the verifiable data structure: signed.
const VDS: i64 = 395;
/// Its value for RFC 9162's tree under SHA-256.
const RFC9162_SHA256: i64 = 1;
/// Header `vdp`, the proofs: not signed; they lead to what is signed.
const VDP: i64 = 396;
/// Within `vdp`: inclusion proofs.
const INCLUSION: i64 = -1;
/// Our own unsigned header: what else a Vermilion receipt has.
const REST: &str = "vermilion-receipt";
/// The most hashes of an inclusion proof.
const MAX_HASHES: usize = 64;
/// The largest receipt that is read, in bytes.
pub const MAX_COSE_LEN: usize = 4 << 20;

/// A COSE receipt: that a leaf is in a tree whose root one key has signed.
///
/// Encoding: a tagged `COSE_Sign1` (RFC 9052) with detached payload, the payload being the tree's
/// root. Signed header: algorithm EdDSA (−8), key id (16 bytes), `vds` (395) = 1. Unsigned header:
/// `vdp` (396) = {−1: [one inclusion proof]}, the proof a byte string over the array of tree size,
/// leaf index and path; and, if there is more, `"vermilion-receipt"`: bytes.
///
/// One key's signature is no quorum: the bytes under `"vermilion-receipt"` carry the cosigned
/// checkpoint, whose root must be the same.
#[derive(Clone, Debug)]
pub struct CoseReceipt {
    /// Whose signature it is.
    pub key_id: KeyId,
    /// Leaves in the tree.
    pub size: u64,
    /// The leaf's index, from 0.
    pub index: u64,
    /// The inclusion proof, from the leaf's sibling to the root's child.
    pub path: Vec<Digest>,
    /// What is under the header of our own; empty if there is nothing. Nothing here authenticates it.
    pub rest: Vec<u8>,
    sign1: CoseSign1,
}

fn bad(what: &'static str) -> LedgerError {
    LedgerError::BadCose(what)
}

impl CoseReceipt {
    /// Makes and signs a receipt. The caller sees to it that the path leads from its leaf to `root`,
    /// and that it computed that root itself.
    pub fn make(root: &Digest, size: u64, index: u64, path: &[Digest], rest: &[u8], key: &SigningKey) -> Result<Vec<u8>, LedgerError> {
        let hashes = path.iter().map(|hash| Value::Bytes(hash.to_vec())).collect();
        let proof = Value::Array(vec![Value::from(size), Value::from(index), Value::Array(hashes)]);
        let proof = proof.to_vec().map_err(|_| bad("the proof does not encode"))?;
        let proofs = Value::Map(vec![(Value::from(INCLUSION), Value::Array(vec![Value::Bytes(proof)]))]);
        let signed = HeaderBuilder::new()
            .algorithm(iana::Algorithm::EdDSA)
            .key_id(key.public().id().to_vec())
            .value(VDS, Value::from(RFC9162_SHA256))
            .build();
        let mut unsigned = HeaderBuilder::new().value(VDP, proofs);
        if !rest.is_empty() {
            unsigned = unsigned.text_value(REST.to_owned(), Value::Bytes(rest.to_vec()));
        }
        let sign1 = CoseSign1Builder::new()
            .protected(signed)
            .unprotected(unsigned.build())
            .create_detached_signature(root, &[], |message| key.sign(message).to_vec())
            .build();
        sign1.to_tagged_vec().map_err(|_| bad("it does not encode"))
    }

    /// Reads a receipt: exactly the headers named above, exactly one inclusion proof, in exactly one
    /// encoding. That it reads says nothing of its truth.
    pub fn parse(bytes: &[u8]) -> Result<Self, LedgerError> {
        if bytes.len() > MAX_COSE_LEN {
            return Err(bad("it is too long"));
        }
        let sign1 = CoseSign1::from_tagged_slice(bytes).map_err(|_| bad("it is no tagged COSE_Sign1"))?;
        if sign1.clone().to_tagged_vec().map_err(|_| bad("it does not encode"))? != bytes {
            return Err(bad("it is not in the one encoding"));
        }
        if sign1.payload.is_some() {
            return Err(bad("the payload, the root, is to be computed and not to be believed"));
        }
        let signed = &sign1.protected.header;
        if signed.alg != Some(RegisteredLabelWithPrivate::Assigned(iana::Algorithm::EdDSA)) {
            return Err(bad("the algorithm is another"));
        }
        if signed.rest != [(Label::Int(VDS), Value::from(RFC9162_SHA256))] {
            return Err(bad("the data structure is another, or there are other headers"));
        }
        // `coset` keeps the labels 1 to 7 in fields of their own.
        if *signed != (Header { alg: signed.alg.clone(), key_id: signed.key_id.clone(), rest: signed.rest.clone(), ..Header::default() })
            || sign1.unprotected != (Header { rest: sign1.unprotected.rest.clone(), ..Header::default() })
        {
            return Err(bad("there are other headers"));
        }
        let key_id = KeyId::try_from(signed.key_id.as_slice()).map_err(|_| bad("the key id does not have 16 bytes"))?;
        let (proofs, rest) = match sign1.unprotected.rest.as_slice() {
            [(Label::Int(VDP), proofs)] => (proofs, Vec::new()),
            [(Label::Int(VDP), proofs), (Label::Text(name), Value::Bytes(rest))] if name == REST => (proofs, rest.clone()),
            _ => return Err(bad("the proofs are missing, or there are other headers")),
        };
        let Value::Map(proofs) = proofs else { return Err(bad("the proofs are no map")) };
        let proof = match proofs.as_slice() {
            [(kind, Value::Array(list))] if *kind == Value::from(INCLUSION) => match list.as_slice() {
                [Value::Bytes(proof)] => proof,
                _ => return Err(bad("there is not exactly one inclusion proof")),
            },
            _ => return Err(bad("there are other proofs than of inclusion")),
        };
        let (size, index, path) = inclusion(proof).ok_or(bad("the inclusion proof is malformed"))?;
        Ok(Self { key_id, size, index, path, rest, sign1 })
    }

    /// Checks the receipt for a leaf's bytes under the key that [`CoseReceipt::key_id`] names, and
    /// returns the root that is signed.
    pub fn check(&self, leaf: &[u8], key: &PublicKey) -> Result<Digest, LedgerError> {
        let root = path_root(sha256_join, self.size, self.index, &leaf_hash(leaf), &self.path)?;
        if key.id() != self.key_id {
            return Err(LedgerError::UnknownSigners);
        }
        let verify = |signature: &[u8], message: &[u8]| key.verify(message, signature).map_err(|_| LedgerError::ProofFails);
        self.sign1.verify_detached_signature(&root, &[], verify)?;
        Ok(root)
    }
}

/// Size, index and path of an inclusion proof's bytes, in their one encoding.
fn inclusion(bytes: &[u8]) -> Option<(u64, u64, Vec<Digest>)> {
    let value = Value::from_slice(bytes).ok()?;
    if value.clone().to_vec().ok()? != bytes {
        return None;
    }
    let [size, index, Value::Array(path)] = value.as_array()?.as_slice() else { return None };
    let number = |value: &Value| u64::try_from(value.as_integer()?).ok();
    let path = path.iter().map(|hash| Digest::try_from(hash.as_bytes()?.as_slice()).ok()).collect::<Option<Vec<_>>>()?;
    (path.len() <= MAX_HASHES).then_some((number(size)?, number(index)?, path))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::{merkle::naive, test_trust::key};
    use coset::{CoseSignatureBuilder, RegisteredLabel};
    use proptest::prelude::*;

    fn receipt(rest: &[u8]) -> Vec<u8> {
        let leaves: Vec<Digest> = [b"a".as_slice(), b"b", b"c"].map(leaf_hash).to_vec();
        let root = naive::root(sha256_join, &leaves);
        CoseReceipt::make(&root, 3, 1, &naive::path(sha256_join, 1, &leaves), rest, &key(1)).unwrap()
    }

    #[test]
    fn the_bytes_are_the_rfcs() {
        let bytes = receipt(b"");
        // Tag 18, an array of four; the signed header: 25 bytes of {1: -8, 4: 16 bytes, 395: 1}.
        let id = hex::encode(key(1).public().id());
        let signed = format!("d2845819a301270450{id}19018b01");
        // The unsigned header {396: {-1: [bytes]}}: the bytes are [3, 1, [two hashes]].
        let unsigned = "a119018ca12081584883030182";
        assert_eq!(hex::encode(&bytes[..29]), signed);
        assert_eq!(hex::encode(&bytes[29..42]), unsigned);
        // A payload that is null, and 64 bytes of signature.
        assert_eq!(hex::encode(&bytes[42 + 2 * 34..][..3]), "f65840");
        assert_eq!(bytes.len(), 42 + 2 * 34 + 3 + 64);
    }

    /// `coset` keeps the labels 1 to 7 apart from the rest: none of them may come along unread.
    #[test]
    fn no_header_may_be_added() {
        let made = CoseSign1::from_tagged_slice(&receipt(b"more")).unwrap();
        let again = |unprotected: Header| {
            let bytes = CoseSign1 { unprotected, ..made.clone() }.to_tagged_vec().unwrap();
            CoseReceipt::parse(&bytes).map(|read| read.rest)
        };
        let good = made.unprotected.clone();
        assert_eq!(again(good.clone()).unwrap(), b"more");
        let signature = CoseSignatureBuilder::new().signature(vec![1]).build();
        for added in [
            Header { alg: Some(RegisteredLabelWithPrivate::Assigned(iana::Algorithm::ES256)), ..good.clone() },
            Header { crit: vec![RegisteredLabelWithPrivate::Assigned(iana::HeaderParameter::Alg)], ..good.clone() },
            Header { content_type: Some(RegisteredLabel::Text("text/plain".into())), ..good.clone() },
            Header { key_id: vec![1], ..good.clone() },
            Header { iv: vec![1], ..good.clone() },
            Header { partial_iv: vec![1], ..good.clone() },
            Header { counter_signatures: vec![signature.clone()], ..good.clone() },
            Header { rest: [good.rest.clone(), vec![(Label::Int(99), Value::Null)]].concat(), ..good.clone() },
        ] {
            assert!(again(added.clone()).is_err(), "{added:?}");
        }
        // Nor among those that are signed, whoever signs them.
        let signed = made.protected.header.clone();
        for added in [
            Header { crit: vec![RegisteredLabelWithPrivate::Assigned(iana::HeaderParameter::Alg)], ..signed.clone() },
            Header { content_type: Some(RegisteredLabel::Text("text/plain".into())), ..signed.clone() },
            Header { iv: vec![1], ..signed.clone() },
            Header { partial_iv: vec![1], ..signed.clone() },
            Header { counter_signatures: vec![signature], ..signed.clone() },
        ] {
            let builder = CoseSign1Builder::new().protected(added.clone()).unprotected(good.clone());
            let bytes = builder.signature(made.signature.clone()).build().to_tagged_vec().unwrap();
            assert!(CoseReceipt::parse(&bytes).is_err(), "{added:?}");
        }
        let builder = CoseSign1Builder::new().protected(signed).unprotected(good);
        assert!(CoseReceipt::parse(&builder.signature(made.signature).build().to_tagged_vec().unwrap()).is_ok());
    }

    #[test]
    fn it_proves_its_leaf_and_no_byte_may_change() {
        let bytes = receipt(b"");
        let read = CoseReceipt::parse(&bytes).unwrap();
        assert_eq!((read.size, read.index, read.path.len(), read.key_id), (3, 1, 2, key(1).public().id()));
        read.check(b"b", &key(1).public()).unwrap();
        assert!(read.check(b"c", &key(1).public()).is_err());
        assert_eq!(read.check(b"b", &key(2).public()), Err(LedgerError::UnknownSigners));
        let holds = |bytes: &[u8]| CoseReceipt::parse(bytes).and_then(|r| r.check(b"b", &key(1).public())).is_ok();
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut changed = bytes.clone();
                changed[at] ^= 1 << bit;
                assert!(!holds(&changed), "bit {bit} of byte {at}");
            }
            assert!(!holds(&bytes[..at]));
        }
        assert!(!holds(&[bytes.as_slice(), &[0]].concat()));
        assert_eq!(CoseReceipt::parse(&receipt(b"more")).unwrap().rest, b"more");
    }

    proptest! {
        #[test]
        fn any_bytes_are_refused_or_read(bytes in prop::collection::vec(any::<u8>(), 0..80), at in 0usize..150) {
            let _ = CoseReceipt::parse(&bytes);
            let mut mixed = receipt(b"x");
            mixed.truncate(at);
            mixed.extend_from_slice(&bytes);
            let _ = CoseReceipt::parse(&mixed);
        }
    }
}
