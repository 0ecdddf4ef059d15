//! The time of blocks: this node's clock, but never ahead of what a majority of the voters' clocks read.
//!
//! A block whose time lies ahead of a follower's clock is not taken ([`crate::gate`]), and the leader would never hear why:
//! a clock that jumps forward for a second would stop the ledger for as long as the jump is wide. So nodes say the time in
//! what they send each other, and a leader that is ahead of the others writes theirs.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A leader's clock may be this far ahead of a majority's, in milliseconds: what messages take, with room. Below
/// [`crate::gate::MAX_AHEAD_MS`].
const TOLERANCE_MS: u64 = 2_000;
/// What was heard longer ago counts no more.
const HEARD_FOR: Duration = Duration::from_secs(10);
/// Clocks that are remembered at once.
const MAX_CLOCKS: usize = 64;

/// What the other nodes' clocks read when they were last heard, by Raft id.
#[derive(Debug, Default)]
pub struct Clocks {
    heard: Mutex<BTreeMap<u64, (u64, Instant)>>,
    /// The latest that this node's own clock ever read, and when.
    latest: Mutex<Option<(u64, Instant)>>,
}

impl Clocks {
    /// A node says the time, in Unix milliseconds; 0: it says none.
    pub fn hear(&self, from: u64, its_ms: u64, now: Instant) {
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        if its_ms != 0 && (heard.len() < MAX_CLOCKS || heard.contains_key(&from)) {
            heard.insert(from, (its_ms, now));
        }
    }

    /// What this node's own clock reads, or would read if it had never been set back since the process began: by this times
    /// of others are judged. Who took blocks of a time must go on taking them when the clocks are set right.
    pub fn steady(&self, own_ms: u64, now: Instant) -> u64 {
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        let counted =
            |(ms, at): (u64, Instant)| ms.saturating_add(u64::try_from(now.saturating_duration_since(at).as_millis()).unwrap_or(u64::MAX));
        let steady = latest.map_or(own_ms, counted).max(own_ms);
        *latest = Some((steady, now));
        steady
    }

    /// The time for the next block, by this node's clock `own_ms` and those of the voters that were heard lately; `own` is
    /// this node's id. Who was not heard is taken to agree with it.
    pub fn block_time(&self, own: u64, own_ms: u64, voters: &[u64], now: Instant) -> u64 {
        let heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        let reads = |id: &u64| match heard.get(id).filter(|_| *id != own) {
            // Counted on by the steady clock: this node's other one may have jumped since.
            Some((its_ms, at)) if now.saturating_duration_since(*at) < HEARD_FOR => {
                its_ms.saturating_add(u64::try_from(now.saturating_duration_since(*at).as_millis()).unwrap_or(u64::MAX))
            }
            _ => own_ms,
        };
        let mut clocks: Vec<u64> = voters.iter().map(reads).collect();
        clocks.sort_unstable_by(|a, b| b.cmp(a));
        // As many voters as make a majority read this or more.
        match clocks.get(clocks.len() / 2) {
            Some(most) if most.saturating_add(TOLERANCE_MS) < own_ms => *most,
            _ => own_ms,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_800_000_000_000;
    const VOTERS: [u64; 3] = [1, 2, 3];

    /// The block time of node 1 whose clock is `ahead` of the others', `later` seconds after it heard them.
    fn time(others: &[(u64, u64)], ahead: u64, later: u64, voters: &[u64]) -> u64 {
        let (clocks, start) = (Clocks::default(), Instant::now());
        for (id, its_ms) in others {
            clocks.hear(*id, *its_ms, start);
        }
        clocks.block_time(1, NOW + later * 1000 + ahead, voters, start + Duration::from_secs(later))
    }

    #[test]
    fn a_clock_that_jumped_forward_gives_way_to_the_majoritys() {
        let honest = [(2, NOW), (3, NOW + 10)];
        assert_eq!(time(&honest, 600_000, 1, &VOTERS), NOW + 1_010);
        assert_eq!(time(&honest, 1_500, 1, &VOTERS), NOW + 2_500, "within what messages take");
        // Behind the others it stays what it is; blocks never go back anyway.
        assert_eq!(time(&[(2, NOW + 60_000), (3, NOW + 60_000)], 0, 0, &VOTERS), NOW);
    }

    #[test]
    fn one_node_alone_moves_nothing() {
        for lie in [1, NOW - 1_000_000, NOW + 1_000_000, u64::MAX] {
            assert_eq!(time(&[(2, lie), (3, NOW)], 0, 0, &VOTERS), NOW, "{lie}");
            assert!((NOW..=NOW + 600_000).contains(&time(&[(2, lie), (3, NOW)], 600_000, 0, &VOTERS)), "{lie}");
        }
        assert_eq!(time(&[], 0, 0, &[1]), NOW);
        assert_eq!(time(&[(9, 5)], 0, 0, &VOTERS), NOW, "no voter");
    }

    #[test]
    fn a_clock_that_is_set_back_judges_as_before() {
        let (clocks, start) = (Clocks::default(), Instant::now());
        assert_eq!(clocks.steady(NOW + 3_600_000, start), NOW + 3_600_000);
        let later = start + Duration::from_secs(5);
        assert_eq!(clocks.steady(NOW + 5_000, later), NOW + 3_605_000);
        assert_eq!(clocks.steady(NOW + 9_000_000, later), NOW + 9_000_000);
    }

    #[test]
    fn who_was_not_heard_lately_is_not_counted_on() {
        let honest = [(2, NOW), (3, NOW)];
        assert_eq!(time(&honest, 600_000, 11, &VOTERS), NOW + 611_000);
    }
}
