//! Keys that took others' places: which records endorsed them, what proves it to others, and which of them
//! this node lacks.
//!
//! A later ledger key signs every tree that holds its record. The key before it signs beside it until one
//! of these checkpoints has the quorum: that checkpoint endorses the later key to whoever knows the older
//! one alone, and it is kept in a file of its own.

use crate::keys::write_whole;
use crate::node::Node;
use crate::witness::WitnessOffice;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;
use vermilion_ledger::{Checkpoint, LedgerError, NewerKey, SignatureLine, SignedNote, make_checkpoint, merge, verify};
use vermilion_proto::{EndorsementRequest, KeyState, Receipt, VaultKey, canonical};
use vermilion_registry::endorsement::{self, newer_key};
use vermilion_registry::{Fatal, Kv, keys, pinned, query};

/// How often a node looks for endorsements that it has not yet.
const LOOK: Duration = Duration::from_secs(1);
/// Checkpoints that one look reads.
const READ: usize = 256;
/// Of those, how many it reads again the next time: a late cosignature may have come.
const AGAIN: usize = 16;

/// The keys that records have endorsed, as of what was applied, and what proves each.
#[derive(Default)]
pub struct Rotated {
    keys: RwLock<Arc<Vec<KeyState>>>,
    proofs: Mutex<BTreeMap<u64, Proof>>,
    /// Held while one is made, completed or kept: each has one file, and several threads ask for it.
    keeping: Mutex<()>,
}

/// How far an endorsement is.
enum Proof {
    /// The checkpoints up to this size do not make it.
    From(u64),
    /// It is there.
    Made(Vec<u8>),
}

impl Rotated {
    /// As a state has them.
    pub fn read(kv: &dyn Kv) -> Result<Self, Fatal> {
        let rotated = Self::default();
        rotated.renew(kv)?;
        Ok(rotated)
    }

    /// Whether a write of the state changes what is here.
    #[must_use]
    pub fn concerns(key: &[u8]) -> bool {
        key.starts_with(keys::ROTATED)
    }

    /// Reads it again.
    pub fn renew(&self, kv: &dyn Kv) -> Result<(), Fatal> {
        let mut found = query::rotated_keys(kv)?;
        found.sort_by_key(|state| state.from_seq);
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(found);
        Ok(())
    }

