//! Every node is a witness: it cosigns the checkpoint of each commitment record that it applied,
//! shows it to the others and hears theirs. Before it cosigns it proves to itself that the tree
//! continues the one that it cosigned before, and keeps the proof. Two histories, both signed, stop
//! the node, with the evidence kept.
//!
//! A checkpoint is *published*, and with it its tiles and proofs, once the ledger key has signed it
//! and, where the configuration says `otherwise = "closed"`, enough outside witnesses have cosigned.

mod continuity;

pub use continuity::Continuity;

use crate::apply::CommitmentPoint;
use crate::edge::Edge;
use crate::keys::NodeKeys;
use crate::membership::Roster;
use crate::peers::Peers;
use crate::recent::Recent;
use crate::rotation::Rotated;
use crate::runtime::{FatalStop, now_ms};
use continuity::root_of;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use tokio::sync::{mpsc, watch};
use vermilion_ledger::{
    Checkpoint, Conflict, Digest, Divergence, LedgerError, Policy, SignatureLine, SignedNote, Trust, Verified, cosign, merge, verify,
};
use vermilion_proto::{CosignRequest, Genesis};
use vermilion_registry::pinned;
use vermilion_storage::Store;

/// Notes of others for sizes that this node has not applied yet; the farthest are dropped.
const AHEAD: usize = 64;
/// How soon a node that was no witness looks again whether it is one.
const LOOK_AGAIN: std::time::Duration = std::time::Duration::from_secs(1);
/// Bytes of a note that is taken from another node.
const MAX_NOTE: usize = 16 << 10;
/// Commitments that wait to be cosigned, as while a log is applied again: older ones are passed over, since the newest tree
/// begins with theirs. An audit of what a kill leaves counts on it.
const WAITING: usize = 16;
/// Checkpoints that are read one after the other in search of one: some 50 ms of signatures.
const LOOK_THROUGH: usize = 256;

/// The witness of one node.
pub struct WitnessOffice {
    pub(crate) store: Store,
    genesis: Genesis,
    ledger_id: Digest,
    /// What a checkpoint needs of outside witnesses.
    policy: Policy,
    /// Whose cosignatures count: the nodes' that are present.
    trust: RwLock<Arc<Trust>>,
    pub(crate) edge: Arc<Edge>,
    pub(crate) rotated: Arc<Rotated>,
    /// Where it is told which checkpoints have the quorum.
    recent: Arc<Recent>,
    name: String,
    pub(crate) cosigning: vermilion_crypto::SigningKey,
    /// The ledger keys that are here: the one that serves, and before or after it others.
    pub(crate) ledger: Vec<vermilion_crypto::SigningKey>,
    ahead: Mutex<BTreeMap<u64, Vec<u8>>>,
    latest: watch::Sender<u64>,
    /// Size of the newest checkpoint that the ledger key has signed, 0 before the first.
    signed: watch::Sender<u64>,
    /// Size of the newest published checkpoint, 0 before the first.
    published: watch::Sender<u64>,
    /// Size of the newest checkpoint that is known to have the quorum, 0 while none is.
    quorate: AtomicU64,
    fatal: mpsc::UnboundedSender<FatalStop>,
    /// Whether it has cosigned all that there was, and the applier has ended.
    ended: watch::Sender<bool>,
    /// One merge at a time, so that no cosignature is lost between reading and writing a note.
    merging: Mutex<()>,
}

impl WitnessOffice {
    /// Opens the office of the node of this name. The policy says how many outside witnesses a checkpoint
    /// needs to be published; edge, rotated keys and recent commitments are the applier's. It [begins](Self::begin)
    /// when it knows whose cosignatures count.
    pub fn new(
        store: Store,
        (genesis, ledger_id): (&Genesis, Digest),
        policy: Policy,
        (edge, rotated, recent): (Arc<Edge>, Arc<Rotated>, Arc<Recent>),
        name: &str,
        keys: &NodeKeys,
        fatal: mpsc::UnboundedSender<FatalStop>,
    ) -> Result<Self, String> {
        let trust = pinned::trust_of(genesis, ledger_id, None, true).and_then(|trust| trust.with_policy(policy.clone()));
        let trust = trust.and_then(|trust| trust.with_newer_keys(rotated.ledger()));
        let trust = trust.map_err(|e| format!("witness: {e}"))?;
        let name = pinned::witness_name(&genesis.origin, name);
        let size = store.latest_checkpoint().map_err(|e| e.to_string())?.map_or(0, |(size, _)| size);
        let (latest, _) = watch::channel(size);
        let (published, _) = watch::channel(store.published().map_err(|e| e.to_string())?.unwrap_or(0));
        let (signed, _) = watch::channel(*published.borrow());
        Ok(Self {
            store,
            genesis: genesis.clone(),
            ledger_id,
            policy,
            trust: RwLock::new(Arc::new(trust)),
            edge,
            rotated,
            recent,
            name,
            cosigning: keys.cosigning.clone(),
            ledger: keys.ledger.clone(),
            ahead: Mutex::default(),
            latest,
            signed,
            published,
            quorate: AtomicU64::new(0),
            fatal,
            ended: watch::Sender::new(false),
            merging: Mutex::default(),
        })
    }

