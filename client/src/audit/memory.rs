//! The state of a replay. Most of it is one entry for each command, licence, identifier and holder;
//! these are only ever looked up by themselves, or by holder, so they stand in hash maps. Everything
//! else is the registry's own in-memory state, in order.
//!
//! Up to a bound of bytes all of it lies in memory. Beyond, whatever there is one of for each command, licence,
//! earlier version, change of status, identifier or holder's licence is put aside ([`Aside`]), all of it at once:
//! what is in memory from then on is newer. What stays is what a city has few of, and a status chunk for every 512
//! licences.

use super::aside::Aside;
use super::group::Group;
use super::room::Room;
use foldhash::quality::RandomState;
use smallvec::SmallVec;
use std::collections::{BTreeMap, HashMap, btree_map};
use vermilion_registry::kv::{Memory, Overlay, Write};
use vermilion_registry::{Kv, KvError};
use vermilion_storage::{Row, ScratchError, ScratchRows};

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
/// Before earlier versions and changes of status: in order with the rest as long as they are in memory.
const EARLIER: [&[u8]; 2] = [b"lh/", b"lv/"];

/// As many bytes of a key lie where it is compared.
pub const INLINE: usize = 64;
/// A key's bytes. Nearly all keys are shorter, and lie where they are compared: what is looked up a million
/// times should not be fetched from as many places.
pub type Key = SmallVec<[u8; INLINE]>;

/// Bytes that so many bytes take, as an allocator gives them: by steps of 16, and of an eighth from some size on.
pub fn allocated(bytes: usize) -> usize {
    let rounded = bytes.next_multiple_of(16);
    rounded + if rounded > 128 { rounded / 8 } else { 0 }
}

/// Bytes that a key takes beside itself.
pub fn key_bytes(len: usize) -> usize {
    if len > INLINE { allocated(len) } else { 0 }
}

/// What an entry takes in an ordered map, beside key and value: two vectors, in nodes that are three quarters full.
const ORDERED_BYTES: usize = 64;

/// Entries that mostly come before the bound is looked at again: those of some blocks.
const SOON: usize = 4096;

/// Bytes that a table takes; of one that is about to be made anew at twice the size, with the one that takes its place.
fn table_bytes<K, V>(table: &HashMap<K, V, RandomState>) -> usize {
    let capacity = table.capacity();
    // A table is a power of two, and seven eighths full at most; each place has a byte of control.
    let buckets = if capacity == 0 { 0 } else { (capacity + capacity / 7).next_power_of_two() };
    let bytes = buckets * (size_of::<(K, V)>() + 1);
    if table.len() + SOON > capacity { 3 * bytes } else { bytes }
}

/// The state of a replay.
pub struct ReplayState {
    room: Room,
    ordered: Memory,
    commands: HashMap<[u8; 32], [u8; NUMBER], RandomState>,
    single: HashMap<Key, Box<[u8]>, RandomState>,
    held: HashMap<[u8; HOLDER], Group, RandomState>,
    held_count: usize,
    /// Bytes that entries which may be put aside take outside of the tables.
    outside: usize,
    aside: Option<Aside>,
}

/// Where an entry is kept.
enum Place<'a> {
    /// If its value has the size that commands' have, else among the single ones.
    Command(&'a [u8; 32]),
    Single,
    Held(&'a [u8; HOLDER], &'a [u8]),
    /// Among the ordered ones, until it is put aside.
    Earlier,
    /// Among the ordered ones, always.
    Ordered,
}

fn place(key: &[u8]) -> Place<'_> {
    if let Some(id) = key.strip_prefix(COMMAND).and_then(|id| id.try_into().ok()) {
        Place::Command(id)
    } else if SINGLE.iter().any(|prefix| key.starts_with(prefix)) {
        Place::Single
    } else if let Some((holder, rest)) = key.split_first_chunk().filter(|_| key.starts_with(HELD)) {
        Place::Held(holder, rest)
    } else if EARLIER.iter().any(|prefix| key.starts_with(prefix)) {
        Place::Earlier
    } else {
        Place::Ordered
    }
}

