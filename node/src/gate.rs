//! The gate: nothing reaches Raft whose signatures do not hold. It runs on the connections' own
//! tasks, off the ready loop; each signature is checked once, wherever it comes in first.

use crate::membership::{self, Roster};
use crate::peers::Peers;
use raft::eraftpb::{Message, MessageType};
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use vermilion_consensus::{Gate, Millis, Refusal as GateRefusal};
use vermilion_crypto::{Digest, PublicKey, batch::Batch};
use vermilion_proto::Bytes;
use vermilion_registry::reason::{Reason, Refusal};
use vermilion_registry::sealed_block::{OpenBlock, open_block};
use vermilion_registry::submission::{MAX_SUBMISSION, Submitted, open_submission, submission_digest};
use vermilion_storage::Store;

/// How far a block's time may lie ahead of this node's clock, in milliseconds (design, invariant 2).
pub const MAX_AHEAD_MS: u64 = 5_000;
/// Verified submissions kept for apply, by bytes. Beyond that the oldest is dropped; apply then
/// opens it again, which costs time and nothing else.
const CACHE_BYTES: usize = 40 << 20;
/// The largest block, in bytes: the largest submission alone, and what a block has besides.
const MAX_BLOCK: usize = MAX_SUBMISSION + (64 << 10);

/// Submissions that were verified here and not yet applied.
#[derive(Default)]
pub struct VerifiedCache {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    entries: HashMap<Digest, (Submitted, usize)>,
    order: VecDeque<Digest>,
    bytes: usize,
}

impl VerifiedCache {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a submission of these bytes was verified.
    pub fn contains(&self, digest: &Digest) -> bool {
        self.lock().entries.contains_key(digest)
    }

    /// Keeps a verified submission of `size` bytes.
    pub fn put(&self, digest: Digest, submitted: Submitted, size: usize) {
        let mut inner = self.lock();
        inner.bytes += size;
        // One that is there already, from the door or from another block, was charged by what it kept alive.
        match inner.entries.insert(digest, (submitted, size)) {
            None => inner.order.push_back(digest),
            Some((_, before)) => inner.bytes -= before,
        }
        while inner.bytes > CACHE_BYTES {
            let Some(oldest) = inner.order.pop_front() else { break };
            if let Some((_, size)) = inner.entries.remove(&oldest) {
                inner.bytes -= size;
            }
        }
    }

    /// Takes a verified submission out.
    pub fn take(&self, digest: &Digest) -> Option<Submitted> {
        let mut inner = self.lock();
        let (submitted, size) = inner.entries.remove(digest)?;
        inner.bytes -= size;
        // `order` keeps the digest until it reaches the front; bounded by trimming here.
        if inner.order.len() > 2 * inner.entries.len() + 1024 {
            let Inner { entries, order, .. } = &mut *inner;
            order.retain(|d| entries.contains_key(d));
        }
        Some(submitted)
    }
}

/// Opens a block and checks every signature in it that was not checked here before, the proposer's
/// too. What was checked goes into the cache, where apply takes it.
pub fn admit_block(bytes: &[u8], cache: &VerifiedCache) -> Result<OpenBlock, Refusal> {
    // One copy, of which everything that is kept until apply is a slice.
    if bytes.len() > MAX_BLOCK {
        return Err(Refusal::new(Reason::TooLarge, "a block is larger than any that a leader packs"));
    }
    let block = open_block(&Bytes::copy_from_slice(bytes))?;
    let mut batch = Batch::new();
    block.queue(&mut batch);
    let mut fresh = Vec::new();
    for (n, submission) in block.body.submissions.iter().enumerate() {
        let digest = submission_digest(submission);
        if cache.contains(&digest) {
            continue;
        }
        let submitted = open_submission(submission).map_err(|r| Refusal::new(r.reason, format!("command {n}: {}", r.detail)))?;
        submitted.signed.queue(&mut batch);
        fresh.push((digest, submitted));
    }
    batch.verify().map_err(|_| Refusal::new(Reason::BadSignature, "a signature in the block does not hold"))?;
    // Each keeps the whole block's bytes alive: together they are charged with them.
    let size = bytes.len().div_ceil(fresh.len().max(1));
    for (digest, submitted) in fresh {
        cache.put(digest, submitted, size);
    }
    Ok(block)
}

/// The gate in front of the driver.
pub struct NodeGate {
    cache: Arc<VerifiedCache>,
    ledger_id: Digest,
    peers: Peers,
    store: Store,
}

impl NodeGate {
    /// With what was verified here, who knows the nodes whose keys sign blocks, and the state.
    #[must_use]
    pub fn new(cache: Arc<VerifiedCache>, ledger_id: Digest, peers: Peers, store: Store) -> Self {
        Self { cache, ledger_id, peers, store }
    }

