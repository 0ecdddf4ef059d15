//! The state digest: what a commitment record says of the whole state, kept up block by block, so that
//! it is there at every commitment without anybody reading the state through.
//!
//! Counted are all rows but two: the head, which the leaf of the record says already, and the sum itself.

use crate::fatal::Fatal;
use crate::keys;
use crate::kv::{Kv, Overlay, Write};
use crate::value;
use std::borrow::Cow;
use std::collections::BTreeMap;
use vermilion_crypto::{Digest, RowSum};

/// The sum over the state's rows, as of the last block or, within a block, the last time it was told.
#[derive(Debug, Clone, Default)]
pub struct StateSum {
    sum: RowSum,
    /// Within a block: what is counted of rows that the block below does not have so.
    counted: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
}

/// Whether a row is counted.
#[must_use]
pub fn counts(key: &[u8]) -> bool {
    key != keys::HEAD && key != keys::SUM
}

impl StateSum {
    /// The sum as it is kept in the state; counted anew where it is not kept, in a state from before it was.
    pub(crate) fn open(kv: &dyn Kv) -> Result<Self, Fatal> {
        let Some(stored) = kv.get(keys::SUM)? else { return Self::over(kv) };
        let sum = RowSum::from_bytes(value::open(keys::SUM, &stored)?);
        let sum = sum.ok_or_else(|| value::undecodable(keys::SUM, "it has another length than a sum"))?;
        Ok(Self { sum, counted: BTreeMap::new() })
    }

    /// The sum over every row of a state.
    pub fn over(kv: &dyn Kv) -> Result<Self, Fatal> {
        let mut sum = Self::default();
        kv.scan(b"", &mut |key, value| {
            sum.add(key, value);
            true
        })?;
        Ok(sum)
    }

    /// One row more, if such rows are counted.
    pub fn add(&mut self, key: &[u8], value: &[u8]) {
        if counts(key) {
            self.sum.add(key, value);
        }
    }

    /// The value of the row that keeps the sum.
    #[must_use]
    pub fn value(&self) -> Vec<u8> {
        value::plain(&self.sum.to_bytes())
    }

    /// The digest of the state in front of a record: of everything counted but the row that says which
    /// record the record's own command has.
    #[must_use]
    pub fn digest_before(&self, command_id: &Digest, seq: u64) -> Digest {
        let mut before = self.sum.clone();
        before.remove(&keys::command(command_id), &value::plain(&seq.to_be_bytes()));
        before.digest()
    }

    /// Counts what a block has written so far, and answers the digest: the block goes on.
    pub(crate) fn digest_within(&mut self, block: &Overlay<'_>) -> Result<Digest, Fatal> {
        self.count(block)?;
        self.counted = block.writes().filter(|(key, _)| counts(key)).map(|(key, value)| (key.clone(), value.clone())).collect();
        Ok(self.sum.digest())
    }

    /// Counts what a block has written, at its end. Answers the row that keeps the sum.
    pub(crate) fn end_of_block(&mut self, block: &Overlay<'_>) -> Result<Write, Fatal> {
        self.count(block)?;
        self.counted.clear();
        Ok((keys::SUM.to_vec(), Some(self.value())))
    }

    fn count(&mut self, block: &Overlay<'_>) -> Result<(), Fatal> {
        let mut changed = Vec::new();
        let written = || block.writes().filter(|(key, _)| counts(key));
        let unknown: Vec<&[u8]> = written().map(|(key, _)| key.as_slice()).filter(|key| !self.counted.contains_key(*key)).collect();
        let mut below = block.below().get_each(&unknown)?.into_iter();
        for (key, value) in written() {
            let before = match self.counted.get(key) {
                Some(counted) => Cow::Borrowed(counted),
                None => Cow::Owned(below.next().ok_or_else(|| Fatal::Broken("the store answered fewer keys than asked".into()))?),
            };
            if *before != *value {
                changed.push((key.as_slice(), before, value));
            }
        }
        let gone: Vec<_> = changed.iter().filter_map(|(key, before, _)| Some((*key, (**before).as_deref()?))).collect();
        let come: Vec<_> = changed.iter().filter_map(|(key, _, value)| Some((*key, value.as_deref()?))).collect();
        self.sum.change(&gone, &come);
        Ok(())
    }
}
