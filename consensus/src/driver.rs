//! The engine's inputs. What comes out is in `poll`.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use raft::eraftpb::{HardState, Message, MessageType};
use raft::{INVALID_ID, RawNode, SnapshotStatus, StateRole, Storage};
use slog::{Drain, Level, LevelFilter, Logger};

use crate::config::DriverConfig;
use crate::handout::Handout;
use crate::pending::Pending;
use crate::reads::Reads;
use crate::stall::Stall;
use crate::timeout::Timeout;
use crate::trust::Trust;
use crate::window::{self, Window};
use crate::{Fault, NodeId, Packer, PeerProgress, Role, RoleChange, Standing, Status, StepError, SubmitError, Tip, TransferError};
use crate::{check, guard};

/// Shortest election time-outs for which a leader that must leave may go on: handing over takes one of them at most.
const OVERSTAY: usize = 5;

/// How far a state machine is: what it made durable when a node starts, what it applied when it reports.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Applied {
    /// The raft index applied through. At start it is the *durable* one: entries above it are handed out again.
    pub index: u64,
    /// The tip of the chain at that index.
    pub tip: Tip,
}

/// A write that was handed out and not yet reported.
#[derive(Debug)]
pub(crate) struct Flight {
    pub number: u64,
    /// The last index that it carries, if any.
    pub last: Option<u64>,
    /// It carries a new term or vote.
    pub voted: bool,
    /// It carries a snapshot, whose records the state machine may fetch for hours.
    pub snapshot: bool,
    /// Messages of later readies without a write of their own, which must not overtake this one.
    pub then: Vec<Message>,
}

/// What a leader keeps of its own term.
#[derive(Debug)]
pub(crate) struct Leading {
    pub term: u64,
    pub tip: Tip,
    /// Indexes of its own blocks that aren't committed.
    pub blocks: VecDeque<u64>,
}

/// The engine of one node. See the crate's page for what is promised and in which order things must happen.
///
/// No call blocks, and none but [`poll`](Self::poll) has an effect outside. Call `poll` after any other call, or after
/// several of them: batching comes from there.
pub struct Driver<L: Storage, P: Packer> {
    pub(crate) config: DriverConfig,
    pub(crate) raw: RawNode<Window<L>>,
    pub(crate) packer: P,
    pub(crate) pending: Pending,
    pub(crate) reads: Reads,
    pub(crate) handout: Handout,
    pub(crate) applied_tip: Tip,
    /// The place of the last snapshot that came: its configuration is raft's from there on.
    pub(crate) restored: u64,
    pub(crate) leading: Option<Leading>,
    pub(crate) flights: VecDeque<Flight>,
    /// The last index of writes that were reported durable but whose report raft hasn't got.
    pub(crate) reported: Option<u64>,
    /// Messages whose writes are durable now.
    pub(crate) released: Vec<Message>,
    /// The newest hard state, and whether a write carried it.
    pub(crate) hard_state: HardState,
    pub(crate) unsaved: bool,
    pub(crate) told: Option<RoleChange>,
    /// What the state machine says of the nodes that it knows.
    pub(crate) standings: BTreeMap<NodeId, Standing>,
    /// A tick has passed since the leader last looked at them.
    pub(crate) steer_due: bool,
    /// Nodes that could not be reached, and from which nothing was taken since.
    pub(crate) unheard: BTreeSet<NodeId>,
    /// Up to where the leader of a term says that this node acknowledged entries which its log does not have: term and index.
    lost: (u64, u64),
    /// For how many ticks, in which term, this node has followed a leader that must leave.
    overstays: (u64, usize),
    pub(crate) stall: Stall,
    timeout: Timeout,
    trust: Trust,
}

