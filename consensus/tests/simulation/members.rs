//! Who joins and who is banned.

use vermilion_consensus::{Change, NodeId, Standing};

use crate::machine::{Machine, admit, ban};
use crate::node::Node;
use crate::world::{Event, World};

/// Nodes that may join in one run, beside the founders.
const NEWCOMERS: usize = 4;
/// Nodes in good standing that always stay.
const KEPT: usize = 3;
/// Milliseconds within which a node that joins in peace has its vote.
const PEACE: u64 = 20_000;

impl World {
    /// Nodes in good standing once everything recorded anywhere is applied.
    pub fn members(&self) -> Vec<NodeId> {
        let recorded = |id: u64| self.oracle.history.contains(&id);
        let all = 1..=self.nodes.len() as NodeId;
        all.filter(|id| (*id <= self.founders || recorded(admit(*id))) && !recorded(ban(*id))).collect()
    }

    /// The clerk's next command, if there is something to do.
    pub fn admission(&mut self) -> Option<u64> {
        let members = self.members();
        let room = self.nodes.len() < self.founders as usize + NEWCOMERS;
        if members.len() > KEPT && (!room || self.rng.chance(5_000)) {
            let leader = self.leader().map(|i| i as NodeId + 1).filter(|id| members.contains(id) && self.rng.chance(4_000));
            if leader.is_some() {
                self.oracle.banned_leaders += 1;
            }
            return leader.or_else(|| self.rng.pick(&members)).map(ban);
        }
        if !room {
            return None;
        }
        let newcomer = self.newcomer(2_000);
        Some(admit(newcomer))
    }

    /// A node that may join, and starts within so many milliseconds, perhaps before it is admitted. Always a new id: that of a
    /// banned node is never used again.
    fn newcomer(&mut self, within: u64) -> NodeId {
        let founders: Vec<NodeId> = (1..=self.founders).collect();
        let node = self.nodes.len();
        self.nodes.push(Node::new(node as NodeId + 1, &founders, self.bug));
        let delay = self.rng.range(1, within);
        self.after(delay, Event::Start { node });
        node as NodeId + 1
    }

    /// On a ledger where nothing else happens a node joins, and goes down just when it has caught up and the leader has not
    /// looked yet. It must get its vote all the same: no message from a client, no election and no operator helps it.
    pub fn join_in_peace(&mut self) -> Result<(), String> {
        let newcomer = self.newcomer(200);
        self.admit(admit(newcomer));
        let end = self.now + PEACE;
        let mut lost = false;
        while !lost || !self.converged() {
            if self.now > end {
                let stuck: Vec<_> = self.nodes.iter().map(|n| n.driver.as_ref().map(|d| d.status())).collect();
                return Err(format!("node {newcomer} never gets its vote on a ledger where nothing happens: {stuck:#?}"));
            }
            self.next()?;
            if let Some(leader) = self.leader().filter(|_| !lost)
                && self.has_caught_up(leader, newcomer)
            {
                lost = true;
                self.crash(newcomer as usize - 1)?;
                self.unreachable(leader, newcomer)?;
            }
        }
        Ok(())
    }

    /// True if a leader knows that a learner of its group lacks nothing.
    fn has_caught_up(&self, leader: usize, node: NodeId) -> bool {
        let Some(status) = self.nodes[leader].driver.as_ref().map(|d| d.status()) else { return false };
        status.learners.contains(&node) && status.progress.iter().any(|p| p.id == node && p.matched == status.last_index)
    }

    /// A leader that is no longer its owner's proposes what nobody approved.
    pub fn usurp(&mut self) -> Result<(), String> {
        let Some(leader) = self.leader() else { return Ok(()) };
        let node = self.rng.range(1, self.nodes.len() as u64 + 3);
        let change = match self.rng.range(0, 3) {
            0 => Change::AddLearner(node),
            1 => Change::Promote(node),
            _ => Change::Remove(node),
        };
        self.drive(leader, |n| drop(n.driver.as_mut().map(|d| d.propose_change(change))))
    }

    /// True if a node's connections from another are cut, as a banned node's are where that is done. Not before it has left
    /// the group: without its voice the others may be unable to decide that it leaves.
    pub fn cut(&self, to: usize, from: NodeId) -> bool {
        let machine = &self.nodes[to].machine;
        let member = machine.conf.voters.contains(&from) || machine.conf.learners.contains(&from);
        self.cuts && !member && machine.standings.get(&from) == Some(&Standing::Out)
    }

    /// What raft counts by must be what the state machine holds.
    pub fn counted(&self, node: usize, machine: &Machine) -> Result<(), String> {
        let Some(driver) = &self.nodes[node].driver else { return Ok(()) };
        let conf = driver.conf_state();
        match conf == machine.conf {
            true => Ok(()),
            false => Err(format!("node {} counts by {conf:?}, but the group is {:?}", node + 1, machine.conf)),
        }
    }
}