    /// Whose cosignatures count here: those of the nodes that the state knows and has not banned. The ledger
    /// keys are those that its records endorse.
    #[must_use]
    pub fn trust(&self) -> Arc<Trust> {
        let held = Arc::clone(&self.trust.read().unwrap_or_else(PoisonError::into_inner));
        let newer = self.rotated.ledger();
        if held.newer_keys() == newer {
            return held;
        }
        match (*held).clone().with_newer_keys(newer) {
            Ok(trust) => {
                let trust = Arc::new(trust);
                let mut current = self.trust.write().unwrap_or_else(PoisonError::into_inner);
                // Unless the group has changed meanwhile: then its trust has the keys already.
                if Arc::ptr_eq(&current, &held) {
                    *current = Arc::clone(&trust);
                }
                Arc::clone(&current)
            }
            Err(error) => {
                tracing::error!(%error, "the ledger keys do not make a trust: those of before count");
                held
            }
        }
    }

    /// Whether this node's own cosignature counts.
    fn counts(&self) -> bool {
        let own = self.cosigning.public();
        self.trust().settings().witnesses.iter().any(|w| w.name == self.name && w.key == own)
    }

    /// From here on these nodes' cosignatures count.
    pub fn follow(&self, roster: &Roster) {
        match pinned::trust_in(&self.genesis, roster.present(), self.ledger_id, None, true)
            .and_then(|trust| trust.with_policy(self.policy.clone()))
            .and_then(|trust| trust.with_newer_keys(self.rotated.ledger()))
        {
            Ok(trust) => *self.trust.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(trust),
            Err(error) => tracing::error!(%error, "the nodes' cosigning keys do not make a trust: those of before count"),
        }
    }

