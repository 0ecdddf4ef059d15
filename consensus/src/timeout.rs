//! Election time-outs, drawn from the run's seed.
//!
//! Raft draws them from the thread's generator, so no run could be repeated. It draws inside a call and uses what it drew
//! only in a later tick; the driver puts its own draw in place after every call.

use raft::{RawNode, StateRole, Storage};

/// Spreads the bits of a number (splitmix64).
fn mix(mut x: u64) -> u64 {
    x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// A new draw for each term and for each attempt within one: two nodes that collided differ next time.
#[derive(Debug)]
pub(crate) struct Timeout {
    seed: u64,
    attempts: u64,
    min: usize,
    span: u64,
}

impl Timeout {
    pub fn new(seed: u64, id: u64, election_ticks: usize) -> Self {
        Self { seed: mix(seed ^ mix(id)), attempts: 0, min: election_ticks, span: election_ticks.max(1) as u64 }
    }

    /// This node stood for election, or will.
    pub fn attempt(&mut self) {
        self.attempts = self.attempts.wrapping_add(1);
    }

    /// Puts the draw in place.
    pub fn set<L: Storage>(&self, raw: &mut RawNode<L>) {
        if raw.raft.state == StateRole::Leader {
            return;
        }
        let draw = mix(self.seed ^ mix(raw.raft.term) ^ mix(self.attempts.rotate_left(32))) % self.span;
        // Within [election_ticks, 2 * election_ticks), as raft asserts; the modulo keeps it below `span`.
        raw.raft.set_randomized_election_timeout(self.min + draw as usize);
    }
}
