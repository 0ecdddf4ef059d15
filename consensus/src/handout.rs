//! Committed entries on their way to the state machine.
//!
//! Raft hands out every entry that is committed and durable here, however far the state machine is behind. A follower that
//! catches up would so hold its whole backlog in memory. This hands on no more than a budget; what exceeds it is dropped
//! and read from the log again when there is room.

use std::collections::VecDeque;

use raft::eraftpb::Entry;

/// Invariant: `applied <= handed <= available`; entries in `(handed, available]` are committed, durable, and not handed on.
#[derive(Debug)]
pub(crate) struct Handout {
    applied: u64,
    handed: u64,
    available: u64,
    out: VecDeque<(u64, u64)>,
    out_bytes: u64,
    max_bytes: u64,
}

fn size(entry: &Entry) -> u64 {
    (entry.data.len() + entry.context.len()) as u64 + 32
}

impl Handout {
    pub fn new(applied: u64, max_bytes: u64) -> Self {
        Self { applied, handed: applied, available: applied, out: VecDeque::new(), out_bytes: 0, max_bytes }
    }

    /// What the state machine reported.
    pub fn applied(&self) -> u64 {
        self.applied
    }

    /// The state machine applied through `index`, by entries or by a snapshot. A smaller index than before is an old
    /// report, overtaken by a snapshot.
    pub fn report(&mut self, index: u64) {
        self.applied = self.applied.max(index);
        self.handed = self.handed.max(index);
        self.available = self.available.max(index);
        while let Some((_, bytes)) = self.out.pop_front_if(|(i, _)| *i <= index) {
            self.out_bytes -= bytes;
        }
    }

    /// A snapshot takes the place of all entries through `index`: none of them is handed out any more.
    pub fn skip(&mut self, index: u64) {
        self.handed = self.handed.max(index);
        self.available = self.available.max(index);
    }

    /// The range of entries to read from the log, if there is room for some.
    pub fn wanted(&self) -> Option<(u64, u64, u64)> {
        let room = self.max_bytes.saturating_sub(self.out_bytes);
        let open = self.handed < self.available && (room > 0 || self.out.is_empty());
        open.then_some((self.handed + 1, self.available + 1, room))
    }

    /// Raft says that these are committed and durable. Returns those to hand on now.
    pub fn offer(&mut self, entries: Vec<Entry>) -> Vec<Entry> {
        let Some(last) = entries.last().map(|e| e.index) else { return entries };
        self.available = self.available.max(last);
        self.take(entries)
    }

    /// Hands on what fits of entries read from the log, or of those just offered.
    pub fn take(&mut self, entries: Vec<Entry>) -> Vec<Entry> {
        let mut taken = Vec::with_capacity(entries.len());
        for entry in entries {
            let full = self.out_bytes >= self.max_bytes && !self.out.is_empty();
            if full || entry.index != self.handed + 1 {
                break;
            }
            self.handed = entry.index;
            self.out.push_back((entry.index, size(&entry)));
            self.out_bytes += size(&entry);
            taken.push(entry);
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(from: u64, to: u64) -> Vec<Entry> {
        (from..=to).map(|index| Entry { index, data: vec![0; 68], ..Entry::default() }).collect()
    }

    fn indexes(entries: &[Entry]) -> Vec<u64> {
        entries.iter().map(|e| e.index).collect()
    }

    #[test]
    fn keeps_to_its_budget_and_catches_up() {
        let mut handout = Handout::new(10, 250);
        assert_eq!(indexes(&handout.offer(entries(11, 20))), [11, 12, 13]);
        assert_eq!(handout.wanted(), None);
        assert_eq!(indexes(&handout.offer(entries(21, 22))), [0; 0]);
        handout.report(12);
        assert_eq!(handout.wanted(), Some((14, 23, 150)));
        assert_eq!(indexes(&handout.take(entries(14, 22))), [14, 15]);
        handout.report(9);
        assert_eq!(handout.applied(), 12);
        handout.skip(30);
        assert_eq!(handout.wanted(), None);
        handout.report(30);
        assert_eq!(indexes(&handout.offer(entries(31, 31))), [31]);
    }

    #[test]
    fn one_entry_always_fits() {
        let mut handout = Handout::new(0, 0);
        assert_eq!(indexes(&handout.offer(entries(1, 2))), [1]);
        handout.report(1);
        assert_eq!(handout.wanted(), Some((2, 3, 0)));
        assert_eq!(indexes(&handout.take(entries(2, 2))), [2]);
    }
}
