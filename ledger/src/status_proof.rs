use crate::{
    CHUNK_LEN, LICENCES_A_CHUNK, LedgerError, digests,
    merkle::path_root,
    status::{chunk_hash, join, nibble, root_over},
};
use vermilion_crypto::Digest;

/// The chunk as it is.
const PLAIN: u8 = 1;
/// The chunk as runs of equal states.
const RUNS: u8 = 2;
/// The most hashes of a path.
const MAX_HASHES: usize = 64;

/// Proves one licence's state under a status root: the chunk that it stands in and the chunk's path.
///
/// Caveat: a chunk shows the states of up to 511 other licences, by index alone. Whoever knows which
/// licence has which index learns them; so a proof goes only to those who may ask for a status.
///
/// Encoding: a byte 1 and the chunk's 256 bytes, or, where that is shorter, a byte 2, the number of runs
/// in a byte, and two bytes for each: the state in the high four bits, the length less one in the others.
/// Then 32 bytes for each hash of the path. Index and count travel elsewhere, in the record and the
/// commitment. Mostly valid licences, ten million of them: some 550 bytes, at most 737.
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
        let mut out = match runs(&self.chunk) {
            Some(runs) => [&[RUNS, (runs.len() / 2) as u8], runs.as_slice()].concat(),
            None => [&[PLAIN], self.chunk.as_slice()].concat(),
        };
        out.extend_from_slice(&self.path.concat());
        out
    }

    /// The proof of these bytes. Refuses another version, and what is not a chunk and at most 64 whole
    /// hashes; whatever it takes, [`StatusProof::encode`] gives back.
    pub fn decode(bytes: &[u8]) -> Result<Self, LedgerError> {
        let read = || {
            let (chunk, rest) = match bytes.split_first()? {
                (&PLAIN, rest) => rest.split_first_chunk::<CHUNK_LEN>().map(|(chunk, rest)| (*chunk, rest))?,
                (&RUNS, rest) => {
                    let (count, rest) = rest.split_first()?;
                    let (runs, rest) = rest.split_at_checked(2 * usize::from(*count))?;
                    (chunk_of_runs(runs)?, rest)
                }
                _ => return None,
            };
            let (hashes, rest) = rest.as_chunks::<32>();
            let sound = rest.is_empty() && hashes.len() <= MAX_HASHES;
            sound.then(|| digests(hashes).ok().map(|path| Self { chunk, path }))?
        };
        // A chunk has one encoding: the runs as long as they go, and only where they are shorter.
        read().filter(|proof| proof.encode() == bytes).ok_or(LedgerError::BadStatusProof)
    }
}

/// The runs of a chunk's states, two bytes each; none if they are no shorter than the chunk.
fn runs(chunk: &[u8; CHUNK_LEN]) -> Option<Vec<u8>> {
    let mut runs: Vec<(u8, u16)> = Vec::new();
    for state in chunk.iter().flat_map(|byte| [byte & 0x0f, byte >> 4]) {
        match runs.last_mut() {
            Some((of, more)) if *of == state => *more += 1,
            _ => runs.push((state, 0)),
        }
    }
    let bytes: Vec<u8> = runs.iter().flat_map(|(state, more)| (u16::from(*state) << 12 | more).to_be_bytes()).collect();
    (bytes.len() + 1 < CHUNK_LEN).then_some(bytes)
}

fn chunk_of_runs(runs: &[u8]) -> Option<[u8; CHUNK_LEN]> {
    let mut states = Vec::with_capacity(2 * CHUNK_LEN);
    for run in runs.as_chunks::<2>().0 {
        let run = u16::from_be_bytes(*run);
        let len = usize::from(run & 0x0fff) + 1;
        if states.len() + len > 2 * CHUNK_LEN {
            return None;
        }
        states.resize(states.len() + len, (run >> 12) as u8);
    }
    let (pairs, rest) = states.as_chunks::<2>();
    let bytes: Vec<u8> = pairs.iter().map(|[low, high]| low | high << 4).collect();
    if rest.is_empty() { bytes.try_into().ok() } else { None }
}