/// Whether an entry is among the ordered ones while nothing is put aside.
fn is_ordered(key: &[u8]) -> bool {
    matches!(place(key), Place::Ordered | Place::Earlier)
}

impl ReplayState {
    /// An empty one.
    #[must_use]
    pub fn new(room: &Room) -> Self {
        Self {
            room: room.clone(),
            ordered: Memory::new(),
            commands: HashMap::default(),
            single: HashMap::default(),
            held: HashMap::default(),
            held_count: 0,
            outside: 0,
            aside: None,
        }
    }

    /// Takes a block's writes, and puts entries aside if they are too many. After an error some are lost.
    pub fn write(&mut self, mut writes: Vec<Write>) -> Result<(), ScratchError> {
        writes.retain_mut(|(key, value)| {
            let at = place(key);
            if let Some(aside) = &mut self.aside
                && !matches!(at, Place::Ordered)
            {
                aside.note(key, value.is_none());
            }
            match at {
                Place::Ordered => return true,
                Place::Earlier => {
                    self.outside += value.as_ref().map_or(0, |value| allocated(key.len()) + allocated(value.len()) + ORDERED_BYTES);
                    return true;
                }
                Place::Command(id) => match value.as_deref().and_then(|value| <&[u8; NUMBER]>::try_from(value).ok()) {
                    Some(number) => {
                        self.commands.insert(*id, *number);
                        self.remove_single(key);
                    }
                    None => {
                        self.commands.remove(id);
                        self.set_single(std::mem::take(key), value.take());
                    }
                },
                Place::Single => self.set_single(std::mem::take(key), value.take()),
                Place::Held(holder, rest) => {
                    let group = self.held.entry(*holder).or_default();
                    let (before, bytes) = (group.len(), group.bytes());
                    group.set(rest, value.take());
                    self.held_count = self.held_count + group.len() - before;
                    self.outside = self.outside + group.bytes() - bytes;
                }
            }
            false
        });
        self.ordered.write(writes);
        let room = if self.aside.is_some() { self.room.bytes / 2 } else { self.room.bytes };
        if self.bytes() > room { self.put_aside() } else { Ok(()) }
    }

    fn set_single(&mut self, key: Vec<u8>, value: Option<Vec<u8>>) {
        let Some(value) = value else { return self.remove_single(&key) };
        let (new, name) = (allocated(value.len()), key_bytes(key.len()));
        let before = self.single.insert(key.into(), value.into()).map(|old| allocated(old.len()));
        self.outside = self.outside + new - before.unwrap_or(0) + if before.is_none() { name } else { 0 };
    }

    fn remove_single(&mut self, key: &[u8]) {
        if let Some(old) = self.single.remove(key) {
            self.outside -= allocated(old.len()) + key_bytes(key.len());
        }
    }

    /// Bytes that entries in memory take that may be put aside.
    fn bytes(&self) -> usize {
        let tables = table_bytes(&self.commands) + table_bytes(&self.single) + table_bytes(&self.held);
        tables + self.outside + self.aside.as_ref().map_or(0, Aside::bytes)
    }

    /// Puts every entry aside that may be.
    fn put_aside(&mut self) -> Result<(), ScratchError> {
        let aside = match &mut self.aside {
            Some(aside) => aside,
            None => self.aside.insert(Aside::begin(&self.room)?),
        };
        let (commands, single, held) =
            (std::mem::take(&mut self.commands), std::mem::take(&mut self.single), std::mem::take(&mut self.held));
        (self.held_count, self.outside) = (0, 0);
        let mut earlier = Vec::new();
        aside.put(|out| {
            for (id, number) in commands {
                out.set(&[COMMAND, &id].concat(), Some(&number))?;
            }
            for (key, value) in single {
                out.set(&key, Some(&value))?;
            }
            for (holder, group) in held {
                every(|visit| group.scan(visit), |rest, value| out.set(&[&holder, rest].concat(), Some(value)))?;
            }
            for prefix in EARLIER {
                every(
                    |visit| _ = self.ordered.scan(prefix, visit),
                    |key, value| {
                        earlier.push((key.to_vec(), None));
                        out.set(key, Some(value))
                    },
                )?;
            }
            Ok(())
        })?;
        self.ordered.write(earlier);
        Ok(())
    }