impl<L: Storage, P: Packer> Driver<L, P> {
    /// An engine over a stored log, whose state machine made `applied` durable.
    ///
    /// The log must hold every index from `applied` on, and its configuration must be the one as of `applied`. A node that
    /// joins has an empty log and the founding configuration, without itself; the leader sends it a snapshot or the log. What does not fit together is
    /// [`Fault::Damaged`]: a node must not vote on it.
    ///
    /// `logger` gets raft's own messages from level info up: below, raft prints whole messages, contents and all.
    pub fn new(config: DriverConfig, log: L, packer: P, applied: Applied, logger: &Logger) -> Result<Self, Fault> {
        config.validate()?;
        let state = window::initial_state(&log, applied.index).map_err(Fault::Damaged)?;
        let hard_state = state.hard_state.clone();
        let logger = Logger::root(LevelFilter::new(logger.clone(), Level::Info).ignore_res(), slog::o!());
        let raw = RawNode::new(&config.raft(applied.index), Window::new(log, state)?, &logger)?;
        let mut driver = Self {
            pending: Pending::new(&config),
            reads: Reads::new(config.id, config.seed, config.read_retry_ticks, config.max_pending_reads),
            handout: Handout::new(applied.index, config.max_apply_bytes),
            applied_tip: applied.tip,
            restored: 0,
            leading: None,
            flights: VecDeque::new(),
            reported: None,
            released: Vec::new(),
            hard_state,
            unsaved: false,
            told: None,
            standings: BTreeMap::new(),
            steer_due: false,
            unheard: BTreeSet::new(),
            lost: (0, 0),
            overstays: (0, 0),
            stall: Stall::default(),
            timeout: Timeout::new(config.seed, config.id, config.election_ticks),
            trust: Trust::default(),
            raw,
            packer,
            config,
        };
        driver.settle();
        driver.fault()?;
        Ok(driver)
    }

    /// One tick of raft's clock. The runtime calls it every `config.tick_ms`, late rather than twice.
    pub fn tick(&mut self) {
        self.reads.tick();
        self.steer_due = true;
        self.bar_who_overstays();
        self.look_for_stalls();
        let raft = &self.raw.raft;
        if raft.state != StateRole::Leader {
            // A tick can start an election, and a lone voter wins it in the same call. Both must wait for the disk; and a
            // disk that hangs has no vote to give.
            let waits = self.is_stuck() || (guard::lone(&self.raw) && !guard::settled(&self.raw));
            if waits || !guard::electable(&self.raw) {
                return;
            }
            if raft.election_elapsed + 1 >= raft.randomized_election_timeout() {
                self.timeout.attempt();
            }
        }
        self.raw.tick();
        self.settle();
    }

    /// Takes a message that passed the gate. An error means that it was dropped, and nothing else.
    pub fn step(&mut self, message: Message) -> Result<(), StepError> {
        let kind = check::form(&message, self.config.id)?;
        self.trust.admit(&message, kind)?;
        let possible = guard::possible(&self.raw, &message, kind);
        match possible {
            Err(guard::BEYOND) => self.lost = (message.term, message.commit),
            Ok(()) if kind == MessageType::MsgHeartbeat && message.term >= self.raw.raft.term => self.lost = (0, 0),
            _ => {}
        }
        possible?;
        if kind == MessageType::MsgTimeoutNow && self.is_stuck() {
            return Err(StepError::NotNow("its disk hangs"));
        }
        self.unheard.remove(&message.from);
        let stepped = self.raw.step(message);
        self.settle();
        stepped.map_err(|_| StepError::NotNow("raft declined it"))
    }

    /// The gate refused something from this leader: take nothing more from it in this term. The node hears no leader from
    /// here on, and an election follows; other nodes that refused take part, and so may the refused one, in a later term.
    pub fn refuse(&mut self, from: NodeId, term: u64) {
        self.trust.refuse(from, term);
        self.forget_barred_leader();
    }

    /// The operator distrusts a node as a leader, or trusts it again: its orders and candidacies are dropped, its answers
    /// still count. Not kept over a restart.
    pub fn distrust(&mut self, id: NodeId, on: bool) {
        self.trust.distrust(id, on);
        self.forget_barred_leader();
    }

