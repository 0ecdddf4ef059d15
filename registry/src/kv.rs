//! What the state is kept in, and the block's writes over it.

use std::collections::{BTreeMap, btree_map};
use std::ops::Bound;

/// The store failed: the one failure that is not a function of the input. A node stops on it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the state store failed: {0}")]
pub struct KvError(pub String);

/// One state write: the key, and its value or, deleted, none.
pub type Write = (Vec<u8>, Option<Vec<u8>>);

/// What the state is kept in. Reads see the state as of the last committed block, all of it and
/// nothing later, however many there are: to ensure this, an implementation reads from one snapshot.
pub trait Kv {
    /// The value of a key.
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, KvError>;

    /// The values of keys, which come in ascending order.
    fn get_each(&self, keys: &[&[u8]]) -> Result<Vec<Option<Vec<u8>>>, KvError> {
        keys.iter().map(|key| self.get(key)).collect()
    }

    /// Visits every key that starts with `prefix`, in ascending order of bytes, until `visit`
    /// answers false.
    fn scan(&self, prefix: &[u8], visit: &mut dyn FnMut(&[u8], &[u8]) -> bool) -> Result<(), KvError>;
}

/// A state in memory, for audits and tests.
#[derive(Clone, Default, Debug, PartialEq, Eq)]
pub struct Memory {
    entries: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl Memory {
    /// An empty state.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes a block's writes.
    pub fn write(&mut self, writes: Vec<Write>) {
        for (key, value) in writes {
            match value {
                Some(value) => self.entries.insert(key, value),
                None => self.entries.remove(&key),
            };
        }
    }

    /// Every entry, in order of keys.
    pub fn iter(&self) -> btree_map::Iter<'_, Vec<u8>, Vec<u8>> {
        self.entries.iter()
    }

    /// The entries from a key on, in order.
    pub fn from(&self, key: &[u8]) -> btree_map::Range<'_, Vec<u8>, Vec<u8>> {
        self.entries.range::<[u8], _>((Bound::Included(key), Bound::Unbounded))
    }
}

impl Kv for Memory {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, KvError> {
        Ok(self.entries.get(key).cloned())
    }

    fn scan(&self, prefix: &[u8], visit: &mut dyn FnMut(&[u8], &[u8]) -> bool) -> Result<(), KvError> {
        for (key, value) in from(&self.entries, prefix).take_while(|(key, _)| key.starts_with(prefix)) {
            if !visit(key, value) {
                break;
            }
        }
        Ok(())
    }
}

/// The writes of a block over the state before it: commands see what those before them in the
/// block have changed.
pub struct Overlay<'a> {
    below: &'a dyn Kv,
    writes: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
}

impl<'a> Overlay<'a> {
    /// No writes yet over `below`.
    #[must_use]
    pub fn new(below: &'a dyn Kv) -> Self {
        Self { below, writes: BTreeMap::new() }
    }

    /// Writes or, with `None`, deletes.
    pub fn put(&mut self, key: Vec<u8>, value: Option<Vec<u8>>) {
        self.writes.insert(key, value);
    }

    /// What the writes are over.
    #[must_use]
    pub fn below(&self) -> &'a dyn Kv {
        self.below
    }

    /// What every key written has now, in order of keys.
    pub fn writes(&self) -> btree_map::Iter<'_, Vec<u8>, Option<Vec<u8>>> {
        self.writes.iter()
    }

    /// The final value of every key written, in order of keys.
    #[must_use]
    pub fn into_writes(self) -> Vec<Write> {
        self.writes.into_iter().collect()
    }
}

impl Kv for Overlay<'_> {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, KvError> {
        match self.writes.get(key) {
            Some(value) => Ok(value.clone()),
            None => self.below.get(key),
        }
    }

    fn scan(&self, prefix: &[u8], visit: &mut dyn FnMut(&[u8], &[u8]) -> bool) -> Result<(), KvError> {
        let mut own = from(&self.writes, prefix).take_while(|(key, _)| key.starts_with(prefix)).peekable();
        let mut go_on = true;
        self.below.scan(prefix, &mut |key, value| {
            // Own writes before this key come first; one of this very key hides what is below.
            while go_on && let Some((own_key, own_value)) = own.next_if(|(own_key, _)| own_key.as_slice() < key) {
                if let Some(own_value) = own_value {
                    go_on = visit(own_key, own_value);
                }
            }
            if go_on {
                go_on = match own.next_if(|(own_key, _)| own_key.as_slice() == key) {
                    Some((own_key, own_value)) => own_value.as_ref().is_none_or(|v| visit(own_key, v)),
                    None => visit(key, value),
                };
            }
            go_on
        })?;
        for (key, value) in own {
            if let (true, Some(value)) = (go_on, value) {
                go_on = visit(key, value);
            }
        }
        Ok(())
    }
}

fn from<'a, V>(map: &'a BTreeMap<Vec<u8>, V>, prefix: &[u8]) -> btree_map::Range<'a, Vec<u8>, V> {
    map.range::<[u8], _>((Bound::Included(prefix), Bound::Unbounded))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn all(kv: &dyn Kv, prefix: &[u8], limit: usize) -> Vec<(Vec<u8>, Vec<u8>)> {
        let mut out = Vec::new();
        kv.scan(prefix, &mut |k, v| {
            out.push((k.to_vec(), v.to_vec()));
            out.len() < limit
        })
        .unwrap();
        out
    }

    fn writes() -> impl Strategy<Value = Vec<Write>> {
        prop::collection::vec((prop::collection::vec(0u8..3, 0..3), prop::option::of(prop::collection::vec(any::<u8>(), 0..2))), 0..20)
    }

    proptest! {
        #[test]
        fn an_overlay_reads_like_the_state_after_it(before in writes(), after in writes(), prefix in prop::collection::vec(0u8..3, 0..3), limit in 1usize..9) {
            let mut below = Memory::new();
            below.write(before);
            let mut overlay = Overlay::new(&below);
            for (key, value) in &after {
                overlay.put(key.clone(), value.clone());
            }
            let mut merged = below.clone();
            merged.write(after.clone());
            prop_assert_eq!(all(&overlay, &prefix, limit), all(&merged, &prefix, limit));
            for (key, _) in &after {
                prop_assert_eq!(overlay.get(key).unwrap(), merged.get(key).unwrap());
            }
            let mut written = below.clone();
            written.write(overlay.into_writes());
            prop_assert_eq!(written, merged);
        }
    }
}
