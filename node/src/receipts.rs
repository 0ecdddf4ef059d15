//! Receipts (存证凭证): what proves a record, or one licence of it, offline.

use crate::answers::internal;
use crate::node::Node;
use std::time::Duration;
use vermilion_proto::{Receipt, ReceiptRequest};
use vermilion_registry::reason::{Reason, Refusal};
use vermilion_registry::{query, stored};

/// How long a receipt waits for the checkpoint that covers it.
const WAIT: Duration = Duration::from_secs(10);

impl Node {
    /// The receipt of a command's record, or of a licence's item in it.
    pub async fn receipt(&self, request: &ReceiptRequest) -> Result<Receipt, Refusal> {
        let (seq, position) = self.find_record(request)?;
        let mut watch = self.witness.watch();
        let covered = async {
            loop {
                let _ = watch.borrow_and_update();
                let found = self.witness.covering(seq).map_err(|e| internal(&e))?;
                let trust = self.witness.trust();
                let enough = |note: &[u8]| vermilion_ledger::verify(note, &trust).is_ok_and(|v| v.check_quorum(&trust).is_ok());
                match found {
                    Some((size, note)) if enough(&note) => return Ok((size, note)),
                    _ => {}
                }
                if watch.changed().await.is_err() {
                    return Err(Refusal::from(Reason::Internal));
                }
            }
        };
        let (size, checkpoint) = match tokio::time::timeout(WAIT, covered).await {
            Ok(found) => found?,
            // With a node down there may be fewer cosignatures than the quorum: the receipt says how many.
            Err(_) => self
                .witness
                .covering(seq)
                .map_err(|e| internal(&e))?
                .ok_or_else(|| Refusal::new(Reason::Unknown, "no checkpoint covers the record yet: ask again"))?,
        };
        tokio::task::block_in_place(|| self.assemble(seq, position, size, checkpoint))
    }

    fn find_record(&self, request: &ReceiptRequest) -> Result<(u64, Option<u32>), Refusal> {
        let kv = self.store.state_snapshot();
        if !request.identifier.is_empty() {
            let named = self.named(&kv, &request.identifier)?;
            let found = query::licence(&kv, &named).map_err(|e| internal(&e))?.ok_or(Reason::UnknownLicence)?;
            return Ok((found.seq, Some(found.position)));
        }
        let id = request.command_id.as_slice().try_into().map_err(|_| Refusal::new(Reason::Malformed, "a command id has 32 bytes"))?;
        let seq = query::command(&kv, &id).map_err(|e| internal(&e))?.ok_or(Reason::Unknown)?;
        Ok((seq, None))
    }

    fn assemble(&self, seq: u64, position: Option<u32>, size: u64, checkpoint: Vec<u8>) -> Result<Receipt, Refusal> {
        let missing = || internal(&format!("record {seq} is missing"));
        let record = self.store.record(seq).map_err(|e| internal(&e))?.ok_or_else(missing)?;
        let chain_before = match seq.checked_sub(1) {
            Some(before) => self.store.record(before).map_err(|e| internal(&e))?.ok_or_else(missing)?.chain,
            None => vermilion_ledger::chain_start(&self.ledger_id).to_vec(),
        };
        let head = self.head().map_err(|e| internal(&e))?;
        if size > head.size {
            // After a crash the checkpoints are there before the records are applied again.
            return Err(Refusal::new(Reason::Unknown, "the node is still applying its log: ask again"));
        }
        let tree = crate::apply::rebuild_tree(&self.store, &head, true).map_err(|e| internal(&e))?;
        let inclusion = tree.inclusion(&self.store, size, seq).map_err(|e| internal(&e))?;
        let mut receipt = Receipt {
            format_version: 1,
            chain_before,
            tree_size: size,
            inclusion: inclusion.iter().map(|h| h.to_vec()).collect(),
            checkpoint,
            ..Default::default()
        };
        if let Some(position) = position {
            let path = vermilion_ledger::items_path(&record.items, u64::from(position)).map_err(|e| internal(&e))?;
            receipt.item_path = path.iter().map(|h| h.to_vec()).collect();
            receipt.item = record.items.get(position as usize).cloned().unwrap_or_default();
            receipt.item_position = position;
        }
        stored::open_record(&record).map_err(|e| internal(&e))?;
        receipt.record = record.record;
        Ok(receipt)
    }
}
