//! The engine's output: blocks packed, raft's readies taken apart.

use std::collections::VecDeque;

use raft::eraftpb::{Entry, EntryType};
use raft::{Error, GetEntriesContext, StateRole, Storage};

use crate::driver::{Driver, Flight, Leading};
use crate::{Fault, LogBatch, Millis, Output, Packer, SubmitError, Tip, Write};

impl<L: Storage, P: Packer> Driver<L, P> {
    /// Packs what waits, and says what to do now. `now` becomes the time of blocks; it may go back, block times do not.
    ///
    /// After an error nothing of this driver may be used any more: the node stops.
    pub fn poll(&mut self, now: Millis) -> Result<Output, Fault> {
        self.fault()?;
        let mut out = Output::default();
        if self.raw.raft.state == StateRole::Leader {
            self.pack(now)?;
            self.steer()?;
        } else {
            self.leading = None;
            let leader = self.role().leader;
            let tokens = self.pending.flush();
            out.rejected = tokens.into_iter().map(|token| (token, SubmitError::NotLeader { leader })).collect();
        }
        self.ask();
        if self.raw.has_ready() {
            self.take_ready(&mut out);
        }
        out.messages.append(&mut self.released);
        self.refill(&mut out)?;
        let role = self.role();
        if self.told != Some(role) {
            self.told = Some(role);
            self.reads.leader_changed();
            out.role = Some(role);
            // Those whose commands or reads depend on it get another turn.
            out.more = true;
        }
        // Reads that missed the question just answered ask theirs.
        out.more |= self.raw.has_ready() || (!out.reads.is_empty() && self.reads.waiting());
        // Nothing leaves this node that was computed from a failed read.
        self.fault()?;
        Ok(out)
    }

    /// Proposes blocks while there are commands and room for blocks.
    fn pack(&mut self, now: Millis) -> Result<(), Fault> {
        let term = self.raw.raft.term;
        let mut leading = match self.leading.take() {
            Some(leading) if leading.term == term => leading,
            _ => Leading { term, tip: self.find_tip()?, blocks: VecDeque::new() },
        };
        let committed = self.raw.raft.raft_log.committed;
        while leading.blocks.pop_front_if(|index| *index <= committed).is_some() {}
        let packed = self.pack_onto(&mut leading, now);
        self.leading = Some(leading);
        packed
    }

    fn pack_onto(&mut self, leading: &mut Leading, now: Millis) -> Result<(), Fault> {
        while leading.blocks.len() < self.config.max_blocks_in_flight {
            let raft = &self.raw.raft;
            let unapplied = raft.raft_log.committed.saturating_sub(self.handout.applied());
            if self.pending.len() == 0 || raft.lead_transferee.is_some() || unapplied >= self.config.max_unapplied_entries {
                break;
            }
            let commands = self.pending.block();
            let time = now.max(leading.tip.time);
            let (block, tip) = self.packer.pack(leading.tip, time, &commands).map_err(Fault::Pack)?;
            debug_assert!(self.packer.tip(&block).is_ok_and(|of_bytes| of_bytes == tip));
            match self.raw.propose(Vec::new(), block) {
                Ok(()) => {}
                // Raft has no room. The commands still wait where they were.
                Err(Error::ProposalDropped) => break,
                Err(error) => return Err(Fault::Raft(error)),
            }
            self.pending.taken(commands.len());
            leading.tip = tip;
            leading.blocks.push_back(self.raw.raft.raft_log.last_index());
        }
        self.settle();
        Ok(())
    }

    /// The tip of the chain at the end of this node's log: that of the last block in it, or of what was applied.
    ///
    /// A new leader has in its log every block that was committed, and perhaps some that were not; those too will be
    /// committed now, and its own blocks follow them.
    fn find_tip(&self) -> Result<Tip, Fault> {
        let log = &self.raw.raft.raft_log;
        let mut index = log.last_index();
        while index > self.handout.applied() {
            let entries = log.slice(index, index + 1, None, GetEntriesContext::empty(false))?;
            self.fault()?;
            let block = |e: &&Entry| e.entry_type == EntryType::EntryNormal as i32 && !e.data.is_empty();
            if let Some(entry) = entries.first().filter(block) {
                return self.packer.tip(&entry.data).map_err(Fault::Pack);
            }
            index -= 1;
        }
        Ok(self.applied_tip)
    }

    /// Asks for a read index when there is someone who can answer.
    fn ask(&mut self) {
        let raft = &self.raw.raft;
        let answerable = match raft.state {
            // Before its term's first commit a leader doesn't know what is committed, and raft would drop the question.
            StateRole::Leader => raft.commit_to_current_term(),
            StateRole::Follower => raft.leader_id != raft::INVALID_ID,
            StateRole::Candidate | StateRole::PreCandidate => false,
        };
        if let Some(context) = answerable.then(|| self.reads.ask()).flatten() {
            self.raw.read_index(context);
        }
    }

    fn take_ready(&mut self, out: &mut Output) {
        let mut ready = self.raw.ready();
        let number = ready.number();
        let must_write = ready.must_sync();
        let mut voted = false;
        if let Some(hs) = ready.hs() {
            voted = hs.term != self.hard_state.term || hs.vote != self.hard_state.vote;
            self.hard_state = hs.clone();
            self.unsaved = true;
        }
        let mut messages = ready.take_messages();
        let mut after = ready.take_persisted_messages();
        // A leader's too: see the crate's page, order 2.
        if voted {
            after.append(&mut messages);
        } else if let Some(flight) = self.flights.iter_mut().rfind(|f| f.voted) {
            flight.then.append(&mut messages);
        }
        let entries = ready.take_entries();
        let snapshot = Some(ready.snapshot()).filter(|s| !s.is_empty()).cloned();
        let committed = ready.take_committed_entries();
        for state in ready.take_read_states() {
            let tokens = self.reads.answered(&state.request_ctx);
            out.reads.extend(tokens.into_iter().map(|token| (token, state.index)));
        }
        self.raw.mut_store().fly(number, snapshot.as_ref(), &entries);
        self.raw.advance_append_async(ready);
        out.messages.append(&mut messages);

        if must_write {
            let place = snapshot.as_ref().and_then(|s| s.metadata.as_ref()).map(|m| m.index);
            if let Some(index) = place {
                self.handout.skip(index);
                self.restored = index;
            }
            let last = entries.last().map(|e| e.index).or(place);
            self.flights.push_back(Flight { number, last, voted, snapshot: place.is_some(), then: Vec::new() });
            let hard_state = std::mem::take(&mut self.unsaved).then(|| self.hard_state.clone());
            out.write = Some(Write { number, batch: LogBatch { entries, hard_state, snapshot }, after });
        } else if let Some(flight) = self.flights.back_mut() {
            flight.then.append(&mut after);
        } else {
            // Nothing to wait for. Raft keeps a record of every ready until it hears of it.
            out.messages.append(&mut after);
            self.raw.on_persist_ready(number);
        }
        out.apply = self.handout.offer(committed);
        self.settle();
    }

    /// Reads again what the handout had no room for before.
    fn refill(&mut self, out: &mut Output) -> Result<(), Fault> {
        if let (true, Some((low, high, room))) = (out.apply.is_empty(), self.handout.wanted()) {
            let read = self.raw.raft.raft_log.slice(low, high, room, GetEntriesContext::empty(false))?;
            out.apply = self.handout.take(read);
        }
        out.more |= self.handout.wanted().is_some();
        Ok(())
    }
}
