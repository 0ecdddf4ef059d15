//! The time of blocks: this node's clock, but neither ahead of what a majority of the voters' clocks read nor behind it.
//!
//! A block whose time lies ahead of a follower's clock is not taken ([`crate::gate`]), and the leader would never hear why:
//! a clock that jumps forward for a second would stop the ledger for as long as the jump is wide. One that falls behind would
//! hold the ledger's time where it is, and have valid commands refused for ever as of the future. So nodes say the time to each
//! other every few seconds, and a leader that is apart from the others writes theirs. Who was not heard takes no block, and so
//! it counts for nobody's clock.
//!
//! A node whose clock a majority without it contradicts takes theirs for the time wherever it judges by one, says so, is not
//! ready, and hands leadership over. No single node can bring that about, and none can that are no majority. Nor does silence
//! end it: the clock is right again when a majority with it says so, or one without it no longer contradicts.

use crate::gate::MAX_AHEAD_MS;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A leader's clock may be this far from a majority's, in milliseconds: what messages take, with room. Below
/// [`MAX_AHEAD_MS`].
const TOLERANCE_MS: u64 = 2_000;
/// How often a node says the time to the others: followers would hear their leader's clock alone, and an idle node nobody's.
pub(crate) const SAY_EVERY: Duration = Duration::from_secs(2);
/// What was heard longer ago counts no more.
const HEARD_FOR: Duration = Duration::from_secs(10);
/// Clocks that are remembered at once.
const MAX_CLOCKS: usize = 64;

/// What the other voters' clocks say of a node's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// As many as make a majority without it are later by more than [`MAX_AHEAD_MS`], or earlier; the majority's time.
    Against(u64),
    /// A majority was heard and is not against it, or agrees with it.
    With,
    /// Too few were heard lately to say either.
    Unheard,
}

/// What the other nodes' clocks read when they were last heard, by Raft id.
#[derive(Debug, Default)]
pub struct Clocks {
    heard: Mutex<BTreeMap<u64, (u64, Instant)>>,
    /// The latest time that [`Clocks::steady`] was told, and when.
    latest: Mutex<Option<(u64, Instant)>>,
    /// Whether this node has said that its clock is apart from the majority's.
    is_apart: AtomicBool,
}

impl Clocks {
    /// A node says the time, in Unix milliseconds; 0: it says none.
    pub fn hear(&self, from: u64, its_ms: u64, now: Instant) {
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        // Ids are never given again: room for newcomers is where somebody left.
        if heard.len() >= MAX_CLOCKS {
            heard.retain(|_, (_, at)| now.saturating_duration_since(*at) < HEARD_FOR);
        }
        if its_ms != 0 && (heard.len() < MAX_CLOCKS || heard.contains_key(&from)) {
            heard.insert(from, (its_ms, now));
        }
    }

    /// The latest time that was told here, counted on: what this node's clock, or the majority's where that is later, would
    /// read if neither had been set back since the process began. By this times of others are judged. Who took blocks of a time must go on taking them when the clocks are set right.
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
    /// they read when they were last heard counts, however long ago, and only to keep the block from lying ahead of it. Of whom
    /// nothing was ever heard, nothing is known.
    pub fn block_time(&self, own: u64, own_ms: u64, voters: &[u64], now: Instant) -> u64 {
        match self.most(HEARD_FOR, own, own_ms, voters, now) {
            Some(most) if most.abs_diff(own_ms) > TOLERANCE_MS => most,
            Some(_) => own_ms,
            None => {
                let most = self.most(Duration::MAX, own, own_ms, voters, now);
                most.filter(|most| most.saturating_add(TOLERANCE_MS) < own_ms).unwrap_or(own_ms)
            }
        }
    }

    /// The latest time that the clocks of a majority of the voters read or are past, of those heard within this time; none if
    /// they are no majority.
    fn most(&self, within: Duration, own: u64, own_ms: u64, voters: &[u64], now: Instant) -> Option<u64> {
        let reads = |id: &u64| if *id == own { Some(own_ms) } else { self.reads(*id, within, now) };
        let mut clocks: Vec<u64> = voters.iter().filter_map(reads).collect();
        clocks.sort_unstable_by(|a, b| b.cmp(a));
        clocks.get(voters.len() / 2).copied()
    }

