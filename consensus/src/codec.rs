//! Messages and entries as bytes.
//!
//! `raft` 0.7 generates its messages with prost 0.11, which this crate therefore names too; nothing outside it has to. A
//! message's bytes travel inside the transport's own message.

use bytes::Bytes;
use raft::eraftpb::{Entry, EntryType, Message};
use raft_prost::Message as _;

use crate::DecodeError;

/// A message's bytes.
pub fn encode(message: &Message) -> Bytes {
    message.encode_to_vec().into()
}

/// The message of these bytes. It may still be nonsense: [`Driver::step`](crate::Driver::step) judges what it says.
pub fn decode(bytes: &Bytes) -> Result<Message, DecodeError> {
    // Of a slice each entry's data would be copied twice.
    Message::decode(bytes.clone()).map_err(|e| DecodeError(e.to_string()))
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
        assert!(decode(&Bytes::from_static(&[0xff; 7])).is_err());
    }

    #[test]
    fn unknown_values_are_errors() {
        let odd = Entry { entry_type: 7, ..Entry::default() };
        assert!(decode_entry(&encode_entry(&odd)).is_err());
    }
}