    /// Puts the rest aside too, if anything is: then [`ReplayState::listed`] lists everything.
    pub fn settle(&mut self) -> Result<(), ScratchError> {
        if self.aside.is_some() { self.put_aside() } else { Ok(()) }
    }

    /// Whether entries are put aside.
    #[must_use]
    pub fn has_aside(&self) -> bool {
        self.aside.is_some()
    }

    /// Gives back all that may be put aside. Of what stands always in memory nothing is lost.
    pub fn release(&mut self) {
        self.aside = None;
        (self.commands, self.single, self.held) = Default::default();
        (self.held_count, self.outside) = (0, 0);
    }

    /// An entry in memory that is not among the ordered ones.
    pub fn unordered(&self, key: &[u8]) -> Option<&[u8]> {
        match place(key) {
            Place::Command(id) => match self.commands.get(id) {
                Some(number) => Some(number),
                None => self.single.get(key).map(AsRef::as_ref),
            },
            Place::Single => self.single.get(key).map(AsRef::as_ref),
            Place::Held(holder, rest) => self.held.get(holder)?.get(rest),
            Place::Earlier | Place::Ordered => None,
        }
    }

    /// How many of them there are.
    pub fn unordered_count(&self) -> usize {
        self.commands.len() + self.single.len() + self.held_count
    }

    /// Whether an entry is among the [`ReplayState::listed`].
    pub fn is_listed(&self, key: &[u8]) -> bool {
        self.aside.is_some() || is_ordered(key)
    }

    /// From a key on, in order, the entries that stand in order: those always in memory, and those put aside. Nothing is in
    /// memory that may be put aside but is not, if anything is: see [`ReplayState::settle`].
    pub fn listed(&self, from: &[u8]) -> Listed<'_> {
        let mut ordered = self.ordered.from(from);
        Listed { next: ordered.next(), ordered, aside: self.aside.as_ref().map(|aside| aside.rows(from)) }
    }

    /// Every entry in memory, in no order.
    fn for_each_in_memory(&self, visit: &mut dyn FnMut(&[u8], &[u8])) {
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

    /// Every entry, in no order.
    pub fn for_each(&self, visit: &mut dyn FnMut(&[u8], &[u8])) -> Result<(), ScratchError> {
        self.for_each_in_memory(visit);
        let Some(aside) = &self.aside else { return Ok(()) };
        let mut rows = aside.rows(b"");
        while let Some((key, value)) = rows.current()? {
            let is_newer = match place(key) {
                Place::Earlier => matches!(self.ordered.get(key), Ok(Some(_))),
                _ => self.unordered(key).is_some(),
            };
            if !is_newer && !aside.is_gone(key) {
                visit(key, value);
            }
            rows.advance();
        }
        Ok(())
    }

    /// Visits what may be put aside and is under a prefix, as it is in memory and aside together.
    fn scan_both(&self, aside: &Aside, prefix: &[u8], visit: &mut dyn FnMut(&[u8], &[u8]) -> bool) -> Result<(), KvError> {
        let mut newer = Overlay::new(aside.below());
        aside.gone(prefix).for_each(|key| newer.put(key.to_vec(), None));
        let mut put = |key: &[u8], value: &[u8]| newer.put(key.to_vec(), Some(value.to_vec()));
        match place(prefix) {
            Place::Held(holder, rest) => {
                if let Some(group) = self.held.get(holder) {
                    group.scan(&mut |key, value| {
                        if key.starts_with(rest) {
                            put(&[holder, key].concat(), value);
                        }
                        true
                    });
                }
            }
            Place::Earlier => self.ordered.scan(prefix, &mut |key, value| {
                put(key, value);
                true
            })?,
            // No rule scans these; one that did would have to see them all, in order.
            _ => self.for_each_in_memory(&mut |key, value| {
                if key.starts_with(prefix) {
                    put(key, value);
                }
            }),
        }
        newer.scan(prefix, visit)
    }
}