/// The state that a proof shows of the licence at `index`, counted from 0, in the vector of `count`
/// licences with this root. The count comes from the same commitment as the root; the root binds it.
pub fn proven_status(root: &Digest, count: u64, index: u64, proof: &StatusProof) -> Result<u8, LedgerError> {
    if index >= count {
        return Err(LedgerError::StatusIndex { index, count });
    }
    let chunks = count.div_ceil(LICENCES_A_CHUNK);
    let top = path_root(join, chunks, index / LICENCES_A_CHUNK, &chunk_hash(&proof.chunk), &proof.path)?;
    if root_over(count, &top) != *root {
        return Err(LedgerError::ProofFails);
    }
    let at = (index % LICENCES_A_CHUNK / 2) as usize;
    Ok(proof.chunk.get(at).map_or(0, |byte| nibble(*byte, index)))
}

/// Checks that the licence at `index` had this state, as [`proven_status`] finds it.
pub fn check_status_proof(root: &Digest, count: u64, index: u64, status: u8, proof: &StatusProof) -> Result<(), LedgerError> {
    match proven_status(root, count, index, proof)? {
        found if found == status => Ok(()),
        found => Err(LedgerError::StatusDiffers(found)),
    }
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

    #[test]
    fn runs_are_taken_only_where_they_are_shorter_and_whole() {
        let mostly = |states: &[(usize, u8)]| {
            let mut chunk = [0x11u8; CHUNK_LEN];
            states.iter().for_each(|(at, byte)| chunk[*at] = *byte);
            StatusProof { chunk, path: vec![[7; 32]] }
        };
        let one = mostly(&[]).encode();
        assert_eq!(one[..4], [RUNS, 1, 0x11, 0xff]);
        assert_eq!(one.len(), 4 + 32);
        let three = mostly(&[(1, 0x15)]).encode();
        assert_eq!(three[..8], [RUNS, 3, 0x10, 1, 0x50, 0, 0x11, 0xfc]);
        let mixed: Vec<(usize, u8)> = (0..256).map(|n| (n, 0x21)).collect();
        assert_eq!(mostly(&mixed).encode().len(), 257 + 32);
        // The same chunk otherwise: plain where runs are shorter, a run in two, one too long, one too short.
        let plain = [&[PLAIN], [0x11; CHUNK_LEN].as_slice()].concat();
        for bad in
            [&plain[..], &[RUNS, 2, 0x10, 0, 0x11, 0xfe], &[RUNS, 1, 0x12, 0], &[RUNS, 1, 0x11, 0xfe], &[RUNS, 0], &[RUNS], &[3, 0], &[]]
        {
            assert_eq!(StatusProof::decode(bad), Err(LedgerError::BadStatusProof), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(version in 0u8..4, mut bytes in prop::collection::vec(any::<u8>(), 0..2400), whole: bool) {
            if whole {
                bytes.truncate(bytes.len() / 32 * 32);
            }
            let bytes = [&[version], bytes.as_slice()].concat();
            if let Ok(proof) = StatusProof::decode(&bytes) {
                prop_assert_eq!(proof.encode(), bytes);
            }
        }

        #[test]
        fn every_chunk_has_one_encoding(states in prop::collection::vec((0u8..16, 1usize..200), 1..300), path in prop::collection::vec(any::<[u8; 32]>(), 0..65)) {
            let mut all: Vec<u8> = states.iter().flat_map(|(state, len)| vec![*state; *len]).collect();
            all.resize(512, 0);
            let chunk: Vec<u8> = all.chunks(2).map(|pair| pair[0] | pair[1] << 4).collect();
            let proof = StatusProof { chunk: chunk.try_into().unwrap(), path };
            let bytes = proof.encode();
            prop_assert!(bytes.len() <= 257 + 32 * proof.path.len());
            prop_assert_eq!(StatusProof::decode(&bytes), Ok(proof));
        }

        #[test]
        fn arbitrary_proofs_never_panic(root: [u8; 32], count: u64, index: u64, status: u8, path in prop::collection::vec(any::<[u8; 32]>(), 0..66)) {
            let proof = StatusProof { chunk: [0; 256], path };
            prop_assert!(check_status_proof(&root, count, index, status, &proof).is_err());
        }
    }
}
