//! Every node is a witness: it cosigns the checkpoint of each commitment record that it applied,
//! shows it to the others and hears theirs. Two roots for one size, both signed, stop the node, with
//! the evidence kept.

use crate::apply::CommitmentPoint;
use crate::keys::NodeKeys;
use crate::membership::Roster;
use crate::peers::Peers;
use crate::runtime::{FatalStop, now_ms};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use tokio::sync::{mpsc, watch};
use vermilion_crypto::Digest;
use vermilion_ledger::{Checkpoint, Conflict, LedgerError, SignedNote, Trust, cosign, make_checkpoint, merge, verify};
use vermilion_proto::{CosignRequest, Genesis};
use vermilion_registry::pinned;
use vermilion_storage::Store;

/// Notes of others for sizes that this node has not applied yet; the farthest are dropped.
const AHEAD: usize = 64;
/// How soon a node that was no witness looks again whether it is one.
const LOOK_AGAIN: std::time::Duration = std::time::Duration::from_secs(1);
/// Bytes of a note that is taken from another node.
const MAX_NOTE: usize = 16 << 10;

/// The witness of one node.
pub struct WitnessOffice {
    store: Store,
    genesis: Genesis,
    ledger_id: Digest,
    /// Whose cosignatures count: the nodes' that are present.
    trust: RwLock<Arc<Trust>>,
    name: String,
    cosigning: vermilion_crypto::SigningKey,
    ledger: Option<vermilion_crypto::SigningKey>,
    ahead: Mutex<BTreeMap<u64, Vec<u8>>>,
    latest: watch::Sender<u64>,
    fatal: mpsc::UnboundedSender<FatalStop>,
    /// One merge at a time, so that no cosignature is lost between reading and writing a note.
    merging: Mutex<()>,
}

impl WitnessOffice {
    /// Opens the office of the node of this name.
    pub fn new(
        store: Store,
        genesis: &Genesis,
        ledger_id: Digest,
        name: &str,
        keys: &NodeKeys,
        fatal: mpsc::UnboundedSender<FatalStop>,
    ) -> Result<Self, String> {
        let trust = pinned::trust_of(genesis, ledger_id, None, true).map_err(|e| e.to_string())?;
        let name = pinned::witness_name(&genesis.origin, name);
        let size = store.latest_checkpoint().map_err(|e| e.to_string())?.map_or(0, |(size, _)| size);
        let (latest, _) = watch::channel(size);
        Ok(Self {
            store,
            genesis: genesis.clone(),
            ledger_id,
            trust: RwLock::new(Arc::new(trust)),
            name,
            cosigning: keys.cosigning.clone(),
            ledger: keys.ledger.clone(),
            ahead: Mutex::default(),
            latest,
            fatal,
            merging: Mutex::default(),
        })
    }

