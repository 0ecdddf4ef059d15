//! What a message must be, whatever this node holds.
//!
//! Raft trusts its peers: on a message that no correct peer sends it panics, and so would stop an honest node at a liar's
//! will. Each check names what raft 0.7 would do without it. What depends on this node's log and term is in `guard`.

use std::collections::BTreeSet;

use raft::eraftpb::{ConfState, EntryType, Message, MessageType, Snapshot};

use crate::config::MAX_READ_CONTEXT;
use crate::{NodeId, StepError, change_of};

/// Indexes and terms beyond this are lies, and adding one to them must not overflow: raft is compiled with overflow checks.
const MAX_NUMBER: u64 = 1 << 62;

/// Checks a message's form and returns its kind.
pub(crate) fn form(message: &Message, own: NodeId) -> Result<MessageType, StepError> {
    use MessageType as T;
    let malformed = |what| Err(StepError::Malformed(what));
    // get_msg_type panics on an unknown value.
    let Some(kind) = MessageType::from_i32(message.msg_type) else {
        return malformed("unknown message type");
    };
    match kind {
        T::MsgHup | T::MsgBeat | T::MsgUnreachable | T::MsgSnapStatus | T::MsgCheckQuorum => {
            return malformed("a local message from outside");
        }
        // Forwarded proposals and transfers: commands are routed above raft, transfers are asked of the leader itself.
        // An empty proposal panics, and so does a forwarded message that carries a term.
        T::MsgPropose | T::MsgTransferLeader => return malformed("a forwarded request"),
        _ => {}
    }
    if message.to != own {
        return malformed("addressed to another node");
    }
    if message.from == 0 || message.from == own {
        return malformed("impossible sender");
    }
    // Term 0 means "local" to raft: such a message skips all comparisons of terms, and its answer panics.
    if (message.term == 0) != (kind == T::MsgReadIndex) {
        return malformed("missing or unexpected term");
    }
    let numbers = [message.term, message.log_term, message.index, message.commit, message.commit_term, message.reject_hint];
    if numbers.iter().any(|n| *n > MAX_NUMBER) {
        return malformed("number out of range");
    }
    // A follower that asks for a snapshot at will makes the leader build one, and panic if its store has none so recent.
    if message.request_snapshot != 0 {
        return malformed("request for a snapshot");
    }
    match kind {
        T::MsgAppend => append(message)?,
        T::MsgSnapshot => match &message.snapshot {
            Some(snap) => snapshot(snap, message.term)?,
            None => return malformed("no snapshot"),
        },
        // Raft takes the first entry of either without looking whether there is one.
        T::MsgReadIndex | T::MsgReadIndexResp => match message.entries.as_slice() {
            [entry] if entry.data.len() <= MAX_READ_CONTEXT => {}
            _ => return malformed("not one short read context"),
        },
        _ => {}
    }
    if message.context.len() > MAX_READ_CONTEXT {
        return malformed("context too long");
    }
    let carries = matches!(kind, T::MsgAppend | T::MsgReadIndex | T::MsgReadIndexResp);
    if (!carries && !message.entries.is_empty()) || (kind != T::MsgSnapshot && message.snapshot.is_some()) {
        return malformed("carries what its kind does not");
    }
    Ok(kind)
}

/// Entries must follow the place they are anchored at, one by one, in terms that never fall.
fn append(message: &Message) -> Result<(), StepError> {
    let malformed = |what| Err(StepError::Malformed(what));
    // An anchor of term 0 matches every index beyond the log's end, and the append there panics.
    if (message.index == 0) != (message.log_term == 0) || message.log_term > message.term {
        return malformed("impossible anchor");
    }
    let (mut index, mut term) = (message.index, message.log_term.max(1));
    for entry in &message.entries {
        index += 1;
        if entry.index != index {
            return malformed("entries are not consecutive");
        }
        // An entry of term 0 beyond the end counts as present; committing it panics.
        if entry.term < term || entry.term > message.term {
            return malformed("entry of an impossible term");
        }
        term = entry.term;
        match EntryType::from_i32(entry.entry_type) {
            Some(EntryType::EntryNormal) => {}
            Some(_) if change_of(entry).is_ok() => {}
            _ => return malformed("entry of an unknown type or content"),
        }
    }
    Ok(())
}

