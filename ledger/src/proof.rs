//! Checking proofs against roots: all that a verifier needs, without a tree.

use crate::{
    LedgerError, empty_root,
    merkle::{consistency_roots, path_root, sha256_join},
};
use vermilion_crypto::Digest;

/// Checks that the leaf with hash `leaf_hash` stands at `index` of the tree with `size` leaves and
/// this root (RFC 9162 section 2.1.3.2). `path` goes from the leaf's sibling to the root's child, as
/// in RFC 6962 and C2SP tlog-proof; it has at most 64 hashes.
pub fn check_inclusion(root: &Digest, size: u64, index: u64, leaf_hash: &Digest, path: &[Digest]) -> Result<(), LedgerError> {
    if path_root(sha256_join, size, index, leaf_hash, path)? == *root { Ok(()) } else { Err(LedgerError::ProofFails) }
}

/// Checks that the tree of `new` leaves begins with the tree of `old` leaves (RFC 9162 section
/// 2.1.4.2). Two equal sizes need equal roots and no hashes; so does an `old` of 0, whose root is
/// [`empty_root`] and which begins every tree.
pub fn check_consistency(old: u64, old_root: &Digest, new: u64, new_root: &Digest, proof: &[Digest]) -> Result<(), LedgerError> {
    if old > new {
        return Err(LedgerError::OutOfRange { index: old, size: new });
    }
    if old == 0 || old == new {
        if !proof.is_empty() {
            return Err(LedgerError::ProofLength(proof.len()));
        }
        let holds = if old == new { old_root == new_root } else { *old_root == empty_root() };
        let empty_holds = new != 0 || *new_root == empty_root();
        return if holds && empty_holds { Ok(()) } else { Err(LedgerError::ProofFails) };
    }
    let (old_found, new_found) = consistency_roots(sha256_join, old, new, old_root, proof)?;
    if old_found == *old_root && new_found == *new_root { Ok(()) } else { Err(LedgerError::ProofFails) }
}

