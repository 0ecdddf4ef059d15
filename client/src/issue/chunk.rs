//! Which rows go into one command: rows of one unit, in the file's order.
//!
//! Where chunks begin and end is a function of the file and of how many licences a command may have,
//! which its journal keeps: so the same file makes the same commands. A chunk closes when it has that
//! many rows, when it might grow beyond a submission's size, or when its oldest row has waited for
//! 4,096 further lines: reports come in the file's order, and nobody waits longer than that for a unit
//! that has few rows.

use std::collections::BTreeMap;
use vermilion_registry::content::Row;
use vermilion_registry::submission::MAX_SUBMISSION;

/// Lines that a chunk's oldest row waits for its chunk to fill, at most.
pub const WINDOW: u64 = 4096;
/// What the rows of one command may cost together: a submission, with room for its frame.
const MAX_COST: usize = MAX_SUBMISSION - (1 << 20);
/// What the rows of all open chunks may cost together.
const MAX_OPEN_COST: usize = 32 << 20;

/// A row with its number in the file.
#[derive(Clone, PartialEq, Debug)]
pub struct Member {
    /// The line's number, from 1.
    pub number: u64,
    /// The row.
    pub row: Row,
}

/// Rows of one unit for one command.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Chunk {
    /// USCC of the issuing unit that the rows name.
    pub unit: String,
    /// The rows, in the file's order.
    pub members: Vec<Member>,
    cost: usize,
}

impl Chunk {
    /// The number of the first row, which names the chunk.
    #[must_use]
    pub fn first(&self) -> u64 {
        self.members.first().map_or(0, |m| m.number)
    }

    /// The licences, less their versions, that the chunk is about. Two chunks under way at once
    /// have none in common: which of two equal rows comes first is the file's to say.
    #[must_use]
    pub fn series(&self) -> foldhash::HashSet<String> {
        let series = |m: &Member| m.row.identifier.rsplitn(3, '.').nth(2).unwrap_or(&m.row.identifier).to_owned();
        self.members.iter().map(series).collect()
    }
}

/// What a row may take in a submission, at most: its text in base64, for each member a salt and a
/// digest, and the fixed parts of item and keys.
#[must_use]
pub fn cost(line: &str) -> usize {
    let members = line.bytes().filter(|b| *b == b'"').count() / 2;
    line.len() * 4 / 3 + members * 80 + 1500
}

/// Rows on their way into chunks.
pub struct Chunker {
    items_max: usize,
    open: BTreeMap<String, Chunk>,
    open_cost: usize,
}

impl Chunker {
    /// For commands of so many licences at most.
    #[must_use]
    pub fn new(items_max: usize) -> Self {
        Self { items_max, open: BTreeMap::new(), open_cost: 0 }
    }

    /// Notes that the reader is at this line: chunks that have waited long enough close.
    pub fn pass(&mut self, number: u64) -> Vec<Chunk> {
        let mut closed = Vec::new();
        while let Some((first, unit)) = self.oldest()
            && (number.saturating_sub(first) >= WINDOW || self.open_cost > MAX_OPEN_COST)
        {
            let unit = unit.to_owned();
            closed.extend(self.close(&unit));
        }
        closed
    }

    /// Adds a row of this cost; the chunk that it fills, or has no room in, closes.
    pub fn add(&mut self, member: Member, cost: usize) -> Vec<Chunk> {
        let unit = member.row.authority_code.clone();
        let mut closed = Vec::new();
        if self.open.get(&unit).is_some_and(|c| c.cost + cost > MAX_COST) {
            closed.extend(self.close(&unit));
        }
        self.open_cost += cost;
        let chunk = self.open.entry(unit.clone()).or_insert_with(|| Chunk { unit: unit.clone(), ..Chunk::default() });
        chunk.cost += cost;
        chunk.members.push(member);
        if chunk.members.len() >= self.items_max {
            closed.extend(self.close(&unit));
        }
        closed
    }

    /// Closes what is open, the oldest first.
    pub fn finish(&mut self) -> Vec<Chunk> {
        let mut closed = Vec::new();
        while let Some((_, unit)) = self.oldest() {
            let unit = unit.to_owned();
            closed.extend(self.close(&unit));
        }
        closed
    }

