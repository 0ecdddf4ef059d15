use crate::{
    CHUNK_LEN, LICENCES_A_CHUNK, LedgerError, digests,
    merkle::path_root,
    status::{chunk_hash, join, nibble, root_over},
};
use vermilion_crypto::Digest;

const VERSION: u8 = 1;

/// Proves one licence's state under a status root: the chunk that it stands in and the chunk's path.
///
/// Caveat: a chunk shows the states of up to 511 other licences, by index alone. Whoever knows which
/// licence has which index learns them; so a proof goes only to those who may ask for a status.
///
/// Encoding: version u8 = 1, the chunk's 256 bytes, then 32 bytes for each hash of the path; index
/// and count travel elsewhere, in the record and the commitment. 737 bytes at ten million licences.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StatusProof {
    /// The chunk.
    pub chunk: [u8; CHUNK_LEN],
    /// Hashes from the chunk's sibling to the topmost node's child, at most 64.
    pub path: Vec<Digest>,
}

impl StatusProof {
    /// The proof's bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        [&[VERSION], self.chunk.as_slice(), self.path.concat().as_slice()].concat()
    }

    /// The proof of these bytes. Refuses another version, and what is not a chunk and at most 64 whole
    /// hashes; whatever it takes, [`StatusProof::encode`] gives back.
    pub fn decode(bytes: &[u8]) -> Result<Self, LedgerError> {
        let read = || {
            let (version, rest) = bytes.split_first()?;
            let (chunk, rest) = rest.split_first_chunk::<CHUNK_LEN>()?;
            let (hashes, rest) = rest.as_chunks::<32>();
            let sound = *version == VERSION && rest.is_empty() && hashes.len() <= 64;
            sound.then(|| digests(hashes).ok().map(|path| Self { chunk: *chunk, path }))?
        };
        read().ok_or(LedgerError::BadStatusProof)
    }
}

/// Checks that the licence at `index`, counted from 0, had this state in the vector of `count`
/// licences with this root. The count comes from the same commitment as the root; the root binds it.
pub fn check_status_proof(root: &Digest, count: u64, index: u64, status: u8, proof: &StatusProof) -> Result<(), LedgerError> {
    if index >= count {
        return Err(LedgerError::StatusIndex { index, count });
    }
    let chunks = count.div_ceil(LICENCES_A_CHUNK);
    let top = path_root(join, chunks, index / LICENCES_A_CHUNK, &chunk_hash(&proof.chunk), &proof.path)?;
    if root_over(count, &top) != *root {
        return Err(LedgerError::ProofFails);
    }
    let at = (index % LICENCES_A_CHUNK / 2) as usize;
    let found = proof.chunk.get(at).map_or(0, |byte| nibble(*byte, index));
    if found == status { Ok(()) } else { Err(LedgerError::StatusDiffers(found)) }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::StatusTree;
    use proptest::prelude::*;

    fn tree(count: u64) -> StatusTree {
        let mut tree = StatusTree::new();
        for n in 0..count {
            // No two chunks are alike: a proof of one must not do for the other.
            tree.push(((n * 7 + n / 512) % 16) as u8).unwrap();
        }
        tree
    }

    #[test]
    fn a_proof_holds_for_its_own_place_alone() {
        for count in [1, 2, 511, 512, 513, 1024, 1025, 5000] {
            let mut tree = tree(count);
            let root = tree.root();
            for index in [0, 1, count / 2, count - 1].into_iter().filter(|index| *index < count) {
                let (proof, status) = (tree.proof(index).unwrap(), tree.get(index).unwrap());
                let check = |count, index, status, proof: &StatusProof| check_status_proof(&root, count, index, status, proof);
                assert_eq!(check(count, index, status, &proof), Ok(()));
                assert_eq!(check(count, index, status ^ 1, &proof), Err(LedgerError::StatusDiffers(status)));
                assert!(check(count + 1, index, status, &proof).is_err());
                assert!(check(count, count, 0, &proof).is_err());
                assert!(check(u64::MAX, index, status, &proof).is_err());
                let mut altered = proof.clone();
                altered.chunk[255] ^= 1;
                assert_eq!(check(count, index, status, &altered), Err(LedgerError::ProofFails));
                altered = proof.clone();
                altered.path.push([0; 32]);
                assert!(check(count, index, status, &altered).is_err());
                if index + 512 < count {
                    assert!(check(count, index + 512, tree.get(index + 512).unwrap(), &proof).is_err());
                }
            }
            assert_eq!(tree.proof(count), Err(LedgerError::StatusIndex { index: count, count }));
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(version in 0u8..3, mut bytes in prop::collection::vec(any::<u8>(), 0..2400), whole: bool) {
            if whole {
                bytes.truncate(bytes.len() / 32 * 32);
            }
            let bytes = [&[version], bytes.as_slice()].concat();
            match StatusProof::decode(&bytes) {
                Ok(proof) => prop_assert_eq!(proof.encode(), bytes),
                Err(_) => prop_assert!(version != 1 || bytes.len() < 257 || bytes.len() > 257 + 64 * 32 || bytes.len() % 32 != 1),
            }
        }

        #[test]
        fn arbitrary_proofs_never_panic(root: [u8; 32], count: u64, index: u64, status: u8, path in prop::collection::vec(any::<[u8; 32]>(), 0..66)) {
            let proof = StatusProof { chunk: [0; 256], path };
            prop_assert!(check_status_proof(&root, count, index, status, &proof).is_err());
        }
    }
}
