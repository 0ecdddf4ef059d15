//! The blocks on their way to one peer: Raft's appends, and its snapshot messages.
//!
//! Raft hears nothing of how fast a line is. It repeats at each heartbeat what a peer has not acknowledged, and goes on sending
//! ahead. On a line over which a block takes longer than that, the same block would be sent again and again. So what lies here
//! is bounded by bytes; the peer acknowledges each frame that came in whole, and no more are sent than a few ahead of that; and
//! what is on its way already is not taken a second time. Of an append that says more than that, the rest is taken: an append
//! remains one when entries are cut off its front.
//!
//! Invariants: what is covered is of the newest term and without gaps, so each part begins where the one before ends; beyond
//! [`MAX_BYTES`] there is never more than one message alone.

use crate::runtime::is_snapshot;
use raft::eraftpb::{Message, MessageType};
use std::collections::VecDeque;
use std::time::{Duration, Instant};
use vermilion_consensus::MAX_INFLIGHT_MESSAGES;

/// Bytes at which a frame is full; one larger message goes alone.
const FRAME_BYTES: usize = 1 << 20;
/// Unacknowledged bytes at which no further frame is sent: a line of 100 Mbit/s is kept busy over 80 ms.
const AHEAD_BYTES: usize = 1 << 20;
/// Unacknowledged frames at which no further one is sent.
pub(crate) const AHEAD: usize = 64;
/// Bytes that wait or are unacknowledged; one larger message is taken if there is nothing else. As many of the largest blocks
/// that are packed of several commands as Raft sends ahead.
const MAX_BYTES: usize = MAX_INFLIGHT_MESSAGES * (4 << 20) + (1 << 20);
/// What a message or an entry counts besides its data.
const OVERHEAD: usize = 128;
/// How long what a peer has taken in is not sent again: it checks signatures and writes before Raft hears of it.
const DIGESTS: Duration = Duration::from_secs(1);

/// Whether a message travels here, or with the small ones that must not wait.
pub(crate) fn is_bulk(message: &Message) -> bool {
    message.msg_type == MessageType::MsgAppend as i32 || is_snapshot(message)
}

/// An append's entries that are on their way, or have just come.
#[derive(Debug)]
struct Part {
    /// The number of the message that carries them.
    number: u64,
    /// The index behind which they begin.
    from: u64,
    /// The last index.
    to: u64,
    /// When the peer acknowledged them.
    came: Option<Instant>,
}

/// The blocks on their way to one peer.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    /// With their numbers.
    waiting: VecDeque<(u64, Message)>,
    /// The sizes of the frames that were sent and are not acknowledged, oldest first, with the numbers of their last messages.
    unacknowledged: VecDeque<(u64, usize)>,
    /// Bytes of both.
    bytes: usize,
    /// Messages that were ever taken.
    taken: u64,
    term: u64,
    /// Entries on their way, or just there, in order.
    covered: VecDeque<Part>,
    /// The highest commit index that was told with them.
    commit: u64,
}

fn size(message: &Message) -> usize {
    OVERHEAD + message.entries.iter().map(|entry| entry.data.len() + entry.context.len() + OVERHEAD).sum::<usize>()
}

impl Outbox {
    /// Takes a message, or what of it is not on its way. False if something was dropped: then Raft must be told.
    pub(crate) fn put(&mut self, mut message: Message, now: Instant) -> bool {
        self.retire(message.term);
        if message.term < self.term {
            // Of a leadership that is over: nobody misses it.
            return true;
        }
        if is_snapshot(&message) {
            self.forget();
            return self.push(message);
        }
        while self.covered.pop_front_if(|part| part.came.is_some_and(|at| now >= at + DIGESTS)).is_some() {}
        match (self.covered.front(), self.covered.back()) {
            (Some(first), Some(last)) if message.index >= first.from => {
                if message.index > last.to {
                    // Something between was dropped, and the peer would reject it.
                    return false;
                }
                let known = message.entries.iter().take_while(|entry| entry.index <= last.to).count();
                if let Some(last) = message.entries.drain(..known).next_back() {
                    (message.index, message.log_term) = (last.index, last.term);
                }
                if message.entries.is_empty() && message.commit <= self.commit {
                    return true;
                }
            }
            // The peer's log ends before what is on its way, which it rejects.
            _ => self.forget(),
        }
        let (from, to, commit) = (message.index, message.entries.last().map(|entry| entry.index), message.commit);
        if !self.push(message) {
            return false;
        }
        self.commit = self.commit.max(commit);
        if let Some(to) = to {
            self.covered.push_back(Part { number: self.taken, from, to, came: None });
        }
        true
    }