/// Hashes as messages carry them; an error unless each has 32 bytes.
pub fn digests<B: AsRef<[u8]>>(hashes: &[B]) -> Result<Vec<Digest>, LedgerError> {
    hashes.iter().map(|hash| hash.as_ref().try_into().map_err(|_| LedgerError::HashLength(hash.as_ref().len()))).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::{leaf_hash, merkle::naive};
    use proptest::prelude::*;
    use tlog_tiles::tlog;

    fn leaves(count: usize) -> Vec<Digest> {
        (0..count).map(|n| leaf_hash(&n.to_be_bytes())).collect()
    }

    fn theirs(hashes: &[Digest]) -> Vec<tlog::Hash> {
        hashes.iter().map(|hash| tlog::Hash(*hash)).collect()
    }

    /// Leaves and roots of the tests of Certificate Transparency, which transparency-dev/merkle
    /// carries on.
    const CT_LEAVES: [&str; 8] = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"];
    const CT_ROOTS: [&str; 9] = [
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    ];

    #[test]
    fn certificate_transparency_vectors() {
        let leaves: Vec<Digest> = CT_LEAVES.iter().map(|leaf| leaf_hash(&hex::decode(leaf).unwrap())).collect();
        let mut tree = crate::Tree::new();
        assert_eq!(hex::encode(tree.root()), CT_ROOTS[0]);
        for (leaf, root) in leaves.iter().zip(&CT_ROOTS[1..]) {
            tree.append(*leaf);
            assert_eq!(hex::encode(tree.root()), *root);
        }
        // The published proofs: index 5 of 8, and 6 to 8.
        let hashes = |list: &[&str]| digests(&list.iter().map(|hash| hex::decode(hash).unwrap()).collect::<Vec<_>>()).unwrap();
        let root = |size: usize| hashes(&CT_ROOTS[size..=size])[0];
        let path = hashes(&[
            "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
            "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        ]);
        check_inclusion(&root(8), 8, 5, &leaves[5], &path).unwrap();
        let proof = hashes(&[
            "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
            "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        ]);
        check_consistency(6, &root(6), 8, &root(8), &proof).unwrap();
    }

    #[test]
    fn every_small_proof_is_the_definitions_and_the_judge_takes_it() {
        let all = leaves(40);
        for size in 1..=all.len() {
            let leaves = &all[..size];
            let root = naive::root(sha256_join, leaves);
            for (index, leaf) in leaves.iter().enumerate() {
                let path = naive::path(sha256_join, index, leaves);
                check_inclusion(&root, size as u64, index as u64, leaf, &path).unwrap();
                tlog::check_record(&theirs(&path), size as u64, tlog::Hash(root), index as u64, tlog::Hash(*leaf)).unwrap();
            }
            for old in 1..=size {
                let proof = naive::consistency(sha256_join, old, leaves);
                let old_root = naive::root(sha256_join, &leaves[..old]);
                check_consistency(old as u64, &old_root, size as u64, &root, &proof).unwrap();
                tlog::check_tree(&theirs(&proof), size as u64, tlog::Hash(root), old as u64, tlog::Hash(old_root)).unwrap();
            }
        }
    }

    #[test]
    fn equal_and_empty_trees() {
        let (empty, other) = (empty_root(), [1; 32]);
        check_consistency(0, &empty, 9, &other, &[]).unwrap();
        check_consistency(0, &empty, 0, &empty, &[]).unwrap();
        check_consistency(9, &other, 9, &other, &[]).unwrap();
        assert_eq!(check_consistency(0, &other, 9, &other, &[]), Err(LedgerError::ProofFails));
        assert_eq!(check_consistency(0, &other, 0, &other, &[]), Err(LedgerError::ProofFails));
        assert_eq!(check_consistency(9, &other, 9, &empty, &[]), Err(LedgerError::ProofFails));
        assert_eq!(check_consistency(0, &empty, 9, &other, &[other]), Err(LedgerError::ProofLength(1)));
        assert_eq!(check_consistency(9, &other, 8, &other, &[]), Err(LedgerError::OutOfRange { index: 9, size: 8 }));
        assert_eq!(check_inclusion(&empty, 0, 0, &empty, &[]), Err(LedgerError::OutOfRange { index: 0, size: 0 }));
    }

    proptest! {
        #[test]
        fn an_altered_proof_fails(size in 1usize..300, index: prop::sample::Index, at: prop::sample::Index, bit in 0usize..256) {
            let leaves = leaves(size);
            let index = index.index(size);
            let root = naive::root(sha256_join, &leaves);
            let path = naive::path(sha256_join, index, &leaves);
            let check = |size: usize, index: usize, path: &[Digest]| check_inclusion(&root, size as u64, index as u64, &leaves[index.min(leaves.len() - 1)], path);
            prop_assert!(check(size, index, &path).is_ok());
            prop_assert!(check(size, index, &[path.as_slice(), &[[0; 32]]].concat()).is_err());
            if !path.is_empty() {
                prop_assert!(check(size, index, &path[1..]).is_err());
                prop_assert!(check(size, index, &path[..path.len() - 1]).is_err());
                let mut altered = path.clone();
                altered[at.index(path.len())][bit / 8] ^= 1 << (bit % 8);
                prop_assert!(check(size, index, &altered).is_err());
            }
            let elsewhere = (index + 1) % size;
            if elsewhere != index {
                prop_assert!(check_inclusion(&root, size as u64, elsewhere as u64, &leaves[index], &path).is_err());
            }
        }

        #[test]
        fn an_altered_consistency_proof_fails(new in 2usize..300, old: prop::sample::Index, at: prop::sample::Index, bit in 0usize..256) {
            let leaves = leaves(new);
            let old = 1 + old.index(new - 1);
            let (old_root, new_root) = (naive::root(sha256_join, &leaves[..old]), naive::root(sha256_join, &leaves));
            let proof = naive::consistency(sha256_join, old, &leaves);
            let check = |proof: &[Digest]| check_consistency(old as u64, &old_root, new as u64, &new_root, proof);
            prop_assert!(check(&proof).is_ok());
            prop_assert!(check(&proof[1..]).is_err());
            prop_assert!(check(&[proof.as_slice(), &[[0; 32]]].concat()).is_err());
            let mut altered = proof.clone();
            altered[at.index(proof.len())][bit / 8] ^= 1 << (bit % 8);
            prop_assert!(check(&altered).is_err());
            prop_assert!(check_consistency(old as u64, &new_root, new as u64, &new_root, &proof).is_err());
        }

        #[test]
        fn arbitrary_proofs_never_panic_and_agree_with_the_judge(
            size: u64, index: u64, root: [u8; 32], leaf: [u8; 32], path in prop::collection::vec(any::<[u8; 32]>(), 0..70)
        ) {
            prop_assert!(check_inclusion(&root, size, index, &leaf, &path).is_err());
            prop_assert!(check_consistency(index, &leaf, size, &root, &path).is_err() || index == size && root == leaf);
            // What leads to a root by our arithmetic leads to the same one by the judge's.
            if let Ok(root) = path_root(sha256_join, size, index, &leaf, &path) {
                prop_assert!(tlog::check_record(&theirs(&path), size, tlog::Hash(root), index, tlog::Hash(leaf)).is_ok());
            }
        }

        #[test]
        fn long_paths_agree_with_the_judge(size in 1u64..u64::MAX, index: u64, leaf: [u8; 32], part: [u8; 32]) {
            let index = index % size;
            let found: Vec<_> = (0..=64).filter(|&len| path_root(sha256_join, size, index, &leaf, &vec![part; len]).is_ok()).collect();
            prop_assert_eq!(found.len(), 1, "exactly one length fits");
            let path = vec![part; found[0]];
            let root = path_root(sha256_join, size, index, &leaf, &path).unwrap();
            prop_assert!(tlog::check_record(&theirs(&path), size, tlog::Hash(root), index, tlog::Hash(leaf)).is_ok());
        }
    }
}