    fn oldest(&self) -> Option<(u64, &str)> {
        self.open.values().map(|c| (c.first(), c.unit.as_str())).min()
    }

    fn close(&mut self, unit: &str) -> Option<Chunk> {
        let chunk = self.open.remove(unit)?;
        self.open_cost = self.open_cost.saturating_sub(chunk.cost);
        Some(chunk)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;
    use vermilion_registry::content::parse_row;
    use vermilion_registry::submission::MAX_ITEMS;

    pub const ROWS: &str = include_str!("../../../testnet/fixtures/licences.jsonl");

    pub fn chunks(text: &str) -> Vec<Chunk> {
        chunks_of(text, MAX_ITEMS)
    }

    fn chunks_of(text: &str, items_max: usize) -> Vec<Chunk> {
        let (mut chunker, mut out) = (Chunker::new(items_max), Vec::new());
        for (number, line) in (1..).zip(text.lines()) {
            out.extend(chunker.pass(number));
            out.extend(chunker.add(Member { number, row: parse_row(line).unwrap() }, cost(line)));
        }
        out.extend(chunker.finish());
        out
    }

    #[test]
    fn every_row_is_in_one_chunk_of_its_unit() {
        let chunks = chunks(ROWS);
        let mut numbers: Vec<u64> = chunks.iter().flat_map(|c| c.members.iter().map(|m| m.number)).collect();
        numbers.sort_unstable();
        assert_eq!(numbers, (1..=2000).collect::<Vec<_>>());
        for chunk in &chunks {
            assert!(chunk.members.len() <= MAX_ITEMS && chunk.members.is_sorted_by_key(|m| m.number));
            assert!(chunk.members.iter().all(|m| m.row.authority_code == chunk.unit));
        }
        assert_eq!(chunks.len(), 6, "one for each issuing unit of the sample");
    }

    #[test]
    fn no_chunk_is_larger_than_the_policy_has_it() {
        let chunks = chunks_of(ROWS, 7);
        assert!(chunks.iter().all(|c| (1..=7).contains(&c.members.len())));
        assert_eq!(chunks.iter().map(|c| c.members.len()).sum::<usize>(), 2000);
    }

    #[test]
    fn a_rare_unit_does_not_hold_up_the_reports() {
        let row = parse_row(ROWS.lines().next().unwrap()).unwrap();
        let mut other = row.clone();
        other.authority_code = "other".into();
        let mut chunker = Chunker::new(MAX_ITEMS);
        let mut closed = chunker.add(Member { number: 1, row: other }, 10);
        for number in 2..=WINDOW + 1 {
            assert!(closed.iter().all(|c| c.unit != "other"));
            closed.extend(chunker.pass(number));
            closed.extend(chunker.add(Member { number, row: row.clone() }, 10));
        }
        assert_eq!(closed.last().map(|c| c.unit.as_str()), Some("other"));
        assert_eq!(closed[0].members.len(), MAX_ITEMS);
    }

    #[test]
    fn costly_rows_close_a_chunk_early() {
        let row = parse_row(ROWS.lines().next().unwrap()).unwrap();
        let mut chunker = Chunker::new(MAX_ITEMS);
        let closed: Vec<Chunk> = (1..=100).flat_map(|number| chunker.add(Member { number, row: row.clone() }, 1 << 20)).collect();
        assert_eq!(closed[0].members.len(), MAX_COST >> 20);
    }

    proptest! {
        #[test]
        fn chunks_are_a_function_of_the_rows(units in proptest::collection::vec(0u8..4, 1..400)) {
            let row = parse_row(ROWS.lines().next().unwrap()).unwrap();
            let run = || {
                let (mut chunker, mut out) = (Chunker::new(MAX_ITEMS), Vec::new());
                for (number, unit) in (1..).zip(&units) {
                    let mut row = row.clone();
                    row.authority_code = unit.to_string();
                    out.extend(chunker.add(Member { number, row }, 1));
                }
                out.extend(chunker.finish());
                out
            };
            let first = run();
            prop_assert_eq!(&first, &run());
            prop_assert_eq!(first.iter().map(|c| c.members.len()).sum::<usize>(), units.len());
        }
    }
}
