//! Where content is not there: record and position, in the order of records. A vault that was lost lacks every
//! licence's, so each takes a few bytes and no more: how far it is from the one before, and its position, seven bits a byte.

/// Records and positions, ascending.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Places {
    bytes: Vec<u8>,
    /// The record of the last one.
    last: u64,
}

impl Places {
    /// Adds the next one.
    pub fn push(&mut self, (seq, position): (u64, u32)) {
        // Were they out of order, each would still come back as it was.
        write(&mut self.bytes, seq.wrapping_sub(self.last));
        write(&mut self.bytes, position.into());
        self.last = seq;
    }

    /// All, in order.
    pub fn iter(&self) -> impl Iterator<Item = (u64, u32)> {
        let (mut rest, mut last) = (self.bytes.as_slice(), 0u64);
        std::iter::from_fn(move || {
            let (step, position) = (read(&mut rest)?, read(&mut rest)?);
            last = last.wrapping_add(step);
            Some((last, u32::try_from(position).ok()?))
        })
    }

    /// The places of both, each once.
    pub fn union(&self, other: &Self) -> impl Iterator<Item = (u64, u32)> {
        let (mut one, mut other) = (self.iter().peekable(), other.iter().peekable());
        std::iter::from_fn(move || {
            let next = one.peek().into_iter().chain(other.peek()).min().copied()?;
            one.next_if_eq(&next);
            other.next_if_eq(&next);
            Some(next)
        })
    }

    /// As they are kept in a file.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// From a file.
    #[must_use]
    pub fn from_bytes(bytes: Vec<u8>) -> Self {
        let mut out = Self { bytes, last: 0 };
        out.last = out.iter().last().map_or(0, |(seq, _)| seq);
        out
    }
}

impl Extend<(u64, u32)> for Places {
    fn extend<T: IntoIterator<Item = (u64, u32)>>(&mut self, places: T) {
        places.into_iter().for_each(|place| self.push(place));
    }
}

impl FromIterator<(u64, u32)> for Places {
    fn from_iter<T: IntoIterator<Item = (u64, u32)>>(places: T) -> Self {
        let mut out = Self::default();
        out.extend(places);
        out
    }
}

fn write(out: &mut Vec<u8>, mut number: u64) {
    while number > 0x7f {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

fn read(bytes: &mut &[u8]) -> Option<u64> {
    let (mut number, mut shift) = (0, 0);
    loop {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(byte & 0x7f).checked_shl(shift)?;
        if byte & 0x80 == 0 {
            return Some(number);
        }
        shift += 7;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn they_come_back_in_order(one: BTreeSet<(u64, u32)>, other: BTreeSet<(u64, u32)>, near in prop::collection::btree_set((0..300u64, 0..3u32), 0..50)) {
            for (one, other) in [(&one, &other), (&near, &one), (&near, &near)] {
                let (ours, theirs): (Places, Places) = (one.iter().copied().collect(), other.iter().copied().collect());
                prop_assert!(ours.iter().eq(one.iter().copied()));
                prop_assert!(ours.union(&theirs).eq(one.union(other).copied()));
                let mut again = Places::from_bytes(ours.as_bytes().to_vec());
                prop_assert_eq!(&again, &ours);
                again.extend(theirs.iter());
                prop_assert!(again.iter().eq(one.iter().chain(other).copied()));
            }
        }

        #[test]
        fn any_bytes_are_places(bytes: Vec<u8>) {
            let _ = Places::from_bytes(bytes).iter().count();
        }
    }

    #[test]
    fn those_of_a_whole_vault_take_two_bytes_each() {
        let all: Places = (0..1000).map(|seq| (seq, 0)).collect();
        assert_eq!(all.as_bytes().len(), 2000);
    }
}