    /// What the other voters' clocks say of this node's.
    pub fn verdict(&self, own: u64, own_ms: u64, voters: &[u64], now: Instant) -> Verdict {
        let others: Vec<u64> = voters.iter().filter(|id| **id != own).filter_map(|id| self.reads(*id, HEARD_FOR, now)).collect();
        let later = others.iter().filter(|its_ms| **its_ms > own_ms.saturating_add(MAX_AHEAD_MS)).count();
        let earlier = others.iter().filter(|its_ms| its_ms.saturating_add(MAX_AHEAD_MS) < own_ms).count();
        let agree = others.len() - later - earlier + usize::from(voters.contains(&own));
        let majority = voters.len() / 2 + 1;
        match self.most(HEARD_FOR, own, own_ms, voters, now) {
            Some(most) if later >= majority || earlier >= majority => Verdict::Against(most),
            _ if others.len() >= majority || agree >= majority => Verdict::With,
            _ => Verdict::Unheard,
        }
    }

    /// The time as far as this node can tell: its own clock's, unless the majority is against that. Once it was, and as long as
    /// too few are heard to say that it no longer is, by what their clocks read last.
    pub fn time(&self, own: u64, own_ms: u64, voters: &[u64], now: Instant) -> u64 {
        match self.verdict(own, own_ms, voters, now) {
            Verdict::Against(most) => most,
            Verdict::Unheard if self.is_apart() => self.most(Duration::MAX, own, own_ms, voters, now).unwrap_or(own_ms),
            Verdict::With | Verdict::Unheard => own_ms,
        }
    }

    /// Whether a node was heard lately, and its clock is near this time.
    pub fn is_near(&self, id: u64, time_ms: u64, now: Instant) -> bool {
        self.reads(id, HEARD_FOR, now).is_some_and(|its_ms| its_ms.abs_diff(time_ms) <= MAX_AHEAD_MS)
    }

    /// Notes that this node's clock is apart from the majority's, or that it no longer is. Returns whether that is news.
    pub fn note_apart(&self, is_apart: bool) -> bool {
        self.is_apart.swap(is_apart, Ordering::AcqRel) != is_apart
    }

    /// Whether this node's clock was apart from the majority's when it was last looked at.
    pub fn is_apart(&self) -> bool {
        self.is_apart.load(Ordering::Acquire)
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
    use proptest::prelude::*;

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
    }

    #[test]
    fn a_clock_that_fell_behind_gives_way_to_the_majoritys() {
        let hour = 3_600_000;
        assert_eq!(time(&[(2, NOW + hour + 10), (3, NOW + hour)], 0, 1, &VOTERS), NOW + hour + 1_000);
        assert_eq!(time(&[(2, NOW + 1_500), (3, NOW + 1_900)], 0, 1, &VOTERS), NOW + 1_000, "within what messages take");
        // With the third down nobody can tell which of two is right: the earlier one is what both take.
        assert_eq!(time(&[(2, NOW + hour)], 0, 1, &VOTERS), NOW + 1_000);
        // What was read before this node was cut off brings no block forward: those clocks may be set right meanwhile.
        assert_eq!(time(&[(2, NOW + hour), (3, NOW + hour)], 0, 60, &VOTERS), NOW + 60_000);
    }

    /// What node 1 takes for the majority's time against its own, the others' clocks so far from it.
    fn against(apart: &[(u64, i64)], voters: &[u64]) -> Option<i64> {
        let (clocks, now) = (Clocks::default(), Instant::now());
        for (id, by) in apart {
            clocks.hear(*id, NOW.saturating_add_signed(*by), now);
        }
        let found = match clocks.verdict(1, NOW, voters, now) {
            Verdict::Against(most) => Some(most),
            _ => None,
        };
        assert_eq!(clocks.time(1, NOW, voters, now), found.unwrap_or(NOW));
        let gone = clocks.verdict(1, NOW, voters, now + HEARD_FOR);
        assert_eq!(
            gone,
            if voters == [1] { Verdict::With } else { Verdict::Unheard },
            "who is gone contradicts nobody, and agrees with nobody"
        );
        found.map(|ms| ms.cast_signed() - NOW.cast_signed())
    }