/// A snapshot must have a place and a configuration that raft can restore: it panics on any other.
pub(crate) fn snapshot(snapshot: &Snapshot, term: u64) -> Result<(), StepError> {
    let malformed = |what| Err(StepError::Malformed(what));
    let Some(metadata) = &snapshot.metadata else {
        return malformed("snapshot without metadata");
    };
    if metadata.index == 0 || metadata.index > MAX_NUMBER || metadata.term == 0 || metadata.term > term {
        return malformed("snapshot at an impossible place");
    }
    match &metadata.conf_state {
        // Changes are single ones here: nobody is ever between two configurations.
        Some(state) if restorable(state) && state.voters_outgoing.is_empty() => Ok(()),
        _ => malformed("snapshot with an impossible configuration"),
    }
}

/// True if raft, replaying the state as changes, arrives at the same state.
pub(crate) fn restorable(state: &ConfState) -> bool {
    fn set(ids: &[u64]) -> Option<BTreeSet<u64>> {
        let set: BTreeSet<u64> = ids.iter().copied().collect();
        (set.len() == ids.len() && !set.contains(&0)).then_some(set)
    }
    let sets = (set(&state.voters), set(&state.learners), set(&state.voters_outgoing), set(&state.learners_next));
    let (Some(voters), Some(learners), Some(outgoing), Some(next)) = sets else {
        return false;
    };
    !voters.is_empty()
        && learners.is_disjoint(&voters)
        && learners.is_disjoint(&outgoing)
        && learners.is_disjoint(&next)
        && next.is_disjoint(&voters)
        && next.is_subset(&outgoing)
        && (!state.auto_leave || !outgoing.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use raft::eraftpb::Entry;

    fn append_of(index: u64, log_term: u64, entries: &[(u64, u64)]) -> Message {
        let entries = entries.iter().map(|(index, term)| Entry { index: *index, term: *term, ..Entry::default() }).collect();
        let mut message = Message { from: 2, to: 1, term: 5, index, log_term, entries, ..Message::default() };
        message.set_msg_type(MessageType::MsgAppend);
        message
    }

    #[test]
    fn appends() {
        assert!(form(&append_of(0, 0, &[(1, 1), (2, 5)]), 1).is_ok());
        assert!(form(&append_of(3, 2, &[]), 1).is_ok());
        for wrong in [
            append_of(3, 0, &[]),
            append_of(0, 2, &[]),
            append_of(3, 6, &[]),
            append_of(3, 2, &[(5, 2)]),
            append_of(3, 2, &[(4, 1)]),
            append_of(3, 2, &[(4, 6)]),
            append_of(0, 0, &[(1, 0)]),
            append_of(u64::MAX, 2, &[(0, 2)]),
            Message { term: 0, ..append_of(3, 2, &[]) },
            Message { from: 1, ..append_of(3, 2, &[]) },
            Message { to: 3, ..append_of(3, 2, &[]) },
            Message { msg_type: 99, ..append_of(3, 2, &[]) },
            Message { request_snapshot: 4, ..append_of(3, 2, &[]) },
        ] {
            assert!(matches!(form(&wrong, 1), Err(StepError::Malformed(_))), "{wrong:?}");
        }
    }

    #[test]
    fn configurations() {
        let state = |voters: &[u64], learners: &[u64], outgoing: &[u64], next: &[u64]| ConfState {
            voters: voters.to_vec(),
            learners: learners.to_vec(),
            voters_outgoing: outgoing.to_vec(),
            learners_next: next.to_vec(),
            auto_leave: false,
        };
        assert!(restorable(&state(&[1, 2, 3], &[4], &[], &[])));
        assert!(restorable(&state(&[1, 2], &[5], &[1, 2, 4], &[4])));
        for wrong in [
            state(&[], &[4], &[], &[]),
            state(&[1, 1], &[], &[], &[]),
            state(&[0], &[], &[], &[]),
            state(&[1], &[1], &[], &[]),
            state(&[1], &[], &[], &[2]),
            state(&[1], &[4], &[1, 4], &[]),
            ConfState { auto_leave: true, ..state(&[1], &[], &[], &[]) },
        ] {
            assert!(!restorable(&wrong), "{wrong:?}");
        }
    }
}
