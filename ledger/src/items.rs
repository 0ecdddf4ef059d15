//! The small tree over the items of one command. The command's signers sign its root, so that a
//! licence can be proved without showing the others that were issued with it.

use crate::{
    LedgerError, leaf_hash,
    merkle::{inclusion, path_root, range_root, sha256_join},
    tree::empty_root,
};
use std::convert::Infallible;
use vermilion_crypto::Digest;

/// The tree over a command's items, all of its nodes in memory: RFC 6962 with SHA-256 over the
/// items' exact bytes in their order. Building it hashes each item once and then two hashes an item;
/// a root or a path costs at most twelve hashes for 1,000 items. 64 bytes of memory an item.
#[derive(Clone, Debug)]
pub struct ItemTree {
    /// Perfect nodes, leaves first.
    levels: Vec<Vec<Digest>>,
}

impl ItemTree {
    /// The tree over these items.
    #[must_use]
    pub fn new<B: AsRef<[u8]>>(items: &[B]) -> Self {
        let mut levels: Vec<Vec<Digest>> = Vec::new();
        let mut row: Vec<Digest> = items.iter().map(|item| leaf_hash(item.as_ref())).collect();
        while !row.is_empty() {
            let above = row.as_chunks::<2>().0.iter().map(|[left, right]| sha256_join(left, right)).collect();
            levels.push(std::mem::replace(&mut row, above));
        }
        Self { levels }
    }

    /// How many items there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.levels.first().map_or(0, |leaves| leaves.len() as u64)
    }

    /// The root, 32 bytes; SHA-256 over nothing if there is no item.
    #[must_use]
    pub fn root(&self) -> Digest {
        if self.levels.is_empty() {
            return empty_root();
        }
        let Ok(root) = range_root(sha256_join, 0, self.count(), &mut |level, index| self.node(level, index));
        root
    }

    /// The audit path (RFC 6962 section 2.1.1) of the item at `position`, counted from 0: at most ten
    /// hashes for 1,000 items.
    pub fn path(&self, position: u64) -> Result<Vec<Digest>, LedgerError> {
        if position >= self.count() {
            return Err(LedgerError::OutOfRange { index: position, size: self.count() });
        }
        let Ok(path) = inclusion(sha256_join, self.count(), position, &mut |level, index| self.node(level, index));
        Ok(path)
    }

    /// A perfect node. Only asked for nodes within the tree, all of which are there.
    fn node(&self, level: u8, index: u64) -> Result<Digest, Infallible> {
        Ok(self.levels.get(usize::from(level)).and_then(|row| row.get(index as usize)).copied().unwrap_or_default())
    }
}

/// The root over a command's items: [`ItemTree::root`].
#[must_use]
pub fn items_root<B: AsRef<[u8]>>(items: &[B]) -> Digest {
    ItemTree::new(items).root()
}

/// The path of the item at `position`: [`ItemTree::path`]. Who wants many paths builds the
/// [`ItemTree`] once.
pub fn items_path<B: AsRef<[u8]>>(items: &[B], position: u64) -> Result<Vec<Digest>, LedgerError> {
    ItemTree::new(items).path(position)
}

/// Checks that `item` stands at `position` (from 0) among `count` items under this root.
pub fn check_item(root: &Digest, count: u64, position: u64, item: &[u8], path: &[Digest]) -> Result<(), LedgerError> {
    if path_root(sha256_join, count, position, &leaf_hash(item), path)? == *root { Ok(()) } else { Err(LedgerError::ProofFails) }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::merkle::naive;
    use proptest::prelude::*;

    #[test]
    fn every_small_tree_is_the_definitions() {
        let items: Vec<[u8; 3]> = (0..40u8).map(|n| [n, n, n]).collect();
        assert_eq!(items_root(&items[..0]), empty_root());
        for count in 1..=items.len() {
            let tree = ItemTree::new(&items[..count]);
            let leaves: Vec<Digest> = items[..count].iter().map(|item| leaf_hash(item)).collect();
            assert_eq!(tree.root(), naive::root(sha256_join, &leaves));
            assert_eq!(tree.count(), count as u64);
            for (position, item) in items[..count].iter().enumerate() {
                let path = tree.path(position as u64).unwrap();
                assert_eq!(path, naive::path(sha256_join, position, &leaves));
                check_item(&tree.root(), count as u64, position as u64, item, &path).unwrap();
                assert!(check_item(&tree.root(), count as u64, position as u64, b"another", &path).is_err());
            }
            assert_eq!(tree.path(count as u64), Err(LedgerError::OutOfRange { index: count as u64, size: count as u64 }));
        }
    }

    proptest! {
        #[test]
        fn an_item_proves_its_own_place_alone(items in prop::collection::hash_set(prop::collection::vec(any::<u8>(), 0..20), 1..60), at: prop::sample::Index) {
            let items: Vec<Vec<u8>> = items.into_iter().collect();
            let (count, position) = (items.len() as u64, at.index(items.len()));
            let (root, path) = (items_root(&items), items_path(&items, position as u64).unwrap());
            for (other, item) in items.iter().enumerate() {
                prop_assert_eq!(check_item(&root, count, position as u64, item, &path).is_ok(), other == position);
                if other != position {
                    prop_assert!(check_item(&root, count, other as u64, &items[position], &path).is_err());
                }
            }
        }
    }
}
