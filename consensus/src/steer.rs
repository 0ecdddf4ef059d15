//! What a leader does about membership by itself: it lets nodes in, promotes them when they have caught up, and removes
//! those that must leave, itself last. And how it leaves office when others must lead.

use std::collections::BTreeMap;

use raft::eraftpb::ConfState;
use raft::{ProgressState, StateRole, Storage};

use crate::driver::Driver;
use crate::{Change, ConfChangeError, Fault, Millis, NodeId, Packer, Standing};

/// What is due.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Due {
    Propose(Change),
    /// This node must leave, so another leads first.
    HandOver(NodeId),
}

impl<L: Storage, P: Packer> Driver<L, P> {
    /// What the state machine says of every node that it knows, as of what it applied. Given at start, and whenever it
    /// changed, before [`applied`](Self::applied). A leader steers the group there, one change at a time.
    ///
    /// It decides nothing: each node asks its own state machine again when the entry is applied.
    pub fn set_standings(&mut self, standings: BTreeMap<NodeId, Standing>) {
        self.standings = standings;
    }

    /// Proposes a change of membership and returns its index. Whether the state machine approves of it is asked where it is
    /// applied; that an entry at this index is applied does not mean that it is this one.
    pub fn propose_change(&mut self, change: Change) -> Result<u64, ConfChangeError> {
        let raft = &self.raw.raft;
        if raft.state != StateRole::Leader {
            return Err(ConfChangeError::NotLeader { leader: self.role().leader });
        }
        // Raft would turn it into an empty entry and say nothing. And before its own term's first commit a leader doesn't
        // know which configuration it leads.
        if raft.has_pending_conf() || raft.lead_transferee.is_some() || !raft.commit_to_current_term() {
            return Err(ConfChangeError::Pending);
        }
        change.next(&self.conf_state()).map_err(ConfChangeError::Refused)?;
        let index = raft.raft_log.last_index() + 1;
        let seal = self.packer.seal(change, raft.term, index).map_err(ConfChangeError::Seal)?;
        let proposed = self.raw.propose_conf_change(Vec::new(), change.raft(seal));
        self.settle();
        match proposed {
            Ok(()) if self.raw.raft.pending_conf_index == index => Ok(index),
            Ok(()) | Err(_) => Err(ConfChangeError::Pending),
        }
    }

    /// Puts a change into effect that the state machine applied at `index` and approved of, before [`applied`](Self::applied)
    /// is called for that index. The configuration that the state machine stored must be the same.
    ///
    /// An error stops the node: raft and the state machine no longer agree who the group is.
    pub fn apply_change(&mut self, index: u64, change: Change) -> Result<(), Fault> {
        // A snapshot came meanwhile and has it in its configuration already. That the log begins later says nothing of that: it
        // may have been cut off.
        let coming = self.raw.raft.raft_log.unstable_snapshot().as_ref().map_or(0, |snapshot| snapshot.get_metadata().index);
        if index <= self.restored.max(coming) {
            return Ok(());
        }
        let expected = change.next(&self.conf_state()).map_err(|e| Fault::Membership(e.to_string()))?;
        self.raw.apply_conf_change(&change.raft(Vec::new()))?;
        if self.conf_state() != expected {
            return Err(Fault::Membership(format!("{change:?} gives {:?}, not {expected:?}", self.conf_state())));
        }
        let raft = &mut self.raw.raft;
        // Raft leaves a removed leader in office, and panics when it next counts a commit.
        if !raft.promotable() && raft.state != StateRole::Follower {
            raft.become_follower(raft.term, raft::INVALID_ID);
        }
        self.settle();
        Ok(())
    }

    /// The time of the last block of this leader's log, while not everything in the log is committed.
    pub fn uncommitted_time(&self) -> Option<Millis> {
        let raft = &self.raw.raft;
        let leading = self.leading.as_ref().filter(|leading| raft.state == StateRole::Leader && leading.term == raft.term)?;
        (raft.raft_log.committed < raft.raft_log.last_index()).then_some(leading.tip.time)
    }

    /// Leads no more, and does not stand at the next [`tick`](Self::tick): called before each for as long as others shall go
    /// first. It gives its vote as before, so it keeps nobody from leading whose log is as long as its own.
    ///
    /// For a leader whose blocks the others don't take. Leadership cannot be handed over then, because raft hands it only to
    /// whoever has the whole log; those without the block elect one of themselves, and its log replaces the block.
    pub fn stand_aside(&mut self) {
        let raft = &mut self.raw.raft;
        if raft.state != StateRole::Follower {
            raft.become_follower(raft.term, raft::INVALID_ID);
        }
        raft.election_elapsed = 0;
        self.settle();
    }

