//! Whom this node takes orders from.

use std::collections::{BTreeMap, BTreeSet};

use raft::eraftpb::{Message, MessageType};

use crate::{NodeId, StepError};

/// Refusals remembered at once. A group has a handful of nodes; the oldest term goes first.
const MAX_REFUSALS: usize = 64;

/// Leaders that were refused in a term, and nodes that the operator distrusts.
#[derive(Debug, Default)]
pub(crate) struct Trust {
    refused: BTreeMap<NodeId, u64>,
    distrusted: BTreeSet<NodeId>,
}

/// What only a leader sends.
fn leads(kind: MessageType) -> bool {
    use MessageType as T;
    matches!(kind, T::MsgAppend | T::MsgHeartbeat | T::MsgSnapshot | T::MsgTimeoutNow | T::MsgReadIndexResp)
}

/// What a candidate sends to become one.
fn stands(kind: MessageType) -> bool {
    matches!(kind, MessageType::MsgRequestVote | MessageType::MsgRequestPreVote)
}

impl Trust {
    /// Takes nothing more from this leader in this term, nor in an earlier one.
    pub fn refuse(&mut self, from: NodeId, term: u64) {
        let known = self.refused.entry(from).or_insert(term);
        *known = term.max(*known);
        if self.refused.len() > MAX_REFUSALS {
            let oldest = self.refused.iter().min_by_key(|(_, term)| **term).map(|(id, _)| *id);
            oldest.map(|id| self.refused.remove(&id));
        }
    }

    /// Sets or lifts the operator's distrust.
    pub fn distrust(&mut self, id: NodeId, on: bool) {
        if on {
            self.distrusted.insert(id);
        } else {
            self.distrusted.remove(&id);
        }
    }

    /// True if this node may not lead us in this term.
    pub fn bars(&self, from: NodeId, term: u64) -> bool {
        self.distrusted.contains(&from) || self.refused.get(&from).is_some_and(|refused| term <= *refused)
    }

    /// Lets a message pass, or says why not. A barred node's answers still count: it may follow us, it may not lead us. A
    /// refused leader may stand again, in a later term.
    pub fn admit(&self, message: &Message, kind: MessageType) -> Result<(), StepError> {
        let from = message.from;
        if (leads(kind) || stands(kind)) && self.distrusted.contains(&from) {
            return Err(StepError::Distrusted { from });
        }
        match self.refused.get(&from) {
            Some(term) if leads(kind) && message.term <= *term => Err(StepError::Refused { from, term: *term }),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: MessageType, from: NodeId, term: u64) -> (Message, MessageType) {
        (Message { from, term, ..Message::default() }, kind)
    }

    #[test]
    fn a_refused_leader_is_heard_again_in_the_next_term() {
        let mut trust = Trust::default();
        trust.refuse(2, 7);
        let check = |trust: &Trust, (m, kind): (Message, MessageType)| trust.admit(&m, kind);
        assert_eq!(check(&trust, message(MessageType::MsgHeartbeat, 2, 7)), Err(StepError::Refused { from: 2, term: 7 }));
        assert!(check(&trust, message(MessageType::MsgAppendResponse, 2, 7)).is_ok());
        assert!(check(&trust, message(MessageType::MsgRequestVote, 2, 8)).is_ok());
        assert!(check(&trust, message(MessageType::MsgAppend, 2, 8)).is_ok());
        assert!(check(&trust, message(MessageType::MsgAppend, 3, 7)).is_ok());
        trust.distrust(2, true);
        assert!(check(&trust, message(MessageType::MsgRequestVote, 2, 8)).is_err());
        assert!(check(&trust, message(MessageType::MsgAppendResponse, 2, 8)).is_ok());
        trust.distrust(2, false);
        assert!(check(&trust, message(MessageType::MsgAppend, 2, 8)).is_ok());
    }

    #[test]
    fn refusals_are_bounded() {
        let mut trust = Trust::default();
        for id in 0..1000 {
            trust.refuse(id, id);
        }
        assert_eq!(trust.refused.len(), MAX_REFUSALS);
        assert!(trust.bars(999, 999));
    }
}
