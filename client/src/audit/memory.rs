//! The state of a replay. Most of it is one entry for each command, licence, identifier and holder;
//! these are only ever looked up by themselves, or by holder, so they stand in hash maps. Everything
//! else is the registry's own in-memory state, in order.

use foldhash::quality::RandomState;
use smallvec::SmallVec;
use std::collections::{BTreeMap, HashMap};
use vermilion_registry::kv::{Memory, Write};
use vermilion_registry::{Kv, KvError};

/// Before the ids of commands ([`vermilion_registry::keys::command`]), the most of all entries and all of one
/// size.
const COMMAND: &[u8] = b"d/";
/// Bytes of a command's value.
const NUMBER: usize = 9;
/// Before the ids of commands, licences, identifier tags: looked up one by one.
const SINGLE: [&[u8]; 3] = [COMMAND, b"l/", b"i/"];
/// Before what a holder holds ([`vermilion_registry::keys::held`]): looked up by holder.
const HELD: &[u8] = b"w/";
/// Prefix and holder tag.
const HOLDER: usize = 2 + 32;

/// A key's bytes. Nearly all keys are shorter, and lie where they are compared: what is looked up a million
/// times should not be fetched from as many places.
type Key = SmallVec<[u8; 64]>;
/// A value's bytes; what stands for a holder's licence is a single one.
type Value = SmallVec<[u8; 16]>;

/// What one holder holds. Almost everybody holds a few licences, for which a map of its own would be
/// some twenty times as large.
enum Group {
    Few(Vec<(Key, Value)>),
    Many(BTreeMap<Key, Value>),
}

/// From so many entries on a group is a map.
const MANY: usize = 16;

impl Group {
    fn len(&self) -> usize {
        match self {
            Self::Few(few) => few.len(),
            Self::Many(many) => many.len(),
        }
    }

    fn get(&self, key: &[u8]) -> Option<&[u8]> {
        match self {
            Self::Few(few) => {
                let at = few.binary_search_by(|(other, _)| (**other).cmp(key)).ok()?;
                few.get(at).map(|(_, value)| value.as_slice())
            }
            Self::Many(many) => many.get(key).map(|value| value.as_slice()),
        }
    }

    fn set(&mut self, key: &[u8], value: Option<Vec<u8>>) {
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
                    (Err(at), Some(value)) => few.insert(at, (key.into(), value.into())),
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
    fn scan(&self, visit: &mut dyn FnMut(&[u8], &[u8]) -> bool) {
        let _ = match self {
            Self::Few(few) => few.iter().all(|(key, value)| visit(key, value)),
            Self::Many(many) => many.iter().all(|(key, value)| visit(key, value)),
        };
    }
}

/// A state in memory.
#[derive(Default)]
pub struct ReplayState {
    ordered: Memory,
    commands: HashMap<[u8; 32], [u8; NUMBER], RandomState>,
    single: HashMap<Key, Box<[u8]>, RandomState>,
    held: HashMap<[u8; HOLDER], Group, RandomState>,
    held_count: usize,
}

/// Where an entry is kept.
enum Place<'a> {
    /// If its value has the size that commands' have, else among the single ones.
    Command(&'a [u8; 32]),
    Single,
    Held(&'a [u8; HOLDER], &'a [u8]),
    Ordered,
}

fn place(key: &[u8]) -> Place<'_> {
    if let Some(id) = key.strip_prefix(COMMAND).and_then(|id| id.try_into().ok()) {
        Place::Command(id)
    } else if SINGLE.iter().any(|prefix| key.starts_with(prefix)) {
        Place::Single
    } else if let Some((holder, rest)) = key.split_first_chunk().filter(|_| key.starts_with(HELD)) {
        Place::Held(holder, rest)
    } else {
        Place::Ordered
    }
}

/// Whether an entry is among the ordered ones ([`ReplayState::ordered`]).
pub fn is_ordered(key: &[u8]) -> bool {
    matches!(place(key), Place::Ordered)
}

impl ReplayState {
    /// Takes a block's writes.
    pub fn write(&mut self, mut writes: Vec<Write>) {
        writes.retain_mut(|(key, value)| {
            match place(key) {
                Place::Ordered => return true,
                Place::Command(id) => match value.as_deref().and_then(|value| <&[u8; NUMBER]>::try_from(value).ok()) {
                    Some(number) => {
                        self.commands.insert(*id, *number);
                        self.single.remove(key.as_slice());
                    }
                    None => {
                        self.commands.remove(id);
                        self.set_single(std::mem::take(key), value.take());
                    }
                },
                Place::Single => self.set_single(std::mem::take(key), value.take()),
                Place::Held(holder, rest) => {
                    let group = self.held.entry(*holder).or_insert_with(|| Group::Few(Vec::new()));
                    let before = group.len();
                    group.set(rest, value.take());
                    self.held_count = self.held_count + group.len() - before;
                }
            }
            false
        });
        self.ordered.write(writes);
    }

    fn set_single(&mut self, key: Vec<u8>, value: Option<Vec<u8>>) {
        match value {
            Some(value) => self.single.insert(key.into(), value.into()),
            None => self.single.remove(key.as_slice()),
        };
    }

