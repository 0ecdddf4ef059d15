//! Consensus: one order of blocks for all nodes, by way of `raft` 0.7.
//!
//! [`Driver`] is a pure, synchronous engine. Messages, commands, ticks and reports of finished work go in; [`Driver::poll`]
//! says what to send, write and apply. It has no thread, socket, clock or random generator: time is a parameter, and so is
//! the seed of election time-outs, so a simulation can run a whole group in one thread and repeat the run from its seed.
//!
//! # What it does not know
//!
//! - What a command or a block is. Commands are bytes; a [`Packer`] makes blocks of them and knows how blocks are linked.
//! - Who signed what. The [`Gate`] stands in front of [`Driver::step`] and is called by the runtime, off this loop.
//! - Whether a command succeeded. Commands carry their own ids; the state machine answers by id. Nothing waits here for a
//!   (term, index): a command that was proposed is forgotten, and a client that hears nothing sends it again.
//! - When the log may be cut off. The store decides, at or below its durable applied index and [`Driver::cuttable`].
//!
//! # What acknowledged means
//!
//! A command may be acknowledged once the state machine of some node applied it: entries are handed out for applying only
//! when they are committed, committed means on stable storage at a majority, and a node counts itself among that majority
//! only after its own fsync.
//!
//! # Order of input and output
//!
//! A leader's block, with the fsyncs of leader and follower side by side:
//!
//! ```text
//! leader    poll ─┬─ messages: append ──────────┐
//!                 └─ write 7 ── fsync ── persisted(7) ─────────────┐
//! follower                                      └ step, poll ── write 4 ── fsync ── after: acknowledge ─┐
//! leader                                              step: a majority ── poll ── apply ── applied(..) ──┘
//! ```
//!
//! What must hold, and who sees to it:
//!
//! 1. *Hard state and entries are one synced batch; what depends on it is sent after it.* A vote or an acknowledgement that
//!    a crash could unsay elects two leaders or loses a commit. Such messages are in [`Write::after`]; a follower's messages
//!    without a write of their own wait inside the driver for the writes before them.
//! 2. *A leader may send before it wrote* (thesis, 10.2.1), because it counts itself only once [`Driver::persisted`] said
//!    so. The exception is a group of one voter, which can become leader of a term within one call: messages of a term that
//!    isn't durable here wait, whoever leads.
//! 3. *Raft reads what it handed out.* From `poll` to `persisted` the entries lie in a window over the store, so the store
//!    may be written on another thread.
//! 4. *Writes are reported in order, and one that a later one replaces proves nothing.* After a change of leaders an entry
//!    can be written, replaced and written again; only the last write counts.
//! 5. *Applied is never ahead of durable.* Raft 0.7 hands out `min(committed, persisted)`, so also on the leader an entry
//!    is applied only when it is on this node's own disk (versions after it can be told otherwise). So after a crash the log
//!    holds everything that the state machine holds.
//! 6. *The stored commit index is a lower bound.* It is no promise to anyone, so a change of it alone causes no write. At
//!    start it is raised to the applied index.
//! 7. *A snapshot replaces log and state together.* Until its write is reported, this node neither stands for election nor
//!    applies; entries handed out before it are applied or dropped first.
//!
//! # Membership
//!
//! 8. *A change is the state machine's, not the leader's.* Its entry names the proposer, sealed for that term and index.
//!    Whether it takes effect is [`Change::judge`]'s answer on every node, by the state as of the entry before.
//! 9. *One at a time.* The next change is proposed only when the one before is applied here and the leader's term has
//!    committed something. So configurations in use at one moment differ by one node at most. A node that is behind cannot
//!    stand with an older one: an entry that follows a change came with its commit, both were written in one batch, and
//!    raft does not stand before it has applied what it knows to be committed.
//! 10. *Configuration and applied index are durable together*, as [`Driver::new`] wants them.
//! 11. *Learners follow.* They get no vote, count towards no majority, are handed no leadership, and a vote that one sends
//!     is dropped. A leader promotes those that [`Standing::Voter`] is said of, when they have caught up.
//! 12. *Who must leave is removed by the leader*; a leader that must leave hands over first, and its successor removes it.
//!
//! # Caveats
//!
//! A leader that lies can seal two changes for one place and show each to some nodes, if the state approves of both. That
//! is proof against it, but nothing here notices.
//!
//! Raft survives crashes, not lies. A leader that lies about the commit index can make a follower apply an entry that no
//! majority holds; what bounds it is the gate (nothing unsigned is applied) and the cosigned checkpoints, which are above
//! this crate. What is promised here is that no message makes this node panic or give up an invariant of its own log.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod check;
mod codec;
mod config;
mod driver;
mod error;
mod guard;
mod handout;
mod membership;
mod output;
mod pending;
mod poll;
mod reads;
mod stall;
mod steer;
mod timeout;
mod traits;
mod trust;
mod window;

pub use codec::{decode, decode_entry, encode, encode_entry};
pub use config::{DriverConfig, ELECTION_TICKS, MAX_FORWARDED_READS, MAX_INFLIGHT_MESSAGES, MAX_READ_CONTEXT, MAX_SIZE_PER_MESSAGE};
pub use driver::{Applied, Driver};
pub use error::{ConfChangeError, DecodeError, Fault, StepError, SubmitError, TransferError};
pub use membership::{Change, ChangeRefusal, MembershipRule, Standing, change_of, reachable};
pub use output::{Output, PeerProgress, Role, RoleChange, Status, Write};
pub use raft::eraftpb::{ConfState, Entry, EntryType, HardState, Message, MessageType, Snapshot};
pub use traits::{BoxError, Gate, LogBatch, LogWriter, Packer, Refusal, StateMachine, Tip, Transport};

/// A node's id: never 0, never used again for another disk.
pub type NodeId = u64;

/// Milliseconds since the epoch; a parameter, never read here.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default, Hash)]
pub struct Millis(pub u64);
