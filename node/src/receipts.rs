//! Receipts (存证凭证): what proves a record, or one licence of it with its status, offline.

use crate::answers::internal;
use crate::node::Node;
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use vermilion_ledger::{Leaf, StatusView};
use vermilion_proto::{LicenceStatusRequest, Message as _, OperatorState, Receipt, ReceiptRequest, Record, Registration, StatusEvidence};
use vermilion_registry::reason::{Reason, Refusal};
use vermilion_registry::{Kv, query, stored};

/// The longest that a receipt waits for the checkpoint that covers it.
const WAIT: Duration = Duration::from_secs(10);

/// Those who may wait for cosignatures at once: each looks again whenever one has come.
static WAITING: Semaphore = Semaphore::const_new(256);

/// How long a request lets its receipt wait.
fn patience(request: &ReceiptRequest) -> Duration {
    match request.wait_ms {
        0 => WAIT,
        wait_ms => WAIT.min(Duration::from_millis(wait_ms.into())),
    }
}

/// What a receipt is to prove.
struct Wanted {
    seq: u64,
    /// The smallest tree under whose checkpoint it is given: it holds the record, and what else the asker wants in it.
    at_least: u64,
    /// The item, if it is of a licence.
    position: Option<u32>,
    /// The licence's index in the status vector, if the asker may know its status.
    status_index: Option<u64>,
    /// Whether it carries the registrations of the keys that signed.
    registrations: bool,
}

/// The checkpoint that a receipt is given under.
struct Basis {
    size: u64,
    note: Vec<u8>,
    statuses: Option<StatusView>,
}

impl Node {
    /// The receipt of a command's record, or of a licence's item in it; for whoever may ask for the
    /// licence's status, with that. Under the newest checkpoint that carries the quorum; where the asker says how
    /// new it must be at least, under none that is older or lacks the quorum.
    pub async fn receipt(&self, request: &ReceiptRequest, asker: Option<&OperatorState>) -> Result<Receipt, Refusal> {
        let wanted = tokio::task::block_in_place(|| self.wanted(request, asker))?;
        let mut watch = self.witness.watch();
        let covered = async {
            let mut place = None;
            loop {
                let _ = watch.borrow_and_update();
                if let Some(basis) = tokio::task::block_in_place(|| self.quorate(&wanted))? {
                    return Ok(basis);
                }
                if place.is_none() {
                    place = Some(WAITING.try_acquire().map_err(|_| Refusal::from(Reason::Busy))?);
                }
                if watch.changed().await.is_err() {
                    return Err(Refusal::from(Reason::Internal));
                }
            }
        };
        let basis = match timeout(patience(request), covered).await {
            Ok(found) => found?,
            // What stood before is no answer to whoever asks for what stands now, and one node's word is none either.
            Err(_) if request.at_least_size > 0 => {
                return Err(Refusal::new(
                    Reason::NotCosigned,
                    format!("no checkpoint of {} records or more has the quorum", wanted.at_least),
                ));
            }
            // With a node down there may be fewer cosignatures than the quorum: the receipt says how many.
            Err(_) => tokio::task::block_in_place(|| self.any(&wanted))?
                .ok_or_else(|| Refusal::new(Reason::NotCosigned, "no checkpoint that may be shown covers the record yet"))?,
        };
        tokio::task::block_in_place(|| self.assemble(&wanted, basis))
    }

    fn wanted(&self, request: &ReceiptRequest, asker: Option<&OperatorState>) -> Result<Wanted, Refusal> {
        let kv = self.store.state_snapshot();
        let wanted = |seq: u64, position, status_index| {
            let at_least = request.at_least_size.max(seq.saturating_add(1));
            Wanted { seq, at_least, position, status_index, registrations: request.registrations }
        };
        if !request.identifier.is_empty() {
            let named = self.named(&kv, &request.identifier)?;
            let found = query::licence(&kv, &named).map_err(|e| internal(&e))?.ok_or(Reason::UnknownLicence)?;
            let may = self.may_know_status(&kv, request, asker)?;
            let status_index = may.then_some(found.status_index);
            return Ok(wanted(found.seq, Some(found.position), status_index));
        }
        let id = request.command_id.as_slice().try_into().map_err(|_| Refusal::new(Reason::Malformed, "a command id has 32 bytes"))?;
        let seq = query::command(&kv, &id).map_err(|e| internal(&e))?.ok_or(Reason::Unknown)?;
        Ok(wanted(seq, None, None))
    }

    /// Whether the asker may know the licence's status: as in a status question, or by a use that is
    /// recorded. A use that does not open it is told; of a closed status the receipt says nothing.
    fn may_know_status(&self, kv: &dyn Kv, request: &ReceiptRequest, asker: Option<&OperatorState>) -> Result<bool, Refusal> {
        let question = LicenceStatusRequest {
            identifier: request.identifier.clone(),
            local: true,
            challenge_field: request.challenge_field.clone(),
            challenge_value: request.challenge_value.clone(),
            use_command: request.use_command.clone(),
            ..LicenceStatusRequest::default()
        };
        match self.askable(kv, &question, asker) {
            Ok(_) => Ok(true),
            Err(refusal) if refusal.reason == Reason::StatusClosed => Ok(false),
            Err(refusal) => Err(refusal),
        }
    }

