//! The gate: nothing reaches Raft whose signatures do not hold. It runs on the connections' own
//! tasks, off the ready loop; each signature is checked once, wherever it comes in first.

use crate::block::{OpenBlock, open_block};
use raft::eraftpb::{Message, MessageType};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use vermilion_consensus::{Gate, Millis, Refusal as GateRefusal};
use vermilion_crypto::{Digest, batch::Batch};
use vermilion_proto::{Bytes, GenesisNode, LedgerHead, canonical};
use vermilion_registry::reason::{Reason, Refusal};
use vermilion_registry::submission::{Submitted, open_submission, submission_digest};

/// How far a block's time may lie ahead of this node's clock, in milliseconds (design, invariant 2).
pub const MAX_AHEAD_MS: u64 = 5_000;
/// Verified submissions kept for apply, by bytes. Beyond that the oldest is dropped; apply then
/// opens it again, which costs time and nothing else.
const CACHE_BYTES: usize = 40 << 20;

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
        if inner.entries.insert(digest, (submitted, size)).is_none() {
            inner.order.push_back(digest);
            inner.bytes += size;
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
        fresh.push((digest, submitted, submission.len()));
    }
    batch.verify().map_err(|_| Refusal::new(Reason::BadSignature, "a signature in the block does not hold"))?;
    for (digest, submitted, size) in fresh {
        cache.put(digest, submitted, size);
    }
    Ok(block)
}

/// The gate in front of the driver.
pub struct NodeGate {
    cache: Arc<VerifiedCache>,
    nodes: BTreeMap<u64, Vec<u8>>,
}

impl NodeGate {
    /// With what was verified here, and the nodes whose keys sign blocks.
    #[must_use]
    pub fn new(cache: Arc<VerifiedCache>, nodes: &[GenesisNode]) -> Self {
        Self { cache, nodes: nodes.iter().map(|n| (n.raft_id, n.node_key.clone())).collect() }
    }

    /// What a snapshot says must at least be of its form, and not of a time that has not come: after
    /// it every honest block would be void.
    fn snapshot(message: &Message, now: Millis) -> Result<(), GateRefusal> {
        let head: LedgerHead =
            canonical(&message.get_snapshot().data).map_err(|e| GateRefusal::Forged(format!("a snapshot's manifest: {e}")))?;
        if head.chain.len() != 32 || head.block.len() != 32 {
            return Err(GateRefusal::Forged("a snapshot's manifest has no chain or block".into()));
        }
        if head.time_ms > now.0 + MAX_AHEAD_MS {
            return Err(GateRefusal::Early("a snapshot of a time ahead of this node's clock".into()));
        }
        Ok(())
    }
}

impl Gate for NodeGate {
    fn admit(&self, message: &Message, now: Millis) -> Result<(), GateRefusal> {
        // Read-index questions and answers carry their context in an entry; only appends bring blocks.
        if message.msg_type == MessageType::MsgSnapshot as i32 {
            return Self::snapshot(message, now);
        }
        if message.msg_type != MessageType::MsgAppend as i32 {
            return Ok(());
        }
        for entry in &message.entries {
            if entry.data.is_empty() {
                continue;
            }
            if entry.entry_type != 0 {
                return Err(GateRefusal::Forged(format!("entry {} changes the membership, which no record approved", entry.index)));
            }
            let block = admit_block(&entry.data, &self.cache).map_err(|r| GateRefusal::Forged(format!("block at {}: {r}", entry.index)))?;
            if self.nodes.get(&block.body.proposer).is_none_or(|key| key[..] != block.key.0) {
                return Err(GateRefusal::Forged(format!("the block at {} is not signed by the node that it names", entry.index)));
            }
            if block.body.time_ms > now.0 + MAX_AHEAD_MS {
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