    fn forget(&mut self) {
        self.covered.clear();
        self.commit = 0;
    }

    fn push(&mut self, message: Message) -> bool {
        let bytes = size(&message);
        if self.bytes > 0 && self.bytes + bytes > MAX_BYTES {
            return false;
        }
        self.bytes += bytes;
        self.taken += 1;
        self.waiting.push_back((self.taken, message));
        true
    }

    /// This node says something of a term: what waits of earlier ones is not sent any more.
    pub(crate) fn retire(&mut self, term: u64) {
        if term > self.term {
            self.term = term;
            self.forget();
            self.bytes -= self.waiting.drain(..).map(|(_, message)| size(&message)).sum::<usize>();
        }
    }

    /// Whether nothing waits to be sent.
    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// The next frame's messages, if one may be sent now.
    pub(crate) fn frame(&mut self) -> Option<Vec<Message>> {
        let ahead: usize = self.unacknowledged.iter().map(|(_, bytes)| bytes).sum();
        if self.waiting.is_empty() || ahead >= AHEAD_BYTES || self.unacknowledged.len() >= AHEAD {
            return None;
        }
        let (mut messages, mut bytes, mut last) = (Vec::new(), 0, 0);
        while let Some((number, message)) = self.waiting.pop_front_if(|(_, m)| bytes == 0 || bytes + size(m) <= FRAME_BYTES) {
            bytes += size(&message);
            last = number;
            messages.push(message);
        }
        self.unacknowledged.push_back((last, bytes));
        Some(messages)
    }

    /// The peer has taken in the oldest frame. False if there was none.
    pub(crate) fn acknowledged(&mut self, now: Instant) -> bool {
        let Some((last, bytes)) = self.unacknowledged.pop_front() else { return false };
        self.bytes -= bytes;
        for part in self.covered.iter_mut().take_while(|part| part.number <= last) {
            part.came.get_or_insert(now);
        }
        true
    }