    /// Whose cosignatures count here: those of the nodes that the state knows and has not banned.
    #[must_use]
    pub fn trust(&self) -> Arc<Trust> {
        Arc::clone(&self.trust.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether this node's own cosignature counts.
    fn counts(&self) -> bool {
        let own = self.cosigning.public();
        self.trust().settings().witnesses.iter().any(|w| w.name == self.name && w.key == own)
    }

    /// From here on these nodes' cosignatures count.
    pub fn follow(&self, roster: &Roster) {
        let genesis = Genesis { nodes: roster.present().cloned().collect(), ..self.genesis.clone() };
        match pinned::trust_of(&genesis, self.ledger_id, None, true) {
            Ok(trust) => *self.trust.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(trust),
            Err(error) => tracing::error!(%error, "the nodes' cosigning keys do not make a trust: those of before count"),
        }
    }

    /// Told whenever a checkpoint is made or gains a cosignature.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.latest.subscribe()
    }

    fn ahead(&self) -> MutexGuard<'_, BTreeMap<u64, Vec<u8>>> {
        self.ahead.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Cosigns what this node computed at a commitment record, and keeps it.
    fn sign(&self, point: &CommitmentPoint) -> Result<Vec<u8>, LedgerError> {
        let checkpoint = Checkpoint { origin: self.genesis.origin.clone(), size: point.size, root: point.root };
        let line = cosign(&checkpoint.body(), &self.name, &self.cosigning, now_ms() / 1000)?;
        let note = match &self.ledger {
            Some(key) => {
                let mut note = make_checkpoint(&checkpoint, key)?;
                note.add(line)?;
                note
            }
            None => SignedNote::new(&checkpoint.body(), vec![line])?,
        };
        Ok(note.to_bytes())
    }

    /// Takes a note in, of this node or another, and returns the note with all that is known of it.
    ///
    /// A conflict stops the node: it can no longer tell which history is the ledger's.
    pub fn take(&self, note: &[u8]) -> Result<Vec<u8>, String> {
        if note.len() > MAX_NOTE {
            return Err("the note is too long".into());
        }
        let verified = verify(note, &self.trust()).map_err(|e| e.to_string())?;
        let _one = self.merging.lock().unwrap_or_else(PoisonError::into_inner);
        let known = self.store.checkpoint(verified.size).map_err(|e| e.to_string())?;
        let Some(known) = known else {
            let mut ahead = self.ahead();
            let merged = match ahead.get(&verified.size) {
                Some(held) => self.merge_or_stop(held, note)?,
                None => note.to_vec(),
            };
            ahead.insert(verified.size, merged.clone());
            while ahead.len() > AHEAD {
                // Far ahead there is nothing that this node will reach soon.
                ahead.pop_last();
            }
            return Ok(merged);
        };
        let merged = self.merge_or_stop(&known, note)?;
        if merged != known {
            self.store.put_checkpoint(verified.size, &merged).map_err(|e| e.to_string())?;
            self.latest.send_modify(|size| *size = (*size).max(verified.size));
        }
        Ok(merged)
    }

    fn merge_or_stop(&self, known: &[u8], note: &[u8]) -> Result<Vec<u8>, String> {
        if let Some(conflict) = Conflict::detect(known, note, &self.trust()).map_err(|e| e.to_string())? {
            return Err(self.stop(&conflict));
        }
        Ok(merge(known, note, &self.trust()).map_err(|e| e.to_string())?.to_bytes())
    }

    fn stop(&self, conflict: &Conflict) -> String {
        let file = self.store.dir().join(format!("conflict-{}.txt", conflict.size));
        let mut evidence = Vec::new();
        for note in &conflict.notes {
            evidence.extend_from_slice(&note.to_bytes());
            evidence.push(b'\n');
        }
        let kept = match std::fs::write(&file, evidence) {
            Ok(()) => format!("the two signed notes are kept in {}", file.display()),
            Err(e) => format!("and the evidence could not be written: {e}"),
        };
        let why = format!(
            "two different histories of {} records were signed; {kept}. Do not restart the node before it is known which nodes lied",
            conflict.size
        );
        let _ = self.fatal.send(FatalStop(why.clone()));
        why
    }

    /// This node's own point at a commitment record: signed, merged with what others sent before.
    fn own(&self, point: &CommitmentPoint) -> Result<Vec<u8>, String> {
        let known = self.store.checkpoint(point.size).map_err(|e| e.to_string())?;
        if let Some(known) = known {
            // The log is replayed after a restart. What was cosigned is not cosigned again: a
            // cosignature says that this is the newest tree that the witness knows.
            let note = SignedNote::parse(&known).map_err(|e| e.to_string())?;
            let checkpoint = Checkpoint::parse(note.body()).map_err(|e| e.to_string())?;
            if checkpoint.root != point.root {
                return Err("another root was cosigned for this size before".into());
            }
            if note.lines().iter().any(|line| line.name() == self.name) {
                return Ok(known);
            }
        }
        let note = self.sign(point).map_err(|e| e.to_string())?;
        let early = {
            let _one = self.merging.lock().unwrap_or_else(PoisonError::into_inner);
            let known = self.store.checkpoint(point.size).map_err(|e| e.to_string())?;
            let note = match &known {
                Some(known) => self.merge_or_stop(known, &note)?,
                None => note.clone(),
            };
            self.store.put_checkpoint(point.size, &note).map_err(|e| e.to_string())?;
            // Under the same lock as `take`, which from here on finds the checkpoint.
            self.ahead().remove(&point.size)
        };
        let merged = match early {
            Some(early) => self.take(&early)?,
            None => self.take(&note)?,
        };
        self.latest.send_modify(|size| *size = (*size).max(point.size));
        Ok(merged)
    }

    /// Cosigns what comes from the applier and exchanges it with the others, until the node stops.
    pub async fn run(self: Arc<Self>, id: u64, peers: Peers, mut points: mpsc::UnboundedReceiver<CommitmentPoint>) {
        let mut held = None;
        loop {
            let point = match tokio::time::timeout(LOOK_AGAIN, points.recv()).await {
                Ok(Some(point)) => point,
                Ok(None) => return,
                Err(_) => match held.take() {
                    Some(point) => point,
                    None => continue,
                },
            };
            // After a restart the log's last part is applied again; newer trees were cosigned before.
            if point.size < *self.latest.borrow() {
                continue;
            }
            // A node that is not admitted yet, or no more, is no witness. Its admission may come in the same batch.
            if !self.counts() {
                held = Some(point);
                continue;
            }
            let note = match self.own(&point) {
                Ok(note) => note,
                Err(why) => {
                    let _ = self.fatal.send(FatalStop(format!("the checkpoint of {} records could not be made: {why}", point.size)));
                    return;
                }
            };
            for peer in peers.ids() {
                let (office, peers, note) = (Arc::clone(&self), peers.clone(), note.clone());
                tokio::spawn(async move {
                    match peers.cosign(peer, CosignRequest { from: id, note }).await {
                        Ok(reply) => {
                            if let Err(why) = office.take(&reply.note) {
                                tracing::warn!(peer, why, "a peer's note was not taken");
                            }
                        }
                        Err(status) => tracing::debug!(peer, %status, "a checkpoint was not shown to a peer"),
                    }
                });
            }
        }
    }

    /// The first checkpoint that covers `seq` with the quorum, or else the newest that covers it.
    pub fn covering(&self, seq: u64) -> Result<Option<(u64, Vec<u8>)>, String> {
        let mut best: Option<(u64, Vec<u8>)> = None;
        let mut looked = 0;
        self.store
            .checkpoints(seq + 1, &mut |size, note| {
                looked += 1;
                let enough = verify(note, &self.trust()).is_ok_and(|v| v.check_quorum(&self.trust()).is_ok());
                best = Some((size, note.to_vec()));
                !enough && looked < 256
            })
            .map_err(|e| e.to_string())?;
        Ok(best)
    }
}