    /// A leader that must leave hands over by itself within a few ticks. One that does not is taken for what it is: nothing
    /// more is taken from it in its term, if there is somebody who may lead instead. Its vote still counts, or a group could
    /// be left without a majority.
    fn bar_who_overstays(&mut self) {
        let raft = &self.raw.raft;
        let (leader, term) = (raft.leader_id, raft.term);
        let is_out = |id: &NodeId| self.standings.get(id) == Some(&Standing::Out);
        let heir = || raft.prs().conf().voters().ids().iter().any(|id| id != leader && !is_out(&id));
        if raft.state != StateRole::Follower || leader == INVALID_ID || !is_out(&leader) || !heir() {
            self.overstays = (term, 0);
            return;
        }
        let ticks = if self.overstays.0 == term { self.overstays.1 + 1 } else { 1 };
        self.overstays = (term, ticks);
        if ticks >= OVERSTAY * self.config.election_ticks {
            self.refuse(leader, term);
        }
    }

    fn forget_barred_leader(&mut self) {
        let raft = &mut self.raw.raft;
        if raft.state == StateRole::Follower && self.trust.bars(raft.leader_id, raft.term) {
            raft.become_follower(raft.term, INVALID_ID);
            self.settle();
        }
    }

    /// Queues a command for the next block. `token` comes back only in [`Output::rejected`](crate::Output::rejected):
    /// once the command is in the log, the state machine answers for it, by its id.
    pub fn submit(&mut self, token: u64, command: Bytes) -> Result<(), SubmitError> {
        if self.raw.raft.state != StateRole::Leader {
            return Err(SubmitError::NotLeader { leader: self.leader() });
        }
        self.pending.push(token, command)
    }

    /// Asks for an index to read at; the answer is in [`Output::reads`](crate::Output::reads). Raft loses such questions
    /// without a word, so they are repeated until answered or given up with [`reads_expired`](Self::reads_expired): the
    /// deadline is the caller's.
    pub fn read(&mut self, token: u64) -> Result<(), SubmitError> {
        self.reads.push(token)
    }

    /// Gives reads up, all that end together in one call.
    pub fn reads_expired(&mut self, gone: &BTreeSet<u64>) {
        self.reads.expire(gone);
    }

    /// Write `number` is durable, and so are all before it. The store answers for it from here on.
    pub fn persisted(&mut self, number: u64) {
        if !self.flights.iter().any(|f| f.number == number) {
            return;
        }
        while let Some(flight) = self.flights.pop_front_if(|f| f.number <= number) {
            self.reported = flight.last.or(self.reported);
            self.released.extend(flight.then);
        }
        self.raw.mut_store().land(number);
        // An entry can be written, replaced by another leader's and written again. The first write's report would let raft
        // take the entry for durable that the second one removes from the disk; it waits for the last one's.
        if self.reported.is_some_and(|last| self.raw.store().replaces(last)) {
            return;
        }
        self.reported = None;
        self.raw.on_persist_ready(self.flights.front().map_or(u64::MAX, |f| f.number - 1));
        self.advance_applied();
        self.settle();
    }

    /// The state machine applied through an index, by entries or, after the write that carried it, by a snapshot.
    pub fn applied(&mut self, applied: Applied) {
        if applied.index >= self.handout.applied() {
            self.applied_tip = applied.tip;
        }
        self.handout.report(applied.index);
        self.advance_applied();
        self.settle();
    }

    /// Through here the log may be cut off: what lies behind it raft was told is applied, and reads no more.
    pub fn cuttable(&self) -> u64 {
        self.raw.raft.raft_log.applied.min(self.handout.applied())
    }

    fn advance_applied(&mut self) {
        let log = &self.raw.raft.raft_log;
        let index = self.handout.applied().min(log.committed).min(log.persisted);
        if index > log.applied {
            self.raw.advance_apply_to(index);
        }
    }

    /// Hands leadership over to another voter; a learner is refused, and a node that must leave. No commands are packed meanwhile; if the other does not take over within an
    /// election time-out, this node goes on leading.
    pub fn transfer_leader(&mut self, to: NodeId) -> Result<(), TransferError> {
        if self.raw.raft.state != StateRole::Leader {
            return Err(TransferError::NotLeader { leader: self.leader() });
        }
        // Raft would say nothing and do nothing.
        if !guard::votes(&self.raw, to) || self.standings.get(&to) == Some(&Standing::Out) {
            return Err(TransferError::NoVoter { node: to });
        }
        self.raw.transfer_leader(to);
        self.settle();
        Ok(())
    }