    /// The connection is lost, and with it whatever was on its way.
    pub(crate) fn lose(&mut self) {
        *self = Self { term: self.term, ..Self::default() };
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use raft::eraftpb::Entry;

    const BLOCK: usize = 4 << 20;

    /// An append of term 7 with entries of so many bytes behind an index.
    fn append(index: u64, commit: u64, blocks: &[usize]) -> Message {
        let entry = |(n, bytes): (u64, &usize)| Entry { index: n, term: 7, data: vec![1; *bytes], ..Entry::default() };
        let entries = (index + 1..).zip(blocks).map(entry).collect();
        Message { msg_type: MessageType::MsgAppend as i32, term: 7, log_term: 7, index, commit, entries, ..Message::default() }
    }

    /// What of each message is sent: behind which index, up to which.
    fn sent(outbox: &mut Outbox) -> Vec<(u64, u64)> {
        let said = |m: &Message| (m.index, m.entries.last().map_or(m.index, |e| e.index));
        outbox.frame().iter().flatten().map(said).collect()
    }

    #[test]
    fn what_is_on_its_way_is_not_sent_again() {
        let (mut outbox, now) = (Outbox::default(), Instant::now());
        assert!(outbox.put(append(10, 10, &[BLOCK]), now));
        assert_eq!(sent(&mut outbox), [(10, 11)]);
        // A probe repeats it at each heartbeat for as long as it takes, and with what came meanwhile.
        for _ in 0..100 {
            assert!(outbox.put(append(10, 10, &[BLOCK]), now));
        }
        assert!(outbox.is_empty());
        assert!(outbox.put(append(10, 10, &[BLOCK, 5]), now));
        // Nor is the next one sent before it is acknowledged.
        assert_eq!(sent(&mut outbox), []);
        assert!(outbox.acknowledged(now));
        assert_eq!(sent(&mut outbox), [(11, 12)], "the rest");
        // A commit index is news.
        assert!(outbox.put(append(12, 11, &[]), now) && outbox.put(append(12, 11, &[]), now));
        assert_eq!(sent(&mut outbox), [(12, 12)]);
        // It has come, and the peer is at work on it; then it is sent again, as it may have been dropped there.
        assert!(outbox.acknowledged(now) && outbox.acknowledged(now) && !outbox.acknowledged(now));
        assert!(outbox.put(append(10, 11, &[BLOCK]), now + DIGESTS / 2) && outbox.is_empty());
        assert!(outbox.put(append(10, 11, &[BLOCK]), now + DIGESTS));
        assert_eq!(sent(&mut outbox), [(10, 11)]);
        assert_eq!(outbox.bytes, size(&append(10, 11, &[BLOCK])));
    }

    #[test]
    fn a_peer_that_rejected_gets_what_lies_before_at_once() {
        let (mut outbox, now) = (Outbox::default(), Instant::now());
        assert!(outbox.put(append(20, 10, &[5, 5]), now));
        assert!(outbox.put(append(10, 10, &[5; 4]), now), "as it was told that the peer's log ends there");
        assert!(outbox.put(append(14, 10, &[5; 8]), now), "and what follows, though some of it was sent before");
        assert_eq!(sent(&mut outbox), [(20, 22), (10, 14), (14, 22)]);
    }

    #[test]
    fn it_is_bounded_by_bytes_and_what_lies_behind_a_gap_is_not_taken() {
        let (mut outbox, now) = (Outbox::default(), Instant::now());
        let taken = (0..100).take_while(|n| outbox.put(append(*n, 0, &[BLOCK]), now)).count() as u64;
        assert!((7..=9).contains(&taken) && outbox.bytes <= MAX_BYTES, "{taken}");
        assert!(!outbox.put(append(taken + 1, 0, &[5]), now), "it would be rejected");
        assert!(outbox.put(append(0, 0, &[5]), now), "a probe of what waits is no loss");
        // With room again it goes on where it was dropped.
        for n in 0..taken {
            assert_eq!(sent(&mut outbox), [(n, n + 1)]);
            assert!(outbox.acknowledged(now));
        }
        assert!(outbox.put(append(taken, 0, &[5]), now));
        // One that is larger than all room goes if it is alone.
        outbox.lose();
        assert!(outbox.put(append(0, 0, &[2 * MAX_BYTES]), now) && !outbox.put(append(1, 0, &[5]), now));
    }

    #[test]
    fn what_a_peer_dropped_is_sent_again_though_more_comes_all_the_time() {
        let (mut outbox, start) = (Outbox::default(), Instant::now());
        assert!(outbox.put(append(10, 10, &[BLOCK]), start));
        let mut again = Vec::new();
        for tick in 0..20 {
            let now = start + tick * DIGESTS / 10;
            // A probe at each heartbeat, with an entry more, and a commit index that others brought about.
            let more = vec![5; tick as usize];
            assert!(outbox.put(append(10, 10 + u64::from(tick), &[&[BLOCK][..], &more].concat()), now));
            again.extend(sent(&mut outbox).into_iter().filter(|(from, _)| *from == 10).map(|_| tick));
            while outbox.acknowledged(now) {}
        }
        assert_eq!(again, [0, 10]);
    }

    #[test]
    fn a_later_term_and_a_lost_connection_begin_anew() {
        let (mut outbox, now) = (Outbox::default(), Instant::now());
        assert!(outbox.put(append(10, 0, &[BLOCK]), now));
        outbox.retire(8);
        assert!(outbox.is_empty() && outbox.put(append(10, 0, &[5]), now), "nobody misses what is of a term that is over");
        assert!(outbox.is_empty() && outbox.bytes == 0);
        let later = || Message { term: 8, ..append(10, 0, &[5]) };
        assert!(outbox.put(later(), now));
        assert_eq!(sent(&mut outbox), [(10, 11)]);
        outbox.lose();
        assert!(!outbox.acknowledged(now) && outbox.put(later(), now));
        assert_eq!(sent(&mut outbox), [(10, 11)]);
    }

    #[test]
    fn small_ones_share_a_frame() {
        let (mut outbox, now) = (Outbox::default(), Instant::now());
        assert!((0..3000).all(|n| outbox.put(append(n, n, &[900]), now)));
        let frames = [sent(&mut outbox), sent(&mut outbox), sent(&mut outbox)].map(|frame| frame.len());
        assert!(frames[0] > 500 && frames[1] > 500 && frames[2] == 0, "{frames:?}: not further ahead of what is acknowledged");
    }
}