    /// All of them, by their records.
    #[must_use]
    pub fn keys(&self) -> Arc<Vec<KeyState>> {
        Arc::clone(&self.keys.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The ledger keys after the genesis's.
    #[must_use]
    pub fn ledger(&self) -> Vec<NewerKey> {
        pinned::newer_keys(&self.keys())
    }

    /// Those whose endorsement is here.
    #[must_use]
    pub fn proved(&self) -> Vec<KeyState> {
        let keys = self.keys();
        if keys.is_empty() {
            return Vec::new();
        }
        let proofs = self.proofs();
        keys.iter().filter(|state| matches!(proofs.get(&state.from_seq), Some(Proof::Made(_)))).cloned().collect()
    }

    fn proofs(&self) -> MutexGuard<'_, BTreeMap<u64, Proof>> {
        self.proofs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn keeping(&self) -> MutexGuard<'_, ()> {
        self.keeping.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn made(&self, seq: u64) -> Option<Vec<u8>> {
        match self.proofs().get(&seq) {
            Some(Proof::Made(endorsement)) => Some(endorsement.clone()),
            _ => None,
        }
    }

    fn state(&self, seq: u64) -> Option<KeyState> {
        self.keys().iter().find(|state| state.from_seq == seq).cloned()
    }
}

impl WitnessOffice {
    /// The ledger's signature lines over a checkpoint: of the key that serves at its size, if it is here, and
    /// of each older one whose successor is not endorsed yet.
    pub(crate) fn ledger_lines(&self, checkpoint: &Checkpoint) -> Result<Vec<SignatureLine>, LedgerError> {
        let trust = self.trust();
        let sign = |key: &vermilion_crypto::PublicKey| -> Result<Option<Vec<SignatureLine>>, LedgerError> {
            let Some(key) = self.ledger.iter().find(|held| held.public() == *key) else { return Ok(None) };
            Ok(Some(make_checkpoint(checkpoint, key)?.lines().to_vec()))
        };
        let Some(mut lines) = sign(trust.ledger_key_at(checkpoint.size))? else {
            if !self.ledger.is_empty() {
                tracing::warn!(size = checkpoint.size, "the ledger key that serves now is not here: not signed as the ledger");
            }
            return Ok(Vec::new());
        };
        for newer in trust.newer_keys().iter().filter(|newer| newer.from < checkpoint.size) {
            if self.endorsement(newer.from).is_ok_and(|made| made.is_some()) {
                continue;
            }
            match sign(trust.before(newer.from).ledger_key_at(checkpoint.size))? {
                Some(former) => lines.extend(former),
                None => tracing::warn!(record = newer.from, "the ledger key that is to endorse the later one is not here"),
            }
        }
        Ok(lines)
    }

    /// What endorses the key of a record, if a checkpoint proves it by now.
    pub fn endorsement(&self, seq: u64) -> Result<Option<Vec<u8>>, String> {
        if let Some(made) = self.rotated.made(seq) {
            return Ok(Some(made));
        }
        let _one = self.rotated.keeping();
        if let Some(made) = self.rotated.made(seq) {
            return Ok(Some(made));
        }
        let Some(state) = self.rotated.state(seq) else { return Ok(None) };
        // Judged when it was kept: who makes a quorum may be others by now, and the key that signed it gone.
        if let Ok(kept) = std::fs::read(self.endorsement_file(seq))
            && endorsement::said(&kept, &self.trust().settings().ledger_id).is_ok_and(|said| said == state)
        {
            self.rotated.proofs().insert(seq, Proof::Made(kept.clone()));
            return Ok(Some(kept));
        }
        let made = self.make_endorsement(&state)?;
        match &made {
            Some(endorsement) if self.proves(endorsement, &state) => self.keep_endorsement(seq, endorsement)?,
            Some(_) => return Err(format!("what was made to endorse the key of record {seq} does not hold")),
            None => {}
        }
        Ok(made)
    }

    /// Takes cosignatures into an endorsement that came after it was made: others may ask for more of them than
    /// this node's own quorum.
    fn improve(&self, state: &KeyState, made: &[u8]) -> Result<(), String> {
        let _one = self.rotated.keeping();
        let receipt = canonical::<Receipt>(made).map_err(|e| e.to_string())?;
        let Some(checkpoint) = self.store.checkpoint(receipt.tree_size).map_err(|e| e.to_string())? else { return Ok(()) };
        let trust = self.endorsers(state);
        let all = 1 + trust.settings().witnesses.len() + trust.policy().outside.len();
        if SignedNote::parse(&receipt.checkpoint).is_ok_and(|note| note.lines().len() >= all) {
            return Ok(());
        }
        let merged = merge(&receipt.checkpoint, &checkpoint, &trust).map_err(|e| e.to_string())?.to_bytes();
        let better = endorsement::make(Receipt { checkpoint: merged, ..receipt }, &trust).map_err(|e| e.to_string())?;
        if better.len() > made.len() && self.proves(&better, state) {
            self.keep_endorsement(state.from_seq, &better)?;
        }
        Ok(())
    }

    fn endorsement_file(&self, seq: u64) -> PathBuf {
        self.store.dir().join(format!("endorsement-{seq}.bin"))
    }

    /// Keeps another node's, unless there is one here by now.
    fn take_endorsement(&self, seq: u64, endorsement: &[u8]) -> Result<(), String> {
        let _one = self.rotated.keeping();
        if self.rotated.made(seq).is_some() { Ok(()) } else { self.keep_endorsement(seq, endorsement) }
    }

    /// Under [`Rotated::keeping`].
    fn keep_endorsement(&self, seq: u64, endorsement: &[u8]) -> Result<(), String> {
        write_whole(&self.endorsement_file(seq), endorsement).map_err(|e| e.to_string())?;
        tracing::info!(record = seq, "the key of this record is endorsed by the quorum");
        self.rotated.proofs().insert(seq, Proof::Made(endorsement.to_vec()));
        Ok(())
    }

    /// Whose signatures count for the endorsement of a key: of a ledger key those of its elders.
    fn endorsers(&self, state: &KeyState) -> vermilion_ledger::Trust {
        let trust = self.trust();
        if newer_key(state).is_some() { trust.before(state.from_seq) } else { (*trust).clone() }
    }

    fn proves(&self, endorsement: &[u8], state: &KeyState) -> bool {
        endorsement::check(endorsement, &self.endorsers(state)).is_ok_and(|proved| proved == *state)
    }

    /// From the first checkpoint over the record that its endorsers and the quorum signed.
    fn make_endorsement(&self, state: &KeyState) -> Result<Option<Vec<u8>>, String> {
        let (seq, trust, tree) = (state.from_seq, self.endorsers(state), self.edge.tree());
        if seq <= self.store.history_from().map_err(|e| e.to_string())? {
            // Of the history that is still being fetched: others have it.
            return Ok(None);
        }
        let begin = match self.rotated.proofs().get(&seq) {
            Some(Proof::From(size)) => *size,
            _ => seq + 1,
        };
        let (mut looked, mut found) = (Vec::new(), None);
        self.store
            .checkpoints(begin, &mut |size, note| {
                if size > tree.size() {
                    return false;
                }
                looked.push(size);
                let enough = verify(note, &trust).is_ok_and(|v| v.check_quorum(&trust).is_ok());
                found = enough.then(|| (size, note.to_vec()));
                !enough && looked.len() < READ
            })
            .map_err(|e| e.to_string())?;
        let Some((size, checkpoint)) = found else {
            let next = looked.iter().rev().nth(AGAIN).copied().unwrap_or(begin);
            self.rotated.proofs().insert(seq, Proof::From(next));
            return Ok(None);
        };
        let read = |seq: u64| self.store.record(seq).map_err(|e| e.to_string())?.ok_or_else(|| format!("record {seq} is missing"));
        let chain_before = match seq.checked_sub(1) {
            Some(before) => read(before)?.chain,
            None => vermilion_ledger::chain_start(&trust.settings().ledger_id).to_vec(),
        };
        let inclusion = tree.inclusion(&self.store, size, seq).map_err(|e| e.to_string())?;
        let receipt = Receipt {
            format_version: 1,
            record: read(seq)?.record.to_vec(),
            chain_before,
            tree_size: size,
            inclusion: inclusion.iter().map(|hash| hash.to_vec()).collect(),
            checkpoint,
            ..Receipt::default()
        };
        endorsement::make(receipt, &trust).map(Some).map_err(|e| e.to_string())
    }

    /// What endorses the ledger keys that sign trees of this size, the oldest first; as far as it is here.
    #[must_use]
    pub fn endorsements(&self, size: u64) -> Vec<Vec<u8>> {
        let mut out = Vec::new();
        for newer in self.rotated.ledger().iter().take_while(|newer| newer.from < size) {
            match self.endorsement(newer.from) {
                Ok(Some(endorsement)) => out.push(endorsement),
                Ok(None) => break,
                Err(why) => {
                    tracing::error!(record = newer.from, why, "a ledger key's endorsement is not given");
                    break;
                }
            }
        }
        out
    }
}

impl Node {
    /// The vault keys to which new content is sealed.
    #[must_use]
    pub fn serving_vault_keys(&self) -> Vec<VaultKey> {
        pinned::vault_keys(&self.genesis, &self.rotated.keys())
    }

    /// Keys that serve and that a node in this one's place should hold: `ledger`, `vault AREA`.
    #[must_use]
    pub fn lacks(&self) -> Vec<String> {
        let trust = self.witness.trust();
        let signs = self.witness.ledger.iter().any(|key| key.public() == *trust.ledger_key_at(u64::MAX));
        let ledger = (self.me.city && !signs).then(|| endorsement::LEDGER.to_owned());
        let due = |key: &VaultKey| self.me.city || key.area == self.me.district;
        let vault = self.serving_vault_keys().into_iter().filter(|key| due(key) && !self.opener.holds(&key.key_id));
        ledger.into_iter().chain(vault.map(|key| format!("{} {}", endorsement::VAULT, key.area))).collect()
    }

    /// Puts endorsements together as soon as that can be done, asks other nodes for those that cannot be made
    /// here, and says in the log which keys this node lacks.
    pub(crate) async fn look_after_keys(self: Arc<Self>) {
        let mut lacked = Vec::new();
        loop {
            tokio::time::sleep(LOOK).await;
            let lacks = self.lacks();
            if lacks != lacked {
                tracing::warn!(lacks = lacks.join(", "), "keys that serve now and are not here; none if nothing is named");
                lacked = lacks;
            }
            for state in self.rotated.keys().iter() {
                if let Some(made) = self.rotated.made(state.from_seq) {
                    if let Err(why) = tokio::task::block_in_place(|| self.witness.improve(state, &made)) {
                        tracing::error!(record = state.from_seq, why, "a key's endorsement cannot be completed");
                    }
                    continue;
                }
                match tokio::task::block_in_place(|| self.witness.endorsement(state.from_seq)) {
                    Ok(Some(_)) => {}
                    Ok(None) => self.ask_for_endorsement(state).await,
                    Err(why) => tracing::error!(record = state.from_seq, why, "a key's endorsement cannot be made"),
                }
            }
        }
    }

    async fn ask_for_endorsement(&self, state: &KeyState) {
        for peer in self.peers.ids() {
            let Ok(reply) = self.peers.endorsement(peer, EndorsementRequest { seq: state.from_seq }).await else { continue };
            if !reply.endorsement.is_empty() && self.witness.proves(&reply.endorsement, state) {
                if let Err(why) = self.witness.take_endorsement(state.from_seq, &reply.endorsement) {
                    tracing::error!(record = state.from_seq, why, "a key's endorsement cannot be kept");
                }
                return;
            }
        }
    }
}
