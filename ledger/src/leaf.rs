use crate::LedgerError;
use vermilion_crypto::{Digest, hash::sha256_parts};

/// The format version of leaves.
pub const LEAF_VERSION: u8 = 1;
/// The suite that a leaf's hashes are of: BLAKE3 within the leaf, SHA-256 over it.
pub const LEAF_SUITE: u16 = vermilion_crypto::SUITE_1 as u16;
/// Bytes of a record's leaf.
pub const RECORD_LEAF_LEN: usize = 84;
/// Bytes of a commitment's leaf.
pub const COMMITMENT_LEAF_LEN: usize = 148;
/// The sequence number of the first record, the genesis.
pub const FIRST_SEQ: u64 = 0;
/// Stands for a state digest that is not yet known when the commitment is applied.
pub const UNKNOWN_STATE: Digest = [0; 32];

const KIND_RECORD: u8 = 0;
const KIND_COMMITMENT: u8 = 1;

/// What a commitment's leaf holds beyond a record's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Commitment {
    /// Root of the status vector after the record, [`crate::StatusTree::root`].
    pub status_root: Digest,
    /// Digest of the registry's state, or [`UNKNOWN_STATE`].
    pub state_digest: Digest,
}

/// The fixed-size line that a record leaves in the Merkle tree.
///
/// Encoding, integers big-endian:
///
/// | offset | bytes | field |
/// |---|---|---|
/// | 0 | 1 | version, 1 |
/// | 1 | 1 | kind: 0 record, 1 commitment |
/// | 2 | 2 | suite, 1 |
/// | 4 | 8 | sequence number |
/// | 12 | 8 | time, milliseconds since 1970-01-01 UTC |
/// | 20 | 32 | record hash |
/// | 52 | 32 | chain hash after the record |
/// | 84 | 32 | commitment only: status root |
/// | 116 | 32 | commitment only: state digest, zeros when not known |
///
/// So a record's leaf has 84 bytes and a commitment's 148, and each leaf has exactly one encoding.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Leaf {
    /// Sequence number of the record; the leaf's index is [`leaf_index`] of it.
    pub seq: u64,
    /// The record's time in milliseconds since 1970-01-01 UTC: that of its block.
    pub time_ms: u64,
    /// Hash of the record, [`crate::record_hash`].
    pub record_hash: Digest,
    /// The chain after the record, [`crate::chain_next`].
    pub chain_hash: Digest,
    /// Present exactly in a commitment's leaf.
    pub commitment: Option<Commitment>,
}

impl Leaf {
    /// The leaf's bytes: 84 for a record, 148 for a commitment.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(COMMITMENT_LEAF_LEN);
        out.push(LEAF_VERSION);
        out.push(if self.commitment.is_some() { KIND_COMMITMENT } else { KIND_RECORD });
        out.extend_from_slice(&LEAF_SUITE.to_be_bytes());
        out.extend_from_slice(&self.seq.to_be_bytes());
        out.extend_from_slice(&self.time_ms.to_be_bytes());
        out.extend_from_slice(&self.record_hash);
        out.extend_from_slice(&self.chain_hash);
        if let Some(commitment) = &self.commitment {
            out.extend_from_slice(&commitment.status_root);
            out.extend_from_slice(&commitment.state_digest);
        }
        out
    }

    /// The leaf of these bytes. Refuses a version, kind or suite that is not honoured and any length
    /// but that of the kind; whatever it takes, [`Leaf::encode`] gives back.
    pub fn decode(bytes: &[u8]) -> Result<Self, LedgerError> {
        let mut rest = bytes;
        let [version] = take(&mut rest).ok_or(LedgerError::LeafVersion(0))?;
        if version != LEAF_VERSION {
            return Err(LedgerError::LeafVersion(version));
        }
        let [kind] = take(&mut rest).ok_or(LedgerError::LeafLength { kind: 0, len: bytes.len() })?;
        let expected = match kind {
            KIND_RECORD => RECORD_LEAF_LEN,
            KIND_COMMITMENT => COMMITMENT_LEAF_LEN,
            other => return Err(LedgerError::LeafKind(other)),
        };
        let length = LedgerError::LeafLength { kind, len: bytes.len() };
        if bytes.len() != expected {
            return Err(length);
        }
        let suite = u16::from_be_bytes(take(&mut rest).ok_or_else(|| length.clone())?);
        if suite != LEAF_SUITE {
            return Err(LedgerError::LeafSuite(suite));
        }
        let mut fields = || -> Option<Self> {
            Some(Self {
                seq: u64::from_be_bytes(take(&mut rest)?),
                time_ms: u64::from_be_bytes(take(&mut rest)?),
                record_hash: take(&mut rest)?,
                chain_hash: take(&mut rest)?,
                commitment: match kind {
                    KIND_RECORD => None,
                    _ => Some(Commitment { status_root: take(&mut rest)?, state_digest: take(&mut rest)? }),
                },
            })
        };
        fields().ok_or(length)
    }

    /// The leaf's hash in the tree, [`leaf_hash`] over its encoding.
    #[must_use]
    pub fn hash(&self) -> Digest {
        leaf_hash(&self.encode())
    }
}

