//! What is waited for in vain: a write that does not become durable, a snapshot whose outcome nobody reports.

use std::collections::BTreeMap;

use raft::{ProgressState, StateRole, Storage};

use crate::driver::Driver;
use crate::{NodeId, Packer};

/// Shortest election time-outs for which one write may be under way before a leader hands over, and before a node stands
/// for election no more. A disk that is merely slow takes milliseconds.
const HANDS_OVER: usize = 2;
/// As many before it steps down, if whom it handed over to did not take over.
const STEPS_DOWN: usize = 4;
/// As many after which a snapshot is taken for sent whose outcome nobody reported.
const UNREPORTED: usize = 2;

/// Ticks that passed while nothing came of it.
#[derive(Debug, Default)]
pub(crate) struct Stall {
    /// The oldest write under way, if it is no snapshot's, and ticks since it became that.
    write: Option<(u64, usize)>,
    /// Ticks for which a leader has sent a node nothing but a snapshot.
    snapshots: BTreeMap<NodeId, usize>,
}

impl<L: Storage, P: Packer> Driver<L, P> {
    /// Ticks for which the oldest write has been under way; a snapshot's is none that a disk hangs on. Writes become durable in order, so nothing behind it is.
    pub(crate) fn write_ticks(&self) -> usize {
        self.stall.write.map_or(0, |(_, ticks)| ticks)
    }

    /// The disk takes nothing any more, as far as can be told: this node can neither vote nor acknowledge.
    pub(crate) fn is_stuck(&self) -> bool {
        self.write_ticks() >= HANDS_OVER * self.config.election_ticks
    }

    /// Counts a tick, and does what is due.
    pub(crate) fn look_for_stalls(&mut self) {
        let oldest = self.flights.front().filter(|flight| !flight.snapshot).map(|flight| flight.number);
        self.stall.write = oldest.map(|number| match self.stall.write {
            Some((same, ticks)) if same == number => (number, ticks + 1),
            _ => (number, 0),
        });
        if self.is_stuck() {
            self.give_way();
        }
        self.assume_sent();
    }

    /// A leader whose disk hangs goes on sending, so its followers commit and look for no other; but it applies nothing,
    /// and nobody is answered. It has another lead, if those who are heard make a majority without it: else nobody could.
    fn give_way(&mut self) {
        let raft = &self.raw.raft;
        let others = raft.prs().iter().filter(|(id, p)| **id != raft.id && p.recent_active).map(|(id, _)| *id).collect();
        if raft.state != StateRole::Leader || !raft.prs().has_quorum(&others) {
            return;
        }
        if self.write_ticks() >= STEPS_DOWN * self.config.election_ticks {
            self.stand_aside();
        } else if raft.lead_transferee.is_none()
            && let Some(heir) = self.heir(&self.conf_state(), |_| true)
        {
            self.raw.transfer_leader(heir);
            self.settle();
        }
    }

    /// Raft sends nothing to a node that is sent a snapshot, until it hears what came of it. A transport can lose that word,
    /// and then it is taken for sent: if it did not arrive, the node rejects what follows it, and is sent another.
    fn assume_sent(&mut self) {
        let raft = &self.raw.raft;
        let waits = |p: &raft::Progress| raft.state == StateRole::Leader && p.state == ProgressState::Snapshot;
        let waiting: Vec<NodeId> = raft.prs().iter().filter(|(_, p)| waits(p)).map(|(id, _)| *id).collect();
        self.stall.snapshots.retain(|id, _| waiting.contains(id));
        let limit = UNREPORTED * self.config.election_ticks;
        for id in waiting {
            let ticks = self.stall.snapshots.entry(id).or_default();
            *ticks += 1;
            if *ticks >= limit {
                *ticks = 0;
                self.snapshot_sent(id, true);
            }
        }
    }
}
