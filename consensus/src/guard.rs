//! What a message must be, given what this node holds.
//!
//! The second half of [`crate::check`]: each rule keeps raft 0.7 from a panic, or this node from an order that its sender
//! has no right to give.

use raft::eraftpb::{Message, MessageType, Snapshot};
use raft::{RawNode, StateRole, Storage};

use crate::config::MAX_FORWARDED_READS;
use crate::{NodeId, StepError};

/// Terms that one message may skip. Pre-vote keeps terms from running, so a jump like this is no accident; without a limit
/// one message would use up all terms, and with this one 2⁴⁶ would.
const MAX_TERM_JUMP: u64 = 1 << 16;

/// Raft commits to whatever a heartbeat says, and panics beyond the log's end. A leader never says more than this node
/// acknowledged: so its log is shorter than it once was, or the leader lies.
pub(crate) const BEYOND: StepError = StepError::Impossible("a commit beyond the last index");

/// Checks a message of sound form against the node's state.
pub(crate) fn possible<L: Storage>(raw: &RawNode<L>, message: &Message, kind: MessageType) -> Result<(), StepError> {
    use MessageType as T;
    let impossible = |what| Err(StepError::Impossible(what));
    let not_now = |what| Err(StepError::NotNow(what));
    let raft = &raw.raft;
    let log = &raft.raft_log;
    let last = log.last_index();
    if message.term > raft.term.saturating_add(MAX_TERM_JUMP) {
        return impossible("a term out of reach");
    }
    let orders = matches!(kind, T::MsgAppend | T::MsgHeartbeat | T::MsgSnapshot);
    if orders && message.term == raft.term && raft.leader_id != 0 && raft.leader_id != message.from {
        return impossible("a second leader in the same term");
    }
    match kind {
        T::MsgHeartbeat if message.term >= raft.term && message.commit > last => return Err(BEYOND),
        T::MsgSnapshot => return snapshot(raw, message.snapshot.as_ref()),
        // Counted towards a majority, and found missing only when the log has grown that far.
        T::MsgAppendResponse if raft.state == StateRole::Leader && message.term >= raft.term && !message.reject && message.index > last => {
            return impossible("acknowledges what was never sent");
        }
        T::MsgAppendResponse | T::MsgHeartbeatResponse if raft.prs().get(message.from).is_none() => {
            return impossible("an answer from outside the group");
        }
        T::MsgRequestVoteResponse | T::MsgRequestPreVoteResponse => {
            // Raft would not count a learner's, but it has no business to send one.
            if !votes(raw, message.from) {
                return impossible("a vote of a node without one");
            }
            // A vote is asked for only once the whole log is durable, so this one answers a question nobody put. Taken,
            // it could make a leader of a node with writes in flight, and raft panics on that.
            let stands = matches!(raft.state, StateRole::Candidate | StateRole::PreCandidate);
            if stands && !settled(raw) {
                return not_now("a vote while writes are in flight");
            }
        }
        // Raft would start an election on anyone's word, past pre-vote and leases.
        T::MsgTimeoutNow => {
            if message.from != raft.leader_id || message.term != raft.term {
                return impossible("told to stand by someone who does not lead");
            }
            if !electable(raw) || (lone(raw) && !settled(raw)) {
                return not_now("not ready to stand");
            }
        }
        // Only a leader can answer. A follower would pass it on to whom it takes for one, perhaps back again.
        T::MsgReadIndex => {
            if raft.state != StateRole::Leader {
                return not_now("not the leader");
            }
            if raft.prs().get(message.from).is_none() {
                return impossible("a read from outside the group");
            }
            if raft.pending_read_count() >= MAX_FORWARDED_READS {
                return not_now("too many reads");
            }
        }
        T::MsgReadIndexResp if message.from != raft.leader_id || message.term != raft.term => {
            return not_now("a read index from someone who does not lead");
        }
        _ => {}
    }
    Ok(())
}

fn snapshot<L: Storage>(raw: &RawNode<L>, snapshot: Option<&Snapshot>) -> Result<(), StepError> {
    let log = &raw.raft.raft_log;
    let Some(metadata) = snapshot.and_then(|s| s.metadata.as_ref()) else {
        return Err(StepError::Malformed("no snapshot"));
    };
    // What is committed is settled; a snapshot that says otherwise would replace it.
    if metadata.index == log.committed && !log.match_term(metadata.index, metadata.term) {
        return Err(StepError::Impossible("a snapshot that contradicts what is committed"));
    }
    Ok(())
}

/// True if this node may stand for election: raft reads everything committed and not applied, and panics when the log
/// begins later. That is so while a snapshot is being written.
pub(crate) fn electable<L: Storage>(raw: &RawNode<L>) -> bool {
    let log = &raw.raft.raft_log;
    log.unstable.snapshot.is_some() || log.applied + 1 >= log.first_index()
}

/// True if this node's own vote elects it: it becomes leader in the very call in which it stands. A joint configuration of
/// one node twice counts too.
pub(crate) fn lone<L: Storage>(raw: &RawNode<L>) -> bool {
    raw.raft.prs().has_quorum(&std::iter::once(raw.raft.id).collect())
}

/// True if the node has a vote, in the configuration that this node knows.
pub(crate) fn votes<L: Storage>(raw: &RawNode<L>, node: NodeId) -> bool {
    raw.raft.prs().conf().voters().contains(node)
}

/// True if everything in the log is durable.
pub(crate) fn settled<L: Storage>(raw: &RawNode<L>) -> bool {
    raw.raft.raft_log.persisted == raw.raft.raft_log.last_index()
}
