//! How Raft entries, hard state and membership are kept: one version byte, then fixed fields.

use crate::StorageError;
use raft::eraftpb::{ConfState, Entry, EntryType, HardState, Snapshot};

const VERSION: u8 = 1;

/// `version 1, type 1, term 8, index 8, context length 4, context, data`.
pub fn encode(entry: &Entry) -> Vec<u8> {
    let mut out = Vec::with_capacity(22 + entry.context.len() + entry.data.len());
    out.push(VERSION);
    out.push(entry.entry_type as u8);
    out.extend_from_slice(&entry.term.to_be_bytes());
    out.extend_from_slice(&entry.index.to_be_bytes());
    out.extend_from_slice(&(entry.context.len() as u32).to_be_bytes());
    out.extend_from_slice(&entry.context);
    out.extend_from_slice(&entry.data);
    out
}

/// An entry as it is stored, its long parts not copied.
pub struct Stored<'a> {
    pub term: u64,
    pub index: u64,
    pub data: &'a [u8],
    entry_type: EntryType,
    context: &'a [u8],
}

impl Stored<'_> {
    pub fn to_entry(&self) -> Entry {
        let mut entry = Entry { term: self.term, index: self.index, ..Default::default() };
        entry.set_entry_type(self.entry_type);
        entry.context = self.context.to_vec();
        entry.data = self.data.to_vec();
        entry
    }
}

pub fn parse(bytes: &[u8]) -> Result<Stored<'_>, StorageError> {
    let bad = || StorageError::damaged("a Raft log entry does not decode");
    if bytes.len() < 22 || bytes[0] != VERSION {
        return Err(bad());
    }
    let entry_type = EntryType::from_i32(i32::from(bytes[1])).ok_or_else(bad)?;
    let context_len = u32::from_be_bytes(bytes[18..22].try_into().map_err(|_| bad())?) as usize;
    let (context, data) = bytes[22..].split_at_checked(context_len).ok_or_else(bad)?;
    Ok(Stored { term: number(&bytes[2..10])?, index: number(&bytes[10..18])?, data, entry_type, context })
}

pub fn decode(bytes: &[u8]) -> Result<Entry, StorageError> {
    Ok(parse(bytes)?.to_entry())
}

pub fn encode_numbers(numbers: &[u64]) -> Vec<u8> {
    let mut out = vec![VERSION];
    for n in numbers {
        out.extend_from_slice(&n.to_be_bytes());
    }
    out
}

pub fn decode_numbers(bytes: &[u8]) -> Result<Vec<u64>, StorageError> {
    match bytes {
        [VERSION, rest @ ..] if rest.len().is_multiple_of(8) => rest.chunks(8).map(number).collect(),
        _ => Err(StorageError::damaged("a number in the meta column does not decode")),
    }
}

pub fn encode_hard_state(state: &HardState) -> Vec<u8> {
    encode_numbers(&[state.term, state.vote, state.commit])
}

pub fn decode_hard_state(bytes: &[u8]) -> Result<HardState, StorageError> {
    match decode_numbers(bytes)?[..] {
        [term, vote, commit] => Ok(HardState { term, vote, commit }),
        _ => Err(StorageError::damaged("the Raft hard state does not decode")),
    }
}

/// Four lists, each after its length, then auto-leave.
pub fn encode_conf_state(state: &ConfState) -> Vec<u8> {
    let mut numbers = Vec::new();
    for list in [&state.voters, &state.learners, &state.voters_outgoing, &state.learners_next] {
        numbers.push(list.len() as u64);
        numbers.extend_from_slice(list);
    }
    numbers.push(u64::from(state.auto_leave));
    encode_numbers(&numbers)
}

pub fn decode_conf_state(bytes: &[u8]) -> Result<ConfState, StorageError> {
    let bad = || StorageError::damaged("the Raft membership does not decode");
    let mut numbers = decode_numbers(bytes)?.into_iter();
    let mut list = || -> Result<Vec<u64>, StorageError> {
        let count = numbers.next().ok_or_else(bad)?;
        (0..count).map(|_| numbers.next().ok_or_else(bad)).collect()
    };
    let (voters, learners, voters_outgoing, learners_next) = (list()?, list()?, list()?, list()?);
    let auto_leave = match (numbers.next(), numbers.next()) {
        (Some(leave @ (0 | 1)), None) => leave == 1,
        _ => return Err(bad()),
    };
    Ok(ConfState { voters, learners, voters_outgoing, learners_next, auto_leave })
}

/// `version 1, index 8, term 8, length of the membership 4, membership, data`.
pub fn encode_snapshot(snapshot: &Snapshot) -> Vec<u8> {
    let meta = snapshot.get_metadata();
    let conf = encode_conf_state(meta.get_conf_state());
    let mut out = encode_numbers(&[meta.index, meta.term]);
    out.extend_from_slice(&(conf.len() as u32).to_be_bytes());
    out.extend_from_slice(&conf);
    out.extend_from_slice(&snapshot.data);
    out
}

pub fn decode_snapshot(bytes: &[u8]) -> Result<Snapshot, StorageError> {
    let bad = || StorageError::damaged("the snapshot that is being installed does not decode");
    let (fixed, rest) = bytes.split_at_checked(21).ok_or_else(bad)?;
    let [index, term] = decode_numbers(&fixed[..17])?[..] else { return Err(bad()) };
    let length = u32::from_be_bytes(fixed[17..].try_into().map_err(|_| bad())?) as usize;
    let (conf, data) = rest.split_at_checked(length).ok_or_else(bad)?;
    let mut snapshot = Snapshot { data: data.to_vec(), ..Default::default() };
    let meta = snapshot.mut_metadata();
    (meta.index, meta.term) = (index, term);
    meta.set_conf_state(decode_conf_state(conf)?);
    Ok(snapshot)
}

fn number(bytes: &[u8]) -> Result<u64, StorageError> {
    let array = bytes.try_into().map_err(|_| StorageError::damaged("a stored number is cut short"))?;
    Ok(u64::from_be_bytes(array))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn entries_round_trip(term: u64, index: u64, context: Vec<u8>, data: Vec<u8>, kind in 0i32..3) {
            let mut entry = Entry { term, index, context, data, ..Default::default() };
            entry.set_entry_type(EntryType::from_i32(kind).unwrap());
            prop_assert_eq!(decode(&encode(&entry)).unwrap(), entry);
        }

        #[test]
        fn any_bytes_decode_or_fail_clearly(bytes: Vec<u8>) {
            let _ = decode(&bytes);
            let _ = decode_hard_state(&bytes);
            let _ = decode_conf_state(&bytes);
            let _ = decode_snapshot(&bytes);
        }
    }

    #[test]
    fn a_snapshot_round_trips() {
        let mut snapshot = Snapshot { data: vec![1, 2], ..Default::default() };
        snapshot.mut_metadata().index = 9;
        snapshot.mut_metadata().set_conf_state(ConfState { voters: vec![1], ..Default::default() });
        assert_eq!(decode_snapshot(&encode_snapshot(&snapshot)).unwrap(), snapshot);
    }

    #[test]
    fn membership_round_trips() {
        let state =
            ConfState { voters: vec![1, 2, 3], learners: vec![4], voters_outgoing: vec![], learners_next: vec![5], auto_leave: true };
        assert_eq!(decode_conf_state(&encode_conf_state(&state)).unwrap(), state);
    }
}
