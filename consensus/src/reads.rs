//! Linearizable reads, many to one question.
//!
//! A read may be answered once the state machine has applied through an index that was the leader's commit index at some
//! moment after the read began, confirmed by a majority. Asking costs a round of heartbeats, so reads that wait share one:
//! while one question is out, those that arrive wait for the next.

use std::collections::{BTreeSet, VecDeque};

use crate::SubmitError;

/// The reads that wait here, and the question that is out.
///
/// Invariant: a token that arrived after a question was first asked is never answered by it.
#[derive(Debug)]
pub(crate) struct Reads {
    prefix: [u8; 16],
    asked: u64,
    waiting: VecDeque<u64>,
    out: Option<Question>,
    retry_ticks: usize,
    max: usize,
}

#[derive(Debug)]
struct Question {
    context: [u8; 24],
    tokens: Vec<u64>,
    ticks: usize,
    due: bool,
}

impl Reads {
    /// The context of a question names node, run and number: raft matches answers by it, on the leader and here, and an
    /// answer to an earlier run's question would be too old.
    pub fn new(id: u64, seed: u64, retry_ticks: usize, max: usize) -> Self {
        let mut prefix = [0; 16];
        prefix[..8].copy_from_slice(&id.to_be_bytes());
        prefix[8..].copy_from_slice(&seed.to_be_bytes());
        Self { prefix, asked: 0, waiting: VecDeque::new(), out: None, retry_ticks, max }
    }

    pub fn len(&self) -> usize {
        self.waiting.len() + self.out.as_ref().map_or(0, |q| q.tokens.len())
    }

    pub fn push(&mut self, token: u64) -> Result<(), SubmitError> {
        if self.len() >= self.max {
            return Err(SubmitError::Busy);
        }
        self.waiting.push_back(token);
        Ok(())
    }

    /// Forgets reads whose callers gave up.
    pub fn expire(&mut self, gone: &BTreeSet<u64>) {
        self.waiting.retain(|token| !gone.contains(token));
        if let Some(question) = &mut self.out {
            question.tokens.retain(|token| !gone.contains(token));
            // Nobody waits any more: let the next reads ask their own.
            if question.tokens.is_empty() {
                self.out = None;
            }
        }
    }

    /// Counts towards asking again: the question or its answer may have been lost.
    pub fn tick(&mut self) {
        if let Some(question) = &mut self.out {
            question.ticks += 1;
            if question.ticks >= self.retry_ticks {
                question.due = true;
            }
        }
    }

    /// Asks again at the next chance: there is another leader, who knows nothing of the question.
    pub fn leader_changed(&mut self) {
        if let Some(question) = &mut self.out {
            question.due = true;
        }
    }

    /// What to ask now, if anything: a new question for those that wait, or the old one again. Repeating keeps the
    /// context, so that a late first answer still counts.
    pub fn ask(&mut self) -> Option<Vec<u8>> {
        if self.out.is_none() && !self.waiting.is_empty() {
            self.asked += 1;
            let mut context = [0; 24];
            context[..16].copy_from_slice(&self.prefix);
            context[16..].copy_from_slice(&self.asked.to_be_bytes());
            self.out = Some(Question { context, tokens: self.waiting.drain(..).collect(), ticks: 0, due: true });
        }
        let question = self.out.as_mut().filter(|q| q.due)?;
        question.due = false;
        question.ticks = 0;
        Some(question.context.to_vec())
    }

    /// True if there are reads that the question that is out, if any, doesn't cover.
    pub fn waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// The reads that an answer with this context lets go.
    pub fn answered(&mut self, context: &[u8]) -> Vec<u64> {
        match self.out.take_if(|q| q.context == context) {
            Some(question) => question.tokens,
            None => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn one_question_at_a_time() {
        let mut reads = Reads::new(1, 9, 3, 4);
        assert_eq!(reads.ask(), None);
        reads.push(1).unwrap();
        reads.push(2).unwrap();
        let first = reads.ask().unwrap();
        reads.push(3).unwrap();
        assert_eq!(reads.ask(), None);
        for _ in 0..3 {
            reads.tick();
        }
        assert_eq!(reads.ask(), Some(first.clone()));
        reads.leader_changed();
        assert_eq!(reads.ask(), Some(first.clone()));
        assert_eq!(reads.answered(b"another run's"), [0; 0]);
        assert_eq!(reads.answered(&first), [1, 2]);
        assert_eq!(reads.answered(&first), [0; 0]);
        let second = reads.ask().unwrap();
        assert_ne!(first, second);
        assert_eq!(reads.answered(&second), [3]);
    }

    #[test]
    fn bounded_and_expired() {
        let mut reads = Reads::new(1, 9, 3, 2);
        reads.push(1).unwrap();
        let context = reads.ask().unwrap();
        reads.push(2).unwrap();
        assert_eq!(reads.push(3), Err(SubmitError::Busy));
        reads.expire(&BTreeSet::from([1, 9]));
        reads.push(3).unwrap();
        assert_eq!(reads.answered(&context), [0; 0]);
        let context = reads.ask().unwrap();
        assert_eq!(reads.answered(&context), [2, 3]);
        assert_eq!(reads.len(), 0);
    }
}
