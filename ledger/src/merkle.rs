//! The shape of RFC 6962 trees, whatever their hash: the ledger's tree and the items' tree (both
//! SHA-256) and the status tree (BLAKE3) all use this arithmetic.
//!
//! A tree over n leaves splits at the largest power of two below n. A *perfect* node (level, index)
//! covers the leaves `index << level .. (index + 1) << level`; all other nodes lie on the right edge
//! and are folded from perfect ones. Provers here read perfect nodes through a closure, so that
//! they serve tiles and memory alike.
//!
//! Why not `tlog_tiles`, which has the same functions: it hashes with an implementation of its own
//! (only `vermilion-crypto` may name an algorithm, and the status tree needs another), it cannot
//! carry a store's error, and it panics on arithmetic that a damaged store could reach. It is the
//! judge in our tests instead: every proof is compared with its.

use crate::LedgerError;
use vermilion_crypto::Digest;

/// How a tree hashes two children, left and right, into their parent.
pub(crate) type Join = fn(&Digest, &Digest) -> Digest;

/// RFC 6962 section 2.1: SHA-256 over a one byte and the children.
pub(crate) fn sha256_join(left: &Digest, right: &Digest) -> Digest {
    vermilion_crypto::hash::sha256_parts(&[&[1], left, right])
}

/// The level of the largest perfect tree that starts a tree of `n` leaves, n above 0.
fn level_within(n: u64) -> u8 {
    n.checked_ilog2().unwrap_or(0) as u8
}

/// The largest power of two below `n`, n above 1.
fn split(n: u64) -> u64 {
    1 << level_within(n.saturating_sub(1))
}

/// The hash over the leaves `lo..hi`, a node of some RFC 6962 tree and not empty. Calls `read` with
/// (level, index) of its perfect parts from left to right.
pub(crate) fn range_root<E>(join: Join, lo: u64, hi: u64, read: &mut impl FnMut(u8, u64) -> Result<Digest, E>) -> Result<Digest, E> {
    let mut parts = Vec::new();
    let mut at = lo;
    loop {
        let level = level_within(hi - at);
        parts.push(read(level, at >> level)?);
        at += 1 << level;
        if at >= hi {
            break;
        }
    }
    Ok(fold(join, &parts))
}

/// Folds the hashes of perfect nodes, left to right in falling size, into their tree's root.
pub(crate) fn fold(join: Join, parts: &[Digest]) -> Digest {
    let mut parts = parts.iter().rev();
    let mut root = parts.next().copied().unwrap_or_default();
    for part in parts {
        root = join(part, &root);
    }
    root
}

/// RFC 6962 section 2.1.1: the audit path of leaf `index` in a tree of `size`, from the leaf's
/// sibling to the root's child. The caller sees to `index < size`.
pub(crate) fn inclusion<E>(
    join: Join,
    size: u64,
    index: u64,
    read: &mut impl FnMut(u8, u64) -> Result<Digest, E>,
) -> Result<Vec<Digest>, E> {
    let (mut lo, mut hi) = (0, size);
    let mut siblings = Vec::new();
    while hi - lo > 1 {
        let middle = lo + split(hi - lo);
        if index < middle {
            siblings.push((middle, hi));
            hi = middle;
        } else {
            siblings.push((lo, middle));
            lo = middle;
        }
    }
    siblings.into_iter().rev().map(|(lo, hi)| range_root(join, lo, hi, read)).collect()
}

/// RFC 6962 section 2.1.2: the consistency proof from `old` to `new` leaves. Empty when both are the
/// same, or `old` is 0, where there is nothing to prove. The caller sees to `old <= new`.
pub(crate) fn consistency<E>(
    join: Join,
    old: u64,
    new: u64,
    read: &mut impl FnMut(u8, u64) -> Result<Digest, E>,
) -> Result<Vec<Digest>, E> {
    if old == 0 || old == new {
        return Ok(Vec::new());
    }
    let (mut lo, mut hi) = (0, new);
    let mut nodes = Vec::new();
    while old != hi {
        let middle = lo + split(hi - lo);
        if old <= middle {
            nodes.push((middle, hi));
            hi = middle;
        } else {
            nodes.push((lo, middle));
            lo = middle;
        }
    }
    if lo != 0 {
        nodes.push((lo, hi));
    }
    nodes.into_iter().rev().map(|(lo, hi)| range_root(join, lo, hi, read)).collect()
}

