//! When a leader gives way whose blocks the others hold for blocks from the future.
//!
//! Its own blocks follow the majority's clocks ([`crate::clock`]). But clocks may be set right, or nodes start anew, after a
//! block was packed, and then it stands in the leader's log and in no other: as long as this node leads, and as long as the
//! clocks have not come so far, nothing is committed. Those who drop it elect a leader without it, if they are as many as that
//! takes and this node lets them: its own log is longer, so it would win every election that it stands in.
//!
//! And when one hands over whose clock the majority's contradict ([`Apart`]). Its blocks are taken; but whoever sets clocks
//! right starts with the node that complains, and a ledger should not depend on it meanwhile.

use crate::clock::Verdict;

/// Ticks without a commit after which a leader is stuck: the longest election time-out.
const STUCK: u32 = 20;
/// Ticks for which the others may go first: some election time-outs.
const OTHERS_FIRST: u32 = 100;

/// Counts for how many ticks on end a node's clock has been apart from the majority's: what one late message says is no word on it.
#[derive(Debug, Default)]
pub(crate) struct Apart(u32);

impl Apart {
    /// Looks once a tick. Says whether it is apart for long enough to be said, and whether a leader should hand over now: again
    /// and again, because who was asked to lead may not have taken over.
    pub(crate) fn tick(&mut self, verdict: Verdict) -> (bool, bool) {
        let is_against = matches!(verdict, Verdict::Against(_));
        self.0 = match verdict {
            Verdict::Against(_) => self.0.saturating_add(1),
            // What was said holds until it is heard that it no longer does.
            Verdict::Unheard if self.0 >= STUCK => self.0,
            Verdict::With | Verdict::Unheard => 0,
        };
        (self.0 >= STUCK, is_against && self.0.is_multiple_of(STUCK))
    }
}

/// What a node knows of its own being stuck.
#[derive(Debug, Default)]
pub(crate) struct Aside {
    /// The commit index at the last tick, and for how many ticks it has stood with a block that is refused behind it.
    commit: u64,
    stuck: u32,
    /// For how many ticks more the others go first.
    others_first: u32,
}

impl Aside {
    /// Looks once a tick. `leader` is known to this node, `own`; `is_refused`: it leads, and the others refuse what it has yet
    /// to commit. Whether it must leave the lead to others at this tick.
    pub(crate) fn tick(&mut self, own: u64, leader: Option<u64>, commit: u64, is_refused: bool) -> bool {
        if leader.is_some_and(|leader| leader != own) {
            self.others_first = 0;
        }
        if let Some(left) = self.others_first.checked_sub(1) {
            self.others_first = left;
            return true;
        }
        if !is_refused || commit != self.commit {
            (self.commit, self.stuck) = (commit, 0);
            return false;
        }
        self.stuck += 1;
        if self.stuck < STUCK {
            return false;
        }
        *self = Self { commit, stuck: 0, others_first: OTHERS_FIRST };
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// At which of so many ticks node 1 gives way, if each is as said.
    fn gives_way(aside: &mut Aside, ticks: u32, tick: impl Fn(u32) -> (Option<u64>, u64, bool)) -> Vec<u32> {
        let at = |n: &u32| {
            let (leader, commit, is_refused) = tick(*n);
            aside.tick(1, leader, commit, is_refused)
        };
        (1..=ticks).filter(at).collect()
    }

    #[test]
    fn a_clock_is_apart_when_it_stays_so() {
        let (mut apart, against) = (Apart::default(), Verdict::Against(7));
        assert_eq!((apart.tick(against), apart.tick(Verdict::Unheard)), ((false, false), (false, false)));
        assert!((1..STUCK).all(|_| apart.tick(against) == (false, false)));
        assert_eq!(apart.tick(against), (true, true));
        assert_eq!(apart.tick(Verdict::Unheard), (true, false), "nobody says that it is right again");
        assert!((1..STUCK).all(|_| apart.tick(against) == (true, false)));
        assert_eq!(apart.tick(against), (true, true));
        assert_eq!(apart.tick(Verdict::With), (false, false));
        assert_eq!(apart.tick(against), (false, false));
    }

    #[test]
    fn who_is_stuck_gives_way_until_another_leads() {
        let mut aside = Aside::default();
        let stuck = gives_way(&mut aside, 30, |n| if n <= STUCK + 1 { (Some(1), 7, true) } else { (None, 7, false) });
        // The first tick but notes where the commit index stands.
        assert_eq!(stuck.first(), Some(&(STUCK + 1)));
        assert_eq!(stuck.last(), Some(&30));
        assert!(gives_way(&mut aside, 30, |_| (Some(2), 9, false)).is_empty());
    }

    #[test]
    fn nobody_elected_it_stands_again() {
        let mut aside = Aside::default();
        let stuck = gives_way(&mut aside, 300, |n| if n <= STUCK + 1 { (Some(1), 7, true) } else { (None, 7, false) });
        assert_eq!(stuck.len() as u32, OTHERS_FIRST + 1);
    }

    #[test]
    fn what_commits_or_is_not_refused_is_not_stuck() {
        let mut aside = Aside::default();
        assert!(gives_way(&mut aside, 300, |n| (Some(1), u64::from(n / 10), true)).is_empty());
        assert!(gives_way(&mut aside, 300, |_| (Some(1), 7, false)).is_empty());
        assert!(gives_way(&mut aside, 300, |n| (Some(1), 7, n % 10 != 0)).is_empty());
    }
}