/// Hands each entry on until one is not taken.
fn every<E>(scan: impl FnOnce(&mut dyn FnMut(&[u8], &[u8]) -> bool), mut take: impl FnMut(&[u8], &[u8]) -> Result<(), E>) -> Result<(), E> {
    let mut taken = Ok(());
    scan(&mut |key, value| {
        taken = take(key, value);
        taken.is_ok()
    });
    taken
}

/// Entries in order of keys.
pub struct Listed<'a> {
    next: Option<(&'a Vec<u8>, &'a Vec<u8>)>,
    ordered: btree_map::Range<'a, Vec<u8>, Vec<u8>>,
    aside: Option<ScratchRows<'a>>,
}

impl Listed<'_> {
    /// The entry where one is; `None` behind the last.
    pub fn current(&self) -> Result<Option<Row<'_>>, ScratchError> {
        let aside = self.put_aside()?;
        let ordered = self.next.map(|(key, value)| (key.as_slice(), value.as_slice()));
        Ok(match (ordered, aside) {
            (Some(ordered), Some(aside)) => Some(if ordered.0 < aside.0 { ordered } else { aside }),
            (one, other) => one.or(other),
        })
    }

    fn put_aside(&self) -> Result<Option<Row<'_>>, ScratchError> {
        Ok(self.aside.as_ref().map(ScratchRows::current).transpose()?.flatten())
    }

    /// Goes on to the next.
    pub fn advance(&mut self) -> Result<(), ScratchError> {
        let from_memory = match (self.next, self.put_aside()?) {
            (Some((key, _)), Some((aside, _))) => key.as_slice() < aside,
            (next, _) => next.is_some(),
        };
        if from_memory {
            self.next = self.ordered.next();
        } else if let Some(rows) = &mut self.aside {
            rows.advance();
        }
        Ok(())
    }
}

impl Kv for ReplayState {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, KvError> {
        let found = match place(key) {
            Place::Ordered => return self.ordered.get(key),
            Place::Earlier => self.ordered.get(key)?,
            _ => self.unordered(key).map(<[u8]>::to_vec),
        };
        match (found, &self.aside) {
            (None, Some(aside)) => Ok(aside.value(key)?),
            (found, _) => Ok(found),
        }
    }

    fn scan(&self, prefix: &[u8], visit: &mut dyn FnMut(&[u8], &[u8]) -> bool) -> Result<(), KvError> {
        let among = |class: &[u8]| prefix.starts_with(class) || class.starts_with(prefix);
        let in_tables = SINGLE.iter().any(|class| among(class)) || among(HELD);
        if let Some(aside) = &self.aside
            && (in_tables || EARLIER.iter().any(|class| among(class)))
        {
            return self.scan_both(aside, prefix, visit);
        }
        if let Place::Held(holder, rest) = place(prefix) {
            if let Some(group) = self.held.get(holder) {
                group.scan(&mut |key, value| !key.starts_with(rest) || visit(&[holder, key].concat(), value));
            }
            return Ok(());
        }
        if !in_tables {
            return self.ordered.scan(prefix, visit);
        }
        // As above: no rule does.
        let mut all = BTreeMap::new();
        self.for_each_in_memory(&mut |key, value| {
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
mod tests;
