//! Whether a snapshot message names a place that is the ledger's. Raft takes such a message from whoever claims to lead, sets
//! its log there, and does not look back; so a node that was stolen could strand every other one with one message. The
//! receiver therefore asks the other nodes what they know of that place before Raft sees it.
//!
//! One other node that says yes is enough. If some say no and none says yes, the message is dropped: a liar among them can
//! keep this node behind that way, but its name stands in the log, and `distrust` ends it. A leader's place is one that a
//! majority has in its log: so it is dropped too if too few are left that could have it. If nobody knows, as when the only
//! other node that runs is the leader, the leader is believed.

use crate::gate::MAX_AHEAD_MS;
use crate::membership;
use crate::node::Node;
use raft::Storage as _;
use raft::eraftpb::{Entry, Message};
use vermilion_consensus::Refusal as GateRefusal;
use vermilion_proto::{Bytes, LedgerHead, Message as _, PlaceRequest, canonical};
use vermilion_registry::sealed_block::open_block;
use vermilion_registry::stored;
use vermilion_storage::LogStore;

/// Entries looked through, from the place back, for the last block: elections and membership changes lie between.
const BACK: u64 = 64;
/// Entries looked through one by one, from the place on, for a membership change; beyond, there may have been one.
const SINCE: u64 = 1024;

/// What a node says of a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Word {
    /// It has dropped that part of its log, or lacks the records.
    Unknown = 0,
    /// Index, term, block and records belong together here too.
    Yes = 1,
    /// They do not.
    No = 2,
    /// It has not come so far.
    Beyond = 3,
}

/// One entry of the log: never more of it in memory than that, whoever asks.
fn entry(log: &LogStore, at: u64) -> raft::Result<Entry> {
    let found = log.entries(at, at + 1, None, raft::GetEntriesContext::empty(false))?;
    found.into_iter().next().ok_or(raft::Error::Store(raft::StorageError::Unavailable))
}

impl Node {
    /// What this node knows of the place at which a Raft log's entry of this index and term leaves the ledger with this head,
    /// and the group with these members.
    pub fn word_on(&self, index: u64, term: u64, head: &LedgerHead, group: (&[u64], &[u64])) -> Result<Word, String> {
        let text = |e: &dyn std::fmt::Display| e.to_string();
        let (applied, _) = self.store.applied().map_err(|e| text(&e))?;
        // What is not applied here may never be committed. An honest place is, a moment later.
        if applied < index {
            return Ok(Word::Beyond);
        }
        if head.size == 0 || self.head()?.size < head.size || !self.group_fits(index, group)? {
            return Ok(Word::No);
        }
        let log = self.store.log_store();
        let Some(last) = self.store.record(head.size - 1).map_err(|e| text(&e))? else { return Ok(Word::Unknown) };
        let last = stored::open_record(&last).map_err(|e| text(&e))?;
        if last.leaf.chain_hash[..] != head.chain || last.record.time_ms > head.time_ms {
            return Ok(Word::No);
        }
        if let Some(next) = self.store.record(head.size).map_err(|e| text(&e))?
            && stored::open_record(&next).map_err(|e| text(&e))?.record.time_ms < head.time_ms
        {
            return Ok(Word::No);
        }
        match log.term(index) {
            Ok(here) if here != term => return Ok(Word::No),
            Ok(_) => {}
            Err(_) => return Ok(Word::Unknown),
        }
        let first = log.first_index().map_err(|e| text(&e))?;
        for at in (first.max(index.saturating_sub(BACK))..=index).rev() {
            let Ok(entry) = entry(&log, at) else { return Ok(Word::Unknown) };
            if entry.data.is_empty() || membership::open(&entry, &self.ledger_id).is_ok_and(|change| change.is_some()) {
                continue;
            }
            let Ok(block) = open_block(&Bytes::copy_from_slice(&entry.data)) else { return Ok(Word::Unknown) };
            let fits = block.hash[..] == head.block && block.body.time_ms == head.time_ms;
            return Ok(if fits { Word::Yes } else { Word::No });
        }
        Ok(Word::Unknown)
    }

