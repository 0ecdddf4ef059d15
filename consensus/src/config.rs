//! Every option of raft and of the driver, each with its reason.

use crate::{Fault, NodeId};

/// Largest message that raft fills with several entries. Bounds what is lost with a dropped message; a block larger than
/// this still travels, alone.
pub const MAX_SIZE_PER_MESSAGE: u64 = 1024 * 1024;
/// Appends on their way to one follower. With blocks of the target size this is 32 MiB, with messages of
/// [`MAX_SIZE_PER_MESSAGE`] 8 MiB; it also bounds what a follower with a slow disk holds in memory. Two blocks are under way at
/// once ([`DriverConfig::max_blocks_in_flight`]); a follower that lags gets more in each message, not more messages. Raft frees
/// a place at each heartbeat whether or not the line took anything: a transport must have a bound of its own.
pub const MAX_INFLIGHT_MESSAGES: usize = 8;
/// Longest read context taken from another node. Ours have 24 bytes.
pub const MAX_READ_CONTEXT: usize = 64;
/// Reads of other nodes that a leader holds at once; each node has one batch on its way, so only a liar gets near.
pub const MAX_FORWARDED_READS: usize = 1024;
/// Ticks of the shortest election time-out, unless a driver is told otherwise. After as many Raft gives up handing over.
pub const ELECTION_TICKS: usize = 10;

/// How a driver behaves. Every field is public and has a default chosen for a city's network: nodes a few milliseconds
/// apart, ticks of 100 ms.
#[derive(Clone, Debug)]
pub struct DriverConfig {
    /// This node. Never 0, and never the id of a node whose disk was lost: it would vote twice.
    pub id: NodeId,
    /// A fresh random number for each start. Election timeouts are drawn from it, and read contexts carry it so that an
    /// answer to a read of an earlier run is never taken for an answer to ours. Tests pass a fixed one.
    pub seed: u64,
    /// Milliseconds between two calls of `tick`. The driver counts ticks; this turns them into what it says of itself.
    pub tick_ms: u64,
    /// Ticks between heartbeats.
    pub heartbeat_ticks: usize,
    /// Ticks without a leader before an election; the actual time-out lies in `[election_ticks, 2 * election_ticks)`. At
    /// ten heartbeats, single losses don't unseat a leader.
    pub election_ticks: usize,
    /// Ticks before a read index is asked for again. Raft drops such requests silently when there is no leader.
    pub read_retry_ticks: usize,
    /// Reads that may wait for an index; beyond, `read` answers busy.
    pub max_pending_reads: usize,
    /// Commands that may wait for a block; beyond, `submit` answers busy.
    pub max_pending_commands: usize,
    /// Their bytes, likewise.
    pub max_pending_bytes: usize,
    /// Commands in one block.
    pub max_block_commands: usize,
    /// Bytes of commands at which a block is full. A larger command stands alone in its block.
    pub max_block_bytes: usize,
    /// Bytes that one command may have.
    pub max_command_bytes: usize,
    /// Own blocks that may be uncommitted at once. Commands that arrive meanwhile form the next block: the busier the
    /// node, the larger its blocks. Two, so that one is replicated while the other is written.
    pub max_blocks_in_flight: usize,
    /// Entries that may be committed but not applied before a leader stops packing. Bounds the log's lead over a slow
    /// state machine, or over a slow disk of the leader's own.
    pub max_unapplied_entries: u64,
    /// Bytes of committed entries handed out and not yet applied. Beyond, they stay in the log and are read again later;
    /// one entry is always handed out.
    pub max_apply_bytes: u64,
    /// A learner that lacks no more entries than this has caught up: as a voter it delays no commit for longer than it
    /// takes to send it them.
    pub caught_up_entries: u64,
}

