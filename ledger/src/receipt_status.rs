//! A licence's status as of a receipt's checkpoint.

use crate::{Leaf, ReceiptError, StatusProof, Verified, check_inclusion, leaf_index, proven_status};

/// The status part of a receipt as it travels, not yet believed.
#[derive(Clone, Copy, Debug)]
pub struct StatusParts<'a> {
    /// The leaf of the commitment record at which the checkpoint was made: the tree's last.
    pub leaf: &'a [u8],
    /// The inclusion proof of that leaf: hashes of 32 bytes, one after the other.
    pub inclusion: &'a [u8],
    /// Licences in the vector, which its root binds.
    pub count: u64,
    /// The licence's index: from the record that the receipt proves, which gave it out.
    pub index: u64,
    /// The encoded [`StatusProof`].
    pub proof: &'a [u8],
}

/// The status that was proved.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StatusAsOf {
    /// The state's number, four bits.
    pub state: u8,
    /// The commitment record.
    pub seq: u64,
    /// Its time in milliseconds since 1970-01-01 UTC: that of its block.
    pub time_ms: u64,
}

/// Checks the status part against a checkpoint that holds: the commitment's leaf is the last of the
/// tree, its status root is that of the vector, and the vector has this state at the licence's index.
pub fn check_receipt_status(parts: &StatusParts<'_>, checkpoint: &Verified) -> Result<StatusAsOf, ReceiptError> {
    let (inclusion, rest) = parts.inclusion.as_chunks::<32>();
    if !rest.is_empty() {
        return Err(ReceiptError::BadHash);
    }
    let leaf = Leaf::decode(parts.leaf).map_err(|_| ReceiptError::NotTheCommitment)?;
    let last = leaf_index(leaf.seq).filter(|index| index.checked_add(1) == Some(checkpoint.size));
    let (Some(index), Some(commitment)) = (last, leaf.commitment) else { return Err(ReceiptError::NotTheCommitment) };
    check_inclusion(&checkpoint.root, checkpoint.size, index, &leaf.hash(), inclusion).map_err(|_| ReceiptError::NotTheCommitment)?;
    let proof = StatusProof::decode(parts.proof).map_err(|_| ReceiptError::NotTheStatus)?;
    let state = proven_status(&commitment.status_root, parts.count, parts.index, &proof).map_err(|_| ReceiptError::NotTheStatus)?;
    Ok(StatusAsOf { state, seq: leaf.seq, time_ms: leaf.time_ms })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::{Commitment, StatusTree, Tree, leaf_hash};
    use std::convert::Infallible;

    struct NoTiles;
    impl crate::TileStore for NoTiles {
        type Error = Infallible;
        fn tile(&self, _: u8, _: u64) -> Result<Option<Vec<u8>>, Infallible> {
            Ok(None)
        }
    }

    #[test]
    fn a_status_holds_for_its_checkpoint_and_index_alone() {
        let mut statuses = StatusTree::new();
        for n in 0..1500u64 {
            statuses.push((n / 100) as u8).unwrap();
        }
        let mut tree = Tree::new();
        for n in 0..100u64 {
            tree.append(leaf_hash(&n.to_be_bytes()));
        }
        let commitment = Some(Commitment { status_root: statuses.root(), state_digest: [0; 32] });
        let leaf = Leaf { seq: 100, time_ms: 7, record_hash: [1; 32], chain_hash: [2; 32], commitment };
        tree.append(leaf.hash());
        let bytes = leaf.encode();
        let inclusion = tree.inclusion(&NoTiles, 101, 100).unwrap().concat();
        let proof = statuses.proof(700).unwrap().encode();
        let parts = StatusParts { leaf: &bytes, inclusion: &inclusion, count: 1500, index: 700, proof: &proof };
        let checkpoint = Verified { size: 101, root: tree.root(), signed_by_ledger: true, cosigners: Vec::new(), outside: Vec::new() };
        assert_eq!(check_receipt_status(&parts, &checkpoint), Ok(StatusAsOf { state: 7, seq: 100, time_ms: 7 }));
        // Neighbours in the same chunk are shown by the same proof, each with its own state.
        assert_eq!(check_receipt_status(&StatusParts { index: 600, ..parts }, &checkpoint).unwrap().state, 6);
        for parts in [
            StatusParts { count: 1501, ..parts },
            StatusParts { index: 1200, ..parts },
            StatusParts { index: 1500, ..parts },
            StatusParts { proof: &proof[..proof.len() - 1], ..parts },
            StatusParts { proof: &[], ..parts },
        ] {
            assert_eq!(check_receipt_status(&parts, &checkpoint), Err(ReceiptError::NotTheStatus));
        }
        let record = Leaf { commitment: None, ..leaf.clone() }.encode();
        let other = Leaf { time_ms: 8, ..leaf }.encode();
        for leaf in [&record[..], &other, &bytes[..147], &[]] {
            assert_eq!(check_receipt_status(&StatusParts { leaf, ..parts }, &checkpoint), Err(ReceiptError::NotTheCommitment));
        }
        // A commitment that is in the tree, but not the one at which the checkpoint was made.
        tree.append([9; 32]);
        let later = Verified { size: 102, root: tree.root(), ..checkpoint };
        let inclusion = tree.inclusion(&NoTiles, 102, 100).unwrap().concat();
        assert_eq!(check_receipt_status(&StatusParts { inclusion: &inclusion, ..parts }, &later), Err(ReceiptError::NotTheCommitment));
        let short = [0; 31];
        assert_eq!(check_receipt_status(&StatusParts { inclusion: &short, ..parts }, &later), Err(ReceiptError::BadHash));
    }
}