/// RFC 6962 section 2.1: SHA-256 over a zero byte and the leaf.
#[must_use]
pub fn leaf_hash(leaf: &[u8]) -> Digest {
    sha256_parts(&[&[0], leaf])
}

/// The position in the tree, from 0, of the leaf of the record with this sequence number: every
/// record leaves one leaf, in order, so it is the distance from [`FIRST_SEQ`]. None before it.
#[must_use]
pub fn leaf_index(seq: u64) -> Option<u64> {
    seq.checked_sub(FIRST_SEQ)
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (head, tail) = rest.split_first_chunk::<N>()?;
    *rest = tail;
    Some(*head)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn leaf(commitment: bool) -> Leaf {
        Leaf {
            seq: 0x0102_0304_0506_0708,
            time_ms: 0x1112_1314_1516_1718,
            record_hash: [0xaa; 32],
            chain_hash: [0xbb; 32],
            commitment: commitment.then_some(Commitment { status_root: [0xcc; 32], state_digest: [0xdd; 32] }),
        }
    }

    #[test]
    fn the_layout_is_the_documented_one() {
        let head = "01000001010203040506070811121314151617 18".replace(' ', "");
        let record = format!("{head}{}{}", "aa".repeat(32), "bb".repeat(32));
        assert_eq!(hex::encode(leaf(false).encode()), record);
        let commitment = format!("0101{}{}{}", &record[4..], "cc".repeat(32), "dd".repeat(32));
        assert_eq!(hex::encode(leaf(true).encode()), commitment);
        assert_eq!(leaf(false).encode().len(), RECORD_LEAF_LEN);
        assert_eq!(leaf(true).encode().len(), COMMITMENT_LEAF_LEN);
    }

    #[test]
    fn what_is_not_honoured_is_refused_by_name() {
        let good = leaf(true).encode();
        let with = |at: usize, value: u8| {
            let mut bytes = good.clone();
            bytes[at] = value;
            Leaf::decode(&bytes)
        };
        assert_eq!(with(0, 2), Err(LedgerError::LeafVersion(2)));
        assert_eq!(with(1, 2), Err(LedgerError::LeafKind(2)));
        assert_eq!(with(1, 0), Err(LedgerError::LeafLength { kind: 0, len: 148 }));
        assert_eq!(with(3, 2), Err(LedgerError::LeafSuite(2)));
        assert_eq!(Leaf::decode(&good[..147]), Err(LedgerError::LeafLength { kind: 1, len: 147 }));
        assert_eq!(Leaf::decode(&[good.as_slice(), &[0]].concat()), Err(LedgerError::LeafLength { kind: 1, len: 149 }));
        assert_eq!(Leaf::decode(&[]), Err(LedgerError::LeafVersion(0)));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic_and_have_one_encoding(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(leaf) = Leaf::decode(&bytes) {
                prop_assert_eq!(leaf.encode(), bytes);
            }
        }

        #[test]
        fn plausible_bytes_round_trip(kind in 0u8..3, suite in 0u8..3, body in proptest::collection::vec(any::<u8>(), 78..150)) {
            let bytes = [&[1, kind, 0, suite], body.as_slice()].concat();
            match Leaf::decode(&bytes) {
                Ok(leaf) => prop_assert_eq!(leaf.encode(), bytes),
                Err(_) => prop_assert!(kind > 1 || suite != 1 || bytes.len() != [84, 148][kind as usize]),
            }
        }

        #[test]
        fn leaves_round_trip(seq: u64, time_ms: u64, record_hash: [u8; 32], chain_hash: [u8; 32], extra: Option<([u8; 32], [u8; 32])>) {
            let commitment = extra.map(|(status_root, state_digest)| Commitment { status_root, state_digest });
            let leaf = Leaf { seq, time_ms, record_hash, chain_hash, commitment };
            prop_assert_eq!(Leaf::decode(&leaf.encode()).unwrap(), leaf);
        }
    }
}