/// RFC 9162 section 2.1.3.2: the root that an audit path leads to.
pub(crate) fn path_root(join: Join, size: u64, index: u64, leaf: &Digest, path: &[Digest]) -> Result<Digest, LedgerError> {
    if index >= size {
        return Err(LedgerError::OutOfRange { index, size });
    }
    let (mut node, mut last) = (index, size - 1);
    let mut root = *leaf;
    for sibling in path {
        if last == 0 {
            return Err(LedgerError::ProofLength(path.len()));
        }
        if node & 1 == 1 || node == last {
            root = join(sibling, &root);
            // On the right edge levels without a sibling are skipped.
            while node & 1 == 0 && node != 0 {
                node >>= 1;
                last >>= 1;
            }
        } else {
            root = join(&root, sibling);
        }
        node >>= 1;
        last >>= 1;
    }
    if last != 0 {
        return Err(LedgerError::ProofLength(path.len()));
    }
    Ok(root)
}

/// RFC 9162 section 2.1.4.2: the roots of the old and the new tree that a consistency proof leads
/// to, for sizes `0 < old < new`.
pub(crate) fn consistency_roots(
    join: Join,
    old: u64,
    new: u64,
    old_root: &Digest,
    proof: &[Digest],
) -> Result<(Digest, Digest), LedgerError> {
    let wrong_length = LedgerError::ProofLength(proof.len());
    if old == 0 || old >= new {
        return Err(LedgerError::OutOfRange { index: old, size: new });
    }
    // The old tree is itself a node of the new one when it is perfect, and is then not sent.
    let (seed, rest) = if old.is_power_of_two() { (old_root, proof) } else { proof.split_first().ok_or_else(|| wrong_length.clone())? };
    let skip = (old - 1).trailing_ones();
    let (mut node, mut last) = ((old - 1).checked_shr(skip).unwrap_or(0), (new - 1).checked_shr(skip).unwrap_or(0));
    let (mut old_found, mut new_found) = (*seed, *seed);
    for part in rest {
        if last == 0 {
            return Err(wrong_length);
        }
        if node & 1 == 1 || node == last {
            old_found = join(part, &old_found);
            new_found = join(part, &new_found);
            while node & 1 == 0 && node != 0 {
                node >>= 1;
                last >>= 1;
            }
        } else {
            new_found = join(&new_found, part);
        }
        node >>= 1;
        last >>= 1;
    }
    if last != 0 {
        return Err(wrong_length);
    }
    Ok((old_found, new_found))
}

/// The definitions of RFC 6962 section 2.1 as they stand there, recursive and slow: the oracle of
/// every test in this crate.
#[cfg(test)]
pub(crate) mod naive {
    use super::{Join, split};
    use vermilion_crypto::Digest;

    pub(crate) fn root(join: Join, leaves: &[Digest]) -> Digest {
        match leaves {
            [] => vermilion_crypto::sha256(b""),
            [leaf] => *leaf,
            _ => {
                let (left, right) = leaves.split_at(split(leaves.len() as u64) as usize);
                join(&root(join, left), &root(join, right))
            }
        }
    }

    pub(crate) fn path(join: Join, index: usize, leaves: &[Digest]) -> Vec<Digest> {
        if leaves.len() == 1 {
            return Vec::new();
        }
        let k = split(leaves.len() as u64) as usize;
        let (left, right) = leaves.split_at(k);
        let (mut out, other) =
            if index < k { (path(join, index, left), root(join, right)) } else { (path(join, index - k, right), root(join, left)) };
        out.push(other);
        out
    }

    pub(crate) fn consistency(join: Join, old: usize, leaves: &[Digest]) -> Vec<Digest> {
        if old == 0 { Vec::new() } else { subproof(join, old, leaves, true) }
    }

    fn subproof(join: Join, old: usize, leaves: &[Digest], whole: bool) -> Vec<Digest> {
        if old == leaves.len() {
            return if whole { Vec::new() } else { vec![root(join, leaves)] };
        }
        let k = split(leaves.len() as u64) as usize;
        let (left, right) = leaves.split_at(k);
        let (mut out, other) = if old <= k {
            (subproof(join, old, left, whole), root(join, right))
        } else {
            (subproof(join, old - k, right, false), root(join, left))
        };
        out.push(other);
        out
    }
}
