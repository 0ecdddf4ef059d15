//! What consensus asks of the rest of the house.
//!
//! The driver itself calls only [`Packer`] and `raft::Storage`. The others are the contracts of the runtime around it: they
//! stand here, next to the engine whose safety rests on them, so that a store or a transport can be judged on its own.

use raft::eraftpb::{Entry, HardState, Message, Snapshot};

use crate::{Change, Millis, NodeId};

/// Any error from the other side of a trait. Consensus never looks inside: it stops, and names it.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The end of a chain of blocks: what the next block must name and may not precede.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Tip {
    /// Hash that the next block names as its predecessor.
    pub link: [u8; 32],
    /// Time of the last block. The next one is never earlier, whatever the leader's clock says.
    pub time: Millis,
}

/// Packs waiting commands into a block and links blocks. What a block looks like is opaque to consensus.
///
/// To ensure correctness:
/// - `tip` is a pure function of the block's bytes, the same on every node: a leader that takes over computes from its log
///   the link that the old leader computed when it packed.
/// - the tip that `pack` returns is `tip` of the block that it returns, and has a `time` not before the time `pack` was given.
pub trait Packer {
    /// The tip of the chain once the block with these bytes stands at its end.
    ///
    /// The bytes come from this node's own log, so they passed the gate; an error means that the log is damaged, and
    /// stops the node.
    fn tip(&self, block: &[u8]) -> Result<Tip, BoxError>;

    /// Makes the block that follows `prev.link`, of these commands in this order, at time `now`.
    ///
    /// `now` is never before `prev.time`. `commands` is never empty. A block may be packed and then not enter the log
    /// (raft can decline a proposal): packing must leave nothing behind. An error stops the node.
    ///
    /// Returns the block and its `tip`, which whoever packs has at hand: blocks have megabytes.
    fn pack(&mut self, prev: Tip, now: Millis, commands: &[bytes::Bytes]) -> Result<(Vec<u8>, Tip), BoxError>;

    /// Names this node as the proposer of a membership change, under its signature, for this one place in the log: the
    /// gate refuses a seal that does not hold, or that was made for another term, index or change. An error stops the node.
    fn seal(&mut self, change: Change, term: u64, index: u64) -> Result<Vec<u8>, BoxError>;
}

/// Why a gate let a message not pass.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// A block, snapshot or change that no honest leader sends: take nothing more from it in that term
    /// ([`Driver::refuse`](crate::Driver::refuse)).
    #[error("refused: {0}")]
    Forged(String),
    /// Not acceptable now, perhaps later (a block time ahead of our clock): drop this message only.
    #[error("not now: {0}")]
    Early(String),
}

/// The check in front of [`Driver::step`](crate::Driver::step).
///
/// A pure function of the message's bytes and the time, so that it runs off the driver's loop and in parallel: it is where
/// signatures are verified, and they cost more than all of raft.
///
/// To ensure correctness: no append or snapshot reaches `step` but through here, and after a refusal the runtime calls `refuse`
/// before it steps what came behind it in the same stream. In which order messages are stepped is no matter of safety
/// ([`Transport`]): a heartbeat may pass while an append waits here, and commits no more than this node has acknowledged. Appends
/// that keep the order in which they were received save raft from probing anew.
pub trait Gate {
    /// Passes a message that may be stepped, or says why not.
    fn admit(&self, message: &Message, now: Millis) -> Result<(), Refusal>;
}

/// What one write puts on stable storage, all of it or none of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LogBatch {
    /// Entries, consecutive. Whatever the log holds from the first one's index on is replaced: the tail of an old leader
    /// must be cut off, not merely overwritten in part.
    pub entries: Vec<Entry>,
    /// Term, vote and commit index. The stored commit index is a lower bound: it may lag behind what was applied.
    pub hard_state: Option<HardState>,
    /// Replaces log and state machine. Its entries, if any, follow it.
    pub snapshot: Option<Snapshot>,
}

impl LogBatch {
    /// True if there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.hard_state.is_none() && self.snapshot.is_none()
    }
}

/// Writes the log durably.
///
/// To ensure correctness:
/// - `write` returns only after fsync, and is atomic: after a crash the batch is there wholly or not at all.
/// - Batches are written in the order of their numbers; none is skipped.
/// - Once it returned, `raft::Storage` reads reflect the batch.
/// - A batch with a snapshot installs the state machine's state first, then clears the log and sets it to the snapshot's
///   index and term; a crash in between must be seen at start and finished.
/// - A failed write is *unknown*, not undone: the node stops.
pub trait LogWriter {
    /// Writes one batch.
    fn write(&mut self, batch: LogBatch) -> Result<(), BoxError>;
}

/// Applies committed entries.
///
/// To ensure correctness:
/// - Entries arrive in order, each once per run; after a restart they begin at the durable applied index plus one.
/// - Effects and applied index become durable together, or both are rebuilt from the log.
/// - A deterministic refusal of a command is a recorded outcome. An error here is anything else, and stops the node.
pub trait StateMachine {
    /// Applies entries (empty ones and membership changes included) and returns the applied index.
    ///
    /// A membership change takes effect only if [`Change::judge`] approves of it, by the state as of the entry before; the
    /// configuration that it gives becomes durable together with the index, and is reported through
    /// [`Driver::apply_change`](crate::Driver::apply_change). One that is refused changes nothing.
    fn apply(&mut self, entries: Vec<Entry>) -> Result<u64, BoxError>;
    /// The index applied through.
    fn applied(&self) -> u64;
}

/// Carries messages to other nodes. It may drop, delay, repeat and reorder them; raft copes with all of these, so a full
/// queue drops and the runtime reports it ([`Driver::unreachable`](crate::Driver::unreachable)).
pub trait Transport {
    /// Sends, or drops, without waiting.
    fn send(&mut self, to: NodeId, messages: Vec<Message>);
}
