//! Messages and membership changes as bytes.
//!
//! `raft` 0.7 generates its messages with prost 0.11, which this crate therefore names too; nothing outside it has to. A
//! message's bytes travel inside the transport's own message.

use raft::eraftpb::{ConfChange, ConfChangeSingle, ConfChangeTransition, ConfChangeType, ConfChangeV2, Entry, EntryType, Message};
use raft_prost::Message as _;

use crate::DecodeError;

/// A message's bytes.
pub fn encode(message: &Message) -> Vec<u8> {
    message.encode_to_vec()
}

/// The message of these bytes. It may still be nonsense: [`Driver::step`](crate::Driver::step) judges what it says.
pub fn decode(bytes: &[u8]) -> Result<Message, DecodeError> {
    Message::decode(bytes).map_err(|e| DecodeError(e.to_string()))
}

/// A raft entry's bytes, for a log store.
pub fn encode_entry(entry: &Entry) -> Vec<u8> {
    entry.encode_to_vec()
}

/// The raft entry of these bytes.
pub fn decode_entry(bytes: &[u8]) -> Result<Entry, DecodeError> {
    let entry = Entry::decode(bytes).map_err(|e| DecodeError(e.to_string()))?;
    match EntryType::from_i32(entry.entry_type) {
        Some(_) => Ok(entry),
        None => Err(DecodeError(format!("unknown entry type {}", entry.entry_type))),
    }
}

/// The membership change that an entry carries; `None` if it is no such entry.
///
/// An entry without data leaves a joint configuration: raft makes such entries itself.
pub fn conf_change(entry: &Entry) -> Result<Option<ConfChangeV2>, DecodeError> {
    let error = |e: raft_prost::DecodeError| DecodeError(e.to_string());
    let change = match EntryType::from_i32(entry.entry_type) {
        Some(EntryType::EntryNormal) => return Ok(None),
        Some(EntryType::EntryConfChangeV2) => ConfChangeV2::decode(entry.data.as_slice()).map_err(error)?,
        Some(EntryType::EntryConfChange) => {
            let old = ConfChange::decode(entry.data.as_slice()).map_err(error)?;
            let single = ConfChangeSingle { change_type: old.change_type, node_id: old.node_id };
            ConfChangeV2 { changes: vec![single], context: old.context, ..ConfChangeV2::default() }
        }
        None => return Err(DecodeError(format!("unknown entry type {}", entry.entry_type))),
    };
    known_values(&change)?;
    Ok(Some(change))
}

/// Raft panics when it reads an enumeration value that it doesn't know.
pub(crate) fn known_values(change: &ConfChangeV2) -> Result<(), DecodeError> {
    if ConfChangeTransition::from_i32(change.transition).is_none() {
        return Err(DecodeError(format!("unknown transition {}", change.transition)));
    }
    match change.changes.iter().find(|c| ConfChangeType::from_i32(c.change_type).is_none()) {
        Some(c) => Err(DecodeError(format!("unknown change type {}", c.change_type))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn messages_survive_the_trip() {
        let entry = Entry { term: 3, index: 9, data: vec![1, 2], ..Entry::default() };
        let message = Message { from: 1, to: 2, term: 3, entries: vec![entry.clone()], ..Message::default() };
        assert_eq!(decode(&encode(&message)).unwrap(), message);
        assert_eq!(decode_entry(&encode_entry(&entry)).unwrap(), entry);
        assert!(decode(&[0xff; 7]).is_err());
    }

    #[test]
    fn unknown_values_are_errors() {
        let odd = Entry { entry_type: 7, ..Entry::default() };
        assert!(decode_entry(&encode_entry(&odd)).is_err());
        assert!(conf_change(&odd).is_err());
        let single = ConfChangeSingle { change_type: 9, node_id: 1 };
        let change = ConfChangeV2 { changes: vec![single], ..ConfChangeV2::default() };
        let mut entry = Entry { data: change.encode_to_vec(), ..Entry::default() };
        assert_eq!(conf_change(&entry).unwrap(), None);
        entry.set_entry_type(EntryType::EntryConfChangeV2);
        assert!(conf_change(&entry).is_err());
        entry.data.clear();
        assert!(conf_change(&entry).unwrap().unwrap().leave_joint());
    }
}
