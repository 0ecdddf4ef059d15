//! A hash of a set of rows that is kept up as rows come and go, in whatever order: LtHash with 1,024
//! lanes of 16 bits (Bellare and Micciancio, EUROCRYPT 1997; Lewi, Kim, Maykov and Weis, IACR ePrint
//! 2019/227). Each row is stretched to 2,048 bytes by BLAKE3, and the set is the sum of its rows, lane by
//! lane. Finding two sets of one sum is as hard as finding a short vector in a lattice, for these sizes
//! beyond 2^200 steps.

use crate::hash::{self, CTX_STATE, CTX_STATE_ROW, Digest};

/// The lanes of a sum.
const LANES: usize = 1024;
/// The bytes of a sum as it is kept: each lane little-endian.
pub const SUM_LEN: usize = 2 * LANES;
/// Rows that are hashed together.
const SIDE_BY_SIDE: usize = 64;

/// The sum of a set of rows, a key and a value each. Two equal rows count twice.
#[derive(Clone, PartialEq, Eq)]
pub struct RowSum(Box<[u16; LANES]>);

impl RowSum {
    /// The sum of no rows.
    #[must_use]
    pub fn new() -> Self {
        Self(Box::new([0; LANES]))
    }

    /// A sum as [`RowSum::to_bytes`] gave it; `None` if it has not [`SUM_LEN`] bytes.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (lanes, rest) = bytes.as_chunks::<2>();
        let mut sum = Self::new();
        if lanes.len() != LANES || !rest.is_empty() {
            return None;
        }
        for (lane, bytes) in sum.0.iter_mut().zip(lanes) {
            *lane = u16::from_le_bytes(*bytes);
        }
        Some(sum)
    }

    /// The sum's [`SUM_LEN`] bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = vec![0; SUM_LEN];
        for (bytes, lane) in bytes.as_chunks_mut::<2>().0.iter_mut().zip(self.0.iter()) {
            *bytes = lane.to_le_bytes();
        }
        bytes
    }

    /// A row has come.
    pub fn add(&mut self, key: &[u8], value: &[u8]) {
        self.each_lane(key, value, u16::wrapping_add);
    }

    /// A row has gone.
    pub fn remove(&mut self, key: &[u8], value: &[u8]) {
        self.each_lane(key, value, u16::wrapping_sub);
    }

    fn each_lane(&mut self, key: &[u8], value: &[u8], change: impl Fn(u16, u16) -> u16) {
        let mut stretched = [0; SUM_LEN];
        hash::stretch(&CTX_STATE_ROW, &[&(key.len() as u64).to_be_bytes(), key, value], &mut stretched);
        self.lanes(&stretched, change);
    }

    fn lanes(&mut self, stretched: &[u8; SUM_LEN], change: impl Fn(u16, u16) -> u16) {
        for (lane, bytes) in self.0.iter_mut().zip(stretched.as_chunks::<2>().0) {
            *lane = change(*lane, u16::from_le_bytes(*bytes));
        }
    }

    /// Some rows have gone and others come, a key and a value each: the same as one by one, in less time.
    pub fn change(&mut self, gone: &[(&[u8], &[u8])], come: &[(&[u8], &[u8])]) {
        self.each_row(gone, u16::wrapping_sub);
        self.each_row(come, u16::wrapping_add);
    }

    fn each_row(&mut self, rows: &[(&[u8], &[u8])], change: impl Fn(u16, u16) -> u16) {
        let mut bytes = Vec::new();
        let mut ends = Vec::with_capacity(SIDE_BY_SIDE);
        for rows in rows.chunks(SIDE_BY_SIDE) {
            bytes.clear();
            ends.clear();
            for (key, value) in rows {
                bytes.extend_from_slice(&(key.len() as u64).to_be_bytes());
                bytes.extend_from_slice(key);
                bytes.extend_from_slice(value);
                ends.push(bytes.len());
            }
            let starts = std::iter::once(0).chain(ends.iter().copied());
            let inputs: Vec<&[u8]> = starts.zip(&ends).map(|(start, end)| &bytes[start..*end]).collect();
            hash::stretch_each(&CTX_STATE_ROW, &inputs, |stretched| self.lanes(stretched, &change));
        }
    }

    /// The digest that stands for the set.
    #[must_use]
    pub fn digest(&self) -> Digest {
        hash::derive(&CTX_STATE, &[&self.to_bytes()])
    }
}

impl Default for RowSum {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for RowSum {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RowSum({})", hex::encode(self.digest()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn sum(rows: &BTreeMap<Vec<u8>, Vec<u8>>) -> RowSum {
        let mut sum = RowSum::new();
        rows.iter().for_each(|(key, value)| sum.add(key, value));
        sum
    }

    /// The definition, from BLAKE3's own derive-key mode: whoever writes this anew must come to the same.
    #[test]
    fn a_row_is_blake3_in_derive_key_mode_stretched() {
        let mut one = RowSum::new();
        one.add(b"key", b"value");
        let mut hasher = blake3::Hasher::new_derive_key("vermilion 2026-11 state row v1");
        hasher.update(&3u64.to_be_bytes()).update(b"key").update(b"value");
        let mut expected = [0; SUM_LEN];
        hasher.finalize_xof().fill(&mut expected);
        assert_eq!(one.to_bytes(), expected);
        assert_eq!(one.digest(), blake3::derive_key("vermilion 2026-11 state v1", &expected));
        one.remove(b"key", b"value");
        assert_eq!(one, RowSum::new());
    }

    #[test]
    fn a_key_does_not_run_into_its_value() {
        let (mut a, mut b) = (RowSum::new(), RowSum::new());
        a.add(b"ab", b"c");
        b.add(b"a", b"bc");
        assert_ne!(a.digest(), b.digest());
    }

    #[test]
    fn what_is_no_sum_is_not_read() {
        for length in [0, 1, SUM_LEN - 2, SUM_LEN - 1, SUM_LEN + 1, SUM_LEN + 2] {
            assert!(RowSum::from_bytes(&vec![0; length]).is_none());
        }
    }

    proptest! {
        #[test]
        fn however_the_rows_came_to_be_the_sum_is_that_of_what_is_there(
            writes in prop::collection::vec((prop::collection::vec(0u8..4, 0..3), prop::option::of(prop::collection::vec(any::<u8>(), 0..1100))), 0..30)
        ) {
            let (mut rows, mut kept) = (BTreeMap::new(), RowSum::new());
            for (key, value) in writes {
                let before = match &value {
                    Some(value) => { kept.add(&key, value); rows.insert(key.clone(), value.clone()) }
                    None => rows.remove(&key),
                };
                if let Some(before) = before {
                    kept.remove(&key, &before);
                }
            }
            prop_assert_eq!(&kept, &sum(&rows));
            let all: Vec<(&[u8], &[u8])> = rows.iter().map(|(key, value)| (key.as_slice(), value.as_slice())).collect();
            let mut together = RowSum::new();
            together.change(&[], &all);
            prop_assert_eq!(&kept, &together);
            together.change(&all, &[]);
            prop_assert_eq!(together, RowSum::new());
            prop_assert_eq!(RowSum::from_bytes(&kept.to_bytes()), Some(kept.clone()));
            // One row more or less, or otherwise, is another set.
            let digest = kept.digest();
            kept.add(b"one more", b"");
            prop_assert_ne!(kept.digest(), digest);
        }
    }
}