    /// An entry that is not among the ordered ones.
    pub fn unordered(&self, key: &[u8]) -> Option<&[u8]> {
        match place(key) {
            Place::Command(id) => match self.commands.get(id) {
                Some(number) => Some(number),
                None => self.single.get(key).map(AsRef::as_ref),
            },
            Place::Single => self.single.get(key).map(AsRef::as_ref),
            Place::Held(holder, rest) => self.held.get(holder)?.get(rest),
            Place::Ordered => None,
        }
    }

    /// How many of them there are.
    pub fn unordered_count(&self) -> usize {
        self.commands.len() + self.single.len() + self.held_count
    }

    /// All others, in order.
    pub fn ordered(&self) -> &Memory {
        &self.ordered
    }

    /// Every entry, in no order.
    pub fn for_each(&self, visit: &mut dyn FnMut(&[u8], &[u8])) {
        self.ordered.iter().for_each(|(key, value)| visit(key, value));
        self.commands.iter().for_each(|(id, number)| visit(&[COMMAND, id].concat(), number));
        self.single.iter().for_each(|(key, value)| visit(key, value));
        for (holder, group) in &self.held {
            group.scan(&mut |rest, value| {
                visit(&[holder, rest].concat(), value);
                true
            });
        }
    }
}

impl Kv for ReplayState {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, KvError> {
        match place(key) {
            Place::Ordered => self.ordered.get(key),
            _ => Ok(self.unordered(key).map(<[u8]>::to_vec)),
        }
    }

    fn scan(&self, prefix: &[u8], visit: &mut dyn FnMut(&[u8], &[u8]) -> bool) -> Result<(), KvError> {
        if let Place::Held(holder, rest) = place(prefix) {
            if let Some(group) = self.held.get(holder) {
                group.scan(&mut |key, value| !key.starts_with(rest) || visit(&[holder, key].concat(), value));
            }
            return Ok(());
        }
        let among = |class: &[u8]| prefix.starts_with(class) || class.starts_with(prefix);
        if !SINGLE.iter().any(|class| among(class)) && !among(HELD) {
            return self.ordered.scan(prefix, visit);
        }
        // No rule scans these; one that did would have to see them all, in order.
        let mut all = BTreeMap::new();
        self.for_each(&mut |key, value| {
            if key.starts_with(prefix) {
                all.insert(key.to_vec(), value.to_vec());
            }
        });
        for (key, value) in &all {
            if !visit(key, value) {
                break;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn it_reads_like_the_registrys_own() {
        let mut writes: Vec<Write> = (0..50u8).map(|n| ([b"d/", &[n.wrapping_mul(77); 32][..]].concat(), Some(vec![n]))).collect();
        for key in ["a", "d", "d/short", "e", "l/x", "h", "w/short", "w", "x", "i/tag", "lh/x"] {
            writes.push((key.into(), Some(key.into())));
        }
        for (holder, series) in [(1, "a"), (1, "b"), (2, "a"), (1, "ab")] {
            writes.push(([b"w/", &[holder; 32][..], series.as_bytes()].concat(), Some(vec![1])));
        }
        for n in 0..MANY as u8 + 3 {
            writes.push(([b"w/", &[3; 32][..], &[n.wrapping_mul(91)]].concat(), Some(vec![n])));
        }
        writes.push(([b"w/", &[3; 32][..], &[91]].concat(), None));
        writes.push(([b"w/", &[3; 32][..], &[0]].concat(), Some(vec![7])));
        writes.push(([b"w/", &[1; 32][..], b"ab"].concat(), Some(vec![2])));
        writes.push(([&b"d/"[..], &[77; 32]].concat(), None));
        for (id, size) in [(200, 9), (201, 8), (202, 9), (203, 8), (204, 9), (205, 9), (204, 1), (205, 0)] {
            writes.push(([&b"d/"[..], &[id; 32]].concat(), Some(vec![id; size]).filter(|value| !value.is_empty())));
        }
        for id in [202, 203] {
            writes.push(([&b"d/"[..], &[id; 32]].concat(), Some(vec![7; 211 - usize::from(id)])));
        }
        writes.push(([b"w/", &[2; 32][..], b"a"].concat(), None));
        writes.push(([b"w/", &[2; 32][..], b"b"].concat(), None));
        let (mut ours, mut theirs) = (ReplayState::default(), Memory::new());
        ours.write(writes.clone());
        theirs.write(writes.clone());
        for (key, _) in &writes {
            assert_eq!(ours.get(key).unwrap(), theirs.get(key).unwrap());
            assert_eq!(ours.unordered(key).is_some(), !is_ordered(key) && theirs.get(key).unwrap().is_some());
        }
        assert_eq!(ours.unordered_count() + ours.ordered().iter().count(), theirs.iter().count());
        let (held, many) = ([b"w/", &[1; 32][..]].concat(), [b"w/", &[3; 32][..]].concat());
        let prefixes: [&[u8]; 12] =
            [&many, b"", b"d", b"d/", b"l/", b"d/short", b"x", b"w", b"w/", &held, &[&held[..], b"a"].concat(), b"lh/"];
        for prefix in prefixes {
            let all = |kv: &dyn Kv| {
                let mut out = Vec::new();
                kv.scan(prefix, &mut |k, v| {
                    out.push((k.to_vec(), v.to_vec()));
                    out.len() < 60
                })
                .unwrap();
                out
            };
            assert_eq!(all(&ours), all(&theirs), "{prefix:?}");
        }
    }
}