    /// Whether a block's time lies ahead of this node's clock, as it reads since the process began. That of the last record
    /// never does: a majority took it, and blocks keep it until their leader's clock has come so far. So clocks that were wrong
    /// together and are set right stop no node that ran meanwhile.
    fn is_early(&self, time_ms: u64, now: Millis) -> bool {
        let last = || vermilion_registry::query::head(&self.store.state()).ok().flatten().map_or(0, |head| head.time_ms);
        time_ms > now.0.saturating_add(MAX_AHEAD_MS) && time_ms > last()
    }

    /// A node that the state knows signs with its own key. One that it does not know may have been admitted in what this
    /// node has yet to apply; if it was not, its blocks are void and its changes refused where they are applied.
    fn signed_by(&self, roster: &Roster, proposer: u64, key: PublicKey, what: &str, index: u64) -> Result<(), GateRefusal> {
        match roster.nodes.get(&proposer) {
            Some(node) if node.node_key[..] != key.0 => {
                Err(GateRefusal::Forged(format!("the {what} at {index} is not signed by {}, which it names", node.name)))
            }
            _ => Ok(()),
        }
    }
}

impl Gate for NodeGate {
    fn admit(&self, message: &Message, now: Millis) -> Result<(), GateRefusal> {
        // Read-index questions and answers carry their context in an entry; only appends bring blocks. Snapshots are held
        // against what other nodes know (`place.rs`).
        if message.msg_type != MessageType::MsgAppend as i32 {
            return Ok(());
        }
        let roster = self.peers.roster();
        for entry in &message.entries {
            if entry.data.is_empty() && entry.entry_type == 0 {
                continue;
            }
            let change =
                membership::open(entry, &self.ledger_id).map_err(|why| GateRefusal::Forged(format!("entry {}: {why}", entry.index)))?;
            if let Some(proposal) = change {
                // Whether the state approves is asked where it is applied, by the state as of then.
                self.signed_by(&roster, proposal.proposer, proposal.key, "membership change", entry.index)?;
                continue;
            }
            let block = admit_block(&entry.data, &self.cache).map_err(|r| GateRefusal::Forged(format!("block at {}: {r}", entry.index)))?;
            self.signed_by(&roster, block.body.proposer, block.key, "block", entry.index)?;
            if self.is_early(block.body.time_ms, now) {
                return Err(GateRefusal::Early(format!(
                    "the block at {} is {} ms ahead of this node's clock: check the clocks",
                    entry.index,
                    block.body.time_ms - now.0
                )));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use vermilion_crypto::{SUITE_1, SigningKey};
    use vermilion_proto::{Body, ChangeUnit, Command, Head, Signer, SignerKind, body::Of};
    use vermilion_registry::submission::{Sealed, encode_submission};

    fn submitted() -> Submitted {
        let key = SigningKey::from_seed(&[1; 32]);
        let kind = SignerKind::Operator.into();
        let signer = Signer { key_id: key.public().id().to_vec(), unit: "u".into(), post: "approve".into(), kind, authentication: None };
        let head = Head {
            format_version: 1,
            suite: SUITE_1,
            ledger_id: vec![1; 32],
            nonce: vec![2; 16],
            not_after_ms: 9,
            unit: "u".into(),
            signers: vec![signer],
            ..Head::default()
        };
        let of = Of::ChangeUnit(ChangeUnit { uscc: "u".into(), action: "suspend".into() });
        let (_, envelope) = vermilion_identity::seal(&Command { head: Some(head), body: Some(Body { of: Some(of) }) }, &[&key]);
        open_submission(&encode_submission(envelope.into(), Vec::new(), Sealed::default())).unwrap()
    }

    #[test]
    fn what_comes_in_by_door_and_block_is_charged_once() {
        let cache = VerifiedCache::default();
        // A large one by itself, the same in a block with many small ones, and the other way round.
        for (first, second) in [(4 << 20, 40 << 10), (40 << 10, 4 << 20)] {
            for _ in 0..20 {
                cache.put([1; 32], submitted(), first);
                cache.put([1; 32], submitted(), second);
                assert!(cache.take(&[1; 32]).is_some());
                assert_eq!(cache.lock().bytes, 0);
            }
        }
        // And beyond its bound the oldest goes.
        cache.put([2; 32], submitted(), CACHE_BYTES);
        cache.put([3; 32], submitted(), 1);
        assert!(cache.take(&[2; 32]).is_none() && cache.take(&[3; 32]).is_some());
    }
}
