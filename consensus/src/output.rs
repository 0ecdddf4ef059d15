//! What the driver asks its runtime to do, and what it tells about itself.

use raft::eraftpb::{Entry, Message};

use crate::{LogBatch, NodeId, SubmitError};

/// Everything that one [`poll`](crate::Driver::poll) asks for. The parts may be carried out concurrently, except as each
/// field says.
#[derive(Debug, Default)]
pub struct Output {
    /// Send now. A leader's appends are here: followers write while it writes.
    pub messages: Vec<Message>,
    /// Write, after all earlier writes.
    pub write: Option<Write>,
    /// Committed, and durable here: apply in order, after all earlier entries. Membership changes among them are given
    /// back through [`apply_change`](crate::Driver::apply_change) if the state machine approves of them.
    pub apply: Vec<Entry>,
    /// Reads that may be answered once the state machine has applied through the index: (token, index).
    pub reads: Vec<(u64, u64)>,
    /// Commands that waited here when leadership was lost. They did not enter the log through this node.
    pub rejected: Vec<(u64, SubmitError)>,
    /// Set if this node's role, term or leader changed.
    pub role: Option<RoleChange>,
    /// There is more: poll again before waiting for input.
    pub more: bool,
}

impl Output {
    /// True if there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
            && self.write.is_none()
            && self.apply.is_empty()
            && self.reads.is_empty()
            && self.rejected.is_empty()
            && self.role.is_none()
            && !self.more
    }
}

/// One durable write. Report it with [`persisted`](crate::Driver::persisted).
#[derive(Debug)]
pub struct Write {
    /// Its number; numbers grow, with gaps.
    pub number: u64,
    /// What to write: entries and hard state in one synced batch.
    pub batch: LogBatch,
    /// Send only once the batch is durable: votes and acknowledgements that a crash must not unsay.
    pub after: Vec<Message>,
}

/// A node's part in its group.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// Takes entries from a leader, or waits for one.
    Follower,
    /// Asks whether it could win an election, without disturbing anyone.
    PreCandidate,
    /// Asks for votes.
    Candidate,
    /// Orders commands.
    Leader,
}

/// What this node became.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RoleChange {
    /// Its role.
    pub role: Role,
    /// The term.
    pub term: u64,
    /// Who leads, if known.
    pub leader: Option<NodeId>,
}

/// A snapshot of the driver, for operators and metrics.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Status {
    /// This node.
    pub id: NodeId,
    /// The term.
    pub term: u64,
    /// Its role.
    pub role: Role,
    /// Who leads, if known.
    pub leader: Option<NodeId>,
    /// Committed through this index, as far as this node knows.
    pub commit: u64,
    /// Applied through this index.
    pub applied: u64,
    /// First index that the log holds.
    pub first_index: u64,
    /// Last index of the log, durable or not.
    pub last_index: u64,
    /// Durable through this index.
    pub persisted: u64,
    /// The index through which this term's leader says that this node acknowledged, where its log ends before: it was started
    /// on an older copy of its directory, or an empty one, or the leader lies. Nothing is taken from that leader meanwhile.
    pub lost: Option<u64>,
    /// Milliseconds, counted in ticks, for which the oldest write has been under way; 0 if none is, or a snapshot's.
    pub write_ms: u64,
    /// Commands that wait for a block.
    pub pending_commands: usize,
    /// Their bytes.
    pub pending_bytes: usize,
    /// Reads that wait for an index.
    pub pending_reads: usize,
    /// Who votes, in order.
    pub voters: Vec<NodeId>,
    /// Who only listens, in order.
    pub learners: Vec<NodeId>,
    /// How far the others are, in order of id; empty unless this node leads.
    pub progress: Vec<PeerProgress>,
}

/// How far a leader knows another node to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PeerProgress {
    /// The node.
    pub id: NodeId,
    /// Holds everything through this index durably.
    pub matched: u64,
    /// The index it is sent next.
    pub next: u64,
    /// Heard of since the last quorum check.
    pub active: bool,
    /// A snapshot is on its way, and its outcome was not reported.
    pub snapshot: bool,
}