    /// Told whenever a checkpoint is made or gains a cosignature.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.latest.subscribe()
    }

    /// Told whenever a newer checkpoint has the ledger key's signature: what outside witnesses take.
    #[must_use]
    pub fn watch_signed(&self) -> watch::Receiver<u64> {
        self.signed.subscribe()
    }

    /// The size of the newest published checkpoint.
    #[must_use]
    pub fn published_size(&self) -> Option<u64> {
        Some(*self.published.borrow()).filter(|size| *size > 0)
    }

    /// The newest published checkpoint: size and note, with all cosignatures that are known by now.
    pub fn published(&self) -> Result<Option<(u64, Vec<u8>)>, String> {
        let Some(size) = self.published_size() else { return Ok(None) };
        Ok(self.store.checkpoint(size).map_err(|e| e.to_string())?.map(|note| (size, note)))
    }

    /// The newest checkpoint that may be shown: where outside witnesses are asked for, the newest
    /// published one; else the newest that this node cosigned.
    pub fn newest(&self) -> Result<Option<(u64, Vec<u8>)>, String> {
        if self.policy.outside_need > 0 {
            return self.published();
        }
        self.store.latest_checkpoint().map_err(|e| e.to_string())
    }

    /// A checkpoint that may be shown, of exactly this size.
    pub fn shown(&self, size: u64) -> Result<Option<Vec<u8>>, String> {
        let note = self.store.checkpoint(size).map_err(|e| e.to_string())?;
        Ok(note.filter(|note| self.policy.outside_need == 0 || verify(note, &self.trust()).is_ok_and(|v| self.witnessed(&v))))
    }

    /// Whether a checkpoint has what this node counts as the quorum, outside witnesses among it where they are asked for.
    #[must_use]
    pub fn has_quorum(&self, note: &[u8]) -> bool {
        let trust = self.trust();
        verify(note, &trust).is_ok_and(|verified| verified.check_quorum(&trust).is_ok())
    }

    /// Whether as many outside witnesses cosigned as the policy asks for.
    fn witnessed(&self, verified: &Verified) -> bool {
        verified.outside.len() >= self.policy.outside_need
    }

    /// Keeps a note of this node's own sizes, and publishes it if it may be.
    fn put(&self, size: u64, note: &[u8]) -> Result<(), String> {
        self.store.put_checkpoint(size, note).map_err(|e| e.to_string())?;
        self.publish(size, note)
    }

    fn publish(&self, size: u64, note: &[u8]) -> Result<(), String> {
        let trust = self.trust();
        let verified = verify(note, &trust).map_err(|e| e.to_string())?;
        if verified.check_quorum(&trust).is_ok() {
            self.quorate.fetch_max(size, Ordering::Relaxed);
            // Now, and not when somebody asks: by then its status vector may be gone.
            self.recent.note_quorum(size);
        }
        if verified.signed_by_ledger {
            self.signed.send_if_modified(|newest| {
                let newer = *newest < size;
                *newest = size.max(*newest);
                newer
            });
        }
        if verified.signed_by_ledger && self.witnessed(&verified) && self.published_size().is_none_or(|before| before < size) {
            self.store.put_published(size).map_err(|e| e.to_string())?;
            self.published.send_replace(size);
        }
        // Whoever waits for a quorum looks again.
        self.latest.send_modify(|_| {});
        Ok(())
    }

    /// Goes on from the checkpoints that are kept here, that of a state which this node has just taken from another among
    /// them. Nothing new need come for it: the newest that the ledger key signed may still wait for its outside witnesses,
    /// or be published under the configuration of today.
    pub fn begin(&self) -> Result<(), String> {
        let _one = self.merging.lock().unwrap_or_else(PoisonError::into_inner);
        let mut kept = self.store.latest_checkpoint().map_err(|e| e.to_string())?;
        if let Some((size, _)) = &kept {
            self.latest.send_modify(|newest| *newest = (*newest).max(*size));
        }
        for _ in 0..LOOK_THROUGH {
            let Some((size, note)) = kept else { break };
            if verify(&note, &self.trust()).is_ok_and(|verified| verified.signed_by_ledger) {
                self.publish(size, &note)?;
                // What has the quorum has the ledger key's signature too: nothing older is looked for.
                if self.quorate.load(Ordering::Relaxed) > 0 {
                    break;
                }
            }
            kept = self.store.checkpoint_before(size).map_err(|e| e.to_string())?;
        }
        Ok(())
    }

    fn ahead(&self) -> MutexGuard<'_, BTreeMap<u64, Vec<u8>>> {
        self.ahead.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Cosigns what this node computed at a commitment record, and keeps it.
    fn sign(&self, point: &CommitmentPoint) -> Result<Vec<u8>, LedgerError> {
        let checkpoint = Checkpoint { origin: self.genesis.origin.clone(), size: point.size, root: point.root };
        let mut lines = self.ledger_lines(&checkpoint)?;
        lines.push(cosign(&checkpoint.body(), &self.name, &self.cosigning, now_ms() / 1000)?);
        Ok(SignedNote::new(&checkpoint.body(), lines)?.to_bytes())
    }

    /// Takes a note in, of this node or another, and returns the note with all that is known of it. It may wait for the disk:
    /// tasks [have it done](Self::take_in).
    ///
    /// A conflict stops the node: it can no longer tell which history is the ledger's.
    fn take(&self, note: &[u8]) -> Result<Vec<u8>, String> {
        if note.len() > MAX_NOTE {
            return Err("the note is too long".into());
        }
        let verified = verify(note, &self.trust()).map_err(|e| e.to_string())?;
        let _one = self.merging.lock().unwrap_or_else(PoisonError::into_inner);
        let known = self.store.checkpoint(verified.size).map_err(|e| e.to_string())?;
        let Some(known) = known else {
            if let Some(divergence) = self.divergence(&verified, note)? {
                return Err(self.stop(divergence.sizes[0], divergence.to_text()));
            }
            let mut ahead = self.ahead();
            let merged = match ahead.get(&verified.size) {
                Some(held) => self.merge_or_stop(held, note)?,
                None => note.to_vec(),
            };
            ahead.insert(verified.size, merged.clone());
            // Sizes that were passed without a checkpoint of this node's own.
            let newest = *self.latest.borrow();
            ahead.retain(|size, _| *size > newest || *size == verified.size);
            while ahead.len() > AHEAD {
                // Far ahead there is nothing that this node will reach soon.
                ahead.pop_last();
            }
            return Ok(merged);
        };
        let merged = self.merge_or_stop(&known, note)?;
        if merged != known {
            self.put(verified.size, &merged)?;
            self.latest.send_modify(|size| *size = (*size).max(verified.size));
        }
        Ok(merged)
    }

    fn merge_or_stop(&self, known: &[u8], note: &[u8]) -> Result<Vec<u8>, String> {
        if let Some(conflict) = Conflict::detect(known, note, &self.trust()).map_err(|e| e.to_string())? {
            return Err(self.stop(conflict.size, conflict.to_text()));
        }
        Ok(merge(known, note, &self.trust()).map_err(|e| e.to_string())?.to_bytes())
    }

    /// Whether a note for a size at which this node made no checkpoint shows another history than its
    /// newest checkpoint continues.
    fn divergence(&self, verified: &Verified, note: &[u8]) -> Result<Option<Divergence>, String> {
        let tree = self.edge.tree();
        let newest = self.store.latest_checkpoint().map_err(|e| e.to_string())?;
        let Some((newest, own)) = newest.filter(|(size, _)| *size > verified.size && *size <= tree.size()) else { return Ok(None) };
        let root = tree.root_at(&self.store, verified.size).map_err(|e| e.to_string())?;
        if root == verified.root {
            return Ok(None);
        }
        let proof = tree.consistency(&self.store, verified.size, newest).map_err(|e| e.to_string())?;
        Divergence::detect(note, &own, root, &proof, &self.trust()).map_err(|e| e.to_string())
    }

    /// Stops the node: it can no longer tell which history is the ledger's.
    fn stop(&self, size: u64, evidence: Vec<u8>) -> String {
        let file = self.store.dir().join(format!("conflict-{size}.txt"));
        let kept = match std::fs::write(&file, evidence) {
            Ok(()) => format!("the two signed notes are kept in {}", file.display()),
            Err(e) => format!("and the evidence could not be written: {e}"),
        };
        let why = format!(
            "two different histories of {size} records were signed; {kept}. Do not restart the node before it is known which nodes lied"
        );
        let _ = self.fatal.send(FatalStop(why.clone()));
        why
    }

    /// Takes a note in on a thread that may wait: for the disk, or for one who syncs this node's own cosignature. A task that
    /// waited so would keep others from their turn.
    pub async fn take_in(self: &Arc<Self>, note: Vec<u8>) -> Result<Vec<u8>, String> {
        let office = Arc::clone(self);
        tokio::task::spawn_blocking(move || office.take(&note)).await.map_err(|e| e.to_string())?
    }

    /// Adds an outside witness' cosignature to the checkpoint of this size. Returns the whole note.
    pub async fn add_outside(self: &Arc<Self>, size: u64, line: SignatureLine) -> Result<Vec<u8>, String> {
        let known = self.store.checkpoint(size).map_err(|e| e.to_string())?.ok_or("there is no such checkpoint")?;
        let mut note = SignedNote::parse(&known).map_err(|e| e.to_string())?;
        note.add(line).map_err(|e| e.to_string())?;
        self.take_in(note.to_bytes()).await
    }

    /// This node's own point at a commitment record: signed, merged with what others sent before.
    fn own(&self, point: &CommitmentPoint) -> Result<Vec<u8>, String> {
        let known = self.store.checkpoint(point.size).map_err(|e| e.to_string())?;
        if let Some(known) = known {
            // The log is replayed after a restart. What was cosigned is not cosigned again: a
            // cosignature says that this is the newest tree that the witness knows.
            if root_of(&known)? != point.root {
                return Err("another root was cosigned for this size before".into());
            }
            if self.is_own(&SignedNote::parse(&known).map_err(|e| e.to_string())?) {
                // Which ledger key serves at its size may be known only now that the log is applied again.
                let _one = self.merging.lock().unwrap_or_else(PoisonError::into_inner);
                if let Err(why) = self.publish(point.size, &known) {
                    tracing::warn!(size = point.size, why, "a checkpoint that was kept does not verify");
                }
                return Ok(known);
            }
        }
        self.prove_continuity(point)?;
        let note = self.sign(point).map_err(|e| e.to_string())?;
        let early = {
            let _one = self.merging.lock().unwrap_or_else(PoisonError::into_inner);
            let known = self.store.checkpoint(point.size).map_err(|e| e.to_string())?;
            let note = match &known {
                Some(known) => self.merge_or_stop(known, &note)?,
                None => note.clone(),
            };
            // On the disk before anybody sees it: after a power cut too this node knows what it has cosigned.
            self.store.put_cosigned(point.size, &note).map_err(|e| e.to_string())?;
            self.publish(point.size, &note)?;
            // Under the same lock as `take`, which from here on finds the checkpoint.
            self.ahead().remove(&point.size)
        };
        // It was kept as it came. A line of it may be of somebody who counts no more, or be no signature of a
        // key that counts since: that is no reason to stop.
        let merged = match early.filter(|early| verify(early, &self.trust()).is_ok()) {
            Some(early) => self.take(&early)?,
            None => self.take(&note)?,
        };
        self.latest.send_modify(|size| *size = (*size).max(point.size));
        Ok(merged)
    }

    /// Cosigns what comes from the applier and exchanges it with the others, until the node stops.
    pub async fn run(self: Arc<Self>, id: u64, peers: Peers, points: mpsc::UnboundedReceiver<CommitmentPoint>) {
        self.cosign_all(id, &peers, points).await;
        self.ended.send_replace(true);
    }

    /// Waits until everything is cosigned that was applied, once the applier has ended.
    pub async fn ended(&self) {
        let _ = self.ended.subscribe().wait_for(|ended| *ended).await;
    }

    async fn cosign_all(self: &Arc<Self>, id: u64, peers: &Peers, mut points: mpsc::UnboundedReceiver<CommitmentPoint>) {
        let mut held = None;
        loop {
            let point = match tokio::time::timeout(LOOK_AGAIN, points.recv()).await {
                Ok(Some(point)) => point,
                Ok(None) => match held.take().filter(|_| self.counts()) {
                    Some(point) => point,
                    None => return,
                },
                Err(_) => match held.take() {
                    Some(point) => point,
                    None => continue,
                },
            };
            // After a restart the log's last part is applied again; newer trees were cosigned before.
            if point.size < *self.latest.borrow() || points.len() > WAITING {
                continue;
            }
            // A node that is not admitted yet, or no more, is no witness. Its admission may come in the same batch.
            if !self.counts() {
                held = Some(point);
                continue;
            }
            // It waits for the disk: another thread does meanwhile what this one would.
            let note = match tokio::task::block_in_place(|| self.own(&point)) {
                Ok(note) => note,
                Err(why) => {
                    let _ = self.fatal.send(FatalStop(format!("the checkpoint of {} records could not be made: {why}", point.size)));
                    return;
                }
            };
            self.show(id, peers, &note);
        }
    }

    /// Whether this node computed a checkpoint's root itself: then its own line is there.
    #[must_use]
    pub fn is_own(&self, note: &SignedNote) -> bool {
        note.lines().iter().any(|line| line.name() == self.name)
    }

    /// Shows a note to the other nodes, and takes in what they know of it.
    pub fn show(self: &Arc<Self>, id: u64, peers: &Peers, note: &[u8]) {
        for peer in peers.ids() {
            let (office, peers, note) = (Arc::clone(self), peers.clone(), note.to_vec());
            tokio::spawn(async move {
                match peers.cosign(peer, CosignRequest { from: id, note }).await {
                    Ok(reply) => {
                        if let Err(why) = office.take_in(reply.note).await {
                            tracing::warn!(peer, why, "a peer's note was not taken");
                        }
                    }
                    Err(status) => tracing::debug!(peer, %status, "a checkpoint was not shown to a peer"),
                }
            });
        }
    }

    /// The newest checkpoint of at least this many records that has the quorum.
    pub fn newest_quorate(&self, at_least: u64) -> Result<Option<(u64, Vec<u8>)>, String> {
        // Known since its last cosignature came: with a node away there may be any number of newer ones without.
        let known = self.quorate.load(Ordering::Relaxed);
        if known > 0 && known < at_least {
            return Ok(None);
        }
        // After a crash the checkpoints are there before their records are applied again.
        let applied = self.edge.size();
        let note = self.store.checkpoint(known).map_err(|e| e.to_string())?;
        if let Some(note) = note.filter(|note| known <= applied && self.has_quorum(note)) {
            return Ok(Some((known, note)));
        }
        // None was found at the start, or others count now than then: the oldest that will do, as a last resort.
        let (mut found, mut looked) = (None, 0);
        self.store
            .checkpoints(at_least, &mut |size, note| {
                looked += 1;
                found = (size <= applied && self.has_quorum(note)).then(|| (size, note.to_vec()));
                found.is_none() && size <= applied && looked < LOOK_THROUGH
            })
            .map_err(|e| e.to_string())?;
        Ok(found)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
