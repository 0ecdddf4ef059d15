//! What goes wrong, and how it ends.
//!
//! Whoever has a connection to a node that goes down, or is cut off, is told that it is out of reach, as `node/src/peers.rs`
//! tells its driver.

use vermilion_consensus::{NodeId, Role};

use crate::world::{Event, World};

impl World {
    /// One misfortune, or the end of one.
    pub fn wreak(&mut self) -> Result<(), String> {
        if !self.chaos {
            return Ok(());
        }
        let delay = self.rng.range(50, 1_200);
        self.after(delay, Event::Chaos);
        let all: Vec<usize> = (0..self.nodes.len()).collect();
        let node = self.rng.pick(&all).unwrap_or(0);
        match self.rng.range(0, 14) {
            0..=2 => self.crash(node)?,
            // Whoever leads is the more interesting victim.
            3 => {
                if let Some(leader) = self.leader() {
                    self.crash(leader)?;
                }
            }
            4 | 5 => self.partition(),
            6 | 7 => self.blocked.clear(),
            8 => {
                if let Some(leader) = self.leader() {
                    let to = node as NodeId + 1;
                    self.drive(leader, |n| n.driver.as_mut().map(|d| d.transfer_leader(to)))?;
                }
            }
            9 | 10 => self.usurp()?,
            11 => self.nodes[node].hangs_until = self.now + self.rng.range(100, 4_000),
            12 => {
                let until = self.now + self.rng.range(100, 4_000);
                self.leader().into_iter().for_each(|leader| self.nodes[leader].hangs_until = until);
            }
            _ => self.nodes[node].slowness = self.rng.range(2, 150),
        }
        Ok(())
    }

    /// The node that leads in the highest term, if any leads.
    pub fn leader(&self) -> Option<usize> {
        let leads = |i: &usize| {
            let status = self.nodes[*i].driver.as_ref()?.status();
            (status.role == Role::Leader).then_some(status.term)
        };
        (0..self.nodes.len()).filter(|i| leads(i).is_some()).max_by_key(leads)
    }

    pub fn crash(&mut self, node: usize) -> Result<(), String> {
        if self.nodes[node].driver.is_none() {
            return Ok(());
        }
        self.oracle.crashes += 1;
        let written = self.rng.range(0, self.nodes[node].writing.len() as u64 + 1) as usize;
        self.nodes[node].crash(written)?;
        for other in (0..self.nodes.len()).filter(|other| *other != node) {
            self.broken(other, node as NodeId + 1, 30);
        }
        let delay = self.rng.range(20, 1_500);
        self.after(delay, Event::Start { node });
        Ok(())
    }

    /// Cuts some nodes off: from all others, or in one direction.
    fn partition(&mut self) {
        let one_way = self.rng.chance(3_000);
        let side: Vec<bool> = self.nodes.iter().map(|_| false).collect();
        let side: Vec<bool> = side.iter().map(|_| self.rng.chance(4_000)).collect();
        for (a, left) in side.iter().enumerate() {
            for (b, right) in side.iter().enumerate() {
                if left != right && (*left || !one_way) {
                    self.blocked.insert((a as NodeId + 1, b as NodeId + 1));
                    self.broken(a, b as NodeId + 1, 400);
                }
            }
        }
    }

    /// Ends all faults.
    pub fn heal(&mut self) {
        self.chaos = false;
        self.clients.resting = true;
        self.blocked.clear();
        for node in 0..self.nodes.len() {
            self.nodes[node].slowness = 10;
            self.nodes[node].hangs_until = 0;
            self.after(1, Event::Start { node });
        }
    }

    /// True if all members are up, at the same place, voters of one group without learners, and nobody waits. Those who
    /// were banned may be anywhere.
    pub fn converged(&self) -> bool {
        let members = self.members();
        let first = self.nodes[members[0] as usize - 1].machine.applied.index;
        self.clients.content()
            && members.iter().all(|id| {
                let n = &self.nodes[*id as usize - 1];
                let there = |s: &vermilion_consensus::Status| {
                    s.last_index == first && s.commit == first && s.voters == members && s.learners.is_empty()
                };
                n.machine.applied.index == first && n.driver.as_ref().is_some_and(|d| there(&d.status()))
            })
    }
}