impl DriverConfig {
    /// The defaults, for a node and this run's seed.
    pub fn new(id: NodeId, seed: u64) -> Self {
        Self {
            id,
            seed,
            tick_ms: 100,
            heartbeat_ticks: 1,
            election_ticks: ELECTION_TICKS,
            read_retry_ticks: 5,
            max_pending_reads: 16_384,
            max_pending_commands: 16_384,
            max_pending_bytes: 64 * 1024 * 1024,
            max_block_commands: 1024,
            max_block_bytes: 4 * 1024 * 1024,
            max_command_bytes: 8 * 1024 * 1024,
            max_blocks_in_flight: 2,
            max_unapplied_entries: 64,
            max_apply_bytes: 32 * 1024 * 1024,
            caught_up_entries: 32,
        }
    }

    /// Bytes that one message of raft can need, for the limits of whatever carries it: the largest block, with as much
    /// again as a quarter for signatures and framing, or a full message of small entries.
    pub fn max_message_bytes(&self) -> usize {
        let block = self.max_block_bytes.max(self.max_command_bytes);
        let block = block.saturating_add(block / 4);
        block.max(MAX_SIZE_PER_MESSAGE as usize).saturating_add(64 * 1024)
    }

    /// Raft's own options, all of them, so that a new default in a later version changes nothing here unseen.
    pub(crate) fn raft(&self, applied: u64) -> raft::Config {
        raft::Config {
            id: self.id,
            election_tick: self.election_ticks,
            heartbeat_tick: self.heartbeat_ticks,
            // The durable applied index, never the commit index: entries above it are handed out again.
            applied,
            max_size_per_msg: MAX_SIZE_PER_MESSAGE,
            max_inflight_msgs: MAX_INFLIGHT_MESSAGES,
            // A leader that lost its majority steps down, so that its clients look elsewhere.
            check_quorum: true,
            // A node that was cut off comes back without unseating a leader that all others hear.
            pre_vote: true,
            // The full range; the driver redraws within it from its seed (see `timeout`).
            min_election_tick: self.election_ticks,
            max_election_tick: self.election_ticks.saturating_mul(2),
            // Lease reads trust clocks that raft doesn't have.
            read_only_option: raft::ReadOnlyOption::Safe,
            // Followers learn of a commit at once: they apply, cosign and answer local reads.
            skip_bcast_commit: false,
            // It would merge appends into one message without any limit of size, up to max_inflight_msgs times
            // max_size_per_msg, beyond what a transport accepts. Blocks are the batching.
            batch_append: false,
            priority: 0,
            // Twice what the block limits let through, so that it never strikes first: it is the second fence.
            max_uncommitted_size: self.max_uncommitted(),
            max_committed_size_per_ready: self.max_apply_bytes,
        }
    }

    fn max_uncommitted(&self) -> u64 {
        let block = self.max_message_bytes() as u64;
        let blocks = self.max_blocks_in_flight as u64;
        block.saturating_mul(blocks).saturating_mul(2).max(MAX_SIZE_PER_MESSAGE)
    }

    /// Refuses values that contradict each other.
    pub(crate) fn validate(&self) -> Result<(), Fault> {
        let wrong = [
            (self.id == 0, "the node id is 0"),
            (self.heartbeat_ticks == 0, "heartbeat_ticks is 0"),
            (self.election_ticks <= self.heartbeat_ticks, "election_ticks must exceed heartbeat_ticks"),
            (self.read_retry_ticks == 0, "read_retry_ticks is 0"),
            (self.max_pending_reads == 0, "max_pending_reads is 0"),
            (self.max_pending_commands == 0, "max_pending_commands is 0"),
            (self.max_block_commands == 0, "max_block_commands is 0"),
            (self.max_blocks_in_flight == 0, "max_blocks_in_flight is 0"),
            (self.max_unapplied_entries == 0, "max_unapplied_entries is 0"),
            (self.max_pending_bytes < self.max_command_bytes, "max_pending_bytes must hold the largest command"),
        ];
        match wrong.iter().find(|(is, _)| *is) {
            Some((_, what)) => Err(Fault::Config((*what).to_owned())),
            None => Ok(()),
        }
    }
}