    /// A leader hands over to the voter that follows it best, of those that `fits` approves of, and says to whom. Without one it
    /// goes on leading, and while it hands over already nothing new is begun.
    ///
    /// For what the engine cannot know of a node, as how right its clock is.
    pub fn hand_over(&mut self, fits: impl Fn(NodeId) -> bool) -> Option<NodeId> {
        let raft = &self.raw.raft;
        if raft.state != StateRole::Leader || raft.lead_transferee.is_some() {
            return None;
        }
        let heir = self.heir(&self.conf_state(), fits)?;
        self.raw.transfer_leader(heir);
        self.settle();
        Some(heir)
    }

    /// The configuration in effect, its lists in order.
    pub fn conf_state(&self) -> ConfState {
        let mut state = self.raw.raft.prs().conf().to_conf_state();
        state.voters.sort_unstable();
        state.learners.sort_unstable();
        state
    }

    /// Does what is due, once a tick.
    pub(crate) fn steer(&mut self) -> Result<(), Fault> {
        if !std::mem::take(&mut self.steer_due) {
            return Ok(());
        }
        let raft = &self.raw.raft;
        if raft.has_pending_conf() || raft.lead_transferee.is_some() || !raft.commit_to_current_term() {
            return Ok(());
        }
        let conf = self.conf_state();
        match self.due(&conf) {
            None => Ok(()),
            Some(Due::HandOver(to)) => {
                self.raw.transfer_leader(to);
                self.settle();
                Ok(())
            }
            Some(Due::Propose(change)) => match self.propose_change(change) {
                Err(ConfChangeError::Seal(error)) => Err(Fault::Pack(error)),
                // The next tick looks again.
                Ok(_) | Err(_) => Ok(()),
            },
        }
    }

    /// What a leader of a group configured as `conf` does next: hands over if it must leave and somebody can follow it, else
    /// removes, promotes, adds, in this order, the smallest id first.
    fn due(&self, conf: &ConfState) -> Option<Due> {
        let own = self.config.id;
        let standing = |node: NodeId| self.standings.get(&node).copied().unwrap_or_default();
        // Without anybody to hand over to yet it goes on: a learner may become one.
        if standing(own) == Standing::Out
            && let Some(node) = self.heir(conf, |_| true)
        {
            return Some(Due::HandOver(node));
        }
        let members = || conf.voters.iter().chain(&conf.learners).copied();
        let remove = members().filter(|node| *node != own && standing(*node) == Standing::Out).min().map(Change::Remove);
        let enough = self.raw.raft.raft_log.committed.saturating_sub(self.config.caught_up_entries);
        let ready = |node: &NodeId| standing(*node) == Standing::Voter && self.follows(*node).is_some_and(|matched| matched >= enough);
        let promote = || conf.learners.iter().copied().find(ready).map(Change::Promote);
        let wanted = |(node, standing): (&NodeId, &Standing)| {
            (*standing == Standing::Voter && !members().any(|member| member == *node)).then_some(*node)
        };
        let add = || self.standings.iter().find_map(wanted).map(Change::AddLearner);
        remove.or_else(promote).or_else(add).map(Due::Propose)
    }

    /// The voter that is furthest of those that follow this leader and may lead.
    pub(crate) fn heir(&self, conf: &ConfState, fits: impl Fn(NodeId) -> bool) -> Option<NodeId> {
        let may = |node: &&NodeId| **node != self.config.id && self.standings.get(node) != Some(&Standing::Out) && fits(**node);
        conf.voters.iter().filter(may).filter_map(|node| Some((self.follows(*node)?, *node))).max().map(|(_, node)| node)
    }

    /// How far a node follows this leader; none if it does not.
    ///
    /// Raft makes a probe of whoever was out of reach, and sends it entries one message at a time until it acknowledges
    /// something new. On a ledger where nothing happens nothing new comes: a probe that lacks nothing follows as well.
    fn follows(&self, node: NodeId) -> Option<u64> {
        let raft = &self.raw.raft;
        let progress = raft.prs().get(node).filter(|p| p.recent_active && !self.unheard.contains(&node))?;
        let lacks_nothing = progress.matched == raft.raft_log.last_index();
        (progress.state == ProgressState::Replicate || lacks_nothing).then_some(progress.matched)
    }
}
