//! What one holder holds, in memory.

use super::memory::{INLINE, Key, allocated, key_bytes};
use smallvec::SmallVec;
use std::collections::BTreeMap;

/// A value's bytes; what stands for a holder's licence is a single one.
type Value = SmallVec<[u8; 16]>;
/// Bytes of an entry.
const ENTRY: usize = size_of::<(Key, Value)>();

/// What one holder holds. Almost everybody holds a few licences, for which a map of its own would be
/// some twenty times as large.
pub enum Group {
    /// Of few, in order of keys.
    Few(Vec<(Key, Value)>),
    /// Of many.
    Many(BTreeMap<Key, Value>),
}

/// From so many entries on a group is a map.
pub const MANY: usize = 16;

impl Default for Group {
    fn default() -> Self {
        Self::Few(Vec::new())
    }
}

impl Group {
    /// How many there are.
    pub fn len(&self) -> usize {
        match self {
            Self::Few(few) => few.len(),
            Self::Many(many) => many.len(),
        }
    }

    /// Bytes that it takes beside itself.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Few(few) => {
                let outside =
                    few.iter().map(|(key, value)| key_bytes(key.len()) + if value.spilled() { allocated(value.len()) } else { 0 });
                allocated(few.capacity() * ENTRY) + outside.sum::<usize>()
            }
            // A tree's nodes are three quarters full, and few keys do not fit into theirs.
            Self::Many(many) => many.len() * (ENTRY * 4 / 3 + INLINE),
        }
    }

    /// The value of a key.
    pub fn get(&self, key: &[u8]) -> Option<&[u8]> {
        match self {
            Self::Few(few) => {
                let at = few.binary_search_by(|(other, _)| (**other).cmp(key)).ok()?;
                few.get(at).map(|(_, value)| value.as_slice())
            }
            Self::Many(many) => many.get(key).map(|value| value.as_slice()),
        }
    }

    /// Sets or, with `None`, removes.
    pub fn set(&mut self, key: &[u8], value: Option<Vec<u8>>) {
        match self {
            Self::Few(few) => {
                let at = few.binary_search_by(|(other, _)| (**other).cmp(key));
                match (at, value) {
                    (Ok(at), None) => drop(few.remove(at)),
                    (Err(_), None) => {}
                    (Ok(at), Some(value)) => {
                        if let Some((_, old)) = few.get_mut(at) {
                            *old = value.into();
                        }
                    }
                    (Err(at), Some(value)) => {
                        // Most hold one or two: room for four would be most of what all of them take.
                        if few.len() < 2 {
                            few.reserve_exact(1);
                        }
                        few.insert(at, (key.into(), value.into()));
                    }
                }
                if few.len() >= MANY {
                    *self = Self::Many(std::mem::take(few).into_iter().collect());
                }
            }
            Self::Many(many) => {
                match value {
                    Some(value) => many.insert(key.into(), value.into()),
                    None => many.remove(key),
                };
            }
        }
    }

    /// Visits every entry in order of keys, until `visit` answers false.
    pub fn scan(&self, visit: &mut dyn FnMut(&[u8], &[u8]) -> bool) {
        let _ = match self {
            Self::Few(few) => few.iter().all(|(key, value)| visit(key, value)),
            Self::Many(many) => many.iter().all(|(key, value)| visit(key, value)),
        };
    }
}
