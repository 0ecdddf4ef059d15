//! What a node's answers mean for whoever sent a command, from the first attempt on.

use crate::error::ClientError;
use std::time::Duration;
use vermilion_crypto::Digest;
use vermilion_proto::{CommandState, ItemRefusal, Outcome, SubmitReply};
use vermilion_registry::reason::{Reason, Refusal};

/// Answers "internal" or the like from all nodes, after which the answer is believed.
const PASSING_TRIES: u32 = 6;

/// A recorded command.
#[derive(Clone, Debug, PartialEq)]
pub struct Recorded {
    /// The command's id.
    pub id: Digest,
    /// Its record's number.
    pub seq: u64,
    /// Its block's time.
    pub time_ms: u64,
    /// Its record's hash.
    pub record_hash: Vec<u8>,
    /// What became of it.
    pub outcome: Outcome,
    /// What exactly was wrong, where the rules refused it and the node that applied it says so: the record does not.
    pub detail: String,
}

impl Recorded {
    /// From the reply that says so.
    pub(crate) fn of(id: Digest, reply: SubmitReply) -> Self {
        let SubmitReply { seq, time_ms, record_hash, outcome, detail, .. } = reply;
        Self { id, seq, time_ms, record_hash, outcome: outcome.unwrap_or_default(), detail }
    }

    /// The record if the rules took the command, else their refusal.
    pub fn accepted(self) -> Result<Self, ClientError> {
        match self.outcome.code {
            0 => Ok(self),
            code => Err(ClientError::RefusedInRecord { refusal: refusal_of_number(code, self.detail), id: self.id, seq: self.seq }),
        }
    }
}

/// What became of a submission.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// It is recorded, for ever.
    Recorded(Recorded),
    /// The door refused it, and nothing of it had been sent before: nothing is recorded. Items are named where they were the
    /// cause.
    RefusedAtDoor {
        /// Why.
        refusal: Refusal,
        /// Which items, by position.
        items: Vec<ItemRefusal>,
    },
    /// Its not-after passed without a record: it never will be recorded.
    Invalid,
}

impl Answer {
    /// The record, or the refusal of whoever refused.
    pub fn recorded(self) -> Result<Recorded, ClientError> {
        match self {
            Self::Recorded(recorded) => Ok(recorded),
            Self::RefusedAtDoor { refusal, .. } => Err(refusal.into()),
            Self::Invalid => Err(Reason::Expired.into()),
        }
    }

    /// The record of an accepted command.
    pub fn accepted(self) -> Result<Recorded, ClientError> {
        self.recorded()?.accepted()
    }
}

/// A refusal from its number; a number of a later version keeps its digits in the detail.
#[must_use]
pub fn refusal_of_number(code: u32, detail: String) -> Refusal {
    match Reason::from_number(code) {
        Some(reason) => Refusal::new(reason, detail),
        None => Refusal::new(Reason::NotYetHonoured, format!("reason {code} is of a later version {detail}").trim().to_owned()),
    }
}

/// An attempt that ended without an answer.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct NoAnswer {
    /// Why, in words.
    pub why: String,
    /// Whether the command may have come through all the same.
    pub sent: bool,
}

/// What to do about the node that answered so.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Turn {
    /// Ask it again.
    Stay,
    /// Ask another.
    Elsewhere,
    /// Ask another, and leave it alone for a moment.
    Rest,
}

/// What a reply means for whoever sent.
#[derive(Debug, PartialEq)]
pub(crate) enum Settled {
    Done(Answer),
    /// Not known or not taken: the same again, after this at least.
    Again {
        why: String,
        after: Duration,
        turn: Turn,
    },
}

/// What was heard of one command so far.
///
/// Once an attempt ended without an answer the command may lie in some node's log, and may be recorded when that node leads. A
/// door that refuses it then says only that it did not come in *there*: no refusal settles anything any more, but a record does,
/// or the blocks' time past its not-after.
#[derive(Debug, Default)]
pub(crate) struct Hearing {
    open: bool,
    passing: u32,
}

impl Hearing {
    /// The command may have come through, and nobody said what became of it.
    pub fn lost(&mut self) {
        self.open = true;
    }

    /// Whether an earlier attempt may have come through, so that a refusal settles nothing.
    pub fn is_open(&self) -> bool {
        self.open
    }