    /// Stands for election now, if this node may. For tests and for operators in need.
    pub fn campaign(&mut self) {
        let raft = &self.raw.raft;
        if raft.promotable() && guard::electable(&self.raw) && guard::settled(&self.raw) {
            self.timeout.attempt();
            // Raft's only error here is for messages from outside.
            let _ = self.raw.campaign();
            self.settle();
        }
    }

    /// Messages to this node were dropped or could not be delivered: probe it before sending more, and neither promote it
    /// nor hand over to it before it is heard again.
    pub fn unreachable(&mut self, id: NodeId) {
        if self.raw.raft.prs().get(id).is_some() {
            self.unheard.insert(id);
        }
        self.raw.report_unreachable(id);
        self.settle();
    }

    /// A snapshot to this node was given to the transport, or dropped. Until that is reported raft sends it nothing; after a
    /// while without a word it is taken for sent (`stall`). One that is lost on the way, with its connection, counts as sent
    /// all the same: the node's rejection of the next append brings another.
    pub fn snapshot_sent(&mut self, id: NodeId, ok: bool) {
        let status = if ok { SnapshotStatus::Finish } else { SnapshotStatus::Failure };
        self.raw.report_snapshot(id, status);
        self.settle();
    }

    /// Where this node stands.
    pub fn status(&self) -> Status {
        let raft = &self.raw.raft;
        let state = self.conf_state();
        let peers = raft.prs().iter().filter(|(id, _)| raft.state == StateRole::Leader && **id != raft.id);
        let mut progress: Vec<PeerProgress> = peers
            .map(|(id, p)| PeerProgress {
                id: *id,
                matched: p.matched,
                next: p.next_idx,
                active: p.recent_active,
                snapshot: p.state == raft::ProgressState::Snapshot,
            })
            .collect();
        progress.sort_unstable_by_key(|p| p.id);
        Status {
            id: raft.id,
            term: raft.term,
            role: self.role().role,
            leader: self.role().leader,
            commit: raft.raft_log.committed,
            applied: self.handout.applied(),
            first_index: raft.raft_log.first_index(),
            last_index: raft.raft_log.last_index(),
            persisted: raft.raft_log.persisted,
            lost: Some(self.lost).filter(|(term, index)| *term >= raft.term && *index > raft.raft_log.last_index()).map(|(_, index)| index),
            write_ms: (self.write_ticks() as u64).saturating_mul(self.config.tick_ms),
            pending_commands: self.pending.len(),
            pending_bytes: self.pending.bytes(),
            pending_reads: self.reads.len(),
            voters: state.voters,
            learners: state.learners,
            progress,
        }
    }

    /// The store this driver reads. What is in flight may not be in it.
    pub fn log(&self) -> &L {
        self.raw.store().log()
    }

    pub(crate) fn role(&self) -> RoleChange {
        let raft = &self.raw.raft;
        let role = match raft.state {
            StateRole::Follower => Role::Follower,
            StateRole::PreCandidate => Role::PreCandidate,
            StateRole::Candidate => Role::Candidate,
            StateRole::Leader => Role::Leader,
        };
        RoleChange { role, term: raft.term, leader: Some(raft.leader_id).filter(|id| *id != INVALID_ID) }
    }

    fn leader(&self) -> Option<NodeId> {
        self.role().leader.filter(|id| *id != self.config.id)
    }

    /// After every call into raft: it may have drawn an election time-out of its own.
    pub(crate) fn settle(&mut self) {
        self.timeout.set(&mut self.raw);
    }

    pub(crate) fn fault(&self) -> Result<(), Fault> {
        match self.raw.store().fault() {
            Some(reason) => Err(Fault::Storage(reason.to_owned())),
            None => Ok(()),
        }
    }
}
