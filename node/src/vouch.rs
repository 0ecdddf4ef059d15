//! What a node says under its own key alone: the signature of a COSE receipt, and a licence's status
//! for a QR code. One node's word, no quorum's.

use crate::answers::internal;
use crate::node::Node;
use crate::witness::WitnessOffice;
use vermilion_crypto::dsse::pae;
use vermilion_ledger::{Checkpoint, CoseReceipt, SignedNote, digests};
use vermilion_proto::{
    LicenceStatusRequest, Message as _, OperatorState, QR_TYPE, QrStatement, Receipt, ReceiptRequest, SignStatusReply, SignedQr,
};
use vermilion_registry::query;
use vermilion_registry::reason::{Reason, Refusal};
use vermilion_registry::status::Flag;
use vermilion_registry::stored::receipt_index;

impl WitnessOffice {
    /// Signs a receipt's root as RFC 9942 has it: under the ledger key of that size where it is here, else under the
    /// cosigning key. Only a root that this node computed itself.
    fn sign_receipt(&self, receipt: Receipt) -> Result<Vec<u8>, String> {
        let note = SignedNote::parse(&receipt.checkpoint).map_err(|e| e.to_string())?;
        if !self.is_own(&note) {
            return Err("this node has not computed the checkpoint's root".into());
        }
        let checkpoint = Checkpoint::parse(note.body()).map_err(|e| e.to_string())?;
        let index = receipt_index(&receipt).ok_or("the record has no number")?;
        let path = digests(&receipt.inclusion).map_err(|e| e.to_string())?;
        let rest = Receipt { tree_size: 0, inclusion: Vec::new(), ..receipt };
        let trust = self.trust();
        let serving = trust.ledger_key_at(checkpoint.size);
        let key = self.ledger.iter().find(|key| key.public() == *serving).unwrap_or(&self.cosigning);
        CoseReceipt::make(&checkpoint.root, checkpoint.size, index, &path, &rest.encode_to_vec(), key).map_err(|e| e.to_string())
    }
}

impl Node {
    /// The receipt of a command's record or of a licence, as a COSE receipt that this node signs.
    pub async fn cose_receipt(&self, request: &ReceiptRequest, asker: Option<&OperatorState>) -> Result<Vec<u8>, Refusal> {
        let receipt = self.receipt(request, asker).await?;
        self.witness.sign_receipt(receipt).map_err(|e| internal(&e))
    }

    /// A licence's status under this node's cosigning key, for whoever may ask for it.
    pub async fn sign_status(&self, request: LicenceStatusRequest, asker: Option<&OperatorState>) -> SignStatusReply {
        if !request.local
            && let Err(refusal) = self.read_barrier().await
        {
            return SignStatusReply { code: refusal.reason.number(), signed: None };
        }
        match self.signed_status(&request, asker) {
            Ok(signed) => SignStatusReply { code: 0, signed: Some(signed) },
            Err(refusal) => SignStatusReply { code: refusal.reason.number(), signed: None },
        }
    }

    fn signed_status(&self, request: &LicenceStatusRequest, asker: Option<&OperatorState>) -> Result<SignedQr, Refusal> {
        if request.at_ms != 0 || request.known_ms != 0 || !request.use_command.is_empty() {
            return Err(Refusal::new(Reason::FieldForm, "a QR code says what holds now, to whoever may ask without a use"));
        }
        let kv = self.store.state_snapshot();
        let (_, found) = self.askable(&kv, request, asker)?;
        let head = query::head(&kv).map_err(|e| internal(&e))?.ok_or(Reason::Internal)?;
        let statement = QrStatement {
            format_version: 1,
            suite: vermilion_crypto::SUITE_1,
            ledger_id: self.ledger_id.to_vec(),
            identifier: request.identifier.clone(),
            state: found.state,
            flags: if asker.is_some() { found.flags } else { Flag::public(found.flags) },
            effective_from: found.effective_from,
            expires_on: found.expires_on,
            as_of_seq: head.size.saturating_sub(1),
            as_of_ms: head.time_ms,
            signed_ms: self.time(),
            key_id: self.witness.cosigning.public().id().to_vec(),
            certificate_digest: Vec::new(),
        }
        .encode_to_vec();
        let signature = self.witness.cosigning.sign(&pae(QR_TYPE, &statement)).to_vec();
        Ok(SignedQr { statement, signature })
    }
}