    /// Takes the next attempt's answer.
    pub fn settle(&mut self, id: Digest, answer: Result<SubmitReply, NoAnswer>) -> Settled {
        let again = |why: String, turn| Settled::Again { why, after: Duration::ZERO, turn };
        let reply = match answer {
            Ok(reply) => reply,
            Err(NoAnswer { why, sent }) => {
                self.open |= sent;
                return again(why, Turn::Rest);
            }
        };
        let after = Duration::from_millis(u64::from(reply.retry_after_ms));
        match reply.state() {
            CommandState::Committed => Settled::Done(Answer::Recorded(Recorded::of(id, reply))),
            CommandState::Invalid => Settled::Done(Answer::Invalid),
            // Busy is not taken: it stands in nobody's log by this attempt.
            CommandState::Busy => {
                let why = Reason::from_number(reply.code).unwrap_or(Reason::Busy);
                let turn = if matches!(why, Reason::NoLeader | Reason::NoVaultKey) { Turn::Elsewhere } else { Turn::Stay };
                Settled::Again { why: why.english().into(), after, turn }
            }
            // A node that does not know may be cut off from those that do, or out of the ledger.
            state @ (CommandState::Pending | CommandState::Unknown) => {
                self.open = true;
                let turn = if state == CommandState::Unknown { Turn::Elsewhere } else { Turn::Stay };
                Settled::Again { why: Reason::Unknown.english().into(), after, turn }
            }
            CommandState::RefusedAtDoor => {
                let refusal = refusal_of_number(reply.code, reply.detail);
                let passing = refusal.reason == Reason::Internal && self.passing < PASSING_TRIES;
                if self.open || passing {
                    self.passing += 1;
                    return again(refusal.to_string(), Turn::Elsewhere);
                }
                Settled::Done(Answer::RefusedAtDoor { refusal, items: reply.door_refused })
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::panic)]
mod tests {
    use super::*;

    fn reply(state: CommandState, code: u32) -> Result<SubmitReply, NoAnswer> {
        Ok(SubmitReply { state: state.into(), code, retry_after_ms: 200, ..Default::default() })
    }

    fn refused(reason: Reason) -> Result<SubmitReply, NoAnswer> {
        reply(CommandState::RefusedAtDoor, reason.number())
    }

    fn no_answer(sent: bool) -> Result<SubmitReply, NoAnswer> {
        Err(NoAnswer { why: "the connection is lost".into(), sent })
    }

    /// How the last of these answers settles the command.
    fn after(answers: impl IntoIterator<Item = Result<SubmitReply, NoAnswer>>) -> Settled {
        let mut hearing = Hearing::default();
        let settled = answers.into_iter().map(|answer| hearing.settle([1; 32], answer));
        settled.last().unwrap_or_else(|| panic!("no answer"))
    }

    #[test]
    fn replies_settle() {
        assert!(matches!(after([reply(CommandState::Committed, 0)]), Settled::Done(Answer::Recorded(_))));
        assert_eq!(after([reply(CommandState::Invalid, Reason::Expired.number())]), Settled::Done(Answer::Invalid));
        let busy = Settled::Again { why: Reason::NoLeader.english().into(), after: Duration::from_millis(200), turn: Turn::Elsewhere };
        assert_eq!(after([reply(CommandState::Busy, Reason::NoLeader.number())]), busy);
        assert!(matches!(after([reply(CommandState::Busy, Reason::Busy.number())]), Settled::Again { turn: Turn::Stay, .. }));
        // Whatever reason another version gives for not knowing.
        for code in [0, Reason::Unknown.number(), Reason::Expired.number(), 9999] {
            assert!(matches!(after([reply(CommandState::Unknown, code)]), Settled::Again { turn: Turn::Elsewhere, .. }), "{code}");
        }
        assert!(matches!(after([reply(CommandState::Pending, 0)]), Settled::Again { turn: Turn::Stay, .. }));
        let Settled::Done(Answer::RefusedAtDoor { refusal, .. }) = after([reply(CommandState::RefusedAtDoor, 9999)]) else { panic!() };
        assert!(refusal.detail.contains("9999"));
    }

    #[test]
    fn a_node_that_fails_is_believed_in_the_end() {
        let failing = |times| after((0..times).map(|_| refused(Reason::Internal)));
        assert!(matches!(failing(PASSING_TRIES), Settled::Again { turn: Turn::Elsewhere, .. }));
        assert!(matches!(failing(PASSING_TRIES + 1), Settled::Done(Answer::RefusedAtDoor { .. })));
    }

    #[test]
    fn a_fresh_command_that_a_door_refuses_is_refused() {
        let before = [no_answer(false), reply(CommandState::Busy, Reason::Busy.number()), refused(Reason::Internal)];
        let refusal = refused(Reason::UnknownSigner);
        assert!(matches!(after(before.into_iter().chain([refusal])), Settled::Done(Answer::RefusedAtDoor { .. })));
    }

    #[test]
    fn what_may_have_come_through_before_no_door_refuses() {
        let before = [no_answer(true), reply(CommandState::Unknown, Reason::Unknown.number()), reply(CommandState::Pending, 0)];
        for first in before {
            for reason in [Reason::Expired, Reason::UnknownSigner, Reason::Schema] {
                let settled = after([first.clone(), refused(reason), refused(reason)]);
                assert!(matches!(settled, Settled::Again { turn: Turn::Elsewhere, .. }), "{first:?}, {reason:?}: {settled:?}");
            }
            assert!(matches!(after((0..20).map(|_| refused(Reason::Internal)).chain([first.clone()])), Settled::Again { .. }));
            // A record and the blocks' time do settle it.
            let recorded = after([first.clone(), refused(Reason::Expired), reply(CommandState::Committed, 0)]);
            assert!(matches!(recorded, Settled::Done(Answer::Recorded(_))));
            assert_eq!(after([first, reply(CommandState::Invalid, 0)]), Settled::Done(Answer::Invalid));
        }
    }
}
