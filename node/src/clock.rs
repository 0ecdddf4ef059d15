//! The time of blocks: this node's clock, but never ahead of what a majority of the voters' clocks read.
//!
//! A block whose time lies ahead of a follower's clock is not taken ([`crate::gate`]), and the leader would never hear why:
//! a clock that jumps forward for a second would stop the ledger for as long as the jump is wide. So nodes say the time in
//! what they send each other, and a leader that is ahead of the others writes theirs. Who was not heard takes no block, and so
//! it counts for nobody's clock.

use crate::gate::MAX_AHEAD_MS;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A leader's clock may be this far ahead of a majority's, in milliseconds: what messages take, with room. Below
/// [`MAX_AHEAD_MS`].
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

    /// The time for the next block, by this node's clock `own_ms` and those of the voters; `own` is this node's id.
    ///
    /// The voters that were heard lately count. If they are no majority, a block commits once others are heard again: then what
    /// they read when they were last heard counts, however long ago. Of whom nothing was ever heard, nothing is known.
    pub fn block_time(&self, own: u64, own_ms: u64, voters: &[u64], now: Instant) -> u64 {
        let most = |within| {
            let mut clocks: Vec<u64> =
                voters.iter().filter_map(|id| if *id == own { Some(own_ms) } else { self.reads(*id, within, now) }).collect();
            clocks.sort_unstable_by(|a, b| b.cmp(a));
            // As many voters as make a majority read this or more; none if there are not as many.
            clocks.get(voters.len() / 2).copied()
        };
        match most(HEARD_FOR).or_else(|| most(Duration::MAX)) {
            Some(most) if most.saturating_add(TOLERANCE_MS) < own_ms => most,
            _ => own_ms,
        }
    }

    /// Whether as many of the other voters as can elect a leader among themselves hold a block of this time for one from the
    /// future: they drop it, again and again, for as long as this node sends it.
    pub fn is_refused(&self, time_ms: u64, own: u64, voters: &[u64], now: Instant) -> bool {
        let refuses =
            |id: &&u64| **id != own && self.reads(**id, HEARD_FOR, now).is_some_and(|its_ms| its_ms.saturating_add(MAX_AHEAD_MS) < time_ms);
        voters.iter().filter(refuses).count() > voters.len() / 2
    }

    /// What a node's clock reads now, if it was heard within this time. Counted on by the steady clock: this node's other one may
    /// have jumped since.
    fn reads(&self, id: u64, within: Duration, now: Instant) -> Option<u64> {
        let heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        let (its_ms, at) = heard.get(&id)?;
        let ago = now.saturating_duration_since(*at);
        (ago < within).then(|| its_ms.saturating_add(u64::try_from(ago.as_millis()).unwrap_or(u64::MAX)))
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
    fn who_was_not_heard_does_not_agree_with_a_clock_that_jumped() {
        // One of three is down: a block needs the other, whose clock says what it takes.
        assert_eq!(time(&[(2, NOW)], 600_000, 1, &VOTERS), NOW + 1_000);
        assert_eq!(time(&[(2, NOW)], 0, 1, &VOTERS), NOW + 1_000);
        // Two of five are down, and then three.
        let five = [1, 2, 3, 4, 5];
        assert_eq!(time(&[(2, NOW), (3, NOW + 10)], 600_000, 1, &five), NOW + 1_000);
        assert_eq!(time(&[(2, NOW)], 600_000, 1, &five), NOW + 601_000, "of whom nothing was ever heard, nothing is known");
        // Cut off from both: whoever comes back first has to take what was packed meanwhile.
        assert_eq!(time(&[(2, NOW), (3, NOW + 10)], 600_000, 3_600, &VOTERS), NOW + 3_600_010);
    }

    #[test]
    fn one_that_is_heard_goes_before_one_that_was() {
        let (clocks, start) = (Clocks::default(), Instant::now());
        clocks.hear(3, NOW + 600_000, start);
        let later = start + HEARD_FOR;
        clocks.hear(2, NOW + 10_000, later);
        assert_eq!(clocks.block_time(1, NOW + 610_000, &VOTERS, later), NOW + 10_000, "node 3 is down, and its clock was wrong too");
    }

    #[test]
    fn a_block_is_refused_where_those_who_drop_it_can_elect_a_leader() {
        let (clocks, now) = (Clocks::default(), Instant::now());
        clocks.hear(2, NOW, now);
        let ahead = NOW + MAX_AHEAD_MS + 1;
        assert!(!clocks.is_refused(ahead, 1, &VOTERS, now), "without node 3 nobody else can be elected");
        clocks.hear(3, NOW, now);
        assert!(clocks.is_refused(ahead, 1, &VOTERS, now));
        assert!(!clocks.is_refused(ahead - 1, 1, &VOTERS, now), "a time that they take");
        assert!(!clocks.is_refused(ahead, 1, &[1, 2, 3, 4], now) && !clocks.is_refused(ahead, 1, &[1], now));
        assert!(!clocks.is_refused(ahead, 1, &VOTERS, now + HEARD_FOR), "their clocks have come so far, or they are gone");
    }
}