    #[test]
    fn only_a_majority_without_it_calls_a_nodes_clock_wrong() {
        let five = [1, 2, 3, 4, 5];
        assert_eq!(against(&[(2, 3_600_000), (3, 3_600_010)], &VOTERS), Some(3_600_000));
        assert_eq!(against(&[(2, -3_600_000), (3, -3_600_010)], &VOTERS), Some(-3_600_000));
        assert_eq!(against(&[(2, 5_000), (3, -5_000)], &VOTERS), None, "near enough");
        assert_eq!(against(&[(2, 60_000)], &VOTERS), None, "with the third down nobody can tell");
        assert_eq!(against(&[(2, 60_000), (3, -60_000)], &VOTERS), None, "between two others it is the one that counts");
        assert_eq!(against(&[(2, 60_000), (3, 60_000), (4, 0), (5, 0)], &five), None);
        assert_eq!(against(&[(2, 60_000), (3, 70_000), (4, 80_000)], &five), Some(60_000));
        assert_eq!(against(&[], &[1]), None);
        assert_eq!(against(&[(2, 60_000)], &[1, 2]), None);
    }

    #[test]
    fn who_is_silent_does_not_say_that_a_clock_is_right_again() {
        let (clocks, start, hour) = (Clocks::default(), Instant::now(), 3_600_000);
        [2, 3].into_iter().for_each(|id| clocks.hear(id, NOW + hour, start));
        assert_eq!(clocks.verdict(1, NOW, &VOTERS, start), Verdict::Against(NOW + hour));
        clocks.note_apart(true);
        // Node 3 is down: node 2 alone says neither.
        let later = start + HEARD_FOR;
        let own_ms = NOW + 10_000;
        clocks.hear(2, own_ms + hour, later);
        assert_eq!(clocks.verdict(1, own_ms, &VOTERS, later), Verdict::Unheard);
        assert_eq!(clocks.time(1, own_ms, &VOTERS, later), own_ms + hour, "it is still judged by their time");
        assert_eq!(clocks.verdict(1, own_ms + hour, &VOTERS, later), Verdict::With, "set right, two of three agree");
        assert_eq!(clocks.time(1, own_ms + hour, &VOTERS, later), own_ms + hour);
        // A learner's own clock is no voter's.
        assert_eq!(clocks.verdict(4, own_ms + hour, &VOTERS, later), Verdict::Unheard);
    }

    #[test]
    fn leadership_goes_where_the_clock_is_right() {
        let (clocks, now) = (Clocks::default(), Instant::now());
        clocks.hear(2, NOW + 5_000, now);
        clocks.hear(3, NOW - 5_001, now);
        assert!(clocks.is_near(2, NOW, now) && !clocks.is_near(3, NOW, now) && !clocks.is_near(4, NOW, now));
        assert!(!clocks.is_near(2, NOW, now + HEARD_FOR));
        assert!(!clocks.note_apart(false) && clocks.note_apart(true) && clocks.is_apart() && !clocks.note_apart(true));
    }

    proptest! {
        /// Whatever fewer than half of the voters' clocks say, the leader's own among them, the time of a block lies between the
        /// others', or within the tolerance of one.
        #[test]
        fn the_time_of_a_block_lies_where_a_majoritys_clocks_are(
            honest in proptest::collection::vec(0..60_000u64, 3),
            lies in proptest::collection::vec(any::<u64>(), 2),
            leader_lies in any::<bool>(),
        ) {
            let now = Instant::now();
            let mut all: Vec<u64> = honest.iter().map(|by| NOW + by).chain(lies.iter().map(|lie| (*lie).max(1))).collect();
            if leader_lies {
                all.rotate_right(1);
            }
            let (clocks, five) = (Clocks::default(), [1, 2, 3, 4, 5]);
            for (id, its_ms) in (1..).zip(&all).skip(1) {
                clocks.hear(id, *its_ms, now);
            }
            let own = all.first().copied().unwrap_or(NOW);
            let (least, most) = (NOW + honest.iter().min().unwrap_or(&0), NOW + honest.iter().max().unwrap_or(&0));
            let time = clocks.block_time(1, own, &five, now);
            prop_assert!(time + TOLERANCE_MS >= least && time <= most + TOLERANCE_MS, "{time} is not in {least}..{most}");
            let time = clocks.time(1, own, &five, now);
            prop_assert!(time + MAX_AHEAD_MS >= least && time <= most + MAX_AHEAD_MS, "{time} is not in {least}..{most}");
        }
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
