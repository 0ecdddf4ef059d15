//! What can go wrong, by what has to happen next.

use crate::{BoxError, ChangeRefusal, NodeId};

/// The node must stop and say why. Nothing here is retried: the driver can no longer vouch for what it would do.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The configuration contradicts itself. Correct it and start again.
    #[error("configuration: {0}")]
    Config(String),
    /// The stored log, hard state and applied index do not fit together. Rebuild this node's log from its peers.
    #[error("the stored log does not fit together: {0}")]
    Damaged(String),
    /// A read of the log failed while running.
    #[error("reading the log: {0}")]
    Storage(String),
    /// The packer failed on its own input.
    #[error("packing a block: {0}")]
    Pack(#[source] BoxError),
    /// Raft and the state machine disagree about who the group is. Rebuild this node from its peers.
    #[error("the membership does not fit together: {0}")]
    Membership(String),
    /// Raft refused something that it must accept.
    #[error("raft: {0}")]
    Raft(#[from] raft::Error),
}

/// A message was dropped. The driver is as it was, and nothing has to be done; a rising count from one peer is worth an
/// operator's look.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StepError {
    /// Not a message that raft sends: unknown kind, missing field, entries out of order, a local message from outside.
    #[error("malformed message: {0}")]
    Malformed(&'static str),
    /// Well formed, but contradicts what this node holds: no correct peer sends it. Raft would panic on most of these.
    #[error("impossible message: {0}")]
    Impossible(&'static str),
    /// Comes from a leader of which something was refused in this term.
    #[error("node {from} was refused in term {term}")]
    Refused {
        /// The leader.
        from: NodeId,
        /// Its term.
        term: u64,
    },
    /// Comes from a node that the operator distrusts as a leader.
    #[error("node {from} is distrusted")]
    Distrusted {
        /// The node.
        from: NodeId,
    },
    /// Correct, but cannot be taken at this moment: the sender will repeat it.
    #[error("not now: {0}")]
    NotNow(&'static str),
}

/// A command or request was not taken. Nothing was done for it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubmitError {
    /// This node does not lead. Route to the leader, if one is known.
    #[error("not the leader")]
    NotLeader {
        /// Who leads, as far as this node knows.
        leader: Option<NodeId>,
    },
    /// A queue is full: answer "busy, retry after". Memory never grows instead.
    #[error("busy")]
    Busy,
    /// No block may hold a command of this size.
    #[error("a command of {size} bytes exceeds the limit of {limit}")]
    TooLarge {
        /// The command's size.
        size: usize,
        /// What a command may have.
        limit: usize,
    },
}

/// Leadership was not handed over.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TransferError {
    /// This node does not lead.
    #[error("not the leader")]
    NotLeader {
        /// Who leads, as far as this node knows.
        leader: Option<NodeId>,
    },
    /// It can go to a voter only, and to none that must leave the group.
    #[error("node {node} has no vote, or must leave the group")]
    NoVoter {
        /// The node.
        node: NodeId,
    },
}

/// A membership change was not proposed.
#[derive(Debug, thiserror::Error)]
pub enum ConfChangeError {
    /// This node does not lead.
    #[error("not the leader")]
    NotLeader {
        /// Who leads, as far as this node knows.
        leader: Option<NodeId>,
    },
    /// Another change is not applied yet, leadership is new or moving, or there is no room.
    #[error("another change is pending")]
    Pending,
    /// Not a change that can be made to the present configuration.
    #[error("refused: {0}")]
    Refused(ChangeRefusal),
    /// The packer could not seal it.
    #[error("sealing the change: {0}")]
    Seal(#[source] BoxError),
}

/// Bytes that are not what they should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot decode: {0}")]
pub struct DecodeError(pub String);