    /// The newest checkpoint that covers what is wanted with the quorum and can prove it.
    fn quorate(&self, wanted: &Wanted) -> Result<Option<Basis>, Refusal> {
        for (size, known) in self.recent.sizes().into_iter().filter(|(size, _)| *size >= wanted.at_least) {
            let Some(note) = self.store.checkpoint(size).map_err(|e| internal(&e))? else { continue };
            if known || self.witness.has_quorum(&note) {
                self.recent.note_quorum(size);
                return Ok(Some(Basis { size, note, statuses: self.recent.statuses(size) }));
            }
        }
        if wanted.status_index.is_some() {
            return Ok(None);
        }
        let found = self.witness.newest_quorate(wanted.at_least).map_err(|e| internal(&e))?;
        Ok(found.map(|(size, note)| Basis { size, note, statuses: None }))
    }

    /// The newest checkpoint that covers what is wanted and may be shown: without the nodes' quorum, and never without the
    /// outside witnesses where the configuration says `closed`.
    fn any(&self, wanted: &Wanted) -> Result<Option<Basis>, Refusal> {
        for (size, _) in self.recent.sizes().into_iter().filter(|(size, _)| *size >= wanted.at_least) {
            if let Some(note) = self.witness.shown(size).map_err(|e| internal(&e))? {
                return Ok(Some(Basis { size, note, statuses: self.recent.statuses(size) }));
            }
        }
        // What was published before the configuration asked for witnesses stays published; no receipt is given under it.
        let newest = self.witness.newest().map_err(|e| internal(&e))?.filter(|(size, _)| *size >= wanted.at_least);
        let Some((size, _)) = newest else { return Ok(None) };
        let note = self.witness.shown(size).map_err(|e| internal(&e))?;
        Ok(note.map(|note| Basis { size, note, statuses: None }))
    }

    fn assemble(&self, wanted: &Wanted, basis: Basis) -> Result<Receipt, Refusal> {
        let Wanted { seq, position, status_index, registrations, .. } = *wanted;
        let read = |seq: u64| self.record(seq);
        let chain_before = |seq: u64| -> Result<Vec<u8>, Refusal> {
            match seq.checked_sub(1) {
                Some(before) => Ok(read(before)?.chain),
                None => Ok(vermilion_ledger::chain_start(&self.ledger_id).to_vec()),
            }
        };
        let record = read(seq)?;
        let edge = self.edge.tree();
        if basis.size > edge.size() {
            // After a crash the checkpoints are there before the records are applied again.
            return Err(Refusal::new(Reason::Unknown, "the node is still applying its log: ask again"));
        }
        let inclusion = |seq: u64| -> Result<Vec<Vec<u8>>, Refusal> {
            let path = edge.inclusion(&self.store, basis.size, seq).map_err(|e| internal(&e))?;
            Ok(path.iter().map(|h| h.to_vec()).collect())
        };
        let mut receipt = Receipt {
            format_version: 1,
            chain_before: chain_before(seq)?,
            tree_size: basis.size,
            inclusion: inclusion(seq)?,
            checkpoint: basis.note,
            endorsements: self.witness.endorsements(basis.size),
            ..Default::default()
        };
        if let Some(position) = position {
            let path = vermilion_ledger::items_path(&record.items, u64::from(position)).map_err(|e| internal(&e))?;
            receipt.item_path = path.iter().map(|h| h.to_vec()).collect();
            receipt.item = record.items.get(position as usize).map(|item| item.to_vec()).unwrap_or_default();
            receipt.item_position = position;
        }
        if let (Some(index), Some(statuses)) = (status_index, basis.statuses) {
            // A checkpoint is made at a commitment record: its leaf is the tree's last.
            let commitment = stored::open_record(&read(basis.size - 1)?).map_err(|e| internal(&e))?;
            let leaf: Leaf = commitment.leaf;
            if leaf.commitment.is_none_or(|c| c.status_root != statuses.root()) {
                return Err(internal(&format!("the status vector kept is not that of record {}", leaf.seq)));
            }
            let evidence = StatusEvidence {
                format_version: 1,
                leaf: leaf.encode(),
                inclusion: inclusion(basis.size - 1)?.concat(),
                licence_count: statuses.count(),
                proof: statuses.proof(index).map_err(|e| internal(&e))?.encode(),
            };
            receipt.status_proof = evidence.encode_to_vec();
        }
        let open = stored::open_record(&record).map_err(|e| internal(&e))?;
        if registrations {
            for seq in self.registered_by(&open.record)? {
                let record = read(seq)?.record.to_vec();
                receipt.registrations.push(Registration { record, chain_before: chain_before(seq)?, inclusion: inclusion(seq)? });
            }
        }
        receipt.record = record.record.to_vec();
        Ok(receipt)
    }

    /// The records that registered the keys with which a record's command was signed, each once. The state
    /// names each key's: a key is registered once and never comes back.
    fn registered_by(&self, record: &Record) -> Result<BTreeSet<u64>, Refusal> {
        let opened = vermilion_identity::open(&record.envelope).map_err(|e| internal(&e))?;
        let kv = self.store.state_snapshot();
        let mut out = BTreeSet::new();
        for key in &opened.signed.keys {
            let state = query::operator(&kv, &key.id()).map_err(|e| internal(&e))?;
            // A node's key is none of an operator; a command that was refused may name keys that came later, or never.
            let added = state.map(|state| state.added_seq).filter(|added| *added < record.seq);
            out.insert(added.ok_or_else(|| Refusal::new(Reason::UnknownSigner, "a key that signed was no operator's before the command"))?);
        }
        Ok(out)
    }
}