    /// Whether the group may have been this one at the place: it is now, or changed since.
    fn group_fits(&self, index: u64, (voters, learners): (&[u64], &[u64])) -> Result<bool, String> {
        let text = |e: raft::Error| e.to_string();
        let status = self.status();
        let same = |one: &[u64], other: &[u64]| one.len() == other.len() && one.iter().all(|id| other.contains(id));
        if same(&status.voters, voters) && same(&status.learners, learners) {
            return Ok(true);
        }
        let log = self.store.log_store();
        let last = log.last_index().map_err(text)?;
        if last - index.min(last) > SINCE || index + 1 < log.first_index().map_err(text)? {
            return Ok(true);
        }
        for at in index + 1..=last {
            match entry(&log, at) {
                Ok(entry) if membership::open(&entry, &self.ledger_id).is_ok_and(|change| change.is_some()) => return Ok(true),
                Ok(_) => {}
                // Cut off, or replaced, while it was looked through.
                Err(raft::Error::Store(raft::StorageError::Compacted | raft::StorageError::Unavailable)) => return Ok(true),
                Err(error) => return Err(text(error)),
            }
        }
        Ok(false)
    }

    /// Holds a snapshot message against this node's own ledger, and against what the others know.
    pub(crate) async fn held_against(&self, message: &Message) -> Result<(), GateRefusal> {
        let forged = |why: &str| Err(GateRefusal::Forged(why.to_owned()));
        let snapshot = message.get_snapshot();
        let head: LedgerHead = canonical(&snapshot.data).map_err(|e| GateRefusal::Forged(format!("a snapshot's manifest: {e}")))?;
        if head.chain.len() != 32 || head.block.len() != 32 {
            return forged("a snapshot's manifest has no chain or block");
        }
        if head.time_ms > self.steady_time().saturating_add(MAX_AHEAD_MS) {
            return Err(GateRefusal::Early("a snapshot of a time ahead of this node's clock".into()));
        }
        let own = self.head().map_err(GateRefusal::Early)?;
        if head.size < own.size {
            return Err(GateRefusal::Early(format!("a snapshot of {} records, and there are {} here", head.size, own.size)));
        }
        if head.size == own.size && head.chain != own.chain {
            return forged("a snapshot of another ledger than this node's");
        }
        let (index, term) = (snapshot.get_metadata().index, snapshot.get_metadata().term);
        let group = snapshot.get_metadata().get_conf_state();
        let (voters, learners) = (group.voters.clone(), group.learners.clone());
        let request = PlaceRequest { index, term, head: head.encode_to_vec(), voters, learners };
        let (mut against, mut beyond) = (Vec::new(), vec![self.id]);
        // All at once: the leader's own stream waits for this, and one that is silent must not hold it up for each of them.
        let mut asked = self.peers.places(message.from, &request);
        while let Some(answered) = asked.join_next().await {
            let Ok((node, answer)) = answered else { continue };
            match answer {
                Ok(word) if word == Word::Yes as u32 => return Ok(()),
                Ok(word) if word == Word::No as u32 => against.push(node.name),
                Ok(word) if word == Word::Beyond as u32 => beyond.push(node.raft_id),
                Ok(_) => {}
                Err(status) => tracing::debug!(node = node.name, %status, "a node was not asked about a snapshot's place"),
            }
        }
        let voters = self.status().voters;
        let may_have = voters.iter().filter(|id| !beyond.contains(id)).count();
        if against.is_empty() && may_have > voters.len() / 2 {
            return Ok(());
        }
        if against.is_empty() {
            let why = format!("node {} sends a snapshot of index {index}, which no majority has in its log: distrust it", message.from);
            return Err(GateRefusal::Early(why));
        }
        Err(GateRefusal::Early(format!(
            "node {} sends a snapshot that {} contradict: distrust whoever lies",
            message.from,
            against.join(", ")
        )))
    }
}
